# SPDX-License-Identifier: Apache-2.0
"""FRR and GoBGP as the physical network: top-of-rack by eBGP, route reflectors, BFD, filters, floods."""
import os
import signal
import time

import pytest
from bed import FRR, Frr, Gobgp, Node, Place, PlainBird, cluster, node
from tullelab.wait import until

needs_frr = pytest.mark.skipif(not (FRR / "bgpd").exists(), reason="needs FRR (Debian's frr)")
needs_gobgp = pytest.mark.skipif(not os.path.exists("/usr/bin/gobgpd"), reason="needs GoBGP (Debian's gobgpd)")

A, B = node("a", "10.0.1.1/24"), node("b", "10.0.2.1/24")
BLOCKS = [{"cidr": "10.244.1.0/26", "node": "a"}, {"cidr": "10.244.2.0/26", "node": "b"}]


def tor(asn, *neighbors, more=""):
    """neighbors: (address, AS, further words after "neighbor ADDRESS")."""
    lines = [f"router bgp {asn}", f" bgp router-id 1.1.{asn % 250}.1", " no bgp ebgp-requires-policy", " no bgp network import-check", " timers bgp 5 15"]
    for address, peer_as, *words in neighbors:
        lines.append(f" neighbor {address} remote-as {peer_as}")
        lines += [f" neighbor {address} {word}" for word in words]
    return "\n".join(lines) + "\n" + more


def two_racks(bed):
    """A rack each, with a router that knows only what BGP tells it; nodes have a default route by it."""
    a, b, one, two = bed.add(Node, "a"), bed.add(Node, "b"), bed.add(Frr, "tor1"), bed.add(Frr, "tor2")
    bed.switch((a, "eth0", "10.0.1.1/24"), (one, "rack", "10.0.1.254/24"))
    bed.switch((b, "eth0", "10.0.2.1/24"), (two, "rack", "10.0.2.254/24"))
    bed.switch((one, "spine", "10.9.0.1/24"), (two, "spine", "10.9.0.2/24"))
    a.ip("route", "add", "default", "via", "10.0.1.254")
    b.ip("route", "add", "default", "via", "10.0.2.254")
    one.begin(tor(65001, ("10.0.1.1", 64512), ("10.9.0.2", 65002), more=" address-family ipv4 unicast\n  network 10.0.1.0/24\n"))
    two.begin(tor(65002, ("10.0.2.1", 64513), ("10.9.0.1", 65001), more=" address-family ipv4 unicast\n  network 10.0.2.0/24\n  network 192.0.2.0/24\n"))
    scenario = cluster([dict(A, asNumber=64512), dict(B, asNumber=64513)], blocks=BLOCKS, config={"nodeToNodeMeshEnabled": False}, peers=[
        {"name": "tor1", "node": "a", "peerIP": "10.0.1.254", "asNumber": 65001},
        {"name": "tor2", "node": "b", "peerIP": "10.0.2.254", "asNumber": 65002}])
    a.put(scenario)
    b.put(scenario)
    return a, b, one, two, scenario


@needs_frr
def test_racks_that_know_only_what_bgp_tells(bed):
    a, b, one, two, scenario = two_racks(bed)
    a.established("Node_10_0_1_254")
    a.reaches("10.244.2.0/26", gateway="10.0.1.254", metric=2147483547)
    b.reaches("10.244.1.0/26", gateway="10.0.2.254")
    until(lambda: one.kernel().get("10.244.1.0/26", {}).get("gateway") == "10.0.1.1", "the router knows the way to the pods", 30)
    a.reaches("192.0.2.0/24", gateway="10.0.1.254")
    # packets, without encapsulation: an address of each block, here on loopback
    a.ip("addr", "add", "10.244.1.5/32", "dev", "lo")
    b.ip("addr", "add", "10.244.2.5/32", "dev", "lo")
    until(lambda: a.run("ping", "-c1", "-W1", "-I", "10.244.1.5", "10.244.2.5"), "pod to pod across the racks", 30)
    # the nodes' own networks and default routes do not leave them
    learnt = one.bgp()["routes"]
    assert set(learnt) == {"10.0.1.0/24", "10.0.2.0/24", "192.0.2.0/24", "10.244.1.0/26", "10.244.2.0/26"}
    route = next(r for r in a.routes()["routes"] if r["prefix"] == "10.244.2.0/26")
    assert route["asPath"] == "65001 65002 64513"


@needs_frr
def test_two_spines(bed):
    """eBGP everywhere, a private AS number each; one spine dies."""
    a, b = bed.add(Node, "a"), bed.add(Node, "b")
    tors = [bed.add(Frr, f"tor{n}") for n in (1, 2)]
    spines = [bed.add(Frr, f"spine{n}") for n in (1, 2)]
    bed.switch((a, "eth0", "10.0.1.1/24", "fd00:1::1/64"), (tors[0], "rack", "10.0.1.254/24", "fd00:1::fe/64"))
    bed.switch((b, "eth0", "10.0.2.1/24", "fd00:2::1/64"), (tors[1], "rack", "10.0.2.254/24", "fd00:2::fe/64"))
    for t, router in enumerate(tors, 1):
        for s, spine in enumerate(spines, 1):
            bed.switch((router, f"up{s}", f"10.9.{t}{s}.1/24", f"fd00:9:{t}{s}::1/64"), (spine, f"down{t}", f"10.9.{t}{s}.2/24", f"fd00:9:{t}{s}::2/64"))
    both = " address-family ipv6 unicast\n" + "  neighbor {} activate\n" * 3 + "  network {}\n"
    for t, router in enumerate(tors, 1):
        neighbors = [(f"10.0.{t}.1", 64600 + t), (f"fd00:{t}::1", 64600 + t)]
        neighbors += [(f"10.9.{t}{s}.2", 65100 + s) for s in (1, 2)] + [(f"fd00:9:{t}{s}::2", 65100 + s) for s in (1, 2)]
        router.begin(tor(65000 + t, *neighbors, more=" bgp bestpath as-path multipath-relax\n address-family ipv4 unicast\n"
                         f"  network 10.0.{t}.0/24\n exit-address-family\n" + both.format(
                             f"fd00:{t}::1", f"fd00:9:{t}1::2", f"fd00:9:{t}2::2", f"fd00:{t}::/64")))
    for s, router in enumerate(spines, 1):
        neighbors = [(f"10.9.{t}{s}.1", 65000 + t) for t in (1, 2)] + [(f"fd00:9:{t}{s}::1", 65000 + t) for t in (1, 2)]
        router.begin(tor(65100 + s, *neighbors, more=" address-family ipv6 unicast\n" + "".join(
            f"  neighbor fd00:9:{t}{s}::1 activate\n" for t in (1, 2))))
    for t, place in enumerate((a, b), 1):
        place.ip("route", "add", "default", "via", f"10.0.{t}.254")
        place.ip("-6", "route", "add", "default", "via", f"fd00:{t}::fe")
    scenario = cluster([dict(A, asNumber=64601, ipv6Address="fd00:1::1/64"), dict(B, asNumber=64602, ipv6Address="fd00:2::1/64")],
                       pools=[{"name": "four", "cidr": "10.244.0.0/16"}, {"name": "six", "cidr": "fd00:244::/32"}],
                       blocks=BLOCKS + [{"cidr": "fd00:244:1::/122", "node": "a"}, {"cidr": "fd00:244:2::/122", "node": "b"}],
                       config={"nodeToNodeMeshEnabled": False}, peers=[
                           {"name": f"{'ab'[t - 1]}-{kind}", "node": "ab"[t - 1], "peerIP": address, "asNumber": 65000 + t}
                           for t in (1, 2) for kind, address in (("four", f"10.0.{t}.254"), ("six", f"fd00:{t}::fe"))])
    assert a.put(scenario) == "" and b.put(scenario) == ""
    a.reaches("10.244.2.0/26", gateway="10.0.1.254")
    a.reaches("fd00:244:2::/122", dev="eth0", protocol="bird")  # by the link-local address that the router names beside its other
    a.ip("addr", "add", "10.244.1.5/32", "dev", "lo")
    b.ip("addr", "add", "10.244.2.5/32", "dev", "lo")
    a.ip("addr", "add", "fd00:244:1::5/128", "dev", "lo")
    b.ip("addr", "add", "fd00:244:2::5/128", "dev", "lo")
    until(lambda: len(tors[0].kernel().get("10.244.2.0/26", {}).get("nexthops", [])) == 2, "the rack's router uses both spines", 40)

    def pings():
        return a.run("ping", "-c1", "-W1", "-I", "10.244.1.5", "10.244.2.5") and \
            a.run("ping", "-c1", "-W1", "-I", "fd00:244:1::5", "fd00:244:2::5")
    until(pings, "pod to pod over the spines", 40)
    for t in (1, 2):
        spines[0].ip("link", "set", f"down{t}", "down")
    until(pings, "pod to pod over the other spine", 60)
    assert a.sessions()["Node_10_0_1_254"]["state"] == "Established"


@needs_frr
def test_filters_towards_a_router(bed):
    a, b, one, two, scenario = two_racks(bed)
    a.reaches("192.0.2.0/24", gateway="10.0.1.254")
    since = a.established("Node_10_0_1_254")["Node_10_0_1_254"]["since"]
    scenario["filters"] = [{"name": "only-pods", "importV4": [
        {"cidr": "10.244.0.0/16", "matchOperator": "In", "min": 26, "max": 32, "action": "Accept", "operations": [{"setPriority": 500}]},
        {"action": "Reject"}], "exportV4": [
        {"cidr": "10.244.1.0/26", "matchOperator": "Equal", "peerType": "eBGP", "priority": 1024, "action": "Accept",
         "operations": [{"addCommunity": "65000:42"}, {"addCommunity": "65000:1:2"}, {"prependASPath": [64600, 64601]}]}, {"action": "Reject"}]}]
    scenario["peers"][0]["filters"] = ["only-pods"]
    assert a.put(scenario) == ""
    a.lacks("192.0.2.0/24")
    a.reaches("10.244.2.0/26", metric=500)

    def marked():
        path, = one.bgp("ipv4 unicast 10.244.1.0/26")["paths"]
        return path["aspath"]["string"] == "64512 64600 64601" and "65000:42" in path["community"]["string"] and \
            path["largeCommunity"]["string"] == "65000:1:2"
    until(marked, "the router sees communities and the longer path", 30, detail=lambda: one.vtysh("show bgp ipv4 unicast 10.244.1.0/26 json"))
    # a filter that is gone lets nothing through, and the session stays
    scenario["filters"] = []
    assert "there is no such BGPFilter" in a.put(scenario)
    a.lacks("10.244.2.0/26")
    assert a.established("Node_10_0_1_254")["Node_10_0_1_254"]["since"] == since


@needs_frr
def test_services_and_a_flapping_session(bed):
    a, b, one, two, scenario = two_racks(bed)
    scenario["config"].update(serviceClusterIPs=["10.96.0.0/16"], serviceExternalIPs=["203.0.113.0/24"])
    scenario["services"] = [{"name": "web", "externalTrafficPolicy": "Local", "clusterIPs": ["10.96.0.10"], "externalIPs": ["203.0.113.7"]}]
    scenario["slices"] = [{"service": "web", "endpoints": [{"address": "10.244.1.9", "node": "a"}]}]
    a.put(scenario)
    b.put(scenario)
    until(lambda: {"10.96.0.10", "203.0.113.7", "10.96.0.0/16"} <= set(one.kernel()), "the service's addresses", 30)
    until(lambda: "203.0.113.0/24" in two.kernel(), "b announces the range", 30)
    assert "203.0.113.7" not in b.birdc("show", "route", "export", "Node_10_0_2_254")  # it has no endpoint
    assert not {"10.96.0.0/16", "10.96.0.10", "203.0.113.0/24", "203.0.113.7"} & set(a.kernel()) and not \
        {"10.96.0.0/16", "203.0.113.0/24"} & set(b.kernel())
    for _ in range(2):
        one.vtysh("clear bgp ipv4 10.0.1.1")
        until(lambda: a.sessions()["Node_10_0_1_254"]["state"] == "Established" and "203.0.113.7" in one.kernel(), "back again", 40)
    one.stop()
    status = until(lambda: a.sessions()["Node_10_0_1_254"]["state"] != "Established" and a.status(), "gone", 60)
    assert "not established" in status["sessions"][0]["problem"]


@needs_frr
def test_bfd_reroutes(bed):
    """Two routers of one rack announce the same prefix; the one in use goes silent."""
    a, one, two = bed.add(Node, "a"), bed.add(Frr, "tor1"), bed.add(Frr, "tor2")
    switch = bed.switch((a, "eth0", "10.0.0.1/24"), (one, "rack", "10.0.0.253/24"), (two, "rack", "10.0.0.254/24"))
    bfd = "bfd\n peer 10.0.0.1\n  receive-interval 50\n  transmit-interval 50\n  detect-multiplier 3\n"
    for router, asn in ((one, 65001), (two, 65002)):
        router.begin(tor(asn, ("10.0.0.1", 64512, "bfd"), more=" address-family ipv4 unicast\n  network 198.51.100.0/24\n") + bfd,
                     daemons=("zebra", "bfdd", "bgpd"))
    a.put(cluster([node("a", "10.0.0.1/24")], peers=[
        {"name": "tor1", "peerIP": "10.0.0.253", "asNumber": 65001, "bfd": {}},
        {"name": "tor2", "peerIP": "10.0.0.254", "asNumber": 65002, "bfd": {}}]))
    a.established("Global_10_0_0_253", "Global_10_0_0_254")
    until(lambda: a.birdc("show", "bfd", "sessions").count(" Up ") == 2, "both BFD sessions", 30, detail=lambda: a.birdc("show", "bfd", "sessions"))
    # both ways at once: equal paths are merged
    hops = until(lambda: {hop["gateway"] for hop in a.kernel().get("198.51.100.0/24", {}).get("nexthops", [])}, "two next hops", 30)
    assert hops == {"10.0.0.253", "10.0.0.254"}
    switch.ip("link", "set", "port1", "down")  # no goodbye: the wire to tor1 is dead, hold time is 15 s
    cut = time.monotonic()
    until(lambda: a.kernel()["198.51.100.0/24"].get("gateway") == "10.0.0.254", "rerouted long before the hold time", 10, interval=0.005)
    print(f"rerouted after {(time.monotonic() - cut) * 1000:.0f} ms")
    session = until(lambda: a.sessions()["Global_10_0_0_253"]["state"] != "Established" and a.sessions()["Global_10_0_0_253"], "told", 10)
    assert "BFD" in session["error"] or "Neighbor down" in session["error"] or session["problem"]


def test_a_reflector_pair_fails_over(bed):
    names = ["rr1", "rr2", "a", "b"]
    described = [node("rr1", "10.0.0.11/24", labels={"rr": ""}, routeReflectorClusterID="1.0.0.1"),
                 node("rr2", "10.0.0.12/24", labels={"rr": ""}, routeReflectorClusterID="1.0.0.1"),
                 node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")]
    nodes = {name: bed.add(Node, name) for name in names}
    bed.switch(*[(nodes[d["name"]], "eth0", d["ipv4Address"]) for d in described])
    scenario = cluster(described, blocks=BLOCKS, config={"nodeToNodeMeshEnabled": False}, peers=[
        {"name": "to-reflectors", "nodeSelector": "!has(rr)", "peerSelector": "has(rr)", "maxRestartTime": 1},
        {"name": "reflectors", "nodeSelector": "has(rr)", "peerSelector": "has(rr)"}])
    for place in nodes.values():
        assert place.put(scenario) == ""
    a, b = nodes["a"], nodes["b"]
    a.established("Node_10_0_0_11", "Node_10_0_0_12")
    a.reaches("10.244.2.0/26", gateway="10.0.0.2")
    until(lambda: all(a.sessions()[f"Node_10_0_0_{n}"]["imported"] for n in (11, 12)), "the route by both", 30)
    nodes["rr1"].probe.kill()
    os.kill(nodes["rr1"].bird_pid(), signal.SIGTERM)
    until(lambda: a.sessions()["Node_10_0_0_11"]["state"] != "Established", "a misses the first", 30)
    assert a.kernel()["10.244.2.0/26"]["gateway"] == "10.0.0.2"
    scenario["blocks"] = BLOCKS + [{"cidr": "10.244.7.0/26", "node": "b"}]
    b.put(scenario)
    a.reaches("10.244.7.0/26", gateway="10.0.0.2")


FLOOD = """
router id 10.0.0.254;
protocol device { }
protocol static flood { ipv4; %s }
protocol bgp { local 10.0.0.254 as 65001; neighbor 10.0.0.1 as 64512; connect delay time 1; ipv4 { import all; export all; }; }
"""


def test_a_flood_is_limited(bed):
    a, flooder = bed.add(Node, "a"), bed.add(PlainBird, "flooder")
    bed.switch((a, "eth0", "10.0.0.1/24"), (flooder, "eth0", "10.0.0.254/24"))
    a.put(cluster([node("a", "10.0.0.1/24")], peers=[{"name": "flooder", "peerIP": "10.0.0.254", "asNumber": 65001}], importLimit=20000))
    flooder.begin(FLOOD % " ".join(f"route {n >> 16 & 255 | 32}.{n >> 8 & 255}.{n & 255}.0/24 blackhole;" for n in range(100000)))
    session = until(lambda: a.sessions()["Global_10_0_0_254"]["limitHit"] and a.sessions()["Global_10_0_0_254"], "the limit", 60,
                    detail=lambda: str(a.status()))
    assert session["imported"] <= 20000 and "import limit of 20000" in session["problem"] and session["state"] == "Established"
    assert "limit" in (a.run_dir / "bird.log").read_text()
    until(lambda: len(a.kernel()) >= 19000, "what the limit allows is there", 60)
    assert len(a.kernel()) <= 20002
    listing = a.routes(50)
    assert len(listing["routes"]) == 50 and listing["more"]


GARBAGE = """
import random, socket, sys
random.seed(7)
server = socket.create_server(("10.0.0.254", 179))
marker = b"\\xff" * 16
while True:
    peer, _ = server.accept()
    what = random.choice([b"GET / HTTP/1.1\\r\\n\\r\\n", marker + b"\\xff\\xff\\x01" + b"A" * 5000, marker + b"\\0\\x13\\x09",
                          marker + b"\\0\\x1d\\x01\\x05" + b"\\0" * 9, random.randbytes(4000), b""])
    try:
        peer.sendall(what)
        peer.settimeout(1)
        while peer.recv(4096):
            pass
    except OSError:
        pass
    peer.close()
"""


def test_a_malformed_peer_harms_nobody(bed):
    a, b, other = bed.add(Node, "a"), bed.add(Node, "b"), bed.add(Place, "other")
    bed.switch((a, "eth0", "10.0.0.1/24"), (b, "eth0", "10.0.0.2/24"), (other, "eth0", "10.0.0.254/24"))
    other.spawn("/usr/bin/python3", "-c", GARBAGE)
    scenario = cluster([node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")], blocks=BLOCKS, peers=[
        {"name": "broken", "node": "a", "peerIP": "10.0.0.254", "asNumber": 65001}])
    a.put(scenario)
    b.put(scenario)
    since = a.established("Mesh_10_0_0_2")["Mesh_10_0_0_2"]["since"]
    session = until(lambda: a.sessions()["Node_10_0_0_254"]["error"] and a.sessions()["Node_10_0_0_254"], "what is wrong with it", 60,
                    detail=lambda: str(a.status()))
    assert session["error"] in session["problem"] and session["description"] == "BGPPeer broken"
    errors = set()
    until(lambda: errors.add(a.sessions()["Node_10_0_0_254"]["error"]) or len(errors) > 1, "another thing wrong with it", 90)
    assert a.sessions()["Mesh_10_0_0_2"]["since"] == since and a.status()["state"] == "running"


@needs_gobgp
def test_gobgp(bed):
    a, other = bed.add(Node, "a"), bed.add(Gobgp, "router")
    bed.switch((a, "eth0", "10.0.0.1/24"), (other, "eth0", "10.0.0.254/24"))
    other.begin("""
[global.config]
  as = 65001
  router-id = "10.0.0.254"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "10.0.0.1"
    peer-as = 64512
    auth-password = "shared secret"
  [neighbors.timers.config]
    connect-retry = 5
""")
    a.put(cluster([node("a", "10.0.0.1/24")], blocks=BLOCKS[:1], secrets={"bgp": {"tor": "shared secret"}}, peers=[
        {"name": "tor", "peerIP": "10.0.0.254", "asNumber": 65001, "ttlSecurity": 0, "password": {"name": "bgp", "key": "tor"}}]))
    a.established("Global_10_0_0_254")
    other.gobgp("global", "rib", "add", "198.51.100.0/24")
    a.reaches("198.51.100.0/24", gateway="10.0.0.254")
    until(lambda: "10.244.1.0/26" in other.gobgp("global", "rib"), "GoBGP has the block", 30)
    other.gobgp("global", "rib", "del", "198.51.100.0/24")
    a.lacks("198.51.100.0/24")
