# SPDX-License-Identifier: Apache-2.0
"""An agent that is stopped, killed or restarted: the same subnet, the same MAC, no packet lost, nothing stale kept."""
import os
import random
import re
import time

import pytest
from tullelab import wait

KILLS = 60 if os.environ.get("TULLE_SOAK") else 6


@pytest.fixture(scope="module", params=["vxlan", "host-gw", "udp"])
def lab(request, built, make_lab):
    lab = make_lab(backend=request.param)
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two")
    return lab


def lost(background) -> tuple:
    """(sent, received) of a ping that was stopped, a while after what it was to survive."""
    before = len(background.lines)
    wait.until(lambda: len(background.lines) > before + 20, "20 more answers", detail=lambda: background.output[-500:])
    background.stop(2)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", background.output)
    assert found, background.output
    return int(found[1]), int(found[2])


ECHO = """
import socket, sys
s = socket.create_server(("", 9090)); print("listening", flush=True)
while True:
    c, _ = s.accept()
    while (data := c.recv(100)): c.sendall(data)
"""


@pytest.fixture(scope="module")
def echo(lab):
    """A TCP echo server in pod two that keeps its connections."""
    server = lab.pod("two").spawn(["/usr/bin/python3", "-c", ECHO])
    server.wait_line("listening")
    yield 9090
    server.stop()


def flood(lab):
    background = lab.pod("one").spawn(["ping", "-n", "-i", "0.01", "-W", "1", lab.pod("two").ip])
    background.wait_line("bytes from")
    return background


def test_restart_keeps_subnet_mac_and_packets(lab, eyes, converged):
    converged(lab)
    node = lab.nodes[1]
    look = eyes(node)
    before, env = look.status()["lease"], node.read("/run/flannel/subnet.env")
    traffic = flood(lab)
    node.agent_restart()
    wait.until(lambda: look.status()["peersSynced"], "peers after the restart")
    assert look.status()["lease"]["subnet"] == before["subnet"]
    assert look.status()["lease"]["vtepMAC"] == before["vtepMAC"]
    assert node.read("/run/flannel/subnet.env") == env
    sent, received = lost(traffic)
    assert sent == received and sent > 10


def test_killed_at_random_under_traffic(lab, eyes, converged, echo):
    """kill -9 at random points: no packet lost, pods and addresses as before, a TCP connection lives through it."""
    converged(lab)
    traffic = flood(lab)
    with lab.pod("one").connect(lab.pod("two").ip, echo, timeout=20) as connection:
        for _ in range(KILLS):
            for node in lab.nodes:
                node.agent_kill()
                node.agent_start(ready=False)
            time.sleep(random.uniform(0, 0.2))  # the random point
            for node in lab.nodes:
                if random.random() < 0.5 and node.agent_running:
                    node.agent_kill()
                    node.agent_start(ready=False)
            for node in lab.nodes:
                node.agent_ready()
            connection.sendall(b"still there?")
            assert connection.recv(100) == b"still there?"
    sent, received = lost(traffic)
    assert sent == received and sent > 10
    for node in lab.nodes:
        assert eyes(node).status()["pods"] == 1
    converged(lab)


def test_agent_gone_leaves_the_data_path(lab, converged):
    converged(lab)
    for node in lab.nodes:
        node.agent_kill()
    lab.pod("one").ping(lab.pod("two").ip, count=3)
    for node in lab.nodes:
        node.agent_start()


def test_what_went_stale_while_away_is_swept(built, make_lab, eyes, make_lease):
    lab = make_lab(nodes=1, net_conf={"SubnetMax": "10.244.150.0"})  # the rest is for made-up peers
    node = lab.nodes[0]
    look = eyes(node)
    lab.store.put("leases/10.244.200.0-24.json", make_lease("192.0.2.77"))
    wait.until(lambda: "10.244.200.0/24" in look.routes(), "the peer's route")
    assert look.fdb()["02:00:00:00:aa:01"] == "192.0.2.77"
    node.agent_kill()
    lab.store.delete("leases/10.244.200.0-24.json")
    node.run(["ip", "route", "add", "10.244.201.0/24", "via", "10.244.201.0", "dev", "flannel.1", "onlink"])  # flanneld's
    node.run(["ip", "route", "add", "10.99.0.0/24", "via", "192.0.2.254"])  # somebody's
    node.agent_start()
    wait.until(lambda: "02:00:00:00:aa:01" not in look.fdb() and not look.neighbours(), "stale entries swept")
    table = node.run(["ip", "route"]).stdout
    assert "10.244.200.0" not in table and "10.244.201.0" not in table
    assert "10.99.0.0/24" in table
