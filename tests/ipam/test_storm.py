# SPDX-License-Identifier: Apache-2.0
"""Twenty nodes' IPAM on one store, killed and cut off at random: no address twice, and after repair none is lost.

The test plays pod attachment and its journal: it knows which pod has which address, and tells a node that starts again.
TULLE_SOAK=1 runs all of the 100,000 allocations on etcd and a tenth of them in a directory, otherwise it is a hundredth;
TULLE_SEED repeats the choices."""

import os
import pathlib
import queue
import random
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "shared"))

from etcd_members import Members  # noqa: E402
from loopback import wait_for  # noqa: E402

PROBE = os.environ.get("IPAM_PROBE", str(HERE.parents[1] / "build/tests/ipam/ipam_probe"))
SOAK = bool(os.environ.get("TULLE_SOAK"))
ALLOCATIONS = int(os.environ.get("TULLE_ALLOCATIONS", 100_000 if SOAK else 1_000))
AGENTS = 20
PODS = 30  # of one node at a time
POOL, BLOCK_LEN = "10.0.0.0/22", "27"  # 32 blocks
DEADLINE = 120


class Agent:
    def __init__(self, store, name):
        self.store, self.name = store, name
        self.held, self.waiting, self.number, self.process = {}, set(), 0, None
        self.started()

    def started(self):
        self.process = subprocess.Popen([PROBE, *self.store, self.name, POOL, BLOCK_LEN], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.lines = queue.Queue()
        self.reader = threading.Thread(target=self.read, args=(self.process.stdout, self.lines), daemon=True)
        self.reader.start()
        for pod, address in self.held.items():
            self.say(f"hold {address} {pod}")
        self.say("start")

    @staticmethod
    def read(pipe, lines):
        for line in pipe:
            lines.put(line.rstrip("\n"))

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self):
        """What it had said before it died counts: the journal had it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()


class Storm:
    def __init__(self, store, seed):
        self.random, self.store = random.Random(seed), store
        self.owners, self.given = {}, 0  # address: (agent, pod)
        self.agents = [Agent(store, f"node-{i}") for i in range(AGENTS)]

    def hear(self, agent):
        """Lines that are no answers to a question; those are returned."""
        rest = []
        while not agent.lines.empty():
            words = agent.lines.get().split(" ", 2)
            if words[0] == "took":
                pod, address = words[1], words[2]
                assert address not in self.owners, f"{address}: {self.owners[address]} has it, {agent.name} gives it to {pod}"
                self.owners[address] = (agent.name, pod)
                agent.held[pod] = address
                agent.waiting.discard(pod)
                self.given += 1
            elif words[0] == "none":
                agent.waiting.discard(words[1])
            else:
                assert words[0] not in ("lost", "bad", "failed", "damaged"), words
                rest.append(words)
        return rest

    def take(self, agent):
        if len(agent.held) + len(agent.waiting) >= PODS:
            return
        agent.number += 1
        pod = f"{agent.name}-{agent.number}"
        agent.waiting.add(pod)
        agent.say(f"take {pod}")

    def rest(self, agent):
        if not agent.held:
            return
        pod = self.random.choice(sorted(agent.held))
        address = agent.held.pop(pod)
        del self.owners[address]
        agent.say(f"rest {pod} {address}")

    def kill(self, agent):
        agent.kill()
        self.hear(agent)
        agent.waiting = set()
        if self.random.random() < 0.25:  # the machine was started anew: no journal, no pods
            for address in agent.held.values():
                del self.owners[address]
            agent.held = {}
        agent.started()

    def turn(self):
        agent = self.random.choice(self.agents)
        self.hear(agent)
        dice = self.random.random()
        if dice < 0.004:
            self.kill(agent)
        elif dice < 0.55:
            self.take(agent)
        else:
            self.rest(agent)
        time.sleep(0.001)

    def ask(self, agent, question, answer):
        agent.say(question)

        def answered():
            for words in self.hear(agent):
                if words[0] == answer:
                    return words
            return None
        return wait_for(f"{agent.name} to answer {question}", answered, DEADLINE)

    def settled(self):
        return all(self.ask(agent, "status", "status")[2].endswith("settled") and not agent.waiting for agent in self.agents)

    def dump(self):
        agent = self.agents[0]
        self.hear(agent)
        agent.say("dump")
        lines = []

        def ended():
            lines.extend(self.hear(agent))
            return lines and lines[-1][0] == "end"
        wait_for("all blocks", ended, DEADLINE)
        return lines


def run(store, trouble, allocations=ALLOCATIONS):
    seed = os.environ.get("TULLE_SEED", str(time.time_ns()))
    print(f"TULLE_SEED={seed}")
    storm = Storm(store, seed)
    try:
        for agent in storm.agents:
            storm.ask(agent, f"node {agent.name}", "done")
        end = time.monotonic() + max(300, allocations / 10)
        while storm.given < allocations:
            assert time.monotonic() < end, f"{storm.given} of {allocations} allocations"
            storm.turn()
            trouble(storm)
        trouble(storm, last=True)
        finish(storm)
    finally:
        for agent in storm.agents:
            agent.process.kill()
            agent.process.wait()


def finish(storm):
    """One node is switched off for good; then whatever nobody has must be free."""
    dead = storm.agents.pop()
    dead.kill()
    storm.hear(dead)
    for address in dead.held.values():
        del storm.owners[address]
    leader = storm.agents[0]
    leader.say("lead")
    storm.ask(leader, f"gone {dead.name}", "done")
    wait_for("all nodes to settle", storm.settled, DEADLINE)

    def repaired():
        for agent in storm.agents:
            storm.ask(agent, "repair", "repaired")
        time.sleep(1.1)  # the time of grace: nothing is judged by it
        lines = storm.dump()
        shown = {words[1]: words[2].split(" ") for words in lines if words[0] == "alloc"}
        blocks = [words[2] for words in lines if words[0] == "block"]
        return lost_of(storm, shown) == [] and f"host:{dead.name}" not in blocks and shown
    shown = wait_for("repair to find all that is lost", repaired, DEADLINE)
    for address, (node, pod) in storm.owners.items():
        assert shown[address] == [f"net.{pod}", node], f"{address} is {pod}'s, the store says {shown[address]}"


def lost_of(storm, shown):
    """Addresses that the store gives to somebody who does not have them."""
    reserved = {}
    lost = []
    for address, (handle, node) in shown.items():
        if handle == f"tulle-reserved-{node}":
            reserved.setdefault(node, []).append(address)
        elif storm.owners.get(address) != (node, handle.removeprefix("net.")):
            lost.append((address, handle, node))
    for node, addresses in reserved.items():
        agent = next((a for a in storm.agents if a.name == node), None)
        if agent is None:
            lost += [(address, "reserved", node) for address in addresses]
            continue
        status = storm.ask(agent, "status", "status")
        _, resting, free = [int(n) for n in (status[1] + " " + status[2]).split(" ")[:3]]
        if resting + free != len(addresses):
            lost.append((node, len(addresses), resting, free))
    return lost


def test_directory(tmp_path):
    run(["directory", str(tmp_path)], lambda storm, last=False: None, min(ALLOCATIONS, 10_000))


def test_etcd(tmp_path):
    """Three members; one after the other is killed or stopped, at times two, so that nothing can be written."""
    etcd = Members(tmp_path, 3)
    etcd.start()
    cut = {"members": [], "until": 0.0}

    def trouble(storm, last=False):
        now = time.monotonic()
        if cut["members"] and (last or now > cut["until"]):
            for member in cut["members"]:
                etcd.revive(member)
            cut["members"], cut["until"] = [], now + 2
            if last:
                etcd.wait()
        elif not last and not cut["members"] and now > cut["until"]:
            cut["members"] = storm.random.sample(etcd.members, storm.random.choice([1, 1, 1, 2]))
            for member in cut["members"]:
                storm.random.choice([member.stop, member.pause])()
            cut["until"] = now + storm.random.uniform(0.2, 2)

    try:
        run(["etcd", etcd.endpoints], trouble)
    finally:
        etcd.stop()
