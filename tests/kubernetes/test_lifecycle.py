# SPDX-License-Identifier: Apache-2.0
"""What happens to a cluster in its life: nodes come, go and lose everything, the agent dies, the API server and etcd are disturbed."""

import ipaddress
import json
import signal
import time

import pytest
from cluster_eyes import Eyes, Flow, attachments
from tullelab import KubeLab, wait
from tullelab.kube_images import ECHO


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2) as made:
        yield made


@pytest.fixture(scope="module")
def pods(lab):
    """one on node-1, two on node-2."""
    for name, node in zip(("one", "two"), lab.nodes):
        lab.run(name, ECHO, node=node)
    return lab.wait_pods("one", "two")


def talk(lab, source, target) -> bool:
    """A ping from one pod to the other by kubectl exec."""
    return " 0% packet loss" in lab.pod_exec(source.name, "ping", "-c", "1", "-W", "2", target.ip)


def cidr_of(node) -> str:
    return node.object["spec"]["podCIDR"]


def agent_pid(node) -> int:
    return int(node.run(["pidof", "tulled"]).stdout.split()[0])


def leftover(node, cidr: str) -> list:
    """Routes, neighbours and FDB entries of another node's block."""
    network = ipaddress.ip_network(cidr)
    eyes = Eyes(node)
    return [dst for dst in eyes.routes() if ipaddress.ip_network(dst).subnet_of(network)] + \
        [dst for dst in eyes.neighbours() if ipaddress.ip_address(dst) in network]


def test_agent_killed_under_traffic(lab, pods):
    """kill -9 of the agent's process: its container comes back, and nothing that runs notices."""
    flow = Flow(lab, *pods)
    for node in lab.nodes:
        pid = agent_pid(node)
        node.run(["kill", "-9", str(pid)])
        wait.until(lambda: node.run(["pidof", "tulled"], check=False).stdout.split() not in ([], [str(pid)]), f"{node.name}: tulled is back", 60, 0.2)
        wait.until(lambda: Eyes(node).status(), f"{node.name}: tulled answers", 20, 0.2)
    flow.check()
    for node in lab.nodes:
        wait.until(lambda: not Eyes(node).problems(), f"{node.name}: no problem", 30, 0.2, detail=lambda: str(Eyes(node).problems()))


def test_api_server_restarted_and_etcd_compacted(lab, pods):
    flow = Flow(lab, *pods)
    etcdctl = {"ETCDCTL_API": "3"}
    status = json.loads(lab.control.run(["etcdctl", "endpoint", "status", "-w", "json"], env=etcdctl).stdout)
    lab.control.run(["etcdctl", "compact", str(status[0]["Status"]["header"]["revision"])], env=etcdctl)
    lab.control.stop("kube-apiserver", signal.SIGKILL)
    lab.control.start("kube-apiserver")
    wait.until(lambda: lab.api.request("GET", "/readyz") == "ok", "the API server is back", 90, 0.2)
    lab.run("after-restart", ECHO, node=lab.nodes[0])
    after, = lab.wait_pods("after-restart")
    assert talk(lab, after, pods[1])
    flow.check()
    lab.pod_delete("after-restart")


def test_node_added_drained_and_deleted(lab, pods):
    node = lab.node_add()
    node.wait_ready(90)
    lab.run("three", ECHO, node=node)
    lab.run("evicted", ECHO, node=node)
    three, _ = lab.wait_pods("three", "evicted")
    assert ipaddress.ip_address(three.ip) in ipaddress.ip_network(cidr_of(node))
    assert talk(lab, pods[0], three) and talk(lab, three, pods[1])
    cidr = cidr_of(node)
    assert all(leftover(other, cidr) for other in lab.nodes[:2])
    lab.kubectl("drain", node.name, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s", timeout=90)
    wait.until(lambda: not attachments(node), "the drained node has no pods left", 30, 0.2)
    lab.power_off(node)
    lab.kubectl("delete", "node", node.name)
    for other in lab.nodes[:2]:
        wait.until(lambda: not leftover(other, cidr), f"{other.name} has forgotten {node.name}", 15, 0.1)
    assert talk(lab, pods[0], pods[1])


def test_node_rebooted(lab, pods):
    """All its namespaces and /run are lost. It comes back with its block, and pods of it get addresses that nobody has."""
    node = lab.nodes[1]
    cidr = cidr_of(node)
    lab.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=6")
    lab.wait_pods(selector="app=web", count=6)
    before = node.containers()
    node.reboot()
    node.wait_ready(120)
    wait.until(lambda: not before & node.containers(), "the cluster no longer shows containers of before the reboot", 60)
    assert cidr_of(node) == cidr
    after = wait.until(lambda: lab.wait_pods(selector="app=web", count=6), "all pods run again", 120)
    addresses = [pod.ip for pod in after]
    assert len(set(addresses)) == 6
    known = {one["ip"] for each in lab.nodes[:2] for one in attachments(each)}
    assert set(addresses) <= known
    lab.wait_pods("two", timeout=60)
    for pod in after:
        assert "Welcome to nginx" in lab.pod_exec("one", "curl", "-sS", "--max-time", "5", f"http://{pod.ip}/")
    lab.kubectl("delete", "deployment", "web")
    wait.until(lambda: not lab.api.items("/api/v1/namespaces/default/pods?labelSelector=app=web"), "all are gone", 60, 0.5)


COUNT, ROUNDS = 100, 2


def test_deployment_scaled_up_and_down(lab, pods):
    """0 → 100 → 0 on two nodes, twice: every pod gets an address that works at once, none leaks, none is given twice."""
    before = {node.name: len(attachments(node)) for node in lab.nodes[:2]}
    lab.apply([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"},
                "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "many"}},
                         "template": {"metadata": {"labels": {"app": "many"}},
                                      "spec": {"containers": [{"name": "main", "image": "localhost/pause:lab"}], "terminationGracePeriodSeconds": 1,
                                               "automountServiceAccountToken": False}}}}])
    networks = {node.name: ipaddress.ip_network(cidr_of(node)) for node in lab.nodes[:2]}
    for _ in range(ROUNDS):
        began = time.monotonic()
        lab.kubectl("scale", "deployment", "many", f"--replicas={COUNT}")
        found = lab.wait_pods(selector="app=many", count=COUNT, timeout=240)
        print(f"{COUNT} pods ready after {time.monotonic() - began:.1f} s")
        assert len({pod.ip for pod in found}) == COUNT
        assert all(ipaddress.ip_address(pod.ip) in networks[pod.node] for pod in found)
        script = "for i in " + " ".join(pod.ip for pod in found) + "; do ping -c 1 -W 2 $i >/dev/null || echo $i; done"
        for name in ("one", "two"):
            assert lab.pod_exec(name, "sh", "-c", script, timeout=120) == ""
        lab.kubectl("scale", "deployment", "many", "--replicas=0")
        wait.until(lambda: not lab.api.items("/api/v1/namespaces/default/pods?labelSelector=app=many"), "all are gone", 240, 0.5)
        for node in lab.nodes[:2]:
            wait.until(lambda: len(attachments(node)) == before[node.name], f"{node.name}: no attachment is left over", 120, 0.2,
                       detail=lambda: f"{before}, now {[(one['ip'], one['containerID'][:12]) for one in attachments(node)]}")
            links = [link["ifname"] for link in json.loads(node.run(["ip", "-j", "link"]).stdout) if link["ifname"].startswith("tul")]
            assert len(links) == before[node.name]
    lab.kubectl("delete", "deployment", "many")
