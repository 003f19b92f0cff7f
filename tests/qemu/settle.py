#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Run in the guest: settle.py BACKEND.  The agent comes to rest: what it hears of its own work is no reason to work again.

Kernels differ in what they say after a change (6.1 tells an added FDB entry twice, the second time without its destination)."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lab"))

from tullelab import Lab, until  # noqa: E402

QUIET = 1.5  # seconds without a plan pass; an agent that answers itself runs several in that time


def plans(node) -> int:
    return next(int(line.split()[1]) for line in node.api("/metrics").splitlines() if line.startswith("tulle_plans_total"))


def at_rest(nodes) -> bool:
    before = [plans(node) for node in nodes]
    time.sleep(QUIET)
    return before == [plans(node) for node in nodes]


with Lab(backend=sys.argv[1], family="dual") as lab:
    pod = lab.nodes[0].pod_add("a")
    until(lambda: at_rest(lab.nodes), f"{sys.argv[1]}: no plan passes any more", 20)
    pod.delete()
    until(lambda: at_rest(lab.nodes), f"{sys.argv[1]}: no plan passes any more after the pod went", 20)
    print(f"AT REST {sys.argv[1]} after {', '.join(str(plans(node)) for node in lab.nodes)} passes")
