#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Random worlds as npcase/1, the same for the same family and seed: generate.py FAMILY FIRST COUNT OUTDIR. The expected
values are the slow evaluators'. Families: kubernetes, calico, cluster (ClusterNetworkPolicy beside NetworkPolicy), hosts."""
import ipaddress
import json
import pathlib
import random
import sys

import evaluator
import generate_calico
import generate_cluster
import generate_hosts
import tiers

PORTS = (53, 79, 80, 81, 82, 443, 8080, 65535)
NAMES = ("web", "web-alt", "dns", "admin")
PROTOCOLS = ("TCP", "UDP", "SCTP")
POD_LABELS = {"app": ("a", "b", "c", ""), "tier": ("front", "back"), "x.y/z": ("1", "2")}
SPACE_LABELS = {"team": ("red", "blue", ""), "env": ("prod", "test"), "kubernetes.io/metadata.name": ("n0", "n1", "n9")}
HOW_OFTEN = {"TCP": 5, "UDP": 3, "SCTP": 2}


def some(rng, items, least=1):
    return rng.sample(list(items), rng.randint(least, len(items)))


def labels(rng, vocabulary):
    return {key: rng.choice(values) for key, values in vocabulary.items()
            if not key.startswith("kubernetes.io/") and rng.random() < 0.6}


# -- the world --


def addresses(rng, stack, four, six):
    return [ip for family, ip in (("4", four), ("6", six)) if family in stack]


def nodes(stack):
    return [{"name": f"node{i}", "ips": addresses(None, stack, f"172.30.0.{10 + i}", f"fd00:172:30::{10 + i}")}
            for i in (1, 2)]


def container_ports(rng):
    found, names = [], set()
    for protocol in PROTOCOLS:
        for port in rng.sample(PORTS, rng.randint(0, 3)):
            name = rng.choice(NAMES)
            said = {"containerPort": port, "protocol": protocol}
            if rng.random() < 0.7 and (name, protocol) not in names:
                names.add((name, protocol))
                said["name"] = name
            found.append(said)
    return found


def pods(rng, spaces, stack, dual_share=0.8):
    found = []
    for number, space in enumerate(spaces):
        for index in range(rng.randint(1, 4)):
            host, place = rng.random() < 0.12, rng.randint(1, 2)
            own = stack if stack != "46" or rng.random() < dual_share else rng.choice("46")
            suffix = 16 * (number + 1) + index
            ips = addresses(rng, own, f"10.244.{place}.{suffix}", f"fd00:10:244:{place}::{suffix:x}")
            pod = {"namespace": space["name"], "name": f"p{index}", "labels": labels(rng, POD_LABELS),
                   "ips": [] if host else ips, "node": f"node{place}", "ports": container_ports(rng)}
            found.append({**pod, "hostNetwork": True} if host else pod)
    return found


def externals(rng, stack):
    return [{"name": f"ext{i}", "ips": addresses(rng, stack, f"198.51.100.{10 * i}", f"2001:db8::{i:x}"),
             "listen": [{"protocol": protocol, "port": port} for protocol in PROTOCOLS for port in PORTS]}
            for i in range(1, rng.randint(2, 4))]


def base(rng):
    stack = rng.choice(("4", "4", "6", "46"))
    spaces = [{"name": f"n{i}", "labels": labels(rng, SPACE_LABELS)} for i in range(rng.randint(1, 3))]
    world = {"namespaces": spaces, "nodes": nodes(stack), "pods": pods(rng, spaces, stack),
             "externals": externals(rng, stack), "policies": []}
    return world, stack


def all_addresses(world):
    return [ip for kind in ("nodes", "pods", "externals") for item in world[kind] for ip in item["ips"]]


def block(rng, world):
    """A CIDR around an address of the world, mostly: with host bits sometimes, everything sometimes."""
    address = ipaddress.ip_address(rng.choice(all_addresses(world)))
    bits = address.max_prefixlen
    length = rng.choice((0, bits, bits, bits - 1, bits - 2, bits - 4, bits - 5, bits - 8, bits - 16))
    text = str(address) if rng.random() < 0.1 else str(ipaddress.ip_network(f"{address}/{length}", strict=False)[0])
    return f"{text}/{length}"


def ends(world):
    """Who can take part in a flow, with the addresses that he has there."""
    home = {node["name"]: node["ips"] for node in world["nodes"]}
    return [(f"node:{node['name']}", node["ips"]) for node in world["nodes"]] + \
        [(f"external:{item['name']}", item["ips"]) for item in world["externals"]] + \
        [(f"{pod['namespace']}/{pod['name']}", home[pod["node"]] if pod.get("hostNetwork") else pod["ips"])
         for pod in world["pods"]]


def kind(world, sender, receiver):
    where = {f"{pod['namespace']}/{pod['name']}": pod for pod in world["pods"]}
    if sender == receiver:
        return "self"
    for end, word in ((receiver, "egress-external"), (sender, "ingress-external")):
        if end.startswith("external:"):
            return word
    places = [where[end]["node"] if end in where else end[5:] for end in (sender, receiver)]
    if all(end in where and not where[end].get("hostNetwork") for end in (sender, receiver)):
        return "pod-pod"
    return "node-local" if places[0] == places[1] else "node-remote"


def flow(rng, known):
    protocol = rng.choices(PROTOCOLS, [HOW_OFTEN[word] for word in PROTOCOLS])[0]
    return {"protocol": protocol, "port": rng.choice(PORTS)}


def probes(rng, world, count=60, flow_of=flow, nodes=False):
    everybody, found = ends(world), []
    subjects = [end for end in everybody if not end[0].startswith(("external:",) if nodes else ("external:", "node:"))]
    while len(found) < count:
        pair = [rng.choice(subjects), rng.choice(everybody)]
        if rng.random() < 0.5:
            pair.reverse()
        family = rng.choice((4, 6))
        ips = [[ip for ip in end[1] if ipaddress.ip_address(ip).version == family] for end in pair]
        if not ips[0] or not ips[1]:
            family = 10 - family
            ips = [[ip for ip in end[1] if ipaddress.ip_address(ip).version == family] for end in pair]
        if not ips[0] or not ips[1]:
            count -= rng.random() < 0.2  # nobody may share a family with anybody
            continue
        found.append({"id": len(found), "from": pair[0][0], "to": pair[1][0], "from_ip": ips[0][0], "to_ip": ips[1][0],
                      **flow_of(rng, family), "kind": kind(world, pair[0][0], pair[1][0])})
    return found


# -- NetworkPolicy --


def selector(rng, vocabulary):
    """metav1.LabelSelector, with all four operators, empty ones too."""
    said = {}
    if rng.random() < 0.5:
        said["matchLabels"] = {key: rng.choice(values) for key, values in vocabulary.items() if rng.random() < 0.4}
    if rng.random() < 0.4:
        said["matchExpressions"] = []
        for key in some(rng, vocabulary):
            operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
            values = {"values": some(rng, vocabulary[key])} if operator in ("In", "NotIn") else {}
            said["matchExpressions"].append({"key": key, "operator": operator, **values})
    return said


def ip_block(rng, world):
    said = {"cidr": block(rng, world)}
    net = ipaddress.ip_network(said["cidr"], strict=False)
    holes = [ip for ip in map(ipaddress.ip_address, all_addresses(world)) if ip in net]
    if holes and net.prefixlen < net.max_prefixlen and rng.random() < 0.5:
        said["except"] = [f"{hole}/{rng.randint(net.prefixlen + 1, net.max_prefixlen)}" for hole in rng.sample(holes, 1)]
        said["except"] = [str(ipaddress.ip_network(cidr, strict=False)) for cidr in said["except"]]
    elif rng.random() < 0.2:
        said["except"] = []
    return said


def peer(rng, world):
    shape = rng.random()
    if shape < 0.25:
        return {"ipBlock": ip_block(rng, world)}
    said = {}
    if shape < 0.75:
        said["podSelector"] = selector(rng, POD_LABELS)
    if shape > 0.5:
        said["namespaceSelector"] = selector(rng, SPACE_LABELS)
    return said


def port(rng):
    said = {"protocol": rng.choice(PROTOCOLS)} if rng.random() < 0.8 else {}
    shape = rng.random()
    if shape < 0.15:
        return said
    if shape < 0.45:
        return {**said, "port": rng.choice(NAMES)}
    said["port"] = rng.choice(PORTS)
    if rng.random() < 0.4:
        said["endPort"] = rng.randint(said["port"], min(65535, said["port"] + rng.choice((0, 1, 3, 400, 65535))))
    return said


def maybe_list(rng, make, most, absent=0.25, empty=0.08):
    """None: absent, which is not always the same as empty."""
    shape = rng.random()
    return None if shape < absent else [] if shape < absent + empty else [make() for _ in range(rng.randint(1, most))]


def put(said, key, value):
    if value is not None:
        said[key] = value


def rule(rng, world, key):
    said = {}
    put(said, key, maybe_list(rng, lambda: peer(rng, world), 3))
    put(said, "ports", maybe_list(rng, lambda: port(rng), 3, absent=0.4))
    return said


def network_policy(rng, world, name):
    spec = {"podSelector": selector(rng, POD_LABELS)}
    put(spec, "policyTypes", rng.choice((None, [], ["Ingress"], ["Egress"], ["Ingress", "Egress"])))
    put(spec, "ingress", maybe_list(rng, lambda: rule(rng, world, "from"), 3))
    put(spec, "egress", maybe_list(rng, lambda: rule(rng, world, "to"), 3))
    space = rng.choice(world["namespaces"])["name"]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": space}, "spec": spec}


# -- families --


def kubernetes(rng):
    world, _ = base(rng)
    world["policies"] = [network_policy(rng, world, f"k{i}") for i in range(rng.randint(1, 5))]
    return world, probes(rng, world), evaluator.evaluate


def calico(rng):
    world, _ = base(rng)
    generate_calico.fill(rng, world, block, POD_LABELS, SPACE_LABELS, NAMES, PORTS)
    world["policies"] += [network_policy(rng, world, f"k{i}") for i in range(rng.choice((0, 0, 1, 2)))]
    return world, probes(rng, world, flow_of=generate_calico.flow), tiers.evaluate


def cluster(rng):
    world, _ = base(rng)
    world["policies"] = generate_cluster.policies(rng, world, block, selector, POD_LABELS, SPACE_LABELS, NAMES, PORTS)
    world["policies"] += [network_policy(rng, world, f"k{i}") for i in range(rng.choice((0, 1, 2)))]
    return world, probes(rng, world), tiers.evaluate


def hosts(rng):
    world, _ = base(rng)
    generate_hosts.fill(rng, world, block, POD_LABELS, SPACE_LABELS, NAMES, PORTS)
    return world, probes(rng, world, flow_of=generate_calico.flow, nodes=True), tiers.evaluate


FAMILIES = {"kubernetes": kubernetes, "calico": calico, "cluster": cluster, "hosts": hosts}


def case(family, seed):
    rng = random.Random(f"{family} {seed}")
    world, asked, evaluate = FAMILIES[family](rng)
    answered = [{**probe, **answer} for probe, answer in zip(asked, evaluate(world, asked))]
    return {"schema": "npcase/1", "id": f"{family}-{seed:06}", "family": family, "title": f"random world {seed}",
            "tags": ["random"], **world, "probes": answered}


def write(family, first, count, out):
    paths = []
    for seed in range(first, first + count):
        path = pathlib.Path(out) / f"{family}-{seed:06}.json"
        path.write_text(json.dumps(case(family, seed)) + "\n")
        paths.append(path)
    return paths


def main(args):
    if len(args) != 4 or args[0] not in FAMILIES:
        print(__doc__, file=sys.stderr)
        return 2
    pathlib.Path(args[3]).mkdir(parents=True, exist_ok=True)
    write(args[0], int(args[1]), int(args[2]), args[3])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
