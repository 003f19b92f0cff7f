# SPDX-License-Identifier: Apache-2.0
"""Pods in numbers: 200 at once, a block that runs out, DEL without an agent, agents killed in between, clean-up."""
import concurrent.futures
import json
import os
import random

import pytest
from tullelab import wait
from tullelab.errors import CniError

PODS = 200


@pytest.fixture(scope="module")
def lab(built, make_lab):
    return make_lab(nodes=1, agent_args=["--address-rest", "1"])


def each(function, items, workers=8):
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def veths(node) -> int:
    return sum(1 for link in json.loads(node.run(["ip", "-j", "link"]).stdout) if link["ifname"].startswith("tul"))


def test_two_hundred_at_once(lab, eyes):
    node = lab.nodes[0]
    pods = each(lambda i: node.pod_add(f"many-{i}"), range(PODS), 32)
    assert len({pod.ip for pod in pods}) == PODS
    assert eyes(node).status()["pods"] == PODS
    pods[0].ping(pods[-1].ip)
    each(lambda pod: pod.delete(), pods, 32)
    assert eyes(node).status()["pods"] == 0
    wait.until(lambda: veths(node) == 0, "all interfaces are gone", 20)
    assert not [dst for dst in eyes(node).routes() if "/" not in dst]


def test_a_block_that_runs_out_and_recovers(built, make_lab, eyes):
    lab = make_lab(nodes=1, net_conf={"SubnetLen": 28}, agent_args=["--address-rest", "1"])
    node = lab.nodes[0]
    pods = []
    with pytest.raises(CniError) as refused:
        for i in range(20):
            pods.append(node.pod_add(f"p{i}"))
    assert refused.value.code == 11 and len(pods) == 13  # 16 less network, gateway, broadcast
    assert eyes(node).own_subnet() in str(refused.value)
    freed = pods.pop(3)
    address = freed.ip
    freed.delete()
    new = wait.until(lambda: node.pod_add("again"), "the address is given out again after its rest", 10)
    assert new.ip == address


def test_del_while_the_agent_is_away_is_spooled(lab, eyes):
    node = lab.nodes[0]
    pods = [node.pod_add(f"s{i}") for i in range(3)]
    node.agent_kill()
    for pod in pods:
        pod.delete()
    spool = node.root / "var/lib/tulle/spool"
    assert len(list(spool.iterdir())) == 3
    with pytest.raises(CniError) as refused:
        node.pod_add("early")
    assert refused.value.code == 11
    node.agent_start()
    wait.until(lambda: not list(spool.iterdir()) and eyes(node).status()["pods"] == 0, "the spool is drained")


def test_agent_killed_between_adds_and_dels(lab, eyes):
    """kill -9 at random points of many ADDs and DELs: afterwards no address, veth or route is left over."""
    node = lab.nodes[0]
    rounds = 40 if os.environ.get("TULLE_SOAK") else 4

    def life(i):
        try:
            pod = node.pod_add(f"k{i}")
        except CniError:
            return
        pod.delete()

    for n in range(rounds):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            work = [pool.submit(life, f"{n}-{i}") for i in range(16)]
            wait.until(lambda: sum(f.done() for f in work) >= random.randrange(1, 12), "some are done", 30)
            node.agent_kill()
            node.agent_start()
            for one in work:
                one.result()
    wait.until(lambda: veths(node) == 0, "all interfaces are gone", 20)
    assert eyes(node).status()["pods"] == 0
    assert not [dst for dst in eyes(node).routes() if "/" not in dst]


def test_check_status_and_gc_as_a_runtime_calls_them(lab, eyes):
    node = lab.nodes[0]
    conflist = json.loads(node.read("/etc/cni/net.d/10-tulle.conflist"))
    # Debian's portmap knows no GC and no STATUS (CNI 1.1.0), so ours stands alone
    node.write("/etc/cni/net.d/05-alone.conflist",
               json.dumps(dict(conflist, cniVersion="1.1.0", plugins=conflist["plugins"][:1])))
    try:
        kept, gone = node.pod_add("kept"), node.pod_add("gone")
        node.runtime.status()
        kept.check()
        node.run(["ip", "addr", "del", f"{kept.ip}/32", "dev", "eth0"], netns=kept.netns_path)
        with pytest.raises(CniError) as wrong:
            kept.check()
        assert kept.ip in str(wrong.value)
        node.runtime.gc([kept.attachment])
        assert eyes(node).status()["pods"] == 1
        gone.delete()
        kept.delete()
    finally:
        (node.root / "etc/cni/net.d/05-alone.conflist").unlink()


def test_bandwidth_is_shaped_at_both_ends(lab):
    node = lab.nodes[0]
    pod = node.pod_add("slow", bandwidth={"ingressRate": 8_000_000, "ingressBurst": 800_000,
                                          "egressRate": 16_000_000, "egressBurst": 800_000})
    host = next(i["name"] for i in pod.result["interfaces"] if i["name"].startswith("tul"))
    assert "tbf" in node.run(["tc", "qdisc", "show", "dev", host]).stdout
    assert "rate 8Mbit" in node.run(["tc", "qdisc", "show", "dev", host]).stdout
    assert "rate 16Mbit" in pod.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    pod.check()
    pod.delete()


@pytest.mark.parametrize("unstated", [2**32 - 1, 8 * (2**32 - 1) - 1], ids=["containerd", "CRI-O"])
def test_a_rate_alone_is_in_force_at_once(lab, unstated):
    """A pod's annotations state no burst; runtimes then send a number that would let half a gigabyte pass, or four."""
    node = lab.nodes[0]
    pod = node.pod_add("slow", bandwidth={"ingressRate": 8_000_000, "ingressBurst": unstated,
                                          "egressRate": 16_000_000, "egressBurst": unstated})
    host = next(i["name"] for i in pod.result["interfaces"] if i["name"].startswith("tul"))
    shown = [json.loads(place.run(["tc", "-j", "qdisc", "show", "dev", name]).stdout)[0]["options"] for place, name in ((node, host), (pod, "eth0"))]
    assert [one["rate"] for one in shown] == [1_000_000, 2_000_000]
    assert [one["burst"] for one in shown] == [100_000, 200_000], "bytes of a tenth of a second"
    pod.delete()


def test_a_host_port_reaches_the_pod(lab):
    node = lab.nodes[0]
    pod = node.pod_add("web", ports=[{"hostPort": 8088, "containerPort": 8080, "protocol": "tcp"}])
    pod.serve(8080)
    assert lab.outside.http(f"http://{node.ip}:8088/")[0] == 200
    pod.delete()
    with pytest.raises(OSError):
        lab.outside.http(f"http://{node.ip}:8088/", timeout=0.5)


def test_requested_address_and_mac(lab, eyes):
    node = lab.nodes[0]
    wanted = eyes(node).own_subnet().rsplit(".", 1)[0] + ".99"
    pod = node.pod_add("asked", ips=[wanted], mac="02:00:00:00:12:34")
    assert pod.ip == wanted and "02:00:00:00:12:34" in pod.run(["ip", "link", "show", "eth0"]).stdout
    with pytest.raises(CniError) as refused:
        node.pod_add("again", ips=[wanted])
    assert wanted in str(refused.value)
    with pytest.raises(CniError) as refused:
        node.pod_add("foreign", ips=["10.99.0.1"])
    assert refused.value.code == 7 and "10.99.0.1" in str(refused.value)
    pod.delete()


def test_reboot_voids_everything(lab, eyes):
    """A new boot id: what was attached does not count any more, whatever the journal says."""
    node = lab.nodes[0]
    pod = node.pod_add("before")
    node.agent_stop()
    boot_id = "/proc/sys/kernel/random/boot_id"
    node.run(["ip", "link", "del", next(i["name"] for i in pod.result["interfaces"] if i["name"].startswith("tul"))])
    node.write("/run/boot_id", "11111111-2222-3333-4444-555555555555\n")
    node.run(["mount", "--bind", "/run/boot_id", boot_id])
    try:
        node.agent_start()
        assert eyes(node).status()["pods"] == 0
        node.agent_stop()
    finally:
        node.run(["umount", boot_id])
    node.agent_start()
    pod.delete()


def test_cleanup_leaves_nothing(built, make_lab, eyes):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]

    def state():
        links = sorted(link["ifname"] for link in json.loads(node.run(["ip", "-j", "link"]).stdout))
        return links, node.run(["ip", "route"]).stdout, node.run(["nft", "list", "ruleset"]).stdout
    before = state()
    node.agent_start()
    node.pod_add("one")
    refused = eyes(node).ctl("cleanup", "--yes", check=False)
    assert refused.returncode == 1 and "stop it first" in refused.stderr
    node.agent_stop()
    assert eyes(node).ctl("cleanup", check=False).returncode == 2
    done = eyes(node).ctl("cleanup", "--yes")
    assert "flannel.1" in done.stdout and "tul" in done.stdout
    assert state() == before
    assert not node.exists("/var/lib/tulle/journal") and not node.exists("/run/flannel/subnet.env")
