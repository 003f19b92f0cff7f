# SPDX-License-Identifier: Apache-2.0
"""Host endpoints, from manifests in the store to packets: who reaches a node, whom it reaches, and what it passes on."""
import json
import socket

import pytest
from calico_words import manifest, pool
from tullelab import LabError, wait
from tullelab.pod import ask, serve

from test_policy import World, until
from test_policy_why import tullectl, watch  # noqa: F401 (a fixture)

OPEN, CLOSED, FAILSAFE, NODE_PORT, WEB = 7001, 7002, 22, 30080, 8080
HOST = "role == 'host'"


def reaches(place, where, port):
    try:
        ask(place, where, port, "tcp", 0.4, 0)
        return True
    except (OSError, LabError):
        return False


class Hosts(World):
    def host(self, node, interface="*", name=None, profiles=("projectcalico-default-allow",), **spec):
        name = name or f"{node.name}-hep"
        self.policies.add(name)
        self.lab.store.put(f"policy-{name}.json", manifest("HostEndpoint", name, None, "projectcalico.org/v3", labels={"role": "host"}, spec={
            "node": node.name, **({"interfaceName": interface} if interface else {}), "profiles": list(profiles), **spec}))

    def rules(self, name, **spec):
        self.put(name, "GlobalNetworkPolicy", selector=HOST, types=[word.capitalize() for word in ("ingress", "egress") if word in spec],
                 **spec)


@pytest.fixture(scope="module")
def world(request, built, make_lab):
    kind = getattr(request, "param", "host-gw")
    if kind == "pool":
        lab = make_lab(nodes=2, agents=False, agent_args=["--policy=on"])
        lab.store.put("pool.json", pool(vxlanMode="Always"))
        for node in lab.nodes:
            node.agent_start()
    else:
        lab = make_lab(nodes=2, backend=kind.removesuffix("-dual"), family="dual" if kind.endswith("-dual") else "4", agent_args=["--policy=on"])
    world = Hosts(lab)
    for node in lab.nodes:
        for port in (OPEN, CLOSED, FAILSAFE):
            node.serve(port)
    serve(lab.outside, "outside", OPEN)
    world.pod("shop/web", lab.nodes[0], {"app": "web"}, serve=(WEB, CLOSED))
    world.pod("shop/far", lab.nodes[1], {"app": "far"})
    return world


TUNNELS = pytest.mark.parametrize("world", ["host-gw", "host-gw-dual", "vxlan", "pool"], indirect=True, scope="module")


@pytest.fixture(autouse=True)
def clean(world):
    yield
    world.drop()


@pytest.fixture
def cast(world):
    """(lab, node, other node, pod of node, pod of other node)"""
    return world.lab, *world.lab.nodes, world.pods["shop/web"], world.pods["shop/far"]


def settles(expected, lab):
    """{(from, address, port): passes} comes true, all of it at once."""
    def wrong():
        return [(a.name, where, port) for (a, where, port), good in expected.items() if reaches(a, where, port) != good]
    wait.until(lambda: not wrong(), "as the policies say", 15,
               detail=lambda: str(wrong()) + lab.nodes[0].run(["nft", "list", "ruleset"]).stdout + lab.nodes[0].log[-1500:])


def usual(lab, node, other, web, far):
    """What no policy of a host endpoint may break."""
    return {key: True for at, here in zip(node.ips, web.ips, strict=False)
            for key in ((node, here, WEB), (web, at, CLOSED), (lab.outside, at, FAILSAFE))}


def test_a_profile_that_allows_changes_nothing(world, cast):
    lab, node, other, web, far = cast
    world.host(node)
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): True, (other, node.ip, CLOSED): True, (node, lab.outside.ip, OPEN): True,
             (far, web.ip, WEB): True, (web, far.ip, WEB): True}, lab)


@pytest.mark.parametrize("interface", ["*", "eth0", None])
def test_what_comes_in(world, cast, interface):
    lab, node, other, web, far = cast
    world.host(node, interface, expectedIPs=[node.ip])
    world.rules("in", ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [OPEN]}}])
    settles({**usual(*cast), (lab.outside, node.ip, OPEN): True, (lab.outside, node.ip, CLOSED): False, (other, node.ip, CLOSED): False,
             # what it asks for is answered, what it passes on is no matter of this policy, and other nodes are as they were
             (node, lab.outside.ip, OPEN): True, (far, web.ip, WEB): True, (web, far.ip, WEB): True, (web, lab.outside.ip, OPEN): True,
             (lab.outside, other.ip, CLOSED): True}, lab)
    world.drop()
    settles({(lab.outside, node.ip, CLOSED): True}, lab)


def test_what_the_node_sends(world, cast):
    lab, node, other, web, far = cast
    world.host(node)
    world.rules("out", egress=[{"action": "Deny", "destination": {"nets": [f"{lab.outside.ip}/32"]}}, {"action": "Allow"}])
    settles({**usual(*cast), (node, lab.outside.ip, OPEN): False, (node, other.ip, OPEN): True, (lab.outside, node.ip, CLOSED): True,
             (web, lab.outside.ip, OPEN): True}, lab)


@TUNNELS
def test_without_profile_or_policy_all_is_closed_but_failsafe_ports(world, cast):
    lab, node, other, web, far = cast
    world.host(node, profiles=())
    settles({**usual(*cast), **{(lab.outside, ip, CLOSED): False for ip in node.ips}, **{(node, ip, OPEN): False for ip in lab.outside.ips},
             **{(other, ip, OPEN): False for ip in node.ips}, **{(far, ip, WEB): True for ip in web.ips},
             **{(web, ip, WEB): True for ip in far.ips}}, lab)


@TUNNELS
def test_what_it_forwards(world, cast):
    lab, node, other, web, far = cast
    world.host(node)
    world.rules("forward", applyOnForward=True, ingress=[
        {"action": "Allow", "protocol": "TCP", "destination": {"ports": [WEB]}}])
    settles({**usual(*cast), (far, web.ip, WEB): True, (far, web.ip, CLOSED): False, (web, far.ip, WEB): True,
             (web, lab.outside.ip, OPEN): True, (lab.outside, node.ip, CLOSED): False}, lab)
    world.rules("forward", applyOnForward=True, egress=[{"action": "Deny", "destination": {"selector": "app == 'far'"}}, {"action": "Allow"}])
    settles({**usual(*cast), (web, far.ip, WEB): False, (far, web.ip, WEB): True, (web, lab.outside.ip, OPEN): True,
             (node, lab.outside.ip, OPEN): True}, lab)


def test_before_translation(world, cast):
    """A port of the node that leads to a pod, as a NodePort does: judged by what was asked for, and by what it became."""
    lab, node, other, web, far = cast
    node.run(["nft", "-f", "-"], input=f"""
        table ip nodeport {{
            chain before {{ type nat hook prerouting priority dstnat; ip daddr {node.ip} tcp dport {NODE_PORT} dnat to {web.ip}:{WEB}; }}
        }}""")
    try:
        world.host(node)
        settles({(lab.outside, node.ip, NODE_PORT): True}, lab)
        world.rules("early", applyOnForward=True, preDNAT=True, ingress=[
            {"action": "Deny", "protocol": "TCP", "source": {"nets": [f"{lab.outside.ip}/32"]}, "destination": {"ports": [NODE_PORT, CLOSED]}}])
        settles({**usual(*cast), (lab.outside, node.ip, NODE_PORT): False, (other, node.ip, NODE_PORT): True,
                 (lab.outside, node.ip, CLOSED): False, (lab.outside, node.ip, OPEN): True}, lab)
        world.drop("early")
        world.rules("late", applyOnForward=True, ingress=[{"action": "Deny", "protocol": "TCP", "destination": {"ports": [WEB]}},
                                                          {"action": "Allow"}])
        settles({**usual(*cast), (lab.outside, node.ip, NODE_PORT): False, (lab.outside, node.ip, OPEN): True}, lab)
    finally:
        node.run(["nft", "delete", "table", "ip", "nodeport"])


def test_early_and_by_name(world, cast):
    lab, node, other, web, far = cast
    world.host(node, "eth0", profiles=())
    outside = {"nets": [f"{lab.outside.ip}/32"]}
    world.rules("raw", applyOnForward=True, doNotTrack=True, ingress=[{"action": "Allow", "source": outside}])
    settles({**usual(*cast), (lab.outside, node.ip, OPEN): False}, lab)  # its answers are nobody's
    world.rules("raw", applyOnForward=True, doNotTrack=True, ingress=[{"action": "Allow", "source": outside}],
                egress=[{"action": "Allow", "destination": outside}])
    settles({**usual(*cast), (lab.outside, node.ip, OPEN): True, (other, node.ip, OPEN): False, (node, lab.outside.ip, OPEN): True}, lab)


def controllers(world, autoCreate="Enabled", **more):
    world.policies.add("controllers")
    world.lab.store.put("policy-controllers.json", manifest("KubeControllersConfiguration", "default", None, "projectcalico.org/v3", spec={
        "controllers": {"node": {"hostEndpoint": {"autoCreate": autoCreate, **more}}}}))


def tell_nodes(world, **labels):
    for node in world.lab.nodes:
        world.policies.add(f"node-{node.name}")
        world.lab.store.put(f"policy-node-{node.name}.json", manifest("Node", node.name, labels={"at": node.name, **labels}, status={
            "addresses": [{"type": "InternalIP", "address": ip} for ip in node.ips]}))


def test_automatic_host_endpoints(world, cast):
    """Every node has one by itself, with its Node's labels; it is a peer, too, and an object of its name counts instead."""
    lab, node, other, web, far = cast
    tell_nodes(world)
    controllers(world)
    world.put("first", "GlobalNetworkPolicy", selector=f"at == '{node.name}'", types=["Ingress"], ingress=[
        {"action": "Allow", "source": {"selector": f"at == '{other.name}' && has(projectcalico.org/created-by)"}}])
    world.policies.add("first")
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False, (other, node.ip, CLOSED): True, (lab.outside, other.ip, CLOSED): True,
             (node, lab.outside.ip, OPEN): True, (far, web.ip, WEB): True}, lab)
    tell_nodes(world, at="elsewhere")
    settles({(lab.outside, node.ip, CLOSED): True}, lab)
    tell_nodes(world)
    settles({(lab.outside, node.ip, CLOSED): False}, lab)
    world.host(node, "*", f"{node.name}-auto-hep")
    settles({(lab.outside, node.ip, CLOSED): True}, lab)
    world.drop(f"{node.name}-auto-hep")
    settles({(lab.outside, node.ip, CLOSED): False}, lab)
    controllers(world, "Disabled")
    settles({(lab.outside, node.ip, CLOSED): True}, lab)


def test_automatic_host_endpoints_by_templates(world, cast, eyes):
    lab, node, other, web, far = cast
    tell_nodes(world)
    controllers(world, createDefaultHostEndpoint="Disabled", templates=[
        {"generateName": "inner", "nodeSelector": f"at == '{node.name}'", "interfaceCIDRs": [f"{node.ip}/32"], "labels": {"role": "host"}},
        {"generateName": "other", "interfacePattern": "eth.*"}])
    world.rules("in", ingress=[])
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False, (lab.outside, other.ip, CLOSED): True}, lab)
    until(lambda: "templates[1].interfacePattern" in str(eyes(node).status()["problems"]), "a problem names the template", lab)


def test_a_profile_that_nobody_knows_denies_and_is_told(world, cast, eyes):
    lab, node, other, web, far = cast
    world.host(node, profiles=["mine"])
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False}, lab)
    until(lambda: '"mine"' in str(eyes(node).status()["problems"]), "a problem names the profile", lab)
    world.host(node)
    settles({(lab.outside, node.ip, CLOSED): True}, lab)
    until(lambda: "mine" not in str(eyes(node).status()["problems"]), "all right again", lab)


@pytest.mark.parametrize("world", ["host-gw", "pool"], indirect=True, scope="module")
def test_failsafe_ports_are_said_by_felix(world, cast):
    lab, node, other, web, far = cast
    world.host(node, profiles=())
    settles({(lab.outside, node.ip, CLOSED): False, (lab.outside, node.ip, FAILSAFE): True}, lab)
    world.policies.add("felix")
    for name, port in (("default", OPEN), (f"node.{node.name}", CLOSED)):
        lab.store.put("policy-felix.json", manifest("FelixConfiguration", name, None, "projectcalico.org/v3", spec={
            "failsafeInboundHostPorts": [{"protocol": "tcp", "port": port}], "failsafeOutboundHostPorts": []}))
        settles({(lab.outside, node.ip, one): one == port for one in (OPEN, CLOSED, FAILSAFE)}, lab)
    world.drop("felix")
    settles({(lab.outside, node.ip, CLOSED): False, (lab.outside, node.ip, FAILSAFE): True}, lab)


ECHO = ("import socket, threading\n"
        "def talk(c):\n while 1:\n  d = c.recv(99)\n  if not d: break\n  c.sendall(d)\n"
        "s = socket.create_server(('', 9000))\nprint('up', flush=True)\n"
        "while 1: threading.Thread(target=talk, args=(s.accept()[0],), daemon=True).start()\n")


def test_connections_that_stand_are_cut(world, cast):
    """Whoever began them, and go on when they are allowed again; answers to others pass."""
    lab, node, other, web, far = cast
    world.host(node)
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): True, (node, lab.outside.ip, OPEN): True, (far, web.ip, CLOSED): True}, lab)
    sinks = [place.daemon(["python3", "-c", ECHO], f"sink-{index}")
             for index, place in enumerate((node, lab.outside, web))]
    until(lambda: all("up" in sink.log for sink in sinks), "they listen", lab)
    try:
        with lab.outside.connect(node.ip, 9000, timeout=1) as comes, node.connect(lab.outside.ip, 9000, timeout=1) as leaves, \
                far.connect(web.ip, 9000, timeout=1) as crosses:
            def echoes(connection):
                connection.sendall(b"hello")
                try:
                    return bool(connection.recv(99))
                except socket.timeout:
                    return False

            def only_cut(cut):
                wait.until(lambda: [echoes(one) for one in (comes, leaves, crosses)] == [one is not cut for one in (comes, leaves, crosses)],
                           "one of them is cut" if cut else "they go on where they were", 40, detail=lambda: lab.nodes[0].log[-1500:])
            only_cut(None)
            from_outside, to_outside = ([{"action": "Deny", end: {"nets": [f"{lab.outside.ip}/32"]}}, {"action": "Allow"}]
                                        for end in ("source", "destination"))
            for cut, rules in ((comes, {"ingress": from_outside}), (leaves, {"egress": to_outside}), (crosses, {
                    "ingress": [{"action": "Deny", "source": {"selector": "app == 'far'"}}, {"action": "Allow"}], "applyOnForward": True})):
                world.rules("cut", **rules)
                only_cut(cut)
                world.drop("cut")
                only_cut(None)
    finally:
        for sink in sinks:
            sink.stop()


def test_why(world, cast, watch):
    """Log lines, drops and explain name the host endpoint."""
    lab, node, other, web, far = cast
    world.host(node, "eth0", "gate")
    world.rules("out", egress=[{"action": "Log", "destination": {"nets": [f"{lab.outside.ip}/32"]}},
                               {"action": "Deny", "destination": {"nets": [f"{lab.outside.ip}/32"]}}, {"action": "Allow"}])
    world.rules("in", ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [OPEN]}}])
    settles({(node, lab.outside.ip, OPEN): False, (lab.outside, node.ip, CLOSED): False, (lab.outside, node.ip, OPEN): True}, lab)
    until(lambda: f"egress of host endpoint gate at eth0: TCP from {node.ip}" in node.log, "a line names it", lab)
    seen = watch(node)

    def dropped():
        assert not reaches(node, lab.outside.ip, OPEN)
        return next((drop for drop in seen.drops() if drop["reason"] == "host"), None)
    drop = wait.until(dropped, "a drop is shown", 20)
    assert drop["why"]["hostEndpoint"] == "gate" and drop["why"]["policy"] == "GlobalNetworkPolicy out" and drop["why"]["rule"] == "egress[1]"
    assert (drop["from"]["name"], drop["to"]["ip"], drop["interface"], drop["direction"]) == (node.name, lab.outside.ip, "eth0", "egress")

    def explained(source, target, port):
        return json.loads(tullectl(node, "-o", "json", "policy", "explain", source, target, f"tcp/{port}", check=False).stdout)["flows"][0]
    said = explained(f"node:{node.name}", lab.outside.ip, OPEN)
    assert not said["allowed"] and said["egress"]["hostEndpoint"] == "gate" and said["egress"]["rule"] == "egress[1]"
    said = explained(lab.outside.ip, f"node:{node.name}", CLOSED)
    assert not said["allowed"] and said["ingress"]["hostEndpoint"] == "gate" and said["ingress"]["reason"] == "tier-end"
    said = explained(lab.outside.ip, f"node:{node.name}", OPEN)
    assert said["allowed"] and said["ingress"]["rule"] == "ingress[0]"
    said = explained(lab.outside.ip, f"node:{node.name}", FAILSAFE)
    assert said["allowed"] and said["ingress"]["reason"] == "failsafe"
    assert "host endpoint gate: tier default" in tullectl(node, "policy", "explain", lab.outside.ip, f"node:{node.name}", f"tcp/{CLOSED}",
                                                          check=False).stdout


WATCH = """table inet watch {
    chain in { type filter hook input priority 0; tcp dport 7001 ct state untracked counter; tcp dport 7001 ct state != untracked counter; }
    chain out { type filter hook output priority 0; tcp sport 7001 ct state untracked counter; tcp sport 7001 ct state != untracked counter; }
}"""


def counted(node):
    rules = json.loads(node.run(["nft", "-j", "list", "table", "inet", "watch"]).stdout)["nftables"]
    return [part["counter"]["packets"] for rule in rules for part in rule.get("rule", {}).get("expr", ()) if "counter" in part]


def test_what_is_allowed_untracked_is_not_tracked(world, cast):
    """Both directions, if both are allowed; failsafe ports are."""
    lab, node, other, web, far = cast
    world.host(node, "eth0")
    outside = {"nets": [f"{lab.outside.ip}/32"]}
    world.rules("raw", applyOnForward=True, doNotTrack=True, ingress=[
        {"action": "Allow", "protocol": "TCP", "source": outside, "destination": {"ports": [OPEN, FAILSAFE]}}], egress=[
        {"action": "Allow", "protocol": "TCP", "destination": outside, "source": {"ports": [OPEN]}}])
    node.run(["nft", "-f", "-"], input=WATCH)

    def untracked():
        node.run(["nft", "-f", "-"], input="delete table inet watch\n" + WATCH)
        reaches(lab.outside, node.ip, OPEN)
        counts = counted(node)
        return counts[0] and counts[2] and not counts[1] and not counts[3]
    try:
        settles({**usual(*cast), (lab.outside, node.ip, OPEN): True, (lab.outside, node.ip, FAILSAFE): True}, lab)
        wait.until(untracked, "nothing of it is tracked", 20, detail=lambda: str(counted(node)) + node.run(["nft", "list", "table", "inet", "tulle"]).stdout)
        settles({(lab.outside, node.ip, OPEN): True, (other, node.ip, OPEN): True, (node, lab.outside.ip, OPEN): True}, lab)
        assert counted(node)[1] > 0, "what others send is tracked"
    finally:
        node.run(["nft", "delete", "table", "inet", "watch"])


def test_a_host_endpoint_is_a_peer(world, cast):
    lab, node, other, web, far = cast
    world.host(other, "eth0", expectedIPs=[other.ip])
    world.policies.add("peer")
    world.put("peer", "GlobalNetworkPolicy", selector="app == 'web'", types=["Ingress"], ingress=[
        {"action": "Allow", "source": {"selector": HOST}}])
    settles({(far, web.ip, WEB): False, (node, web.ip, WEB): True}, lab)


def test_connections_outlive_the_agent_and_it_stays_closed(world, cast):
    lab, node, other, web, far = cast
    world.host(node, profiles=())
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False}, lab)
    node.agent_kill()
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False}, lab)
    node.agent_start()
    settles({**usual(*cast), (lab.outside, node.ip, CLOSED): False}, lab)
    world.drop()
    settles({(lab.outside, node.ip, CLOSED): True, (node, lab.outside.ip, OPEN): True}, lab)


def test_rules_about_the_own_side_deny_and_say_so(world, cast, eyes):
    lab, node, other, web, far = cast
    world.host(node)
    world.rules("own", applyOnForward=True, ingress=[{"action": "Allow", "destination": {"nets": ["10.0.0.0/8"]}}])
    settles({**usual(*cast), (far, web.ip, WEB): False}, lab)
    until(lambda: "cannot be told" in str(eyes(node).status()["problems"]), "a problem names the policy", lab)
