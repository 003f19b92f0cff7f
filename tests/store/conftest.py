# SPDX-License-Identifier: Apache-2.0
"""Real etcd members on free loopback ports, and probes: nodes reduced to their store."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "shared"))

from etcd_members import Members  # noqa: E402
from loopback import DEADLINE, wait_for  # noqa: E402

PREFIX = "/coreos.com/network"


class Etcd(Members):
    """With what Flannel keeps there."""

    def put(self, key, value, *args):
        self.ctl("put", *args, f"{PREFIX}/{key}", value)

    def get(self, key):
        """Value of a key, None when there is none."""
        kvs = self.read(f"{PREFIX}/{key}")
        return kvs[0][1] if kvs else None

    def read(self, key, *args):
        answer = json.loads(self.ctl("get", "-w", "json", key, *args).stdout)
        return [(base64.b64decode(kv["key"]).decode(), base64.b64decode(kv.get("value", "")).decode(), kv)
                for kv in answer.get("kvs", [])]

    def leases(self):
        return {key.rsplit("/", 1)[1]: value for key, value, _ in self.read(f"{PREFIX}/subnets/", "--prefix")}

    def delete(self, key):
        self.ctl("del", f"{PREFIX}/{key}")

    def revision(self):
        return json.loads(self.ctl("get", "-w", "json", "nothing").stdout)["header"]["revision"]


class Probe:
    """A node: its events in self.events, its view of the peers in self.peers."""

    def __init__(self, number, *args):
        self.ip, self.mac = f"192.0.2.{number}", f"02:00:00:00:00:{number:02x}"
        self.events, self.peers, self.stories = [], {}, {}
        self.own = None
        self.process = subprocess.Popen([os.environ["STORE_PROBE"], *map(str, args)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            kind = event["event"]
            if kind == "acquired":
                self.own = event["lease"]
            elif kind == "lease":
                self.peers[event["lease"]["key"]] = event["lease"]
            elif kind == "gone":
                del self.peers[event["key"]]
            elif kind == "problem" and event["text"]:
                self.stories[event["key"]] = event["text"]
            elif kind == "problem":
                self.stories.pop(event["key"], None)
            self.events.append(event)

    def count(self, kind):
        return sum(event["event"] == kind for event in self.events)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def acquire(self, subnet=""):
        self.tell(f"acquire {self.ip} {self.mac} {subnet}".rstrip())

    def wait(self, kind, count=1):
        wait_for(f"{count} {kind} of {self.ip}, has {self.events[-20:]}", lambda: self.count(kind) >= count)

    def wait_acquired(self, count=1):
        self.wait("acquired", count)
        return self.own["key"]

    def wait_peers(self, *keys):
        wait_for(f"peers {keys} of {self.ip}", lambda: set(self.peers) == set(keys))

    def wait_story(self, key, part=""):
        wait_for(f"a story about {key} of {self.ip}, has {self.stories}",
                 lambda: key in self.stories and part in self.stories[key])

    def stop(self, how=None):
        """Leaves in peace, or by a signal. In peace, it must not leak or crash."""
        if how:
            self.process.send_signal(how)
            self.process.wait()
        elif self.process.poll() is None:
            self.tell("quit")
            assert self.process.wait(DEADLINE) == 0


@pytest.fixture
def probes():
    made = []

    def make(number, etcd, ttl=60, margin=30, *args, acquire=True, prefix=PREFIX, endpoints=None):
        probe = Probe(number, "etcd", endpoints or etcd.endpoints, prefix, ttl, margin, *args)
        made.append(probe)
        if acquire:
            probe.wait("network")
            probe.acquire()
        return probe

    yield make
    try:
        for probe in made:
            probe.stop()
    finally:
        for probe in made:
            if probe.process.poll() is None:
                probe.process.kill()


@pytest.fixture
def cluster(tmp_path):
    made = []

    def make(size=1, tls=None):
        etcd = Etcd(tmp_path, size, tls)
        made.append(etcd)
        etcd.start()
        return etcd

    yield make
    for etcd in made:
        etcd.stop()


@pytest.fixture
def etcd(cluster):
    one = cluster()
    one.put("config", json.dumps({"Network": "10.3.0.0/16", "Backend": {"Type": "vxlan"}}))
    return one
