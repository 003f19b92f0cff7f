# SPDX-License-Identifier: Apache-2.0
"""When is a change in force?  When every agent says that it has seen it, and has nothing left to do.

Manifests are read in the order in which they were written.  So the last of a change is a mark: namespaces, without a pod in them,
of which there are more than at any moment before.  An agent that counts all of them has seen everything else, too."""

import http.client
import json
import socket
from ipaddress import ip_address

from . import case_objects, wait
from .errors import LabError

MARK = "tulle-lab-mark-"


class Settler:
    def __init__(self, lab):
        self.lab, self.marks = lab, 0

    @staticmethod
    def is_mark(name: str) -> bool:
        return MARK in name

    def wait(self, world, old, new_pods) -> None:
        self._routes(new_pods)
        if not self.lab.policy_args:
            return
        gone = set(old.namespaces) - set(world.namespaces) if old else ()
        self._put_marks(len(gone) + 1)
        wanted = len(world.namespaces) + self.marks
        for node in self.lab.nodes:
            wait.until(lambda: self._in_force(node, wanted), f"{node.name}: the policies are in force", 20, 0.005,
                       detail=lambda: wait.tail(node.agent.log_path))

    def _put_marks(self, count: int) -> None:
        names = [f"{MARK}{self.marks + number}" for number in range(1, count + 1)]
        items = {case_objects.file_name(f"v1/Namespace//{name}"): {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names}
        self.lab.store.change({name: json.dumps(item) for name, item in items.items()}, ())
        self.marks += count

    @staticmethod
    def _in_force(node, wanted: int) -> bool:
        if not node.agent_running:
            raise wait.GiveUp("tulled has ended")
        policy = _status(node)["policy"]
        if policy["state"] == "off":
            raise wait.GiveUp(f"it enforces none: {policy['why']}")
        if policy["namespaces"] != wanted or not policy["settled"]:
            raise LabError(f"it has {policy['namespaces']} namespaces of {wanted}, settled: {policy['settled']}")
        return True

    def _routes(self, new_pods) -> None:
        """Every node knows the way to pods of other nodes: not the default route."""
        for node in self.lab.nodes:
            ips = [ip for pod in new_pods if pod.node != node.name for ip in pod.ips]
            if ips:
                gateways = {str(gateway) for gateway in node.port.gateways}
                wait.until(lambda: not self._lost(node, ips, gateways), f"{node.name}: routes to pods of other nodes", 20, 0.02,
                           detail=lambda: wait.tail(node.agent.log_path))

    @staticmethod
    def _lost(node, ips, gateways) -> list:
        lines = "".join(f"route get {ip}\n" for ip in ips)
        done = node.run(["ip", "-j", "-force", "-batch", "-"], check=False, input=lines)
        found = [route for line in done.stdout.splitlines() if line.strip() for route in json.loads(line)]
        known = {str(ip_address(route["dst"])) for route in found if route.get("gateway") not in gateways}
        return [ip for ip in ips if ip not in known]


class _Door(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _status(node) -> dict:
    """What `tullectl status` shows, without a process for each question."""
    door = _Door(str(node.root / "run/tulle/ctl.sock"))
    try:
        door.request("GET", "/v1/status")
        answer = door.getresponse()
        return json.loads(answer.read())
    except http.client.HTTPException as error:
        raise LabError(f"{node.name}: ctl.sock: {error}") from None
    finally:
        door.close()
