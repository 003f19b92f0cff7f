# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of BGP.  /usr/bin/python3 -m pytest tests/bgp (as root, after make)."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from bed import BIRD, BUILD, Bed  # noqa: E402


def pytest_collection_modifyitems(items):
    for item in items:
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: network namespaces"))
        elif not os.path.exists(BIRD):
            item.add_marker(pytest.mark.skip(reason="needs BIRD 2 (Debian's bird2)"))


@pytest.fixture
def bed():
    if not (BUILD / "tests/bgp/bgp_probe").exists():
        pytest.fail(f"tests/bgp/bgp_probe not in {BUILD}: run make, or set TULLE_BUILD")
    bed = Bed()
    yield bed
    bed.close()
