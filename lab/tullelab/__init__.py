# SPDX-License-Identifier: Apache-2.0
"""Clusters from namespaces on one machine.

A *lab* is an underlay (bridges and a router in one network namespace), nodes (network, mount, UTS, IPC, PID and
cgroup namespaces), a store, and pods made on the nodes as a container runtime makes them.  Nothing touches the
machine's own network namespace, and everything is written down in /run/tulle-lab/NAME/state.json before it is made,
so that `tulle-lab down` can remove what a crashed creator left.

    with Lab(nodes=2, backend="vxlan") as lab:
        a = lab.nodes[0].pod_add("a")
        b = lab.nodes[1].pod_add("b")
        b.serve(8080)
        assert a.ask(b.ip, 8080).client == a.ip

A KubeLab is the same with real Kubernetes on it: kube_lab.py.
"""

from .lab import Lab
from .kube_lab import KubeLab
from .errors import LabError, CommandError, CniError
from .wait import WaitTimeout, until

__all__ = ["Lab", "KubeLab", "LabError", "CommandError", "CniError", "WaitTimeout", "until"]
