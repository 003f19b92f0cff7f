# SPDX-License-Identifier: Apache-2.0
"""The express path in labs: pods talk round the host's stack, in every encapsulation; policies, Services and changes hold."""
import pytest
from calico_words import manifest
from tullelab import LabError, wait

ON = ["--policy=on", "--express-path=enabled"]
PORT = 8080
LABS = {
    "vxlan": dict(backend="vxlan"),
    "plain": dict(backend="host-gw", family="dual"),
    "udp": dict(backend="udp"),
    "ipip": dict(pools="ipip"),
}


class World:
    def __init__(self, lab, eyes):
        self.lab, self.eyes = lab, [eyes(node) for node in lab.nodes]
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
    class Eyes:
        pass
    from eyes import Eyes  # noqa: F811
    lab = make_lab(nodes=2, agent_args=ON, **LABS[request.param])
    return World(lab, Eyes)


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
