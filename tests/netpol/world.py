# SPDX-License-Identifier: Apache-2.0
"""A case's world, for the evaluators: who has which address, and what is exempt from every policy (README.md)."""
import ipaddress
import json
import lzma

import expressions

PROTOCOLS = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132, "UDPLite": 136}


def load(path):
    """A case or sequence from a file, .xz or not."""
    opener = lzma.open if str(path).endswith(".xz") else open
    with opener(path, "rt") as file:
        return json.load(file)


def steps(case):
    """The worlds of a case (one) or a sequence, each with its probes, as (number, world, probes)."""
    if case["schema"] == "npcase/1":
        return [(0, case, case["probes"])]
    return [(number, step["state"], step["probes"]) for number, step in enumerate(case["steps"])]


class Pod:
    def __init__(self, raw):
        self.namespace, self.name = raw["namespace"], raw["name"]
        self.labels = raw.get("labels") or {}
        self.ips = [ipaddress.ip_address(ip) for ip in raw.get("ips") or []]
        self.node = raw.get("node")
        self.host = bool(raw.get("hostNetwork"))
        self.account = raw.get("serviceAccount") or "default"
        self.ports = [(port["name"], port.get("protocol") or "TCP", port["containerPort"])
                      for port in raw.get("ports") or [] if port.get("name")]


def automatic(world):
    """The HostEndpoints that Calico's controllers write (calico.md 8.8): one of all interfaces, and one for each template and node
    that has addresses in its CIDRs. Those that are there already are not theirs."""
    made, there = [], {raw["metadata"]["name"] for raw in world.objects if raw["kind"] == "HostEndpoint"}
    for raw in world.objects:
        wanted = raw["kind"] == "KubeControllersConfiguration" and raw["metadata"]["name"] == "default" and \
            raw["spec"]["controllers"]["node"]["hostEndpoint"]
        if not wanted or wanted.get("autoCreate") != "Enabled":
            continue
        for node, ips in world.nodes.items():
            if wanted.get("createDefaultHostEndpoint") != "Disabled":
                made.append(host_object(f"{node}-auto-hep", world.node_labels[node], {"node": node, "interfaceName": "*"}, ips))
            for one in wanted.get("templates") or []:
                nets = [ipaddress.ip_network(net, strict=False) for net in one["interfaceCIDRs"]]
                own = [ip for ip in ips if any(ip in net for net in nets)]
                if own and expressions.matches(one.get("nodeSelector") or "all()", world.node_labels[node]):
                    made.append(host_object(f"{node}-{one['generateName']}-auto-hep", {**world.node_labels[node], **(one.get("labels") or {})},
                                            {"node": node}, own))
    return [one for one in made if one["metadata"]["name"] not in there]


def host_object(name, labels, spec, ips):
    return {"kind": "HostEndpoint", "metadata": {"name": name, "labels": {**labels, "projectcalico.org/created-by": "calico-kube-controllers"}},
            "spec": {**spec, "expectedIPs": [str(ip) for ip in ips], "profiles": ["projectcalico-default-allow"]}}


class World:
    def __init__(self, raw):
        # The API server gives every namespace its name as a label, whatever it was created with.
        self.namespaces = {ns["name"]: {**(ns.get("labels") or {}), "kubernetes.io/metadata.name": ns["name"]}
                           for ns in raw["namespaces"]}
        self.nodes = {node["name"]: [ipaddress.ip_address(ip) for ip in node["ips"]] for node in raw.get("nodes") or []}
        self.node_labels = {node["name"]: node.get("labels") or {} for node in raw.get("nodes") or []}
        self.pods = {f"{pod['namespace']}/{pod['name']}": Pod(pod) for pod in raw["pods"]}
        self.objects = raw["policies"]
        self.objects = self.objects + automatic(self)
        self.by_ip = {ip: pod for pod in self.pods.values() if not pod.host for ip in pod.ips}

    def extend(self):
        """What only Calico's policies ask for: labels with what is inherited, service accounts, network sets."""
        self.accounts = {(raw["metadata"]["namespace"], raw["metadata"]["name"]): raw["metadata"].get("labels") or {}
                         for raw in self.objects if raw["kind"] == "ServiceAccount"}
        self.sets = [([ipaddress.ip_network(net, strict=False) for net in raw["spec"].get("nets") or []],
                      self.labels(raw["metadata"].get("labels") or {}, raw["metadata"].get("namespace"), None))
                     for raw in self.objects if raw["kind"] in ("NetworkSet", "GlobalNetworkSet")]

        self.hosts = [([ipaddress.ip_address(ip) for ip in raw["spec"].get("expectedIPs") or []],
                       self.labels(raw["metadata"].get("labels") or {}, None, None), raw["spec"].get("ports") or [])
                      for raw in self.objects if raw["kind"] == "HostEndpoint"]

    def labels(self, own, namespace, account):
        """As selectors see them. Nobody can say of himself where he is."""
        found = {key: value for key, value in own.items() if not key.startswith(("pcns.", "pcsa.")) and key not in
                 (f"projectcalico.org/{word}" for word in ("namespace", "orchestrator", "serviceaccount"))}
        if namespace:
            found.update({f"pcns.{key}": value for key, value in self.namespaces.get(namespace, {}).items()})
            found.update({"pcns.projectcalico.org/name": namespace, "projectcalico.org/namespace": namespace})
        if account:
            found.update({f"pcsa.{key}": value for key, value in self.accounts.get((namespace, account), {}).items()})
            found.update({"pcsa.projectcalico.org/name": account, "projectcalico.org/serviceaccount": account,
                          "projectcalico.org/orchestrator": "k8s"})
        return found

    def labels_of(self, pod):
        return self.labels(pod.labels, pod.namespace, pod.account)

    def labels_at(self, address):
        """Of the pod that has it, and of each network set that holds it, and each host endpoint."""
        return [labels for labels, _ in self.endpoints_at(address)] + \
            [labels for nets, labels in self.sets if any(address in net for net in nets)]

    def endpoints_at(self, address):
        """Labels and named ports (name, protocol, port) of the pod and of each host endpoint that has it."""
        pod = self.by_ip.get(address)
        return ([(self.labels_of(pod), pod.ports)] if pod else []) + \
            [(labels, [(port["name"], port["protocol"], port["port"]) for port in ports])
             for ips, labels, ports in self.hosts if address in ips]


class Flow:
    """A probe: addresses, numbers, and who of both is a pod that policy applies to."""

    def __init__(self, world, probe):
        self.src, self.dst = ipaddress.ip_address(probe["from_ip"]), ipaddress.ip_address(probe["to_ip"])
        protocol = probe["protocol"]
        self.protocol = PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)
        self.sport, self.dport = probe.get("source_port", 40000), probe["port"]
        self.icmp = (probe.get("type", 8), probe.get("code", 0)) if self.protocol in (1, 58) else None
        self.sender, self.receiver = (self.subject(world, probe[end]) for end in ("from", "to"))
        self.exempt = probe["from"] == probe["to"] or self.local(world, self.sender, self.dst) or \
            self.local(world, self.receiver, self.src)

    @staticmethod
    def subject(world, end):
        pod = world.pods.get(end)
        return None if pod is None or pod.host else pod

    @staticmethod
    def local(world, pod, other):
        """A pod and its own node always reach each other."""
        return pod is not None and other in world.nodes.get(pod.node, ())

    def remote(self, direction):
        return self.src if direction == "ingress" else self.dst


def in_cidr(world, address, cidr):
    """Also where a node's first address of this family is in it: its others are those of its tunnels."""
    net = ipaddress.ip_network(cidr, strict=False)
    if address.version != net.version:
        return False
    if address in net:
        return True
    for ips in world.nodes.values():
        same = [ip for ip in ips if ip.version == address.version]
        if address in same[1:]:
            return same[0] in net
    return False


def requirement(rule, labels):
    """One of matchExpressions."""
    value, values = labels.get(rule["key"]), rule.get("values") or []
    return {"In": value is not None and value in values, "NotIn": value is None or value not in values,
            "Exists": value is not None, "DoesNotExist": value is None}[rule["operator"]]


def label_selector(selector, labels):
    """metav1.LabelSelector: everything that it says must hold; an empty one selects everything."""
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items()) and \
        all(requirement(rule, labels) for rule in selector.get("matchExpressions") or [])


def judge(world, probe, side):
    """A probe's answer; side(direction, pod, flow) says whether policy lets it pass there."""
    flow = Flow(world, probe)
    egress = flow.exempt or flow.sender is None or side("egress", flow.sender, flow)
    ingress = flow.exempt or flow.receiver is None or side("ingress", flow.receiver, flow)
    words = ("deny", "allow")
    return {"egress": words[egress], "ingress": words[ingress], "expected": words[egress and ingress]}
