# SPDX-License-Identifier: Apache-2.0
"""Calico's objects as tests write them, and what came of them: for every test in which the store speaks Calico."""
import ipaddress
import json
import pathlib

from tullelab import wait

POOL4, POOL6 = "10.244.0.0/16", "fd00:10:244::/64"


def pool(name="pool4", cidr=POOL4, **spec) -> str:
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
                       "spec": {"cidr": cidr, "natOutgoing": True, **spec}})


def manifest(kind, name, namespace=None, version="v1", annotations=None, labels=None, **more) -> str:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "annotations": annotations or {}, "labels": labels or {}}
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, **more})


def objects(lab, plural) -> list:
    return [json.loads(path.read_text()) for path in sorted(pathlib.Path(lab.store.path, "objects", plural).glob("*.json"))]


def taken(lab) -> dict:
    """Address → handle, of all blocks."""
    found = {}
    for block in objects(lab, "ipamblocks"):
        network = ipaddress.ip_network(block["spec"]["cidr"])
        for ordinal, index in enumerate(block["spec"]["allocations"]):
            attribute = block["spec"]["attributes"][index] if index is not None else {}
            if attribute.get("handle_id"):
                found[str(network[ordinal])] = attribute["handle_id"]
    return found


def way(node, ip) -> str:
    """The device that leads to an address."""
    return json.loads(node.run(["ip", "-j", "route", "get", ip]).stdout)[0]["dev"]


def talk(*pods, versions=(4,)):
    for version in versions:
        for a in pods:
            for b in pods:
                if a is not b:
                    wait.until(lambda: a.ping(b.ip_of(version)) or True, f"{a.name} → {b.name}, IPv{version}", 10)
