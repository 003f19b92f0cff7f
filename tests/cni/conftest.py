# SPDX-License-Identifier: Apache-2.0
"""A protocol suite for CNI plugins; reference: the CNI specification 1.1.0.

pytest tests/cni                                        ours, and Debian's ptp and bridge for comparison
pytest tests/cni --plugin FILE --conf-template JSON     any other: JSON is the plugin's part of a configuration (a file or
                                                        the text; ${DIR} is a scratch directory); --plugin-env K=V
TULLE_BUILD names the build directory (default build/)."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from node import Node  # noqa: E402
from profiles import ALL, DEVIATIONS, PROFILES, ROOT, Agent, Profile, make_plugin  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--plugin", help="path of the plugin to test instead of the known ones")
    parser.addoption("--conf-template", help="its part of the network configuration")
    parser.addoption("--plugin-env", action="append", default=[], metavar="K=V")
    parser.addoption("--plugin-versions", default=",".join(ALL), help="CNI versions that it supports")


def pytest_generate_tests(metafunc):
    if "profile_name" not in metafunc.fixturenames:
        return
    ours_only = metafunc.definition.get_closest_marker("ours") is not None
    names = ["tulle"] if ours_only else list(PROFILES)
    if metafunc.config.getoption("--plugin"):
        names = [] if ours_only else ["custom"]
    metafunc.parametrize("profile_name", names, scope="module")


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: behaviour that only our plugin promises")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """One plugin after the other, so that each file needs one node and one agent a plugin."""
    def order(item):
        name = getattr(item, "callspec", None) and item.callspec.params.get("profile_name")
        return str(item.path), list(PROFILES).index(name) if name in PROFILES else -1
    items.sort(key=order)


def find_deviation(item):
    """The reason why this test is expected to fail for its plugin, or None."""
    name = getattr(item, "callspec", None) and item.callspec.params.get("profile_name")
    parts = [part for part in item.name.partition("[")[2].rstrip("]").split("-") if part != name]
    test = item.originalname
    table = DEVIATIONS.get(name, {})
    return table.get(f"{test}[{'-'.join(parts)}]") or table.get(test)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    reason = find_deviation(item) if report.when == "call" else None
    if reason is None or report.skipped:
        return
    if report.failed:
        report.outcome = "passed"
        report.sections.append(("known deviation", reason))
    else:
        report.outcome = "failed"
        report.longrepr = f"recorded as a deviation, but it passes now: {reason}"


@pytest.fixture(scope="session")
def build():
    path = pathlib.Path(os.environ.get("TULLE_BUILD", ROOT / "build")).resolve()
    if not (path / "tests/cni/cni_harness").exists():
        pytest.exit(f"{path} holds no build; run make, or set TULLE_BUILD", returncode=2)
    return path


@pytest.fixture(scope="module")
def node(profile_name):
    # Debian's ptp waits for two seconds in each ADD until the kernel has looked for duplicates.
    node = Node(dad=profile_name != "ptp")
    yield node
    node.close()


@pytest.fixture(scope="module")
def profile(profile_name, pytestconfig):
    if profile_name == "custom":
        return Profile("custom", pytestconfig.getoption("--plugin-versions").split(","))
    if profile_name != "tulle" and not os.path.exists(f"/usr/lib/cni/{profile_name}"):
        pytest.skip(f"/usr/lib/cni/{profile_name} is not installed (containernetworking-plugins)")
    return PROFILES[profile_name]


@pytest.fixture(scope="module")
def directory(tmp_path_factory, profile_name):
    return tmp_path_factory.mktemp(profile_name)


@pytest.fixture(scope="module")
def agent(profile, node, build, directory):
    """Ours needs one; null for the others."""
    if not profile.ours:
        yield None
        return
    agent = Agent(node, build, directory)
    yield agent
    agent.close()


@pytest.fixture(scope="module")
def plugin(profile, node, build, directory, agent, pytestconfig):
    return make_plugin(profile.name, node, build, directory, pytestconfig)


@pytest.fixture
def pod(node):
    name = node.add_netns()
    yield name
    node.remove_netns(name)


@pytest.fixture
def attached(plugin, pod):
    """A pod with its network: (name, result); taken down afterwards."""
    result = plugin.add(pod).ok().json
    yield pod, result
    plugin.delete(pod)
