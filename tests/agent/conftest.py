# SPDX-License-Identifier: Apache-2.0
"""The agent in the lab: fixtures and helpers. The lab's own fixtures (make_lab, built) come from tests/lab."""
import json
import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lab"))
sys.dont_write_bytecode = True

import importlib.util  # noqa: E402

_spec = importlib.util.spec_from_file_location("lab_conftest", pathlib.Path(__file__).resolve().parents[1] / "lab/conftest.py")
_lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lab)
make_lab, built = _lab.make_lab, _lab.built
pytest_runtest_makereport = _lab.pytest_runtest_makereport

from tullelab import wait  # noqa: E402


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


@pytest.fixture
def eyes():
    return Eyes


@pytest.fixture
def converged():
    """converged(lab): every agent has a route for every other node."""
    def check(lab, version=4):
        for node in lab.nodes:
            wait.until(lambda: len([d for d in Eyes(node).routes(version) if "/" in d]) >= len(lab.nodes) - 1,
                       f"{node.name}: routes to all peers", 10, detail=lambda: node.log[-1500:])
    return check


def lease(public_ip, mac="02:00:00:00:aa:01", backend="vxlan", vni=1, **more) -> str:
    """A peer's lease as Flannel writes it."""
    value = {"PublicIP": public_ip, "PublicIPv6": None}
    if backend:
        value["BackendType"] = backend
    if backend == "vxlan":
        value["BackendData"] = {"VNI": vni, "VtepMAC": mac}
    value.update(more)
    return json.dumps(value, separators=(",", ":"))


@pytest.fixture
def make_lease():
    return lease
