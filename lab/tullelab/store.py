# SPDX-License-Identifier: Apache-2.0
"""Where the cluster's state lies: a directory that all nodes share.  (etcd: see etcd.py, the same methods.)"""

import json
import os
from pathlib import Path

from .errors import LabError

INSIDE = "/var/lib/tulle/store"


class DirectoryStore:
    """One directory of the machine, bind-mounted into every node."""

    def __init__(self, lab):
        self.path = lab.state.dir / "store"
        self.binds = [[str(self.path), INSIDE]]
        self.agent_args = ["--store", "directory", "--store-dir", INSIDE]

    def create(self, net_conf) -> None:
        """net_conf: net-conf.json's text; None: there is none (IPPools take its place)."""
        self.path.mkdir()
        (self.path / "leases").mkdir()
        if net_conf:
            self.put_config(net_conf)

    def ready(self) -> None:
        pass

    def put_config(self, net_conf: str) -> None:
        self.put("net-conf.json", net_conf)

    def put(self, name: str, text: str) -> Path:
        """Atomically: no agent ever reads half a manifest."""
        target = self.path / name
        new = target.with_name(f".{target.name}.new")
        with open(new, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(new, target)
        return target

    def delete(self, name: str) -> None:
        (self.path / name).unlink()

    def leases(self) -> dict:
        """File name without suffix → lease object."""
        found = {}
        for file in sorted((self.path / "leases").glob("*")):
            if file.is_file() and not file.name.startswith("."):
                try:
                    found[file.name.removesuffix(".json")] = json.loads(file.read_text())
                except ValueError:
                    continue  # being looked at by people only; the agent reports bad ones
        return found

    def blocks(self, node: str) -> list:
        """Networks of the IPAM blocks that a node has."""
        found = [json.loads(file.read_text())["spec"] for file in sorted((self.path / "objects/ipamblocks").glob("*.json"))]
        return [spec["cidr"] for spec in found if spec.get("affinity") == f"host:{node}"]


def check_manifest(name: str, text: str) -> None:
    """What can be said without a YAML parser; the agent has the last word."""
    if not name.endswith((".yaml", ".yml", ".json")):
        raise LabError(f"{name}: expected a name ending in .yaml, .yml or .json")
    if not text.strip():
        raise LabError(f"{name}: empty")
    if name.endswith(".json"):
        try:
            json.loads(text)
        except ValueError as error:
            raise LabError(f"{name}: not JSON: {error}") from None
