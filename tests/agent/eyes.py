# SPDX-License-Identifier: Apache-2.0
"""What a test sees of a node: the kernel's tables, the agent's status, problems and metrics."""
import json
import re

from tullelab import wait


class Eyes:
    """What a node's kernel and agent show."""

    def __init__(self, node):
        self.node = node

    def routes(self, version=4) -> dict:
        """Destination → route, of protocol 84, without the blackhole behind the own block."""
        done = self.node.run(["ip", "-j", f"-{version}", "route", "show", "proto", "84"])
        return {route["dst"]: route for route in json.loads(done.stdout or "[]")
                if route.get("type") != "blackhole"}

    def neighbours(self, device="flannel.1", version=4) -> dict:
        done = self.node.run(["ip", "-j", f"-{version}", "neigh", "show", "dev", device, "nud", "permanent"], check=False)
        return {one["dst"]: one["lladdr"] for one in json.loads(done.stdout or "[]")}

    def fdb(self, device="flannel.1") -> dict:
        """MAC → peer."""
        done = self.node.run(["bridge", "-j", "fdb", "show", "dev", device], check=False)
        return {one["mac"]: one["dst"] for one in json.loads(done.stdout or "[]") if "dst" in one}

    def link(self, device="flannel.1"):
        done = self.node.run(["ip", "-j", "-d", "link", "show", device], check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 else None

    def ctl(self, *words, check=True):
        return self.node.run([f"{self.node.lab.build}/tullectl", *words], check=check)

    def status(self) -> dict:
        return json.loads(self.ctl("-o", "json", "status", check=False).stdout)

    def problems(self) -> dict:
        return self.status()["problems"]

    def metric(self, name: str) -> float:
        return float(re.search(rf"^tulle_{name} (\S+)$", self.node.api("/metrics"), re.M)[1])

    def own_subnet(self) -> str:
        return self.status()["lease"]["subnet"]

    def wait_problem(self, text: str, timeout=5) -> str:
        """Until a problem mentions text; returns "object: text"."""
        return wait.until(lambda: next((f"{o}: {t}" for o, t in self.problems().items() if text in f"{o}: {t}"), None),
                          f"a problem with {text!r}", timeout, detail=lambda: str(self.problems()))

    def wait_no_problem(self, timeout=5) -> None:
        wait.until(lambda: not self.problems(), "no problem left", timeout, detail=lambda: str(self.problems()))
