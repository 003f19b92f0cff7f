# SPDX-License-Identifier: Apache-2.0
"""Calico's pools on the real cluster, installed and changed by kubectl as docs/install.md says: two racks, both families."""

import ipaddress

import pytest
from cluster_eyes import Eyes
from cluster_pools import (CIDR, EXAMPLE, events, inside, objects, owners, pod_manifest, pool, taken, wait_calico, wait_pools, way)
from cluster_talk import PORT, agent_lives, http, refused
from tullelab import CommandError, KubeLab, wait

NODE = "projectcalico.org/"
MODES = {"vxlan": ("vxlanMode", "Always", "vxlan.calico", "IPv4VXLANTunnelAddr"), "ipip": ("ipipMode", "Always", "tunl0", "IPv4IPIPTunnelAddr"),
         "vxlan-subnet": ("vxlanMode", "CrossSubnet", "vxlan.calico", "IPv4VXLANTunnelAddr"),
         "ipip-subnet": ("ipipMode", "CrossSubnet", "tunl0", "IPv4IPIPTunnelAddr")}


@pytest.fixture(scope="module")
def lab():
    """node-1 and node-3 stand in one rack, node-2 in the other; the router between knows no pods."""
    with KubeLab(nodes=3, underlay="routed", family="dual", dns=False) as made:
        yield made


@pytest.fixture(scope="module")
def begun(lab):
    """The example applied as published, to agents that speak Flannel and have a pod; what agents and pod were before."""
    lab.apply([pod_manifest("old", lab.nodes[0])])
    old, = lab.wait_pods("old")
    before = agent_lives(lab)
    lab.apply(EXAMPLE)
    wait_calico(lab)
    return before, old


@pytest.fixture(scope="module")
def cast(lab, begun):
    """A pod on each node."""
    lab.apply([pod_manifest(f"pod-{node.index}", node) for node in lab.nodes])
    return lab.wait_pods(*(f"pod-{node.index}" for node in lab.nodes))


@pytest.fixture
def plain(lab, begun):
    """The example alone, again."""
    yield lambda *more: set_pools(lab, pool(), *more)
    set_pools(lab, pool())


def set_pools(lab, *pools) -> None:
    """These pools and no other; agents have seen them."""
    names = [one["metadata"]["name"] for one in pools]
    lab.apply(list(pools))
    for one in objects(lab, "ippools"):
        if one["metadata"]["name"] not in names:
            lab.kubectl("delete", "ippool", one["metadata"]["name"])
    wait_pools(lab, *names)


def add_pod(lab, name, node, **more):
    lab.apply([pod_manifest(name, node, **more)])
    found, = lab.wait_pods(name, namespace=more.get("namespace", "default"))
    return found


def wait_reach(lab, source, target, version=4) -> None:
    wait.until(lambda: target.name in http(lab, source, target.ip_of(version), PORT, "hostname"), f"{source.name} → {target.name}, IPv{version}", 20)


def test_the_example_takes_effect_at_once(lab, begun, cast, plain):
    """No agent is restarted by anybody; the pods' addresses are of blocks, and the old pod's is its node's in IPAM, too."""
    before, old = begun
    plain()
    assert agent_lives(lab) == before
    one, two, three = cast
    assert len({pod.ip for pod in cast}) == 3 and all(inside(pod.ip, CIDR[4]) for pod in cast)
    affinities = {each["spec"]["cidr"]: each["spec"] for each in objects(lab, "blockaffinities")}
    for pod in cast:
        cidr, = (cidr for cidr in affinities if inside(pod.ip, cidr))
        assert affinities[cidr]["node"] == pod.node and affinities[cidr]["state"] == "confirmed"
    wait_reach(lab, one, three)
    wait_reach(lab, three, one)
    assert way(lab.nodes[0], three.ip) == "eth0"
    wait_reach(lab, one, old)
    wait_reach(lab, three, old)
    assert owners(lab)[old.ip] == "old"
    for node in lab.nodes:
        Eyes(node).wait_no_problem()


@pytest.mark.parametrize("mode", MODES)
def test_encapsulation(lab, cast, plain, mode):
    """By kubectl, under running pods; across subnets it is the nodes' own networks that count."""
    key, when, device, annotation = MODES[mode]
    one, two, three = cast
    set_pools(lab, pool(**{key: when}))
    node = lab.nodes[0]
    wait.until(lambda: way(node, two.ip) == device, f"the way to the other rack through {device}", 20, detail=lambda: way(node, two.ip))
    wait.until(lambda: way(node, three.ip) == (device if when == "Always" else "eth0"), "the way inside the rack", 20)
    for source, target in ((one, two), (two, three), (three, one)):
        wait_reach(lab, source, target)
    for node in lab.nodes:
        tunnel = node.object["metadata"]["annotations"][NODE + annotation]
        assert taken(lab)[tunnel]["secondary"]["node"] == node.name
        Eyes(node).wait_no_problem()


def test_objects_are_as_calico_writes_them(lab, cast, plain):
    """What kube-controllers and calicoctl look at (reference/calico.md 2.15, 3.7)."""
    plain()
    wait.until(lambda: {pod.ip: pod.name for pod in cast}.items() <= owners(lab).items(), "the pods' own handles", 20, detail=lambda: str(owners(lab)))
    said = taken(lab)
    for pod in cast:
        attributes = said[pod.ip]
        assert {"namespace": "default", "node": pod.node, "pod": pod.name}.items() <= attributes["secondary"].items()
        assert "timestamp" in attributes["secondary"]
        handle = lab.api.get(f"/apis/projectcalico.org/v3/ipamhandles/{attributes['handle_id'].lower()}")
        assert handle["spec"]["handleID"] == attributes["handle_id"]
        block = next(one for one in objects(lab, "ipamblocks") if inside(pod.ip, one["spec"]["cidr"]))
        assert handle["spec"]["block"] == {block["spec"]["cidr"]: 1}
    for pod in cast:
        wait.until(lambda: lab.api.get(f"/api/v1/namespaces/default/pods/{pod.name}")["metadata"]["annotations"].get("cni.projectcalico.org/podIP", "")
                   .startswith(pod.ip), f"{pod.name}'s annotation with its address", 20)
    for block in objects(lab, "ipamblocks"):
        spec = block["spec"]
        network = ipaddress.ip_network(spec["cidr"])
        assert block["metadata"]["name"] == spec["cidr"].replace(".", "-").replace("/", "-")
        assert len(spec["allocations"]) == network.num_addresses and spec["strictAffinity"] is False and spec["sequenceNumber"] > 1 << 60
        assert sorted(spec["unallocated"]) == [i for i, index in enumerate(spec["allocations"]) if index is None]
        node = spec["affinity"].removeprefix("host:")
        affinity = lab.api.get(f"/apis/projectcalico.org/v3/blockaffinities/{node}-{block['metadata']['name']}")
        assert affinity["spec"] == {"cidr": spec["cidr"], "node": node, "state": "confirmed", "type": "host", "deleted": False}
    for node in lab.nodes:
        assert node.object["metadata"]["annotations"][NODE + "IPv4Address"] == f"{node.ip_of(4)}/24"


def test_an_address_comes_back(lab, cast, plain):
    plain()
    short = add_pod(lab, "short", lab.nodes[1])
    wait.until(lambda: owners(lab).get(short.ip) == "short", "it is the pod's", 20)
    lab.pod_delete("short")
    wait.until(lambda: owners(lab).get(short.ip) != "short", "it is free again, or at hand", 20)


def test_a_pod_chooses(lab, plain):
    """By its own annotations, by its namespace's; what cannot be followed stands in the pod's events."""
    blue = {"cni.projectcalico.org/ipv4pools": '["blue"]'}
    plain(pool("blue", "10.245.0.0/24", assignmentMode="Manual", blockSize=28))
    lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bluish", "annotations": blue}}])
    wait.until(lambda: lab.api.items("/api/v1/namespaces/bluish/serviceaccounts"), "the namespace is ready", 20, 0.1)
    node = lab.nodes[0]
    wish = {"cni.projectcalico.org/ipAddrs": '["10.245.0.77"]'}
    lab.apply([pod_manifest("blue", node, blue), pod_manifest("wish", node, wish), pod_manifest("bluish", node, namespace="bluish"),
               pod_manifest("bad", node, {"cni.projectcalico.org/ipv4pools": '["green"]'})])
    named, wished = lab.wait_pods("blue", "wish")
    follows, = lab.wait_pods("bluish", namespace="bluish")
    assert inside(named.ip, "10.245.0.0/24") and inside(follows.ip, "10.245.0.0/24") and wished.ip == "10.245.0.77"
    wait.until(lambda: "green" in lab.kubectl("get", "events", "--field-selector=involvedObject.name=bad").stdout, "why bad has no address", 30, 0.5)
    lab.pod_delete("blue", "wish", "bad")
    lab.kubectl("delete", "namespace", "bluish", timeout=100)


def test_a_pool_for_some_nodes(lab, plain):
    """Labels that change while agents run."""
    node = lab.nodes[0]
    set_pools(lab, pool(nodeSelector="!has(row)"), pool("row", "10.246.0.0/24", nodeSelector="row == 'a'"))
    lab.kubectl("label", "node", node.name, "row=a")
    try:
        in_row = wait.until(lambda: inside((found := add_pod(lab, "in-row", node)).ip, "10.246.0.0/24") or lab.pod_delete(found.name),
                            "a pod of the node with the label", 30)
        assert in_row and inside(add_pod(lab, "other", lab.nodes[1]).ip, CIDR[4])
    finally:
        lab.kubectl("label", "node", node.name, "row-")
    wait.until(lambda: inside((found := add_pod(lab, "without", node)).ip, CIDR[4]) or lab.pod_delete(found.name), "without the label", 30)
    lab.pod_delete("in-row", "other", "without")


def test_nat_outgoing(lab, cast, plain):
    """As its node, or as itself to a world that does not know it."""
    one = cast[0]
    plain()
    assert f"client={lab.nodes[0].ip_of(4)} " in http(lab, one, lab.outside.ip_of(4))
    set_pools(lab, pool(natOutgoing=False))
    with lab.capture(lab.outside, "eth0", f"src host {one.ip}") as seen:
        def itself():
            lab.pod_exec(one.name, "curl", "-sS", "-m1", f"http://{lab.outside.ip_of(4)}:{PORT}/", check=False)
            return seen.lines
        wait.until(itself, "the outside sees the pod's own address", 20)


def test_dual_stack(lab, plain):
    """A second pool, of the other family; pods that are there already stay as they are."""
    plain(pool("six", CIDR[6], vxlanMode="Always"))
    pods = [add_pod(lab, f"dual-{node.index}", node) for node in lab.nodes[:2]]
    assert all(inside(pod.ip_of(4), CIDR[4]) and inside(pod.ip_of(6), CIDR[6]) for pod in pods)
    wait_reach(lab, *pods, version=6)
    wait_reach(lab, *reversed(pods), version=6)
    lab.pod_delete(*(pod.name for pod in pods))


def test_bad_pools(lab, cast, plain):
    """The server refuses what its schema can tell, the agents the rest, in Events that name object and field; what is good goes on."""
    plain()
    bad = pool("both", "10.247.0.0/24", ipipMode="Always", vxlanMode="Always")
    with pytest.raises(CommandError, match="(?i)encapsulation|ipipMode|vxlanMode"):
        lab.apply([bad])
    assert "blockSize" in refused(lab, "patch", "ippool", "default-ipv4-ippool", "--type=merge", "-p", '{"spec": {"blockSize": 27}}')
    for name, spec, word in (("overlap", {"cidr": "10.244.128.0/17"}, "default-ipv4-ippool"),
                             ("selector", {"cidr": "10.247.0.0/24", "nodeSelector": "row ~ 'a'"}, "spec.nodeSelector")):
        lab.apply([pool(name, **spec)])
        event = wait.until(lambda: next(iter(events(lab, name)), None), f"an Event about IPPool {name}", 30, 0.2,
                           detail=lambda: str(Eyes(lab.nodes[0]).problems()))
        assert event["type"] == "Warning" and word in event["message"], event["message"]
        assert event["involvedObject"]["kind"] == "IPPool"
        assert event["involvedObject"]["uid"] == lab.api.get(f"/apis/projectcalico.org/v3/ippools/{name}")["metadata"]["uid"]
    assert "selector" in lab.kubectl("describe", "ippool", "selector").stdout.partition("Events:")[2]
    wait_pools(lab, "default-ipv4-ippool")
    assert inside(add_pod(lab, "good", lab.nodes[2]).ip, CIDR[4])
    lab.pod_delete("good")
    lab.kubectl("delete", "ippool", "overlap", "selector")
    for node in lab.nodes:
        wait.until(lambda: not {key for key in Eyes(node).problems() if key.split()[-1] in ("overlap", "selector")}, "nothing wrong with them any more", 15)
