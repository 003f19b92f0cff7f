# SPDX-License-Identifier: Apache-2.0
"""What the agent writes on pods where the store speaks Calico (reference/calico.md 4.6), and `tullectl ipam` with the API's pods."""

import json
import pathlib
import re
import sys

import pytest
from tullelab import wait
from tullelab.api_lab import ApiLab
from tullelab.kube_addons import agent_rights

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "agent"))
from eyes import Eyes  # noqa: E402

PREFIX = "cni.projectcalico.org/"
PODS = "/api/v1/namespaces/default/pods"
POOL = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pool4"},
        "spec": {"cidr": "10.244.0.0/16", "vxlanMode": "Always", "natOutgoing": True}}


@pytest.fixture(scope="module")
def lab():
    """Two nodes as objects, agents beside them; no kubelet reports what becomes of pods."""
    with ApiLab(nodes=2, crds=True) as lab:
        lab.control.stop("kube-controller-manager")  # it would mark silent nodes, and evict
        for node in lab.nodes:
            lab.node_object(node.name)
        lab.api.create("/apis/projectcalico.org/v3/ippools", POOL)
        for node in lab.nodes:
            node.agent_start(ready=False)
        for node in lab.nodes:
            node.agent_ready(60)
        yield lab


def make(lab, name, node):
    lab.api.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "nodeName": node.name, "containers": [{"name": "main", "image": "example"}], "terminationGracePeriodSeconds": 0}})


def add(lab, name, node):
    """The object, then the runtime's ADD."""
    make(lab, name, node)
    return node.pod_add(name)


def notes(lab, name) -> dict:
    found = lab.api.get(f"{PODS}/{name}")["metadata"].get("annotations", {})
    return {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}


def wait_notes(lab, name, expected, timeout=10):
    wait.until(lambda: notes(lab, name) == expected, f"{name} has {expected}", timeout, detail=lambda: str(notes(lab, name)))


def told(pod, ip=None) -> dict:
    cidr = f"{pod.ip}/32" if ip is None else ip
    return {"podIP": cidr, "podIPs": cidr, "containerID": pod.record["container_id"]}


def test_written_after_add_and_emptied_after_del(lab):
    one, _ = lab.nodes
    pod = add(lab, "web", one)
    wait_notes(lab, "web", told(pod))
    assert lab.api.get(f"{PODS}/web")["status"].get("podIP") is None  # which is the kubelet's
    pod.delete()
    wait_notes(lab, "web", told(pod, ip=""))


def test_a_successor_is_left_alone(lab):
    """Another container is named there: the DEL of the one before empties nothing."""
    one, _ = lab.nodes
    pod = add(lab, "again", one)
    wait_notes(lab, "again", told(pod))
    lab.api.patch(f"{PODS}/again", {"metadata": {"annotations": {PREFIX + "containerID": "another"}}})
    pod.delete()
    last = add(lab, "last", one)
    wait_notes(lab, "last", told(last))  # requests go in the order of what happened
    assert notes(lab, "again") == {**told(pod), "containerID": "another"}


def test_a_restarted_agent_writes_what_is_missing(lab):
    one, _ = lab.nodes
    pod, other = add(lab, "kept", one), add(lab, "wiped", one)
    wait_notes(lab, "kept", told(pod))
    wait_notes(lab, "wiped", told(other))
    version = lab.api.get(f"{PODS}/kept")["metadata"]["resourceVersion"]
    one.agent_kill()
    lab.api.patch(f"{PODS}/wiped", {"metadata": {"annotations": {PREFIX + "podIPs": None}}})
    one.agent_start()
    wait_notes(lab, "wiped", told(other))
    assert lab.api.get(f"{PODS}/kept")["metadata"]["resourceVersion"] == version


def test_check_and_release_with_the_apis_pods(lab):
    """Any node may judge every node's pods: one without Pod is leaked."""
    one, two = lab.nodes
    pod = add(lab, "judged", two)
    wait_notes(lab, "judged", told(pod))

    def problems():
        done = Eyes(one).ctl("-o", "json", "ipam", "check", check=False)
        return {(each["kind"], each["object"]) for each in json.loads(done.stdout)["problems"]}
    wait.until(lambda: ("leaked", pod.ip) not in problems() and ("not-given-out", pod.ip) not in problems(), "the pod is well", 10)
    refused = Eyes(one).ctl("ipam", "release", f"--ip={pod.ip}", check=False)
    assert refused.returncode == 1 and f"{pod.ip} belongs to pod default/judged of node node-2" in refused.stderr, refused
    two.agent_stop()
    lab.api.delete(f"{PODS}/judged")
    wait.until(lambda: ("leaked", pod.ip) in problems(), "its address is leaked without it", 10, detail=lambda: str(problems()))
    done = Eyes(one).ctl("ipam", "release", f"--ip={pod.ip}")
    assert re.match(rf"released {re.escape(pod.ip)}: pod default/judged of node node-2, handle ", done.stdout)
    two.agent_start()


def test_without_the_right_it_is_told_once_and_the_pod_works(lab):
    one, _ = lab.nodes
    role = agent_rights()[0]
    for rule in role["rules"]:
        rule["resources"] = [each for each in rule["resources"] if each != "pods/status"]
    lab.apply([role])
    try:
        wait.until(lambda: not lab.may("patch", "pods", "status"), "the right is gone", 10)
        pods = [add(lab, f"mute-{i}", one) for i in range(3)]
        problem = Eyes(one).wait_problem("pod annotations")
        assert "expected the right to patch pods/status" in problem
        assert len({pod.ip for pod in pods}) == 3 and not any(notes(lab, f"mute-{i}") for i in range(3))
        assert one.log.count("pod annotations: tulled may not write them") == 1
    finally:
        lab.apply(agent_rights()[:1])
    wait.until(lambda: lab.may("patch", "pods", "status"), "the right is back", 10)
    one.agent_restart()  # it would try again in five minutes
    for i, pod in enumerate(pods):
        wait_notes(lab, f"mute-{i}", told(pod))
    assert "pod annotations" not in Eyes(one).problems()
