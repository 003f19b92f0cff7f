# SPDX-License-Identifier: Apache-2.0
"""What a node knows of its pods, whichever plugin attaches them."""

import json
from ipaddress import IPv4Network, ip_network


def subnet_of(node) -> IPv4Network:
    """The node's own IPv4 subnet: its lease says."""
    if node.lab.plugin != "tulle":
        return node.subnets(node.index)[0]
    leases = node.lab.store.leases()
    for name, lease in leases.items():
        if lease["PublicIP"] == node.ip:
            return ip_network(name.partition("+")[0].replace("-", "/"))
    raise AssertionError(f"no lease of {node.ip} in {leases}")


def attached(node) -> list:
    """Addresses of the pods that the plugin has on this node, in order."""
    if node.lab.plugin == "tulle":
        found = [pod["ip"] for pod in json.loads(node.run(["tullectl", "-o", "json", "pods"]).stdout)["pods"]]
    else:
        kept = "/var/lib/cni/networks/tulle"
        found = [name for name in node.run(["ls", kept]).stdout.split() if name[0].isdigit()] if node.exists(kept) else []
    return sorted(found)
