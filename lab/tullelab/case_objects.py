# SPDX-License-Identifier: Apache-2.0
"""A case's world as objects of the cluster, as an API server would show them, and the files of the directory store that hold them."""

import hashlib
import json
import re
from ipaddress import ip_address

METADATA_NAME = "kubernetes.io/metadata.name"


def of_world(world) -> dict:
    """File name → text."""
    found = {}
    for name, labels in world.namespaces.items():
        _put(found, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labels, METADATA_NAME: name}}})
    for pod in world.pods.values():
        _put(found, of_pod(pod, world.nodes[pod.node]))
    for key, policy in world.policies.items():
        found[file_name(key)] = json.dumps(policy, indent=1)
    return found


def of_pod(pod, node_ips) -> dict:
    ports = [dict({"containerPort": number, "protocol": protocol}, **({"name": name} if name else {})) for name, number, protocol in pod.ports]
    ips = [{"ip": ip} for ip in pod.ips]
    spec = {"nodeName": pod.node, "serviceAccountName": pod.account, "hostNetwork": pod.host,
            "containers": [{"name": "main", "image": "prober", "ports": ports}]}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid(pod), "labels": dict(pod.labels), "annotations": _families(pod)}, "spec": spec,
            "status": {"phase": "Running", "hostIP": node_ips[0], "podIP": pod.ips[0], "podIPs": ips}}


def _families(pod) -> dict:
    """No address that it did not ask for."""
    return {"cni.projectcalico.org/ipFamilies": json.dumps(sorted({"IPv6" if ":" in ip else "IPv4" for ip in pod.ips}))}


def uid(pod) -> str:
    """Another one when the pod is another one."""
    text = hashlib.sha256(repr(pod.attachment).encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def of_node(name: str, ips) -> dict:
    addresses = [{"type": "InternalIP", "address": str(ip_address(ip))} for ip in ips] + [{"type": "Hostname", "address": name}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": {},
            "status": {"addresses": addresses}}


def of_pool(version: int, network, backend: str) -> dict:
    """Its addresses are given by name only: no node keeps any at hand, which a pod of another node may ask for."""
    spec = {"cidr": str(network), "blockSize": 26 if version == 4 else 122, "natOutgoing": False, "assignmentMode": "Manual",
            **({"vxlanMode": "Always"} if backend == "vxlan" else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": f"pods-ipv{version}"}, "spec": spec}


def file_name(key: str) -> str:
    """Of an object with that key (API version, kind, namespace, name, with slashes between)."""
    short = re.sub(r"[^A-Za-z0-9.-]+", "_", key)[:150]
    return f"case_{short}_{hashlib.sha256(key.encode()).hexdigest()[:8]}.json"


def _put(found: dict, item: dict) -> None:
    metadata = item["metadata"]
    key = "/".join((item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"]))
    found[file_name(key)] = json.dumps(item, indent=1)
