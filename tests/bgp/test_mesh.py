# SPDX-License-Identifier: Apache-2.0
"""Nodes among themselves."""
import copy

from bed import Node, cluster, node
from tullelab.wait import until

NODES = [node("a", "10.0.0.1/24", ipv6Address="fd00:1::1/64"), node("b", "10.0.0.2/24", ipv6Address="fd00:1::2/64"),
         node("c", "10.0.0.10/24", ipv6Address="fd00:1::a/64")]
BLOCKS = [{"cidr": "10.244.1.0/26", "node": "a"}, {"cidr": "10.244.2.0/26", "node": "b", "guests": {"10.244.2.9": "a"}},
          {"cidr": "10.244.3.0/26", "node": "c"}, {"cidr": "fd00:244:1::/122", "node": "a"}, {"cidr": "fd00:244:2::/122", "node": "b"}]
POOLS = [{"name": "four", "cidr": "10.244.0.0/16"}, {"name": "six", "cidr": "fd00:244::/32"}]


def mesh(bed, **more):
    nodes = [bed.add(Node, n["name"]) for n in NODES]
    bed.switch(*[(place, "eth0", n["ipv4Address"], n["ipv6Address"]) for place, n in zip(nodes, NODES)])
    scenario = copy.deepcopy(cluster(NODES, blocks=BLOCKS, pools=POOLS, **more))
    for place in nodes:
        assert place.put(scenario) == ""
    return nodes, scenario


def test_a_dual_stack_mesh(bed):
    (a, b, c), _ = mesh(bed)
    a.established("Mesh_10_0_0_2", "Mesh_10_0_0_10", "Mesh_fd00_1__2", "Mesh_fd00_1__a")
    b.reaches("10.244.1.0/26", gateway="10.0.0.1", metric=1024, protocol="bird")
    c.reaches("10.244.2.0/26", gateway="10.0.0.2", metric=1024)
    b.reaches("fd00:244:1::/122", gateway="fd00:1::1", metric=1025)
    # an address that lives away from its block goes out by itself, from where it is
    c.reaches("10.244.2.9", gateway="10.0.0.1")
    # own blocks are the agent's business, and nothing else of a node leaves it
    assert "10.244.1.0/26" not in a.kernel() and "10.0.0.0/24" not in {r["prefix"] for r in b.routes()["routes"] if "Mesh" in r["protocol"]}
    route = next(r for r in c.routes()["routes"] if r["prefix"] == "10.244.1.0/26")
    assert (route["protocol"], route["localPref"], route["via"], route["dev"], route["best"]) == \
        ("Mesh_10_0_0_1", 2147482623, "10.0.0.1", "eth0", True)


def test_encapsulated_pools_and_the_agents_routes_are_left_alone(bed):
    (a, b, c), scenario = mesh(bed)
    a.ip("route", "add", "10.244.77.0/26", "via", "10.0.0.77", "proto", "84")
    a.ip("route", "add", "10.244.78.0/26", "via", "10.0.0.77", "proto", "80")
    a.ip("route", "add", "10.244.79.0/26", "via", "10.0.0.77", "proto", "static")
    a.established("Mesh_10_0_0_2")
    b.reaches("10.244.79.0/26", gateway="10.0.0.77")
    prefixes = {r["prefix"] for r in a.routes()["routes"]}
    assert "10.244.77.0/26" not in prefixes and "10.244.78.0/26" not in prefixes
    assert "10.244.77.0/26" not in b.kernel()
    scenario["pools"][0]["vxlanMode"] = "CrossSubnet"
    c.put(scenario)
    c.lacks("10.244.1.0/26")
    c.reaches("fd00:244:1::/122", gateway="fd00:1::1")


def test_a_reload_resets_no_session(bed):
    (a, b, c), scenario = mesh(bed)
    before = b.established("Mesh_10_0_0_1", "Mesh_10_0_0_10", "Mesh_fd00_1__1")
    scenario["blocks"] = BLOCKS + [{"cidr": "10.244.9.0/26", "node": "b"}]
    scenario["pools"] = POOLS + [{"name": "more", "cidr": "10.99.0.0/16", "disableBGPExport": True}]
    scenario["config"] = {"prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["65000:7"]}]}
    b.put(scenario)
    a.reaches("10.244.9.0/26", gateway="10.0.0.2")
    until(lambda: "65000" in a.birdc("show", "route", "10.244.9.0/26", "all"), "the community arrives", 20)
    assert {name: s["since"] for name, s in b.established(*before).items()} == {name: s["since"] for name, s in before.items()}
    assert "hold timer expired" not in (b.run_dir / "bird.log").read_text().lower()
    assert "neighbor lost" not in b.birdc("show", "protocols", "all").lower()


def test_password(bed):
    (a, b, c), scenario = mesh(bed, config={"nodeMeshPassword": {"name": "bgp", "key": "mesh"}}, secrets={"bgp": {"mesh": "right # one"}})
    a.established("Mesh_10_0_0_2", "Mesh_10_0_0_10", "Mesh_fd00_1__2")
    scenario["secrets"] = {"bgp": {"mesh": "wrong"}}
    c.put(scenario)

    def told(place, name):
        session = place.sessions()[name]
        return session["state"] != "Established" and "password" in session["problem"]
    # the side that is called sees the signatures that are wrong; 10.0.0.10 is less than 10.0.0.2 as text, so c calls b
    until(lambda: told(b, "Mesh_10_0_0_10"), "b says that the password may differ", 60, detail=lambda: str(b.status()))
    assert a.sessions()["Mesh_10_0_0_2"]["state"] == "Established"
    c.put({**scenario, "secrets": {"bgp": {"mesh": "right # one"}}})
    b.established("Mesh_10_0_0_10")
    until(lambda: not b.sessions()["Mesh_10_0_0_10"]["problem"], "all is well again", 20)
