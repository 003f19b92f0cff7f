# SPDX-License-Identifier: Apache-2.0
"""The etcd store: Calico's keys and values (reference/calico.md 1.5, 2.16), and members that go."""

import base64
import errno
import json
import signal

import pytest

from conftest import get_store, make, pool, wait_for
from etcd_members import Members

RESOURCES = "/calico/resources/v3/projectcalico.org"
IPAM = "/calico/ipam/v2"


@pytest.fixture
def etcd(shared, tmp_path):
    return get_store("etcd", shared, tmp_path)


def read(store, key):
    answer = json.loads(store.etcd.ctl("get", "-w", "json", key).stdout)
    return json.loads(base64.b64decode(answer["kvs"][0]["value"])) if answer.get("kvs") else None


def keys(store):
    return store.etcd.ctl("get", "--prefix", "/", "--keys-only").stdout.split()


def put(store, key, value):
    store.etcd.ctl("put", key, value if isinstance(value, str) else json.dumps(value))


def test_keys_and_values(etcd, probes):
    probe = probes(etcd)
    probe.create("IPPool", pool("one", labels={"a": "b"}))
    value = read(etcd, f"{RESOURCES}/ippools/one")
    assert value["apiVersion"] == "projectcalico.org/v3" and value["kind"] == "IPPool"
    assert value["metadata"]["labels"] == {"a": "b"} and "resourceVersion" not in value["metadata"]
    probe.create("IPAMBlock", make("IPAMBlock", "10-0-0-0-26", {
        "cidr": "10.0.0.0/26", "affinity": "host:n", "affinityClaimTime": "2026-08-01T10:00:00Z", "allocations": [None],
        "unallocated": [0], "attributes": [], "sequenceNumber": 1754042400000000005, "strictAffinity": False,
        "deleted": False, "later": {"x": 1}}))
    assert read(etcd, f"{IPAM}/assignment/ipv4/block/10.0.0.0-26") == {
        "cidr": "10.0.0.0/26", "affinity": "host:n", "affinity_claim_time": "2026-08-01T10:00:00Z", "allocations": [None],
        "unallocated": [0], "attributes": [], "sequenceNumber": 1754042400000000005, "strictAffinity": False,
        "deleted": False, "later": {"x": 1}}
    for node, cidr, kind, key in (("node-a", "fd00::40/122", "host", f"{IPAM}/host/node-a/ipv6/block/fd00::40-122"),
                                  ("load-balancer", "10.0.0.64/26", "virtual",
                                   f"{IPAM}/virtual/load-balancer/ipv4/block/10.0.0.64-26")):
        name = f"{node}-{cidr.translate(str.maketrans('.:/', '---'))}"
        made = probe.create("BlockAffinity", make("BlockAffinity", name, {"state": "pending", "node": node, "type": kind,
                                                                          "cidr": cidr, "deleted": False}))
        assert read(etcd, key) == {"state": "pending", "deleted": False}
        assert probe.get("BlockAffinity", name) == made and made["metadata"]["labels"]["projectcalico.org/affinity-type"] == kind
    probe.create("IPAMHandle", make("IPAMHandle", "upper", {"handleID": "UPPER", "block": {"10.0.0.0/26": 1}, "deleted": False}))
    assert read(etcd, f"{IPAM}/handle/UPPER") == {"block": {"10.0.0.0/26": 1}, "deleted": False}
    assert probe.list("IPAMHandle")["upper"]["spec"]["handleID"] == "UPPER"
    probe.create("IPAMConfiguration", make("IPAMConfiguration", "default", {"strictAffinity": True, "autoAllocateBlocks": True,
                                                                            "maxBlocksPerHost": 4}))
    assert read(etcd, f"{IPAM}/config") == {"strict_affinity": True, "auto_allocate_blocks": True, "maxBlocksPerHost": 4}
    probe.create("Pod", make("Pod", "web", namespace="shop"))
    assert "/tulle/resources/pods/shop/web" in keys(etcd)


def test_what_calico_wrote(etcd, probes):
    put(etcd, f"{IPAM}/host/node-a", "")  # the host's marker
    put(etcd, f"{IPAM}/host/node-a/ipv4/block/10.65.1.64-26", {"state": "confirmed", "deleted": False, "later": 1})
    put(etcd, f"{IPAM}/config", {"strict_affinity": False, "auto_allocate_blocks": True})
    probe = probes(etcd)
    watch = probe.watch("BlockAffinity")
    watch.wait_names("node-a-10-65-1-64-26")
    one = probe.get("BlockAffinity", "node-a-10-65-1-64-26")
    assert one["spec"] == {"node": "node-a", "type": "host", "cidr": "10.65.1.64/26", "state": "confirmed", "deleted": False,
                           "later": 1}
    assert probe.get("IPAMConfiguration", "default")["spec"] == {"strictAffinity": False, "autoAllocateBlocks": True}
    probe.delete("BlockAffinity", one)
    watch.wait_names()
    assert keys(etcd) == [f"{IPAM}/config", f"{IPAM}/host/node-a"]


def test_ambiguous_names(etcd, probes):
    """Where the node's name ends and the prefix begins, only the keys know."""
    for node, cidr in (("a", "b:c::/122"), ("a-b", "c::/122"), ("a-b-c", "10.0.0.0/26"), ("a", "10.0.0.0/26")):
        version = "6" if ":" in cidr else "4"
        put(etcd, f"{IPAM}/host/{node}/ipv{version}/block/{cidr.replace('/', '-')}", {"state": "confirmed"})
    probe = probes(etcd)
    assert probe.get("BlockAffinity", "a-b-c-10-0-0-0-26")["spec"]["node"] == "a-b-c"
    assert probe.get("BlockAffinity", "a-10-0-0-0-26")["spec"]["node"] == "a"
    assert probe.get("BlockAffinity", "a-b-c---122")["spec"]["node"] in ("a", "a-b")
    assert probe.do("get", "BlockAffinity", "no-prefix")["rc"] == -errno.ENOENT


NODE = {"apiVersion": "projectcalico.org/v3", "kind": "Node",
        "metadata": {"name": "node-a", "labels": {"rack": "1"}, "annotations": {"mine": "yes"}},
        "spec": {"bgp": {"ipv4Address": "192.0.2.1/24", "asNumber": 64999, "ipv4IPIPTunnelAddr": "10.244.0.1", "later": 1},
                 "ipv4VXLANTunnelAddr": "10.244.0.2", "addresses": [{"address": "192.0.2.1", "type": "InternalIP"}],
                 "orchRefs": [{"orchestrator": "k8s", "nodeName": "node-a"}],
                 "wireguard": {"interfaceIPv4Address": "10.244.0.3"}},
        "status": {"wireguardPublicKey": "key=", "podCIDRs": ["10.244.0.0/24"]}}


def test_calicos_node(etcd, probes):
    """Addresses are annotations here and members there."""
    put(etcd, f"{RESOURCES}/nodes/node-a", NODE)
    probe = probes(etcd)
    node = probe.get("Node", "node-a")
    prefix = "projectcalico.org/"
    assert node["apiVersion"] == "v1"
    assert node["metadata"]["annotations"] == {
        "mine": "yes", prefix + "IPv4Address": "192.0.2.1/24", prefix + "ASNumber": "64999",
        prefix + "IPv4IPIPTunnelAddr": "10.244.0.1", prefix + "IPv4VXLANTunnelAddr": "10.244.0.2",
        prefix + "IPv4WireguardInterfaceAddr": "10.244.0.3", prefix + "WireguardPublicKey": "key="}
    assert node["spec"]["podCIDRs"] == ["10.244.0.0/24"]
    assert node["status"]["addresses"] == [{"address": "192.0.2.1", "type": "InternalIP"}]
    probe.update("Node", node)
    again = read(etcd, f"{RESOURCES}/nodes/node-a")
    assert again == NODE, "there and back"
    probe.good("annotate", "Node", "node-a", {prefix + "ASNumber": "1.5", prefix + "IPv4VXLANTunnelAddr": None})
    spec = read(etcd, f"{RESOURCES}/nodes/node-a")["spec"]
    assert spec["bgp"]["asNumber"] == "1.5" and "ipv4VXLANTunnelAddr" not in spec


def test_damaged_values(etcd, probes):
    """A story that names the key; the others work; what it was before stays."""
    probe = probes(etcd)
    probe.create("IPPool", pool("one"))
    put(etcd, f"{RESOURCES}/ippools/two", "{broken")
    watch = probe.watch("IPPool")
    watch.wait_names("one")
    watch.wait_problem(f"{RESOURCES}/ippools/two", "ippools/two", "line 1")
    put(etcd, f"{RESOURCES}/ippools/one", "[]")
    watch.wait_problem(f"{RESOURCES}/ippools/one", "no object")
    assert set(watch.objects) == {"one"} and set(probe.list("IPPool")) == set()
    put(etcd, f"{RESOURCES}/ippools/two", pool("other name"))
    watch.wait_names("one", "two")
    assert watch.objects["two"]["metadata"]["name"] == "two", "the key has the name"
    etcd.etcd.ctl("del", f"{RESOURCES}/ippools/one")
    watch.wait_names("two")
    watch.wait_no_problem()


def test_bad_objects(etcd, probes):
    probe = probes(etcd)
    answer = probe.do("create", "IPAMBlock", make("IPAMBlock", "x", {"cidr": "10.0.0.0"}))
    assert answer["rc"] == -errno.EINVAL and "spec.cidr" in answer["text"]
    answer = probe.do("create", "BlockAffinity", make("BlockAffinity", "x", {"cidr": "10.0.0.0/26", "node": "a/b"}))
    assert answer["rc"] == -errno.EINVAL and "spec.node" in answer["text"]
    one = probe.create("IPPool", pool("one"))
    foreign = {**one, "metadata": {**one["metadata"], "resourceVersion": "17-0123"}}
    assert probe.do("update", "IPPool", foreign)["rc"] == -errno.ESTALE
    large = probe.do("update", "IPPool", {**one, "spec": {"x": "y" * 2_000_000}})
    assert large["rc"] == -errno.EINVAL and "large" in large["text"]


def test_many_keys(etcd, probes):
    probe = probes(etcd)
    for first in range(0, 1700, 100):  # at a time: each request has a deadline
        numbers = [probe.ask("create", "IPAMHandle", make("IPAMHandle", f"h-{i}", {"handleID": f"h-{i}", "block": {}}))
                   for i in range(first, first + 100)]
        assert {probe.answer(number)["rc"] for number in numbers} == {0}
    wanted = {f"h-{i}" for i in range(1700)}
    assert set(probe.list("IPAMHandle")) == wanted
    watch = probe.watch("IPAMHandle")
    watch.wait_names(*wanted)


def test_large_values(etcd, probes):
    """A page that does not fit into one answer is asked for in smaller ones."""
    probe = probes(etcd)
    for i in range(24):
        probe.create("IPPool", pool(f"p-{i}", f"10.{i}.0.0/16", filler="x" * 1_000_000))
    assert set(probe.list("IPPool")) == {f"p-{i}" for i in range(24)}


def test_compaction_while_away(etcd, probes):
    """What happened meanwhile is not in the history any more: a new list tells it."""
    probe, other = probes(etcd), probes(etcd)
    one, two = other.create("IPPool", pool("one")), other.create("IPPool", pool("two", "10.9.0.0/16"))
    watch = probe.watch("IPPool")
    watch.wait_names("one", "two")
    probe.process.send_signal(signal.SIGSTOP)
    try:
        etcd.lose()  # the watch's stream ends with it
        etcd.find()
        wait_for("etcd", lambda: other.do("get", "IPPool", "one")["rc"] == 0)
        other.delete("IPPool", one)
        other.update("IPPool", {**two, "spec": {**two["spec"], "disabled": True}})
        etcd.etcd.compact()
    finally:
        probe.process.send_signal(signal.SIGCONT)
    watch.wait_names("two")
    wait_for("the change", lambda: watch.objects["two"]["spec"].get("disabled") is True)
    assert watch.begins >= 2


class Three(Members):
    @property
    def args(self):
        return ["etcd", self.endpoints]


@pytest.fixture
def members(tmp_path):
    three = Three(tmp_path, 3)
    try:
        three.start()
        yield three
    finally:
        three.stop()


def test_members_go_one_after_the_other(members, probes):
    probe = probes(members)
    watch = probe.watch("IPPool")
    watch.wait_names()
    for i, member in enumerate(members.members):
        member.stop()
        members.wait()
        # A request may meet the one that went, or an election: nobody knows what came of it. Later ones succeed.
        wait_for("a pool", lambda: probe.do("create", "IPPool", pool(f"p-{i}", f"10.{i}.0.0/16"))["rc"] in (0, -errno.EEXIST))
        watch.wait_names(*(f"p-{n}" for n in range(i + 1)))
        members.revive(member)
        members.wait()
    watch.wait_no_problem()


def test_users(members, probes):
    members.ctl("user", "add", "root:secret")
    members.ctl("user", "grant-role", "root", "root")
    members.ctl("user", "add", "narrow:secret")
    members.ctl("role", "add", "reader")
    members.ctl("role", "grant-permission", "reader", "--prefix=true", "read", "/calico/")
    members.ctl("user", "grant-role", "narrow", "reader")
    members.ctl("auth", "enable")
    root, narrow = probes(members, "user=root", "password=secret"), probes(members, "user=narrow", "password=secret")
    root.create("IPPool", pool("one"))
    watch = narrow.watch("IPPool")
    watch.wait_names("one")
    assert narrow.do("create", "IPPool", pool("two"))["rc"] == -errno.EACCES
    assert probes(members, "user=root", "password=wrong").do("get", "IPPool", "one")["rc"] < 0
