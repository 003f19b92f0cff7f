# SPDX-License-Identifier: Apache-2.0
"""Everybody reaches everybody: backends × families × underlays × stores, in sensible pairs."""

from dataclasses import dataclass

import pytest

from tullelab import LabError, until
from tullelab.address import families, url_host

# (backend, family, underlay, store): each backend with each family on each underlay it can serve, each backend with both stores
MATRIX = [
    ("vxlan", "4", "flat", "directory"), ("vxlan", "6", "flat", "etcd"), ("vxlan", "dual", "flat", "directory"),
    ("vxlan", "4", "routed", "etcd"), ("vxlan", "6", "routed", "directory"), ("vxlan", "dual", "routed", "etcd"),
    ("udp", "4", "flat", "etcd"), ("udp", "6", "flat", "directory"), ("udp", "dual", "flat", "etcd"),
    ("udp", "4", "routed", "directory"), ("udp", "6", "routed", "etcd"), ("udp", "dual", "routed", "directory"),
    ("host-gw", "4", "flat", "directory"), ("host-gw", "6", "flat", "etcd"), ("host-gw", "dual", "flat", "directory"),
]
# bytes that the encapsulation adds, by the family of the underlay address that peers use
OVERHEAD = {"vxlan": {4: 50, 6: 70}, "udp": {4: 28, 6: 48}, "host-gw": {4: 0, 6: 0}}
PORT = 8080


@dataclass
class Cluster:
    lab: object
    families: tuple
    a: object  # on node-1
    near: object  # on node-1 as well
    b: object  # on node-2

    @property
    def pods(self):
        return self.a, self.near, self.b


@pytest.fixture(scope="module", params=MATRIX, ids="-".join)
def cluster(request, built):
    from tullelab import Lab

    backend, family, underlay, store = request.param
    with Lab(backend=backend, family=family, underlay=underlay, store=store) as lab:
        node1, node2 = lab.nodes
        made = Cluster(lab, families(family), node1.pod_add("a"), node1.pod_add("near"), node2.pod_add("b"))
        for place in (*made.pods, *lab.nodes):
            place.serve(PORT)
        # a node may become ready before its peer has its lease: the first packet waits, the tests do not
        for family in made.families:
            until(lambda: made.a.ask(made.b.ip_of(family), PORT, timeout=0.5), f"IPv{family} between the nodes", 10)
        yield made


def reach(client, server, family, seen_as, name=None):
    """TCP, UDP and ping from client to server; the server sees the client's address."""
    target = server.ip_of(family)
    for protocol in ("tcp", "udp"):
        answer = client.ask(target, PORT, protocol)
        assert answer.server == (name or server.name)
        if seen_as:
            assert answer.client == seen_as, f"{protocol} to {target}"
    client.ping(target)


def test_addresses(cluster):
    """One of each family, of the node's own subnet, as the lease says."""
    for pod in cluster.pods:
        assert [6 if ":" in ip else 4 for ip in pod.ips] == list(cluster.families)
    assert len({ip for pod in cluster.pods for ip in pod.ips}) == 3 * len(cluster.families)
    assert len(cluster.lab.store.leases()) == 2


def test_pods_of_different_nodes(cluster):
    """Both directions, without masquerade."""
    for family in cluster.families:
        reach(cluster.a, cluster.b, family, cluster.a.ip_of(family))
        reach(cluster.b, cluster.a, family, cluster.b.ip_of(family))


def test_pods_of_the_same_node(cluster):
    for family in cluster.families:
        reach(cluster.a, cluster.near, family, cluster.a.ip_of(family))
        reach(cluster.near, cluster.a, family, cluster.near.ip_of(family))


def test_node_to_pod_and_pod_to_node(cluster):
    """Own pods and remote ones: kubelet probes, host-network pods."""
    for family in cluster.families:
        for node in cluster.lab.nodes:
            for pod in (cluster.a, cluster.b):
                reach(node, pod, family, None)
                reach(pod, node, family, None)


def test_outside_sees_the_nodes_address(cluster):
    outside = cluster.lab.outside
    for family in cluster.families:
        for pod in (cluster.a, cluster.b):
            reach(pod, outside, family, pod.node.ip_of(family), "outside")


def test_full_size_packets(cluster):
    """What the pod's MTU promises, the path carries; one byte more does not leave the pod."""
    lab = cluster.lab
    most = lab.mtu - min(OVERHEAD[lab.backend][family] for family in cluster.families)
    least = lab.mtu - max(OVERHEAD[lab.backend][family] for family in cluster.families)
    for pod in cluster.pods:
        assert least <= pod.mtu <= most
    for family in cluster.families:
        for client, server in ((cluster.a, cluster.b), (cluster.b, cluster.a), (cluster.a, cluster.near)):
            target = server.ip_of(family)
            client.ping(target, size=client.mtu, dont_fragment=True)
            assert client.ping(target, size=client.mtu + 1, dont_fragment=True, check=False, timeout=0.1).returncode != 0
            assert client.ask(target, PORT, "udp", size=4000).length == 4000  # fragments
            assert client.ask(target, PORT, "tcp", size=500_000).server == server.name


def test_what_is_on_the_wire(cluster):
    """The backend's own encapsulation, and nothing of the pods in the clear beside it."""
    lab, node1 = cluster.lab, cluster.lab.nodes[0]
    for family in cluster.families:
        source, target = cluster.a.ip_of(family), cluster.b.ip_of(family)
        outer = url_host(node1.ip_of(family)).strip("[]")
        with lab.capture(node1, "eth0", f"host {lab.nodes[1].ip_of(family)} or host {target}",
                         decode="vxlan" if lab.backend == "vxlan" else None) as seen:
            cluster.a.ask(target, PORT)
            if lab.backend == "vxlan":
                line = seen.wait_line("VXLAN, flags [I]", "vni 1", f"{source}.", f"> {target}.{PORT}")
                assert f" {outer}." in line and ".8472:" in line
            elif lab.backend == "udp":
                seen.wait_line(f"{outer}.8285", ".8285: UDP")
            else:
                seen.wait_line(f"{source}.", f"> {target}.{PORT}")
            if lab.backend != "host-gw":
                assert not [line for line in seen.lines if line.split()[2].startswith(source)]


@pytest.mark.parametrize("family", ["4", "6"])
def test_host_gw_refuses_peers_behind_a_router(built, family):
    """It says so, names the peer, and programs no route that would lead nowhere."""
    from tullelab import Lab

    with Lab(backend="host-gw", underlay="routed", family=family) as lab:
        node1, node2 = lab.nodes
        a, b = node1.pod_add("a"), node2.pod_add("b")
        b.serve(PORT)
        for node, peer in ((node1, node2), (node2, node1)):
            until(lambda: any("on-link" in line and peer.ip in line for line in node.log.splitlines()),
                  f"{node.name} says that {peer.ip} is not on-link", 10, detail=lambda: node.log[-2000:])
        subnet = b.ip.rpartition("." if family == "4" else "::")[0]
        assert subnet not in node1.run(["ip", f"-{family}", "route", "show", "table", "all"]).stdout
        with pytest.raises((OSError, LabError)):
            a.ask(b.ip, PORT, timeout=0.3)


def test_alloc_gives_addresses_and_nothing_else(built):
    from tullelab import Lab

    with Lab(backend="alloc") as lab:
        a, near = lab.nodes[0].pod_add("a"), lab.nodes[0].pod_add("near")
        near.serve(PORT)
        assert a.ask(near.ip, PORT).client == a.ip
        assert len(lab.store.leases()) == 2
        assert not [line for line in lab.nodes[0].run(["ip", "route"]).stdout.splitlines() if lab.nodes[1].ip in line.split()]
