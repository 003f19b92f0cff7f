# SPDX-License-Identifier: Apache-2.0
"""What a user installs: manifests, image, package. The lab's own fixtures (make_lab, built) come from tests/lab."""
import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))
sys.path.insert(0, str(ROOT / "tests" / "runtime"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

from manifests import objects  # noqa: E402

_spec = importlib.util.spec_from_file_location("lab_conftest", ROOT / "tests" / "lab" / "conftest.py")
_lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_lab)
make_lab, built = _lab.make_lab, _lab.built
pytest_runtest_makereport = _lab.pytest_runtest_makereport

SOAK = bool(os.environ.get("TULLE_SOAK"))


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: minutes of packages and compilers; with TULLE_SOAK=1 only")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("soak") and not SOAK:
            item.add_marker(pytest.mark.skip(reason="a soak's test: TULLE_SOAK=1 runs it"))


@pytest.fixture(scope="session")
def manifest() -> dict:
    return objects((ROOT / "deploy" / "tulle.yaml").read_text())


@pytest.fixture(scope="session")
def cleanup() -> dict:
    return objects((ROOT / "deploy" / "tulle-cleanup.yaml").read_text())


@pytest.fixture(scope="session")
def pod(manifest) -> dict:
    return manifest["DaemonSet", "tulle"]["spec"]["template"]["spec"]


def recipe(*words, timeout=900):
    """deploy/image/build; its failure is the test's, with its words."""
    done = subprocess.run([ROOT / "deploy" / "image" / "build", *map(str, words)], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def image_root(built) -> pathlib.Path:
    """The image's files, with the programs under test."""
    recipe("--programs", built, "--root-only")
    return next((ROOT / "build" / "image").glob("root-" + _architecture()))


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def architecture() -> str:
    return _architecture()
