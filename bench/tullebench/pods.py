# SPDX-License-Identifier: Apache-2.0
"""How long pods take to start on a real cluster: Tulle beside Debian's bridge plugin with plain routes, two clusters, in turns.
Not part of the default run: it needs scripts/kubernetes."""
import contextlib
import http.client
import json
import statistics
import threading
import time

from tullelab import KubeLab, address, wait
from tullelab.kube_control import PORT

NETWORKS = ("tulle", "bridge")
AT_ONCE = (1, 10, 50)
ROUNDS = 3
SELECTOR = "app=started"


class Observer(threading.Thread):
    """Follows the pods by a watch: when each was created, and when it was Ready."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.created, self.ready, self._lab = {}, {}, lab
        control = lab.control
        self._connection = http.client.HTTPConnection(address.url_host(control.ip), PORT, timeout=600)
        self._connection.sock = lab.api.tls.wrap_socket(control.connect(control.ip, PORT, 600), server_hostname=control.ip)
        version = lab.api.get("/api/v1/namespaces/default/pods")["metadata"]["resourceVersion"]
        self._connection.request("GET", f"/api/v1/namespaces/default/pods?watch=true&labelSelector={SELECTOR}&resourceVersion={version}")
        self._answer = self._connection.getresponse()

    def run(self):
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := self._answer.readline():
                now, event = time.monotonic(), json.loads(line)
                name, status = event["object"]["metadata"]["name"], event["object"].get("status", {})
                self.created.setdefault(name, now)
                if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])):
                    self.ready.setdefault(name, now)

    def close(self):
        with contextlib.suppress(OSError):
            self._connection.sock.close()


def _start(lab, count: int) -> list:
    """Seconds from creation to Ready of each of count pods that are asked for at once."""
    observer = Observer(lab)
    observer.start()
    lab.kubectl("scale", "deployment", "started", f"--replicas={count}")
    wait.until(lambda: len(observer.ready) >= count, f"{count} pods are Ready", 240, 0.05)
    observer.close()
    took = [observer.ready[name] - observer.created[name] for name in observer.ready]
    lab.kubectl("scale", "deployment", "started", "--replicas=0")
    wait.until(lambda: not lab.api.items(f"/api/v1/namespaces/default/pods?labelSelector={SELECTOR}"), "all are gone", 240, 0.5)
    return took


def _deployment() -> dict:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "started"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "started"}},
                     "template": {"metadata": {"labels": {"app": "started"}},
                                  "spec": {"containers": [{"name": "main", "image": "localhost/pause:lab"}],
                                           "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False}}}}


def measure(options) -> dict:
    found = {network: {count: [] for count in AT_ONCE} for network in NETWORKS}
    with contextlib.ExitStack() as stack:
        labs = {network: stack.enter_context(KubeLab(nodes=2, network=network, dns=False)) for network in NETWORKS}
        for lab in labs.values():
            lab.apply([_deployment()])
            _start(lab, 2)
        for _ in range(ROUNDS):
            for count in AT_ONCE:
                for network, lab in labs.items():
                    found[network][count] += _start(lab, count)
    return found


def rows(data):
    headings = ("pods at once", "network", "pods", "p50 s", "of bridge", "p99 s", "of bridge")

    def p99(values):
        return sorted(values)[max(0, int(len(values) * 0.99) - 1)]
    lines = []
    for count in AT_ONCE:
        base = data["bridge"][count]
        for network in NETWORKS:
            took = data[network][count]
            lines.append((count, network, len(took), f"{statistics.median(took):.2f}", f"{statistics.median(took) / statistics.median(base):.2f}",
                          f"{p99(took):.2f}", f"{p99(took) / p99(base):.2f}"))
    return headings, lines
