# SPDX-License-Identifier: Apache-2.0
"""Clusters of nothing but an API, and probes: what a store would see of them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from cluster import BINARIES, Cluster  # noqa: E402
from loopback import DEADLINE, wait_for  # noqa: E402

PROBE = os.environ.get("KUBE_PROBE", str(pathlib.Path(__file__).resolve().parents[2] / "build/tests/kube/kube_probe"))


class Watch:
    """What a caller of kube_watch knows: the objects by name, swept when a list ends."""

    def __init__(self):
        self.objects, self.marked = {}, set()
        self.begins, self.ends, self.anew, self.puts = 0, 0, 0, 0
        self.problem, self.problems, self.quiet_puts = "", [], 0
        self.listing = False

    def take(self, event):
        kind = event["event"]
        if kind == "begin":
            self.begins += 1
            self.anew += event["anew"]
            self.marked, self.listing = set(), True
        elif kind == "put":
            name = event["object"]["metadata"]["name"]
            self.puts += 1
            self.objects[name] = event["object"]
            self.marked.add(name)
        elif kind == "gone":
            self.objects.pop(event["object"]["metadata"]["name"], None)
        elif kind == "end":
            assert self.listing, "end without begin"
            self.objects = {name: one for name, one in self.objects.items() if name in self.marked}
            self.listing = False
            self.quiet_puts = event["puts"]
            self.ends += 1
        elif kind == "problem":
            self.problem = event["text"]
            self.problems.append(event["text"])


class Probe:
    def __init__(self, *args, program=PROBE, env=None):
        self.watches, self.events = [], []
        self.process = subprocess.Popen([program, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=env)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] in ("begin", "put", "gone", "end", "problem"):
                self.watches[event["watch"]].take(event)
            else:
                self.events.append(event)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def watch(self, path, *words):
        watch = Watch()
        self.watches.append(watch)
        self.tell(" ".join(["watch", path, *words]))
        return watch

    def next(self, kind, line):
        """Says line and returns the event of that kind that comes next."""
        before = sum(event["event"] == kind for event in self.events)
        self.tell(line)
        return wait_for(f"{kind} after {line}", lambda: [e for e in list(self.events) if e["event"] == kind][before:])[0]

    def call(self, method, path, body=""):
        return self.next("done", f"call {method} {path} {body}".rstrip())

    def counters(self, number):
        before = len(self.events)
        self.tell("counters")
        return wait_for("the counters", lambda: [e for e in self.events[before:]
                                                 if e["event"] == "counters" and e["watch"] == number])[0]

    def rss(self):
        """Bytes of memory of its own."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def cpu(self):
        """Seconds used so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """In peace: it must neither crash nor leak."""
        if self.process.poll() is None:
            self.tell("quit")
        assert self.process.wait(DEADLINE) == 0
        self.thread.join()


@pytest.fixture
def probes():
    made = []

    def make(*args, **kwargs):
        probe = Probe(*args, **kwargs)
        made.append(probe)
        wait_for("the probe to begin", lambda: probe.events)
        assert probe.events[0]["event"] == "ready", probe.events[0]
        return probe

    yield make
    try:
        for probe in made:
            probe.stop()
    finally:
        for probe in made:
            if probe.process.poll() is None:
                probe.process.send_signal(signal.SIGKILL)


def need_binaries():
    if not (BINARIES / "cluster").exists():
        pytest.skip(f"no real Kubernetes: {BINARIES}/cluster is not there (TULLE_KUBERNETES names its directory)")


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A cluster that the tests share; they leave it running, and without ConfigMaps."""
    need_binaries()
    one = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def cluster(shared):
    yield shared
    shared.request("DELETE", shared.MAPS)


@pytest.fixture
def clusters(tmp_path):
    """Clusters that a test may break."""
    need_binaries()
    made = []

    def make(*args, **kwargs):
        directory = tmp_path / f"cluster-{len(made)}"
        directory.mkdir()
        made.append(Cluster(directory, *args, **kwargs))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()
