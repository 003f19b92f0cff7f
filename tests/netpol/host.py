# SPDX-License-Identifier: Apache-2.0
"""HostEndpoints, as their resource reference tells them (calico.md 2.10, 7.5, 7.6, 7.10): which policies judge what a node
exchanges with others, and what becomes of what no policy decides. Shares nothing with the engine."""
import ipaddress

import world as w

FAILSAFES = {
    "ingress": {(6, 22), (17, 68), (6, 179), (6, 2379), (6, 2380), (6, 5473), (6, 6443), (6, 6666), (6, 6667)},
    "egress": {(17, 53), (17, 67), (6, 179), (6, 2379), (6, 2380), (6, 5473), (6, 6443), (6, 6666), (6, 6667)},
}


class Host:
    """As the other policies see an endpoint: of no namespace, with labels of its own."""
    namespace = account = None

    def __init__(self, raw):
        spec = raw["spec"]
        self.name, self.labels = raw["metadata"]["name"], raw["metadata"].get("labels") or {}
        self.node, self.interface = spec["node"], spec.get("interfaceName")
        self.ips = [ipaddress.ip_address(ip) for ip in spec.get("expectedIPs") or []]
        self.ports = [(port["name"], port["protocol"], port["port"]) for port in spec.get("ports") or []]
        # one that is not there denies, and the first that has rules decides
        self.open = next((name for name in spec.get("profiles") or [] if not name.startswith("ksa.")), "") == "projectcalico-default-allow"

    @property
    def everywhere(self):
        return self.interface == "*"


def hosts(world):
    return [Host(raw) for raw in world.objects if raw["kind"] == "HostEndpoint"]


def host_of(found, node):
    """The first by name of those with an interface or addresses, else of those of all interfaces."""
    mine = sorted((host for host in found if host.node == node), key=lambda host: (host.everywhere, host.name))
    return mine[0] if mine else None


def is_about(policy, traffic):
    spec = getattr(policy, "spec", {}) if not hasattr(policy, "raw") else {}
    track, dnat, forward = (bool(spec.get(key)) for key in ("doNotTrack", "preDNAT", "applyOnForward"))
    return {"untracked": track, "prednat": dnat, "forward": forward and not track and not dnat,
            "local": not track and not dnat}[traffic]


def asks_own_side(policy, direction, traffic):
    """Whose addresses of the own side it asks for cannot be told where a host has several, or only passes something on; nor
    can names of ports there."""
    own = "destination" if direction == "ingress" else "source"
    keys = ("nets", "notNets", "selector", "notSelector", "namespaceSelector", "serviceAccounts", "services")
    entities = [rule.get(own) or {} for rule in policy.spec.get(direction) or []]
    named = [port for entity in entities for key in ("ports", "notPorts") for port in entity.get(key) or []
             if isinstance(port, str) and not port[0].isdigit()]
    return any(entity.get(key) for entity in entities for key in keys) or (traffic != "local" and bool(named))


def answer(ranked, policies, host, traffic, direction, flow):
    """allow, deny, or None: no policy decides."""
    unsettled = traffic != "local" or not host.ips or len({ip.version for ip in host.ips}) != len(host.ips)
    for tier, default_pass in ranked:
        own = [policy for policy in policies if policy.tier == tier and is_about(policy, traffic) and policy.selects(direction, host)]
        word = None
        for policy in own:
            word = "deny" if unsettled and asks_own_side(policy, direction, traffic) else policy.decide(direction, host, flow)
            if word:
                break
        if word in ("allow", "deny"):
            return word
        if own and word is None and not default_pass and traffic in ("local", "forward"):
            return "deny"
    return None


def judge(ranked, policies, host, direction, forwarded, flow):
    safe = (flow.protocol, flow.dport) in FAILSAFES[direction]
    if not safe and not host.everywhere and host.interface:
        word = answer(ranked, policies, host, "untracked", direction, flow)
        if word and not forwarded:
            return word == "allow"
        if word:  # what is allowed early and forwarded is judged once more
            return word == "allow" and answer(ranked, policies, host, "forward", direction, flow) != "deny"
    if not safe and direction == "ingress":
        word = answer(ranked, policies, host, "prednat", direction, flow)
        if word == "deny" or (word == "allow" and not forwarded):
            return word == "allow"
    if forwarded:
        return answer(ranked, policies, host, "forward", direction, flow) != "deny"
    return safe or (answer(ranked, policies, host, "local", direction, flow) or ("allow" if host.open else "deny")) == "allow"


def node_of(world, end):
    """(node or None, is a pod that policy is about)."""
    if end.startswith("node:"):
        return end[5:], False
    pod = world.pods.get(end)
    return (pod.node, not pod.host) if pod else (None, False)


def passes(world, ranked, policies, probe, direction):
    """At the interface of the node where this end is, if the other one is elsewhere."""
    found = hosts(world)
    (node, forwarded), (other, _) = (node_of(world, probe[end]) for end in (("from", "to") if direction == "egress" else ("to", "from")))
    flow = w.Flow(world, probe)
    if not found or node is None or node == other or flow.exempt:
        return True
    host = host_of(found, node)
    return host is None or judge(ranked, policies, host, direction, forwarded, flow)
