# SPDX-License-Identifier: Apache-2.0
"""The objects that the measurements of policy write: policies, pods, namespaces; and when an agent has them in force."""
import ipaddress
import json

from tullelab import wait

HOME, APPS, NAMESPACES = "default", 1000, 100
PORT = 5599
POLICY_V1 = "networking.k8s.io/v1"
SERVER = {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]}


def obj(kind, version, name, spec=None, status=None, **metadata) -> dict:
    parts = {"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec, "status": status}
    return {key: value for key, value in parts.items() if value is not None}


def many(objects) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}, separators=(",", ":"))


def pod(name, node, app, ip=None, namespace=HOME) -> dict:
    status = {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
    return obj("Pod", "v1", name, {"nodeName": node, "containers": [{"name": "main", "image": "example"}]}, status, namespace=namespace, labels={"app": app})


def namespace_of(i: int) -> str:
    return f"space-{i % NAMESPACES}"


def namespaces() -> list:
    names = [HOME, *(f"space-{i}" for i in range(NAMESPACES))]
    return [obj("Namespace", "v1", name, labels={"kubernetes.io/metadata.name": name}) for name in names]


def far_pod(i: int) -> dict:
    """One of another node."""
    ip = str(ipaddress.ip_address("100.64.0.0") + i)
    return pod(f"pod-{i}", f"far-{i // 100}", f"app-{i % APPS}", ip, namespace_of(i))


def far_policy(i: int) -> dict:
    """One of many: every 50th applies to the server."""
    peer = {"podSelector": {"matchLabels": {"app": f"app-{i % APPS}"}}, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace_of(i)}}}
    spec = {"podSelector": {"matchLabels": {"app": f"app-{(i + 7) % APPS}"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": [{"protocol": "TCP", "port": 1000 + i % 1000}]}]}
    if i % 50 == 0:
        return obj("NetworkPolicy", POLICY_V1, f"policy-{i}", {**spec, **SERVER}, namespace=HOME)
    return obj("NetworkPolicy", POLICY_V1, f"policy-{i}", spec, namespace=namespace_of(i))


def probed_policy(allow: bool) -> dict:
    """The one that is written again and again: lets the client in, or another."""
    peer = {"podSelector": {"matchLabels": {"app": "client" if allow else "nobody"}}}
    return obj("NetworkPolicy", POLICY_V1, "probed", {**SERVER, "ingress": [{"from": [peer]}]}, namespace=HOME)


def networks(count: int) -> list:
    first = ipaddress.ip_address("100.64.0.0")
    return [f"{first + 2 * i}/32" for i in range(count)]


def status(node) -> dict:
    return json.loads(node.run([f"{node.lab.build}/tullectl", "-o", "json", "status"]).stdout)["policy"]


def wait_settled(node, enough, what: str, timeout=120) -> None:
    def good():
        now = status(node)
        return now["settled"] and enough(now)
    wait.until(good, what, timeout, 0.1, detail=lambda: f"{status(node)}\n{node.log[-2000:]}")
