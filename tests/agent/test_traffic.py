# SPDX-License-Identifier: Apache-2.0
"""Masquerade and its exceptions, forward rules beside Docker's, DirectRouting, hairpin, MTU, address changes."""
import pytest
from tullelab import wait

ECHO = 8080


@pytest.fixture(scope="module")
def lab(built, make_lab):
    lab = make_lab(nodes=2)
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two").serve(ECHO)
    return lab


def test_only_what_leaves_the_cluster_is_masqueraded(lab):
    one, two = lab.pod("one"), lab.pod("two")
    assert one.ask(lab.outside.ip).client == lab.nodes[0].ip
    assert one.ask(two.ip).client == one.ip


def test_host_to_remote_pod_comes_from_the_tunnel_address(lab, eyes):
    """Rule 6 of reference/flannel.md 5.1, which Flannel's own nftables mode never reaches."""
    seen = lab.nodes[0].ask(lab.pod("two").ip).client
    assert seen == eyes(lab.nodes[0]).own_subnet().split("/")[0]


def test_an_excluded_destination_sees_the_pod(lab):
    node = lab.nodes[0]
    node.agent_restart(["--non-masquerade-cidr", "198.51.100.0/24", "--non-masquerade-cidr", "10.0.0.0/8"])
    try:
        rules = node.run(["nft", "list", "table", "inet", "tulle"]).stdout
        assert "198.51.100.0/24" in rules
        with lab.capture(node, "eth0", "tcp port 8080") as seen:
            with pytest.raises(OSError):
                lab.pod("one").ask(lab.outside.ip, timeout=0.5)  # nobody routes the answer back in this lab
            seen.wait_line(f"{lab.pod('one').ip}.", lab.outside.ip)
    finally:
        node.agent_restart()
    assert lab.pod("one").ask(lab.outside.ip).client == node.ip


def test_an_address_without_a_pod_does_not_leave_the_node(lab, eyes):
    one = lab.pod("one")
    nobody = eyes(lab.nodes[0]).own_subnet().rsplit(".", 1)[0] + ".200"
    with lab.capture(lab.nodes[0], "eth0", f"host {nobody}") as seen:
        assert one.ping(nobody, check=False, timeout=0.3).returncode != 0
        one.ping(lab.outside.ip)
        assert not seen.lines


def test_marked_packets_are_left_to_kube_proxy(lab):
    rules = lab.nodes[0].run(["nft", "list", "table", "inet", "tulle"]).stdout
    assert "0x00004000" in rules and "fully-random" in rules


def test_never_a_moment_without_rules(lab, eyes):
    """While the agent restarts again and again, no connection leaves with a pod's address."""
    node = lab.nodes[0]
    with lab.capture(node, "eth0", f"src host {lab.pod('one').ip} and dst host {lab.outside.ip}") as seen:
        for _ in range(5):
            node.agent_restart()
            assert lab.pod("one").ask(lab.outside.ip).client == node.ip
        assert not seen.lines


@pytest.mark.parametrize("chain", ["FORWARD", "DOCKER-USER"])
def test_a_foreign_forward_chain_that_drops(built, make_lab, eyes, chain):
    lab = make_lab(nodes=2, agents=False)
    node = lab.nodes[1]
    lines = ["iptables-nft -P FORWARD DROP"]
    if chain == "DOCKER-USER":
        lines += ["iptables-nft -N DOCKER-USER", "iptables-nft -A DOCKER-USER -j RETURN", "iptables-nft -I FORWARD -j DOCKER-USER"]
    node.run(["sh", "-ec", "\n".join(lines)])
    lab.agents_start()
    one, two = lab.nodes[0].pod_add("one"), lab.nodes[1].pod_add("two")
    wait.until(lambda: one.ping(two.ip, timeout=1), "pods talk past the foreign chain", 10)
    rules = node.run(["iptables-nft", "-S", chain]).stdout
    assert rules.count("tulle") == 2
    assert chain in eyes(node).status()["forwardNote"]
    node.agent_restart()
    assert node.run(["iptables-nft", "-S", chain]).stdout.count("tulle") == 2
    node.agent_stop()
    two.delete()
    eyes(node).ctl("cleanup", "--yes")
    assert "tulle" not in node.run(["iptables-nft", "-S"]).stdout


def test_direct_routing(built, make_lab, eyes, converged):
    lab = make_lab(nodes=3, underlay="routed", net_conf={"Backend": {"Type": "vxlan", "DirectRouting": True}})
    converged(lab)
    routes = eyes(lab.nodes[0]).routes()
    ways = {route.get("dev") for dst, route in routes.items() if dst.endswith("/24")}
    assert ways == {"eth0", "flannel.1"}  # node-3 stands in the same rack, node-2 in the other
    pods = [node.pod_add(f"p{node.index}") for node in lab.nodes]
    for a in pods:
        for b in pods:
            if a is not b:
                a.ping(b.ip)


def test_hairpin(lab):
    """A pod reaches itself by its own address, and a pod of the same node too."""
    one = lab.pod("one")
    one.serve(7070)
    assert one.ask(one.ip, 7070).client == one.ip
    other = lab.nodes[0].pod_add("other")
    assert other.ask(one.ip, 7070).client == other.ip


def test_a_changed_node_address_is_published_and_followed(built, make_lab, eyes, converged):
    lab = make_lab(nodes=2, net_conf={"Backend": {"Type": "vxlan"}})
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    converged(lab)
    a.ping(b.ip)
    subnet = eyes(two).own_subnet()
    two.run(["sh", "-ec", "ip addr del 192.0.2.2/24 dev eth0; ip addr add 192.0.2.99/24 dev eth0; ip route replace default via 192.0.2.254"])
    wait.until(lambda: eyes(two).status()["uplink"]["publicIP"] == "192.0.2.99", "the new address is published", 10,
               detail=lambda: two.log[-1500:])
    wait.until(lambda: "192.0.2.99" in eyes(one).fdb().values() and "192.0.2.2" not in eyes(one).fdb().values(),
               "the peer follows", 10)
    wait.until(lambda: a.ping(b.ip, timeout=1), "pods talk again", 10)
    assert eyes(two).own_subnet() == subnet


def test_mtu_follows_the_uplink(built, make_lab, eyes):
    lab = make_lab(nodes=1, mtu=9000)
    node = lab.nodes[0]
    assert "FLANNEL_MTU=8950" in node.read("/run/flannel/subnet.env")
    node.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    wait.until(lambda: "FLANNEL_MTU=1350" in node.read("/run/flannel/subnet.env"), "subnet.env follows")
    wait.until(lambda: eyes(node).link()["mtu"] == 1350, "the device follows")
