# SPDX-License-Identifier: Apache-2.0
"""GC and STATUS of CNI 1.1.0."""
import pytest

from node import wait_until

pytestmark = pytest.mark.ours


@pytest.fixture
def three(plugin, node):
    pods = [node.add_netns() for _ in range(3)]
    results = {pod: plugin.add(pod).ok().json for pod in pods}
    yield pods, results
    for pod in pods:
        plugin.delete(pod).silent()
        node.remove_netns(pod)


def key(pod):
    return {"containerID": f"id-{pod}", "ifname": "eth0"}


@pytest.mark.parametrize("keep", [3, 1, 0], ids=["all", "some", "none"])
@pytest.mark.parametrize("spelling", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc(plugin, node, three, keep, spelling):
    pods, results = three
    conf = plugin.conf("1.1.0", **{spelling: [key(pod) for pod in pods[:keep]]})
    plugin.call("GC", conf).silent()
    for pod in pods[:keep]:
        plugin.check(pod, results[pod]).silent()
    for pod in pods[keep:]:
        assert plugin.check(pod, results[pod]).code == 3
    wait_until(lambda: sum(link.startswith("tul") for link in node.links()) == keep, "the interfaces are gone")


def test_gc_first_spelling_wins(plugin, three):
    pods, results = three
    conf = plugin.conf("1.1.0", **{"cni.dev/valid-attachments": [key(pod) for pod in pods], "cni.dev/attachments": []})
    plugin.call("GC", conf).silent()
    for pod in pods:
        plugin.check(pod, results[pod]).silent()


@pytest.mark.parametrize("wrong", [{}, {"cni.dev/valid-attachments": None}, {"cni.dev/valid-attachments": {}},
                                   {"cni.dev/valid-attachments": [{"containerID": "x"}]},
                                   {"cni.dev/valid-attachments": ["x"]}],
                         ids=["absent", "null", "object", "half", "text"])
def test_gc_without_a_good_list_removes_nothing(plugin, three, wrong):
    pods, results = three
    conf = {**plugin.conf("1.1.0"), **wrong}
    assert plugin.call("GC", conf).code == 7
    for pod in pods:
        plugin.check(pod, results[pod]).silent()


def test_gc_is_of_one_network(plugin, three):
    pods, results = three
    plugin.call("GC", plugin.conf("1.1.0", name="another", **{"cni.dev/valid-attachments": []})).silent()
    for pod in pods:
        plugin.check(pod, results[pod]).silent()


def test_status(plugin, agent, directory):
    conf = plugin.conf("1.1.0")
    plugin.call("STATUS", conf).silent()
    (directory / "not-ready").write_text("the store has not been read\n")
    try:
        answer = plugin.call("STATUS", conf)
        assert answer.code == 50 and "the store has not been read" in answer.json["details"]
    finally:
        (directory / "not-ready").unlink()
    plugin.call("STATUS", conf).silent()


def test_add_while_not_ready(plugin, directory, pod):
    (directory / "not-ready").write_text("no lease yet\n")
    try:
        assert plugin.add(pod).code == 11
        plugin.delete(pod).silent()
    finally:
        (directory / "not-ready").unlink()
    plugin.add(pod).ok()
    plugin.delete(pod).silent()
