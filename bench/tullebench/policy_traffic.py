# SPDX-License-Identifier: Apache-2.0
"""What policy costs a pod's traffic: pod to pod on two nodes by plain routes, with 0 to 10,000 policies and with 10 to 100,000 CIDRs in one
policy at the server, through the agent; and the same rules made by hand in the server's node, as a list for iptables and as a verdict map for
nftables, both behind an accept for established flows, with routed pods. Client and server on one CPU, layouts interleaved in random order."""
import json
import statistics

from tullelab.lab import Lab

from . import paths, report
from .paths import TESTS, Layout
from .policy_world import HOME, POLICY_V1, PORT, SERVER, many, networks, obj, pod, wait_settled

POLICIES, CIDRS, LISTED = (0, 10, 1_000, 10_000), (10, 1_000, 100_000), (10, 1_000, 10_000)
QUICK = (0, 10), (10,), (10,)


def _allow(name, peer, port) -> dict:
    ports = [{"protocol": protocol, "port": port} for protocol in ("TCP", "UDP")]
    return obj("NetworkPolicy", POLICY_V1, name, {**SERVER, "ingress": [{"from": [peer], "ports": ports}]}, namespace=HOME)


def _by_labels(count, _client) -> list:
    """All apply to the server; the last one lets the client in."""
    others = [_allow(f"p{i}", {"podSelector": {"matchLabels": {"app": f"other-{i}"}}}, 10_000 + i % 50_000) for i in range(count - 1)]
    return [*others, _allow("client", {"podSelector": {"matchLabels": {"app": "client"}}}, PORT)] if count else []


def _by_cidrs(count, client) -> list:
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in (*networks(count - 1), f"{client}/32")]
    return [obj("NetworkPolicy", POLICY_V1, "cidrs", {**SERVER, "ingress": [{"from": blocks}]}, namespace=HOME)]


def _lab(labs, policy):
    """Two nodes with a pod each, known with labels and address."""
    lab = Lab(nodes=2, backend="host-gw", ip_masq=False, agent_args=[f"--policy={policy}"])
    labs.append(lab)
    lab.up()
    lab.store.put("namespace.json", json.dumps(obj("Namespace", "v1", HOME)))
    made = []
    for node, name in zip(lab.nodes, ("client", "server")):
        lab.store.put(f"pod-{name}.json", json.dumps(pod(name, node.name, name)))
        made.append(node.pod_add(f"{HOME}/{name}"))
        lab.store.put(f"pod-{name}.json", json.dumps(pod(name, node.name, name, made[-1].ip)))
    return lab, *made


def _loaded(labs, policies):
    lab, one, two = _lab(labs, "on")
    written = policies(one.ip)
    if written:
        lab.store.put("policies.json", many(written))
    for node in lab.nodes:
        wait_settled(node, lambda now: now["policies"] == len(written), f"{len(written)} policies in force")
    return one, two


def _iptables(node, server, sources):
    lines = ["*filter", "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"]
    lines += [f"-A FORWARD -d {server} -s {source} -p {protocol} --dport {PORT} -j ACCEPT" for source in sources for protocol in ("tcp", "udp")]
    node.run(["iptables-restore", "--noflush"], input="\n".join([*lines, f"-A FORWARD -d {server} -j DROP", "COMMIT", ""]), timeout=300)


def _nftables(node, server, sources):
    elements = ", ".join(f"{source} : accept" for source in sources)
    node.run(["nft", "-f", "-"], timeout=300, input=f"table inet bench {{ map from {{ type ipv4_addr : verdict; elements = {{ {elements} }} }}\n"
             "chain forward { type filter hook forward priority filter; ct state established,related accept; "
             f"ip daddr {server} meta l4proto {{ tcp, udp }} th dport {PORT} ip saddr vmap @from; ip daddr {server} drop; }}\n }}\n")


def _by_hand(labs, rules, count):
    lab = Lab(nodes=2, plugin="ptp", ip_masq=False)
    labs.append(lab)
    lab.up()
    one, two = (node.pod_add(f"bench-{node.index}") for node in lab.nodes)
    rules(lab.nodes[1], two.ip, [*(cidr.split("/")[0] for cidr in networks(count - 1)), one.ip])
    return one, two


def _layouts(labs, sizes):
    policies, cidrs, listed = sizes
    found = []

    def add(name, one, two):
        found.append(Layout(name, one, two, two.ip))
    lab, one, two = _lab(labs, "off")
    add("policy off", one, two)
    add("bare", *lab.nodes)
    for count in policies:
        add(f"{count} policies", *_loaded(labs, lambda client, count=count: _by_labels(count, client)))
    for count in cidrs:
        add(f"{count} CIDRs", *_loaded(labs, lambda client, count=count: _by_cidrs(count, client)))
    for count in listed:
        add(f"iptables, {count} in a list", *_by_hand(labs, _iptables, count))
    for count in cidrs:
        add(f"nftables, {count} in a map", *_by_hand(labs, _nftables, count))
    return found


def measure(options) -> dict:
    sizes = QUICK if options.quick else (POLICIES, CIDRS, LISTED)
    return paths.interleaved(options, lambda labs: _layouts(labs, sizes))


def table(data):
    samples, headings, lines = data["samples"], ["layout"], []
    for text in ("TCP_RR us", "TCP_CRR us", "UDP 64 B ns/packet", "stream Mbit/s"):
        headings += [f"{text} best (median)", "of 0 policies"]
    for name, of in samples.items():
        line = [name]
        for test in TESTS:
            best, base = (paths.best_of(test, each[test]) for each in (of, samples["0 policies"]))
            line += [f"{best:.1f} ({statistics.median(of[test]):.1f})", report.ratio(*((best, base) if test == "stream" else (base, best)))]
        lines.append(line)
    return headings, sorted(lines, key=lambda line: (line[0].split(",")[0].lstrip("0123456789"), len(line[0]), line[0]))
