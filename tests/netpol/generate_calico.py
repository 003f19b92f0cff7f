# SPDX-License-Identifier: Apache-2.0
"""The part of generate.py that makes Calico's objects: tiers, network sets, service accounts, slices, policies."""
import ipaddress

API = "projectcalico.org/v3"
WITH_PORTS = ("TCP", "UDP", "SCTP", "UDPLite")
TIERS = ("default", "default", "sec", "ops", "nobody", "kube-admin", "kube-baseline")
ACCOUNTS = ("default", "robot")
SOURCE_PORTS = (1024, 40000, 50000)
ICMP_TYPES = (0, 3, 8, 128)


def flow(rng, family):
    shape = rng.random()
    if shape < 0.15:
        return {"protocol": "ICMP" if family == 4 else "ICMPv6", "port": 0, "type": rng.choice(ICMP_TYPES),
                "code": rng.choice((0, 1))}
    if shape < 0.22:
        return {"protocol": rng.choice((47, 50)), "port": 0}
    return {"protocol": rng.choice(WITH_PORTS[:3] + WITH_PORTS), "port": rng.choice((53, 79, 80, 81, 82, 443, 8080)),
            "source_port": rng.choice(SOURCE_PORTS)}


class Maker:
    def __init__(self, rng, world, block, pod_labels, space_labels, names, ports):
        self.rng, self.world, self.names, self.ports = rng, world, names, ports
        self.make_block = lambda: block(rng, world)
        self.pod_labels, self.space_labels = pod_labels, space_labels

    def chance(self, share):
        return self.rng.random() < share

    def expression(self, vocabulary, depth=2):
        rng = self.rng
        if depth and self.chance(0.3):
            inner = [self.expression(vocabulary, depth - 1) for _ in range(2)]
            return "(" + rng.choice((" && ", " || ")).join(inner) + ")"
        if self.chance(0.12):
            return "!" + ("(" + self.expression(vocabulary, 0) + ")")
        if self.chance(0.12):
            return "all()"
        key = rng.choice(list(vocabulary))
        value = rng.choice(vocabulary[key])
        both = ", ".join(f"'{item}'" for item in vocabulary[key][:2])
        return rng.choice((f"has({key})", f"{key} == '{value}'", f'{key} != "{value}"', f"{key} in {{{both}}}",
                           f"{key} not in {{{both}}}", f"{key} contains '{value[:1]}'", f"{key} starts with '{value[:2]}'",
                           f"{key} ends with '{value[-1:]}'"))

    def pods(self):
        extra = {"projectcalico.org/namespace": ("n0", "n1"), "pcns.team": ("red", "blue"), "role": ("set",)}
        return self.expression(self.pod_labels if self.chance(0.8) else {**self.pod_labels, **extra})

    def nets(self):
        return [self.make_block() for _ in range(self.rng.randint(1, 3))]

    def not_nets(self):
        return [net for net in self.nets() if not net.endswith("/0")]

    def entity(self, with_ports, source):
        said = {}
        if self.chance(0.2):
            said["nets"] = self.nets()
        if self.chance(0.15) and (nets := self.not_nets()):
            said["notNets"] = nets
        if self.chance(0.3):
            said["selector"] = self.pods()
        if self.chance(0.15):
            said["notSelector"] = self.pods()
        if self.chance(0.15):
            said["namespaceSelector"] = "global()" if self.chance(0.1) else self.expression(self.space_labels, 1)
        if self.chance(0.1):
            said["serviceAccounts"] = self.accounts()
        self.add_ports(said, with_ports, source)
        if not source and self.chance(0.05):
            return {"services": {"name": "svc", "namespace": self.rng.choice(self.world["namespaces"])["name"]}}
        return said

    def accounts(self):
        said = {"names": [self.rng.choice(ACCOUNTS)]} if self.chance(0.6) else {}
        if not said or self.chance(0.4):
            said["selector"] = self.expression({"duty": ("day", "night")}, 1)
        return said

    def add_ports(self, said, with_ports, source):
        if not with_ports:
            return
        if self.chance(0.1 if source else 0.45):
            said["ports"] = self.port_list(source)
        if self.chance(0.1):
            said["notPorts"] = self.port_list(source)

    def port_list(self, source):
        rng, found = self.rng, []
        for _ in range(rng.randint(1, 3)):
            port = rng.choice(SOURCE_PORTS if source else self.ports)
            last = min(65535, port + rng.choice((0, 1, 3, 400, 20000)))
            found.append(rng.choice((port, f"{port}:{last}", rng.choice(self.names))))
        return found

    def rule(self):
        rng, said = self.rng, {"action": self.rng.choice(("Allow", "Allow", "Deny", "Pass", "Log"))}
        if self.chance(0.12):
            said["ipVersion"] = rng.choice((4, 6))
        with_ports, shape = False, rng.random()
        if shape < 0.45:
            said["protocol"] = rng.choice(WITH_PORTS + (6, 17))
            with_ports = True
        elif shape < 0.6:
            self.add_icmp(said)
        elif shape < 0.65:
            said["protocol"] = rng.choice((47, 50))
        if self.chance(0.08) and "protocol" not in said:
            said["notProtocol"] = rng.choice(WITH_PORTS + ("ICMP", 47))
        for key in ("source", "destination"):
            entity = self.entity(with_ports, key == "source")
            if entity:
                said[key] = entity
        return said

    def add_icmp(self, said):
        said["ipVersion"] = self.rng.choice((4, 6))
        said["protocol"] = "ICMP" if said["ipVersion"] == 4 else "ICMPv6"
        for key in ("icmp", "notICMP"):
            if self.chance(0.5):
                said[key] = {"type": self.rng.choice(ICMP_TYPES)}
                if self.chance(0.5):
                    said[key]["code"] = self.rng.choice((0, 1))

    def policy(self, name):
        rng = self.rng
        spec = {"types": rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))}
        if self.chance(0.9):
            spec["order"] = rng.choice((-5, 0, 1.5, 10, 999, 1001, 2000))
        if self.chance(0.7):
            spec["tier"] = rng.choice(TIERS)
        if self.chance(0.5):
            spec["selector"] = self.pods()
        if self.chance(0.15):
            spec["serviceAccountSelector"] = self.expression({"duty": ("day", "night")}, 1)
        for key in ("ingress", "egress"):
            if key.capitalize() in spec["types"] and self.chance(0.85):
                spec[key] = [self.rule() for _ in range(rng.randint(0, 3))]
        meta = {"name": name}
        if self.chance(0.5):
            meta["namespace"] = rng.choice(self.world["namespaces"])["name"]
        elif self.chance(0.3):
            spec["namespaceSelector"] = self.expression(self.space_labels, 1)
        kind = "NetworkPolicy" if "namespace" in meta else "GlobalNetworkPolicy"
        return {"apiVersion": API, "kind": ("Staged" if self.chance(0.05) else "") + kind, "metadata": meta, "spec": spec}

    def tier(self, name):
        spec = {"order": self.rng.choice((1, 50, 5000, 2000000))} if self.chance(0.8) else {}
        if self.chance(0.5):
            spec["defaultAction"] = self.rng.choice(("Pass", "Deny"))
        return {"apiVersion": API, "kind": "Tier", "metadata": {"name": name}, "spec": spec}

    def network_set(self, name):
        meta = {"name": name, "labels": {"role": "set", "app": self.rng.choice("ab")}}
        if self.chance(0.5):
            meta["namespace"] = self.rng.choice(self.world["namespaces"])["name"]
        kind = "NetworkSet" if "namespace" in meta else "GlobalNetworkSet"
        return {"apiVersion": API, "kind": kind, "metadata": meta, "spec": {"nets": self.nets()}}

    def account(self, space, name):
        labels = {"duty": self.rng.choice(("day", "night"))} if self.chance(0.7) else {}
        return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": space, "labels": labels}}

    def slice(self, space):
        """Of a Service without a selector: backends are anybody's addresses of one family."""
        every = [ip for kind in ("pods", "externals") for item in self.world[kind] for ip in item["ips"]]
        version = ipaddress.ip_address(every[0]).version
        mine = [ip for ip in every if ipaddress.ip_address(ip).version == version]
        chosen = self.rng.sample(mine, min(2, len(mine)))
        return {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": f"IPv{version}",
                "metadata": {"name": f"svc-{space}", "namespace": space, "labels": {"kubernetes.io/service-name": "svc"}},
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in chosen],
                "ports": [{"name": "", "protocol": "TCP", "port": 80}, {"name": "u", "protocol": "UDP", "port": 53}]}


def fill(rng, world, *words):
    maker = Maker(rng, world, *words)
    for pod in world["pods"]:
        if maker.chance(0.4):
            pod["serviceAccount"] = "robot"
        if maker.chance(0.05):
            pod["labels"]["pcns.team"] = "red"  # not his to say
    objects = [maker.tier(name) for name in ("sec", "ops") if maker.chance(0.8)]
    objects += [maker.network_set(f"set{i}") for i in range(rng.randint(0, 2))]
    for space in world["namespaces"]:
        objects += [maker.account(space["name"], name) for name in ACCOUNTS if maker.chance(0.8)]
        if maker.chance(0.5) and any(pod["ips"] for pod in world["pods"]):
            objects.append(maker.slice(space["name"]))
    objects += [maker.policy(f"c{i}") for i in range(rng.randint(1, 6))]
    rng.shuffle(objects)
    world["policies"] = objects
