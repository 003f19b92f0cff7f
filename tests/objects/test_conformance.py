# SPDX-License-Identifier: Apache-2.0
"""What every store does in the same way (src/objects/objects.h)."""

import errno
import os

import pytest

from conftest import V3, make, pool, wait_for

SOAK = bool(os.environ.get("TULLE_SOAK"))


def changed(object, **spec):
    return {**object, "spec": {**object["spec"], **spec}}


def block(name="10-65-1-64-26", cidr="10.65.1.64/26", **spec):
    return make("IPAMBlock", name, {
        "cidr": cidr, "affinity": "host:node-a", "affinityClaimTime": "2026-08-01T10:00:00Z",
        "allocations": [0, 1] + [None] * 62, "unallocated": list(range(2, 64)),
        "attributes": [{"handle_id": "vxlan-tunnel-addr-node-a",
                        "secondary": {"node": "node-a", "type": "vxlanTunnelAddress"}},
                       {"handle_id": "k8s-pod-network.0123", "secondary": {"pod": "web-0"}}],
        "sequenceNumber": 1754042400000000005,
        "sequenceNumberForAllocation": {"0": 1754042400000000000, "1": 1754042400000000003},
        "strictAffinity": False, "deleted": False, **spec})


def affinity(node="node-a", cidr="10.65.1.64/26", state="pending", version="4"):
    name = f"{node}-{cidr.translate(str.maketrans('.:/', '---'))}"
    import base64
    import hashlib
    digest = base64.b32encode(hashlib.sha3_256(node.encode()).digest()).decode().rstrip("=")
    return make("BlockAffinity", name, {"state": state, "node": node, "type": "host", "cidr": cidr, "deleted": False},
                labels={"projectcalico.org/hostname-hash": digest, "projectcalico.org/affinity-type": "host",
                        "projectcalico.org/ip-version": version})


def test_create_and_get(store, probes):
    probe = probes(store)
    made = probe.create("IPPool", pool("one", nodeSelector="all()"))
    assert made["apiVersion"] == V3 and made["kind"] == "IPPool"
    assert made["metadata"]["name"] == "one" and made["metadata"]["resourceVersion"] and made["metadata"]["uid"]
    assert made["spec"]["cidr"] == "10.244.0.0/16"
    assert probe.get("IPPool", "one") == made
    assert probes(store).get("IPPool", "one") == made, "another agent sees the same"


def test_absent(store, probes):
    probe = probes(store)
    answer = probe.do("get", "IPPool", "nobody")
    assert answer["rc"] == -errno.ENOENT and "nobody" in answer["text"] and answer["object"] is None
    one = probe.create("IPPool", pool("one"))
    probe.delete("IPPool", one)
    assert probe.do("update", "IPPool", one)["rc"] in (-errno.ENOENT, -errno.ESTALE)
    assert probe.do("delete", "IPPool", one)["rc"] in (-errno.ENOENT, -errno.ESTALE)
    assert probe.list("IPPool") == {}


def test_exists(store, probes):
    probe = probes(store)
    one = probe.create("IPPool", pool("one"))
    answer = probe.do("create", "IPPool", pool("one", "10.9.0.0/16"))
    assert answer["rc"] == -errno.EEXIST and "one" in answer["text"]
    assert probe.get("IPPool", "one") == one


def test_update(store, probes):
    probe = probes(store)
    one = probe.create("IPPool", pool("one", natOutgoing=False))
    two = probe.update("IPPool", changed(one, natOutgoing=True))
    assert two["spec"]["natOutgoing"] is True
    assert two["metadata"]["resourceVersion"] != one["metadata"]["resourceVersion"]
    assert two["metadata"]["uid"] == one["metadata"]["uid"]
    assert probe.get("IPPool", "one") == two
    answer = probe.do("update", "IPPool", changed(one, natOutgoing=False))
    assert answer["rc"] == -errno.ESTALE and "one" in answer["text"]
    assert probe.get("IPPool", "one") == two


def test_stale_after_the_way_back(store, probes):
    """What was changed and changed back is not as it was read."""
    probe = probes(store)
    one = probe.create("IPPool", pool("one", natOutgoing=False))
    two = probe.update("IPPool", changed(one, natOutgoing=True))
    three = probe.update("IPPool", changed(two, natOutgoing=False))
    assert three["spec"] == one["spec"]
    assert probe.do("update", "IPPool", changed(one, disabled=True))["rc"] == -errno.ESTALE
    assert probe.do("delete", "IPPool", one)["rc"] == -errno.ESTALE
    probe.delete("IPPool", three)


def test_delete(store, probes):
    probe = probes(store)
    one = probe.create("IPPool", pool("one"))
    two = probe.update("IPPool", changed(one, natOutgoing=True))
    assert probe.do("delete", "IPPool", one)["rc"] == -errno.ESTALE
    assert probe.get("IPPool", "one") == two
    assert probe.do("delete", "IPPool", two)["object"] is None
    assert probe.do("get", "IPPool", "one")["rc"] == -errno.ENOENT


def test_a_new_one_of_the_same_name(store, probes):
    probe = probes(store)
    one = probe.create("IPPool", pool("one"))
    probe.delete("IPPool", one)
    two = probe.create("IPPool", pool("one"))
    assert two["metadata"]["uid"] != one["metadata"]["uid"]
    assert probe.do("update", "IPPool", one)["rc"] == -errno.ESTALE
    assert probe.do("delete", "IPPool", one)["rc"] == -errno.ESTALE
    assert probe.get("IPPool", "one") == two


def test_list(store, probes):
    probe = probes(store)
    for i in range(6):
        probe.create("IPAMHandle", make("IPAMHandle", f"h-{i}", {"handleID": f"h-{i}", "block": {}, "deleted": False}))
    probe.create("IPPool", pool("one"))
    assert set(probe.list("IPAMHandle")) == {f"h-{i}" for i in range(6)}
    assert set(probe.list("IPPool")) == {"one"}


def test_list_with_labels(store, probes):
    probe = probes(store)
    for node in ("node-a", "node-b"):
        for cidr, version in (("10.65.1.64/26", "4"), ("10.65.1.128/26", "4"), ("fd00:0:0:1::40/122", "6")):
            probe.create("BlockAffinity", affinity(node, cidr, version=version))
    labels = affinity("node-a")["metadata"]["labels"]
    mine = probe.list("BlockAffinity", ",".join(f"{k}={v}" for k, v in labels.items()))
    assert set(mine) == {"node-a-10-65-1-64-26", "node-a-10-65-1-128-26"}
    assert all(one["metadata"]["labels"] == labels for one in mine.values())
    assert len(probe.list("BlockAffinity", "projectcalico.org/ip-version=6")) == 2
    assert len(probe.list("BlockAffinity", "projectcalico.org/ip-version!=6")) == 4
    assert probe.list("BlockAffinity", "projectcalico.org/ip-version=5") == {}
    assert len(probe.list("BlockAffinity")) == 6


def test_labels_of_users(store, probes):
    """Also where the v1 group hides them in an annotation."""
    probe = probes(store)
    probe.create("IPPool", pool("red", labels={"color": "red"}))
    probe.create("IPPool", pool("blue", "10.9.0.0/16", labels={"color": "blue"}))
    assert set(probe.list("IPPool", "color=red")) == {"red"}
    assert probe.get("IPPool", "red")["metadata"]["labels"] == {"color": "red"}
    watch = probe.watch("IPPool", "label=color=red")
    watch.wait_names("red")
    probe.update("IPPool", {**(blue := probe.get("IPPool", "blue")),
                            "metadata": {**blue["metadata"], "labels": {"color": "red"}}})
    watch.wait_names("red", "blue")
    probe.update("IPPool", {**(red := probe.get("IPPool", "red")), "metadata": {**red["metadata"], "labels": {"a": "b"}}})
    watch.wait_names("blue")
    assert probe.get("IPPool", "red")["metadata"]["labels"] == {"a": "b"}


def test_ipam_block(store, probes):
    """Numbers beyond 2^53, lists of nulls, members that nobody here knows: all come back."""
    probe = probes(store)
    for wanted in (block(), block("fd00--40-122", "fd00::40/122")):
        made = probe.create("IPAMBlock", wanted)
        assert {k: v for k, v in made["spec"].items()} == wanted["spec"]
        assert probe.get("IPAMBlock", wanted["metadata"]["name"]) == made
        next_one = changed(made, sequenceNumber=9007199254740993, affinity="virtual:load-balancer")
        again = probe.update("IPAMBlock", next_one)
        assert again["spec"] == next_one["spec"]
        assert probe.do("update", "IPAMBlock", made)["rc"] == -errno.ESTALE
    assert set(probe.list("IPAMBlock")) == {"10-65-1-64-26", "fd00--40-122"}


def test_block_affinity(store, probes):
    """The two-step end of Calico's protocol; deleted is a bool here whatever the store makes of it."""
    probe = probes(store)
    one = probe.create("BlockAffinity", affinity())
    assert one["spec"] == affinity()["spec"] and one["spec"]["deleted"] is False
    assert probe.do("create", "BlockAffinity", affinity())["rc"] == -errno.EEXIST
    two = probe.update("BlockAffinity", changed(one, state="confirmed"))
    assert probe.get("BlockAffinity", "node-a-10-65-1-64-26") == two
    assert two["spec"] == affinity(state="confirmed")["spec"]
    marked = probe.update("BlockAffinity", changed(two, deleted=True))
    assert marked["spec"]["deleted"] is True
    probe.delete("BlockAffinity", marked)
    six = probe.create("BlockAffinity", affinity(cidr="fd00:0:0:1::40/122", version="6"))
    assert probe.get("BlockAffinity", six["metadata"]["name"]) == six


def test_ipam_config(store, probes):
    """The kind whose name differs between the groups."""
    probe = probes(store)
    spec = {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 3}
    one = probe.create("IPAMConfiguration", make("IPAMConfiguration", "default", spec))
    assert one["kind"] == "IPAMConfiguration" and one["apiVersion"] == V3
    assert spec.items() <= one["spec"].items()
    assert probe.get("IPAMConfiguration", "default") == one
    assert set(probe.list("IPAMConfiguration")) == {"default"}


def test_bad_requests(store, probes):
    probe = probes(store)
    nameless = probe.do("create", "IPPool", {"metadata": {}, "spec": {}})
    assert nameless["rc"] == -errno.EINVAL and "metadata.name" in nameless["text"]
    assert probe.do("get", "IPPool", "../../etc/passwd")["rc"] == -errno.EINVAL
    unread = probe.do("update", "IPPool", pool("one"))
    assert unread["rc"] == -errno.EINVAL and "resourceVersion" in unread["text"]
    assert probe.do("list", "IPPool", "a in (b)")["rc"] == -errno.EINVAL
    assert probe.do("annotate", "IPPool", "one", {"a": "b"})["rc"] == -errno.EINVAL


def test_cancel(store, probes):
    """Nothing comes of what was taken back, also from within its own list."""
    probe = probes(store)
    for i in range(5):
        probe.create("IPPool", pool(f"p-{i}", f"10.{i}.0.0/16"))
    probe.tell("cancel", "IPPool")
    wait_for("the cancelling", lambda: {"event": "cancelled"} in probe.others)
    assert len(probe.list("IPPool")) == 5
    assert not [event for event in probe.others if event["event"] == "error"]


def test_end_with_requests_under_way(store, probes):
    probe = probes(store)
    probe.create("IPPool", pool("one"))
    probe.watch("IPPool")
    for _ in range(20):
        probe.tell("cancel", "IPPool")
    probe.stop()


# -- watches --

def test_watch(store, probes):
    probe, other = probes(store), probes(store)
    probe.create("IPPool", pool("first"))
    probe.create("IPAMHandle", make("IPAMHandle", "h", {"handleID": "h", "block": {}, "deleted": False}))
    watch = probe.watch("IPPool")
    watch.wait_names("first")
    assert watch.history[:3] == ["begin", "put", "end"]
    two = other.create("IPPool", pool("second", "10.9.0.0/16"))
    watch.wait_names("first", "second")
    assert watch.objects["second"] == two
    three = other.update("IPPool", changed(two, natOutgoing=True))
    wait_for("the change", lambda: watch.objects["second"] == three)
    other.delete("IPPool", three)
    watch.wait_names("first")
    assert watch.begins == watch.ends == 1 and watch.gone == ["second"] and not watch.problems


def test_watch_of_nothing(store, probes):
    probe = probes(store)
    watch = probe.watch("BGPPeer")
    watch.wait_names()
    assert watch.history == ["begin", "end"]
    probe.create("BGPPeer", make("BGPPeer", "tor", {"peerIP": "192.0.2.1", "asNumber": 64512}))
    watch.wait_names("tor")


def test_watch_one_name(store, probes):
    probe = probes(store)
    watch = probe.watch("IPPool", "field=metadata.name=mine")
    watch.wait_names()
    probe.create("IPPool", pool("other"))
    probe.create("IPPool", pool("mine", "10.9.0.0/16"))
    watch.wait_names("mine")
    assert "other" not in watch.gone


def test_watch_ends(store, probes):
    """One watch goes, the other of the same kind stays."""
    probe = probes(store)
    first, second = probe.watch("IPPool"), probe.watch("IPPool")
    first.wait_names()
    second.wait_names()
    probe.tell("free 0")
    probe.create("IPPool", pool("one"))
    second.wait_names("one")
    assert "one" not in first.objects


# -- nodes and pods --

def test_annotate_node(store, probes):
    probe = probes(store)
    watch = probe.watch("Node", "field=metadata.name=node-a")
    watch.wait_names()
    assert probe.do("annotate", "Node", "node-a", {"a": "b"})["rc"] == -errno.ENOENT
    probe.create("Node", make("Node", "node-a", labels={"rack": "one"}, annotations={"kept": "yes", "gone": "soon"}))
    probe.create("Node", make("Node", "node-b"))
    node = probe.good("annotate", "Node", "node-a", {"projectcalico.org/IPv4Address": "192.0.2.1/24", "gone": None,
                                                     "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.1",
                                                     "projectcalico.org/ASNumber": "64999"})
    wanted = {"kept": "yes", "projectcalico.org/IPv4Address": "192.0.2.1/24", "projectcalico.org/ASNumber": "64999",
              "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.1"}
    assert node["metadata"]["annotations"] == wanted and node["metadata"]["labels"]["rack"] == "one"
    wait_for("the annotations", lambda: watch.objects["node-a"]["metadata"].get("annotations") == wanted)
    probe.good("annotate", "Node", "node-a", {"projectcalico.org/IPv4VXLANTunnelAddr": None})
    assert "projectcalico.org/IPv4VXLANTunnelAddr" not in probe.get("Node", "node-a")["metadata"]["annotations"]
    assert set(probe.list("Node")) == {"node-a", "node-b"} and set(watch.objects) == {"node-a"}


def test_pods_of_a_node(store, probes):
    probe = probes(store)
    mine, others = probe.watch("Pod", "field=spec.nodeName=node-a"), probe.watch("Pod")
    mine.wait_names()
    for name, node in (("web-0", "node-a"), ("web-1", "node-b")):
        probe.create("Pod", make("Pod", name, {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}, "default"))
    mine.wait_names("default/web-0")
    others.wait_names("default/web-0", "default/web-1")
    probe.good("annotate", "Pod", "default/web-0", {"cni.projectcalico.org/podIP": "10.244.0.7/32"})
    wait_for("the annotation", lambda: (mine.objects["default/web-0"]["metadata"].get("annotations") or {}).get(
        "cni.projectcalico.org/podIP") == "10.244.0.7/32")
    assert probe.do("get", "Pod", "other/web-0")["rc"] == -errno.ENOENT
    assert probe.get("Pod", "default/web-0")["spec"]["nodeName"] == "node-a"


# -- several at once --

@pytest.mark.parametrize("rounds", [1000 if SOAK else 200])
def test_two_writers(store, probes, rounds):
    """Each adds 1 so often: no addition is lost, and both get their turn."""
    one, two = probes(store), probes(store)
    handle = make("IPAMHandle", "race", {"handleID": "race", "block": {}, "deleted": False, "count": 0})
    one.create("IPAMHandle", handle)
    met = 0
    for attempt in range(1, 6):
        numbers = [(probe, probe.ask("count", "IPAMHandle", "race", str(rounds))) for probe in (one, two)]
        answers = [probe.answer(number) for probe, number in numbers]
        assert [answer["rc"] for answer in answers] == [0, 0], answers
        assert one.get("IPAMHandle", "race")["spec"]["count"] == 2 * rounds * attempt
        met += sum(answer["stale"] for answer in answers)
        if met:
            break
    assert met, "they never met: this tested nothing"


def test_many_creators(store, probes):
    """Of several that create one name, one succeeds."""
    made = [probes(store) for _ in range(4)]
    for i in range(10):
        numbers = [probe.ask("create", "IPPool", pool(f"p-{i}", f"10.{i}.0.0/16")) for probe in made]
        codes = sorted(probe.answer(number)["rc"] for probe, number in zip(made, numbers))
        assert codes == [-errno.EEXIST] * 3 + [0], codes


# -- the store goes away, and comes back --

def test_away_and_back(store, probes, tmp_path):
    probe, other = probes(store), probes(store)
    one = probe.create("IPPool", pool("one"))
    probe.create("IPPool", pool("two", "10.9.0.0/16"))
    watch = probe.watch("IPPool")
    watch.wait_names("one", "two")
    store.lose()
    if store.name != "directory":
        answer = probe.do("get", "IPPool", "one")
        assert answer["rc"] < 0 and answer["rc"] != -errno.ENOENT, "an unreachable store is no absent object"
        wait_for("a story", lambda: watch.problems)
        assert set(watch.objects) == {"one", "two"}, "what was known stays"
    store.find()
    wait_for("the store to answer", lambda: other.do("get", "IPPool", "one")["rc"] == 0)
    other.update("IPPool", changed(other.get("IPPool", "one"), natOutgoing=True))
    other.delete("IPPool", other.get("IPPool", "two"))
    watch.wait_names("one")
    wait_for("the change", lambda: watch.objects["one"]["spec"]["natOutgoing"] is True)
    watch.wait_no_problem()
    assert probe.do("update", "IPPool", one)["rc"] == -errno.ESTALE


def test_restart(store, probes):
    """A version that was read before is good for a new process."""
    first = probes(store)
    one = first.create("IPPool", pool("one"))
    two = first.update("IPPool", changed(one, natOutgoing=True))
    first.stop()
    second = probes(store)
    assert second.get("IPPool", "one") == two
    assert second.do("update", "IPPool", one)["rc"] == -errno.ESTALE
    three = second.update("IPPool", changed(two, disabled=True))
    second.delete("IPPool", three)


# -- what policy is made of --

KUBERNETES = "networking.k8s.io/v1/NetworkPolicy"
CALICO = f"{V3}/NetworkPolicy"
RULES = {"selector": "app == 'db'", "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80, "90:99", "http"]}}],
         "types": ["Ingress"], "tier": "default"}
POLICY_KINDS = [
    (KUBERNETES, "default", {"podSelector": {}, "policyTypes": ["Ingress"]}, {"podSelector": {}, "policyTypes": ["Egress"]}),
    (CALICO, "default", RULES, {**RULES, "order": 5}),
    ("GlobalNetworkPolicy", None, RULES, {**RULES, "namespaceSelector": "has(a)"}),
    ("Tier", None, {"order": 5, "defaultAction": "Pass"}, {"order": 6, "defaultAction": "Pass"}),
    ("NetworkSet", "default", {"nets": ["10.0.0.0/8"]}, {"nets": ["2001:db8::/32"]}),
    ("GlobalNetworkSet", None, {"nets": ["10.0.0.0/8"]}, {"nets": []}),
    ("HostEndpoint", None, {"node": "a", "interfaceName": "*", "expectedIPs": ["192.0.2.1"]}, {"node": "a", "interfaceName": "eth0"}),
    ("KubeControllersConfiguration", None, {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}},
     {"controllers": {"node": {"hostEndpoint": {"autoCreate": "Disabled"}}}}),
    ("ClusterNetworkPolicy", None, {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
     {"tier": "Baseline", "priority": 1, "subject": {"namespaces": {}}}),
]


@pytest.mark.parametrize("kind,namespace,spec,other", POLICY_KINDS, ids=lambda value: value.rpartition("/")[2] if isinstance(value, str) else "")
def test_policy_kinds(store, probes, kind, namespace, spec, other):
    probe = probes(store)
    watch = probe.watch(kind)
    watch.wait_names()
    made = probe.create(kind, make(kind, "one", spec, namespace, labels={"a": "b"}))
    name = f"{namespace}/one" if namespace else "one"
    assert made["spec"] == spec and made["metadata"]["labels"]["a"] == "b" and made["kind"] == kind.rpartition("/")[2]
    watch.wait_names(name)
    assert watch.objects[name] == made == probe.get(kind, name) == probe.list(kind)["one"]
    changed = probe.update(kind, {**made, "spec": other})
    wait_for("the change", lambda: watch.objects[name] == changed)
    assert changed["spec"] == other
    probe.delete(kind, changed)
    watch.wait_names()
    assert watch.problems == {}


def test_two_kinds_of_network_policy(store, probes):
    """They have the same name, and nothing else in common."""
    probe = probes(store)
    watches = {kind: probe.watch(kind) for kind in (KUBERNETES, CALICO)}
    ours = probe.create(KUBERNETES, make(KUBERNETES, "one", {"podSelector": {}, "policyTypes": ["Ingress"]}, "default"))
    theirs = probe.create(CALICO, make(CALICO, "one", RULES, "default"))
    for kind, one in ((KUBERNETES, ours), (CALICO, theirs)):
        watches[kind].wait_names("default/one")
        assert watches[kind].objects["default/one"] == one == probe.get(kind, "default/one")
    probe.delete(KUBERNETES, ours)
    watches[KUBERNETES].wait_names()
    assert probe.get(CALICO, "default/one") == theirs


def test_service_accounts(store, probes):
    probe = probes(store)
    watch = probe.watch("ServiceAccount")
    probe.create("ServiceAccount", make("ServiceAccount", "robot", namespace="default", labels={"role": "db"}))
    wait_for("the account", lambda: "default/robot" in watch.objects)
    assert watch.objects["default/robot"]["metadata"]["labels"] == {"role": "db"}
