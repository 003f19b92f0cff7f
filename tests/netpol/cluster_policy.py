# SPDX-License-Identifier: Apache-2.0
"""ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), as its API documentation tells it: tiers Admin and Baseline
around the others, ordered by priority, first match wins."""
import world as w

TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
ANSWERS = {"Accept": "allow", "Deny": "deny", "Pass": "pass"}


class ClusterPolicy:
    def __init__(self, world, raw):
        self.world, self.spec = world, raw["spec"]
        self.tier, self.order = TIERS[self.spec["tier"]], float(self.spec["priority"])
        self.key = f"{raw['metadata']['name']}//ClusterNetworkPolicy"

    def selects(self, direction, pod):
        """A policy is about the directions for which it has rules."""
        return bool(self.spec.get(direction)) and self.pods_match(self.spec["subject"], pod)

    def pods_match(self, said, pod):
        """namespaces, or pods with both selectors."""
        labels = self.world.namespaces.get(pod.namespace, {})
        if said.get("namespaces") is not None:
            return w.label_selector(said["namespaces"], labels)
        pods = said["pods"]
        return w.label_selector(pods.get("namespaceSelector") or {}, labels) and \
            w.label_selector(pods.get("podSelector") or {}, pod.labels)

    def decide(self, direction, pod, flow):
        for rule in self.spec.get(direction) or []:
            if self.rule_matches(rule, direction, flow):
                return ANSWERS[rule["action"]]
        return None

    def rule_matches(self, rule, direction, flow):
        peers = rule["from" if direction == "ingress" else "to"]
        return any(self.peer_matches(peer, flow.remote(direction)) for peer in peers) and \
            (not rule.get("protocols") or any(self.protocol_matches(item, flow) for item in rule["protocols"]))

    def peer_matches(self, peer, address):
        if peer.get("networks") is not None:
            return any(w.in_cidr(self.world, address, net) for net in peer["networks"])
        pod = self.world.by_ip.get(address)
        return pod is not None and self.pods_match(peer, pod)

    def protocol_matches(self, said, flow):
        if said.get("destinationNamedPort"):
            pod = self.world.by_ip.get(flow.dst)
            return pod is not None and any(
                name == said["destinationNamedPort"] and w.PROTOCOLS[protocol] == flow.protocol and port == flow.dport
                for name, protocol, port in pod.ports)
        for word in ("tcp", "udp", "sctp"):
            if said.get(word) is None:
                continue
            port = said[word].get("destinationPort")
            if w.PROTOCOLS[word.upper()] != flow.protocol:
                return False
            if not port:
                return True
            if port.get("range"):
                return port["range"]["start"] <= flow.dport <= port["range"]["end"]
            return port["number"] == flow.dport
        return False
