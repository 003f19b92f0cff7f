# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests on real Kubernetes.  /usr/bin/python3 -m pytest tests/kubernetes (as root); scripts/kubernetes builds it."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "lab"), str(REPOSITORY / "tests/shared")]
sys.dont_write_bytecode = True

from tullelab import KubeLab, LabError, wait  # noqa: E402
from tullelab.kube_control import program  # noqa: E402


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root: network and mount namespaces"))


@pytest.fixture(scope="session", autouse=True)
def kubernetes():
    """Not built is a failure, not a skip: `make check-kubernetes` builds first."""
    if os.geteuid() == 0:
        try:
            program("cluster")
        except LabError as error:
            pytest.fail(str(error))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test shows what the cluster and its nodes said."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.when in ("setup", "call"):
        for lab in {id(value): value for value in getattr(item, "funcargs", {}).values() if isinstance(value, KubeLab)}.values():
            report.sections.append((f"lab {lab.name}", story(lab)))


def story(lab) -> str:
    parts = []
    for words in (("get", "nodes,pods", "-A", "-o", "wide"), ("get", "events", "-A", "--sort-by=.lastTimestamp")):
        try:
            parts.append(tail(lab.kubectl(*words, check=False, timeout=20).stdout, 30))
        except (LabError, OSError) as error:
            parts.append(str(error))
    for node in lab.nodes:
        for name in ("kubelet", "containerd", "kube-proxy", "tulled"):
            path = lab.log_path(f"{node.name}-{name}")
            if path.exists():
                parts.append(tail(wait.tail(path, 12), 13))
    return "\n".join(parts)


def tail(text: str, lines: int) -> str:
    return "\n".join(line[:300] for line in text.splitlines()[-lines:])
