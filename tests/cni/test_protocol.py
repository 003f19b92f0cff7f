# SPDX-License-Identifier: Apache-2.0
"""What a plugin answers before it does anything: VERSION, variables, stdin, versions."""
import json
import os
import subprocess
import time

import pytest

from node import Plugin
from profiles import ALL

GOOD = {"CNI_CONTAINERID": "some-id", "CNI_NETNS": "/var/run/netns/none", "CNI_IFNAME": "eth0"}
DUMMY = {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy", "CNI_CONTAINERID": ""}


@pytest.mark.parametrize("env", [{}, DUMMY, {"CNI_PATH": None}], ids=["bare", "dummy", "no-path"])
@pytest.mark.parametrize("stdin", [b"", b'{"cniVersion":"0.4.0"}', b"not json"], ids=["empty", "version", "broken"])
def test_version(plugin, profile, env, stdin):
    answer = plugin.call("VERSION", stdin, env).ok().json
    assert answer["supportedVersions"] == profile.versions
    if profile.ours:
        assert answer["cniVersion"] == ("0.4.0" if b"0.4.0" in stdin else "1.1.0")


@pytest.mark.ours
def test_version_with_open_stdin(plugin):
    """A caller that never closes stdin gets its answer."""
    process = plugin.start("VERSION")
    assert process.wait(timeout=20) == 0
    process.stdin.close()
    assert json.loads(process.stdout.read())["supportedVersions"] == ALL
    process.stdout.close()
    process.stderr.close()


@pytest.mark.parametrize("command", [None, ""], ids=["absent", "empty"])
def test_about(plugin, command):
    answer = plugin.call(command, b"")
    assert answer.exit == 0 and answer.out == b"" and b"1.0.0" in answer.err


@pytest.mark.parametrize("how", [None, ""], ids=["absent", "empty"])
@pytest.mark.parametrize("command,variable", [
    ("ADD", "CNI_CONTAINERID"), ("ADD", "CNI_NETNS"), ("ADD", "CNI_IFNAME"),
    ("DEL", "CNI_CONTAINERID"), ("DEL", "CNI_IFNAME"),
    ("CHECK", "CNI_CONTAINERID"), ("CHECK", "CNI_NETNS"), ("CHECK", "CNI_IFNAME")])
def test_missing_variable(plugin, command, variable, how):
    answer = plugin.call(command, None, {**GOOD, variable: how})
    assert answer.code == 4
    assert f"[{variable}]" in answer.json["msg"]


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_missing_variables_together(plugin, command):
    answer = plugin.call(command, None, {name: None for name in GOOD})
    assert answer.code == 4
    assert "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME]" in answer.json["msg"]


@pytest.mark.parametrize("command", ["ADD", "DEL"])
@pytest.mark.parametrize("variable,value", [
    ("CNI_CONTAINERID", "../x"), ("CNI_CONTAINERID", "-x"), ("CNI_CONTAINERID", "a b"), ("CNI_CONTAINERID", "a/b"),
    ("CNI_IFNAME", "sixteen-bytes-xx"), ("CNI_IFNAME", "a/b"), ("CNI_IFNAME", "."), ("CNI_IFNAME", ".."),
    ("CNI_IFNAME", "a b"), ("CNI_IFNAME", "a:b")])
def test_bad_variable(plugin, node, command, variable, value):
    before = node.links()
    assert plugin.call(command, None, {**GOOD, variable: value}).code == 4
    assert node.links() == before


def test_bad_value_comes_before_missing(plugin):
    answer = plugin.call("ADD", None, {**GOOD, "CNI_CONTAINERID": "../x", "CNI_NETNS": None})
    assert answer.code == 4 and "CNI_NETNS" not in answer.json["msg"]


STDIN = {
    "empty": (b"", 6), "text": (b"not json", 6), "array": (b"[]", 6), "cut": (b'{"name":"x"', 6),
    "two": (b'{"name":"x"} {}', 6), "control": (b'{"name":"a\nb"}', 6),
    "name-missing": (b'{"cniVersion":"1.0.0","type":"x"}', 7), "name-empty": (b'{"cniVersion":"1.0.0","name":""}', 7),
    "name-null": (b'{"cniVersion":"1.0.0","name":null}', 7), "name-bad": (b'{"cniVersion":"1.0.0","name":"a/b"}', 7),
    "name-number": (b'{"cniVersion":"1.0.0","name":7}', 6), "deep": (b'{"name":"x","a":' + b"[" * 10000, 6),
    "deep-closed": (b'{"name":"x","a":' + b"[" * 10000 + b"]" * 10000 + b"}", 6),
    "version-unknown": (b'{"cniVersion":"9.9.9","name":"x"}', 1), "version-number": (b'{"cniVersion":1,"name":"x"}', 6),
}


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("case", STDIN)
def test_stdin(plugin, node, case, command):
    data, code = STDIN[case]
    before = node.links()
    assert plugin.call(command, data, GOOD).code == code
    assert node.links() == before


@pytest.mark.ours
@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_stdin_of_10_mib(plugin, command):
    data = b'{"cniVersion":"1.1.0","name":"x","filler":"' + b"x" * (10 << 20) + b'"}'
    assert plugin.call(command, data, GOOD).code == 6


@pytest.mark.ours
@pytest.mark.parametrize("text,code", [
    (rb'{"cniVersion":"1.1.0","name":"\u0061\ud83d\ude00"}', 7), (rb'{"cniVersion":"1.1.0","name":"\u00"}', 6),
    (rb'{"cniVersion":"1.1.0","name":"bad","name":"x","CNIVERSION":"9"}', 50), (rb'{"CniVersion":"1.1.0","NAME":"x"}', 50),
    (rb'{"cniVersion":"1.1.0","name":"x","n":1e+07,"m":-0.5E3,"k":[1,{"a":[]}],"z":null}', 50),
    (rb'{"cniVersion":"1.1.0","name":"x","n":01}', 6), (rb'{"cniVersion":"1.1.0","name":"x",}', 6)])
def test_json_reality(plugin, agent, directory, text, code):
    (directory / "not-ready").write_text("for the test\n")
    try:
        assert plugin.call("STATUS", text).code == code
    finally:
        (directory / "not-ready").unlink()


def test_unknown_command(plugin):
    assert plugin.call("FLY", None, GOOD).code == 4


def test_unknown_version_details(plugin):
    answer = plugin.call("ADD", plugin.conf("2.0.0"), GOOD)
    assert answer.code == 1 and answer.json["msg"] == "incompatible CNI versions"
    assert "2.0.0" in answer.json["details"] and "0.4.0" in answer.json["details"]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1"])
def test_check_is_too_new(plugin, version):
    assert plugin.call("CHECK", plugin.conf(version), GOOD).code == 1


@pytest.mark.parametrize("command", ["GC", "STATUS"])
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_gc_and_status_are_too_new(plugin, command, version):
    assert plugin.call(command, plugin.conf(version)).code == 1


@pytest.mark.ours
def test_gc_needs_cni_path(plugin):
    answer = plugin.call("GC", plugin.conf("1.1.0"), {"CNI_PATH": None})
    assert answer.code == 4 and "[CNI_PATH]" in answer.json["msg"]


def test_closed_stdout(plugin, node, pod):
    """Nobody reads the result: the exit code tells, and DEL cleans up."""
    read, write = os.pipe()
    os.close(read)
    env = {**plugin.environment, **Plugin.variables(pod), "CNI_COMMAND": "ADD"}
    process = subprocess.Popen(node.command(plugin.path), env=env, stdin=subprocess.PIPE, stdout=write,
                               stderr=subprocess.DEVNULL)
    os.close(write)
    process.communicate(json.dumps(plugin.conf()).encode(), timeout=60)
    assert process.returncode != 0
    plugin.delete(pod).silent()


@pytest.mark.ours
def test_starts_fast_enough_to_be_thin(plugin):
    """Not a measurement: the plugin must not link anything, which shows in its file."""
    with open(plugin.path, "rb") as file:
        head = file.read()
    assert b"/ld-linux" not in head and b"/ld-musl" not in head
    started = time.monotonic()
    plugin.call("VERSION", b"").ok()
    assert time.monotonic() - started < 20
