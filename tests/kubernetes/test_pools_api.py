# SPDX-License-Identifier: Apache-2.0
"""Pools in a cluster that is only its API, with the definitions of either of Calico's groups: what agents find, write and give up."""

import json

import pytest
from cluster_pools import V1, V3, events, inside, objects, owners, pool, speaks_calico, taken, wait_calico
from cluster_eyes import Eyes
from conftest import REPOSITORY
from tullelab import CommandError, LabError, kube_deploy, wait
from tullelab.api_lab import ApiLab
from tullelab.kube_addons import agent_rights

GROUPS = {"v3": (V3, kube_deploy.DEFINITIONS), "v1": (V1, REPOSITORY / "tests" / "objects" / "crds-v1")}


def define(lab, directory) -> None:
    lab.kubectl("create", "-f", directory)
    lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", directory)


@pytest.fixture(scope="module", params=GROUPS)
def lab(request):
    """Agents that spoke Flannel when definitions and a pool came; lab.group is theirs."""
    group, directory = GROUPS[request.param]
    with ApiLab(nodes=3, agent_args=["--ipam-repair-period=2"]) as lab:
        lab.own_objects()
        lab.agents_start()
        assert not any(speaks_calico(node) for node in lab.nodes)
        lab.group = group
        define(lab, directory)
        lab.apply([pool(group=group)])
        wait_calico(lab, 45)
        yield lab


def pod_object(lab, node, name, namespace="default", **annotations) -> None:
    """A pod as the API has it; nobody runs it."""
    notes = {f"cni.projectcalico.org/{key}": json.dumps(value) for key, value in annotations.items()}
    lab.api.create(f"/api/v1/namespaces/{namespace}/pods", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": notes},
        "spec": {"nodeName": node.name, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
                 "containers": [{"name": "c", "image": "none"}]}})


def add(lab, node, name, namespace="default", **annotations):
    wait.until(lambda: lab.api.items(f"/api/v1/namespaces/{namespace}/serviceaccounts"), "the namespace is ready", 20, 0.1)
    pod_object(lab, node, name, namespace, **annotations)
    return node.pod_add(f"{namespace}/{name}")


def remove(lab, *pods) -> None:
    for pod in pods:
        pod.delete()
        namespace, _, name = pod.name.partition("/")
        lab.kubectl("delete", "pod", "-n", namespace, name, "--grace-period=0", "--force")


def test_blocks_are_as_the_group_has_them(lab):
    one, two = lab.nodes[:2]
    a, b = add(lab, one, "a"), add(lab, two, "b")
    wait.until(lambda: a.ping(b.ip) or True, "they reach each other", 10)
    wait.until(lambda: {a.ip: "a", b.ip: "b"}.items() <= owners(lab, lab.group).items(), "their own handles", 20)
    for pod in (a, b):
        said = taken(lab, lab.group)[pod.ip]
        assert {"namespace": "default", "node": pod.node.name}.items() <= said["secondary"].items()
    states = {(each["spec"]["node"], each["spec"]["state"], each["spec"]["deleted"]) for each in objects(lab, "blockaffinities", lab.group)}
    deleted = "false" if lab.group == V1 else False
    assert states == {(node.name, "confirmed", deleted) for node in lab.nodes[:2]} | {s for s in states if s[0] == "node-3"}
    assert all(state[1:] == ("confirmed", deleted) for state in states)
    notes = lab.api.get("/api/v1/namespaces/default/pods/a")["metadata"]["annotations"]
    wait.until(lambda: lab.api.get("/api/v1/namespaces/default/pods/a")["metadata"]["annotations"].get("cni.projectcalico.org/podIP", "").startswith(a.ip),
               "the annotation with its address", 20, detail=lambda: str(notes))
    remove(lab, a, b)
    wait.until(lambda: not {"a", "b"} & set(owners(lab, lab.group).values()), "they are given back", 20)


def test_what_kubernetes_expects_of_a_node(lab):
    """The condition that a cloud sets for new nodes; the CNI configuration of the ConfigMap."""
    condition = wait.until(lambda: lab.condition("node-1"), "the condition", 15)
    assert (condition["status"], condition["reason"]) == ("False", "TulleIsUp")
    node, source, target = lab.nodes[0], "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-tulle.conflist"
    built_in = json.loads(node.read(target))
    other = {**built_in, "plugins": [{**built_in["plugins"][0], "mtu": 1400}, *built_in["plugins"][1:]]}
    node.write(source, json.dumps(other))
    wait.until(lambda: json.loads(node.read(target)) == other, "it is followed", 15, 0.2, detail=lambda: node.read(target))
    node.run(["rm", source])


def test_annotations(lab):
    """Of the pod and of its namespace; who asks for what there is not is refused with the name."""
    node = lab.nodes[0]
    lab.apply([pool("blue", "10.245.0.0/24", lab.group, assignmentMode="Manual"),
               {"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "bluish", "annotations": {"cni.projectcalico.org/ipv4pools": '["blue"]'}}}])
    wait.until(lambda: "blue" in {one["name"] for one in Eyes(node).status()["calico"]["pools"]}, "the second pool", 10)
    pods = [add(lab, node, "named", ipv4pools=["blue"]), add(lab, node, "ranged", ipv4pools=["10.245.0.0/24"]), add(lab, node, "follows", "bluish"),
            add(lab, node, "wish", ipAddrs=["10.245.0.77"]), add(lab, node, "plain")]
    assert [inside(pod.ip, "10.245.0.0/24") for pod in pods] == [True, True, True, True, False] and pods[3].ip == "10.245.0.77"
    with pytest.raises((CommandError, LabError), match="green"):
        add(lab, node, "bad", ipv4pools=["green"])
    lab.kubectl("delete", "pod", "bad", "--grace-period=0", "--force")
    remove(lab, *pods)
    lab.kubectl("delete", f"ippools.{lab.group.partition('/')[0]}", "blue")


def test_what_is_wrong_stands_in_an_event(lab):
    """About the object as this group calls it, once."""
    lab.apply([pool("bad", "10.246.0.0/24", lab.group, nodeSelector="rack ~ 'a'")])
    kind = f"ippools.{lab.group.partition('/')[0]}"
    try:
        said = wait.until(lambda: events(lab, "bad"), "an Event", 30, 0.2)
        uid = lab.api.get(f"/apis/{lab.group}/ippools/bad")["metadata"]["uid"]
        about = said[0]["involvedObject"]
        assert (about["apiVersion"], about["kind"], about["uid"]) == (lab.group, "IPPool", uid) and "spec.nodeSelector" in said[0]["message"]
        assert "spec.nodeSelector" in lab.kubectl("describe", kind, "bad").stdout.partition("Events:")[2]
    finally:
        lab.kubectl("delete", kind, "bad")
    assert len(events(lab, "bad")) == 1


def test_settings_that_are_wrong_stand_in_an_event(lab):
    """What several objects make together is told about the one that is wrong; a damaged block is told, too."""
    group = lab.group.partition("/")[0]
    lab.apply([{"apiVersion": lab.group, "kind": "FelixConfiguration", "metadata": {"name": "default"}, "spec": {"natPortRange": "9:many"}}])
    try:
        said = wait.until(lambda: events(lab, "default"), "an Event", 30, 0.2, detail=lambda: str(Eyes(lab.nodes[0]).problems()))
        about = said[0]["involvedObject"]
        assert about["kind"] == "FelixConfiguration" and about["uid"] == lab.api.get(f"/apis/{lab.group}/felixconfigurations/default")["metadata"]["uid"]
        assert "spec.natPortRange" in said[0]["message"]
    finally:
        lab.kubectl("delete", f"felixconfigurations.{group}", "default")
    block = objects(lab, "ipamblocks", lab.group)[0]
    path = f"/apis/{lab.group}/ipamblocks/{block['metadata']['name']}"
    lab.api.patch(path, {"spec": {"affinity": "host:" + "-" * 300}})
    try:
        said = wait.until(lambda: events(lab, block["metadata"]["name"]), "an Event about the block", 30, 0.2, detail=lambda: str(Eyes(lab.nodes[0]).problems()))
        assert said[0]["involvedObject"]["kind"] == "IPAMBlock" and "spec.affinity" in said[0]["message"]
    finally:
        lab.api.patch(path, {"spec": {"affinity": block["spec"]["affinity"]}})
    wait.until(lambda: not [key for key in Eyes(lab.nodes[0]).problems() if "IPAMBlock" in key], "mended", 30)


def test_a_deleted_node_gives_everything_back(lab):
    """Whichever agent holds the Lease releases its pods, tunnel address and blocks."""
    gone = lab.nodes[2]
    pod = add(lab, gone, "orphan")
    wait.until(lambda: owners(lab, lab.group).get(pod.ip) == "orphan", "its own handle", 20)
    gone.agent_kill()
    lab.kubectl("delete", "pod", "orphan", "--grace-period=0", "--force")
    lab.kubectl("delete", "node", gone.name)

    def traces():
        return [ip for ip, said in taken(lab, lab.group).items() if said.get("secondary", {}).get("node") == gone.name] + \
            [one["metadata"]["name"] for one in objects(lab, "blockaffinities", lab.group) if one["spec"]["node"] == gone.name]
    wait.until(lambda: not traces(), "nothing of it is left", 60, 0.5, detail=lambda: f"{traces()}\n{lab.nodes[0].log[-2000:]}")
    lease = lab.api.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/tulle-ipam")
    assert lease["spec"]["holderIdentity"] in {node.name for node in lab.nodes[:2]}
    lab.node_object(gone.name, lab.cidrs(gone.index))
    gone.agent_start()
    pod.delete()


def test_v1_counts_where_both_are_served(lab):
    """As Calico's own clients choose: with an API server of Calico's in front of its v1 definitions, v3 is the same objects."""
    other, directory = GROUPS["v1" if lab.group == V3 else "v3"]
    node = lab.nodes[0]
    define(lab, directory)
    lab.apply([pool("other", "10.247.0.0/24", other)])
    node.agent_restart(ready=False)
    wanted = "other" if other == V1 else "default-ipv4-ippool"
    wait.until(lambda: speaks_calico(node) and [one["name"] for one in Eyes(node).status()["calico"]["pools"]] == [wanted], f"pool {wanted} alone", 30,
               detail=lambda: str(Eyes(node).status()))
    lab.kubectl("delete", "-f", directory)
    node.agent_restart(ready=False)
    wait.until(lambda: speaks_calico(node) and [one["name"] for one in Eyes(node).status()["calico"]["pools"]] == ["default-ipv4-ippool"],
               "the pool of before", 30, detail=lambda: str(Eyes(node).status()))


def test_who_may_not_see_pools_speaks_flannel(lab):
    """The role that docs/install.md says a cluster with net-conf.json can do without."""
    role, binding = agent_rights()
    groups = {V1.partition("/")[0], V3.partition("/")[0]}
    rules = [{**rule, "apiGroups": [one for one in rule["apiGroups"] if one not in groups]} for rule in role["rules"]]
    node = lab.nodes[1]
    lab.apply([{**role, "rules": [rule for rule in rules if rule["apiGroups"]]}])
    try:
        wait.until(lambda: "no" in lab.kubectl("auth", "can-i", "list", f"ippools.{lab.group.partition('/')[0]}", "--as=tulle-agent", check=False).stdout,
                   "the right is gone", 10)
        node.agent_restart()
        wait.until(lambda: Eyes(node).status().get("backend") == "vxlan" and not speaks_calico(node), "it speaks Flannel", 20)
        Eyes(node).wait_no_problem()
    finally:
        lab.apply([role])
    wait.until(lambda: "yes" in lab.kubectl("auth", "can-i", "list", f"ippools.{lab.group.partition('/')[0]}", "--as=tulle-agent", check=False).stdout,
               "the right is back", 10)
    node.agent_restart()
    wait_calico(lab)
