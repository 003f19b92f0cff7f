# SPDX-License-Identifier: Apache-2.0
"""Objects that are wrong: refused or ignored with a message that names object and field, and a metric; what was good stays."""
import json
import os
import time

import pytest
from calico_words import objects, pool, talk, way
from tullelab import wait

ORDINARY = {"matchOperator": "In", "cidr": "10.0.0.0/8", "action": "Accept"}


def resource(kind, name, **spec) -> str:
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})


# What is applied → what is said, of which object and field.
BAD = {
    "overlap": (pool("overlap", "10.244.128.0/17"), ["pool overlap", "pool4"]),
    "small": (pool("small", "10.251.0.0/28", blockSize=26), ["IPPool small: spec.blockSize is 26"]),
    "both": (pool("both", "10.250.0.0/16", ipipMode="Always", vxlanMode="Always"), ["IPPool both: spec.vxlanMode is \"Always\"", "spec.ipipMode"]),
    "choosy": (pool("choosy", "10.252.0.0/16", nodeSelector="rack matches 'a.*'"), ["IPPool choosy: spec.nodeSelector", "matches 'a.*'", "character 6"]),
    "number": (resource("BGPPeer", "number", peerIP="192.0.2.200"), ["BGPPeer number: spec.asNumber"]),
    "filter": (resource("BGPFilter", "filter", exportV4=[ORDINARY, {"action": "Maybe"}]), ["BGPFilter filter: spec.exportV4[1].action is \"Maybe\""]),
    "filtered": (resource("BGPPeer", "filtered", peerIP="192.0.2.201", asNumber=65001, filters=["filter"]), ["BGPPeer filtered: spec.filters[0] filter"]),
    "reserved": (resource("IPReservation", "reserved", reservedCIDRs=["10.244.9.0/24", "10.1"]), ["IPReservation reserved: spec.reservedCIDRs[1] is \"10.1\""]),
    "ipam": (resource("IPAMConfiguration", "default", autoAllocateBlocks=False), ["IPAMConfiguration default: spec.autoAllocateBlocks is false"]),
    "felix": (resource("FelixConfiguration", "default", natPortRange="many", vxlanVNI=4096), ["FelixConfiguration default: spec.natPortRange is \"many\""]),
    "bgp": (resource("BGPConfiguration", "default", nodeToNodeMeshEnabled="yes"), ["BGPConfiguration default: spec.nodeToNodeMeshEnabled is \"yes\""]),
}


def begin(made):
    """A pool that has been there for a while, and a pod on each node."""
    made.store.put("pool4.yaml", pool(vxlanMode="Always"))
    os.utime(made.store.path / "pool4.yaml", (time.time() - 60,) * 2)
    for node in made.nodes:
        node.agent_start()
    made.first = [node.pod_add(f"pod-{node.index}") for node in made.nodes]
    talk(*made.first)
    return made


@pytest.fixture
def plain(built, make_lab):
    return begin(make_lab(agents=False, nodes=2))


@pytest.fixture
def lab(built, make_lab, eyes):
    """Nodes that speak BGP."""
    made = begin(make_lab(agents=False, nodes=2, agent_args=["--bird=start"]))
    wait.until(lambda: session(eyes, made)["state"] == "Established", "the mesh", 30)
    return made


def session(eyes, lab) -> dict:
    """node-1's only one."""
    found, = json.loads(eyes(lab.nodes[0]).ctl("-o", "json", "bgp", "status", check=False).stdout)["sessions"]
    return found


def wait_told(seen, words) -> None:
    wait.until(lambda: any(all(word in f"{key}: {text}" for word in words) for key, text in seen.problems().items()), f"told: {words}", 10,
               detail=lambda: json.dumps(seen.problems(), indent=1))


def test_what_was_good_stays(lab, eyes):
    """All at once, and gone again: each is told and counted, pods talk and come, the session is the same."""
    one, two = lab.nodes
    seen = eyes(one)
    before = session(eyes, lab)["since"]
    for name, (text, _) in BAD.items():
        lab.store.put(f"{name}.yaml", text)
    for _, words in BAD.values():
        wait_told(seen, words)
    assert seen.metric("problems") == len(seen.problems()) and seen.metric("problems") >= len(BAD)
    for _, words in BAD.values():
        assert all(word in one.log for word in words)
    added = [node.pod_add(f"more-{node.index}") for node in lab.nodes]
    talk(*lab.first, *added)
    assert way(one, lab.first[1].ip) == "vxlan.calico"
    found = {each["name"]: each for each in json.loads(seen.ctl("-o", "json", "bgp", "status", check=False).stdout)["sessions"]}
    assert found["Mesh_192_0_2_2"]["since"] == before and "Global_192_0_2_200" not in found
    for name in BAD:
        lab.store.delete(f"{name}.yaml")
    seen.wait_no_problem(10)
    assert session(eyes, lab)["since"] == before and seen.metric("problems") == 0


def test_a_good_one_that_goes_bad(lab, eyes):
    """As it was before it stays in force: a pool, a peer, a filter."""
    one, two = lab.nodes
    seen = eyes(one)
    lab.store.put("bgp.yaml", resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False))
    lab.store.put("filter.yaml", resource("BGPFilter", "pods", exportV4=[{**ORDINARY, "cidr": "10.244.0.0/16"}]))
    lab.store.put("peer.yaml", resource("BGPPeer", "nodes", nodeSelector="all()", peerSelector="all()", filters=["pods"]))
    before = wait.until(lambda: (now := session(eyes, lab))["state"] == "Established" and "BGPPeer" in now["description"] and now, "by the peer", 40)
    changed = {"pool4.yaml": pool(vxlanMode="Sometimes"), "bgp.yaml": resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False, asNumber="x"),
               "filter.yaml": resource("BGPFilter", "pods", exportV4=[{"action": "Accept", "prefix": "10.0.0.0/8"}]),
               "peer.yaml": resource("BGPPeer", "nodes", nodeSelector="all(", peerSelector="all()", filters=["pods"])}
    for name, text in changed.items():
        lab.store.put(name, text)
    for words in (["IPPool pool4: spec.vxlanMode"], ["BGPConfiguration default: spec.asNumber"], ["BGPFilter pods: spec.exportV4[0]", "prefix"],
                  ["BGPPeer nodes: spec.nodeSelector"]):
        wait_told(seen, words)
    assert session(eyes, lab)["since"] == before["since"]
    assert way(one, two.pod_add("more").ip) == "vxlan.calico"
    talk(*lab.first)


DAMAGE = {
    "allocations": (lambda spec: spec.update(allocations=[7] * 64), "spec.allocations"),
    "cidr": (lambda spec: spec.update(cidr="10.244.0.1/26"), "spec.cidr"),
    "affinity": (lambda spec: spec.update(affinity="host:a/b"), "spec.affinity"),
    "nothing": (lambda spec: spec.clear(), "spec.cidr is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_block(plain, eyes, damage):
    """It goes on to be routed as it was, its owner says what is wrong and takes another one for new pods; when it is mended nothing is wrong."""
    one, two = plain.nodes
    change, word = DAMAGE[damage]
    block = next(each for each in objects(plain, "ipamblocks") if each["spec"]["affinity"] == "host:node-2")
    path, name = f"objects/ipamblocks/{block['metadata']['name']}.json", block["metadata"]["name"]
    wait.until(lambda: two.run([f"{plain.build}/tullectl", "ipam", "check"], check=False).returncode == 0, "all is written", 10)
    good = (plain.store.path / path).read_text()
    bad = json.loads(good)
    change(bad["spec"])
    plain.store.put(path, json.dumps(bad))
    for node in plain.nodes:
        wait_told(eyes(node), [f"IPAMBlock {name}", word])
        assert eyes(node).metric("problems") > 0
    talk(*plain.first, two.pod_add("meanwhile"))
    plain.store.put(path, good)
    for node in plain.nodes:
        eyes(node).wait_no_problem(40)
    talk(*plain.first, two.pod_add("after"))
