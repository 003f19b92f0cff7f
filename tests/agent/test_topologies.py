# SPDX-License-Identifier: Apache-2.0
"""Calico's half on the networks that people have: a rack, two racks with and without BGP, several pools on one node. What travels
is looked at on the wire, in both families."""
import ipaddress
import json
import re

import pytest
from calico_words import manifest, objects, pool, talk, way
from tullelab import CommandError, LabError, pools, wait

VERSIONS = (4, 6)
ENCAPSULATED = "ip proto 4 or ip6 proto 4 or udp port 4789"


def documents(texts) -> str:
    """One YAML file of several manifests."""
    return "".join(f"---\n{text}\n" for text in texts)


@pytest.fixture
def cluster(built, make_lab, tmp_path):
    """cluster(pools, **options): a lab of both families with these IPPools, or a preset's, and an agent on each node."""
    def make(what, **options):
        if not isinstance(what, str):
            path = tmp_path / "pools.yaml"
            path.write_text(documents(what))
            what = str(path)
        return make_lab(pools=what, **{"family": "dual", **options})
    return make


def both(name, number=0, more6=None, **spec) -> list:
    """A pool of each family: 10.(244 + number).0.0/16 and its like."""
    return [pool(f"{name}-4", f"10.{244 + number}.0.0/16", **spec),
            pool(f"{name}-6", f"fd00:10:{244 + number}::/64", **(spec if more6 is None else more6))]


def seen_as(lab, one, other, version, node) -> str:
    """How a ping of one to other looks on that node's cable: none, ipip or vxlan; never two of them."""
    source, target = one.ip_of(version), other.ip_of(version)
    with lab.capture(node, "eth0", f"({ENCAPSULATED}) or (src host {source} and dst host {target})", decode="vxlan") as seen:
        one.ping(target)
        inner = re.compile(rf"{re.escape(source)} > {re.escape(target)}: ICMP6?,? echo request")
        wait.until(lambda: any(inner.search(line) for line in seen.lines), f"{source} → {target} on {node.name}", 5,
                   detail=lambda: "\n".join(seen.lines))
        lines = [line for line in seen.lines if inner.search(line)]
    kinds = {"vxlan" if "VXLAN" in line else "none" if re.match(rf"\S+ IP6? {re.escape(source)} >", line) else "ipip" for line in lines}
    assert len(kinds) == 1, lines
    return kinds.pop()


def add(node, name, namespace="default"):
    return node.pod_add(f"{namespace}/{name}")


def choose(lab, node, name, *, four=(), six=()):
    """The Pod object, whose annotations name its pools."""
    notes = {f"cni.projectcalico.org/ipv{version}pools": json.dumps(names) for version, names in ((4, four), (6, six)) if names}
    lab.store.put(f"pod-{name}.json", manifest("Pod", name, "default", annotations=notes, spec={"nodeName": node.name, "containers": []}))


def inside(pod, number) -> bool:
    """Both of its addresses are of both()'s pools of that number."""
    return all(ipaddress.ip_address(pod.ip_of(version)) in ipaddress.ip_network(network) for version, network in
               ((4, f"10.{244 + number}.0.0/16"), (6, f"fd00:10:{244 + number}::/64")))


# -- racks --

def test_one_rack(cluster, eyes):
    """Three nodes of one network, no encapsulation and no BGP: routes by block data, plain packets."""
    lab = cluster("none", nodes=3)
    pods = [add(node, "pod-" + node.name) for node in lab.nodes]
    talk(*pods, versions=VERSIONS)
    for version in VERSIONS:
        assert seen_as(lab, pods[0], pods[2], version, lab.nodes[0]) == "none"
        assert pods[0].run(["ping", "-n", "-q", "-c", "1", "-W", "2", lab.outside.ip_of(version)])
    eyes(lab.nodes[0]).wait_no_problem()


def routers_way(node, destination) -> set:
    """Next hops of the kernel's route."""
    found = json.loads(node.run(["ip", "-j", "route", "show", "root", "10.244.0.0/16", "proto", "bird"]).stdout or "[]")
    route = next((r for r in found if "/" in r["dst"] and ipaddress.ip_address(destination) in ipaddress.ip_network(r["dst"])), {})
    return {hop["gateway"] for hop in route.get("nexthops", [route]) if "gateway" in hop}


def test_two_racks_by_bgp(cluster):
    """Routers that know nothing but what BGP tells them; every node an AS of its own. Pods reach each other as they are."""
    lab = cluster("none", nodes=3, underlay="routed", bgp=True)
    one, two, three = lab.nodes
    a, b, c = (add(node, "pod-" + node.name) for node in lab.nodes)
    talk(a, b, c, versions=VERSIONS)
    for version in VERSIONS:
        assert seen_as(lab, a, b, version, one) == seen_as(lab, a, b, version, two) == seen_as(lab, a, c, version, one) == "none"
    wait.until(lambda: routers_way(one, b.ip) == {"192.0.2.241", "192.0.2.242"}, "both routers lead to the other rack", 20)
    assert way(one, c.ip) == "eth0" and not routers_way(three, a.ip) & {two.ip}
    # What the routers know: their own networks, and blocks with the AS of the node that has them.
    for router in lab.routers:
        text = router.birdc("show", "route")
        assert re.search(r"via 203\.0\.113\.2 on eth1", text) and "AS64702" in text and "AS64701" in text
        connected = json.loads(router.run(["ip", "-j", "route", "show", "proto", "kernel"]).stdout)
        learnt = json.loads(router.run(["ip", "-j", "route", "show", "proto", "bird"]).stdout)
        everything = json.loads(router.run(["ip", "-j", "route"]).stdout)
        assert len(everything) == len(connected) + len(learnt)
        assert all(ipaddress.ip_network(route["dst"]).subnet_of(ipaddress.ip_network("10.244.0.0/16")) for route in learnt)
    # The rack's gateway, by which nodes reach each other, has never heard of pods.
    assert "10.244" not in lab.outside.run(["nsenter", f"--net={lab.underlay.path}", "ip", "route"], check=False).stdout


def test_a_router_dies(cluster):
    """No goodbye: BFD says it. Everything goes by the other one."""
    lab = cluster("none", underlay="routed", bgp=True)
    one, two = lab.nodes
    a, b = (add(node, "pod-" + node.name) for node in lab.nodes)
    talk(a, b, versions=VERSIONS)
    wait.until(lambda: len(routers_way(one, b.ip)) == len(routers_way(two, a.ip)) == 2, "both routers are in use", 20)
    lab.routers[0].unplug()
    wait.until(lambda: routers_way(one, b.ip) == {"192.0.2.242"} and routers_way(two, a.ip) == {"203.0.113.242"}, "the other router alone", 30)
    talk(a, b, versions=VERSIONS)


def test_a_node_dies(cluster):
    """Its blocks are withdrawn everywhere, nobody else's."""
    lab = cluster("none", nodes=3, underlay="routed", bgp=True)
    one, two, three = lab.nodes
    a, b, c = (add(node, "pod-" + node.name) for node in lab.nodes)
    talk(a, b, c, versions=VERSIONS)
    wait.until(lambda: len(routers_way(two, a.ip)) == len(routers_way(two, c.ip)) == 2, "node-2 has both from BGP", 20)
    three.unplug()
    wait.until(lambda: not routers_way(two, c.ip), "its block is gone from node-2", 30)
    for router in lab.routers:
        assert not routers_way(router, c.ip) and routers_way(router, a.ip) == {one.ip}
    assert len(routers_way(two, a.ip)) == 2
    talk(a, b, versions=VERSIONS)


@pytest.mark.parametrize("mode", ["ipip-subnet", "vxlan-subnet"])
def test_two_racks_without_bgp(cluster, mode):
    """CrossSubnet: plain inside a rack, encapsulated between, whatever the router knows."""
    lab = cluster(mode, nodes=3, underlay="routed")
    one, two, three = lab.nodes
    a, b, c = (add(node, "pod-" + node.name) for node in lab.nodes)
    talk(a, b, c, versions=VERSIONS)
    for version in VERSIONS:
        expected = pools.on_the_wire(mode, version, False)
        assert expected != "none"
        assert seen_as(lab, a, b, version, one) == seen_as(lab, b, c, version, two) == expected
        assert seen_as(lab, a, c, version, one) == seen_as(lab, c, a, version, three) == "none"


# -- pools --

def test_mixed_pools_on_one_node(cluster, eyes):
    """Three pools, three ways to travel, side by side."""
    lab = cluster([*both("plain"), *both("tunnel", 1, ipipMode="Always", more6={"vxlanMode": "Always"}), *both("overlay", 2, vxlanMode="Always")])
    one, two = lab.nodes
    found = {}
    for number, name in enumerate(("plain", "tunnel", "overlay")):
        for node in lab.nodes:
            choose(lab, node, f"{name}-{node.index}", four=[f"{name}-4"], six=[f"{name}-6"])
            pod = wait.until(lambda: add(node, f"{name}-{node.index}"), f"pod of {name}", 1)
            assert inside(pod, number), pod.ips
            found[name, node.index] = pod
    talk(*found.values(), versions=VERSIONS)
    for name, four, six in (("plain", "none", "none"), ("tunnel", "ipip", "vxlan"), ("overlay", "vxlan", "vxlan")):
        for version, expected in zip(VERSIONS, (four, six)):
            assert seen_as(lab, found[name, 1], found[name, 2], version, one) == expected
    # It is the destination's pool that says how.
    assert seen_as(lab, found["plain", 1], found["overlay", 2], 4, one) == "vxlan"
    assert seen_as(lab, found["overlay", 1], found["plain", 2], 4, one) == "none"
    blocks = {block["spec"]["cidr"] for block in objects(lab, "ipamblocks") if block["spec"]["affinity"] == "host:node-1"}
    assert len(blocks) == 6
    eyes(one).wait_no_problem()


def test_a_pod_that_may_only_use_one_pool(cluster):
    """A pool by request only, of four addresses: nobody else gets one, a fifth pod gets none from elsewhere, and one that goes makes room."""
    few = {"assignmentMode": "Manual", "natOutgoing": False}
    lab = cluster([*both("common"), pool("few-4", "10.245.0.0/30", blockSize=30, **few), pool("few-6", "fd00:10:245::/126", blockSize=126, **few)],
                  nodes=1, agent_args=["--address-rest=1"])
    node, = lab.nodes
    names = [f"only-{number}" for number in range(5)]
    for name in names:
        choose(lab, node, name, four=["few-4"], six=["few-6"])
    given = {name: add(node, name) for name in names[:4]}
    assert {pod.ip for pod in given.values()} == {f"10.245.0.{n}" for n in range(4)}
    others = [add(node, f"other-{number}") for number in range(3)]
    assert all(inside(pod, 0) for pod in others)
    with pytest.raises((CommandError, LabError), match="all blocks of its pools are full"):
        add(node, names[4])
    freed = given["only-1"].ip
    given["only-1"].delete()

    def fifth():
        return add(node, names[4])
    assert wait.until(fifth, "the address that came back", 40).ip == freed


def relabel(lab, node, rack) -> None:
    """As `kubectl label node` does, in the file that the agent annotates."""
    path = f"objects/nodes/{node.name}.json"
    found = wait.until(lambda: json.loads((lab.store.path / path).read_text()), f"{node.name}'s object", 10)
    found["metadata"].setdefault("labels", {})["rack"] = rack
    lab.store.put(path, json.dumps(found))


def comes_from(node, name, number):
    """A new pod of the node comes from both()'s pools of that number, once the agent has heard of the change."""
    count = iter(range(1000))

    def tried():
        pod = add(node, f"{name}-{next(count)}")
        if inside(pod, number):
            return pod
        pod.delete()
        return None
    return wait.until(tried, f"a pod of {node.name} from pool {number}", 15)


def test_node_selectors_that_change(cluster):
    """Labels of nodes and selectors of pools change while pods run: new pods follow, old ones keep their address and are reached."""
    def racks(a, b):
        return [*both("a", 0, nodeSelector=a), *both("b", 1, nodeSelector=b)]
    lab = cluster(racks("rack != 'b'", "rack == 'b'"), nodes=2)
    one, two = lab.nodes
    relabel(lab, one, "a")
    relabel(lab, two, "b")
    old, other = comes_from(one, "old", 0), comes_from(two, "other", 1)
    talk(old, other, versions=VERSIONS)
    relabel(lab, one, "b")
    moved = comes_from(one, "moved", 1)
    talk(old, moved, other, versions=VERSIONS)
    lab.store.put("pools.yaml", documents(racks("rack == 'b'", "rack == 'c'")))
    again = comes_from(two, "again", 0)
    talk(old, moved, other, again, versions=VERSIONS)
    assert inside(old, 0) and inside(moved, 1)


def test_the_uplink_is_followed(cluster):
    """Its MTU, then its address: the agents look at the kernel when it says something, not in each pass."""
    lab = cluster("vxlan", family="4")
    one, two = lab.nodes
    a, b = (add(node, "pod-" + node.name) for node in lab.nodes)
    talk(a, b)
    one.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    wait.until(lambda: json.loads(one.run(["ip", "-j", "link", "show", "vxlan.calico"]).stdout)[0]["mtu"] == 1350, "the tunnel's MTU", 10)
    one.run(["sh", "-ec", "ip address delete 192.0.2.1/24 dev eth0; ip address add 192.0.2.77/24 dev eth0\n"
             "ip route replace default via 192.0.2.254 dev eth0 src 192.0.2.77"])
    wait.until(lambda: "dst 192.0.2.77" in two.run(["bridge", "fdb", "show", "dev", "vxlan.calico"]).stdout, "the other node's way to it", 15,
               detail=lambda: one.log[-1500:])
    talk(a, b)
