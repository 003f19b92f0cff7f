# SPDX-License-Identifier: Apache-2.0
"""Real callers of the CNI plugin on nodes of the lab: containerd by CRI, and podman.

/usr/bin/python3 -m pytest tests/runtime (as root).  TULLE_TEST_PLUGIN=ptp (or bridge) puts Debian's plugin in Tulle's place: whoever
doubts a test can see whether it holds for the reference; what only Tulle has is then skipped."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE.parents[1] / "lab"), str(HERE)]

from tullelab import Lab  # noqa: E402
from tullelab.lab import build_directory  # noqa: E402

import cgroups  # noqa: E402
import containerd as containerd_  # noqa: E402
import cri  # noqa: E402
import image  # noqa: E402

PLUGIN = os.environ.get("TULLE_TEST_PLUGIN", "tulle")


def pytest_collection_modifyitems(items):
    for item in items:
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: network and mount namespaces"))
        elif PLUGIN != "tulle" and item.get_closest_marker("tulle"):
            item.add_marker(pytest.mark.skip(reason=f"{PLUGIN} has no agent"))


def pytest_configure(config):
    config.addinivalue_line("markers", "tulle: needs Tulle's own agent")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    return image.archive(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    return cri.messages(tmp_path_factory.mktemp("cri"))


@pytest.fixture(scope="session")
def lab():
    """Two nodes for all tests of this directory."""
    if PLUGIN == "tulle":
        build = Path(build_directory())
        missing = [name for name in ("tulled", "tulle", "tullectl") if not (build / name).exists()]
        if missing:
            pytest.fail(f"{', '.join(missing)} not in {build}: run `make`, or set TULLE_BUILD")
    cgroups.sweep()
    with Lab(plugin=PLUGIN) as made:
        for node in made.nodes:
            containerd_.plugin_directory(node)
        yield made
    cgroups.remove()


@pytest.fixture(scope="session")
def runtimes(lab, messages, archive):
    """containerd on each node."""
    made = [containerd_.Containerd(node, messages, archive, cgroups.parent(node.name)) for node in lab.nodes]
    try:
        yield [one.start() for one in made]
    finally:
        for one in made:
            one.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test shows what the agents and the runtimes said."""
    outcome = yield
    report = outcome.get_result()
    lab_ = getattr(item, "funcargs", {}).get("lab")
    if report.failed and call.when in ("setup", "call") and lab_:
        for node in lab_.nodes:
            for name in ("tulled", "containerd"):
                path = lab_.log_path(f"{node.name}-{name}")
                if path.exists():
                    lines = [line for line in path.read_text(errors="replace").splitlines() if "level=info" not in line]
                    report.sections.append((f"{name} on {node.name}", "\n".join(line[:400] for line in lines[-25:])))
