# SPDX-License-Identifier: Apache-2.0
"""Memory and time with many nodes' IPAM blocks, where the store speaks Calico: start to all routes with 100, 1,000 and 5,000 nodes; a new
block to its route, on one agent that knows so many and on 100 agents at once. Pools with VXLAN: every node is a route, a neighbour
and an FDB entry.

TULLE_BENCH_NODES=100,1000,5000 and TULLE_BENCH_AGENTS=100 choose other sizes."""
import base64
import contextlib
import http.client
import json
import os
import statistics
import time

from tullelab import LabError, wait
from tullelab.lab import Lab

from .routes import RouteWatch
from .scale import memory, metric

SIZES = tuple(map(int, os.environ.get("TULLE_BENCH_NODES", "100,1000,5000").split(",")))
AGENTS = int(os.environ.get("TULLE_BENCH_AGENTS", 100))
CHANGES, CHANGES_AT_ONCE = 100, 20
PODS = 20  # of a node, each with a handle of its own
POOL = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "pool"},
        "spec": {"cidr": "10.0.0.0/8", "vxlanMode": "Always", "natOutgoing": False}}
RESOURCES = "/calico/resources/v3/projectcalico.org"
ETCD_NAMES = {"affinityClaimTime": "affinity_claim_time"}


def _node(i: int) -> str:
    return f"worker-{i:05d}"


def _address(i: int) -> str:
    return f"172.{16 + i // 65536}.{i // 256 % 256}.{i % 256}"


def _cidr(i: int) -> str:
    return f"10.{i // 1024}.{i // 4 % 256}.{i % 4 * 64}/26"


def block(i: int, owner: int) -> dict:
    """As a node has it that runs some pods: tunnel address, batch, pods."""
    name, used = _node(owner), 17 + PODS
    attributes = [{"handle_id": f"{kind}-{name}", "secondary": {"node": name, "type": "vxlanTunnelAddress"}} for kind in ("vxlan-tunnel-addr", "tulle-reserved")]
    attributes += [{"handle_id": f"tulle.{n:064x}", "secondary": {"node": name, "namespace": "default", "pod": f"pod-{n}",
                                                                  "timestamp": "2026-11-23 12:00:00.000000000 +0000 UTC"}} for n in range(PODS)]
    return {"cidr": _cidr(i), "affinity": f"host:{name}", "allocations": [0] + [1] * 16 + list(range(2, PODS + 2)) + [None] * (64 - used),
            "unallocated": list(range(used, 64)), "attributes": attributes, "sequenceNumber": 1795453231907549734, "deleted": False,
            "sequenceNumberForAllocation": {str(n): 1795453231907549730 for n in range(used)}, "strictAffinity": False,
            "affinityClaimTime": "2026-11-23T12:00:00Z"}


class Directory:
    """Nodes and blocks as agents write them to a directory."""

    def __init__(self, lab):
        self._store = lab.store
        for kind in ("nodes", "ipamblocks"):
            (self._store.path / "objects" / kind).mkdir(parents=True, exist_ok=True)
        self._store.put("pool.json", json.dumps(POOL))

    def put_nodes(self, numbers) -> None:
        for i in numbers:
            notes = {"projectcalico.org/IPv4Address": f"{_address(i)}/16", "projectcalico.org/IPv4VXLANTunnelAddr": _cidr(i).split("/")[0]}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": _node(i), "labels": {"kubernetes.io/hostname": _node(i)}, "annotations": notes}}
            self._write("nodes", _node(i), node)
            self.put_block(i, i)

    def put_block(self, i: int, owner: int) -> None:
        name = _cidr(i).replace(".", "-").replace("/", "-")
        self._write("ipamblocks", name, {"apiVersion": "projectcalico.org/v3", "kind": "IPAMBlock", "metadata": {"name": name}, "spec": block(i, owner)})

    def _write(self, kind: str, name: str, value: dict) -> None:
        target = self._store.path / "objects" / kind / f"{name}.json"
        new = target.with_name(f".{target.name}.new")
        new.write_text(json.dumps(value))
        os.rename(new, target)

    def close(self) -> None:
        pass


class Etcd:
    """The same with Calico's keys, by etcd's JSON gateway."""

    def __init__(self, lab):
        host = lab.store.hosts[0]
        self._connection = http.client.HTTPConnection(host.ip, 2379, timeout=60)
        self._connection.sock = lab.nodes[0].connect(host.ip, 2379, 60)
        self._put([(f"{RESOURCES}/ippools/pool", POOL)])

    def put_nodes(self, numbers) -> None:
        pairs = []
        for i in numbers:
            node = {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": _node(i), "labels": {"kubernetes.io/hostname": _node(i)}},
                    "spec": {"bgp": {"ipv4Address": f"{_address(i)}/16"}, "ipv4VXLANTunnelAddr": _cidr(i).split("/")[0]}}
            affinity = f"/calico/ipam/v2/host/{_node(i)}/ipv4/block/{_cidr(i).replace('/', '-')}"
            pairs += [(f"{RESOURCES}/nodes/{_node(i)}", node), (affinity, {"state": "confirmed", "deleted": False}), self._block(i, i)]
        for begin in range(0, len(pairs), 120):  # a transaction takes 128 operations
            self._put(pairs[begin:begin + 120])

    def put_block(self, i: int, owner: int) -> None:
        self._put([self._block(i, owner)])

    @staticmethod
    def _block(i: int, owner: int) -> tuple:
        value = {ETCD_NAMES.get(key, key): member for key, member in block(i, owner).items()}
        return f"/calico/ipam/v2/assignment/ipv4/block/{_cidr(i).replace('/', '-')}", value

    def _put(self, pairs) -> None:
        def encoded(text):
            return base64.b64encode(text.encode()).decode()
        puts = [{"requestPut": {"key": encoded(key), "value": encoded(json.dumps(value, separators=(",", ":")))}} for key, value in pairs]
        self._connection.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise LabError(f"etcd: {text.decode(errors='replace')}")

    def close(self) -> None:
        self._connection.close()


WRITERS = {"directory": Directory, "etcd": Etcd}


def lab_with(store: str, nodes: int) -> Lab:
    """No agents yet. A directory's net-conf.json would be a pool that overlaps ours, unless it is the same."""
    return Lab(nodes=nodes, store=store, agents=False, ip_masq=False, agent_args=["--dialect=calico"], net_conf={"Network": "10.0.0.0/8"})


def _new_blocks(writer, nodes, first: int, count: int, owners: int) -> list:
    """Milliseconds from the write of a new block to the kernel's notification, on each of these nodes."""
    watch, took = RouteWatch(nodes), []
    for n in range(count):
        time.sleep(0.05)
        watch.clear()
        began = time.monotonic()
        writer.put_block(first + n, n * 37 % owners)
        took.append([(when - began) * 1000 for when in watch.wait_new(_cidr(first + n), len(nodes)).values()])
    watch.close()
    return took


def _one_agent(store: str) -> dict:
    found = {}
    with lab_with(store, 1) as lab, contextlib.closing(WRITERS[store](lab)) as writer:
        node = lab.nodes[0]
        for before, size in zip((0, 0) + SIZES, (0,) + SIZES):
            if size:
                node.agent_stop()
            writer.put_nodes(range(before, size))
            node.agent_start(timeout=120)
            wait.until(lambda: metric(node, "kernel_routes") >= size and metric(node, "peers_applied_seconds") > 0, f"{size} routes", 120,
                       detail=lambda: node.log[-2000:])
            time.sleep(1)  # the allocator gives back what the first pass needed
            found[str(size)] = {"start_to_routes_s": metric(node, "peers_applied_seconds"), **memory(node)}
            if size:
                took = _new_blocks(writer, [node], 8000 + size, CHANGES, size)
                found[str(size)]["new_block_ms"] = [one for one, in took]
    return found


def _start_many(lab) -> list:
    """Those that run: a machine lets its processes have fs.inotify.max_user_instances instances (128), and each agent needs one."""
    running = []
    try:
        for begin in range(0, len(lab.nodes), 10):
            some = lab.nodes[begin:begin + 10]
            for node in some:
                node.agent_start(ready=False)
            for node in some:
                node.agent_ready(120)
            running += some
    except LabError as error:
        if "Too many open files" not in str(error) or not running:
            raise
        print(f"   {len(running)} agents instead of {len(lab.nodes)}: fs.inotify.max_user_instances", flush=True)
    return running


def _many_agents() -> dict:
    """Each with its own block: the last of them has the new block's route, too."""
    with lab_with("etcd", AGENTS) as lab, contextlib.closing(Etcd(lab)) as writer:
        writer.put_nodes(range(1))
        nodes = _start_many(lab)
        for node in nodes:
            wait.until(lambda: metric(node, "kernel_routes") >= 1, f"{node.name}: the first route", 60)
        return {"agents": len(nodes), "new_block_ms": _new_blocks(writer, nodes, 8000, CHANGES_AT_ONCE, 1)}


def measure(options) -> dict:
    return {**{store: _one_agent(store) for store in WRITERS}, "at_once": _many_agents()}


def p99(values) -> float:
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)]


def _times(values) -> tuple:
    return tuple(f"{value:.1f}" for value in (statistics.median(values), p99(values), max(values))) if values else ("", "", "")


def rows(data):
    headings = ("store", "agents", "nodes' blocks", "resident MiB", "anonymous MiB", "KiB a node", "start to all routes s", "new block's route: median ms",
                "p99 ms", "max ms")
    lines = []
    for store in WRITERS:
        idle = data[store]["0"]
        for size, one in data[store].items():
            each = (one["vmrss"] - idle["vmrss"]) / int(size) if int(size) else 0
            lines.append((store, 1, size, f"{one['vmrss'] / 1024:.1f}", f"{one['rssanon'] / 1024:.1f}", f"{each:.2f}", f"{one['start_to_routes_s']:.3f}",
                          *_times(one.get("new_block_ms"))))
    many = data["at_once"]
    flat = [value for one in many["new_block_ms"] for value in one]
    lines.append(("etcd", many["agents"], "", "", "", "", "each agent", *_times(flat)))
    lines.append(("etcd", many["agents"], "", "", "", "", "the last of them", *_times([max(one) for one in many["new_block_ms"]])))
    return headings, lines
