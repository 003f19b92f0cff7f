# SPDX-License-Identifier: Apache-2.0
"""BIRD as a program of its own: started, adopted, killed, hung, refusing."""
import json
import os
import signal
import socket
import threading

import pytest
from bed import BIRD, Node, PlainBird, cluster, node
from tullelab.wait import until

NODES = [node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")]
BLOCKS = [{"cidr": "10.244.1.0/26", "node": "a"}, {"cidr": "10.244.2.0/26", "node": "b"}]


def pair(bed, **options):
    a, b = bed.add(Node, "a", **options), bed.add(Node, "b")
    bed.switch((a, "eth0", "10.0.0.1/24"), (b, "eth0", "10.0.0.2/24"))
    scenario = cluster(NODES, blocks=BLOCKS)
    a.put(scenario)
    b.put(scenario)
    return a, b, scenario


def alive(pid):
    return os.path.exists(f"/proc/{pid}/fd")


def test_bird_outlives_the_agent_and_is_adopted(bed):
    a, b, scenario = pair(bed)
    since = a.established("Mesh_10_0_0_2")["Mesh_10_0_0_2"]["since"]
    pid = a.bird_pid()
    a.end_agent()
    assert alive(pid)
    a.begin()
    a.put(scenario)
    status = a.current()
    assert a.bird_pid() == pid and alive(pid) and status["problem"] == ""
    assert a.established("Mesh_10_0_0_2")["Mesh_10_0_0_2"]["since"] == since


def test_a_killed_bird_comes_back_by_graceful_restart(bed):
    a, b, scenario = pair(bed)
    a.established("Mesh_10_0_0_2")
    b.reaches("10.244.1.0/26", gateway="10.0.0.1")
    a.reaches("10.244.2.0/26", gateway="10.0.0.2")
    pid = a.bird_pid()
    since = b.established("Mesh_10_0_0_1")["Mesh_10_0_0_1"]["since"]
    monitor = b.spawn("ip", "monitor", "route", stdout=(b.dir / "monitor").open("w"))
    os.kill(pid, signal.SIGKILL)
    until(lambda: a.status()["state"] == "running" and a.bird_pid() != pid, "another BIRD", 30, detail=lambda: str(a.status()))
    assert "10.244.2.0/26" in a.kernel()
    until(lambda: b.established("Mesh_10_0_0_1")["Mesh_10_0_0_1"]["since"] != since, "another session", 40)
    a.established("Mesh_10_0_0_2")
    assert "-R" in open(f"/proc/{a.bird_pid()}/cmdline").read().split("\0")
    monitor.terminate()
    assert "Deleted 10.244.1.0/26" not in (b.dir / "monitor").read_text()


def test_what_bird_refuses_leaves_the_last_good_one(bed):
    a, b, scenario = pair(bed)
    a.established("Mesh_10_0_0_2")
    good = (a.run_dir / "bird.conf").read_text()
    assert (a.run_dir / "bird.conf").stat().st_mode & 0o777 == 0o600
    a.put_text(good.replace("multihop;", "multihop maybe;"))
    status = until(lambda: a.status()["problem"] and a.status(), "the refusal", 20)
    number = good.split("\n").index("\tmultihop;") + 1
    assert f"line {number} of " in status["problem"] and '"multihop maybe;"' in status["problem"] and "syntax error" in status["problem"]
    assert not status["current"] and status["state"] == "running"
    assert (a.run_dir / "bird.conf").read_text() == good
    # what is secret is not in the message
    a.put_text(good.replace("multihop;", 'password "hush" maybe;'))
    until(lambda: "password" in a.status()["problem"], "the refusal", 20)
    assert "hush" not in json.dumps(a.status())
    a.put(scenario)
    assert a.current()["problem"] == ""
    a.established("Mesh_10_0_0_2")


def test_the_first_one_is_judged_before_bird_starts(bed):
    a, b, scenario = pair(bed)
    a.established("Mesh_10_0_0_2")
    c = bed.add(Node, "c")
    c.put_text("router id 1.2.3.4;\nprotocol device { scan time often; }\n")
    status = until(lambda: "often" in c.status()["problem"] and c.status(), "the refusal", 20, detail=lambda: str(c.status()))
    assert "line 2" in status["problem"] and status["state"] == "absent" and not (c.run_dir / "bird.conf").exists()


def test_a_hanging_bird_is_told_and_left(bed):
    a, b, scenario = pair(bed, options=("program", BIRD, "start", "poll", "100", "timeout", "500"))
    a.established("Mesh_10_0_0_2")
    pid = a.bird_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        status = until(lambda: a.status()["state"] == "hanging" and a.status(), "hanging", 20)
        assert "hangs" in status["problem"]
        a.put({**scenario, "blocks": BLOCKS + [{"cidr": "10.244.6.0/26", "node": "a"}]})  # and the agent goes on answering
        assert not a.status()["current"]
    finally:
        os.kill(pid, signal.SIGCONT)
    assert a.current()["problem"] == ""
    assert a.bird_pid() == pid
    b.reaches("10.244.6.0/26", gateway="10.0.0.1")


def test_somebody_elses_bird(bed):
    """As a DaemonSet or a unit: the agent only writes its configuration."""
    a = bed.add(Node, "a", options=("poll", "100"))
    b = bed.add(Node, "b")
    bed.switch((a, "eth0", "10.0.0.1/24"), (b, "eth0", "10.0.0.2/24"))
    scenario = cluster(NODES, blocks=BLOCKS)
    b.put(scenario)
    a.put(scenario)
    status = until(lambda: a.status()["state"] == "absent" and a.status(), "absent", 20)
    assert "does not run" in status["problem"]
    until(lambda: (a.run_dir / "bird.conf").exists(), "the first configuration", 20)
    # a later one waits until a BIRD is there to judge it
    first = (a.run_dir / "bird.conf").read_text()
    a.put({**scenario, "blocks": BLOCKS[:1] + [{"cidr": "10.244.5.0/26", "node": "a"}]})
    a.spawn(BIRD, "-f", "-c", a.run_dir / "bird.conf", "-s", a.run_dir / "bird.ctl", "-P", a.run_dir / "bird.pid")
    a.current()
    assert (a.run_dir / "bird.conf").read_text() != first
    b.reaches("10.244.5.0/26", gateway="10.0.0.1")


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"0001 BIRD 9 ready.\n", b"9" * 100000 + b"\n", b"0001-" + b"x\n" * 1000])
def test_a_socket_that_is_no_bird(bed, reply):
    a = bed.add(Node, "a", options=("poll", "100", "timeout", "300"))
    until(lambda: a.run_dir.exists(), "the directory", 10)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(a.run_dir / "bird.ctl"))
    server.listen()
    kept = []

    def serve():
        while True:
            try:
                kept.append(server.accept()[0])
                kept[-1].sendall(reply)
                if not reply:
                    kept[-1].close()
            except OSError:
                return
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    until(lambda: a.status()["state"] == "hanging" and a.status()["problem"], "said so", 20, detail=lambda: str(a.status()))
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(10)


def test_a_bird_that_cannot_stay_is_started_again_and_told(bed):
    a = bed.add(Node, "a", options=("program", "/bin/false", "start", "poll", "100"))
    a.put_text("router id 1.2.3.4;\nprotocol device { }\n")
    until(lambda: "refuses" in a.status()["problem"] or "ended" in a.status()["problem"], "said so", 20, detail=lambda: str(a.status()))
    assert a.status()["state"] == "absent"


def test_a_calico_node(bed):
    """BIRD as Calico's own nodes configure theirs: the same mesh, LOCAL_PREF from metrics, no re-announcement."""
    a, calico = bed.add(Node, "a"), bed.add(PlainBird, "calico")
    bed.switch((a, "eth0", "10.0.0.1/24"), (calico, "eth0", "10.0.0.10/24"))
    a.put(cluster([NODES[0], node("calico", "10.0.0.10/24")], blocks=[BLOCKS[0]]))
    calico.begin("""
router id 10.0.0.10;
protocol device { scan time 2; }
protocol direct { ipv4; interface -"cali*", -"kube-ipvs*", "*"; }
protocol kernel { learn; persist; scan time 2; merge paths on; graceful restart on; metric 0;
  ipv4 { import all; export filter { if source != RTS_BGP then reject; krt_metric = 2147483647 - bgp_local_pref; accept; }; }; }
protocol static { ipv4; route 10.244.8.0/26 blackhole; }
filter calico_export { if source != RTS_BGP then bgp_local_pref = 2147482623; if net ~ [ 10.244.8.0/26 ] then accept;
  if net ~ [ 10.244.8.0/26+ ] then reject; if net ~ [ 10.244.0.0/16+ ] then accept; reject; }
protocol bgp Mesh_10_0_0_1 { local 10.0.0.10 as 64512; neighbor 10.0.0.1 as 64512; multihop; graceful restart on; connect delay time 2;
  connect retry time 5; error wait time 5,30;
  ipv4 { import all; export filter calico_export; gateway recursive; add paths on; }; }
""")
    a.established("Mesh_10_0_0_10")
    a.reaches("10.244.8.0/26", gateway="10.0.0.10", metric=1024)
    until(lambda: calico.kernel().get("10.244.1.0/26", {}).get("metric") == 1024, "Calico's node has the route at the normal priority", 30)
    assert "10.244.8.0/26" not in calico.birdc("show", "route", "protocol", "Mesh_10_0_0_1")
