# SPDX-License-Identifier: Apache-2.0
"""Slow and plain: networking.k8s.io/v1 NetworkPolicy as its API documentation tells it. Shares no thought with the engine
under test: no compilation, no classes; every probe looks at every policy."""
import world as w


def types(spec):
    """policyTypes; unsaid: Ingress, and Egress if there are egress rules."""
    said = spec.get("policyTypes")
    if said:
        return {word.lower() for word in said}
    return {"ingress", "egress"} if spec.get("egress") else {"ingress"}


def peer_matches(world, namespace, peer, address):
    """One of from or to."""
    if peer.get("ipBlock") is not None:
        block = peer["ipBlock"]
        return w.in_cidr(world, address, block["cidr"]) and \
            not any(w.in_cidr(world, address, cidr) for cidr in block.get("except") or [])
    pod = world.by_ip.get(address)
    if pod is None:
        return False
    if peer.get("namespaceSelector") is None:
        if pod.namespace != namespace:
            return False
    elif not w.label_selector(peer["namespaceSelector"], world.namespaces.get(pod.namespace, {})):
        return False
    return w.label_selector(peer.get("podSelector") or {}, pod.labels)


def port_matches(world, port, flow):
    """One of ports. A name means what the pod that receives calls so."""
    protocol = port.get("protocol") or "TCP"
    if w.PROTOCOLS[protocol] != flow.protocol:
        return False
    number = port.get("port")
    if number is None:
        return True
    if isinstance(number, str):
        pod = world.by_ip.get(flow.dst)
        return pod is not None and (number, protocol, flow.dport) in pod.ports
    return number <= flow.dport <= (port.get("endPort") or number)


def rule_matches(world, namespace, direction, rule, flow):
    peers = rule.get("from" if direction == "ingress" else "to")
    ports = rule.get("ports")
    return (not peers or any(peer_matches(world, namespace, peer, flow.remote(direction)) for peer in peers)) and \
        (not ports or any(port_matches(world, port, flow) for port in ports))


def selects(policy, direction, pod):
    spec = policy["spec"]
    return policy["metadata"]["namespace"] == pod.namespace and direction in types(spec) and \
        w.label_selector(spec.get("podSelector") or {}, pod.labels)


def allows(world, policy, direction, flow):
    return any(rule_matches(world, policy["metadata"]["namespace"], direction, rule, flow)
               for rule in policy["spec"].get(direction) or [])


def side(world, direction, pod, flow):
    """A pod that no policy selects is open; else what any of its policies allows."""
    mine = [policy for policy in world.objects if selects(policy, direction, pod)]
    return not mine or any(allows(world, policy, direction, flow) for policy in mine)


def evaluate(raw, probes):
    """Answers in the order of the probes."""
    world = w.World(raw)
    return [w.judge(world, probe, lambda *args: side(world, *args)) for probe in probes]
