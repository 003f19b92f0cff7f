# SPDX-License-Identifier: Apache-2.0
"""IPIP between two nodes: carrier to carrier, and carrier to the kernel's tunl0 where the kernel has it, both ways.

The underlay is virtual, which is the hard case: super-packets and the kernel's notes on encapsulation survive the wire."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from beds import DEADLINE, KERNEL, PEER, Node, Space, datagrams, make_wire, reached, stream, tool  # noqa: E402

TOOL, GUARD = tool("carrier_tool"), tool("guard_tool")
MTU = 1480

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists(TOOL), reason=f"{TOOL} is not built"),
]


class IpipNode(Node):
    """device: what its tunnel is called. A carrier stands beside the kernel's tunl0 where the module has made one."""

    def __init__(self, number, wire, kind):
        super().__init__(number, wire, MTU)
        self.kind, self.device = kind, "tunl0" if kind == "kernel" else "carrier0"
        if kind == "kernel":
            self("ip link add tunl0 type ipip", check=False)
        else:
            self("ip link add carrier0 type veth peer name carrier0p")
            self(f"ip link set carrier0p arp off mtu {MTU} up")
            self("ip link set carrier0 arp off")
        self(f"ip link set {self.device} mtu {MTU} up")
        self.add(self.device, f"10.42.{number}.0/32")

    def join(self, peers):
        self.peers = peers
        self.apply()
        for peer in peers:
            self(f"ip route add 10.42.{peer.number}.0/24 via {peer.outer} dev {self.device} onlink")

    def apply(self, env=None):
        if self.kind == "carrier":
            self([TOOL, "/sys/fs/bpf/t", "apply", "carrier0", "up0", "ipip", self.outer, "-", f"10.42.{self.number}.0/24",
                  "-", *(f"10.42.{peer.number}.0/24={peer.outer}" for peer in self.peers)], env=env)

    def counts(self):
        lines = self([TOOL, "/sys/fs/bpf/t", "stats"]).splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    def drops(self):
        return {k: v for k, v in self.counts().items()
                if v and (k.startswith(("tx_", "rx_")) or k == "forged") and not k.startswith("tx_not_")}


def has_ipip():
    space = Space()
    try:
        return subprocess.run(space.argv("ip link add probe0 type ipip remote 192.0.2.77"), capture_output=True).returncode == 0
    finally:
        space.close()


@pytest.fixture(scope="module", params=["carrier", "kernel"])
def bed(request):
    if request.param == "kernel" and not has_ipip():
        pytest.skip("this kernel has no module ipip")
    spaces = [wire := make_wire()]
    try:
        nodes = {1: IpipNode(1, wire, "carrier"), 2: IpipNode(2, wire, request.param)}
        spaces += nodes.values()
        for n, node in nodes.items():
            node.join([other for m, other in nodes.items() if m != n])
        nodes[0] = wire
        yield nodes
    finally:
        for space in spaces:
            space.close()


WAYS = pytest.mark.parametrize("way", [(1, 2), (2, 1)], ids=["from the carrier", "to the carrier"])


@WAYS
def test_pods_and_hosts_reach_pods(bed, way):
    source, target = bed[way[0]], bed[way[1]].pod_addr[4]
    assert reached(source.pod, target)
    assert reached(source, target)


@WAYS
def test_full_size_packets_fit_and_larger_ones_are_told(bed, way):
    source, target = bed[way[0]], bed[way[1]].pod_addr[4]
    source.pod("ip link set eth0 mtu 1500")
    try:
        assert reached(source.pod, target)
        assert reached(source.pod, target, "-M", "do", "-s", str(MTU - 28))
        answer = source.pod(["sh", "-c", f"ping -c1 -W1 -M do -s {MTU - 27} {target} 2>&1"], check=False)
        assert re.search(rf"mtu ?= ?{MTU}", answer), answer
        assert reached(source.pod, target, "-M", "dont", "-s", str(3 * MTU))
    finally:
        source.pod("ip route flush cache")
        source.pod(f"ip link set eth0 mtu {MTU}")


OFFLOADS = {
    "offloads on": "tso on gso on tx on gro off",
    "no segmentation": "tso off gso off tx on gro off",
    "no checksums": "tso off gso off tx off gro off",
    "receiver merges": "tso off gso off tx on gro on",
}


@WAYS
@pytest.mark.parametrize("offload", OFFLOADS)
def test_streams_and_datagrams_arrive_whole(bed, way, offload):
    source, dst = bed[way[0]], bed[way[1]]
    addr = dst.pod_addr[4]
    for node in (source, dst):
        node(f"ethtool -K up0 {OFFLOADS[offload]}", check=False)
    try:
        assert reached(source.pod, addr)
        before = bed[1].drops()
        stream(source.pod, dst.pod, addr)
        stream(source, dst.pod, addr, 3_000_000)
        datagrams(source.pod, dst.pod, addr, 50, 1000)
        datagrams(source.pod, dst.pod, addr, 10, 5000, 1000)
        if source.kind == "kernel" or KERNEL >= (6, 11):
            datagrams(source, dst.pod, addr, 10, 5000, 1000)
        assert bed[1].drops() == before
        assert "InCsumErrors" not in dst.pod("nstat -a")
    finally:
        for node in (source, dst):
            node(f"ethtool -K up0 {OFFLOADS['offloads on']}", check=False)


PINGS = [("-Q", "0xb8"), ("-Q", "0x01"), ("-Q", "0x02"), ("-Q", "0xbb"), ("-t", "9"), ("-M", "do"), ("-M", "dont"), ("-s", "1400")]


def outer_headers(bed, source, target):
    """What of the outer headers a receiver sees, one for each kind of ping."""
    capture = bed[0].start(["sh", "-c", f"echo ready; exec timeout {DEADLINE} tcpdump -i port{source.number} -nn -v -l -c "
                            f"{len(PINGS)} 'ip proto 4 and src {source.outer}' 2>/dev/null"])
    subprocess.run(bed[0].argv(["timeout", "10", "sh", "-c", f"until grep -q . /proc/net/packet && [ $(wc -l </proc/net/packet) -gt 1 ]; do :; done"]),
                   check=True)
    for options in PINGS:
        source.pod(["ping", "-c", "1", "-W", "1", *options, target], check=False)
    text, _ = capture.communicate(timeout=DEADLINE)
    found = re.findall(r"IP \(tos (0x\w+)\S* ttl (\d+), id \d+, offset (\d+), flags \[(\w+)\], proto IPIP \(4\), length (\d+)", text)
    assert len(found) == len(PINGS), text
    return found


def test_the_packets_are_those_of_the_kernel(bed):
    if bed[2].kind != "kernel":
        pytest.skip("two carriers")
    assert reached(bed[1].pod, bed[2].pod_addr[4])
    assert outer_headers(bed, bed[1], bed[2].pod_addr[4]) == outer_headers(bed, bed[2], bed[1].pod_addr[4])


def test_nothing_is_lost_while_agents_come_and_go(bed):
    source, target = bed[1], bed[2].pod_addr[4]
    assert reached(source.pod, target)
    ping = subprocess.Popen(source.pod.argv(f"ping -i 0.002 -c 1000 -q {target}"), stdout=subprocess.PIPE, text=True)
    for turn in range(10):
        source([TOOL, "/sys/fs/bpf/t", "apply", "carrier0", "up0", "ipip", source.outer, "-", "10.42.1.0/24", "-",
                f"10.42.2.0/24={bed[2].outer}", f"10.43.{turn}.0/24={bed[2].outer}"])
    out, _ = ping.communicate(timeout=DEADLINE)
    source.apply()
    assert "1000 received" in out, out


def counted(dst, port, act):
    """How many datagrams arrive at the pod's port."""
    counter = dst.pod.start([*PEER, "udp-count", dst.pod_addr[4], port, 1])
    act()
    got, _ = counter.communicate(timeout=DEADLINE)
    return int(got.split()[0])


def test_a_sender_that_is_no_node_is_dropped(bed):
    wire, dst = bed[0], bed[1]
    wire("ip addr add 192.0.2.99/24 dev br0", check=False)
    before = dst.counts()["rx_no_node"]
    assert counted(dst, 7002, lambda: wire([*PEER, "raw-ipip", dst.outer, bed[2].pod_addr[4], dst.pod_addr[4], 7002])) == 0
    assert dst.counts()["rx_no_node"] == before + 1


def test_a_node_cannot_send_as_another(bed):
    dst = bed[1]
    before = dst.counts()
    if bed[2].kind == "carrier":  # its own guard would keep it from sending at all
        bed[2]([TOOL, "/sys/fs/bpf/t", "remove"])
    try:
        assert counted(dst, 7003, lambda: bed[2]([*PEER, "raw-ipip", dst.outer, "10.42.1.9", dst.pod_addr[4], 7003])) == 0
        assert dst.counts()["rx_foreign"] == before["rx_foreign"] + 1
        # a client outside that is routed through the node
        assert counted(dst, 7004, lambda: bed[2]([*PEER, "raw-ipip", dst.outer, "203.0.113.9", dst.pod_addr[4], 7004])) == 1
    finally:
        bed[2].apply()


def test_a_process_on_a_node_cannot_forge(bed):
    source, dst = bed[1], bed[2]
    before = source.counts()["forged"]
    assert counted(dst, 7005, lambda: source([*PEER, "raw-ipip", dst.outer, "10.42.1.2", dst.pod_addr[4], 7005])) == 0
    assert source.counts()["forged"] == before + 1


@pytest.mark.parametrize("way", ["link", "filter"])
@pytest.mark.parametrize("last", ["carrier", "guard"])
def test_the_guard_looks_first(bed, way, last):
    """Whichever of the two was attached last."""
    node, peer, wire = bed[1], bed[2], bed[0]
    env = {"CARRIER_CLSACT": "1", "GUARD_CLSACT": "1"} if way == "filter" else {}

    def guard():
        node([GUARD, "/sys/fs/bpf/t", "apply", "up0", 0, 0, "i", "pool=10.42.0.0/16", f"node={peer.outer}",
              f"source=10.42.2.0/24={peer.outer}", f"source=10.42.1.0/24={node.outer}"], env=env)

    def guarded():
        lines = node([GUARD, "/sys/fs/bpf/t", "stats"]).splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}

    def received():
        return {k: v for k, v in node.counts().items() if k.startswith(("rx_", "received"))}

    wire("ip addr add 192.0.2.99/24 dev br0", check=False)
    node([TOOL, "/sys/fs/bpf/t", "remove"])
    try:
        for one in ("guard", "carrier") if last == "carrier" else ("carrier", "guard"):
            guard() if one == "guard" else node.apply(env)
        assert reached(peer.pod, node.pod_addr[4])
        before, carried = guarded(), received()
        assert before["accepted"] > 0
        assert counted(node, 7006, lambda: wire([*PEER, "raw-ipip", node.outer, "10.42.2.7", node.pod_addr[4], 7006])) == 0
        assert guarded()["no_node"] == before["no_node"] + 1
        assert received() == carried
    finally:
        node([GUARD, "/sys/fs/bpf/t", "remove"])
        node([TOOL, "/sys/fs/bpf/t", "remove"])
        node.apply()


def test_removal_leaves_nothing(bed):
    node = bed[1]
    node([TOOL, "/sys/fs/bpf/t", "remove"])
    assert node("ls /sys/fs/bpf/t") == ""
    assert "ipip" not in node("bpftool net show")
    node.apply()
    assert reached(node.pod, bed[2].pod_addr[4])
