# SPDX-License-Identifier: Apache-2.0
"""Three pods and a Service, and everything that must work between them on any cluster, whatever its backend, families and kube-proxy."""

import json
from dataclasses import dataclass

from tullelab import CommandError, KubeLab, until
from tullelab.address import families, url_host
from tullelab.kube_control import DIR, program
from tullelab.kube_deploy import NAME, NAMESPACE
from tullelab.kube_images import ECHO
from tullelab.netconf import build
from tullelab.pod import ask

from cluster_eyes import Eyes

PORT, HOST_PORT = 8080, 8088
AGENTS = f"app.kubernetes.io/name={NAME}"


@dataclass(frozen=True)
class Cast:
    """KubePods of the echo server.  near and beside stand on the first node, far on the second: its port is HOST_PORT of its node, and it
    alone is behind the Services echo (NodePort) and echo-local (NodePort for its own node's traffic only)."""

    near: object
    beside: object
    far: object
    service: dict
    local: dict

    def node_port(self, service: dict) -> int:
        return service["spec"]["ports"][0]["nodePort"]

    def service_ip(self, version: int) -> str:
        return next(ip for ip in self.service["spec"]["clusterIPs"] if (":" in ip) == (version == 6))


def make_cast(lab: KubeLab) -> Cast:
    published = {"ports": [{"containerPort": PORT, "hostPort": HOST_PORT, "protocol": protocol} for protocol in ("TCP", "UDP")]}
    for name, node, extra in (("near", 0, {}), ("beside", 0, {}), ("far", 1, published)):
        container = {"name": "echo", "image": ECHO, **extra}
        lab.run(name, ECHO, node=lab.nodes[node], containers=[container])
    policy = "RequireDualStack" if lab.family == "dual" else "SingleStack"
    ports = [{"name": p.lower(), "port": 80, "targetPort": PORT, "protocol": p} for p in ("TCP", "UDP")]
    lab.apply([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"type": "NodePort", "selector": {"run": "far"}, "ipFamilyPolicy": policy, "ports": ports, "externalTrafficPolicy": traffic}}
               for name, traffic in (("echo", "Cluster"), ("echo-local", "Local"))])
    pods = lab.wait_pods("near", "beside", "far")
    return Cast(*pods, *(lab.api.get(f"/api/v1/namespaces/default/services/{name}") for name in ("echo", "echo-local")))


def http(lab, pod, where: str, port: int = PORT, path: str = "") -> str:
    """What an echo server said to a pod: by kubectl exec and curl.  where: an address or a name."""
    host = url_host(where) if ":" in where else where
    return lab.pod_exec(pod.name, "curl", "-sS", "-m5", f"http://{host}:{port}/{path}").strip()


def udp(lab, pod, where: str, port: int = PORT, question: str = "") -> str:
    return lab.pod_exec(pod.name, "netecho", "ask", "udp", where, str(port), question).strip()


def from_host(host, ip: str, port: int = PORT, protocol: str = "tcp"):
    """An echo server's answer to a machine: whom it reached, as whom it was seen."""
    return ask(host, ip, port, protocol, timeout=2, size=0)


def versions(lab) -> tuple:
    return families(lab.family)


# --- what must work ---

def check_pods(lab, cast: Cast, version: int) -> None:
    """Pod to pod, on one node and on two, and nobody's address is changed on the way."""
    for source, target in ((cast.near, cast.beside), (cast.near, cast.far), (cast.far, cast.near)):
        ip, own = target.ip_of(version), source.ip_of(version)
        expected = f"server={target.name} client={own} "
        assert http(lab, source, ip).startswith(expected)
        assert udp(lab, source, ip).startswith(expected)


def check_nodes(lab, cast: Cast, version: int) -> None:
    """Node to pod, each to each."""
    for node in lab.nodes:
        for pod in (cast.near, cast.far):
            assert from_host(node, pod.ip_of(version)).server == from_host(node, pod.ip_of(version), protocol="udp").server == pod.name


def check_service(lab, cast: Cast, version: int) -> None:
    """By the cluster's address from both nodes (the server sees the pod), by name, and the pod's own Service from within."""
    ip = cast.service_ip(version)
    for source in (cast.near, cast.far):
        until(lambda: http(lab, source, ip, 80, "hostname") == "far", f"Service address {ip} from {source.name}", 20)
    assert f"client={cast.near.ip_of(version)} " in http(lab, cast.near, ip, 80)
    assert f"client={cast.near.ip_of(version)} " in udp(lab, cast.near, ip, 80)
    asked = lab.pod_exec("near", "curl", f"-{version}", "-sS", "-m5", "-w", " %{remote_ip}", "http://echo.default.svc.cluster.local/hostname")
    assert asked == f"far {ip}"
    assert lab.pod_exec("far", "curl", f"-{version}", "-sS", "-m5", "http://echo/hostname") == "far"


def check_node_port(lab, cast: Cast, version: int) -> None:
    """From the outside to both nodes, from the nodes, from pods; a Service for local traffic shows who asks."""
    port, local = cast.node_port(cast.service), cast.node_port(cast.local)
    there = lab.nodes[1].ip_of(version)
    for node in lab.nodes:
        ip = node.ip_of(version)
        until(lambda: from_host(lab.outside, ip, port).server == "far", f"port {port} of {node.name} from the outside", 20)
        assert from_host(lab.outside, ip, port, "udp").server == "far"
        for asking in lab.nodes:
            assert from_host(asking, ip, port).server == "far"
        assert http(lab, cast.near, ip, port, "hostname") == "far"
    assert from_host(lab.outside, there, local).client == lab.outside.ip_of(version)


def check_host_port(lab, cast: Cast, version: int) -> None:
    """From the outside the pod sees who asks; the other node, its own node and pods reach it as well."""
    ip = lab.nodes[1].ip_of(version)
    for protocol in ("tcp", "udp"):
        answer = from_host(lab.outside, ip, HOST_PORT, protocol)
        assert (answer.server, answer.client) == ("far", lab.outside.ip_of(version))
        for node in lab.nodes:
            assert from_host(node, ip, HOST_PORT, protocol).server == "far"
    for pod in (cast.near, cast.far):
        assert http(lab, pod, ip, HOST_PORT, "hostname") == "far" and udp(lab, pod, ip, HOST_PORT, "hostname") == "far"


def check_outgoing(lab, cast: Cast, version: int) -> None:
    """What leaves the cluster has the node's address: the outside knows no way to pods."""
    out = lab.outside.ip_of(version)
    for pod, node in ((cast.near, lab.nodes[0]), (cast.far, lab.nodes[1])):
        expected = f"server=outside client={node.ip_of(version)} "
        assert http(lab, pod, out).startswith(expected) and udp(lab, pod, out).startswith(expected)


CHECKS = (check_pods, check_nodes, check_service, check_node_port, check_host_port, check_outgoing)


def check_everything(lab, cast: Cast) -> None:
    for version in versions(lab):
        for check in CHECKS:
            check(lab, cast, version)


# --- what an operator does ---

def agent_pods(lab) -> list:
    return lab.kube_pods(NAMESPACE, AGENTS)


def agent_lives(lab) -> list:
    """Changes when an agent is started again."""
    return sorted((pod.name, status["containerID"]) for pod in agent_pods(lab) for status in pod.object["status"]["containerStatuses"])


def switch_backend(lab, backend: str, timeout: float = 60) -> None:
    """Edit the ConfigMap under running agents; kubelets bring it to them in their own time.  Nothing, if it is in force."""
    if all(Eyes(node).status()["backend"] == backend for node in lab.nodes):
        return
    conf = build(backend, lab.family)
    lab.store.net_conf = conf
    lab.kubectl("-n", NAMESPACE, "patch", "configmap", "tulle-cfg", "--type=merge", "-p", json.dumps({"data": {"net-conf.json": conf}}))
    for node in lab.nodes:
        until(lambda: Eyes(node).status()["backend"] == backend, f"{node.name} has taken the backend {backend}", timeout, 0.2,
              detail=lambda: lab.kubectl("-n", NAMESPACE, "logs", "-l", AGENTS, "--prefix", check=False).stdout[-2000:])


def switch_proxy(lab, mode: str) -> None:
    """As an operator does it: stop, clean up what the old mode left, start.  Nothing, if it is the mode already."""
    if lab.kube_proxy == mode:
        return
    lab.kube_proxy = mode
    for node in lab.nodes:
        node.proxy.stop()
        node.run([program("kube-proxy"), f"--config={DIR}/proxy.json", "--cleanup"])
        node.write(f"{DIR}/proxy.json", json.dumps(node.proxy_configuration()))
        node.proxy_start()
        for kind in ("nftables", "iptables"):
            until(lambda: has_rules(node, kind) == (kind == mode), f"{node.name}: rules of kube-proxy's mode {mode} alone", 20, 0.1)


def has_rules(node, mode: str) -> bool:
    """Whether kube-proxy's rules of that mode are there."""
    if mode == "nftables":
        return "table ip kube-proxy" in node.run(["nft", "list", "tables"]).stdout
    return "KUBE-SERVICES" in node.run(["iptables-save", "-t", "nat"]).stdout


def wait_talk(lab, source, target, timeout: float = 20) -> None:
    """Until the pods reach each other."""
    for version in versions(lab):
        until(lambda: target.name in http(lab, source, target.ip_of(version), PORT, "hostname"), f"{source.name} → {target.name}, IPv{version}", timeout)


def refused(lab, *argv) -> str:
    """kubectl's words when it fails."""
    try:
        lab.kubectl(*argv)
    except CommandError as error:
        return error.stderr
    raise AssertionError(f"kubectl {' '.join(argv)} did not fail")
