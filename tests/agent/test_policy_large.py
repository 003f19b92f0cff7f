# SPDX-License-Identifier: Apache-2.0
"""Policies with 100,000 prefixes, as directories of manifests may hold them."""
import json

import pytest
from calico_words import manifest
from tullelab import LabError, wait

COUNT, PORT = 100_000, 8080
CALICO, KUBERNETES = "projectcalico.org/v3", "networking.k8s.io/v1"
SELECT = {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]}
BY_LABEL = {"selector": "app == 'server'", "types": ["Ingress"], "ingress": [{"action": "Allow", "source": {"selector": "listed == 'yes'"}}]}


@pytest.fixture(scope="module")
def world(built, make_lab):
    lab = make_lab(nodes=1, backend="host-gw", agent_args=["--policy=on"])
    node, = lab.nodes
    lab.store.put("namespace.json", manifest("Namespace", "shop"))
    pods = []
    for name in ("server", "client"):
        lab.store.put(f"pod-{name}.json", manifest("Pod", name, "shop", labels={"app": name}, spec={"nodeName": node.name}))
        pods.append(node.pod_add(f"shop/{name}"))
    pods[0].serve(PORT)
    return lab, *pods


def prefixes(last) -> list:
    """As different as they can be, and no two of them one network; the client's comes last."""
    return [*(f"{100 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.{n % 251}/{24 + n % 9}" for n in range(COUNT - 1)), f"{last}/32"]


def policy_json(nets) -> dict:
    blocks = [{"ipBlock": {"cidr": net}} for net in nets]
    return {"large.json": manifest("NetworkPolicy", "large", "shop", KUBERNETES, spec={**SELECT, "ingress": [{"from": blocks}]})}


def policy_yaml(nets) -> dict:
    head = (f"apiVersion: {KUBERNETES}\nkind: NetworkPolicy\nmetadata:\n  name: large\n  namespace: shop\nspec:\n  podSelector:\n    matchLabels:\n"
            "      app: server\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n")
    return {"large.yaml": head + "".join(f"    - ipBlock:\n        cidr: {net}\n" for net in nets)}


def network_set(nets) -> dict:
    return {"large.json": manifest("GlobalNetworkSet", "large", None, CALICO, labels={"listed": "yes"}, spec={"nets": nets}),
            "policy.json": manifest("GlobalNetworkPolicy", "by-label", None, CALICO, spec=BY_LABEL)}


def reaches(client, server) -> bool:
    try:
        client.ask(server.ip, PORT, timeout=0.4)
        return True
    except (OSError, LabError):
        return False


@pytest.mark.parametrize("files", [policy_json, policy_yaml, network_set])
def test_many_prefixes(world, eyes, files):
    lab, server, client = world
    seen = eyes(lab.nodes[0])

    def entries():
        status = seen.status()
        assert not status["problems"], status["problems"]
        return status["policy"]["addresses"] if status["policy"]["settled"] else -1
    before = entries()
    written = files(prefixes(client.ip))
    try:
        for name, text in written.items():
            lab.store.put(name, text)
        wait.until(lambda: entries() >= COUNT, "the prefixes are in force", 30, detail=lambda: lab.nodes[0].log[-2000:])
        assert reaches(client, server), "the last prefix is the client's"
        for name, text in files(prefixes("192.0.2.1")).items():
            lab.store.put(name, text)
        wait.until(lambda: not reaches(client, server), "the client's prefix is gone", 30)
    finally:
        for name in written:
            lab.store.delete(name)
    wait.until(lambda: entries() <= before and reaches(client, server), "all are gone", 30)


def test_a_file_beyond_the_limit_is_named(world, eyes):
    lab, server, client = world
    seen = eyes(lab.nodes[0])
    lab.store.put("beyond.json", json.dumps({"text": "x" * (32 << 20)}))
    try:
        assert "beyond.json: larger than 33554432 bytes" in seen.wait_problem("beyond.json", 20)
    finally:
        lab.store.delete("beyond.json")
    seen.wait_no_problem(20)
    assert reaches(client, server)
