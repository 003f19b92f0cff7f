# SPDX-License-Identifier: Apache-2.0
"""What addresses cost where the store speaks Calico, on etcd and on a real API server.

ADD: a runtime's calls on 1 and on 10 real agents at once, beside the same with Flannel's half on the same kind of store. On the API server the
pods are there before, as a kubelet knows them. A single agent has a processor of its own where there are two, as a node does that is not the
store's: what the store does meanwhile is not what an ADD costs. Claim: from nothing to a node's first address, its block claimed, by 1, 10 and 100 nodes at
once; those are processes that have of the agent only its IPAM (tests/ipam/ipam_probe.c), for 100 agents do not fit on a small machine.
Without scripts/kubernetes only etcd is measured."""
import contextlib
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from tullelab import proc
from tullelab.api_lab import ApiLab
from tullelab.lab import Lab, build_directory

from . import blocks, report, tools

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNT, ROUNDS = 40, 3
PAUSES = (0, 50)  # milliseconds between one node's ADDs
AGENTS = (1, 10)
CLAIMERS = {1: 20, 10: 5, 100: 1}  # at once: how often
DIALECTS = ("flannel", "calico")


# -- ADD --

def _etcd_lab(dialect: str, agents: int):
    if dialect == "flannel":
        return Lab(nodes=agents, store="etcd", ip_masq=False, agent_args=["--address-rest", "1"])
    lab = blocks.lab_with("etcd", agents)
    lab.agent_args += ["--address-rest", "1"]
    return lab


def _start_etcd(lab, dialect: str) -> None:
    if dialect == "calico":
        blocks.Etcd(lab).close()
        lab.agents_start(60)


def _api_lab(dialect: str, agents: int):
    return ApiLab(nodes=agents, crds=dialect == "calico", ip_masq=False, agent_args=["--address-rest", "1"])


def _start_api(lab, dialect: str) -> None:
    lab.control.stop("kube-controller-manager")  # it would mark silent nodes, and evict
    for node in lab.nodes:
        lab.node_object(node.name, lab.cidrs(node.index) if dialect == "flannel" else ())
    if dialect == "calico":
        lab.api.create("/apis/projectcalico.org/v3/ippools", dict(blocks.POOL))
    for node in lab.nodes:
        for i in range(COUNT):
            lab.api.create("/api/v1/namespaces/default/pods", {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"bench-{node.index}-{i}"},
                "spec": {"nodeName": node.name, "containers": [{"name": "main", "image": "example"}], "terminationGracePeriodSeconds": 0}})
    for node in lab.nodes:
        node.agent_start(ready=False)
    for node in lab.nodes:
        node.agent_ready(60)


STORES = {"etcd": (_etcd_lab, _start_etcd), "API server": (_api_lab, _start_api)}


def _near(node) -> list:
    """Whoever is started on the node runs where its processes do."""
    processors = os.sched_getaffinity(node.init["pid"])
    return ["taskset", "-c", ",".join(map(str, sorted(processors)))]


def _adds(lab, pause: int) -> list:
    """One runtime on each node, all at once."""
    def one(node):
        conflist = node.runtime.conflist()
        conf = dict(conflist["plugins"][0], name=conflist["name"], cniVersion="1.0.0")
        conf.pop("capabilities", None)
        node.write("/run/bench.conf", json.dumps(conf))
        words = [*_near(node), tools.path("cnibench"), f"{lab.build}/tulle", "/run/bench.conf", COUNT, 1, f"bench-{node.index}", pause]
        return json.loads(node.run(words, timeout=300).stdout)
    return proc.together(*(lambda node=node: one(node) for node in lab.nodes))


def _apart(lab) -> None:
    """The store on the last processor, the nodes on the others; what they start inherits that."""
    *others, last = sorted(os.sched_getaffinity(0))
    for hosts, processors in ((lab.store.hosts, {last}), (lab.nodes, set(others))):
        for pid in (pid for host in hosts if others for pid in host.processes()):
            for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), processors)


def _add_on(store: str, agents: int) -> dict:
    make, start = STORES[store]
    found = {(dialect, pause): [] for pause in PAUSES for dialect in DIALECTS}
    with contextlib.ExitStack() as stack:
        labs = {}
        for dialect in DIALECTS:
            labs[dialect] = stack.enter_context(make(dialect, agents))
            start(labs[dialect], dialect)
            if agents == 1:
                _apart(labs[dialect])
        for _ in range(ROUNDS):
            for dialect, pause in found:
                found[dialect, pause] += _adds(labs[dialect], pause)
                time.sleep(2)  # addresses have rested, the store is at peace
    return {f"{dialect}/{pause}": _summary(all_of) for (dialect, pause), all_of in found.items()}


def _summary(all_of) -> dict:
    def middle(verb, what):
        return statistics.median(one[verb][what] for one in all_of)
    return {"median_ms": middle("add", "median_ms"), "p90_ms": middle("add", "p90_ms"), "max_ms": max(one["add"]["max_ms"] for one in all_of),
            "del_ms": middle("del", "median_ms"), "failed": sum(one["add"]["failed"] + one["del"]["failed"] for one in all_of)}


# -- claims --

class Claimer:
    """A node's IPAM; what it says comes in a queue with the time."""

    def __init__(self, store, name: str):
        words = [pathlib.Path(build_directory()) / "tests/ipam/ipam_probe", *store, name, "10.0.0.0/8", "26"]
        self.name, self.lines = name, queue.Queue()
        self._process = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        threading.Thread(target=self._read, daemon=True).start()
        self.say("status")
        self.hear("status")

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.put((time.monotonic(), line.split()))

    def say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self, word: str) -> float:
        when, words = self.lines.get(timeout=120)
        if words[0] != word:
            raise RuntimeError(f"{self.name}: {' '.join(words)}")
        return when

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)


def _claims(store, count: int, round_: int) -> list:
    claimers = [Claimer(store, f"claimer-{count}-{round_}-{n}") for n in range(count)]
    began = {}
    for one in claimers:
        began[one] = time.monotonic()
        one.say("start\ntake first")
    took = [(one.hear("took") - began[one]) * 1000 for one in claimers]
    for one in claimers:
        one.close()
    return took


def _claims_on(store) -> dict:
    return {count: [took for round_ in range(rounds) for took in _claims(store, count, round_)] for count, rounds in CLAIMERS.items()}


def _define(cluster) -> None:
    import yaml
    for path in sorted((ROOT / "deploy/crds").glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text()):
            cluster.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    deadline = time.monotonic() + 60
    while b"ipamblocks" not in json.dumps(cluster.request("GET", "/apis/projectcalico.org/v3", allow=404)[1], default=str).encode():
        if time.monotonic() > deadline:
            raise RuntimeError("the API server does not serve Calico's resources")
        time.sleep(0.2)


def _claims_everywhere(with_api: bool) -> dict:
    sys.path[:0] = [str(ROOT / "tests/kube"), str(ROOT / "tests/shared")]
    from cluster import Cluster
    found = {}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        cluster = Cluster(directory)
        stack.callback(cluster.stop)
        if not with_api:
            cluster.etcd.start()
        else:
            cluster.start()
            _define(cluster)
            found["API server"] = _claims_on(("kube", cluster.admin_kubeconfig()))
        found["etcd"] = _claims_on(("etcd", cluster.etcd.url))
    return found


def measure(options) -> dict:
    sys.path.insert(0, str(ROOT / "tests/kube"))
    sys.path.insert(0, str(ROOT / "tests/shared"))
    from cluster import BINARIES
    with_api = (BINARIES / "cluster").exists()
    stores = ["etcd", *(["API server"] if with_api else [])]
    if not with_api:
        print("   no API server: scripts/kubernetes builds one", flush=True)
    return {"add": {store: {str(agents): _add_on(store, agents) for agents in AGENTS} for store in stores},
            "claim_ms": {store: {str(count): took for count, took in found.items()} for store, found in _claims_everywhere(with_api).items()}}


def rows(data):
    headings = ("what", "store", "agents", "pause ms", "median ms", "of Flannel's", "p90 ms", "p99 or most ms", "DEL median ms", "failed")
    lines = []
    for store, sizes in data["add"].items():
        for agents, found in sizes.items():
            for key, one in found.items():
                dialect, pause = key.split("/")
                share = report.ratio(one["median_ms"], found[f"flannel/{pause}"]["median_ms"])
                lines.append((f"ADD, {dialect.capitalize()}", store, agents, pause, f"{one['median_ms']:.2f}", share, f"{one['p90_ms']:.2f}",
                              f"{one['max_ms']:.1f}", f"{one['del_ms']:.2f}", one["failed"]))
    for store, sizes in data["claim_ms"].items():
        for count, took in sizes.items():
            lines.append(("block claimed, first address", store, f"{count} (IPAM only)", "", f"{statistics.median(took):.1f}", "",
                          f"{sorted(took)[len(took) * 9 // 10]:.1f}", f"{blocks.p99(took):.1f}", "", ""))
    return headings, lines
