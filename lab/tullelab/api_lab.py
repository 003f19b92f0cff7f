# SPDX-License-Identifier: Apache-2.0
"""A cluster that is only its API: etcd, API server and controllers are real; nodes are objects that the test writes, and tulled runs
beside them with a kubeconfig.  No kubelet, no container runtime: for what the agent and the API say to each other."""

import json

from . import kube_addons, wait
from .kube_control import ANNOTATIONS
from .kube_lab import KubeLab
from .kube_node import AGENT_USER, DISKS

STRATEGIC = "application/strategic-merge-patch+json"


class ApiLab(KubeLab):
    def __init__(self, crds=False, agent_args=(), **options):
        # With policy an ADD waits for the pod's object, and few of these pods have one.
        super().__init__(agent="host", dns=False, crds=crds, agent_args=["--policy=off", *agent_args], **options)

    def _build(self) -> None:
        with self.state.change() as data:
            data["cgroups"], data["disk"] = True, str(DISKS / self.name)
        for node in self.nodes:
            self._make_disk(node)
        self._make_hosts()
        self.store.start()
        self.store.ready()
        self.apply(kube_addons.agent_rights())
        if self.crds:
            self.define()
        for node in self.nodes:
            node.prepare(self.store.identities)
        self._finished()

    def api_back(self, timeout: float = 60) -> None:
        """The API server was started again, and serves."""
        wait.until(lambda: self.api.request("GET", "/readyz") == "ok", "the API server is back", timeout, 0.2)

    def may(self, verb: str, resource: str, subresource: str = "") -> bool:
        """Has the agent's user this right, in the eyes of the API server?"""
        asked = {"user": AGENT_USER, "resourceAttributes": {"verb": verb, "resource": resource, "subresource": subresource}}
        return self.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": asked})["status"]["allowed"]

    # --- nodes as objects ---

    def cidrs(self, index: int) -> list:
        return [{4: f"10.244.{index}.0/24", 6: f"fd00:10:244:{index:x}::/64"}[v] for v in self.versions]

    @property
    def versions(self) -> list:
        return {"4": [4], "6": [6], "dual": [4, 6]}[self.family]

    def node_object(self, name: str, cidrs=(), notes=None, **spec) -> dict:
        """Create a Node. notes: annotations of Flannel's, without prefix."""
        body = {"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "annotations": {ANNOTATIONS + key: value for key, value in (notes or {}).items()}},
                "spec": {**({"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}), **spec}}
        return self.api.create("/api/v1/nodes", body)

    def own_objects(self) -> None:
        for node in self.nodes:
            self.node_object(node.name, self.cidrs(node.index))

    def annotate(self, name: str, **notes) -> None:
        """None takes one away; underscores are dashes."""
        full = {ANNOTATIONS + key.replace("_", "-"): value for key, value in notes.items()}
        self.api.patch(f"/api/v1/nodes/{name}", {"metadata": {"annotations": full}}, STRATEGIC)

    def notes(self, name: str) -> dict:
        """Flannel's annotations of a node, without prefix."""
        found = self.api.get(f"/api/v1/nodes/{name}")["metadata"].get("annotations", {})
        return {key.removeprefix(ANNOTATIONS): value for key, value in found.items() if key.startswith(ANNOTATIONS)}

    def peer(self, name: str, number: int, **notes) -> None:
        """A foreign node as flanneld announces it."""
        announced = {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": f"192.0.2.{100 + number}",
                     "backend-data": vxlan_data(number), **{key.replace("_", "-"): value for key, value in notes.items()}}
        self.node_object(name, self.cidrs(100 + number), {k: v for k, v in announced.items() if v is not None})

    def condition(self, name: str):
        found = self.api.get(f"/api/v1/nodes/{name}").get("status", {}).get("conditions", [])
        return next((one for one in found if one["type"] == "NetworkUnavailable"), None)

    def events(self, node: str) -> list:
        return [one for one in self.api.items("/api/v1/namespaces/default/events")
                if one["involvedObject"]["name"] == node and one["source"].get("component") == "tulled"]

    def wait_event(self, node: str, text: str, timeout: float = 15) -> dict:
        return wait.until(lambda: next((one for one in self.events(node) if text in one["message"]), None),
                          f"an Event on {node} with {text!r}", timeout, 0.2)


def vxlan_data(number: int) -> str:
    return json.dumps({"VNI": 1, "VtepMAC": f"02:00:00:00:aa:{number:02x}"}, separators=(",", ":"))
