# SPDX-License-Identifier: Apache-2.0
"""The demo as a user starts it: PASS when it works, FAIL and the reason when it does not, and nothing left either way."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tullelab import state

TOOL = str(Path(__file__).resolve().parents[2] / "lab" / "tulle-lab")


def demo(*words):
    started = time.monotonic()
    process = subprocess.Popen([TOOL, "demo", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output = process.communicate(timeout=90)[0]
    name = f"demo{process.pid}"
    assert name not in state.names()
    assert not os.path.isdir("/run/netns") or not [n for n in os.listdir("/run/netns") if n.startswith(f"tl-{name}-")]
    return process.returncode, output, time.monotonic() - started


@pytest.mark.parametrize("backend,family,store,on_the_wire", [
    ("vxlan", "4", "directory", "VXLAN, flags [I] (0x08), vni 1"), ("host-gw", "6", "etcd", "IP6 fd00:10:244:"),
    ("udp", "dual", "directory", ".8285: UDP, length")])
def test_demo_passes(built, backend, family, store, on_the_wire):
    status, output, seconds = demo("--backend", backend, "--family", family, "--store", store)
    assert status == 0 and output.splitlines()[-1].startswith("PASS"), output
    assert on_the_wire in output and "masqueraded" in output and "✗" not in output
    assert "This is nginx in pod nginx-1 on node-1" in output and "This is Apache httpd in pod apache-1 on node-2" in output
    assert seconds < 30


@pytest.mark.parametrize("words,on_the_wire", [
    ("--pools ipip --family dual", ["ip proto 4 and dst host", "VXLAN, flags [I] (0x08), vni 4096"]),
    ("--pools none --underlay routed --bgp", ["tcp dst port 80 and dst host 10.244."])])
def test_demo_of_pools(built, words, on_the_wire):
    status, output, _ = demo(*words.split())
    assert status == 0 and output.splitlines()[-1].startswith("PASS (pools"), output
    assert all(text in output for text in on_the_wire) and "masqueraded" in output and "\u2717" not in output


def test_demo_fails_with_the_reason(built):
    """host-gw cannot work behind a router, and the demo says so."""
    status, output, _ = demo("--backend", "host-gw", "--underlay", "routed")
    assert status == 1 and output.splitlines()[-1].startswith("FAIL"), output
    assert "✗" in output and "on-link" in output
