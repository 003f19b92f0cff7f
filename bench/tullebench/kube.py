# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes store with a large cluster's objects in a real API server: memory, watch traffic, start to all routes, CPU under
heartbeats, one annotation to its route; then memory with policies that select all pods, as
subjects and as peers. Not part of the default run: it needs scripts/kubernetes, and takes some minutes. Nodes and pods are
written into etcd.

TULLE_BENCH_NODES and TULLE_BENCH_PODS choose other sizes than 5,000 and 50,000."""
import contextlib
import http.client
import json
import os
import re
import statistics
import threading
import time
from ipaddress import ip_network

from tullelab import address, wait
from tullelab.api_lab import ApiLab
from tullelab.kube_control import ANNOTATIONS, PORT

from . import etcd_bulk

NODES = int(os.environ.get("TULLE_BENCH_NODES", 5000))
PODS = int(os.environ.get("TULLE_BENCH_PODS", 50000))
CHANGES = 100
HEARTBEATS, HEARTBEAT_SECONDS = 100, 20
WRITERS = 6
POLICIES, APPS, LOCAL_PODS = 250, 500, 10
NETWORK = {"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}


def _name(i: int) -> str:
    return f"worker-{i:05d}"


def _cidr(i: int) -> str:
    return f"10.{1 + i // 256}.{i % 256}.0/24"


def _public(i: int) -> str:
    return f"172.{16 + i // 65536}.{i // 256 % 256}.{i % 256}"


def _mac(i: int) -> str:
    return "02:00:" + ":".join(f"{(i >> s) & 255:02x}" for s in (24, 16, 8, 0))


def _notes(i: int) -> dict:
    notes = {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": _public(i),
             "backend-data": json.dumps({"VNI": 1, "VtepMAC": _mac(i)}, separators=(",", ":"))}
    return {ANNOTATIONS + key: value for key, value in notes.items()}


def _node(i: int) -> dict:
    """As large as a real one: labels, a dozen of annotations, 50 images in the status."""
    return {"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": _name(i), "labels": {f"example.org/label-{n}": f"value-{n}-of-{i}" for n in range(15)},
                         "annotations": {**_notes(i), **{f"example.org/note-{n}": "x" * 60 for n in range(8)}}},
            "spec": {"podCIDR": _cidr(i), "podCIDRs": [_cidr(i)]}, "status": _status(i)}


def _status(i: int) -> dict:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [{"type": kind, "status": "True" if kind == "Ready" else "False", "reason": f"Kubelet{kind}", "message": f"kubelet says {kind}",
                   "lastHeartbeatTime": now, "lastTransitionTime": now} for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")]
    return {"conditions": conditions, "addresses": [{"type": "InternalIP", "address": _public(i)}, {"type": "Hostname", "address": _name(i)}],
            "capacity": {"cpu": "64", "memory": "256Gi", "pods": "110"}, "allocatable": {"cpu": "64", "memory": "256Gi", "pods": "110"},
            "images": [{"names": [f"registry.example/team/application-{n}@sha256:{n:064x}", f"registry.example/team/application-{n}:v{n}"],
                        "sizeBytes": 10 ** 8 + n} for n in range(50)]}


def _pod(i: int) -> dict:
    ip = str(ip_network(_cidr(i % NODES))[2 + i // NODES])
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{i:06d}", "namespace": "default", "labels": _labels(i)},
            "spec": {"nodeName": _name(i % NODES), "containers": [{"name": "main", "image": "example"}], "terminationGracePeriodSeconds": 0},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": _public(i % NODES)}}


def _labels(i: int) -> dict:
    return {"app": f"app-{i % APPS}", "tier": f"tier-{i % 5}"}


def _policy(i: int) -> dict:
    """Selects all pods; its peers are the pods of some applications, so that all policies together name every pod."""
    apps = [f"app-{n}" for n in range(i, APPS, POLICIES)]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": f"policy-{i:03d}"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"],
                     "ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": apps}]}}],
                                  "ports": [{"port": 1000 + i}]},
                                 {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": f"tier-{i % 5}"}}}],
                                  "ports": [{"port": 5000 + i % 50}]}]}}


class Writers:
    """Several connections to the API server, kept open, with the rights of an administrator."""

    def __init__(self, lab):
        self._lab = lab

    def _connection(self):
        control, api = self._lab.control, self._lab.api
        connection = http.client.HTTPConnection(address.url_host(control.ip), PORT, timeout=60)
        connection.sock = api.tls.wrap_socket(control.connect(control.ip, PORT, 60), server_hostname=control.ip)
        return connection

    def each(self, count: int, request, what: str) -> None:
        """request(i) → method, path, body, content type."""
        failures, begin = [], time.monotonic()

        def work(first):
            with contextlib.closing(self._connection()) as connection:
                for i in range(first, count, WRITERS):
                    method, path, body, kind = request(i)
                    connection.request(method, path, json.dumps(body), {"Content-Type": kind})
                    answer = connection.getresponse()
                    text = answer.read()
                    if answer.status >= 300:
                        failures.append(f"{method} {path}: {answer.status}: {text[:300]}")
                        return
        threads = [threading.Thread(target=work, args=(n,)) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])
        print(f"   {count} {what} in {time.monotonic() - begin:.0f} s", flush=True)

    def heartbeats(self, seconds: int, rate: int) -> int:
        """Status updates of one node after the other, so many a second; returns how many were written."""
        done, connection, begin = 0, self._connection(), time.monotonic()
        with contextlib.closing(connection):
            while time.monotonic() - begin < seconds:
                time.sleep(max(0.0, begin + done / rate - time.monotonic()))
                body = {"status": {"conditions": _status(done)["conditions"]}}
                connection.request("PATCH", f"/api/v1/nodes/{_name(done % NODES)}/status", json.dumps(body),
                                   {"Content-Type": "application/strategic-merge-patch+json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status >= 300:
                    raise RuntimeError(f"heartbeat: {answer.status}")
                done += 1
        return done


def _memory(node) -> dict:
    with open(f"/proc/{node.agent.pid}/status", encoding="ascii") as file:
        status = file.read()
    return {key.lower(): int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M)[1]) for key in ("VmRSS", "RssAnon")}


def _cpu(node) -> float:
    with open(f"/proc/{node.agent.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _metric(node, name: str) -> float:
    return float(re.search(rf"^tulle_{name} (\S+)$", node.api("/metrics"), re.M)[1])


def _settled(node, routes: int) -> dict:
    wait.until(lambda: _metric(node, "kernel_routes") >= routes and _metric(node, "peers_applied_seconds") > 0, f"{routes} routes", 120, 0.1,
               detail=lambda: node.log[-2000:])
    time.sleep(2)  # the allocator gives back what the first pass needed
    return {"start_to_routes_s": _metric(node, "peers_applied_seconds"), "received_mb": _metric(node, "store_received_bytes_total") / 1e6,
            **_memory(node)}


def _load(node, work) -> dict:
    """CPU and watch traffic of the agent while work() runs."""
    cpu, received, begin = _cpu(node), _metric(node, "store_received_bytes_total"), time.monotonic()
    count = work()
    seconds = time.monotonic() - begin
    return {"seconds": seconds, "events": count, "cpu_share": (_cpu(node) - cpu) / seconds,
            "bytes_per_s": (_metric(node, "store_received_bytes_total") - received) / seconds, **_memory(node)}


def _annotation_to_route(lab, node) -> list:
    """Milliseconds from sending the annotation that makes a node a peer to the kernel's notification of its route."""
    took = []
    monitor = node.spawn(["ip", "-4", "-ts", "monitor", "route"])
    time.sleep(0.5)
    for n in range(CHANGES):
        i = n * 37 % NODES
        _mark(lab, i, None)
        wait.until(lambda: not node.run(["ip", "route", "show", _cidr(i)]).stdout, "the route is gone", 10, 0.02)
        time.sleep(0.05)
        began = time.time()
        _mark(lab, i, "true")
        stamp = re.match(r"\[\d+-\d+-\d+T(\d+):(\d+):([\d.]+)\]", monitor.wait_line(f"] {_cidr(i)} ", 10)).groups()
        local = time.localtime(began)
        start = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + began % 1
        took.append((int(stamp[0]) * 3600 + int(stamp[1]) * 60 + float(stamp[2]) - start) * 1000)
    monitor.stop()
    return took


def _mark(lab, i: int, value) -> None:
    lab.api.patch(f"/api/v1/nodes/{_name(i)}", {"metadata": {"annotations": {ANNOTATIONS + "kube-subnet-manager": value}}})


def _policy_status(node) -> dict:
    return json.loads(node.run([f"{node.lab.build}/tullectl", "-o", "json", "status"]).stdout)["policy"]


def _in_force(node, policies: int, endpoints: int) -> dict:
    """Memory once the policies are the kernel's."""
    def reached():
        seen = _policy_status(node)
        return seen if seen["settled"] and seen["policies"] == policies and seen["endpoints"] >= endpoints else None
    seen = wait.until(reached, f"{policies} policies are in force, {endpoints} pods are known", 180, 0.5, detail=lambda: node.log[-2000:])
    time.sleep(2)
    return {"endpoints": seen["endpoints"], "addresses": seen["addresses"], "classes": seen["classes"], "lists": seen["lists"],
            "received_mb": _metric(node, "store_received_bytes_total") / 1e6, **_memory(node)}


def _policies(lab, node, writers) -> dict:
    """With all of them, as they are written one by one; of an agent that starts with them."""
    found = {}
    for n in range(LOCAL_PODS):
        name = f"local-{n}"
        spec = {**_pod(n)["spec"], "nodeName": node.name}
        lab.api.create("/api/v1/namespaces/default/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": _labels(n)}, "spec": spec})
        node.pod_add(name)
    writers.each(POLICIES, lambda i: ("POST", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", _policy(i), "application/json"),
                 "policies")
    found["written"] = _in_force(node, POLICIES, PODS)
    node.agent_restart()
    found["started"] = _in_force(node, POLICIES, PODS)
    return found


def measure(options) -> dict:
    found = {"nodes": NODES, "pods": PODS}
    with ApiLab(nodes=1, net_conf=NETWORK, ip_masq=False, agent_args=["--policy=auto"]) as lab:
        node, = lab.nodes
        lab.control.stop("kube-controller-manager")  # it would mark silent nodes, and evict
        lab.node_object(node.name, ["10.250.1.0/24"])
        node.agent_start()
        found["small"] = {**_settled(node, 0), **_in_force(node, 0, 0)}
        found["idle"] = _load(node, lambda: time.sleep(20) or 0)
        node.agent_restart(["--policy=off"])
        found["small_off"] = _settled(node, 0)
        node.agent_stop()
        writers = Writers(lab)
        with etcd_bulk.opened(lab) as bulk:
            bulk.put(map(_node, range(NODES)), "nodes")
            bulk.put(map(_pod, range(PODS)), "pods")
        node.agent_start()
        found["large"] = {**_settled(node, NODES), **_in_force(node, 0, 0)}
        found["idle_large"] = _load(node, lambda: time.sleep(20) or 0)
        found["heartbeats"] = _load(node, lambda: writers.heartbeats(HEARTBEAT_SECONDS, HEARTBEATS))
        found["annotation_to_route_ms"] = _annotation_to_route(lab, node)
        found["after"] = _memory(node)
        found["policy"] = _policies(lab, node, writers)
    return found


def rows(data):
    headings = ("cluster", "resident MiB", "anonymous MiB", "received MB", "start to all routes s", "")
    large, small = data["large"], data["small"]
    took = sorted(data["annotation_to_route_ms"])

    def one(name, part, text=""):
        return (name, f"{part['vmrss'] / 1024:.1f}", f"{part['rssanon'] / 1024:.1f}", f"{part.get('received_mb', 0):.1f}",
                f"{part.get('start_to_routes_s', 0):.2f}", text)
    beats = data["heartbeats"]
    return headings, [
        one("1 node", small, f"idle CPU {data['idle']['cpu_share']:.4f} of a core"),
        one(f"{data['nodes']} nodes, {data['pods']} pods", large, f"idle CPU {data['idle_large']['cpu_share']:.4f} of a core"),
        one(f"{beats['events'] / beats['seconds']:.0f} heartbeats a second", beats,
            f"CPU {beats['cpu_share']:.3f} of a core, {beats['bytes_per_s'] / 1000:.0f} kB/s"),
        ("annotation to route", "", "", "", "",
         f"median {statistics.median(took):.1f} ms, p99 {took[int(len(took) * 0.99) - 1]:.1f} ms, max {took[-1]:.1f} ms"),
        one("1 node, --policy=off", data["small_off"]),
        one(f"{POLICIES} policies that select all pods", data["policy"]["written"],
            "{endpoints} pods known, {classes} classes, {lists} lists, {addresses} addresses".format(**data["policy"]["written"])),
        one("the same, agent started with them", data["policy"]["started"]),
    ]
