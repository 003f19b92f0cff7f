# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the lab tests.  Run them with /usr/bin/python3 -m pytest tests/lab (as root)."""

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "lab"))
sys.dont_write_bytecode = True

from tullelab import Lab  # noqa: E402
from tullelab.lab import build_directory  # noqa: E402


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root: network and mount namespaces"))


@pytest.fixture(scope="session")
def built():
    """The directory with tulled, tulle and tullectl.  Not built is a failure, not a skip: `make check` builds first."""
    directory = Path(build_directory())
    missing = [name for name in ("tulled", "tulle", "tullectl") if not (directory / name).exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not in {directory}: run `make`, or set TULLE_BUILD")
    return directory


@pytest.fixture(scope="module")
def make_lab():
    """make_lab(**options) → a Lab that is up; all of them go down with the module."""
    labs = []

    def make(**options):
        lab = Lab(**options)
        lab.up()
        labs.append(lab)
        return lab
    yield make
    for lab in labs:
        lab.down()


@pytest.fixture(scope="module")
def plain_lab(make_lab):
    """Two nodes with Debian's ptp plugin: for tests of the lab itself, which need nothing of ours to be built."""
    return make_lab(plugin="ptp", family="dual")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failing test shows what the agents said."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.when in ("setup", "call"):
        for value in getattr(item, "funcargs", {}).values():
            for lab in {id(x): x for x in (value, getattr(value, "lab", None)) if isinstance(x, Lab)}.values():
                for node in lab.nodes:
                    try:
                        log = node.log
                    except OSError:
                        continue
                    report.sections.append((f"tulled on {node.name}", "\n".join(log.splitlines()[-30:])))
