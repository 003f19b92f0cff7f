# SPDX-License-Identifier: Apache-2.0
"""The cluster's objects behind one door, over every store that can hold them: a directory, etcd, a Kubernetes API with
Calico's resources in either group. A test that asks for `store` runs on each."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "kube"))

from cluster import BINARIES, Cluster, Etcd  # noqa: E402
from loopback import wait_for  # noqa: E402

PROBE = os.environ.get("OBJECTS_PROBE", str(ROOT / "build/tests/objects/objects_probe"))
V3 = "projectcalico.org/v3"
DEADLINE = 60


class Watch:
    """What a caller knows by a watch: the objects by name, swept when a list ends."""

    def __init__(self):
        self.objects, self.marked, self.problems, self.stories = {}, set(), {}, []
        self.begins, self.ends, self.gone, self.history = 0, 0, [], []
        self.listing = False

    def take(self, event):
        kind = event["event"]
        metadata = (event.get("object") or {}).get("metadata", {})
        key = (metadata["namespace"] + "/" if metadata.get("namespace") else "") + metadata.get("name", "")
        self.history.append(kind)
        if kind == "begin":
            self.begins += 1
            self.marked, self.listing = set(), True
        elif kind == "put":
            assert self.begins, "put before begin"
            self.objects[key] = event["object"]
            self.marked.add(key)
        elif kind == "gone":
            self.gone.append(key)
            self.objects.pop(key, None)
        elif kind == "end":
            assert self.listing, "end without begin"
            self.objects = {name: one for name, one in self.objects.items() if name in self.marked}
            self.listing = False
            self.ends += 1
        elif kind == "problem":
            self.stories.append((event["key"], event["text"]))
            if event["text"]:
                self.problems[event["key"]] = event["text"]
            else:
                self.problems.pop(event["key"], None)

    def wait_names(self, *names):
        wait_for(lambda: f"{names}, has {sorted(self.objects)}, problems {self.problems}",
                 lambda: self.ends and not self.listing and set(self.objects) == set(names))

    def wait_problem(self, key, *parts):
        wait_for(lambda: f"a problem about {key!r} with {parts}, has {self.problems}",
                 lambda: key in self.problems and all(part in self.problems[key] for part in parts))

    def wait_no_problem(self):
        wait_for(lambda: f"no problem, has {self.problems}", lambda: not self.problems)


class Probe:
    def __init__(self, *args):
        self.watches, self.answers, self.others = [], {}, []
        self.requests, self.killed = 0, False
        self.process = subprocess.Popen([PROBE, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        wait_for("the probe to begin", lambda: self.others)
        assert self.others[0]["event"] == "ready", self.others[0]

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "done":
                self.answers[event["request"]] = event
            elif "watch" in event:
                self.watches[event["watch"]].take(event)
            else:
                self.others.append(event)

    def tell(self, *words):
        line = " ".join(word if isinstance(word, str) else json.dumps(word) for word in words)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        """Sends a request and returns its number."""
        number = self.requests
        self.requests += 1
        self.tell(*words)
        return number

    def answer(self, number):
        return wait_for(lambda: f"the answer to request {number}, got {self.others[1:]}", lambda: self.answers.get(number))

    def do(self, *words):
        return self.answer(self.ask(*words))

    def good(self, *words):
        answer = self.do(*words)
        assert answer["rc"] == 0, answer
        return answer["object"]

    def create(self, kind, object):
        return self.good("create", kind, object)

    def get(self, kind, name):
        return self.good("get", kind, name)

    def update(self, kind, object):
        return self.good("update", kind, object)

    def delete(self, kind, object):
        self.good("delete", kind, object)

    def list(self, kind, labels=""):
        answer = self.do("list", kind, labels) if labels else self.do("list", kind)
        assert answer["rc"] == 0, answer
        return {item["metadata"]["name"]: item for item in answer["items"]}

    def watch(self, kind, *words):
        watch = Watch()
        self.watches.append(watch)
        self.tell("watch", kind, *words)
        return watch

    def stop(self):
        """In peace: it must neither crash nor leak."""
        if self.killed:
            return
        if self.process.poll() is None:
            self.tell("quit")
        assert self.process.wait(DEADLINE) == 0
        self.thread.join()


# -- stores --

class DirectoryStore:
    name = "directory"

    def __init__(self, path):
        self.path = path / "store"
        self.path.mkdir()
        self.args = ["directory", self.path]
        self.away = path / "away"

    def lose(self):
        self.path.rename(self.away)

    def find(self):
        if self.path.exists():  # an agent has made it again
            shutil.rmtree(self.path)
        self.away.rename(self.path)

    def stop(self):
        pass


class EtcdStore:
    name = "etcd"

    def __init__(self, path):
        self.path = path / "etcd"
        self.path.mkdir()
        self.etcd = Etcd(self.path)
        self.etcd.start()
        self.args = ["etcd", self.etcd.url]

    def lose(self):
        self.etcd.process.stop(signal.SIGKILL)

    def find(self):
        self.etcd.start()

    def clean(self):
        self.etcd.ctl("del", "--prefix", "/")

    def stop(self):
        self.etcd.stop()


def crds(directory, names="*.yaml"):
    import yaml
    for path in sorted(directory.glob(names)):
        yield from (one for one in yaml.safe_load_all(path.read_text()) if one)


CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class KubeStore:
    def __init__(self, path, group):
        self.name, self.group = f"kube-{group}", group
        self.path = path / self.name
        self.path.mkdir()
        self.cluster = Cluster(self.path)
        self.cluster.start()
        self.args = ["kube", self.cluster.admin_kubeconfig()]

    def definitions(self):
        yield from crds(ROOT / "deploy/crds" if self.group == "v3" else HERE / "crds-v1")
        if self.group == "v1":
            yield from crds(ROOT / "deploy/crds", "clusternetworkpolicies.yaml")

    def install(self):
        self.kinds, self.collections = [], ["/api/v1/nodes"]
        for plural in ("api/v1/{}/pods", "api/v1/{}/serviceaccounts", "apis/networking.k8s.io/v1/{}/networkpolicies"):
            self.collections.append("/" + plural.format("namespaces/default"))
        for crd in self.definitions():
            self.cluster.request("POST", CRDS, crd, allow=409)
            version, = crd["spec"]["versions"]
            group, plural = f"/apis/{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["plural"]
            self.kinds.append(f"{group}/{plural}")
            self.collections.append(f"{group}/namespaces/default/{plural}" if crd["spec"]["scope"] == "Namespaced" else self.kinds[-1])
        for kind in self.kinds:
            wait_for(f"{kind} to be served", lambda: self.cluster.request("GET", kind, allow=404)[0] == 200)
        return self

    def uninstall(self):
        for crd in self.definitions():
            self.cluster.request("DELETE", f"{CRDS}/{crd['metadata']['name']}", allow=404)

    def clean(self):
        for kind in self.collections:
            self.cluster.request("DELETE", kind)

    def lose(self):
        self.cluster.servers[0].stop()

    def find(self):
        self.cluster.servers[0].start()

    def stop(self):
        self.cluster.stop()


def need_binaries():
    if not (BINARIES / "cluster").exists():
        pytest.skip(f"no real Kubernetes: {BINARIES}/cluster is not there (TULLE_KUBERNETES names its directory)")


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Stores that cost seconds to start, one of each kind for all tests."""
    made = {}

    def get(name):
        if name not in made:
            path = tmp_path_factory.mktemp(name)
            made[name] = EtcdStore(path) if name == "etcd" else KubeStore(path, name.split("-")[1]).install()
        return made[name]

    yield get
    for store in made.values():
        store.stop()


ALL = os.environ.get("OBJECTS_STORES", "directory,etcd,kube-v3,kube-v1").split(",")


def pytest_collection_modifyitems(config, items):
    """Each test runs on one store, by its parameter or by its file."""
    files = {"test_directory": "directory", "test_etcd": "etcd", "test_kubernetes": "kube"}

    def wanted(item):
        name = item.callspec.params["store"] if "store" in getattr(item, "fixturenames", ()) else files[item.module.__name__]
        return any(store.startswith(name) for store in ALL)
    left_out = [item for item in items if not wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if wanted(item)]


def get_store(name, shared, tmp_path):
    if name == "directory":
        return DirectoryStore(tmp_path)
    if name.startswith("kube"):
        need_binaries()
    one = shared(name)
    one.clean()
    return one


@pytest.fixture(params=["directory", "etcd", "kube-v3", "kube-v1"])
def store(request, shared, tmp_path):
    """Each store in turn, without objects."""
    return get_store(request.param, shared, tmp_path)


@pytest.fixture
def directory(tmp_path):
    return DirectoryStore(tmp_path)


@pytest.fixture
def probes():
    made = []

    def make(store, *args):
        made.append(Probe(*(store.args if hasattr(store, "args") else [store]), *args))
        return made[-1]

    yield make
    try:
        for probe in made:
            probe.stop()
    finally:
        for probe in made:
            if probe.process.poll() is None:
                probe.process.kill()


# -- objects --

def make(kind, name, spec=None, namespace=None, **metadata):
    """A manifest as people write it."""
    slash = kind.rpartition("/")  # "networking.k8s.io/v1/NetworkPolicy": there is more than one of this name
    if slash[0]:
        kind = slash[2]
    core = {"ServiceAccount": "v1", "ClusterNetworkPolicy": "policy.networking.k8s.io/v1alpha2", "Node": "v1", "Pod": "v1", "Namespace": "v1", "Secret": "v1", "Service": "v1",
            "EndpointSlice": "discovery.k8s.io/v1"}
    one = {"apiVersion": slash[0] or core.get(kind, V3), "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec or {}}
    if namespace:
        one["metadata"]["namespace"] = namespace
    return one


def pool(name, cidr="10.244.0.0/16", **spec):
    labels = spec.pop("labels", None)
    return make("IPPool", name, {"cidr": cidr, "vxlanMode": "Never", **spec}, **({"labels": labels} if labels else {}))
