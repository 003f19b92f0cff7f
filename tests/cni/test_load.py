# SPDX-License-Identifier: Apache-2.0
"""Many calls at once, and calls that are killed."""
import json
import random
import time

import pytest

from node import wait_until
from test_attach import addresses, clean  # noqa: F401


def start_all(plugin, command, pods):
    processes = []
    for pod in pods:
        process = plugin.start(command, plugin.variables(pod))
        process.stdin.write(json.dumps(plugin.conf()).encode())
        process.stdin.close()
        process.stdin = None
        processes.append(process)
    return processes


def test_parallel(plugin, profile, node, clean):  # noqa: F811
    pods = [node.add_netns() for _ in range(profile.parallel)]
    seen = set()
    for pod, process in zip(pods, start_all(plugin, "ADD", pods)):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (pod, out, err)
        found = {a.ip for a in addresses(json.loads(out))}
        assert len(found) == 2 and not found & seen
        seen |= found
    for process in start_all(plugin, "DEL", pods):
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and out.strip() == b""
    for pod in pods:
        node.remove_netns(pod)


def test_killed_at_random(plugin, profile, node, clean):  # noqa: F811
    """kill -9 during ADD, then DEL: the next ADD of the same container finds nothing in its way."""
    pod = node.add_netns()
    rng = random.Random(7)
    for _ in range(profile.rounds):
        process, = start_all(plugin, "ADD", [pod])
        time.sleep(rng.uniform(0, 0.006 if profile.ours else 0.03))
        process.kill()
        process.communicate(timeout=60)
        plugin.delete(pod).silent()
    result = plugin.add(pod).ok().json
    if profile.ours:
        plugin.check(pod, result).silent()
    plugin.delete(pod).silent()
    node.remove_netns(pod)


@pytest.mark.ours
def test_agent_killed_while_adding(plugin, agent, node, clean):  # noqa: F811
    """Whatever moment the agent dies at: every ADD answers, DEL succeeds, nothing is left."""
    pods = [node.add_netns() for _ in range(12)]
    rng = random.Random(3)
    for _ in range(4):
        processes = start_all(plugin, "ADD", pods)
        time.sleep(rng.uniform(0.005, 0.06))
        agent.stop(kill=True)
        for process in processes:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0 or json.loads(out)["code"] == 11, out
        for pod in pods:
            plugin.delete(pod).silent()
        agent.start()
        for pod in pods:
            plugin.delete(pod).silent()
        wait_until(lambda: not any(link.startswith("tul") for link in node.links()), "all interfaces are gone")
    for pod in pods:
        node.remove_netns(pod)
