# SPDX-License-Identifier: Apache-2.0
"""Calico's resources in a cluster: put there by kubectl, and what became of them."""

import ipaddress
import json

from cluster_eyes import Eyes
from published import EXAMPLE  # noqa: F401: for those who import this
from tullelab import wait
from tullelab.kube_images import ECHO

V3, V1 = "projectcalico.org/v3", "crd.projectcalico.org/v1"
CIDR = {4: "10.244.0.0/16", 6: "fd00:10:244::/48"}


def resource(kind: str, name: str, group: str = V3, annotations=None, **spec) -> dict:
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}


def pool(name="default-ipv4-ippool", cidr=CIDR[4], group=V3, **spec) -> dict:
    return resource("IPPool", name, group, cidr=cidr, **{"natOutgoing": True, **spec})


def objects(lab, plural: str, group: str = V3) -> list:
    return lab.api.items(f"/apis/{group}/{plural}")


def pod_manifest(name: str, node, annotations=None, namespace="default", labels=None) -> dict:
    spec = {"nodeName": node.name, "terminationGracePeriodSeconds": 1, "containers": [{"name": "echo", "image": ECHO}]}
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}, "labels": labels or {"run": name}}}


def taken(lab, group: str = V3) -> dict:
    """Address → attributes of who has it (handle_id, secondary), of all blocks."""
    found = {}
    for block in objects(lab, "ipamblocks", group):
        network = ipaddress.ip_network(block["spec"]["cidr"])
        for ordinal, index in enumerate(block["spec"]["allocations"]):
            if index is not None:
                found[str(network[ordinal])] = block["spec"]["attributes"][index]
    return found


def owners(lab, group: str = V3) -> dict:
    """Address → pod."""
    return {ip: said["secondary"]["pod"] for ip, said in taken(lab, group).items() if "pod" in said.get("secondary", {})}


def inside(ip: str, cidr: str) -> bool:
    return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr)


def way(node, ip: str) -> str:
    """The device that leads to an address."""
    return json.loads(node.run(["ip", "-j", "route", "get", ip]).stdout)[0]["dev"]


def speaks_calico(node) -> bool:
    return bool(Eyes(node).status()["calico"])


def wait_calico(lab, timeout: float = 20) -> None:
    for node in lab.nodes:
        wait.until(lambda: speaks_calico(node) and Eyes(node).status()["ready"], f"{node.name} speaks Calico", timeout, 0.1,
                   detail=lambda: str(Eyes(node).status()))


def wait_pools(lab, *names) -> None:
    """Until each agent counts these pools, and no other."""
    for node in lab.nodes:
        wait.until(lambda: {one["name"] for one in Eyes(node).status()["calico"]["pools"]} == set(names), f"{node.name} has pools {names}", 15, 0.1,
                   detail=lambda: str(Eyes(node).status()))


def events(lab, name: str) -> list:
    """What Tulle's agents said in Events about an object."""
    return [one for one in lab.api.items("/api/v1/namespaces/default/events")
            if one["involvedObject"]["name"] == name and one["source"].get("component") == "tulled"]
