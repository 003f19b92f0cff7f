# SPDX-License-Identifier: Apache-2.0
"""Packets through the ruleset that the plan for pools makes: what is translated, and to what; which packets of tunnels get
in, and which get out. One node; the wire behind it holds the addresses of everybody else."""
import ctypes
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "bpf"))

from beds import Space, plug  # noqa: E402

PLAN = os.environ.get("POOLS_PLAN", str(ROOT / "build/tests/unit/plan/test_pools_golden"))
NODE, PEER, STRANGER, EXTERNAL, OUTSIDE, EXEMPT = (
    "192.0.2.1", "192.0.2.2", "192.0.2.66", "192.0.2.77", "203.0.113.9", "198.51.100.9")
NODE6, PEER6, STRANGER6 = "2001:db8::1", "2001:db8::2", "2001:db8::66"
POD, REMOTE, TUNNEL = "10.244.0.1", "10.244.1.5", "10.244.0.0"
SCENARIO = f"""
name node-a
node node-a {NODE}/24 {NODE6}/64 vxlan {TUNNEL} vxlan fd00:244:: ipip 10.245.0.0 mac 66:00:00:00:00:01 mac6 66:00:00:00:06:01
node node-b {PEER}/24 {PEER6}/64 vxlan 10.244.1.0 vxlan fd00:244::40 ipip 10.245.1.0 mac 66:00:00:00:00:02
pool default 10.244.0.0/16 vxlan always nat
pool six fd00:244::/64 vxlan always
pool ip 10.245.0.0/16 ipip always
pool exempt 198.51.100.0/24 disabled
block 10.244.0.0/26 node-a
block 10.244.1.0/26 node-b
tunnel vxlan {TUNNEL}
tunnel vxlan fd00:244::
tunnel ipip 10.245.0.0
felix external {EXTERNAL}/32
uplink eth0 mtu 1500 addr {NODE} addr {NODE6} on-link 192.0.2.0/24 on-link 2001:db8::/64
option random-fully
option mark 0x4000
complete
"""
LIBC = ctypes.CDLL(None, use_errno=True)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists(PLAN), reason=f"{PLAN} is not built"),
]


def setns(fd):
    if LIBC.setns(fd, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_socket(space, *args):
    """A socket of that namespace."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{space.holder.pid}/ns/net", os.O_RDONLY)
    try:
        setns(there)
        return socket.socket(*args)
    finally:
        setns(home)
        os.close(home)
        os.close(there)


def udp(space, addr="", port=0):
    sock = open_socket(space, socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((addr, port))
    return sock


def got(sock, timeout=3.0):
    """The next packet and its sender, or None."""
    if not select.select([sock], [], [], timeout)[0]:
        return None
    return sock.recvfrom(65535)


def drain(sock):
    while got(sock, 0):
        pass


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def inner_packet(source, dst, payload=b"hello"):
    """IPv4 and UDP, without the sum of the latter."""
    size = 28 + len(payload)
    addrs = socket.inet_aton(source) + socket.inet_aton(dst)
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 17, 0) + addrs
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return head + struct.pack(">HHHH", 1111, 2222, 8 + len(payload), 0) + payload


def vxlan_packet(vni, packet, mac="660000000001"):
    frame = bytes.fromhex(mac) + bytes.fromhex("660000000002") + b"\x08\x00" + packet
    return struct.pack(">BBHI", 8, 0, 0, vni << 8) + frame


class Bed:
    def __init__(self, folder, extra=""):
        self.node, self.wire, self.pod = Space(), Space(), Space()
        plug(self.node, "eth0", self.wire, "up0")
        plug(self.node, "calia", self.pod, "eth0")
        for addr in (f"{NODE}/24", f"{NODE6}/64"):
            self.node(f"ip addr add {addr} dev eth0" + (" nodad" if ":" in addr else ""))
        for addr in (PEER, STRANGER, EXTERNAL):
            self.wire(f"ip addr add {addr}/24 dev up0")
        for addr in (PEER6, STRANGER6):
            self.wire(f"ip addr add {addr}/64 dev up0 nodad")
        for addr in (OUTSIDE, EXEMPT):
            self.wire(f"ip addr add {addr}/32 dev lo")
        self.wire(f"ip route add 10.244.0.0/24 via {NODE}")
        self.pod(f"ip addr add {POD}/32 dev eth0")
        self.pod("ip route add 169.254.1.1 dev eth0")
        self.pod("ip route add default via 169.254.1.1")
        self.node("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.calia.proxy_arp=1 net.ipv4.neigh.calia.proxy_delay=0")
        self.node(f"ip route add {POD} dev calia")
        self.node(f"ip route add default via {PEER}")
        self.tunnels()
        self.load(folder, SCENARIO + extra)

    def tunnels(self):
        self.node(f"ip link add vxlan.calico address 66:00:00:00:00:01 type vxlan id 4096 dstport 4789 local {NODE} dev eth0 "
                  "nolearning")
        self.node(f"ip link add vxlan-v6.calico address 66:00:00:00:06:01 type vxlan id 4096 dstport 4789 local {NODE6} dev eth0 "
                  "nolearning udp6zerocsumrx")
        self.node(f"ip link add other type vxlan id 77 dstport 4789 local {NODE} dev eth0 nolearning")
        self.node(f"ip addr add {TUNNEL}/32 dev vxlan.calico")
        for device in ("vxlan.calico", "vxlan-v6.calico", "other"):
            self.node(f"ip link set {device} up")
        self.node("ip route add 10.244.1.0/26 via 10.244.1.0 dev vxlan.calico onlink")
        self.node("ip neigh add 10.244.1.0 lladdr 66:00:00:00:00:02 dev vxlan.calico nud permanent")
        self.node(f"bridge fdb add 66:00:00:00:00:02 dst {PEER} dev vxlan.calico")

    def load(self, folder, text):
        scenario = folder / "scenario.in"
        scenario.write_text(text)
        out = subprocess.run([PLAN, "--print", str(scenario)], capture_output=True, text=True, check=True).stdout
        rules = folder / "rules.nft"
        rules.write_text(out[out.index("add table inet tulle"):out.index("pod mtu")])
        self.node(f"nft -f {rules}")

    def received(self, device):
        return json.loads(self.node(f"ip -s -j link show dev {device}"))[0]["stats64"]["rx"]["packets"]

    def close(self):
        for space in (self.pod, self.node, self.wire):
            space.close()


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    made = Bed(tmp_path_factory.mktemp("plan"))
    yield made
    made.close()


def sender_seen(source, target, addr):
    """Who sent what arrives at target."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        source.sendto(b"hello", (addr, target.getsockname()[1]))
        packet = got(target, 1)
        if packet:
            return packet[1]
    return None


# -- translation --

def test_pods_to_outside_are_masqueraded(bed):
    with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD) as pod:
        assert sender_seen(pod, target, OUTSIDE)[0] == NODE


def test_not_towards_a_disabled_pool(bed):
    with udp(bed.wire, EXEMPT) as target, udp(bed.pod, POD, 4001) as pod:
        assert sender_seen(pod, target, EXEMPT) == (POD, 4001)


def test_nodes_are_outside(bed):
    with udp(bed.wire, PEER) as target, udp(bed.pod, POD) as pod:
        assert sender_seen(pod, target, PEER)[0] == NODE


def test_no_source_port_is_that_of_vxlan(bed):
    """Also when the pod itself has it, and nothing but the range says no."""
    with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD, 4789) as pod:
        assert sender_seen(pod, target, OUTSIDE)[1] > 4789
    for _ in range(40):
        with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD) as pod:
            assert sender_seen(pod, target, OUTSIDE)[1] > 4789


def test_replies_come_back(bed):
    with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD, 4789) as pod:
        target.sendto(b"back", sender_seen(pod, target, OUTSIDE))
        assert got(pod)[0] == b"back"


def test_what_kube_proxy_marks_is_its_own(bed):
    bed.node(["nft", "table inet other { chain c { type filter hook forward priority 0; meta mark set 0x4000; }; }"])
    try:
        with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD, 4002) as pod:
            assert sender_seen(pod, target, OUTSIDE) == (POD, 4002)
    finally:
        bed.node("nft delete table inet other")


def tunnelled(bed, send):
    """Inner source of what the node sends through the tunnel to the peer."""
    with udp(bed.wire, PEER, 4789) as peer:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            send()
            packet = got(peer, 1)
            if packet and packet[0][20:22] == b"\x08\x00" and packet[0][22 + 9] == 17:
                inner = packet[0][22:]
                assert packet[1][0] == NODE
                return socket.inet_ntoa(inner[12:16]), struct.unpack(">H", inner[20:22])[0]
    return None


def test_the_node_itself_uses_the_tunnels_address(bed):
    with udp(bed.node, NODE) as host:
        source, port = tunnelled(bed, lambda: host.sendto(b"hello", (REMOTE, 2222)))
        assert source == TUNNEL and port > 4789


def test_others_keep_their_address_through_the_tunnel(bed):
    with udp(bed.pod, POD, 4003) as pod:
        assert tunnelled(bed, lambda: pod.sendto(b"hello", (REMOTE, 2222))) == (POD, 4003)


def test_tunnels_are_not_tracked(bed):
    with udp(bed.pod, POD, 4004) as pod:
        assert tunnelled(bed, lambda: pod.sendto(b"hello", (REMOTE, 2222)))
    flows = bed.node("cat /proc/net/nf_conntrack")
    assert "sport=4004 " in flows and "dport=4789 " not in flows


# -- protection --

def enters(bed, source, dst, device, packet):
    """Does the packet come out of that device of the node?"""
    before = bed.received(device)
    with udp(bed.wire, source) as sock:
        for _ in range(5):
            sock.sendto(packet, (dst, 4789))
    # behind a packet that nobody keeps out
    with udp(bed.wire, PEER) as sock, udp(bed.node, NODE) as target:
        assert sender_seen(sock, target, NODE)
    return bed.received(device) > before


@pytest.mark.parametrize("source, enter", [(PEER, True), (EXTERNAL, True), (STRANGER, False), (OUTSIDE, False)])
def test_vxlan_comes_from_nodes(bed, source, enter):
    packet = vxlan_packet(4096, inner_packet(REMOTE, TUNNEL))
    assert enters(bed, source, NODE, "vxlan.calico", packet) == enter


@pytest.mark.parametrize("source, enter", [(PEER6, True), (STRANGER6, False)])
def test_vxlan_over_ipv6_comes_from_nodes(bed, source, enter):
    packet = vxlan_packet(4096, inner_packet(REMOTE, TUNNEL), "660000000601")
    assert enters(bed, source, NODE6, "vxlan-v6.calico", packet) == enter


def test_another_vni_on_the_port_is_somebody_elses(bed):
    mac = json.loads(bed.node("ip -j link show dev other"))[0]["address"].replace(":", "")
    packet = vxlan_packet(77, inner_packet(REMOTE, TUNNEL), mac)
    assert enters(bed, STRANGER, NODE, "other", packet)


@pytest.mark.parametrize("source, enter", [(PEER, True), (EXTERNAL, True), (STRANGER, False)])
def test_ipip_comes_from_nodes(bed, source, enter):
    """To a raw socket, which gets what the input hook has let through."""
    taken = open_socket(bed.node, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    sender = open_socket(bed.wire, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    with taken, sender:
        sender.bind((source, 0))
        sender.sendto(inner_packet(REMOTE, TUNNEL), (NODE, 0))
        assert (got(taken, 3 if enter else 0.5) is not None) == enter


def test_pods_send_no_vxlan(bed):
    with udp(bed.wire, PEER, 4789) as peer, udp(bed.wire, PEER, 4790) as beside, udp(bed.pod, POD) as pod:
        drain(peer)
        pod.sendto(vxlan_packet(4096, inner_packet(POD, REMOTE)), (PEER, 4789))
        pod.sendto(b"hello", (PEER, 4789))
        assert sender_seen(pod, beside, PEER)
        assert got(peer, 0.2) is None
    before = bed.received("vxlan.calico")
    with udp(bed.pod, POD) as pod, udp(bed.wire, PEER) as target:
        pod.sendto(vxlan_packet(4096, inner_packet(REMOTE, TUNNEL)), (NODE, 4789))
        assert sender_seen(pod, target, PEER)
    assert bed.received("vxlan.calico") == before


def test_pods_send_no_ipip(bed):
    taken = open_socket(bed.wire, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    sender = open_socket(bed.pod, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    with taken, sender, udp(bed.wire, PEER) as beside, udp(bed.pod, POD) as pod:
        sender.sendto(inner_packet(POD, REMOTE), (PEER, 0))
        assert sender_seen(pod, beside, PEER)
        assert got(taken, 0.2) is None


# -- settings --

def test_settings(tmp_path):
    """A range of ports around that of vxlan, hosts excluded, one interface only, and pods that may tunnel."""
    bed = Bed(tmp_path, "felix nat-ports 4000 4800\nfelix exclude-hosts\nfelix nat-interfaces eth+\n"
              "felix vxlan-from-workloads\nfelix ipip-from-workloads\n")
    try:
        for _ in range(20):
            with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD) as pod:
                addr, port = sender_seen(pod, target, OUTSIDE)
                assert addr == NODE and 4000 <= port < 4789
        with udp(bed.wire, PEER) as target, udp(bed.pod, POD, 4001) as pod:
            assert sender_seen(pod, target, PEER) == (POD, 4001)
        with udp(bed.wire, PEER, 4789) as target, udp(bed.pod, POD, 4001) as pod:
            assert sender_seen(pod, target, PEER) == (POD, 4001)
        bed.load(tmp_path, SCENARIO + "felix nat-interfaces wlan0\n")
        with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD, 4005) as pod:
            assert sender_seen(pod, target, OUTSIDE) == (POD, 4005)
        bed.load(tmp_path, SCENARIO + f"felix nat-address {EXTERNAL}\n")
        with udp(bed.wire, OUTSIDE) as target, udp(bed.pod, POD, 4006) as pod:
            bed.wire(f"ip addr del {EXTERNAL}/24 dev up0")
            assert sender_seen(pod, target, OUTSIDE)[0] == EXTERNAL
    finally:
        bed.close()


# -- routes --

class PlannedNode(Space):
    """A node that holds what the plan says, put there by ip, bridge and nft."""

    def __init__(self, name, number, wire, pods):
        super().__init__()
        self.name, self.pods, self.spaces = name, pods, []
        plug(wire, f"port{number}", self, "eth0")
        wire(f"ip link set port{number} master br0")
        self(f"ip addr add 192.0.2.{number}/24 dev eth0")
        self(f"ip addr add 2001:db8::{number}/64 dev eth0 nodad")
        self("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for i, addrs in enumerate(pods):
            pod = Space()
            self.spaces.append(pod)
            plug(self, f"cali{i}", pod, "eth0")
            mac = json.loads(self(f"ip -j link show dev cali{i}"))[0]["address"]
            for addr in addrs:
                pod(f"ip addr add {addr}/{128 if ':' in addr else 32} dev eth0 {'nodad' if ':' in addr else ''}")
            pod("ip route add 169.254.1.1 dev eth0")
            pod("ip route add default via 169.254.1.1")
            pod(f"ip neigh add 169.254.1.1 lladdr {mac} dev eth0 nud permanent")
            pod(f"ip -6 neigh add fe80::1 lladdr {mac} dev eth0 nud permanent")
            pod("ip -6 route add default via fe80::1 dev eth0")

    def pod_lines(self):
        for i, (space, addrs) in enumerate(zip(self.spaces, self.pods)):
            mac = json.loads(space("ip -j link show dev eth0"))[0]["address"]
            yield f"pod cali{i} {mac} {' '.join(addrs)}"

    def apply(self, folder, cluster, tunnels):
        scenario = folder / f"{self.name}.in"
        scenario.write_text("\n".join([f"name {self.name}", cluster, *tunnels, *self.pod_lines()]) + "\n")
        out = subprocess.run([PLAN, "--print", str(scenario)], capture_output=True, text=True, check=True).stdout
        state, rules = out.split("add table inet tulle", 1)
        assert "complaint" not in rules
        (folder / "rules.nft").write_text("add table inet tulle" + rules[:rules.index("pod mtu")])
        self(f"nft -f {folder / 'rules.nft'}")
        for line in state.splitlines():
            self.apply_line(line.split())

    def apply_line(self, words):
        kind, rest = words[0], words[1:]
        value = dict(zip(rest[1:], rest[2:]))
        if kind == "link":
            self(["ip", "link", "add", rest[0], "mtu", value["mtu"], "address", value["mac"], "type", "vxlan", "id", value["vni"],
                  "dstport", value["port"], "local", value["local"], "dev", value["lower"], "nolearning",
                  *(["udp6zerocsumrx"] if ":" in value["local"] else [])])
            self(f"ip addr add {value['addr']} dev {rest[0]}" + (" nodad" if ":" in value["addr"] else ""))
            self(f"ip link set {rest[0]} up")
        elif kind == "neigh":
            self(f"ip neigh replace {rest[0]} lladdr {value['mac']} dev {value['dev']} nud permanent")
        elif kind == "fdb":
            self(f"bridge fdb append {rest[0]} dst {value['dst']} dev {value['dev']}")
        elif kind in ("route", "blackhole"):
            self(["ip", "route", "replace", *([kind] if kind == "blackhole" else []), *rest,
                  *(["metric", 4294901760] if kind == "blackhole" else [])])

    def close(self):
        for space in self.spaces:
            space.close()
        super().close()


def pings(space, addr, *options):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if " 0% packet loss" in space(["ping", "-c", 1, "-W", 1, *options, addr], check=False):
            return True
    return False


def cluster_of(mode):
    return f"""
node n1 192.0.2.1/24 2001:db8::1/64 vxlan 10.244.1.0 vxlan fd00:244::100
node n2 192.0.2.2/24 2001:db8::2/64 vxlan 10.244.2.0 vxlan fd00:244::200
pool four 10.244.0.0/16 {mode} nat
pool six fd00:244::/64 {mode} nat
block 10.244.1.0/26 n1 guest 10.244.1.9 n2
block 10.244.2.0/26 n2
block 10.244.3.3/32 n2
block fd00:244::100/122 n1 guest fd00:244::109 n2
block fd00:244::200/122 n2
uplink eth0 mtu 1500 on-link 192.0.2.0/24 on-link 2001:db8::/64
option random-fully
complete
"""


@pytest.fixture
def pair():
    wire = Space()
    wire("ip link add br0 type bridge mcast_snooping 0")
    wire("ip link set br0 up")
    nodes = [PlannedNode("n1", 1, wire, [["10.244.1.1", "fd00:244::101"]]),
             PlannedNode("n2", 2, wire, [["10.244.2.1", "fd00:244::201"], ["10.244.1.9", "fd00:244::109"], ["10.244.3.3"]])]
    yield nodes
    for space in (*nodes, wire):
        space.close()


@pytest.mark.parametrize("mode", ["vxlan always", "vxlan cross-subnet", ""])
def test_pods_reach_each_other(tmp_path, pair, mode):
    one, two = pair
    for number, node in enumerate(pair, 1):
        # without its tunnel addresses the node has no device, and both families need none where all is on-link
        tunnels = [f"tunnel vxlan 10.244.{number}.0", f"tunnel vxlan fd00:244::{number}00"] if mode else []
        node.apply(tmp_path, cluster_of(mode), tunnels)
    for addr in ("10.244.2.1", "10.244.1.9", "10.244.3.3", "fd00:244::201", "fd00:244::109"):
        assert pings(one.spaces[0], addr), f"{mode}: {addr} from a pod"
        assert pings(one, addr), f"{mode}: {addr} from its node"
    for addr in ("10.244.1.1", "fd00:244::101"):
        assert pings(two.spaces[1], addr), f"{mode}: {addr} from a pod with a borrowed address"
    through = int(json.loads(one("ip -s -j link show dev vxlan.calico"))[0]["stats64"]["tx"]["packets"]) if mode else 0
    assert (through > 0) == (mode == "vxlan always")


def test_nothing_goes_in_circles(tmp_path, pair):
    """What no pod has ends at the node that holds the block."""
    one, two = pair
    for number, node in enumerate(pair, 1):
        node.apply(tmp_path, cluster_of("vxlan always"), [f"tunnel vxlan 10.244.{number}.0", f"tunnel vxlan fd00:244::{number}00"])
        node("ip route add default via 192.0.2.%d" % (3 - number))
    assert pings(one.spaces[0], "10.244.2.1")
    before = json.loads(two("ip -s -j link show dev eth0"))[0]["stats64"]["tx"]["packets"]
    assert "exceeded" not in one.spaces[0](["ping", "-c", 3, "-i", 0.2, "-W", 1, "10.244.2.55"], check=False)
    after = json.loads(two("ip -s -j link show dev eth0"))[0]["stats64"]["tx"]["packets"]
    assert after - before < 20
