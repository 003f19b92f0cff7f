# SPDX-License-Identifier: Apache-2.0
"""The agent in the lab: fixtures and helpers. The lab's own fixtures (make_lab, built) come from tests/lab."""
import json
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / name) for name in ("lab", "shared")]
sys.dont_write_bytecode = True

import importlib.util  # noqa: E402

_spec = importlib.util.spec_from_file_location("lab_conftest", pathlib.Path(__file__).resolve().parents[1] / "lab/conftest.py")
_lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lab)
make_lab, built = _lab.make_lab, _lab.built
pytest_runtest_makereport = _lab.pytest_runtest_makereport

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from eyes import Eyes  # noqa: E402
from tullelab import wait  # noqa: E402


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
