# SPDX-License-Identifier: Apache-2.0
"""An ADD that has to wait: for a pod that the store has not shown yet, its policies, its addresses."""
import contextlib
import json
import signal
import subprocess
import time

import pytest

from test_attach import kernel_addresses

pytestmark = pytest.mark.ours

ARGS = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"}


@contextlib.contextmanager
def awaiting(directory, text):
    (directory / "awaits").write_text(text + "\n")
    try:
        yield
    finally:
        (directory / "awaits").unlink(missing_ok=True)


def has_interface(node, pod):
    return "eth0" in [link["ifname"] for link in node.ip("link", pod=pod)]


def begin(plugin, pod):
    process = plugin.start("ADD", plugin.variables(pod, **ARGS))
    process.stdin.write(json.dumps(plugin.conf()).encode())
    process.stdin.close()
    process.stdin = None
    return process


def test_is_answered_once_it_is_there(plugin, agent, directory, node, pod):
    with awaiting(directory, "the pod is not known"):
        process = begin(plugin, pod)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        plugin.call("STATUS", plugin.conf("1.1.0")).silent()  # others are served meanwhile
        assert not has_interface(node, pod)
    agent.process.send_signal(signal.SIGUSR1)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and {a["address"].split("/")[0] for a in json.loads(out)["ips"]} == {str(ip) for ip in kernel_addresses(node, pod)}
    plugin.delete(pod).silent()


def test_is_asked_again_without_a_kick(plugin, directory, pod):
    with awaiting(directory, "a hint that gets lost"):
        process = begin(plugin, pod)
        time.sleep(0.3)
    assert process.wait(20) == 0
    plugin.delete(pod).silent()


def test_does_not_wait_for_ever(plugin, directory, node, pod):
    with awaiting(directory, "its policies are not there"):
        answer = plugin.add(pod, **ARGS)
    assert answer.code == 11 and answer.json["details"] == "shop/web-0: its policies are not there"
    assert not has_interface(node, pod)


def test_refused(plugin, directory, node, pod):
    with awaiting(directory, "refuse annotation is no list"):
        answer = plugin.add(pod, **ARGS)
    assert answer.code == 7 and "annotation is no list of shop/web-0" in json.dumps(answer.json)
    assert not has_interface(node, pod)


def test_killed_while_it_waits(plugin, agent, directory, node, pod):
    with awaiting(directory, "something"):
        process = begin(plugin, pod)
        time.sleep(0.3)
        process.kill()
        process.communicate()
    agent.process.send_signal(signal.SIGUSR1)
    plugin.add(pod).ok()
    plugin.delete(pod).silent()


def test_many_at_once(plugin, agent, directory, node):
    pods = [node.add_netns() for _ in range(20)]
    try:
        with awaiting(directory, "all of them wait"):
            processes = [begin(plugin, pod) for pod in pods]
            time.sleep(0.5)
        agent.process.send_signal(signal.SIGUSR1)
        answers = [process.communicate(timeout=30)[0] for process in processes]
        assert all(process.returncode == 0 for process in processes)
        assert len({json.loads(out)["ips"][0]["address"] for out in answers}) == len(pods)
    finally:
        for pod in pods:
            plugin.delete(pod)
            node.remove_netns(pod)
