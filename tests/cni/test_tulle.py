# SPDX-License-Identifier: Apache-2.0
"""What only ours promises: configurations of the types it serves, wishes, the spool, the socket."""
import json
import os
import socket
import struct
import subprocess

import pytest

from node import wait_until
from test_attach import addresses, kernel_addresses

pytestmark = pytest.mark.ours

ISSUE_CONF = {"name": "flannel", "type": "flannel",
              "delegate": {"isDefaultOverlay": True, "runtime": {"cniVersion": "0.3.1"}, "network": "10.244.0.0/16",
                           "backend": {"type": "vxlan", "vxlan": {"port": 8472}}}}


def routes(node, pod, family="-4"):
    return {route["dst"] for route in node.ip(family, "route", pod=pod)}


def test_flannel_conf_of_the_issue(plugin, node, pod):
    result = plugin.add(pod, ISSUE_CONF).ok().json
    assert result["cniVersion"] == "0.1.0" and set(result) == {"cniVersion", "ip4", "ip6", "dns"}
    assert {a.ip for a in addresses(result)} == kernel_addresses(node, pod)
    assert "default" not in routes(node, pod) and "10.96.0.0/12" in routes(node, pod)
    plugin.delete(pod, ISSUE_CONF).silent()


def test_flannel_manifest_conf(plugin, node, pod):
    conf = {"cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
            "delegate": {"hairpinMode": True, "isDefaultGateway": True, "mtu": 1400}, "subnetFile": "/x", "dataDir": "/y",
            "ipam": {"type": "host-local", "routes": [{"dst": "192.168.0.0/16"}]}}
    result = plugin.add(pod, conf).ok().json
    assert {"default", "192.168.0.0/16"} <= routes(node, pod)
    assert node.ip("link", "show", "dev", "eth0", pod=pod)[0]["mtu"] == 1400
    assert {"dst": "192.168.0.0/16", "gw": "169.254.1.1"} in result["routes"]
    plugin.delete(pod, conf).silent()


@pytest.mark.parametrize("delegate,word", [
    ({"type": "macvlan"}, "macvlan"), ({"type": 7}, "type"), ({"bridge": "br7"}, "br7"), ({"name": "x"}, "name"),
    ({"ipam": {}}, "ipam"), ({"ipMasq": True}, "ipMasq"), ({"mtu": 10}, "mtu"), ({"mtu": "big"}, "big"),
    ({"isDefaultGateway": "yes"}, "yes"), ({"vlan": 5}, "vlan"), ([], "delegate")])
def test_flannel_delegate_refused(plugin, pod, delegate, word):
    answer = plugin.add(pod, {"cniVersion": "1.0.0", "name": "n", "type": "flannel", "delegate": delegate})
    assert answer.code == 7 and word in answer.json["msg"]


@pytest.mark.parametrize("keys,word", [
    ({"ipam": {"type": "host-local"}}, "host-local"), ({"ipMasq": True}, "ipMasq"), ({"type": "macvlan"}, "macvlan"),
    ({"ipam": {"routes": [{"dst": "x"}]}}, "dst"), ({"ipam": {"routes": [{"dst": "10.0.0.0/8", "gw": "fd00::1"}]}}, "gw"),
    ({"ipam": {"routes": [{"dst": f"10.{i}.0.0/16"} for i in range(17)]}}, "16"), ({"mtu": 70000}, "mtu"),
    ({"dns": []}, "dns"), ({"runtimeConfig": {"ips": ["x"]}}, "ips"), ({"runtimeConfig": {"mac": "x"}}, "mac"),
    ({"runtimeConfig": {"bandwidth": {"ingressRate": 5}}}, "burst"), ({"args": {"cni": {"ips": "x"}}}, "ips"),
    ({"prevResult": 5}, "prevResult")])
def test_conf_refused(plugin, pod, keys, word):
    answer = plugin.add(pod, plugin.conf(**keys))
    assert answer.code == 7 and word in answer.json["msg"]


def test_calico_conf(plugin, node, pod):
    conf = {"cniVersion": "0.3.1", "name": "k8s-pod-network", "type": "calico", "datastore_type": "kubernetes", "mtu": 0,
            "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/x"}}
    result = plugin.add(pod, conf).ok().json
    assert result["interfaces"][0]["name"].startswith("cali")
    plugin.delete(pod, conf).silent()


def test_type_by_file_name(plugin, directory, node, pod):
    link = directory / "flannel"
    if not link.exists():
        link.symlink_to(plugin.path)
    plugin.path, keep = str(link), plugin.path
    try:
        plugin.add(pod, plugin.conf(type=None)).ok()
        assert "default" not in routes(node, pod)
        plugin.delete(pod, plugin.conf(type=None)).silent()
    finally:
        plugin.path = keep


def test_default_route_and_key_case(plugin, node, pod):
    conf = plugin.conf(MTU=1300, isdefaultgateway=True, IPAM={"Routes": [{"DST": "192.168.7.0/24"}, {"dst": "0.0.0.0/0"}]})
    plugin.add(pod, conf).ok()
    assert {"default", "192.168.7.0/24"} <= routes(node, pod)
    assert node.ip("link", "show", "dev", "eth0", pod=pod)[0]["mtu"] == 1300
    plugin.delete(pod).silent()


# -- wishes --

@pytest.mark.parametrize("args,exit_code", [
    ("", 0), (";;", 0), ("A=1;B=2", 0), ("IgnoreUnknown=1;A=1", 0), ("A=1;IgnoreUnknown=1", 0), ("A", 4), ("A=1;B", 4),
    ("IP=", 0), ("MAC=", 0), ("IP=x", 4), ("MAC=x", 4), ("MAC=01:00:00:00:00:01", 4), ("IP=127.0.0.1", 4), ("A=b=c", 0),
    ("ip=x", 0)])
def test_cni_args(plugin, pod, args, exit_code):
    answer = plugin.add(pod, CNI_ARGS=args)
    if exit_code:
        assert answer.code == exit_code and "CNI_ARGS" in answer.json["msg"]
    else:
        answer.ok()
    plugin.delete(pod, CNI_ARGS=args).silent()


def test_bad_cni_args_do_not_hinder_del(plugin, attached):
    pod, _ = attached
    plugin.delete(pod, CNI_ARGS="broken").silent()


@pytest.mark.parametrize("channel", ["args", "cni", "runtime", "Runtime"])
def test_requested_address_and_mac(plugin, node, pod, channel):
    # far apart: what was released rests for a while, and ordinary pods get the addresses that follow
    last = 10 + 60 * ["args", "cni", "runtime", "Runtime"].index(channel)
    wish = {"ips": [f"10.97.3.{last}/24", f"fd00:97::beef:{last}"], "mac": "02:aa:bb:cc:dd:01"}
    conf, more = plugin.conf(), {}
    if channel == "args":
        more = {"CNI_ARGS": f"IP=10.97.3.{last},fd00:97::beef:{last};K8S_POD_NAME=x;MAC=02-aa-bb-cc-dd-01"}
    elif channel == "cni":
        conf["args"] = {"cni": wish}
    elif channel == "runtime":
        conf["runtimeConfig"] = wish
    else:
        conf["RuntimeConfig"] = {"Ips": wish["ips"], "Mac": wish["mac"]}
    result = plugin.add(pod, conf, **more).ok().json
    assert [str(a.ip) for a in addresses(result)] == [f"10.97.3.{last}", f"fd00:97::beef:{last}"]
    assert node.ip("link", "show", "dev", "eth0", pod=pod)[0]["address"] == "02:aa:bb:cc:dd:01"
    other = node.add_netns()
    assert plugin.add(other, conf, **more).code in (7, 11)
    node.remove_netns(other)
    plugin.delete(pod, conf).silent()


@pytest.mark.parametrize("runtime", [
    {"bandwidth": {"ingressRate": 1000000, "ingressBurst": 34359738359, "egressRate": 0, "egressBurst": 4294967295}},
    {"Bandwidth": {"IngressRate": 1e7, "IngressBurst": 4294967295}},
    {"portMappings": [{"HostPort": 0, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""}], "dns": {"Servers": ["1.1.1.1"]},
     "ipRanges": [[{"subnet": "10.0.0.0/8"}]], "io.kubernetes.cri.pod-annotations": {"a": "b"}, "cgroupPath": "/x"},
    None], ids=["lower", "capital", "foreign", "null"])
def test_runtime_config(plugin, pod, runtime):
    conf = {**plugin.conf(), "runtimeConfig": runtime}
    plugin.add(pod, conf).ok()
    plugin.delete(pod, conf).silent()


# -- the agent away --

def spooled(directory):
    return [name for name in os.listdir(directory / "spool") if not name.startswith(".")]


def test_alone(plugin, agent, node, directory, pod):
    result = plugin.add(pod).ok().json
    agent.stop(kill=True)
    try:
        other = node.add_netns()
        assert plugin.add(other).code == 11
        assert plugin.check(pod, result).code == 11
        assert plugin.call("GC", plugin.conf("1.1.0", **{"cni.dev/valid-attachments": []})).code == 11
        assert plugin.call("STATUS", plugin.conf("1.1.0")).code == 50
        plugin.delete(other).silent()
        plugin.delete(pod).silent()
        assert len(spooled(directory)) == 2
        (directory / "spool/0-garbage").write_bytes(b"no frame")
        (directory / "spool/1-empty").write_bytes(b"")
    finally:
        agent.start()
    assert spooled(directory) == []
    assert plugin.check(pod, result).code == 3
    wait_until(lambda: not any(link.startswith("tul") for link in node.links()), "the interfaces are gone")
    assert "no spooled request" in (directory / "agent.log").read_text()
    node.remove_netns(other)


def test_spool_is_watched(plugin, node, directory, attached):
    pod, result = attached
    plugin.environment["TULLE_SOCKET"], keep = "/nowhere/cni.sock", plugin.environment["TULLE_SOCKET"]
    try:
        plugin.delete(pod).silent()
    finally:
        plugin.environment["TULLE_SOCKET"] = keep
    wait_until(lambda: plugin.check(pod, result).exit != 0, "the agent took the record")
    wait_until(lambda: spooled(directory) == [], "the record is gone")


def test_spool_that_cannot_be_written(plugin, directory):
    (directory / "file").write_text("x")
    env = {**plugin.variables("nopod"), "TULLE_SOCKET": "/nowhere", "TULLE_SPOOL": str(directory / "file/spool")}
    answer = plugin.call("DEL", None, env)
    assert answer.code == 11 and "spool" in answer.json["details"]


# -- the socket --

def connect(directory):
    """A raw client; unix sockets do not care about network namespaces."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(directory / "cni.sock"))
    return client


def frame(fields, magic=0x454c5554, version=1, flags=0, total=None):
    body = b"".join(fields)
    total = len(body) if total is None else total
    return struct.pack("=12I", magic, version, total, flags, *map(len, fields)) + body


def read_all(client):
    data = b""
    while part := client.recv(65536):
        data += part
    return data


STATUS = [b"STATUS", b"", b"", b"", b"", b"", b"tulle", b'{"cniVersion":"1.1.0","name":"x","type":"tulle"}']


BAD_FRAMES = {
    "magic": frame(STATUS, magic=1), "version": frame(STATUS, version=9), "flags": frame(STATUS, flags=6),
    "no-descriptor": frame(STATUS, flags=1), "total": frame(STATUS, total=1),
    "huge": struct.pack("=12I", 0x454c5554, 1, 0xffffffff, 0, *[0xffffffff] * 8), "nul": frame([b"S\0", *STATUS[1:]]),
    "no-netns": frame([b"ADD", b"id", b"/x", b"eth0", b"", b"", b"tulle", STATUS[7]]),
    "bad-id": frame([b"ADD", b"../x", b"/x", b"eth0", b"", b"", b"tulle", STATUS[7]]),
    "deep": frame([*STATUS[:7], b"[" * 100000]), "no-utf-8": frame([*STATUS[:7], b'{"name":"\xff"}']),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frames(plugin, node, directory, case):
    client = connect(directory)
    client.sendall(BAD_FRAMES[case])
    answer = read_all(client)
    magic, version, code, length = struct.unpack("=IIiI", answer[:16])
    assert (magic, version, code, length) == (0x454c5554, 1, 1, len(answer) - 16)
    assert json.loads(answer[16:])["code"] > 0
    client.close()
    plugin.call("STATUS", plugin.conf("1.1.0")).silent()


def test_slow_and_broken_clients_hold_up_nobody(plugin, node, directory):
    clients = [connect(directory) for _ in range(50)]
    good = frame(STATUS)
    for i, client in enumerate(clients):
        client.sendall(good[:i])
    for client in clients[:10]:
        client.close()
    plugin.call("STATUS", plugin.conf("1.1.0")).silent()
    for byte in good[49:]:
        clients[49].sendall(bytes([byte]))
    assert read_all(clients[49])[8:12] == b"\0\0\0\0"
    for client in clients[10:]:
        client.close()


def test_more_clients_than_served_at_once(plugin, node, directory):
    idle = [connect(directory) for _ in range(600)]
    for client in idle:
        client.close()
    plugin.call("STATUS", plugin.conf("1.1.0")).silent()


def test_only_root(plugin, directory):
    assert os.stat(directory / "cni.sock").st_mode & 0o777 == 0o600
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(directory / 'cni.sock')!r})"
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code], capture_output=True)
    assert done.returncode != 0 and b"PermissionError" in done.stderr


def test_second_agent_is_refused(agent, node, directory, attached):
    done = node.run(*agent.words, check=False)
    assert done.returncode == 1
    assert (directory / "cni.sock").exists()
