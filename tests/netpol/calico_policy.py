# SPDX-License-Identifier: Apache-2.0
"""Calico's NetworkPolicy and GlobalNetworkPolicy (projectcalico.org/v3), as their resource reference tells them
(calico.md 2.8, 7.3): what a rule's fields ask of a packet, looked up in the objects themselves."""
import math
import re

import expressions
import world as w

NAMESPACE, ACCOUNT = "projectcalico.org/namespace", "projectcalico.org/serviceaccount"


def prefixed(text, prefix, has):
    """A selector of namespaces or service accounts, as one of what is in them: all() asks for being in one at all."""
    if not text.strip():
        return f"has({has})"
    parts = re.split(r"""('[^']*'|"[^"]*")""", text)
    for i in range(0, len(parts), 2):
        part = re.sub(r"\ball\(\s*\)", "\0", parts[i])
        part = re.sub(r"\bglobal\(\s*\)", "\1", part)
        part = re.sub(r"\bhas\(\s*([A-Za-z0-9_./-]+)\s*\)", lambda m: f"has({prefix}.{m[1]})", part)
        part = re.sub(r"([A-Za-z0-9_./-]+)(?=\s*(==|!=|(contains|starts|ends|in|not|startswith|endswith|notin)\b))",
                      lambda m: m[0] if m[1] in ("not", "starts", "ends") or m[1].startswith(prefix + ".")
                      else f"{prefix}.{m[1]}", part)
        parts[i] = part.replace("\0", f"has({has})").replace("\1", f"!has({has})")
    return "".join(parts)


def conjunction(*terms):
    return " && ".join(f"({term})" for term in terms if term and term.strip())


class CalicoPolicy:
    def __init__(self, world, raw):
        meta, spec = raw["metadata"], raw["spec"]
        self.world, self.spec = world, spec
        self.namespace = meta.get("namespace") if raw["kind"] == "NetworkPolicy" else None
        self.tier = spec.get("tier") or "default"
        self.order = math.inf if spec.get("order") is None else float(spec["order"])
        self.key = f"{meta['name']}/{self.namespace or ''}/{raw['kind']}"
        self.types = {word.lower() for word in spec.get("types") or ("ingress", "egress")}
        self.selector = conjunction(
            spec.get("selector") or "all()", f"{NAMESPACE} == '{self.namespace}'" if self.namespace else "",
            prefixed(spec["namespaceSelector"], "pcns", NAMESPACE) if spec.get("namespaceSelector") else "",
            prefixed(spec["serviceAccountSelector"], "pcsa", ACCOUNT) if spec.get("serviceAccountSelector") else "")

    def selects(self, direction, pod):
        return direction in self.types and expressions.matches(self.selector, self.world.labels_of(pod))

    def decide(self, direction, pod, flow):
        """The first rule that matches and is not a Log decides."""
        for rule in self.spec.get(direction) or []:
            if rule["action"] != "Log" and self.rule_matches(rule, flow):
                return rule["action"].lower()
        return None

    def rule_matches(self, rule, flow):
        return family_matches(rule, flow) and protocol_matches(rule, flow) and icmp_matches(rule, flow) and \
            self.entity_matches(rule.get("source") or {}, flow.src, flow.sport, flow) and \
            self.entity_matches(rule.get("destination") or {}, flow.dst, flow.dport, flow, True)

    def entity_matches(self, entity, address, port, flow, destination=False):
        nets = entity.get("nets")
        if nets and not any(w.in_cidr(self.world, address, net) for net in nets):
            return False
        if any(w.in_cidr(self.world, address, net) for net in entity.get("notNets") or []):
            return False
        if not self.selectors_match(entity, address):
            return False
        if entity.get("services"):
            return self.service_matches(entity["services"], address, port, flow, destination)
        ports, none = entity.get("ports"), entity.get("notPorts")
        return (not ports or any(self.port_matches(item, entity, address, port, flow) for item in ports)) and \
            not any(self.port_matches(item, entity, address, port, flow) for item in none or [])

    def asked(self, entity):
        """Selector of whom is meant ("": anybody), and of whom is not."""
        accounts = entity.get("serviceAccounts") or {}
        wanted = [entity.get("selector")]
        if accounts.get("names"):
            wanted.append(f"{ACCOUNT} in {{{', '.join(repr(name) for name in accounts['names'])}}}")
        if accounts.get("selector"):
            wanted.append(prefixed(accounts["selector"], "pcsa", ACCOUNT))
        if entity.get("namespaceSelector"):
            wanted.append(prefixed(entity["namespaceSelector"], "pcns", NAMESPACE))
        elif self.namespace and (any(wanted) or entity.get("notSelector")):
            wanted.append(f"{NAMESPACE} == '{self.namespace}'")
        return conjunction(*wanted), entity.get("notSelector")

    def is_asked(self, entity, labels):
        """What is asked for and what is excluded are asked of the same endpoint or set."""
        wanted, unwanted = self.asked(entity)
        return (not wanted or expressions.matches(wanted, labels)) and not (wanted and unwanted and expressions.matches(unwanted, labels))

    def selectors_match(self, entity, address):
        """An exclusion alone is asked of all."""
        wanted, unwanted = self.asked(entity)
        members = self.world.labels_at(address)
        if wanted:
            return any(self.is_asked(entity, labels) for labels in members)
        return not (unwanted and any(expressions.matches(unwanted, labels) for labels in members))

    def port_matches(self, wanted, entity, address, port, flow):
        if flow.protocol not in (6, 17, 132, 136):
            return False
        if isinstance(wanted, int):
            return wanted == port
        if re.fullmatch(r"\d+(:\d+)?", wanted):
            first, _, last = wanted.partition(":")
            return int(first) <= port <= int(last or first)
        # a name is that of an endpoint that the selector means, not of one whose address a network set holds
        return any(name == wanted and w.PROTOCOLS[protocol] == flow.protocol and number == port
                   for labels, ports in self.world.endpoints_at(address) if self.is_asked(entity, labels)
                   for name, protocol, number in ports)

    def service_matches(self, service, address, port, flow, destination):
        for raw in self.world.objects:
            if raw["kind"] != "EndpointSlice" or raw["metadata"]["namespace"] != service.get("namespace", self.namespace) \
                    or raw["metadata"]["labels"]["kubernetes.io/service-name"] != service["name"]:
                continue
            if any(str(address) in item["addresses"] for item in raw["endpoints"]) and (
                    not destination or any((w.PROTOCOLS[item["protocol"]], item["port"]) == (flow.protocol, port)
                                           for item in raw["ports"])):
                return True
        return False


def number(protocol):
    return w.PROTOCOLS[protocol] if protocol in w.PROTOCOLS else int(protocol)


def family_matches(rule, flow):
    return rule.get("ipVersion") in (None, flow.src.version)


def protocol_matches(rule, flow):
    return (rule.get("protocol") is None or number(rule["protocol"]) == flow.protocol) and \
        (rule.get("notProtocol") is None or number(rule["notProtocol"]) != flow.protocol)


def icmp_is(said, flow):
    return flow.icmp is not None and said.get("type") in (None, flow.icmp[0]) and said.get("code") in (None, flow.icmp[1])


def icmp_matches(rule, flow):
    return (not rule.get("icmp") or icmp_is(rule["icmp"], flow)) and \
        not (rule.get("notICMP") and icmp_is(rule["notICMP"], flow))
