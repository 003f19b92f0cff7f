# SPDX-License-Identifier: Apache-2.0
"""The policy programs under real traffic: a node with two pods, the world outside, netfilter translating as kube-proxy does."""
import os
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from beds import DEADLINE, HERE, SLOW, Space, plug, tool  # noqa: E402

TOOL = tool("policy_tool")
PEER = [sys.executable, str(HERE / "policy_peer.py")]
WAIT = 0.5 * SLOW  # seconds after which nothing will come
PINS = "/sys/fs/bpf/t"
A, B = {4: "10.244.1.2", 6: "fd00:10:244:1::2"}, {4: "10.244.1.3", 6: "fd00:10:244:1::3"}
PODS = {4: "10.244.1.0/24", 6: "fd00:10:244:1::/64"}
GOOD, BAD = {4: "10.244.2.2", 6: "fd00:10:244:2::2"}, {4: "10.244.2.3", 6: "fd00:10:244:2::3"}
FRIEND, STRANGER = {4: "203.0.113.9", 6: "2001:db8:99::9"}, {4: "198.51.100.7", 6: "2001:db8:77::7"}
NODE, GATE = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.9", 6: "2001:db8::9"}
SERVICE = {4: "10.96.0.10", 6: "fd00:10:96::10"}
PORT, VIP_PORT, NODE_PORT = 8080, 80, 30080
IN, OUT, SHUT, FRIENDS, SOME, NONE, FINAL, OWN = 101, 102, 103, 11, 1001, 1002, 2, 1

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not os.path.exists(TOOL), reason=f"{TOOL} is not built"),
]
families = pytest.mark.parametrize("version", [4, 6])
kinds = pytest.mark.parametrize("kind", ["tcp", "udp"])

RULES = """
table inet t
delete table inet t
table inet t {
  chain prerouting { type nat hook prerouting priority -100;
    %(services)s
    ip daddr 192.0.2.1 meta l4proto { tcp, udp } th dport 30080 meta mark set meta mark | 0x4000 dnat ip to 10.244.1.2:8080
    ip6 daddr 2001:db8::1 meta l4proto { tcp, udp } th dport 30080 meta mark set meta mark | 0x4000 dnat ip6 to [fd00:10:244:1::2]:8080
  }
  chain postrouting { type nat hook postrouting priority 100;
    meta mark & 0x4000 == 0x4000 masquerade fully-random
    ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade fully-random
    ip6 saddr fd00:10:244:1::2 ip6 daddr fd00:10:244:1::2 masquerade fully-random
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade fully-random
    ip6 saddr fd00:10:244::/48 ip6 daddr != fd00:10:244::/48 masquerade fully-random
  }
  chain output { type filter hook output priority -300;
    meta mark set meta mark | 0x00800000
  }
}
"""
DNAT = {4: "ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 80 dnat ip to %s:8080",
        6: "ip6 daddr fd00:10:96::10 meta l4proto { tcp, udp } th dport 80 dnat ip6 to [%s]:8080"}


class Talk:
    def __init__(self, space, kind, addr, port):
        self.process = space.start([*PEER, "talk", kind, addr, port, WAIT])

    def say(self, word="hello"):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait(DEADLINE)


class Bed:
    def __init__(self):
        self.node, self.outside, self.a, self.b = self.spaces = [Space() for _ in range(4)]
        self.answerers, self.macs, self.index = [], {}, {}
        self.node(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0"])
        self.join_outside()
        self.add_pod(self.a, "pa0", A)
        self.add_pod(self.b, "pb0", B)
        self.translate({})

    def join_outside(self):
        plug(self.outside, "eth0", self.node, "up0")
        for version, bits in ((4, 24), (6, 64)):
            self.node(f"ip addr add {NODE[version]}/{bits} dev up0" + (" nodad" if version == 6 else ""))
            self.outside(f"ip addr add {GATE[version]}/{bits} dev eth0" + (" nodad" if version == 6 else ""))
            for addr in (GOOD, BAD, FRIEND, STRANGER):
                self.outside(f"ip addr add {addr[version]} dev eth0" + (" nodad" if version == 6 else ""))
            self.node(f"ip route add default via {GATE[version]}" if version == 4 else f"ip -6 route add default via {GATE[6]}")
            self.outside(f"ip -{version} route add {PODS[version]} via {NODE[version]}")

    def add_pod(self, pod, name, addr):
        plug(pod, "eth0", self.node, name)
        host = self.mac(self.node, name)
        self.macs[name] = self.mac(pod, "eth0")
        self.index[name] = int(self.node(f"ip -o link show {name}").split(":")[0])
        pod(f"ip addr add {addr[4]}/32 dev eth0")
        pod(f"ip addr add {addr[6]}/128 dev eth0 nodad")
        for version, gate in ((4, "169.254.1.1"), (6, "fe80::1")):
            pod(f"ip neigh replace {gate} lladdr {host} dev eth0 nud permanent")
            pod(f"ip -{version} route add {gate} dev eth0")
            pod(f"ip -{version} route add default via {gate} dev eth0")
            self.node(f"ip -{version} route add {addr[version]} dev {name}")

    @staticmethod
    def mac(space, name):
        return space(f"ip -br link show {name}").split()[2]

    def translate(self, backends):
        services = [DNAT[version] % backend[version] for backend in backends.values() for version in (4, 6)]
        rules = RULES % {"services": "\n    ".join(services)}
        done = subprocess.run(self.node.argv(["nft", "-f", "-"]), input=rules, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def put(self, *words):
        self.node([TOOL, PINS, "put", *words])

    def attach(self):
        for name in ("pa0", "pb0", "up0"):
            self.node(f"tc qdisc add dev {name} clsact")
        for name in ("pa0", "pb0"):
            self.node(f"tc filter add dev {name} ingress bpf da object-pinned {PINS}/policy_from_pod")
            self.node(f"tc filter add dev {name} egress bpf da object-pinned {PINS}/policy_to_pod")
        self.node(f"tc filter add dev up0 egress bpf da object-pinned {PINS}/policy_exit")

    def pods(self, a=(0, 0), b=(0, 0), epoch=1):
        self.put(*(f"pod={self.index[name]},{serial},{tables[0]},{tables[1]},{self.macs[name]},{addr[4]},{addr[6]}"
                   for name, addr, serial, tables in (("pa0", A, 1, a), ("pb0", B, 2, b))), f"epoch={epoch}")

    def world(self):
        for version, range_ in ((4, "10.244.0.0/16"), (6, "fd00:10:244::/48")):
            bits = 32 if version == 4 else 128
            self.put(f"address={range_},0,{FINAL}", f"address={NODE[version]}/{bits},0,{OWN}")
            for addr, flags in ((B, FINAL), (GOOD, FINAL), (FRIEND, 0)):
                self.put(f"address={addr[version]}/{bits},{FRIENDS},{flags}")
        self.put(*(f"port={SOME},96,{protocol},{PORT},1" for protocol in (6, 17)), f"port={SOME},96,1,{8 << 8},1",
                 f"port={SOME},96,58,{128 << 8},1", f"port={NONE},64,0,0,0",
                 *(f"pair={table},0,{NONE}" for table in (IN, OUT, SHUT)), *(f"pair={table},{FRIENDS},{SOME}" for table in (IN, OUT)))

    def serve(self):
        for space, addrs in ((self.a, (A,)), (self.b, (B,)), (self.outside, (GOOD, BAD, FRIEND, STRANGER)), (self.node, (NODE,))):
            self.answerers.append(space.start([*PEER, "answer", PORT, *(addr[v] for addr in addrs for v in (4, 6))]))

    def counts(self):
        return {line.split()[0]: int(line.split()[1]) for line in self.node([TOOL, PINS, "counts"]).splitlines()}

    def ready(self):
        """Nobody answers a neighbour while he still asks whether his link-local address is free."""
        end = time.monotonic() + DEADLINE
        while any(space("ip -6 addr show tentative") for space in self.spaces):
            assert time.monotonic() < end
            time.sleep(0.05)

    def close(self):
        for process in self.answerers:
            process.kill()
            process.wait()
        for space in self.spaces:
            space.close()


def make_bed(*load):
    bed = Bed()
    try:
        bed.node([TOOL, PINS, "load", *load])
        bed.world()
        bed.pods()
        bed.attach()
        bed.serve()
        bed.ready()
        yield bed
    finally:
        bed.close()


@pytest.fixture(scope="module")
def bed():
    yield from make_bed()


@pytest.fixture(scope="module")
def bare():
    """Where the kernel cannot be asked what conntrack knows."""
    yield from make_bed("noconntrack")


def ask(space, kind, addr, port, source=None):
    talk = Talk(space, kind, addr, port)
    got = talk.say()
    talk.close()
    return got


def dropped(bed, before):
    after = bed.counts()
    return {name for name in after if after[name] != before[name]} - {"allowed"}


def expect(bed, space, kind, addr, port, want, reason=None):
    """want: the address that the other side saw, or None."""
    before = bed.counts()
    got = ask(space, kind, addr, port)
    assert got == (f"{want} hello" if want else "nothing")
    assert dropped(bed, before) == ({reason} if reason else set())


@families
@kinds
def test_without_policy_everything_passes(bed, version, kind):
    bed.pods()
    bed.translate({1: GOOD})
    expect(bed, bed.a, kind, B[version], PORT, A[version])
    expect(bed, bed.a, kind, BAD[version], PORT, A[version])
    expect(bed, bed.a, kind, STRANGER[version], PORT, NODE[version])
    expect(bed, bed.a, kind, SERVICE[version], VIP_PORT, A[version])


@families
@kinds
def test_pods_are_judged_by_their_addresses(bed, version, kind):
    bed.pods(a=(IN, OUT))
    expect(bed, bed.a, kind, B[version], PORT, A[version])
    expect(bed, bed.a, kind, GOOD[version], PORT, A[version])
    expect(bed, bed.a, kind, BAD[version], PORT, None, "egress")
    expect(bed, bed.b, kind, A[version], PORT, B[version])
    bed.pods(a=(SHUT, SHUT))
    expect(bed, bed.b, kind, A[version], PORT, None, "ingress")
    expect(bed, bed.a, kind, B[version], PORT, None, "egress")


@families
@kinds
@pytest.mark.parametrize("backend, want, reason", [(B, True, None), (GOOD, True, None), (BAD, False, "egress")],
                         ids=["local", "remote", "denied"])
def test_services_are_judged_by_their_backends(bed, version, kind, backend, want, reason):
    bed.pods(a=(SHUT, OUT))
    bed.translate({1: backend})
    expect(bed, bed.a, kind, SERVICE[version], VIP_PORT, A[version] if want else None, reason)


@families
@kinds
def test_the_receiver_is_judged_too(bed, version, kind):
    bed.translate({1: B})
    bed.pods(a=(SHUT, OUT), b=(SHUT, 0))
    expect(bed, bed.a, kind, SERVICE[version], VIP_PORT, None, "ingress")


@families
@kinds
def test_the_world_outside_behind_masquerade(bed, version, kind):
    bed.pods(a=(SHUT, OUT))
    expect(bed, bed.a, kind, FRIEND[version], PORT, NODE[version])
    expect(bed, bed.a, kind, STRANGER[version], PORT, None, "egress")


@families
def test_masqueraded_echo(bed, version):
    bed.pods(a=(SHUT, OUT))
    assert " 0% packet loss" in bed.a(["ping", "-c", 1, "-W", 2, FRIEND[version]])
    assert " 0% packet loss" in bed.a(["ping", "-c", 1, "-W", 2, "-s", 4000, GOOD[version]])
    assert "100% packet loss" in bed.a(["ping", "-c", 1, "-W", 1, STRANGER[version]], check=False)


@families
@kinds
def test_without_conntrack(bare, version, kind):
    """The sender is known by its address; where that is masqueraded, nothing leaves."""
    bare.pods(a=(SHUT, OUT))
    expect(bare, bare.a, kind, FRIEND[version], PORT, None, "egress")
    for backend, want in ((GOOD, A[version]), (BAD, None)):
        bare.translate({1: backend})
        expect(bare, bare.a, kind, SERVICE[version], VIP_PORT, want, None if want else "egress")


@families
@kinds
def test_a_pod_reaches_itself_through_its_service(bed, version, kind):
    bed.translate({1: A})
    bed.pods(a=(SHUT, SHUT))
    got = ask(bed.a, kind, SERVICE[version], VIP_PORT)
    assert got.endswith(" hello"), (got, bed.node([TOOL, PINS, "flows"]))


@families
@kinds
def test_the_node_and_its_pods(bed, version, kind):
    bed.pods(a=(SHUT, SHUT))
    assert ask(bed.node, kind, A[version], PORT).endswith(" hello")
    expect(bed, bed.a, kind, NODE[version], PORT, A[version])


@families
@kinds
def test_clients_of_node_ports_are_not_the_node(bed, version, kind):
    """Masqueraded, they come from the node's address; judged is who they are."""
    bed.pods(a=(IN, 0))
    before = bed.counts()
    assert ask(bed.outside, kind, NODE[version], NODE_PORT) == "nothing"
    assert dropped(bed, before) == {"ingress"}
    bits = 32 if version == 4 else 128
    bed.put(f"address={GATE[version]}/{bits},{FRIENDS},0")
    assert ask(bed.outside, kind, NODE[version], NODE_PORT) == f"{NODE[version]} hello"
    bed.put(f"address={GATE[version]}/{bits},0,0")


@families
@kinds
def test_node_ports_from_a_pod(bed, version, kind):
    """Sent to this node, it is translated and comes back to a pod: egress is judged by where it comes to."""
    bed.pods(b=(0, OUT))
    expect(bed, bed.b, kind, NODE[version], NODE_PORT, None, "egress")
    bed.put(f"address={A[version]}/{32 if version == 4 else 128},{FRIENDS},{FINAL}")
    assert ask(bed.b, kind, NODE[version], NODE_PORT).endswith(" hello")
    bed.put(f"address={A[version]}/{32 if version == 4 else 128},0,{FINAL}")


@families
@kinds
def test_a_change_cuts_what_is_denied_now(bed, version, kind):
    bed.translate({1: GOOD})
    bed.pods(a=(SHUT, OUT))
    talk, direct = (Talk(bed.a, kind, *where) for where in ((SERVICE[version], VIP_PORT), (GOOD[version], PORT)))
    assert talk.say() == direct.say() == f"{A[version]} hello"
    bed.pods(a=(SHUT, OUT), epoch=2)
    assert talk.say() == direct.say() == f"{A[version]} hello"
    bed.pods(a=(SHUT, SHUT), epoch=3)
    assert talk.say() == direct.say() == "nothing"
    talk.close()
    direct.close()


@families
def test_connections_from_before_the_first_policy_go_on(bed, version):
    """The pod listens; nobody remembers its flow but conntrack."""
    bed.pods()
    bed.translate({1: GOOD})
    talk = Talk(bed.a, "tcp", SERVICE[version], VIP_PORT)
    assert talk.say() == f"{A[version]} hello"
    bed.pods(a=(SHUT, OUT), epoch=2)
    push(bed.answerers[2], "news")
    assert talk.say("listen") == "news"
    talk.close()


@families
@pytest.mark.parametrize("tables", [(SHUT, 0), (0, SHUT)], ids=["ingress", "egress"])
def test_connections_from_before_the_first_policy_are_cut(bed, version, tables):
    """Also when the side that may speak does so first."""
    bed.pods()
    server = tables[0] == SHUT
    talk = Talk(bed.b, "tcp", A[version], PORT) if server else Talk(bed.a, "tcp", GOOD[version], PORT)
    assert talk.say() == f"{(B if server else A)[version]} hello"
    bed.pods(a=tables, epoch=2)
    push(bed.answerers[0 if server else 2], "news")
    assert talk.say("listen") == "nothing"
    assert talk.say() == "nothing"
    talk.close()


def push(answerer, word):
    answerer.stdin.write(word + "\n")
    answerer.stdin.flush()
