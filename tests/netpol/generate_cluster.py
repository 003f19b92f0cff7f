# SPDX-License-Identifier: Apache-2.0
"""The part of generate.py that makes ClusterNetworkPolicies."""


class Maker:
    def __init__(self, rng, world, block, selector, pod_labels, space_labels, names, ports):
        self.rng, self.world, self.names, self.ports = rng, world, names, ports
        self.make_block, self.selector = block, selector
        self.pod_labels, self.space_labels = pod_labels, space_labels

    def pods(self):
        """A subject, or a peer: all pods of namespaces, or chosen ones of them."""
        spaces = self.selector(self.rng, self.space_labels)
        if self.rng.random() < 0.5:
            return {"namespaces": spaces}
        return {"pods": {"namespaceSelector": spaces, "podSelector": self.selector(self.rng, self.pod_labels)}}

    def peer(self, egress):
        if egress and self.rng.random() < 0.3:
            return {"networks": [self.make_block(self.rng, self.world) for _ in range(self.rng.randint(1, 2))]}
        return self.pods()

    def protocol(self):
        if self.rng.random() < 0.25:
            return {"destinationNamedPort": self.rng.choice(self.names)}
        first = self.rng.choice(self.ports)
        last = min(65535, first + self.rng.choice((1, 3, 400, 65535)))
        port = self.rng.choice(({"number": first}, {"number": first}, {"range": {"start": first, "end": last}}, None))
        if port == {"range": {"start": last, "end": last}}:
            port = {"number": last}
        return {self.rng.choice(("tcp", "udp", "sctp")): {} if port is None else {"destinationPort": port}}

    def rule(self, egress):
        said = {"action": self.rng.choice(("Accept", "Deny", "Pass")),
                "to" if egress else "from": [self.peer(egress) for _ in range(self.rng.randint(1, 3))]}
        if self.rng.random() < 0.5:
            said["protocols"] = [self.protocol() for _ in range(self.rng.randint(1, 3))]
        if self.rng.random() < 0.3:
            said["name"] = "why"
        return said

    def policy(self, name, priority):
        spec = {"tier": self.rng.choice(("Admin", "Baseline")), "priority": priority, "subject": self.pods()}
        for key in self.rng.choice((("ingress",), ("egress",), ("ingress", "egress"))):
            spec[key] = [self.rule(key == "egress") for _ in range(self.rng.randint(1, 3))]
        return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                "metadata": {"name": name}, "spec": spec}


def policies(rng, world, *words):
    """Of priorities of their own: what happens among equal ones the API leaves open."""
    maker = Maker(rng, world, *words)
    count = rng.randint(1, 5)
    return [maker.policy(f"a{i}", priority) for i, priority in enumerate(rng.sample(range(0, 1001), count))]
