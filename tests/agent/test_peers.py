# SPDX-License-Identifier: Apache-2.0
"""Peers that come, change and go; leases that contradict; reference/flannel.md 10.6 and section 13."""
import json

import pytest
from tullelab import wait

PEER = "leases/10.244.200.0-24.json"
ROUTE = "10.244.200.0/24"


@pytest.fixture(scope="module")
def lab(built, make_lab):
    lab = make_lab(nodes=2, net_conf={"SubnetMax": "10.244.150.0"})  # the rest is for made-up peers
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two")
    return lab


@pytest.fixture
def node(lab, eyes):
    """One node; afterwards the made-up peers are gone and the real ones talk."""
    yield lab.nodes[0]
    for file in (lab.store.path / "leases").glob("*.json"):
        if file.name.startswith("10.244.2") and "20" in file.name.split(".")[2][:2]:
            file.unlink()
    wait.until(lambda: ROUTE not in eyes(lab.nodes[0]).routes(), "the made-up peers are gone")
    lab.pod("one").ping(lab.pod("two").ip)


def test_a_peer_comes_and_goes(lab, node, eyes, make_lease):
    look = eyes(node)
    lab.store.put(PEER, make_lease("192.0.2.77"))
    wait.until(lambda: ROUTE in look.routes(), "its route")
    assert look.routes()[ROUTE]["gateway"] == "10.244.200.0"
    assert look.neighbours()["10.244.200.0"] == "02:00:00:00:aa:01"
    assert look.fdb()["02:00:00:00:aa:01"] == "192.0.2.77"
    lab.store.delete(PEER)
    wait.until(lambda: ROUTE not in look.routes() and "10.244.200.0" not in look.neighbours()
               and "02:00:00:00:aa:01" not in look.fdb(), "all its entries are gone")


def test_a_peer_changes_its_mac_and_its_address(lab, node, eyes, make_lease):
    look = eyes(node)
    lab.store.put(PEER, make_lease("192.0.2.77"))
    wait.until(lambda: look.fdb().get("02:00:00:00:aa:01") == "192.0.2.77", "the peer")
    lab.store.put(PEER, make_lease("192.0.2.77", mac="02:00:00:00:bb:02"))
    wait.until(lambda: look.fdb().get("02:00:00:00:bb:02") == "192.0.2.77", "the new MAC")
    assert look.neighbours()["10.244.200.0"] == "02:00:00:00:bb:02"
    wait.until(lambda: "02:00:00:00:aa:01" not in look.fdb(), "the old FDB entry is removed")
    lab.store.put(PEER, make_lease("192.0.2.78", mac="02:00:00:00:bb:02"))
    wait.until(lambda: look.fdb().get("02:00:00:00:bb:02") == "192.0.2.78", "the new address")


def test_a_peer_without_vni_as_old_flannel_publishes(lab, node, eyes):
    value = {"PublicIP": "192.0.2.77", "PublicIPv6": None, "BackendType": "vxlan",
             "BackendData": {"VtepMAC": "02-00-00-00-AA-01"}}
    lab.store.put(PEER, json.dumps(value))
    wait.until(lambda: eyes(node).fdb().get("02:00:00:00:aa:01") == "192.0.2.77", "the peer")


@pytest.mark.parametrize("value, says", [
    ('{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"nonsense"}}', "VtepMAC"),
    ('{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}', "MAC"),
    ('{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"01:00:5e:00:00:01"}}', "MAC"),
    ('{"PublicIP":"192.0.2.77","PublicIPv6":null,"BackendType":"host-gw"}', "host-gw"),
    ('{"PublicIP":"nonsense","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:aa:01"}}', "PublicIP"),
    ('{"PublicIP":"2001:db8::1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:aa:01"}}', "PublicIP"),
    ('{"PublicIP":"192.0.2.77; rm -rf /","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"$(id)"}}', ""),
    ('{"PublicIP":', ""),
    ('[]', ""),
    ('', ""),
    ('\x00\x01', ""),
], ids=["bad-mac", "no-mac", "multicast-mac", "other-backend", "bad-ip", "wrong-family", "injection", "truncated", "list", "empty",
        "binary"])
def test_a_bad_lease_is_left_out_alone(lab, node, eyes, make_lease, value, says):
    look = eyes(node)
    lab.store.put("leases/10.244.201.0-24.json", make_lease("192.0.2.81", mac="02:00:00:00:cc:01"))
    lab.store.put(PEER, value)
    assert says in look.wait_problem("10.244.200.0")
    wait.until(lambda: "10.244.201.0/24" in look.routes(), "the good peer beside it")
    assert ROUTE not in look.routes()
    lab.pod("one").ping(lab.pod("two").ip)
    lab.store.put(PEER, make_lease("192.0.2.77"))
    wait.until(lambda: ROUTE in look.routes(), "the lease is mended")
    look.wait_no_problem()


def test_leases_that_contradict_ours(lab, node, eyes, make_lease):
    look = eyes(node)
    status = look.status()
    other = lab.nodes[1]
    lab.store.put(PEER, make_lease(node.ip))
    assert node.ip in look.wait_problem("10.244.200.0")
    lab.store.put(PEER, make_lease("192.0.2.77", mac=status["lease"]["vtepMAC"]))
    assert "MAC" in look.wait_problem("MAC")
    lab.store.put(PEER, make_lease("192.0.2.77", mac=eyes(other).status()["lease"]["vtepMAC"]))
    assert "MAC" in look.wait_problem("MAC")
    lab.pod("one").ping(lab.pod("two").ip)
    lab.store.delete(PEER)
    look.wait_no_problem()


@pytest.mark.parametrize("key", ["10.244.0.0-16", "192.168.0.0-24", "10.244.200.0-23"])
def test_subnets_that_overlap_or_are_foreign(lab, node, eyes, make_lease, key):
    look = eyes(node)
    lab.store.put(f"leases/{key}.json", make_lease("192.0.2.77"))
    if key == "10.244.200.0-23":
        lab.store.put("leases/10.244.201.0-24.json", make_lease("192.0.2.81", mac="02:00:00:00:cc:01"))
    look.wait_problem("10.244." if key.startswith("10") else key)
    lab.pod("one").ping(lab.pod("two").ip)
    lab.store.delete(f"leases/{key}.json")
    if key == "10.244.200.0-23":
        lab.store.delete("leases/10.244.201.0-24.json")
    look.wait_no_problem()


def test_foreign_files_among_the_leases(lab, node, eyes):
    look = eyes(node)
    lab.store.put("leases/10.12.13.300-24.json", "{}")
    look.wait_problem("10.12.13.300-24")
    lab.pod("one").ping(lab.pod("two").ip)
    lab.store.delete("leases/10.12.13.300-24.json")
    look.wait_no_problem()


def test_a_dead_nodes_lease_runs_out(lab, node, eyes, make_lease):
    look = eyes(node)
    lab.store.put(PEER, make_lease("192.0.2.77", Expiration="2026-01-01T00:00:00Z"))
    lab.store.put("leases/10.244.201.0-24.json", make_lease("192.0.2.81", mac="02:00:00:00:cc:01"))
    wait.until(lambda: "10.244.201.0/24" in look.routes(), "the living peer")
    wait.until(lambda: not (lab.store.path / PEER).exists(), "the dead lease is removed")
    assert ROUTE not in look.routes()


def test_our_own_lease_deleted_by_hand(lab, node, eyes):
    look = eyes(node)
    before = look.own_subnet()
    lab.store.delete(f"leases/{before.replace('/', '-')}.json")
    wait.until(lambda: (lab.store.path / f"leases/{before.replace('/', '-')}.json").exists(), "it is acquired again", 10)
    assert look.own_subnet() == before
    lab.pod("one").ping(lab.pod("two").ip)
