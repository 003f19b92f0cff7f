# SPDX-License-Identifier: Apache-2.0
"""The guard in front of the kernel's vxlan devices: two nodes and a stranger on a bridge."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from beds import DEADLINE, PEER, Node, make_wire, reached, stream, tool  # noqa: E402

TOOL = tool("guard_tool")
PORT, VNI, MTU = 4789, 4096, 1430
FRAGMENTED = 1440  # bytes of payload, too many for the wire with the outer headers only

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists(TOOL), reason=f"{TOOL} is not built"),
]


def mac(number, version):
    return f"66:00:00:00:{version:02x}:{number:02x}"


class VxlanNode(Node):
    def __init__(self, number, wire, env):
        super().__init__(number, wire, MTU)
        self.env = env
        self.vtep = {4: f"10.42.{number}.0", 6: f"fd00:42:0:{number}::"}
        for version, outer in ((4, self.outer), (6, self.outer6)):
            self(f"ip link add vxlan{version} address {mac(number, version)} mtu {MTU} type vxlan id {VNI} local {outer} dev up0 "
                 f"dstport {PORT} nolearning")
            self(f"ip link set vxlan{version} up")
            self.add(f"vxlan{version}", f"{self.vtep[version]}/{32 if version == 4 else 128}")

    def join(self, peer):
        for version, outer in ((4, peer.outer), (6, peer.outer6)):
            self(f"ip neigh replace {peer.vtep[version]} lladdr {mac(peer.number, version)} dev vxlan{version} nud permanent")
            self(f"bridge fdb replace {mac(peer.number, version)} dev vxlan{version} dst {outer} self permanent")
            self(f"ip route add {peer.vtep[version]}/{24 if version == 4 else 64} via {peer.vtep[version]} dev vxlan{version} onlink")

    def guard(self, *words, check=True):
        done = subprocess.run(self.argv([TOOL, "/sys/fs/bpf/t", "apply", "up0", PORT, VNI, "46i", *words]), capture_output=True,
                              text=True, env={**os.environ, **self.env})
        assert not check or done.stdout == "attached\n", done.stderr
        return done.stderr

    def counts(self):
        lines = self([TOOL, "/sys/fs/bpf/t", "stats"]).splitlines()
        return {line.split()[0]: int(line.split()[1]) for line in lines}


WORDS = ["pool=10.42.0.0/16", "pool=fd00:42::/32", "node=192.0.2.2", "node=2001:db8::2",
         *(f"source={dst}=192.0.2.{n}" for n in (1, 2, 3) for dst in (f"10.42.{n}.0/24", f"192.0.2.{n}/32")),
         *(f"source={dst}=2001:db8::{n}" for n in (1, 2, 3) for dst in (f"fd00:42:0:{n}::/64", f"2001:db8::{n}/128"))]


@pytest.fixture(scope="module", params=["link", "filter"])
def bed(request):
    spaces = [wire := make_wire()]
    try:
        env = {"GUARD_CLSACT": "1"} if request.param == "filter" else {}
        nodes = {n: VxlanNode(n, wire, env) for n in (1, 2)}
        spaces += nodes.values()
        nodes[1].join(nodes[2])
        nodes[2].join(nodes[1])
        wire("ip addr add 192.0.2.99/24 dev br0")
        wire("ip addr add 2001:db8::99/64 dev br0 nodad")
        nodes[1].pod("ip link set eth0 mtu 1500")
        nodes[1].guard(*WORDS)
        nodes[0] = wire
        yield nodes
    finally:
        for space in spaces:
            space.close()


@pytest.mark.parametrize("version", [4, 6])
def test_nodes_and_their_pods_pass(bed, version):
    one, two = bed[1], bed[2]
    before = one.counts()
    assert reached(two.pod, one.pod_addr[version])
    assert reached(two, one.pod_addr[version])
    assert reached(one.pod, two.pod_addr[version])
    stream(two.pod, one.pod, one.pod_addr[version])
    stream(one.pod, two.pod, two.pod_addr[version], 3_000_000)
    after = one.counts()
    assert after.pop("accepted") > before.pop("accepted")
    assert after == before


def arrives(bed, sender, version, source, size=6, vni=VNI, port=7000):
    """Does a frame made by hand reach node 1's pod? And what the guard counted."""
    one = bed[1]
    before = one.counts()
    outer, addr = (one.outer, one.pod_addr[4]) if version == 4 else (one.outer6, one.pod_addr[6])
    counter = one.pod.start([*PEER, "udp-count", addr, port, 1])
    sender([*PEER, "raw-vxlan", outer, PORT, vni, mac(1, version), source, addr, port, size])
    got, _ = counter.communicate(timeout=DEADLINE)
    after = one.counts()
    return int(got.split()[0]), {name for name in after if after[name] != before[name]}


CASES = [
    ("a pod of the node", 2, {4: "10.42.2.77", 6: "fd00:42:0:2::77"}, 1, "accepted"),
    ("a client outside", 2, {4: "203.0.113.9", 6: "2001:db8:ffff::9"}, 1, "accepted"),
    ("a pod of another node", 2, {4: "10.42.3.77", 6: "fd00:42:0:3::77"}, 0, "foreign"),
    ("a pod of ours", 2, {4: "10.42.1.77", 6: "fd00:42:0:1::77"}, 0, "foreign"),
    ("another node", 2, {4: "192.0.2.3", 6: "2001:db8::3"}, 0, "foreign"),
    ("a free address of the pool", 2, {4: "10.42.99.1", 6: "fd00:42:0:99::1"}, 0, "nobody"),
    ("a stranger, as a pod", 0, {4: "10.42.2.77", 6: "fd00:42:0:2::77"}, 0, "no_node"),
    ("a stranger, as a client outside", 0, {4: "203.0.113.9", 6: "2001:db8:ffff::9"}, 0, "no_node"),
]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_inner_sources(bed, case, version):
    _, sender, sources, count, reason = case
    assert arrives(bed, bed[sender], version, sources[version]) == (count, {reason})


@pytest.mark.parametrize("version", [4, 6])
def test_outer_fragments_are_dropped(bed, version):
    source = {4: "10.42.2.77", 6: "fd00:42:0:2::77"}[version]
    assert arrives(bed, bed[2], version, source, size=FRAGMENTED) == (0, {"fragment"})


def test_without_the_guard_all_of_them_arrive(bed):
    """That the packets made by hand are such as the kernel takes."""
    one = bed[1]
    one([TOOL, "/sys/fs/bpf/t", "remove"])
    try:
        for version in (4, 6):
            for case in CASES[2:]:
                if case[0] not in ("a pod of ours", "another node"):
                    assert arrives(bed, bed[case[1]], version, case[2][version])[0] == 1, case[0]
            assert arrives(bed, bed[2], version, CASES[0][2][version], size=FRAGMENTED)[0] == 1
    finally:
        one.guard(*WORDS)


def test_another_vni_is_not_touched(bed):
    one = bed[1]
    one(f"ip link add other0 address {mac(1, 4)} type vxlan id 7 local {one.outer} dev up0 dstport {PORT} nolearning")
    try:
        one("ip link set other0 up")
        assert arrives(bed, bed[0], 4, "198.51.100.7", vni=7) == (1, set())
    finally:
        one("ip link del other0")


def test_what_is_in_place_stays_until_the_list_is_complete(bed):
    one, source = bed[1], CASES[0][2][4]
    one.guard("stale")
    assert arrives(bed, bed[2], 4, source) == (1, {"accepted"})
    one.guard("pool=10.42.0.0/16", "node=192.0.2.2")
    assert arrives(bed, bed[2], 4, source) == (0, {"nobody"})
    one.guard("node=192.0.2.3", "source=10.42.2.0/24=192.0.2.2")
    assert arrives(bed, bed[2], 4, source) == (0, {"no_node"})
    one.guard("external=192.0.2.0/24", "source=10.42.2.0/24=192.0.2.2")
    assert arrives(bed, bed[2], 4, source) == (1, {"accepted"})
    one.guard(*WORDS)


def test_what_finds_no_room_is_told_and_the_rest_is_entered(bed):
    one = bed[1]
    text = one.guard(*WORDS, *(f"external=198.18.{n // 256}.{n % 256}/32" for n in range(4200)), check=False)
    assert "guard: writing a BPF map of 4200 entries: " in text
    assert arrives(bed, bed[2], 4, CASES[0][2][4]) == (1, {"accepted"})
    assert arrives(bed, bed[2], 4, CASES[2][2][4]) == (0, {"foreign"})
    one.guard(*WORDS)


def test_nothing_is_lost_while_agents_come_and_go(bed):
    one, two = bed[1], bed[2]
    assert reached(two.pod, one.pod_addr[4])
    ping = subprocess.Popen(two.pod.argv(f"ping -i 0.002 -c 1000 -q {one.pod_addr[4]}"), stdout=subprocess.PIPE, text=True)
    for turn in range(15):
        one.guard(*WORDS, f"source=10.43.{turn}.0/24=192.0.2.3", *(["pool=10.43.0.0/16"] if turn % 2 else []))
    out, _ = ping.communicate(timeout=DEADLINE)
    one.guard(*WORDS)
    assert "1000 received" in out, out


def test_removal_leaves_nothing_and_a_lost_program_comes_back(bed):
    one = bed[1]
    one([TOOL, "/sys/fs/bpf/t", "remove"])
    assert one("ls /sys/fs/bpf/t") == ""
    assert "guard" not in one("bpftool net show")
    one([TOOL, "/sys/fs/bpf/t", "remove"])
    one.guard(*WORDS)
    one("tc qdisc del dev up0 clsact" if one.env else "rm /sys/fs/bpf/t/guard/rx")
    assert arrives(bed, bed[0], 4, "10.42.2.77")[0] == 1
    one.guard(*WORDS)
    assert arrives(bed, bed[0], 4, "10.42.2.77") == (0, {"no_node"})
