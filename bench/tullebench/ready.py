# SPDX-License-Identifier: Apache-2.0
"""How soon a node can attach pods once the agent is there: from the start of tulled's process, the image being on the node, to the CNI
configuration, to the runtime's NetworkReady (asked over CRI), to the Node's Ready. The lab's kubelets report status every second.
Not part of the default run: it needs scripts/kubernetes."""
import contextlib
import os
import pathlib
import sys
import tempfile
import threading
import time

from tullelab import KubeLab, kube_containerd, kube_deploy, proc, wait

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFLIST = "etc/cni/net.d/10-tulle.conflist"
NODES, ROUNDS = 2, 3


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _tulled(node):
    """When tulled's process on that node began, on _now()'s clock (the kernel tells hundredths of a second); None: there is none."""
    space = os.readlink(f"/proc/{node.init['pid']}/ns/net")
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "comm").read_text() == "tulled\n" and os.readlink(path / "ns/net") == space:
                return int((path / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return None


class Observer(threading.Thread):
    """One node's way to readiness."""

    def __init__(self, node, messages, cri):
        super().__init__(daemon=True)
        root = f"/proc/{node.init['pid']}/root"
        self._node, self._conflist = node, pathlib.Path(root, CONFLIST)
        self._runtime = cri.Client(root + kube_containerd.SOCKET, messages, "", "")
        self.seen = {}

    def run(self):
        steps = {"CNI configuration": self._conflist.exists, "NetworkReady": lambda: self._runtime.conditions()["NetworkReady"],
                 "node Ready": lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in self._node.object["status"]["conditions"])}
        began = wait.until(lambda: _tulled(self._node), f"{self._node.name}: tulled", 60, 0.02)
        for what, reached in steps.items():
            wait.until(reached, f"{self._node.name}: {what}", 60, 0.002)
            self.seen[what] = _now() - began
        self._runtime.close()


def measure(options) -> dict:
    sys.path.append(str(ROOT / "tests" / "runtime"))
    import cri
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        messages = cri.messages(pathlib.Path(directory))
        for _ in range(ROUNDS):
            with KubeLab(nodes=NODES, network="none", dns=False) as lab:
                archive = kube_deploy.image(lab.build)
                proc.together(*(lambda node=node: node.load(archive) for node in lab.nodes))
                observers = [Observer(node, messages, cri) for node in lab.nodes]
                for observer in observers:
                    observer.start()
                lab.apply(kube_deploy.objects(lab))
                for observer in observers:
                    observer.join(120)
                    for what, took in observer.seen.items():
                        found.setdefault(what, []).append(took)
    return found


def rows(data):
    headings = ("since tulled's start", "nodes", "least s", "median s", "most s")
    return headings, [(what, len(took), *(f"{value:.2f}" for value in (min(took), sorted(took)[len(took) // 2], max(took)))) for what, took in data.items()]
