# SPDX-License-Identifier: Apache-2.0
"""Pod to pod on two nodes where the store speaks Calico: pools without encapsulation, with IPIP and with VXLAN, through the agent, against
the same layouts made by hand of the kernel's own parts (IPIP by the module where there is one, and by the carrier alone). Client and server
on one CPU, layouts interleaved in random order, as in the part "paths". Nobody masquerades, but one pool, to see what connection tracking costs.
The agent's layouts have its guard in front, those by hand have no rules at all."""
import statistics

from tullelab.lab import Lab

from . import paths, report
from .paths import TESTS, Layout

AGENT = {"pool none": ("none", False), "pool ipip": ("ipip", False), "pool vxlan": ("vxlan", False), "pool none, natOutgoing": ("none", True)}
BY_HAND = ("routed", "routed vxlan", "routed ipip kernel", "routed ipip carrier")
NAMES = {"routed": "by hand routes", "routed vxlan": "by hand vxlan", "routed ipip kernel": "by hand ipip (module)",
         "routed ipip carrier": "by hand ipip (carrier)"}
AGAINST = {"pool none": ("routed",), "pool none, natOutgoing": ("routed",), "pool vxlan": ("routed vxlan",), "pool ipip": ("routed ipip kernel", "routed ipip carrier")}


def _layouts(labs):
    found = []
    for name, (what, masquerade) in AGENT.items():
        lab = Lab(nodes=2, pools=what, ip_masq=masquerade)
        labs.append(lab)
        lab.up()
        one, two = (node.pod_add(f"bench-{node.index}") for node in lab.nodes)
        found.append(Layout(name, one, two, two.ip))
    found += paths.routed_layouts(labs, BY_HAND)
    nodes = labs[0].nodes
    return [*found, Layout("bare", nodes[0], nodes[1], nodes[1].ip)]


def measure(options) -> dict:
    return paths.interleaved(options, _layouts)


def _speed(samples, one, other, test):
    """How fast one is, as a share of the other: 1.00 is as fast."""
    if other not in samples:
        return "-"
    a, b = paths.best_of(test, samples[one][test]), paths.best_of(test, samples[other][test])
    return report.ratio(*((a, b) if test == "stream" else (b, a)))


def rows(data):
    headings, samples = ["layout"], data["samples"]
    for text in ("TCP_RR us", "TCP_CRR us", "UDP 64 B ns/packet", "stream Mbit/s"):
        headings += [text, "of bare", "of by hand"]
    lines = []
    for name in ("bare", *BY_HAND, *AGENT):
        if name not in samples:
            continue  # this kernel has no module ipip
        hand = next((other for other in AGAINST.get(name, ()) if other in samples), "")
        line = [NAMES.get(name, name)]
        for test in TESTS:
            values = samples[name][test]
            line += [f"{paths.best_of(test, values):.1f} ({statistics.median(values):.1f})", _speed(samples, name, "bare", test),
                     _speed(samples, name, hand, test)]
        lines.append(line)
    lines.append(["pool ipip, of pool vxlan", *(cell for test in TESTS for cell in ("", "", _speed(samples, "pool ipip", "pool vxlan", test)))])
    return headings, lines
