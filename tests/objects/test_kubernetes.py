# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes store: what it puts on the wire in each of Calico's groups, which group it takes, and our definitions of
the v3 one (deploy/crds)."""

import errno
import json
import subprocess

import pytest

from conftest import BINARIES, ROOT, V3, KubeStore, crds, get_store, make, need_binaries, pool, wait_for
from published import EXAMPLE

WRAP = "projectcalico.org/metadata"
V1 = "/apis/crd.projectcalico.org/v1"


@pytest.fixture
def v1(shared, tmp_path):
    return get_store("kube-v1", shared, tmp_path)


@pytest.fixture
def v3(shared, tmp_path):
    return get_store("kube-v3", shared, tmp_path)


@pytest.fixture
def bare(tmp_path):
    """A cluster of its own, without any definition."""
    need_binaries()
    store = KubeStore(tmp_path, "v3")
    yield store
    store.stop()


def turned(uid):
    """The UID of the other view (reference/calico.md 1.4)."""
    octets = bytearray.fromhex(uid.replace("-", ""))
    for i in range(16):
        if i not in (6, 8):
            octets[i] = int(f"{octets[i]:08b}"[::-1], 2)
    text = octets.hex()
    return "-".join([text[:8], text[8:12], text[12:16], text[16:20], text[20:]])


# -- the v1 group --

def test_wrapped_metadata(v1, probes):
    probe = probes(v1)
    made = probe.create("IPPool", {**pool("one", labels={"color": "red", "projectcalico.org/tier": "x"}), "metadata": {
        "name": "one", "labels": {"color": "red", "projectcalico.org/tier": "x"},
        "annotations": {"mine": "yes", "operator.tigera.io/a": "b"}}})
    raw = v1.cluster.request("GET", f"{V1}/ippools/one")[1]
    assert raw["metadata"]["labels"] == {"projectcalico.org/tier": "x"}
    annotations = dict(raw["metadata"]["annotations"])
    wrap = json.loads(annotations.pop(WRAP))
    assert annotations == {"operator.tigera.io/a": "b"}
    assert wrap == {"creationTimestamp": None, "labels": {"color": "red", "projectcalico.org/tier": "x"},
                    "annotations": {"mine": "yes", "operator.tigera.io/a": "b"}}
    assert made["metadata"]["labels"] == {"color": "red", "projectcalico.org/tier": "x"}
    assert made["metadata"]["annotations"] == {"mine": "yes", "operator.tigera.io/a": "b"}
    assert made["metadata"]["uid"] == turned(raw["metadata"]["uid"]) != raw["metadata"]["uid"]
    probe.delete("IPPool", made)


def test_what_calico_wrote(v1, probes):
    """Also labels that somebody put on the v1 object itself; all of it survives our writing."""
    wrap = {"labels": {"a": "wrapped", "b": "wrapped"}, "annotations": {"n": "1"}, "creationTimestamp": None}
    v1.cluster.request("POST", f"{V1}/ippools", {
        "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool",
        "metadata": {"name": "one", "labels": {"a": "own", "c": "own"}, "annotations": {WRAP: json.dumps(wrap)}},
        "spec": {"cidr": "10.1.0.0/16", "ipip": {"mode": "always"}, "unknown": [1, None, {"x": 2}]}})
    probe = probes(v1)
    one = probe.get("IPPool", "one")
    assert one["apiVersion"] == V3
    assert one["metadata"]["labels"] == {"a": "wrapped", "b": "wrapped", "c": "own"}
    assert one["metadata"]["annotations"] == {"n": "1"}
    probe.update("IPPool", {**one, "spec": {**one["spec"], "disabled": True}})
    raw = v1.cluster.request("GET", f"{V1}/ippools/one")[1]
    assert raw["spec"] == {"cidr": "10.1.0.0/16", "ipip": {"mode": "always"}, "unknown": [1, None, {"x": 2}], "disabled": True}
    assert json.loads(raw["metadata"]["annotations"][WRAP])["labels"] == one["metadata"]["labels"]


def test_names_of_policies(v1, probes):
    """Calico renames its policies, one object after the other: the policy is there all the time."""
    def create(name, **annotations):
        v1.cluster.request("POST", f"{V1}/globalnetworkpolicies", {
            "apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name, "annotations": annotations}, "spec": {"selector": "all()"}})

    watch = probes(v1).watch("GlobalNetworkPolicy")
    watch.wait_names()
    create("default.allow")
    create("default.kept", **{WRAP: json.dumps({"name": "default.kept"})})
    watch.wait_names("allow", "default.kept")
    create("allow", **{WRAP: json.dumps({"name": "allow"})})
    wait_for("both objects", lambda: watch.history.count("put") >= 3)
    v1.cluster.request("DELETE", f"{V1}/globalnetworkpolicies/default.allow")
    v1.cluster.request("DELETE", f"{V1}/globalnetworkpolicies/default.kept")
    watch.wait_names("allow")
    assert "allow" not in watch.gone
    v1.cluster.request("DELETE", f"{V1}/globalnetworkpolicies/allow")
    watch.wait_names()


def test_ipam_kinds_are_not_wrapped(v1, probes):
    probe = probes(v1)
    labels = {"projectcalico.org/affinity-type": "host", "other": "label"}
    one = probe.create("BlockAffinity", make("BlockAffinity", "a", {"state": "pending", "node": "n", "type": "host",
                                                                    "cidr": "10.0.0.0/26", "deleted": False}, labels=labels))
    raw = v1.cluster.request("GET", f"{V1}/blockaffinities/a")[1]
    assert raw["metadata"]["labels"] == labels and "annotations" not in raw["metadata"]
    assert raw["spec"]["deleted"] == "false" and one["spec"]["deleted"] is False
    probe.update("BlockAffinity", {**one, "spec": {**one["spec"], "deleted": True}})
    assert v1.cluster.request("GET", f"{V1}/blockaffinities/a")[1]["spec"]["deleted"] == "true"
    probe.create("IPAMConfiguration", make("IPAMConfiguration", "default", {"maxBlocksPerHost": 2}))
    raw = v1.cluster.request("GET", f"{V1}/ipamconfigs/default")[1]
    assert raw["kind"] == "IPAMConfig"
    assert raw["spec"] == {"maxBlocksPerHost": 2, "strictAffinity": False, "autoAllocateBlocks": True}


# -- which group --

def patient(watch, *names):
    """A catalogue is read again with back-off: half a minute at most."""
    wait_for(lambda: f"{names}, has {sorted(watch.objects)}, problems {watch.problems}",
             lambda: set(watch.objects) == set(names) and not watch.problems and not watch.listing, 120)


def test_optional_kinds_are_not_missed(bare, probes):
    """Most clusters know neither Calico's policies nor ClusterNetworkPolicy: nothing is there, and that is all."""
    probe = probes(bare)
    watches = {kind: probe.watch(kind) for kind in ("Tier", "GlobalNetworkPolicy", f"{V3}/NetworkPolicy", "ClusterNetworkPolicy")}
    for watch in watches.values():
        watch.wait_names()
        assert watch.stories == []
    bare.install()
    for watch in watches.values():
        wait_for(lambda: "a list from the server", lambda: watch.begins > 1 and not watch.listing, 120)
    probe.create("ClusterNetworkPolicy", make("ClusterNetworkPolicy", "one", {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}}))
    watches["ClusterNetworkPolicy"].wait_names("one")
    bare.uninstall()
    wait_for(lambda: f"nothing, has {watches['ClusterNetworkPolicy'].objects}", lambda: not watches["ClusterNetworkPolicy"].objects, 120)


def test_definitions_come_later_and_go(bare, probes):
    probe = probes(bare)
    watch, nodes = probe.watch("IPPool"), probe.watch("Node")
    nodes.wait_names()
    watch.wait_problem("", "ippools", "CustomResourceDefinition")
    assert watch.history[:2] == ["begin", "end"]
    assert probe.do("get", "IPPool", "one")["rc"] == -errno.ENOENT
    assert probe.do("list", "IPPool")["rc"] == -errno.ENOENT
    bare.install()
    patient(watch)
    probe.create("IPPool", pool("one"))
    watch.wait_names("one")
    assert bare.cluster.request("GET", "/apis/projectcalico.org/v3/ippools/one")[0] == 200
    bare.uninstall()
    watch.wait_problem("", "ippools", "CustomResourceDefinition")
    assert not watch.objects and watch.problems
    # The other group comes: now that one counts.
    bare.group = "v1"
    bare.install()
    patient(watch)
    probe.create("IPPool", pool("two"))
    watch.wait_names("two")
    assert bare.cluster.request("GET", f"{V1}/ippools/two")[0] == 200
    # Both: v1, for v3 must be the aggregated server then. Unless we are told.
    bare.group = "v3"
    bare.install()
    assert set(probes(bare).list("IPPool")) == {"two"}
    told = probes(bare, "ProjectCalico.org/v3")
    assert told.list("IPPool") == {}
    told.create("IPPool", pool("three"))
    assert set(probes(bare, "anything else").list("IPPool")) == {"two"}


def test_remarks_are_events(v3, probes):
    """In the object's namespace, where kubectl describe looks for them."""
    probe = probes(v3)
    assert probe.list("GlobalNetworkPolicy") == {}  # whoever knows an object knows its group
    probe.tell("remark", "networking.k8s.io/v1/NetworkPolicy", "kube-system/deny", "spec.ingress[0] is bad")
    probe.tell("remark", "GlobalNetworkPolicy", "deny", "spec.order is bad")

    def events(namespace, name):
        return [one for one in v3.cluster.request("GET", f"/api/v1/namespaces/{namespace}/events")[1]["items"]
                if one["involvedObject"]["name"] == name]
    one, = wait_for("the Event of the namespace", lambda: events("kube-system", "deny"))
    assert one["involvedObject"] == {"kind": "NetworkPolicy", "name": "deny", "namespace": "kube-system", "apiVersion": "networking.k8s.io/v1"}
    assert one["reason"] == "BadPolicy" and one["message"] == "spec.ingress[0] is bad" and one["type"] == "Warning"
    one, = wait_for("the Event of the cluster", lambda: events("default", "deny"))
    assert one["involvedObject"] == {"kind": "GlobalNetworkPolicy", "name": "deny", "apiVersion": V3}


def test_no_server(v3, probes):
    """Nobody says what there is: no answer is no absence."""
    probe = probes(v3)
    v3.lose()
    try:
        assert probe.do("get", "IPPool", "one")["rc"] not in (0, -errno.ENOENT)
        watch = probe.watch("IPPool")
        wait_for("a story", lambda: watch.problems)
        assert not watch.begins
    finally:
        v3.find()
    watch.wait_names()
    watch.wait_no_problem()


# -- answers --

def test_forbidden(v3, probes, tmp_path):
    config = v3.cluster.kubeconfig("narrow.kubeconfig", {"token": "narrow-token"})
    probe = probes("kube", config)
    for words, verb, resource in ((("create", "IPPool", pool("one")), "create", "ippools"),
                                  (("annotate", "Node", "n", {"a": "b"}), "patch", "nodes/status"),
                                  (("list", "IPAMBlock"), "list", "ipamblocks")):
        answer = probe.do(*words)
        assert answer["rc"] == -errno.EACCES and verb in answer["text"] and resource in answer["text"], answer
    watch = probe.watch("IPPool")
    watch.wait_problem("", "cannot", "ippools")


def test_many_pages(v3, probes):
    probe = probes(v3)
    numbers = [probe.ask("create", "IPAMHandle", make("IPAMHandle", f"h-{i}", {"handleID": f"h-{i}", "block": {}}))
               for i in range(1100)]
    assert {probe.answer(number)["rc"] for number in numbers} == {0}
    assert set(probe.list("IPAMHandle")) == {f"h-{i}" for i in range(1100)}


GOOD = [
    pool("p", "10.0.0.0/16", blockSize=26, ipipMode="CrossSubnet"), pool("p", "fd00::/48", blockSize=122, vxlanMode="Always"),
    pool("p", "10.0.0.0/30", disabled=True, blockSize=26), pool("p", allowedUses=["LoadBalancer"]),
    pool("p", assignmentMode="Manual", nodeSelector="rack == 'a'", namespaceSelector="all()"),
    make("BGPPeer", "x", {"peerIP": "192.0.2.1:179", "asNumber": 4200000000, "nodeSelector": "all()", "ttlSecurity": 1,
                          "password": {"secretKeyRef": {"name": "bgp", "key": "p"}}, "maxRestartTime": "10s"}),
    make("BGPPeer", "x", {"peerSelector": "has(rr)", "reversePeering": "Manual"}),
    make("BGPFilter", "x", {"exportV4": [
        {"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 24, "max": 32}, "action": "Accept",
         "operations": [{"addCommunity": {"value": "65000:1"}}, {"prependASPath": {"prefix": [65000]}}, {"setPriority": {"value": 5}}]},
        {"action": "Reject"}]}),
    make("BGPConfiguration", "default", {"asNumber": 64512, "serviceClusterIPs": [{"cidr": "10.96.0.0/12"}],
                                         "communities": [{"name": "c", "value": "65000:1"}],
                                         "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["c", "1:2:3"]}]}),
    make("FelixConfiguration", "default", {"vxlanPort": 8472, "natPortRange": "1000:2000", "bpfLogLevel": "Off"}),
    make("IPReservation", "x", {"reservedCIDRs": ["10.0.0.0/30", "10.0.0.9"]}),
    make("IPAMConfiguration", "default", {"ipCooldownSeconds": 1200, "maxBlocksPerHost": 1000000}),
    make("ClusterInformation", "default", {"datastoreReady": True, "clusterGUID": "0123"}),
    make("GlobalNetworkPolicy", "p", {
        "tier": "default", "order": 1.5, "selector": "a == 'b'", "namespaceSelector": "all()", "types": ["Ingress", "Egress"],
        "ingress": [{"action": "Allow", "protocol": "TCP", "source": {"nets": ["10.0.0.0/8"], "notSelector": "has(x)"},
                     "destination": {"ports": [80, "90:99", "http"]}},
                    {"action": "Deny", "notProtocol": 17, "ipVersion": 6}, {"action": "Log"}],
        "egress": [{"action": "Pass", "protocol": "ICMP", "icmp": {"type": 8, "code": 0}, "metadata": {"annotations": {"name": "ping"}}},
                   {"action": "Allow", "destination": {"services": {"name": "dns", "namespace": "kube-system"}}}]}),
    make("GlobalNetworkPolicy", "host", {"tier": "default", "selector": "has(host)", "applyOnForward": True, "preDNAT": True}),
    make("Tier", "t", {"order": 5, "defaultAction": "Pass"}),
    make("StagedGlobalNetworkPolicy", "p", {"tier": "default", "selector": "all()", "stagedAction": "Set"}),
    make("ClusterNetworkPolicy", "p", {
        "tier": "Baseline", "priority": 1000, "subject": {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}},
        "ingress": [{"name": "n", "action": "Pass", "from": [{"namespaces": {}}], "protocols": [{"destinationNamedPort": "http"}]}],
        "egress": [{"action": "Accept", "to": [{"networks": ["10.0.0.0/8"]}],
                    "protocols": [{"tcp": {"destinationPort": {"range": {"start": 1, "end": 2}}}}, {"udp": {}}]}]}),
]
STAGED = ["StagedGlobalNetworkPolicy"]  # nobody reads them here
BAD = [
    (pool("p", vxlanMode="Always", ipipMode="Always"), "both"), (pool("p", "fd00::/48", ipipMode="Always"), "IPv6"),
    (pool("p", blockSize=33), "blockSize"), (pool("p", "fd00::/48", blockSize=26), "blockSize"),
    (pool("p", "10.0.0.0/30", blockSize=26), "smaller"), (pool("p", "10.0.0.0"), "cidr"), (pool("p", vxlanMode="On"), "vxlanMode"),
    (pool("p", nodeSelector="global()"), "global"), (pool("p", allowedUses=["LoadBalancer", "Tunnel"]), "combined"),
    (pool("p", allowedUses=["LoadBalancer"], vxlanMode="Always"), "encapsulated"), (pool("p", nodeSelector="x" * 1025), "1024"),
    (make("IPPool", "p", {}), "cidr"),
    (make("BGPPeer", "x", {"node": "a", "nodeSelector": "all()"}), "nodeSelector"),
    (make("BGPPeer", "x", {"peerIP": "192.0.2.1", "peerSelector": "all()"}), "peerSelector"),
    (make("BGPPeer", "x", {"peerSelector": "all()", "reachableBy": "192.0.2.1"}), "peerIP"),
    (make("BGPPeer", "x", {"peerIP": "192.0.2.1", "asNumber": 4294967296}), "asNumber"),
    (make("BGPFilter", "x", {"importV4": [{"action": "Accept", "cidr": "10.0.0.0/8"}]}), "matchOperator"),
    (make("BGPFilter", "x", {"importV4": [{"action": "Maybe"}]}), "action"),
    (make("BGPFilter", "x", {"importV6": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]}), "Accept"),
    (make("BGPFilter", "x", {"importV6": [{"action": "Accept", "operations": [{}]}]}), "exactly one"),
    (make("BGPConfiguration", "default", {"communities": [{"name": "c", "value": "1:2"}]}), "prefixAdvertisements"),
    (make("IPAMConfiguration", "default", {"strictAffinity": False, "autoAllocateBlocks": False}), "both"),
    (make("IPAMConfiguration", "default", {"ipCooldownSeconds": 1201}), "1200"),
    (make("BlockAffinity", "x", {"state": "maybe", "node": "n", "cidr": "10.0.0.0/26"}), "state"),
    (make("IPAMBlock", "x", {"cidr": "10.0.0.0/26", "affinity": "nobody", "allocations": [], "unallocated": [],
                             "attributes": []}), "affinity"),
    (make("GlobalNetworkPolicy", "p", {"ingress": [{"action": "allow"}]}), "action"),
    (make("GlobalNetworkPolicy", "p", {"ingress": [{}]}), "action"),
    (make("GlobalNetworkPolicy", "p", {"types": ["Both"]}), "types"),
    (make("GlobalNetworkPolicy", "p", {"selector": "x" * 1025}), "1024"),
    (make("GlobalNetworkPolicy", "p", {"doNotTrack": True, "preDNAT": True, "applyOnForward": True}), "exclude"),
    (make("GlobalNetworkPolicy", "p", {"doNotTrack": True}), "applyOnForward"),
    (make("GlobalNetworkPolicy", "p", {"preDNAT": True, "applyOnForward": True, "egress": [{"action": "Allow"}]}), "ingress rules alone"),
    (make("Tier", "t", {"defaultAction": "Allow"}), "defaultAction"),
    (make("ClusterNetworkPolicy", "p", {"tier": "default", "priority": 1, "subject": {"namespaces": {}}}), "tier"),
    (make("ClusterNetworkPolicy", "p", {"tier": "Admin", "priority": 1001, "subject": {"namespaces": {}}}), "priority"),
    (make("ClusterNetworkPolicy", "p", {"tier": "Admin", "priority": 1, "subject": {}}), "subject"),
    (make("ClusterNetworkPolicy", "p", {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}},
                                        "ingress": [{"action": "Accept", "from": [{}]}]}), "from"),
]


def test_what_our_definitions_accept(v3, probes):
    probe = probes(v3)
    for one in GOOD:
        if one["kind"] in STAGED:
            plural = f"/apis/{V3}/{one['kind'].lower().replace('policy', 'policies')}"
            assert v3.cluster.request("POST", plural, one)[1]["spec"] == one["spec"]
            continue
        made = probe.create(one["kind"], one)
        assert one["spec"].items() <= made["spec"].items(), one
        probe.delete(one["kind"], made)


def test_what_our_definitions_refuse(v3, probes):
    probe = probes(v3)
    for one, part in BAD:
        answer = probe.do("create", one["kind"], one)
        assert answer["rc"] == -errno.EINVAL and part in answer["text"], (one, answer)


def test_defaults_of_our_definitions(v3, probes):
    probe = probes(v3)
    made = probe.create("IPPool", make("IPPool", "p", {"cidr": "10.0.0.0/16"}))
    assert made["spec"] == {"cidr": "10.0.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "nodeSelector": "all()",
                            "allowedUses": ["Workload", "Tunnel"], "assignmentMode": "Automatic"}
    assert probe.create("IPAMConfiguration", make("IPAMConfiguration", "default"))["spec"] == {
        "strictAffinity": False, "autoAllocateBlocks": True, "maxBlocksPerHost": 0}
    for spec in ({"cidr": "10.1.0.0/16"}, {"blockSize": 27}, {"allowedUses": ["LoadBalancer"]}):
        answer = probe.do("update", "IPPool", {**made, "spec": {**made["spec"], **spec}})
        assert answer["rc"] == -errno.EINVAL and "changed" in answer["text"]


def test_kubectl(v3, probes):
    """The published example, columns, short names, and a member that there is not."""
    def kubectl(*args, text=None):
        return subprocess.run([BINARIES / "cluster", "kubectl", "--kubeconfig", v3.cluster.admin_kubeconfig(), *args], input=text,
                              capture_output=True, text=True)
    watch = probes(v3).watch("IPPool")
    watch.wait_names()
    done = kubectl("apply", "-f", "-", text=EXAMPLE)
    assert done.returncode == 0, done.stderr
    watch.wait_names("default-ipv4-ippool")
    assert watch.objects["default-ipv4-ippool"]["spec"]["natOutgoing"] is True
    assert "10.244.0.0/16" in kubectl("get", "ippools").stdout
    assert kubectl("get", "affinities").returncode == 0 and kubectl("get", "clusterinfo").returncode == 0
    done = kubectl("apply", "-f", "-", text=EXAMPLE.replace("natOutgoing", "natOutgoin"))
    assert done.returncode and "natOutgoin" in done.stderr


def test_names_of_our_definitions():
    """reference/calico.md 1.2."""
    names = {one["spec"]["names"]["kind"]: one["spec"] for one in crds(ROOT / "deploy/crds")}
    assert len(names) == 22
    assert {spec["group"] for kind, spec in names.items() if kind != "ClusterNetworkPolicy"} == {"projectcalico.org"}
    assert names["ClusterNetworkPolicy"]["group"] == "policy.networking.k8s.io"
    assert names["BlockAffinity"]["names"]["shortNames"] == ["affinity", "affinities"]
    assert names["IPPool"]["versions"][0]["subresources"] == {"status": {}}
