# SPDX-License-Identifier: Apache-2.0
"""The express path in labs: pods talk round the host's stack, in every encapsulation; policies, Services and changes hold."""
import socket

import pytest
from calico_words import manifest
from eyes import Eyes
from tullelab import LabError, proc, wait

ON = ["--policy=on", "--express-path=enabled", "--address-rest=0"]
PORT = 8080
LABS = {
    "vxlan": dict(backend="vxlan"),
    "plain": dict(backend="host-gw", family="dual"),
    "udp": dict(backend="udp"),
    "ipip": dict(pools="ipip"),
}


class World:
    def __init__(self, lab):
        self.lab, self.eyes = lab, [Eyes(node) for node in lab.nodes]
        lab.store.put("namespace-shop.json", manifest("Namespace", "shop", labels={"kubernetes.io/metadata.name": "shop"}))
        one, two = lab.nodes
        self.a, self.c, self.b = one.pod_add("shop/a"), one.pod_add("shop/c"), two.pod_add("shop/b")
        for pod in (self.a, self.b, self.c):
            pod.serve(PORT)
        wait.until(lambda: all(e.status()["policy"]["express"].get("ways") for e in self.eyes), "ways to the other node", 10,
                   detail=lambda: str([e.problems() for e in self.eyes]))

    def counts(self, node):
        return self.eyes[node].status()["policy"]["express"]["packets"]

    def moved(self, node, before):
        return {name: now - before[name] for name, now in self.counts(node).items() if now != before[name]}

    def forbid(self, name, to, kind="Ingress"):
        self.lab.store.put(f"policy-{name}.json", manifest("NetworkPolicy", name, "shop", "networking.k8s.io/v1",
                                                           spec={"podSelector": {"matchLabels": {"who": to}}, "policyTypes": [kind]}))

    def allow(self, name):
        self.lab.store.delete(f"policy-{name}.json")


@pytest.fixture(scope="module", params=LABS)
def world(request, built, make_lab):
    return World(make_lab(nodes=2, agent_args=ON, **LABS[request.param]))


def families(world):
    return [6 if ":" in ip else 4 for ip in world.a.ips]


def talks(a, b, family, kind="tcp"):
    try:
        a.ask(b.ip_of(family), PORT, kind, timeout=1)
        return True
    except (OSError, LabError):
        return False


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_pods_of_other_nodes(world, kind):
    for family in families(world):
        for _ in range(2):  # udp: until each has heard of the other
            assert talks(world.a, world.b, family, kind) and talks(world.b, world.a, family, kind)
        before = [world.counts(n) for n in range(2)]
        assert talks(world.a, world.b, family, kind)
        assert talks(world.b, world.a, family, kind)
        for n in range(2):
            moved = world.moved(n, before[n])
            assert set(moved) == {"out", "in"} and moved["out"] >= 2 and moved["in"] >= 2


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_pods_of_one_node(world, kind):
    for family in families(world):
        before = world.counts(0)
        assert talks(world.a, world.c, family, kind) and talks(world.c, world.a, family, kind)
        moved = world.moved(0, before)
        assert set(moved) == {"local"} and moved["local"] >= 4


def conntrack(world, node, pod, family):
    """What netfilter knows of a pod's connections."""
    return [line for line in world.lab.nodes[node].run(["conntrack", "-L", "-f", "ipv4" if family == 4 else "ipv6"]).stdout.splitlines()
            if f"src={pod.ip_of(family)} " in line]


def test_netfilter_never_sees_half_a_flow(world):
    """Datagrams that have to be cut go the kernel's path, and those of the same flow that need not be do not."""
    for family in families(world):
        for node in world.lab.nodes:
            node.run(["conntrack", "-F"], check=False)
        with world.a.connect(world.b.ip_of(family), PORT, kind=socket.SOCK_DGRAM, timeout=3) as connection:
            for size in (100, 4000, 100, 4000):
                connection.send(b"x".ljust(size, b"."))
                assert len(connection.recv(65536)) == size
            for n, pod in ((0, world.a), (1, world.b), (1, world.a), (0, world.b)):
                assert not conntrack(world, n, pod, family)


VIP, NODE_PORT = {4: "10.96.0.10", 6: "fd00:96::10"}, 30080
RULES = """
table inet service {
  chain prerouting { type nat hook prerouting priority -100; %(dnat)s }
  chain output { type nat hook output priority -100; %(dnat)s }
  chain forward { type filter hook forward priority 0; ct state invalid counter drop; }
}
"""


def service(node, family, backends):
    ip, brackets = ("ip", "{}") if family == 4 else ("ip6", "[{}]")
    rules = "; ".join(f"{ip} daddr {VIP[family]} {kind} dport 80 dnat {ip} to {brackets.format(backend)}:{PORT}" for kind in ("tcp", "udp")
                      for backend in backends)
    node.run(["nft", "-f", "-"], input=RULES % {"dnat": rules + ";"})


def asks(pod, where, port, kind, family):
    with pod.connect(where, port, kind=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM, timeout=3) as connection:
        for _ in range(3):
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = connection.recv(65536).decode()
            if kind == "tcp":
                break
    return dict(word.split("=", 1) for word in data.split() if "=" in word)["server"]


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_services_go_on_by_the_kernels_path(world, kind):
    """Translated at the client's node: to a pod of another node, of this one, and to the client itself."""
    node = world.lab.nodes[0]
    for family in families(world):
        for backend in (world.b, world.c):
            service(node, family, [backend.ip_of(family)])
            try:
                for _ in range(3):
                    assert asks(world.a, VIP[family], 80, kind, family) == backend.name
                    assert asks(world.a, backend.ip_of(family), PORT, kind, family) == backend.name
                assert asks(node, VIP[family], 80, kind, family) == backend.name
            finally:
                node.run(["nft", "delete", "table", "inet", "service"])


def cuts(connection):
    """Nothing comes any more, or the connection is refused."""
    try:
        connection.sendall(b"still there?")
        return not connection.recv(100)
    except OSError:
        return True


ECHO = """
import socket, sys, threading
def echo(connection):
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)
server = socket.create_server(("::", 9001), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def echoes(world):
    daemons = [pod.spawn([proc.PYTHON, "-c", ECHO]) for pod in (world.b, world.c)]
    for daemon in daemons:
        daemon.wait_line(lambda line: "ready" in line, 10)
    yield
    for daemon in daemons:
        daemon.stop()


def says(connection):
    connection.sendall(b"hello")
    return connection.recv(100) == b"hello"


@pytest.mark.parametrize("kind,who", [("Ingress", "to"), ("Egress", "from")])
def test_a_policy_cuts_express_flows(world, echoes, kind, who):
    for family in families(world):
        for server in (world.b, world.c):
            with world.a.connect(server.ip_of(family), 9001, timeout=2) as connection:
                assert says(connection) and says(connection)
                target = world.a if who == "from" else server
                world.lab.store.put("pod-target.json", manifest("Pod", target.name.split("/")[1], "shop", labels={"who": "target"},
                                                                status={"podIP": target.ip, "podIPs": [{"ip": ip} for ip in target.ips]},
                                                                spec={"nodeName": target.node.name, "containers": []}))
                world.forbid("cut", "target", kind)
                connection.settimeout(0.3)
                wait.until(lambda: cuts(connection), f"{kind} to {server.name} is cut", 10)
                world.allow("cut")
                world.lab.store.delete("pod-target.json")
            wait.until(lambda: talks(world.a, server, family), "it is open again", 10)


def test_flows_outlive_the_agent(world, echoes):
    node = world.lab.nodes[0]
    family = families(world)[0]
    with world.a.connect(world.b.ip_of(family), 9001, timeout=3) as far, world.a.connect(world.c.ip_of(family), 9001, timeout=3) as near:
        assert says(far) and says(near)
        node.agent_kill()
        before = world.counts(1)
        assert says(far) and says(near)
        assert "in" in world.moved(1, before)
        node.agent_start()
        assert says(far) and says(near)
        before = world.counts(0)
        wait.until(lambda: says(far) and says(near) and {"in", "out", "local"} <= set(world.moved(0, before)), "express again", 10,
                   detail=lambda: str([world.moved(0, before)] + [eye.status()["policy"]["express"] for eye in world.eyes]))


def test_one_node_without(world, echoes):
    """Its packets are the same on the wire; flows that stand go on."""
    node = world.lab.nodes[0]
    family = families(world)[0]
    with world.a.connect(world.b.ip_of(family), 9001, timeout=3) as connection:
        assert says(connection)
        node.agent_stop()
        node.agent_start(["--express-path=disabled"])
        try:
            assert says(connection) and says(connection)
            before = world.counts(1)
            assert talks(world.a, world.b, family) and talks(world.b, world.a, family) and talks(world.a, world.c, family)
            assert "out" in world.moved(1, before)
            assert world.eyes[0].status()["policy"]["express"]["state"] == "off"
        finally:
            node.agent_stop()
            node.agent_start()
        wait.until(lambda: world.eyes[0].status()["policy"]["express"].get("ways"), "ways again", 10)
        assert says(connection)


def test_an_address_that_is_another_pods(world):
    node = world.lab.nodes[1]
    family = families(world)[0]
    first = node.pod_add("shop/first")
    first.serve(PORT)
    assert talks(world.a, first, family)
    with world.a.connect(first.ip_of(family), PORT, kind=socket.SOCK_DGRAM, timeout=1) as connection:
        connection.send(b"hello")
        assert b"server=shop/first" in connection.recv(1000)
        ip = first.ip_of(family)
        first.delete()
        second = node.pod_add("shop/second", ips=[ip])
        try:
            second.serve(PORT)
            connection.send(b"hello")
            assert b"server=shop/second" in connection.recv(1000)
            assert talks(world.a, second, family)
        finally:
            second.delete()


def test_uplink_down_and_up(world):
    node = world.lab.nodes[0]
    family = families(world)[0]
    node.run(["ip", "link", "set", "eth0", "down"])
    assert not talks(world.a, world.b, family)
    assert talks(world.a, world.c, family)
    node.run(["ip", "link", "set", "eth0", "up"])
    wait.until(lambda: talks(world.a, world.b, family), "the other node again", 15)
    wait.until(lambda: world.eyes[0].status()["policy"]["express"].get("ways"), "ways again", 10)


def test_nothing_goes_round_a_host_endpoint(world):
    node = world.lab.nodes[0]
    family = families(world)[0]
    assert talks(world.a, world.b, family)
    world.lab.store.put("host.json", manifest("HostEndpoint", "uplink", None, "projectcalico.org/v3",
                                              spec={"node": node.name, "interfaceName": "eth0"}))
    try:
        wait.until(lambda: world.eyes[0].status()["policy"]["express"]["ways"] == 0, "no ways by that interface", 10)
        before = world.counts(0)
        assert talks(world.a, world.b, family) and talks(world.b, world.a, family) and talks(world.a, world.c, family)
        moved = world.moved(0, before)
        assert "local" in moved and not {"in", "out"} & set(moved)
    finally:
        world.lab.store.delete("host.json")
    wait.until(lambda: world.eyes[0].status()["policy"]["express"]["ways"], "ways again", 10)
