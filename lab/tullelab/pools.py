# SPDX-License-Identifier: Apache-2.0
"""Calico's half for a lab: IPPools in the store instead of net-conf.json, and what nodes need to know to speak BGP."""

import json
from pathlib import Path

from . import address
from .errors import LabError
from .store import check_manifest

# What --pools knows by name. IPIP carries IPv4 only: the IPv6 pool beside it has VXLAN, on the same condition.
PRESETS = {"none": ("none", "Never"), "ipip": ("ipip", "Always"), "vxlan": ("vxlan", "Always"),
           "ipip-subnet": ("ipip", "CrossSubnet"), "vxlan-subnet": ("vxlan", "CrossSubnet")}
BFD = {"minTxMs": 300, "minRxMs": 300, "multiplier": 5}  # milliseconds; slow, for machines that do much else
NODE_AS, ROUTER_AS = 64700, 64600  # plus the index of each


def encapsulation(what: str, version: int) -> tuple:
    """("none", "ipip" or "vxlan"; "Never", "Always" or "CrossSubnet") of a preset's pool of that family; None of a file."""
    if what not in PRESETS:
        return None
    kind, when = PRESETS[what]
    return ("vxlan" if kind == "ipip" and version == 6 else kind), when


def on_the_wire(what: str, version: int, same_rack: bool):
    """How a preset's packets travel between two nodes: "none", "ipip", "vxlan"; None: the manifest's author knows."""
    found = encapsulation(what, version)
    return found and ("none" if found[1] == "CrossSubnet" and same_rack else found[0])


def manifests(what: str, family: str, masquerade: bool) -> dict:
    """File name → text for the directory store."""
    if what not in PRESETS:
        return _file(what)
    found = {}
    for version in address.families(family):
        kind, when = encapsulation(what, version)
        spec = {"cidr": str(address.PODS4 if version == 4 else address.PODS6), "natOutgoing": masquerade}
        if kind != "none":
            spec[f"{kind}Mode"] = when
        found[f"pool-ipv{version}.json"] = _object("IPPool", f"default-ipv{version}-ippool", spec)
    return found


def _file(name: str) -> dict:
    path = Path(name)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"--pools {name}: neither one of {', '.join(PRESETS)} nor a manifest: {getattr(error, 'strerror', None) or error}") from None
    check_manifest(path.name, text)
    if "IPPool" not in text:
        raise LabError(f"--pools {name}: no IPPool in it")
    return {path.name: text}


def bgp(lab) -> dict:
    """The cluster's BGP. In racks: no mesh, every node an AS of its own, both routers its peers, with BFD. Else Calico's default, the mesh."""
    if not lab.routers:
        return {"bgp-configuration.json": _object("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": True})}
    found = {"bgp-configuration.json": _object("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": False})}
    for node in lab.nodes:
        found[f"{node.name}.json"] = json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {
            "name": node.name, "labels": {"kubernetes.io/hostname": node.name, "rack": str(node.port.rack + 1)},
            "annotations": {"projectcalico.org/ASNumber": str(NODE_AS + node.index)}}}, indent=2)
    for router in lab.routers:
        for port in router.ports:
            for own in port.addresses:
                name = f"{router.name}-rack-{port.rack + 1}-ipv{own.version}"
                found[f"peer-{name}.json"] = _object("BGPPeer", name, {
                    "peerIP": str(own.ip), "asNumber": ROUTER_AS + router.index, "nodeSelector": f"rack == '{port.rack + 1}'"},
                    {"tulle/bfd": json.dumps(BFD)})
    return found


def _object(kind: str, name: str, spec: dict, annotations=None) -> str:
    metadata = {"name": name, **({"annotations": annotations} if annotations else {})}
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec}, indent=2)
