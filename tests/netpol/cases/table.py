# SPDX-License-Identifier: Apache-2.0
"""How the cases of this directory are written down: a world, policies, and lines that say who may reach whom.

    "deny * -> x/*"              the last line that concerns a flow counts; without one it is allowed
    "allow y/b -> x/a TCP/80"    for some ports only: PROTOCOL/PORT, PROTOCOL/* or several of them
    "deny x/* -> external:out"

A pod and itself, and a pod and its own node, need no line: they always reach each other."""
import fnmatch
import ipaddress

NODES = [{"name": f"node{i}", "ips": [f"172.30.0.{10 + i}", f"fd00:172:30::{10 + i}"]} for i in (1, 2)]
LISTEN = [(port, protocol) for protocol in ("TCP", "UDP", "SCTP") for port in (80, 81, 8080)]


def ports_of(names):
    """names: {("TCP", 80): "web"}."""
    return [{"containerPort": port, "protocol": protocol, **({"name": names[protocol, port]} if (protocol, port) in names else {})}
            for port, protocol in LISTEN]


def world(spaces, externals=(), families="4", names=None, accounts=None):
    """spaces: {namespace: (labels, {pod: labels})}; every second pod is on the second node."""
    pods, count = [], 0
    for number, (space, (_, members)) in enumerate(spaces.items(), 1):
        for index, (pod, labels) in enumerate(members.items(), 1):
            ips = [ip for family, ip in (("4", f"10.244.{number}.{16 * index}"), ("6", f"fd00:10:244:{number}::{index}"))
                   if family in families]
            pods.append({"namespace": space, "name": pod, "labels": labels, "ips": ips, "node": f"node{1 + count % 2}",
                         "ports": ports_of(names or {}), **({"serviceAccount": accounts[space, pod]}
                                                            if (space, pod) in (accounts or {}) else {})})
            count += 1
    nodes = [{**node, "ips": [ip for ip in node["ips"] if str(ipaddress.ip_address(ip).version) in families]} for node in NODES]
    listen = [{"port": port, "protocol": protocol} for port, protocol in LISTEN]
    return {"namespaces": [{"name": space, "labels": labels} for space, (labels, _) in spaces.items()], "nodes": nodes,
            "pods": pods, "externals": [{"name": name, "ips": ips, "listen": listen} for name, ips in externals], "policies": []}


def nine():
    """x, y, z with a, b, c each, as the end-to-end suites like it."""
    return world({space: ({"ns": space}, {pod: {"pod": pod} for pod in "abc"}) for space in "xyz"},
                 names={("TCP", 80): "serve-80-tcp", ("TCP", 81): "serve-81-tcp", ("UDP", 80): "serve-80-udp"})


def concerns(said, sender, receiver, flow):
    """Does a line concern this flow?"""
    fr, arrow, to, *flows = said.split()
    assert arrow == "->", said
    return fnmatch.fnmatchcase(sender, fr) and fnmatch.fnmatchcase(receiver, to) and \
        (not flows or any(fnmatch.fnmatchcase(flow, item) for item in flows))


def verdict(lines, sender, receiver, flow):
    found = "allow"
    for line in lines:
        word, said = line.split(None, 1)
        assert word in ("allow", "deny"), line
        if concerns(said, sender, receiver, flow):
            found = word
    return found


def same_family(a, b):
    return [(x, y) for x in a for y in b if ipaddress.ip_address(x).version == ipaddress.ip_address(y).version]


def own_node(state, sender, receiver):
    nodes = {f"{pod['namespace']}/{pod['name']}": f"node:{pod['node']}" for pod in state["pods"]}
    return nodes.get(sender) == receiver or nodes.get(receiver) == sender


def probes(state, lines, flows, nodes=False):
    """Every pair with a pod, over each family that both have; with nodes, too, if they are wanted."""
    everybody = [(f"{pod['namespace']}/{pod['name']}", pod["ips"]) for pod in state["pods"]] + \
        [(f"external:{item['name']}", item["ips"]) for item in state["externals"]] + \
        [(f"node:{item['name']}", item["ips"]) for item in state["nodes"] if nodes]
    found = []
    for sender, sources in everybody:
        for receiver, targets in everybody:
            if (sender.startswith("external:") and receiver.startswith("external:")) or own_node(state, sender, receiver):
                continue
            for source, target in same_family(sources, targets) if sender != receiver else [(ip, ip) for ip in sources]:
                for flow in flows:
                    found += probe(len(found), (sender, receiver), (source, target), flow, lines)
    for line in lines:  # a line that nothing concerns is a slip of the pen
        assert any(concerns(line.split(None, 1)[1], item["from"], item["to"], item["flow"]) for item in found), line
    return [{key: value for key, value in item.items() if key != "flow"} for item in found]


def probe(number, ends, ips, flow, lines):
    protocol, _, port = flow.partition("/")
    if (protocol, ipaddress.ip_address(ips[0]).version) in (("ICMP", 6), ("ICMPv6", 4)):
        return []
    what = {"protocol": protocol, "port": 0, "type": int(port), "code": 0} if protocol.startswith("ICMP") else \
        {"protocol": int(protocol) if protocol.isdigit() else protocol, "port": int(port or 0)}
    own = ends[0] == ends[1]
    kind = "self" if own else "egress-external" if ":" in ends[1] else "ingress-external" if ":" in ends[0] else "pod-pod"
    return [{"id": number, "from": ends[0], "to": ends[1], "from_ip": ips[0], "to_ip": ips[1], **what,
             "expected": "allow" if own else verdict(lines, *ends, flow), "kind": kind, "flow": flow}]


def case(name, state, policies, lines, flows=("TCP/80",), nodes=False):
    state = {**state, "policies": policies}
    family, _, title = name.partition(": ")
    return {"schema": "npcase/1", "id": name, "family": family, "title": title, "tags": [], **state,
            "probes": probes(state, lines, flows, nodes)}


def sequence(name, steps):
    """steps: (actions, state, lines, flows)."""
    family, _, title = name.partition(": ")
    return {"schema": "npseq/1", "id": name, "family": family, "title": title, "tags": [],
            "steps": [{"title": f"step {number}", "actions": actions, "state": state, "probes": probes(state, lines, flows)}
                      for number, (actions, state, lines, flows) in enumerate(steps)]}


# -- NetworkPolicy --


def pod(**labels):
    return {"podSelector": {"matchLabels": labels}}


def space(**labels):
    return {"namespaceSelector": {"matchLabels": labels}}


def among(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


def netpol(namespace, name="p", subject=None, **spec):
    """ingress, egress: given means that this direction is isolated."""
    types = [word for word, key in (("Ingress", "ingress"), ("Egress", "egress")) if key in spec]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": subject or {}}, "policyTypes": types, **spec}}
