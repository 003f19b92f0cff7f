# SPDX-License-Identifier: Apache-2.0
"""Seeing why: drops as they happen, told only while somebody watches, and flows explained by the agent."""
import json
import signal

import pytest
from calico_words import manifest, pool
from test_policy import LABELS, OTHER, WEB, World, reaches
from tullelab import wait

STATE = "/sys/fs/bpf/tulle/policy/maps-1/state"


@pytest.fixture(scope="module", params=["host-gw", "pool"])
def world(request, built, make_lab):
    """Without masquerade, host-gw; and a pool with vxlan, masqueraded."""
    if request.param == "pool":
        lab = make_lab(nodes=2, agents=False, agent_args=["--policy=on"])
        lab.store.put("pool.json", pool(vxlanMode="Always", natOutgoing=True))
        for node in lab.nodes:
            node.agent_start()
    else:
        lab = make_lab(nodes=2, backend="host-gw", agent_args=["--policy=on"])
    world = World(lab)
    world.pooled = request.param == "pool"
    one, two = lab.nodes
    world.pod("shop/web", one, LABELS["shop/web"], serve=(WEB, OTHER))
    world.pod("shop/client", one, LABELS["shop/client"])
    world.pod("shop/far", two, LABELS["shop/far"], serve=(WEB, OTHER))
    world.pod("bank/client", two, LABELS["bank/client"])
    return world


@pytest.fixture
def rules(world):
    """Denies by default, one rule allows, one denies by name. Goes again."""
    world.policy("closed", select={"app": "web"}, policyTypes=["Ingress"])
    world.policy("friends", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
                                                             "ports": [{"port": WEB, "protocol": "TCP"}]}])
    world.put("sealed", "GlobalNetworkPolicy", order=10, selector="app == 'client' && projectcalico.org/namespace == 'bank'",
              types=["Egress"], egress=[{"action": "Deny", "protocol": "TCP", "destination": {"ports": [OTHER]}}, {"action": "Allow"}])
    p = world.pods
    for a, b, port, passes in ((p["shop/client"], p["shop/web"], WEB, True), (p["shop/client"], p["shop/web"], OTHER, False),
                               (p["shop/client"], p["shop/far"], WEB, True), (p["bank/client"], p["shop/far"], OTHER, False)):
        wait.until(lambda: reaches(a, b.ip, port) == passes, f"{a.name} to {b.name}:{port}", 15, detail=lambda: b.node.log[-1500:])
    for node in world.lab.nodes:
        wait.until(lambda: status(node)["settled"], f"{node.name}: settled", 10)
    yield world
    world.drop()


def status(node) -> dict:
    return json.loads(tullectl(node, "-o", "json", "status", check=False).stdout)["policy"]


def watchers(node) -> int:
    return status(node)["watchers"]


def tullectl(node, *words, check=True):
    return node.run([f"{node.lab.build}/tullectl", *words], check=check)


class Watch:
    """tullectl drops --follow, once it is there."""

    def __init__(self, node, *words, text=False):
        self.node, before = node, watchers(node)
        self.process = node.spawn([f"{node.lab.build}/tullectl", *([] if text else ["-o", "json"]), "drops", "--follow", *words])
        wait.until(lambda: watchers(node) == before + 1 or not self.process.running, "it watches", 10)

    def drops(self) -> list:
        return [drop for drop in map(json.loads, self.process.lines) if "reason" in drop]

    def not_shown(self) -> int:
        return sum(line.get("notShown", 0) for line in map(json.loads, self.process.lines))

    def wait(self, yes, what="the drop is shown") -> dict:
        return wait.until(lambda: next((drop for drop in self.drops() if yes(drop)), None), what, 10, detail=lambda: self.process.output)

    def stop(self):
        before = watchers(self.node)
        self.process.stop()
        wait.until(lambda: watchers(self.node) < before, "nobody watches any more", 10)


@pytest.fixture
def watch():
    made = []

    def make(*args, **more):
        made.append(Watch(*args, **more))
        return made[-1]
    yield make
    for one in made:
        if one.process.running:
            one.process.stop()
    for node in {one.node for one in made}:
        wait.until(lambda: watchers(node) == 0, "nobody watches any more", 10)


def programs_tell(node) -> bool:
    """The flag in the programs' own map."""
    dumped = json.loads(node.run(["bpftool", "-j", "map", "dump", "pinned", STATE]).stdout)
    return bytes(int(byte, 16) for byte in dumped[0]["value"])[8] != 0


def is_web(drop) -> bool:
    return drop.get("protocol") == "TCP" and drop["to"].get("port") in (WEB, OTHER)


# -- drops --

def test_a_drop_says_who_and_why(rules, watch):
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    assert not programs_tell(web.node), "nobody watches yet"
    seen = watch(web.node)
    assert programs_tell(web.node)
    assert not reaches(client, web.ip, OTHER)
    drop = seen.wait(is_web)
    assert drop["from"] == {"kind": "pod", "name": "shop/client", "ip": client.ip, "port": drop["from"]["port"]}
    assert drop["to"] == {"kind": "pod", "name": "shop/web", "ip": web.ip, "port": OTHER}
    assert (drop["reason"], drop["direction"]) == ("ingress", "ingress") and "ingress policy" in drop["means"]
    why = drop["why"]
    assert (why["allowed"], why["reason"], why["tier"]) == (False, "tier-end", "default")
    assert why["policies"] == ["NetworkPolicy shop/closed", "NetworkPolicy shop/friends"]
    seen.stop()
    assert not programs_tell(web.node)
    assert not reaches(client, web.ip, OTHER) and len(seen.drops()) == len([d for d in seen.drops() if d["time"] >= drop["time"]])


def test_the_rule_and_the_other_node(rules, watch):
    """Egress is judged at the sender's node: it names the receiver, which lives elsewhere."""
    stranger, web = rules.pods["bank/client"], rules.pods["shop/web"]
    seen, text = watch(stranger.node), watch(stranger.node, text=True)
    assert not reaches(stranger, web.ip, OTHER)
    drop = seen.wait(is_web)
    assert (drop["from"]["name"], drop["to"]["name"], drop["reason"], drop["direction"]) == ("bank/client", "shop/web", "egress", "egress")
    assert (drop["why"]["policy"], drop["why"]["rule"]) == ("GlobalNetworkPolicy sealed", "egress[0]")
    assert drop["why"]["says"].startswith("deny TCP")
    line = text.process.wait_line(lambda line: "bank/client" in line, 10)
    assert f"egress bank/client ({stranger.ip}:" in line and f"shop/web ({web.ip}:{OTHER}) TCP: tier default, GlobalNetworkPolicy sealed" in line


def test_several_watch_what_they_want(rules, watch):
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    of_client, of_far, by_source = (watch(web.node, *words) for words in (["--pod=shop/client"], ["--pod", "shop/far"], ["--reason=source"]))
    one = watch(web.node, "-n", "1", "--pod=shop/web", "--reason", "ingress")
    assert watchers(web.node) == 4
    client.run(["ip", "address", "add", "203.0.113.9/32", "dev", "lo"])
    try:
        client.run(["ping", "-n", "-c", "1", "-W", "0.2", "-I", "203.0.113.9", web.ip], check=False)
    finally:
        client.run(["ip", "address", "del", "203.0.113.9/32", "dev", "lo"])
    assert not reaches(client, web.ip, OTHER)
    forged = by_source.wait(lambda drop: drop["from"].get("ip") == "203.0.113.9")
    assert forged["from"]["name"] == "shop/client" and forged["why"] is None and "not the pod's" in forged["means"]
    assert (forged["protocol"], forged["type"]) == ("ICMP", 8)
    assert of_client.wait(is_web) and {drop["reason"] for drop in by_source.drops()} == {"source"}
    assert one.process.wait(10) == 0 and [drop["to"]["name"] for drop in one.drops()] == ["shop/web"]
    assert of_far.drops() == []


FLOOD = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])):
    out.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
"""


def counted(node) -> int:
    return sum(one["packets"] for one in json.loads(tullectl(node, "-o", "json", "drops").stdout)["drops"])


def test_who_does_not_read_holds_up_nobody(rules, watch):
    """A flood before a watcher that is stopped: the agent answers, and what was left out is a number."""
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    before = counted(web.node)
    seen, quick = watch(web.node), watch(web.node, "--pod=shop/client", "-n", "20")
    seen.process.signal(signal.SIGSTOP)
    client.run(["/usr/bin/python3", "-c", FLOOD, web.ip, "9", "20000"])
    assert status(web.node)["state"] == "on" and quick.process.wait(10) == 0
    assert reaches(client, web.ip), "and packets pass"
    seen.process.signal(signal.SIGCONT)
    wait.until(lambda: len(seen.drops()) + seen.not_shown() == counted(web.node) - before >= 20000, "each is shown or counted", 20,
               detail=lambda: f"{len(seen.drops())} + {seen.not_shown()}, {counted(web.node) - before}")
    assert seen.not_shown() > 0


def test_a_watcher_that_is_killed_leaves_nothing(rules, watch):
    node = rules.pods["shop/web"].node
    seen = watch(node)
    seen.process.signal(signal.SIGKILL)
    wait.until(lambda: watchers(node) == 0, "it is forgotten", 10)
    assert not programs_tell(node)


def test_counts(rules):
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    reaches(client, web.ip, OTHER)
    table = tullectl(web.node, "drops").stdout.splitlines()
    assert table[0].split() == ["REASON", "PACKETS", "BYTES", "MEANING"]
    line, = [line for line in table if line.startswith("ingress ")]
    assert int(line.split()[1]) > 0 and line.endswith("denied by ingress policy of the receiver")
    assert len(tullectl(web.node, "drops", "--reason=ingress").stdout.splitlines()) == 2


@pytest.mark.parametrize("words, code, told", [
    (["-n", "3"], 2, "-n needs --follow"), (["--pod=a/b"], 2, "--pod needs --follow"), (["--follow", "-n", "0"], 2, "1 or more"),
    (["--follow", "--reason=rain"], 1, "expected one of unknown, ingress"), (["--follow", "--pod=web"], 1, "NAMESPACE/NAME"),
    (["--reason=rain"], 2, "no reason"), (["rain"], 2, "usage:")])
def test_wrong_words(world, words, code, told):
    done = tullectl(world.lab.nodes[0], "drops", *words, check=False)
    assert done.returncode == code and told in done.stderr and not done.stdout


# -- explain --

def explain(node, *question):
    """The flow of the answer, and the text that people see."""
    told = tullectl(node, "-o", "json", "policy", "explain", *question)
    flow, = json.loads(told.stdout)["flows"]
    return flow, tullectl(node, "policy", "explain", *question).stdout


def test_explain_within_a_node(rules):
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    flow, text = explain(web.node, "shop/client", "shop/web", f"TCP/{WEB}")
    assert flow["allowed"] and (flow["from_ip"], flow["to_ip"]) == (client.ip, web.ip)
    assert flow["egress"]["reason"] == "no-policy"
    side = flow["ingress"]
    assert (side["reason"], side["policy"], side["rule"], side["here"]) == ("rule", "NetworkPolicy shop/friends", "ingress[0]", True)
    assert flow["path"] == [web.node.name] and flow["way"]["kind"] == "same-node"
    assert flow["way"]["from"] != flow["way"]["to"] and flow["way"]["to"] in web.node.run(["ip", "route", "get", web.ip]).stdout
    assert text.startswith(f"shop/client ({client.ip}) -> shop/web ({web.ip}), TCP port {WEB}: allowed\n")
    assert f"path: {web.node.name}: within the node" in text
    flow, text = explain(web.node, "shop/client", web.ip, f"TCP/{OTHER}")
    assert not flow["allowed"] and flow["ingress"]["policies"] == ["NetworkPolicy shop/closed", "NetworkPolicy shop/friends"]
    assert "denied by default" in text and "NetworkPolicy shop/closed, NetworkPolicy shop/friends" in text


def test_explain_across_nodes(rules):
    stranger, web = rules.pods["bank/client"], rules.pods["shop/web"]
    flow, text = explain(stranger.node, "bank/client", "shop/web", f"TCP/{OTHER}")
    assert not flow["allowed"]
    assert (flow["egress"]["policy"], flow["egress"]["rule"]) == ("GlobalNetworkPolicy sealed", "egress[0]")
    assert flow["egress"]["here"] and not flow["ingress"]["here"] and flow["ingress"]["node"] == web.node.name
    assert flow["path"] == [stranger.node.name, web.node.name]
    way = flow["way"]
    assert (way["kind"], way["encapsulation"], way["node"]) == ("route", "vxlan" if rules.pooled else "none", web.node.name)
    assert way["device"] in stranger.node.run(["ip", "route", "get", web.ip]).stdout and not way["masqueraded"]
    if rules.pooled:
        assert way["device"] == "vxlan.calico" and "in vxlan, device vxlan.calico" in text
    else:
        assert way["via"] == web.node.ip and f"next hop {web.node.ip}" in text
    assert f"judged on node {web.node.name}" in text and "which applies to" in text
    # the receiver's node says the same of it, and does not know the way
    flow, text = explain(web.node, "bank/client", "shop/web", f"TCP/{OTHER}")
    assert not flow["egress"]["allowed"] and not flow["egress"]["here"] and flow["way"]["kind"] == "from-outside"


def test_explain_what_is_no_pod(rules):
    client, web = rules.pods["shop/client"], rules.pods["shop/web"]
    here, there = web.node, rules.pods["shop/far"].node
    flow, _ = explain(here, here.name, "shop/web", f"TCP/{OTHER}")
    assert flow["allowed"] and flow["ingress"]["reason"] == "own-node"
    # where only leases tell of nodes, others have no names
    flow, _ = explain(here, f"node:{there.name}" if rules.pooled else there.ip, "shop/web", f"TCP/{WEB}")
    assert not flow["allowed"] and flow["ingress"]["reason"] == "tier-end"
    flow, text = explain(here, "shop/client", rules.lab.outside.ip, "UDP/53")
    assert flow["allowed"] and flow["ingress"]["reason"] == "no-pod" and flow["path"] == [here.name, "outside"]
    assert flow["way"]["masqueraded"] is True and "masqueraded" in text
    flow, _ = explain(here, rules.lab.outside.ip, "shop/web", "ICMP")
    assert not flow["allowed"] and flow["path"] == ["outside", here.name]
    assert explain(here, "shop/web", "shop/web", "TCP/80")[0]["ingress"]["reason"] == "self"


def test_explain_knows_no_such_pod(rules):
    node = rules.pods["shop/web"].node
    done = tullectl(node, "policy", "explain", "shop/wep", "bank/client", "TCP/80", check=False)
    assert done.returncode == 1 and '"shop/wep"' in done.stderr and "shop/web" in done.stderr
    done = tullectl(node, "policy", "explain", "web", "bank/client", "TCP/80", check=False)
    assert done.returncode == 1 and "no such node" in done.stderr
    done = tullectl(node, "policy", "explain", "shop/web", "bank/client", "TCP", check=False)
    assert done.returncode == 2 and "TCP/80" in done.stderr


def test_without_policy(built, make_lab):
    lab = make_lab(nodes=1, backend="host-gw", agent_args=["--policy=off"])
    lab.store.put("namespace-shop.json", manifest("Namespace", "shop"))
    for words in (["drops"], ["drops", "--follow"], ["policy", "explain", "a/b", "c/d", "TCP/80"]):
        done = tullectl(lab.nodes[0], *words, check=False)
        assert done.returncode == 1 and "--policy is off" in done.stderr and not done.stdout
