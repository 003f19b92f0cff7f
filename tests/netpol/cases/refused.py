# SPDX-License-Identifier: Apache-2.0
"""What cannot be understood denies what its policy selects, in its direction alone. Not for the slow evaluators, which
take objects as they should be."""
from calico import IN_A, allow, local, one, rule
from table import case, netpol, nine


def kubernetes(title, policy, lines):
    return case(f"refused: {title}", nine(), [policy], lines)


def cases():
    return [
        one("http rules deny", [local(ingress=[rule("Allow", http={"methods": ["GET"]}), allow()])], [IN_A]),
        one("an unknown action denies", [local(ingress=[rule("allow")], egress=[allow()])], [IN_A]),
        one("a bad CIDR denies", [local(egress=[rule("Allow", destination={"nets": ["10.0.0.0/33"]}), allow()])],
            ["deny shop/web -> *"]),
        one("a bad selector denies", [local(ingress=[allow({"selector": "has(app"}), allow()])], [IN_A]),
        one("a bad selector of the policy is all of its namespace", [local(selector="app = 'x'", ingress=[allow()])],
            ["deny * -> shop/*"]),
        kubernetes("an operator that nobody knows", netpol("x", ingress=[
            {"from": [{"podSelector": {"matchExpressions": [{"key": "pod", "operator": "Like", "values": ["a"]}]}}]}, {}]),
            ["deny * -> x/*"]),
        kubernetes("a CIDR that is none", netpol("x", egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0"}}]}, {}]), ["deny x/* -> *"]),
        kubernetes("a member that nobody knows", netpol("x", ingress=[{"frm": [{"podSelector": {}}]}]), ["deny * -> x/*"]),
        kubernetes("a range that ends before it begins", netpol("x", ingress=[{"ports": [{"port": 90, "endPort": 80}]}, {}]),
                   ["deny * -> x/*"]),
    ]
