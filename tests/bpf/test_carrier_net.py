# SPDX-License-Identifier: Apache-2.0
"""The carrier between nodes: three nodes on a bridge, a pod each, all in namespaces that die with the test.

The underlay is virtual, which is the hard case: super-packets and the kernel's notes on encapsulation survive the wire.
"""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from beds import DEADLINE, KERNEL, PEER, Node, datagrams, make_wire, reached, stream, tool  # noqa: E402

TOOL = tool("carrier_tool")
PORT = 8285
MTU = 1452

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists(TOOL), reason=f"{TOOL} is not built"),
]


class CarrierNode(Node):
    def __init__(self, number, wire, env):
        super().__init__(number, wire, MTU)
        self.env, self.extra = env, []

    def carry(self, peers):
        self("ip link add flannel0 type veth peer name flannel0p")
        for device in ("flannel0", "flannel0p"):
            self(f"ip link set {device} arp off mtu {MTU} up")
        self.add("flannel0", f"10.42.{self.number}.0/32", f"fd00:42:0:{self.number}::/128")
        self.peers = peers
        self.apply()
        for peer in peers:
            self(f"ip route add 10.42.{peer.number}.0/24 dev flannel0")
            self(f"ip -6 route add fd00:42:0:{peer.number}::/64 dev flannel0")

    def arguments(self, port=PORT):
        tunnels = list(self.extra)
        for peer in self.peers:
            tunnels += [f"10.42.{peer.number}.0/24={peer.outer}", f"fd00:42:0:{peer.number}::/64={peer.outer6}"]
        n = self.number
        return ["flannel0", "up0", port, self.outer, self.outer6, f"10.42.{n}.0/24", f"fd00:42:0:{n}::/64", *tunnels]

    def apply(self):
        self([TOOL, "/sys/fs/bpf/t", "apply", *self.arguments()], env=self.env)

    def counts(self):
        lines = self([TOOL, "/sys/fs/bpf/t", "stats"]).splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}


@pytest.fixture(scope="module", params=["link", "filter"])
def bed(request):
    spaces = [wire := make_wire()]
    try:
        env = {"CARRIER_CLSACT": "1"} if request.param == "filter" else {}
        nodes = {n: CarrierNode(n, wire, env) for n in (1, 2, 3)}
        spaces += nodes.values()
        for n, node in nodes.items():
            node.carry([other for m, other in nodes.items() if m != n])
        nodes[0] = wire
        yield nodes
    finally:
        for space in spaces:
            space.close()


def drops(node):
    return {k: v for k, v in node.counts().items()
            if v and (k.startswith(("tx_", "rx_")) or k == "forged") and k != "tx_not_unicast"}


@pytest.mark.parametrize("version", [4, 6])
def test_pods_and_hosts_reach_pods(bed, version):
    target = bed[2].pod_addr[version]
    assert reached(bed[1].pod, target)
    assert reached(bed[1], target)
    assert reached(bed[3].pod, target)


@pytest.mark.parametrize("version", [4, 6])
def test_full_size_packets_fit_and_larger_ones_are_told(bed, version):
    target, header = bed[2].pod_addr[version], 28 if version == 4 else 48
    assert reached(bed[1].pod, target)
    assert reached(bed[1].pod, target, "-M", "do", "-s", str(MTU - header))
    answer = bed[1].pod(["sh", "-c", f"ping -c1 -W1 -M do -s {MTU - header + 1} {target} 2>&1"], check=False)
    assert "too long" in answer


OFFLOADS = {
    "offloads on": "tso on gso on tx on gro off",
    "no segmentation": "tso off gso off tx on gro off",
    "no checksums": "tso off gso off tx off gro off",
    "receiver merges": "tso off gso off tx on gro on",
}


@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("version", [4, 6])
def test_streams_and_datagrams_arrive_whole(bed, version, offload):
    source, dst = bed[1], bed[2]
    addr = dst.pod_addr[version]
    for node in (source, dst):
        node(f"ethtool -K up0 {OFFLOADS[offload]}", check=False)
    assert reached(source.pod, addr)
    before = drops(dst)
    stream(source.pod, dst.pod, addr)
    stream(source, dst.pod, addr, 3_000_000)
    datagrams(source.pod, dst.pod, addr, 50, 1000)
    datagrams(source.pod, dst.pod, addr, 10, 5000, 1000)
    if KERNEL >= (6, 11):  # before, a socket needs a device that sums, and the carrier's leaves that to the kernel
        datagrams(source, dst.pod, addr, 10, 5000, 1000)
    assert drops(dst) == before
    assert "InCsumErrors" not in dst.pod("nstat -a")
    for node in (source, dst):
        node(f"ethtool -K up0 {OFFLOADS['offloads on']}", check=False)


def test_a_pod_may_forward_what_came_through_the_carrier(bed):
    """The packet still counts as encapsulated: it must be encapsulated again all the same, super-packets too."""
    one, two, three = bed[1], bed[2], bed[3]
    client, server = "203.0.113.9", three.pod_addr[4]
    one.extra, two.extra, three.extra = [f"{server}/32={two.outer}"], [f"{client}/32={one.outer}"], \
        [f"{client}/32={two.outer}"]
    for node in (one, two, three):
        node.apply()
    one.pod(f"ip addr add {client}/32 dev lo")
    one(f"ip route add {client} via {one.pod_addr[4]}")
    two("ip rule add iif flannel0 lookup 100")
    two(f"ip route add default via {two.pod_addr[4]} table 100")
    two(f"ip route add {client} dev flannel0")
    three(f"ip route add {client} dev flannel0")
    two.pod("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0")
    try:
        sent = two.counts()["sent"]
        assert reached(one.pod, server, "-I", client)
        assert two.counts()["sent"] > sent
        stream(one.pod, three.pod, server, bind=client)
        two("ethtool -K up0 tso off gso off tx off")
        stream(one.pod, three.pod, server, 5_000_000, bind=client)
    finally:
        two("ethtool -K up0 tso on gso on tx on", check=False)
        one(f"ip route del {client}")
        two(f"ip route del {client}")
        two("ip rule del iif flannel0 lookup 100")
        three(f"ip route del {client}")
        one.extra = two.extra = three.extra = []
        for node in (one, two, three):
            node.apply()


def test_nothing_is_lost_while_agents_come_and_go(bed):
    source, target = bed[1], bed[2].pod_addr[4]
    assert reached(source.pod, target)
    ping = subprocess.Popen(source.pod.argv(f"ping -i 0.002 -c 2000 -q {target}"), stdout=subprocess.PIPE, text=True)
    for turn in range(20):
        source.extra = [f"10.43.{turn}.0/24={bed[3].outer}"]
        bed[2].extra = [f"10.44.{n}.0/24={bed[3].outer}" for n in range(turn)]
        source.apply()
        bed[2].apply()
    out, _ = ping.communicate(timeout=DEADLINE)
    source.extra = bed[2].extra = []
    source.apply()
    bed[2].apply()
    assert "2000 received" in out, out


def test_a_sender_that_is_no_node_is_dropped(bed):
    wire, dst = bed[0], bed[2]
    wire("ip addr add 192.0.2.99/24 dev br0", check=False)
    before = dst.counts()["rx_no_node"]
    counter = dst.pod.start([*PEER, "udp-count", dst.pod_addr[4], 7002, 1])
    wire([*PEER, "raw-inner", dst.outer, PORT, bed[1].pod_addr[4], dst.pod_addr[4], 7002])
    got, _ = counter.communicate(timeout=DEADLINE)
    assert got.split()[0] == "0"
    assert dst.counts()["rx_no_node"] == before + 1


def test_a_process_on_a_node_cannot_forge(bed):
    source, dst = bed[1], bed[2]
    counter = dst.pod.start([*PEER, "udp-count", dst.pod_addr[4], 7003, 1])
    before = source.counts()["forged"]
    source([*PEER, "raw-inner", dst.outer, PORT, bed[3].pod_addr[4], dst.pod_addr[4], 7003])
    got, _ = counter.communicate(timeout=DEADLINE)
    assert got.split()[0] == "0"
    assert source.counts()["forged"] == before + 1


def test_programs_that_were_removed_are_found_missing_and_put_back(bed):
    node = bed[3]
    hold = subprocess.Popen(node.argv([TOOL, "/sys/fs/bpf/t", "hold", *node.arguments()]), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env={**os.environ, **node.env})

    def attached():
        hold.stdin.write("?\n")
        hold.stdin.flush()
        return hold.stdout.readline() == "yes\n"

    try:
        assert hold.stdout.readline() == "ready\n"
        assert attached()
        node("rm /sys/fs/bpf/t/carrier/rx" if not node.env else "tc qdisc del dev up0 clsact")
        assert not attached()
        node.apply()
        assert attached()
    finally:
        hold.stdin.close()
        hold.wait(timeout=DEADLINE)
    assert reached(bed[1].pod, node.pod_addr[4])


def test_flannels_own_user_space_relay_is_a_peer(bed):
    """Node 3 becomes a node that runs flanneld: a TUN device and a UDP socket; payload = the IP packet."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun")
    node, others = bed[3], (bed[1], bed[2])
    node([TOOL, "/sys/fs/bpf/t", "remove"])
    node("ip link del flannel0")
    relay = node.start([*PEER, "relay", "flannel0", node.outer, PORT,
                        *(f"10.42.{o.number}.0/24={o.outer}" for o in others)])
    try:
        node(f"ip link set flannel0 up mtu {MTU}")
        node("ip addr add 10.42.3.0/32 dev flannel0")
        node("ip route add 10.42.0.0/16 dev flannel0")
        assert reached(others[0].pod, node.pod_addr[4])
        assert reached(node, others[0].pod_addr[4])
        stream(others[0].pod, node.pod, node.pod_addr[4], 3_000_000)
        stream(node.pod, others[1].pod, others[1].pod_addr[4], 3_000_000)
        datagrams(others[0].pod, node.pod, node.pod_addr[4], 10, 5000, 1000)
    finally:
        relay.kill()
        relay.wait()
    node.carry(node.peers)
    assert reached(others[0].pod, node.pod_addr[4])


def test_removal_leaves_nothing(bed):
    node = bed[2]
    node([TOOL, "/sys/fs/bpf/t", "remove"])
    assert node("ls /sys/fs/bpf/t") == ""
    assert "carrier" not in node("bpftool net show")
    node([TOOL, "/sys/fs/bpf/t", "remove"])
    node.apply()
    assert reached(bed[1].pod, node.pod_addr[4])
