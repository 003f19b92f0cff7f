# SPDX-License-Identifier: Apache-2.0
"""What BGPPeer and BGPConfiguration say, seen from the other end: a BIRD that is configured by hand."""
import copy
import re

import pytest
from bed import Node, Place, PlainBird, cluster, node
from tullelab.wait import until

A, B = node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")
BLOCKS = [{"cidr": "10.244.1.0/26", "node": "a"}, {"cidr": "10.244.2.0/26", "node": "b", "guests": {"10.244.2.9": "a"}}]
NO_MESH = {"nodeToNodeMeshEnabled": False}
ROUTER = {"name": "router", "node": "a", "peerIP": "10.0.0.254", "asNumber": 65001}


def speaker(own, *neighbors, routes="", asn=65001, more="") -> str:
    """A BIRD with sessions to these: (name, address, AS, further words, export filter)."""
    text = f"router id {own};\nprotocol device {{ }}\nprotocol direct {{ ipv4; }}\n{more}protocol static origin {{ ipv4; {routes} }}\n"
    for name, address, peer_as, words, export in neighbors:
        text += f"""protocol bgp {name} {{ local {own} as {asn}; neighbor {address} as {peer_as}; multihop; graceful restart on; connect delay time 1;
  connect retry time 2; error wait time 1,2; {words} ipv4 {{ import all; export {export}; add paths on; }}; }}\n"""
    return text


def to_a(words="", export="where proto = \"origin\"", asn=64512):
    return "a", "10.0.0.1", asn, words, export


def rack(bed, *others):
    """a and a router on one switch, and others beside them: (kind, name, address)."""
    a, router = bed.add(Node, "a"), bed.add(PlainBird, "router")
    more = [(bed.add(kind, name), "eth0", address) for kind, name, address in others]
    bed.switch((a, "eth0", "10.0.0.1/24"), (router, "eth0", "10.0.0.254/24"), *more)
    return a, router, *(place for place, _, _ in more)


def learnt(router, name="a") -> dict:
    """Prefix → next hop, as the node said it."""
    found, text = {}, router.birdc("show", "route", "protocol", name, "all")
    for line in text.splitlines():
        fields = line.split()
        prefix = fields[0] if fields and re.match(r"[0-9a-f.:]+/\d+$", fields[0]) else None
        if prefix:
            last = prefix
        if "BGP.next_hop:" in line:
            found[last] = fields[1]
    return found


def wait_learnt(router, expected, name="a"):
    until(lambda: set(learnt(router, name)) == expected, f"{router.name} learns {sorted(expected)}", 30, detail=lambda: str(learnt(router, name)))


def is_up(router, name) -> bool:
    return "Established" in router.birdc("show", "protocols", f'"{name}"')  # a bare "a" is short for "all"


# -- what goes out --

def test_what_leaves_a_node(bed):
    """Blocks, addresses that live away from theirs, machines that move; nothing that another pool hides or that a disabled one only names."""
    a, router = rack(bed)
    router.begin(speaker("10.0.0.254", to_a()))
    for words in ("10.244.1.7 via 10.0.0.77 metric 2000", "10.244.1.8 via 10.0.0.77 metric 512", "198.51.100.128/25 via 10.0.0.254",
                  "10.50.9.0/24 via 10.0.0.77", "172.31.0.0/16 via 10.0.0.77", "default via 10.0.0.254"):
        a.ip("route", "add", *words.split(), "proto", "static")
    scenario = cluster([A, B], config=NO_MESH, peers=[ROUTER], pools=[
        {"name": "default", "cidr": "10.244.0.0/16"}, {"name": "hidden", "cidr": "10.40.0.0/16", "disableBGPExport": True},
        {"name": "off", "cidr": "10.50.0.0/16", "disabled": True}, {"name": "no-nat-to", "cidr": "198.51.100.0/24", "disabled": True}],
        blocks=[*BLOCKS, {"cidr": "10.40.1.0/26", "node": "a"}, {"cidr": "10.50.1.0/26", "node": "a"},
                {"cidr": "10.50.2.0/26", "node": "b", "guests": {"10.50.2.9": "a"}}])
    assert a.put(scenario) == ""
    expected = {"10.244.1.0/26", "10.244.2.9/32", "10.244.1.8/32", "10.50.1.0/26", "10.50.2.9/32"}
    wait_learnt(router, expected)
    assert set(learnt(router).values()) == {"10.0.0.1"}
    scenario["pools"][1].pop("disableBGPExport")
    scenario["config"] = {**NO_MESH, "prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["65000:7", "65000:1:2"]}]}
    a.put(scenario)
    wait_learnt(router, expected | {"10.40.1.0/26"})
    text = until(lambda: "65000" in (said := router.birdc("show", "route", "10.244.1.0/26", "all")) and said, "communities", 20)
    assert "BGP.community: (65000,7)" in text and "BGP.large_community: (65000, 1, 2)" in text
    assert "65000" not in router.birdc("show", "route", "10.40.1.0/26", "all")


def test_a_reflector_passes_on_what_is_in_a_disabled_pool(bed):
    """Pods that live there are reached until the last is gone; what a reflector itself knows of such a network stays its own."""
    names = ("a", "b", "rr")
    described = [A, B, node("rr", "10.0.0.11/24", labels={"rr": ""}, routeReflectorClusterID="1.0.0.1")]
    places = {name: bed.add(Node, name) for name in names}
    bed.switch(*[(places[one["name"]], "eth0", one["ipv4Address"]) for one in described])
    places["rr"].ip("route", "add", "10.50.9.0/24", "via", "10.0.0.77", "proto", "static")
    scenario = cluster(described, config=NO_MESH, pools=[{"name": "off", "cidr": "10.50.0.0/16", "disabled": True}],
                       blocks=[{"cidr": "10.50.1.0/26", "node": "a"}, {"cidr": "10.50.2.0/26", "node": "rr"}],
                       peers=[{"name": "rr", "nodeSelector": "!has(rr)", "peerSelector": "has(rr)"}])
    for place in places.values():
        assert place.put(scenario) == ""
    places["b"].reaches("10.50.1.0/26", gateway="10.0.0.1")
    places["b"].reaches("10.50.2.0/26", gateway="10.0.0.11")
    assert "10.50.9.0/24" not in places["b"].kernel()


# -- priorities --

def test_metrics_are_local_preferences(bed):
    """Both ways, with any LOCAL_PREF that somebody may send; IPv4's normal priority is 1024 unless said."""
    a, router = rack(bed)
    preference = "if net = 10.244.8.0/26 then bgp_local_pref = 2147483135; if net = 10.244.9.0/26 then bgp_local_pref = 4294967295;"
    router.begin(speaker("10.0.0.254", to_a(export="filter { if proto != \"origin\" then reject; %s accept; }" % preference),
                         routes=" ".join(f"route 10.244.{n}.0/26 blackhole;" for n in (7, 8, 9)), asn=64512))
    a.ip("route", "add", "10.244.1.8", "via", "10.0.0.77", "metric", "512", "proto", "static")
    scenario = cluster([A], blocks=BLOCKS[:1], peers=[dict(ROUTER, asNumber=64512)])
    a.put(scenario)
    a.reaches("10.244.7.0/26", metric=2147483647 - 100)  # BIRD's own default
    a.reaches("10.244.8.0/26", metric=512)
    a.reaches("10.244.9.0/26", metric=1)
    wait_learnt(router, {"10.244.1.0/26", "10.244.1.8/32"})

    def preference_of(prefix):
        return int(re.search(r"BGP.local_pref: (\d+)", router.birdc("show", "route", prefix, "all"))[1])
    assert (preference_of("10.244.1.0/26"), preference_of("10.244.1.8/32")) == (2147483647 - 1024, 2147483647 - 512)
    a.put({**scenario, "config": {"ipv4NormalRoutePriority": 300}})
    until(lambda: preference_of("10.244.1.0/26") == 2147483647 - 300, "the new normal priority", 20)
    # 512 is worse than normal now: it is not announced beside its block
    wait_learnt(router, {"10.244.1.0/26"})


# -- next hops --

def test_next_hops(bed):
    """Auto: unchanged to iBGP, own to eBGP. Self: own to iBGP, too. Keep: unchanged to eBGP, too."""
    a, router, other, inner = rack(bed, (PlainBird, "other", "10.0.0.253/24"), (PlainBird, "inner", "10.0.0.10/24"))
    router.begin(speaker("10.0.0.254", to_a(), routes="route 10.244.99.0/24 blackhole;"))
    other.begin(speaker("10.0.0.253", to_a(), asn=65002))
    inner.begin(speaker("10.0.0.10", to_a(), asn=64512))

    def put(**mode):
        assert a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[ROUTER, {"name": "inner", "peerIP": "10.0.0.10", "asNumber": 64512, **mode},
                                                                           {"name": "other", "peerIP": "10.0.0.253", "asNumber": 65002, **mode}])) == ""
    for mode, to_inner, to_other in (({}, "254", "1"), ({"nextHopMode": "Self"}, "1", "1"), ({"nextHopMode": "Keep"}, "254", "254"),
                                     ({"keepOriginalNextHop": True}, "254", "254")):
        put(**mode)
        for place, last in ((inner, to_inner), (other, to_other)):
            until(lambda: learnt(place) == {"10.244.99.0/24": f"10.0.0.{last}", "10.244.1.0/26": "10.0.0.1"}, f"{place.name}, {mode}", 30,
                  detail=lambda: str(learnt(place)))


# -- addresses and ports --

@pytest.mark.parametrize("said, called_by", [({}, "a"), ({"sourceAddress": "UseNodeIP"}, "a"), ({"sourceAddress": "None"}, "beside")])
def test_source_address(bed, said, called_by):
    """The node's address, also to a peer on another link; None: whatever leads there."""
    a, router = rack(bed)
    bed.switch((a, "eth1", "10.7.0.1/24"), (router, "eth1", "10.7.0.254/24"))
    router.begin(speaker("10.7.0.254", to_a("passive on;"), ("beside", "10.7.0.1", 64512, "passive on;", "none")))
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[{"name": "router", "peerIP": "10.7.0.254", "asNumber": 65001, **said}]))
    a.established("Global_10_7_0_254")
    assert [name for name in ("a", "beside") if is_up(router, name)] == [called_by]


def test_bind_mode_and_port(bed):
    a, b = bed.add(Node, "a"), bed.add(Node, "b")
    described = [dict(A, ipv6Address="fd00:1::1/64"), dict(B, ipv6Address="fd00:1::2/64")]
    bed.switch(*[(place, "eth0", one["ipv4Address"], one["ipv6Address"]) for place, one in zip((a, b), described)])

    def listening():
        return {line.split()[3] for line in a.run("ss", "-Hltn").splitlines()}

    def put(config):
        for place in (a, b):
            place.put(cluster(described, blocks=BLOCKS, config=config))
        a.established("Mesh_10_0_0_2", "Mesh_fd00_1__2")
    put({})
    until(lambda: listening() == {"0.0.0.0:179", "[::]:179"}, "every address", 20, detail=lambda: str(listening()))
    put({"bindMode": "NodeIP", "listenPort": 1790})
    until(lambda: listening() == {"10.0.0.1:1790", "[fd00:1::1]:1790"}, "the node's addresses", 20, detail=lambda: str(listening()))
    a.established("Mesh_10_0_0_2", "Mesh_fd00_1__2")


def behind(bed):
    """a, a gateway that only forwards, and a router behind it."""
    a, gateway, router = bed.add(Node, "a"), bed.add(Place, "gateway"), bed.add(PlainBird, "router")
    bed.switch((a, "eth0", "10.0.0.1/24"), (gateway, "near", "10.0.0.253/24"))
    bed.switch((gateway, "far", "10.8.0.253/24"), (router, "eth0", "10.8.0.9/24", "10.8.0.10/24"))
    router.ip("route", "add", "10.0.0.0/24", "via", "10.8.0.253")
    return a, router


def test_reachable_by(bed):
    """No route of the node leads to the peer but the one that the BGPPeer names."""
    a, router = behind(bed)
    router.begin(speaker("10.8.0.9", to_a()))
    peer = {"name": "router", "peerIP": "10.8.0.9", "asNumber": 65001, "reachableBy": "10.0.0.253"}
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[peer]))
    a.reaches("10.8.0.9", gateway="10.0.0.253")
    a.established("Global_10_8_0_9")
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[{**peer, "node": "b"}]))
    a.lacks("10.8.0.9")


def test_ttl_security(bed):
    """As many hops as it says and no more: behind a router one is too few."""
    a, router = behind(bed)
    a.ip("route", "add", "10.8.0.0/24", "via", "10.0.0.253")
    router.begin(speaker("10.8.0.9", to_a("ttl security on; multihop 2;")))

    def put(hops):
        a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[{"name": "router", "peerIP": "10.8.0.9", "asNumber": 65001, "ttlSecurity": hops}]))
    put(1)
    until(lambda: int(a.run("nstat", "-asz", "TcpExtTCPMinTTLDrop").split()[-2]), "segments from too far away are dropped", 30)
    assert a.sessions()["Global_10_8_0_9"]["state"] != "Established"
    put(2)
    a.established("Global_10_8_0_9")


# -- AS numbers and times --

def test_as_numbers(bed):
    """Another AS towards one peer; routes that have been here already are taken when they may."""
    a, router = rack(bed)
    looped = "filter { if proto != \"origin\" then reject; bgp_path.prepend(65077); accept; }"
    router.begin(speaker("10.0.0.254", to_a(export=looped, asn=65077), routes="route 10.244.99.0/24 blackhole;"))
    peer = dict(ROUTER, localASNumber=65077)
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[peer]))
    wait_learnt(router, {"10.244.1.0/26"})
    assert "BGP.as_path: 65077\n" in router.birdc("show", "route", "10.244.1.0/26", "all")
    assert "10.244.99.0/24" not in a.kernel()
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[dict(peer, numAllowedLocalASNumbers=1)]))
    a.reaches("10.244.99.0/24", gateway="10.0.0.254")


def test_times(bed):
    a, router = rack(bed)
    router.begin(speaker("10.0.0.254", to_a()))
    a.put(cluster([A], config=NO_MESH, blocks=BLOCKS[:1], peers=[dict(ROUTER, keepaliveTime=7, maxRestartTime=77)]))
    a.established("Node_10_0_0_254")
    said = router.birdc("show", "protocols", "all", "\"a\"")
    assert re.search(r"Neighbor capabilities.*Restart time: 77", said, re.S), said
    own = a.birdc("show", "protocols", "all", "Node_10_0_0_254")
    assert re.search(r"Keepalive timer: +[\d.]+/7\b", own), own


# -- services --

def test_services_follow_their_endpoints(bed):
    """Local: from where an endpoint is ready. Cluster: the range, from everywhere. Balancers' addresses one by one where nothing is aggregated."""
    a, b, router = bed.add(Node, "a"), bed.add(Node, "b"), bed.add(PlainBird, "router")
    bed.switch((a, "eth0", "10.0.0.1/24"), (b, "eth0", "10.0.0.2/24"), (router, "eth0", "10.0.0.254/24"))
    router.begin(speaker("10.0.0.254", to_a(), ("b", "10.0.0.2", 64512, "", "none")))
    scenario = cluster([A, B], config={"serviceExternalIPs": ["203.0.113.0/24"], "serviceLoadBalancerIPs": ["198.51.100.0/24"]},
                       peers=[{"name": "router", "peerIP": "10.0.0.254", "asNumber": 65001}],
                       services=[{"name": "local", "externalTrafficPolicy": "Local", "clusterIPs": ["10.96.0.10"], "externalIPs": ["203.0.113.7"]},
                                 {"name": "cluster", "clusterIPs": ["10.96.0.11"], "externalIPs": ["203.0.113.8"], "ingress": ["198.51.100.8", "192.0.2.8"]}])

    def put(local, **config):
        now = copy.deepcopy(scenario)
        now["config"].update(config)
        now["slices"] = [{"service": "local", "endpoints": [{"address": "10.244.1.9", **local}]},
                         {"service": "cluster", "endpoints": [{"address": "10.244.2.9", "node": "b"}]}]
        for place in (a, b):
            assert place.put(now) == ""
    ranges = {"203.0.113.0/24", "198.51.100.0/24"}
    put({"node": "a"})
    wait_learnt(router, ranges | {"203.0.113.7/32"}, "a")
    wait_learnt(router, ranges, "b")
    put({"node": "b"})
    wait_learnt(router, ranges | {"203.0.113.7/32"}, "b")
    wait_learnt(router, ranges, "a")
    put({"node": "b", "ready": False}, serviceLoadBalancerAggregation="Disabled")
    for name in ("a", "b"):
        wait_learnt(router, {"203.0.113.0/24", "198.51.100.8/32"}, name)
