#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns cyclonus.jsonl.xz, one case of cyclonus a line, into npseq/1: cyclonus.py [IN] OUTDIR writes a file a case."""
import json
import lzma
import pathlib
import re
import sys

DATA = pathlib.Path(__file__).parent / "data"
KIND = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}  # which some of its cases do not say
PROTOCOLS = ("TCP", "UDP", "SCTP")
NODES = [{"name": "node1", "ips": ["172.30.0.11"]}, {"name": "node2", "ips": ["172.30.0.12"]}]


def ports_of(probes):
    """Every pod of cyclonus listens on the same ports: those that are probed."""
    seen = sorted({(probe["Port"], PROTOCOLS.index(probe["Protocol"]), probe["PortName"]) for probe in probes})
    return [{"name": name, "containerPort": port, "protocol": PROTOCOLS[index]} for port, index, name in seen]


def state(step, ports):
    pods = [{"namespace": pod["namespace"], "name": pod["name"], "labels": pod["labels"], "ips": [pod["ip"]],
             "node": NODES[number % 2]["name"], "ports": ports} for number, pod in enumerate(step["pods"])]
    return {"namespaces": [{"name": name, "labels": labels} for name, labels in step["namespaces"].items()],
            "nodes": NODES, "pods": pods, "externals": [], "policies": [{**KIND, **policy} for policy in step["policies"]]}


def probe(number, raw, ips):
    """What a pod says to itself is always allowed, which cyclonus' matcher does not know."""
    own = raw["From"] == raw["To"]
    words = {key: "allow" if own or raw[said] else "deny"
             for key, said in (("egress", "Egress"), ("ingress", "Ingress"), ("expected", "Allowed"))}
    return {"id": number, "from": raw["From"], "to": raw["To"], "from_ip": ips[raw["From"]], "to_ip": ips[raw["To"]],
            "protocol": raw["Protocol"], "port": raw["Port"], **words, "kind": "self" if own else "pod-pod"}


def by_name(objects):
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in objects}


def changes(before, after):
    """What leads from one state to the next."""
    said = []
    old, new = by_name(before["policies"]), by_name(after["policies"])
    said += [{"op": "delete-policy", "namespace": ns, "name": name} for ns, name in old if (ns, name) not in new]
    said += [{"op": "put-policy", "policy": item} for key, item in new.items() if old.get(key) != item]
    spaces = {item["name"]: item for item in before["namespaces"]}
    said += [{"op": "put-namespace", "name": item["name"], "labels": item["labels"]} for item in after["namespaces"]
             if spaces.get(item["name"]) != item]
    gone = set(spaces) - {item["name"] for item in after["namespaces"]}
    said += [{"op": "delete-namespace", "name": name} for name in sorted(gone)]
    pods = {(pod["namespace"], pod["name"]): pod for pod in before["pods"]}
    for pod in after["pods"]:
        known = pods.pop((pod["namespace"], pod["name"]), None)
        if known is None or {**known, "labels": None} != {**pod, "labels": None}:
            said.append({"op": "put-pod", "pod": pod})
        elif known["labels"] != pod["labels"]:
            said.append({"op": "label-pod", "namespace": pod["namespace"], "name": pod["name"], "labels": pod["labels"]})
    return said + [{"op": "delete-pod", "namespace": ns, "name": name} for ns, name in pods]


def convert(number, raw):
    ports = ports_of([probe for step in raw["steps"] for probe in step["probes"]])
    steps = []
    for count, step in enumerate(raw["steps"]):
        world = state(step, ports)
        ips = {f"{pod['namespace']}/{pod['name']}": pod["ips"][0] for pod in world["pods"]}
        steps.append({"title": f"step {count}", "actions": changes(steps[-1]["state"], world) if steps else [],
                      "state": world, "probes": [probe(*item, ips) for item in enumerate(step["probes"])]})
    return {"schema": "npseq/1", "id": f"cyclonus-{number:03}", "family": "cyclonus", "title": raw["name"],
            "tags": raw["tags"], "steps": steps}


def cases(path=DATA / "cyclonus.jsonl.xz"):
    with lzma.open(path, "rt") as file:
        for number, line in enumerate(file):
            yield convert(number, json.loads(line))


def main(args):
    if len(args) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    out = pathlib.Path(args[-1])
    out.mkdir(parents=True, exist_ok=True)
    for case in cases(*map(pathlib.Path, args[:-1])):
        title = re.sub(r"[^a-z0-9]+", "-", case["title"].lower()).strip("-")[:60]
        (out / f"{case['id']}-{title}.json").write_text(json.dumps(case) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
