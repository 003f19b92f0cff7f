# SPDX-License-Identifier: Apache-2.0
"""tullectl path: what it says of a flow is how the flow goes, as packets and counters show it."""
import json

import pytest
from calico_words import manifest, pool
from express_words import KINDS, ON, PORT, Watch, counts, furnish, ping_once, ping_pong, ready, serve
from tullelab import wait

TCP = f"TCP/{PORT}"


def tullectl(node, *words, check=True):
    return node.run([f"{node.lab.build}/tullectl", *words], check=check)


def path(node, *words) -> tuple:
    """The flow of the answer, and the text that people see."""
    flow, = json.loads(tullectl(node, "-o", "json", "path", *words).stdout)["flows"]
    return flow, tullectl(node, "path", *words).stdout


def goes(node, how, *words) -> dict:
    """The answer, once it says so."""
    def answer():
        flow, _ = path(node, *words)
        return flow if flow["data_path"]["path"] == how else None
    return wait.until(answer, f"{node.name}: path {' '.join(words)} is {how}", 10, detail=lambda: path(node, *words)[1])


def ends(node, flow, device, *words):
    """What the answer says of the route is what the kernel says."""
    assert f" dev {device} " in node.run(["ip", "route", "get", flow["to_ip"]]).stdout
    assert f"device {device}" in path(node, *words)[1]


@pytest.fixture(scope="module", params=list(KINDS))
def lab(request, built, make_lab):
    lab = furnish(make_lab(nodes=2, agent_args=ON, **KINDS[request.param]))
    lab.kind = request.param
    ready(lab)
    return lab


# --- between nodes ---

def test_an_express_flow_and_its_packets(lab):
    one, two = lab.nodes
    words = ("default/a", lab.b.ip, TCP)
    flow = goes(one, "express", *words)
    found = flow["data_path"]
    assert (found["encapsulation"], found["device"], found["to"]) == (lab.kind, "eth0", two.ip)
    assert (flow["from_end"]["kind"], flow["from_end"]["node"], flow["to_end"]["kind"]) == ("pod", one.name, "pod-address")
    assert flow["to_end"]["node"] in (two.name, two.ip)
    assert flow["way"]["encapsulation"] == lab.kind
    ends(one, flow, flow["way"]["device"], *words)
    with lab.a.connect(lab.b.ip, PORT) as connection, Watch(one) as seen:
        ping_pong(connection)
        port = connection.getsockname()[1]
        mine = lambda: [each for each in path(one, *words)[0]["data_path"]["flows"] if each["from_port"] == port]
        assert [(each["path"], each["state"], each["judged"], each["to_port"]) for each in mine()] == [("express", "established", True, PORT)]
        text = path(one, *words)[1]
        assert f"from port {port}: express, established" in text and text.startswith(f"default/a ({lab.a.ip}) -> {lab.b.ip}") and ": by the express path\n" in text
        theirs = path(two, lab.a.ip, "default/b", TCP)[0]
        assert theirs["data_path"]["path"] == "express" and theirs["way"]["kind"] == "from-outside"
        assert [each["path"] for each in theirs["data_path"]["flows"] if each["from_port"] == port] == ["express"]
    assert seen["out"] > 0
    wait.until(lambda: not mine() or mine()[0]["state"] == "closing", "it is seen to close", 5)


def test_what_takes_the_kernels_path_says_why(lab):
    one, two = lab.nodes
    for words, why in ((("default/a", lab.b.ip, "ICMP"), "only TCP and UDP"), ((one.name, lab.b.ip, TCP), "begin in its stack"),
                       (("default/a", one.name, TCP), "own stack receives it"), (("default/a", "198.51.100.77", TCP), "the receiver is no pod"),
                       (("default/a", "default/a", TCP), "stays in the pod")):
        flow, text = path(one, *words)
        assert flow["data_path"]["path"] == "kernel" and why in flow["data_path"]["why"] and f"kernel: {flow['data_path']['why']}" in text
    flow, text = path(one, lab.b.ip, two.ip, TCP)
    assert flow["data_path"]["path"] == "elsewhere" and "ask on the sender's" in text


def test_nobody_has_the_address(lab):
    flow, text = path(lab.nodes[0], "default/a", "10.244.255.77", TCP)
    assert flow["data_path"]["path"] == "none" and "no pod has such an address" in text


def test_pods_of_one_node(lab):
    one = lab.nodes[0]
    near = one.pod_add("near")
    serve(near)
    words = ("default/a", "default/near", TCP)
    flow = goes(one, "express", *words)
    assert flow["data_path"]["interface"] == flow["to_end"]["interface"] and "within this node" in path(one, *words)[1]
    with lab.a.connect(near.ip, PORT) as connection, Watch(one) as seen:
        ping_pong(connection)
        assert [each["path"] for each in path(one, *words)[0]["data_path"]["flows"] if each["state"] == "established"] == ["express"]
    assert seen["local"] > 0
    near.delete()
    assert tullectl(one, "path", *words, check=False).returncode == 1


def test_a_pod_whose_packets_wait_in_a_queue(lab):
    one = lab.nodes[0]
    slow = one.pod_add("slow", bandwidth={"ingressRate": 100_000_000, "ingressBurst": 1_000_000})
    flow, _ = path(one, "default/a", "default/slow", TCP)
    assert flow["data_path"]["path"] == "kernel" and "bandwidth limit" in flow["data_path"]["why"]
    slow.delete()


def test_policy_denies(lab):
    one = lab.nodes[0]
    lab.store.put("policy-shut.json", manifest("GlobalNetworkPolicy", "shut", None, "projectcalico.org/v3",
                                               spec={"types": ["Egress"], "egress": [{"action": "Deny", "destination": {"nets": [f"{lab.b.ip}/32"]}},
                                                                                     {"action": "Allow"}]}))
    flow = goes(one, "none", "default/a", lab.b.ip, TCP)
    assert not flow["allowed"] and flow["egress"]["policy"] == "GlobalNetworkPolicy shut"
    assert "policy denies it" in path(one, "default/a", lab.b.ip, TCP)[1]
    lab.store.delete("policy-shut.json")
    goes(one, "express", "default/a", lab.b.ip, TCP)
    wait.until(lambda: lab.a.ping(lab.b.ip, check=False, timeout=1).returncode == 0, "pods talk again", 10)


@pytest.mark.parametrize("words, code, told", [
    ([], 2, "usage: tullectl path FROM TO"), (["a"], 2, "usage:"), (["default/a", "default/nobody"], 1, "no such pod"),
    (["default/a", "nowhere"], 1, "no such node"), (["default/a", "10.244.1.9", "FOO"], 2, "expected TCP/80"),
    (["default/a", "fd00::1"], 2, "no address of such a family"), (["default/a", "10.244.1.9", "--family=5"], 2, "expected 4 or 6"),
    (["default/a", "10.244.1.9", "--rain"], 2, "none of its flags")])
def test_wrong_words(lab, words, code, told):
    done = tullectl(lab.nodes[0], "path", *words, check=False)
    assert done.returncode == code and told in done.stderr and not done.stdout


# --- other clusters ---

def test_both_families_of_a_pool_across_subnets(built, make_lab):
    """Plain inside a rack, encapsulated between racks; nodes by their names."""
    lab = make_lab(nodes=3, agents=False, agent_args=ON, underlay="routed", family="dual")
    for version, cidr in ((4, "10.244.0.0/16"), (6, "fd00:10:244::/64")):
        lab.store.put(f"pool-{version}.json", pool(f"pool-{version}", cidr, vxlanMode="CrossSubnet"))
    for node in lab.nodes:
        node.agent_start(ready=False)
    for node in lab.nodes:
        node.agent_ready()
    pods = [node.pod_add(f"p{i}") for i, node in enumerate(lab.nodes)]
    seen = {}
    for i, one in enumerate(lab.nodes):
        for j, other in enumerate(lab.nodes):
            for family in (4, 6):
                if i == j:
                    continue
                flow, _ = wait.until(lambda: (lambda found: found if found[0]["to_end"].get("node") == other.name else None)(
                    path(one, f"default/p{i}", pods[j].ip_of(family), TCP)), f"{one.name} knows whose block it is", 10)
                device = json.loads(one.run(["ip", "-j", f"-{family}", "route", "get", pods[j].ip_of(family)]).stdout)[0]["dev"]
                assert flow["way"]["device"] == device and flow["way"]["encapsulation"] == ("vxlan" if "vxlan" in device else "none")
                seen.setdefault((one.name, other.name), set()).add(flow["way"]["encapsulation"])
    assert all(len(kinds) == 1 for kinds in seen.values()) and {kind for kinds in seen.values() for kind in kinds} == {"none", "vxlan"}
    both = json.loads(tullectl(lab.nodes[0], "-o", "json", "path", "default/p0", lab.nodes[0].name, TCP).stdout)["flows"]
    assert [":" in flow["from_ip"] for flow in both] == [False, True]
    assert len(json.loads(tullectl(lab.nodes[0], "-o", "json", "path", "default/p0", lab.nodes[0].name, TCP, "--family=6").stdout)["flows"]) == 1


def test_outside_with_the_nodes_address(built, make_lab):
    lab = make_lab(nodes=1, backend="host-gw", agent_args=[*ON, "--ip-masq"])
    one, = lab.nodes
    a = one.pod_add("a")
    flow, text = path(one, "default/a", lab.outside.ip, "TCP/8080")
    assert flow["way"]["masqueraded"] and "NAT" in text and flow["data_path"]["path"] == "kernel"
    assert a.ask(lab.outside.ip).client == one.ip


@pytest.mark.parametrize("how, why", [("--express-path=disabled", "--express-path is disabled"), ("--policy=off", "policy is off")])
def test_without_the_express_path(built, make_lab, how, why):
    lab = furnish(make_lab(nodes=2, backend="vxlan", agent_args=[how]))
    one, two = lab.nodes
    flow, text = path(one, "default/a", lab.b.ip, TCP)
    assert flow["allowed"] and flow["data_path"]["path"] == "kernel" and why in flow["data_path"]["why"] and why in text
    assert (flow["way"]["device"], flow["to_end"]["node"], flow["way"]["underlay"]["to"]) == ("flannel.1", two.ip, two.ip)
    ping_once(lab)
    assert not any(counts(one).values())
    done = tullectl(one, "path", "default/b", lab.a.ip, check=False)
    assert done.returncode == 1 and "give the address" in done.stderr
