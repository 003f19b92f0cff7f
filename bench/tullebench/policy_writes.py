# SPDX-License-Identifier: Apache-2.0
"""How soon a policy that is written is enforced: from the write (a file of the directory, or a PUT to a real API server) to the first
packet that it lets through or stops, with many policies and many pods in the model; and the same while pods come and go. The agent and
this process have real-time priority, as little as possible of what else the machine does is measured; etcd and the API server have not.

TULLE_BENCH_API_PODS=100,1000 chooses other numbers of pods in the API server; its pods are written into etcd."""
import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time

from tullelab import wait
from tullelab.api_lab import ApiLab
from tullelab.kernel import in_netns
from tullelab.lab import Lab

from . import etcd_bulk
from . import policy_world as world
from .kube import NETWORK, Writers
from .scale import memory

PODS, API_PODS, POLICIES = (100, 10_000, 100_000), tuple(map(int, os.environ.get("TULLE_BENCH_API_PODS", "100,10000,100000").split(","))), (0, 250, 5_000)
QUICK_PODS, QUICK_POLICIES = (100,), (0, 250)
CHANGES, QUICK_CHANGES = 100, 10
PAUSE_S = 0.03
CHURN_PODS, CHURN_POLICIES, CHURN_RATE, CHURN_SECONDS = 10_000, 250, 1_000, 20
CHUNK = 10_000  # objects of one file
NETWORK_POLICIES = f"/apis/{world.POLICY_V1}/namespaces/{world.HOME}/networkpolicies"


class Prober:
    """Datagrams from the client to the server, one at a time; both ends are in this process."""

    GRACE_MS, AGAIN_MS, SURE = 4, 1, 3

    def __init__(self, client, server):
        self._to, self._count = (server.ip, world.PORT), 0
        self._out, self._in = (in_netns(place.netns_path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for place in (client, server))
        self._in.bind(self._to)
        self._poll = select.poll()
        self._poll.register(self._in, select.POLLIN)

    def _passes(self, grace_ms) -> bool:
        self._count += 1
        text = str(self._count).encode()
        self._out.sendto(text, self._to)
        while self._poll.poll(grace_ms):
            if self._in.recv(64) == text:
                return True
        return False

    def until(self, wanted: bool, timeout=30.0) -> float:
        """When the first packet was sent that passed, or did not (nor did those behind it)."""
        end, first, alike = time.monotonic() + timeout, 0.0, 0
        while True:
            sent = time.monotonic()
            if sent > end:
                raise RuntimeError(f"a packet {'passes' if not wanted else 'does not pass'} {timeout:g} s after the policy was written")
            alike = alike + 1 if self._passes(self.AGAIN_MS if wanted else self.GRACE_MS) == wanted else 0
            first = sent if alike == 1 else first
            if alike >= (1 if wanted else self.SURE):
                return first
            if not wanted and not alike:
                time.sleep(0.0005)  # or nobody else on this CPU gets to work

    def close(self) -> None:
        self._out.close()
        self._in.close()


def _lags(made, count: int) -> list:
    with hurried(0, made.node.agent.pid):
        return _lags_of(made.prober, made.write, count)


def _lags_of(prober, write, count: int) -> list:
    """Milliseconds from each write to what it changes. write(allow) returns when it was, and what to call once that has been seen."""
    took, allow = [], False
    for n in range(count + 2):
        began, after = write(allow)
        seen = prober.until(allow)
        after()
        if n >= 2:
            took.append((seen - began) * 1000)
        allow = not allow
        time.sleep(PAUSE_S + 0.01 * (n % 7) / 7)
    return took


@contextlib.contextmanager
def hurried(*pids):
    """Other work on the machine does not keep these from a processor; what they start is ordinary."""
    try:
        for pid in pids:
            try:
                os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
            except PermissionError:  # of some control groups
                os.setpriority(os.PRIO_PROCESS, pid, -20)
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, pid, 0)


def cpu(node) -> float:
    with open(f"/proc/{node.agent.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sizes(options, pods):
    return (QUICK_PODS, QUICK_POLICIES, QUICK_CHANGES) if options.quick else (pods, POLICIES, CHANGES)


def _one(made, pods, policies, changes) -> dict:
    before, began = cpu(made.node), time.monotonic()
    found = {"pods": pods, "policies": policies, "ms": _lags(made, changes), **memory(made.node)}
    return {**found, "cpu_ms": (cpu(made.node) - before) * 1000 / (changes + 2), "seconds": time.monotonic() - began}


def _grid(made, pods, policies, changes) -> list:
    """All sizes; the policies go up and down in turns, because they take long to write. What was measured before a failure counts."""
    found = []
    try:
        made.up()
        for i, p in enumerate(pods):
            for n in policies if i % 2 == 0 else reversed(policies):
                made.fill(p, n)
                found.append(_one(made, p, n, changes))
                print(f"   {p} pods, {n} policies: {statistics.median(found[-1]['ms']):.1f} ms", flush=True)
    except Exception as error:  # pylint: disable=broad-except
        if not found:
            raise
        print(f"   failed: {type(error).__name__}: {error}", flush=True)
    finally:
        made.down()
    return found


# -- a directory --

class Directory:
    """A lab of one node with two pods; the model's other objects lie where agents have theirs."""

    def __init__(self):
        self.lab = Lab(nodes=1, backend="host-gw", ip_masq=False, agent_args=["--policy=on"])
        self.pods = self.policies = 0

    def up(self):
        self.lab.up()
        self.node, = self.lab.nodes
        self.place = self.lab.store.path / "objects" / "pods"
        self.place.mkdir(parents=True, exist_ok=True)
        self.lab.store.put("namespaces.json", world.many(world.namespaces()))
        made = []
        for name in ("client", "server"):
            self._put(f"{name}.json", world.pod(name, self.node.name, name))
            made.append(self.node.pod_add(f"{world.HOME}/{name}"))
            self._put(f"{name}.json", world.pod(name, self.node.name, name, made[-1].ip))
        self.write(True)
        self.prober = Prober(*made)
        return self

    def _put(self, name, value) -> None:
        self.lab.store.put(f"objects/pods/{name}", json.dumps(value))

    def write(self, allow: bool):
        """Not synced: the disk is not what is measured."""
        new, target = (self.lab.store.path / name for name in (".probed.new", "probed.json"))
        new.write_text(json.dumps(world.probed_policy(allow)))
        began = time.monotonic()
        os.rename(new, target)
        return began, lambda: None

    def fill(self, pods: int, policies: int) -> None:
        for first in range(self.pods, pods, CHUNK):
            last = min(first + CHUNK, pods)
            self.lab.store.put(f"objects/pods/many-{first}-{last}.json", world.many(map(world.far_pod, range(first, last))))
        self.pods = max(self.pods, pods)
        self.lab.store.put("policies.json", world.many(map(world.far_policy, range(policies))))
        world.wait_settled(self.node, lambda now: now["endpoints"] == pods + 2 and now["policies"] == policies + 1, f"{pods} pods, {policies} policies")

    def down(self) -> None:
        if hasattr(self, "prober"):
            self.prober.close()
        self.lab.down()


def measure_directory(options) -> list:
    return _grid(Directory(), *_sizes(options, PODS))


# -- an API server --

class Server:
    """The same behind a real API server; pods are objects that nobody runs."""

    def __init__(self):
        self.lab = ApiLab(nodes=1, net_conf=NETWORK, ip_masq=False, agent_args=["--policy=on"])
        self.pods = self.policies = 0

    def up(self):
        self.lab.up()
        self.node, = self.lab.nodes
        self.lab.node_object(self.node.name, ["10.250.1.0/24"])
        self.node.agent_start()
        self.writers = Writers(self.lab)
        self.connection = self.writers._connection()
        names = [one for one in world.namespaces() if one["metadata"]["name"] != world.HOME]
        self._each(len(names), lambda i: ("POST", "/api/v1/namespaces", names[i]), "namespaces")
        wait.until(lambda: len(self.lab.api.items("/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault")) ==
                   len(self.lab.api.items("/api/v1/namespaces")), "service accounts", 60)
        self.lab.control.stop("kube-controller-manager")  # it would mark silent nodes, and evict
        made = []
        for name in ("client", "server"):
            wanted = world.pod(name, self.node.name, name)
            self.lab.api.create(_pods(wanted), wanted)
            made.append(self.node.pod_add(f"{world.HOME}/{name}"))
            self.lab.api.patch(f"{_pods(wanted)}/{name}/status", {"status": world.pod(name, "", name, made[-1].ip)["status"]})
        self.lab.api.create(NETWORK_POLICIES, world.probed_policy(True))
        self.prober = Prober(*made)
        return self

    def _each(self, count, request, what) -> None:
        self.writers.each(count, lambda i: (*request(i), "application/merge-patch+json" if request(i)[0] == "PATCH" else "application/json"), what)

    def write(self, allow: bool):
        """As kubectl replace does; the answer is read once the effect has been seen."""
        text, began = json.dumps(world.probed_policy(allow)), time.monotonic()
        self.connection.request("PUT", f"{NETWORK_POLICIES}/probed", text, {"Content-Type": "application/json"})

        def answered():
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"PUT: {answer.status}: {text[:300]}")
        return began, answered

    def fill(self, pods: int, policies: int) -> None:
        with etcd_bulk.opened(self.lab) as bulk:
            bulk.put(map(world.far_pod, range(self.pods, pods)), "pods")
        self.pods = max(self.pods, pods)
        more = [world.far_policy(i) for i in range(self.policies, policies)]
        self._each(len(more), lambda i: ("POST", _policies(more[i]), more[i]), "policies")
        less = [world.far_policy(i) for i in range(policies, self.policies)]
        self._each(len(less), lambda i: ("DELETE", f"{_policies(less[i])}/{less[i]['metadata']['name']}", {}), "policies deleted")
        self.policies = policies
        world.wait_settled(self.node, lambda now: now["endpoints"] == pods + 2 and now["policies"] == policies + 1, f"{pods} pods, {policies} policies")

    def down(self) -> None:
        if hasattr(self, "prober"):
            self.prober.close()
        self.lab.down()


def _pods(pod) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods"


def _policies(policy) -> str:
    return f"/apis/{world.POLICY_V1}/namespaces/{policy['metadata']['namespace']}/networkpolicies"


def measure_server(options) -> list:
    return _grid(Server(), *_sizes(options, API_PODS))


# -- pods come and go --

CHURN = """
import json, os, sys, time
sys.path[:0] = json.loads(sys.argv[4])
from tullebench import policy_world as world
place, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
keep, n, began = rate, 0, time.monotonic()
while time.monotonic() - began < seconds:
    time.sleep(max(0.0, began + n / rate - time.monotonic()))
    text, new = json.dumps(world.far_pod(1_000_000 + n)), f"{place}/.new"
    with open(new, "w") as file:
        file.write(text)
    os.rename(new, f"{place}/churn-{n}.json")
    if n >= keep:
        os.unlink(f"{place}/churn-{n - keep}.json")
    n += 1
print(n, time.monotonic() - began, flush=True)
"""


def measure_churn(options) -> dict:
    """Each pod that comes is another one than that which goes, a second later."""
    pods, seconds = (100, 3) if options.quick else (CHURN_PODS, CHURN_SECONDS)
    made = Directory()
    try:
        made.up()
        made.fill(pods, CHURN_POLICIES)
        quiet = _lags(made, 40)
        argv = [sys.executable, "-c", CHURN, str(made.place), str(CHURN_RATE), str(seconds), json.dumps(sys.path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as churn:
            with hurried(churn.pid):
                time.sleep(1.2)
                before, began, busy = cpu(made.node), time.monotonic(), []
                while churn.poll() is None and time.monotonic() - began < seconds - 2:
                    busy += _lags(made, 8)
            share = (cpu(made.node) - before) / (time.monotonic() - began)
            count, took = churn.communicate(timeout=60)[0].split()
        began = time.monotonic()
        left = min(int(count), CHURN_RATE)
        world.wait_settled(made.node, lambda now: now["endpoints"] == pods + 2 + left, "the last pod's coming")
        return {"pods": pods, "policies": CHURN_POLICIES, "rate": int(count) / float(took), "cpu_share": share, "quiet_ms": quiet, "busy_ms": busy,
                "behind_s": time.monotonic() - began, **memory(made.node)}
    finally:
        made.down()
