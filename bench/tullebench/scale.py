# SPDX-License-Identifier: Apache-2.0
"""Memory and time with many leases: idle, 1,000 and 5,000 peers; start to all routes; one lease to its route."""
import base64
import contextlib
import http.client
import json
import re
import statistics
import time

from tullelab import wait
from tullelab.lab import Lab

SIZES = (0, 1000, 5000)
CHANGES = 20
NETWORK = {"Network": "10.0.0.0/8", "SubnetLen": 24, "SubnetMin": "10.200.0.0", "SubnetMax": "10.250.0.0"}


def _lease(i: int) -> tuple:
    """Key and value of peer i: subnets 10.1.0.0/24 and up, outside the range the agent takes its own from."""
    key = f"10.{1 + i // 256}.{i % 256}.0-24"
    public = f"172.{16 + i // 65536}.{i // 256 % 256}.{i % 256}"
    mac = "02:00:" + ":".join(f"{(i >> s) & 255:02x}" for s in (24, 16, 8, 0))
    return key, {"PublicIP": public, "PublicIPv6": None, "BackendType": "vxlan",
                 "BackendData": {"VNI": 1, "VtepMAC": mac}}


def memory(node) -> dict:
    status = open(f"/proc/{node.agent.pid}/status").read()
    return {key.lower(): int(re.search(rf"^{key}:\s+(\d+) kB", status, re.M)[1]) for key in ("VmRSS", "RssAnon")}


def metric(node, name: str) -> float:
    return float(re.search(rf"^tulle_{name} (\S+)$", node.api("/metrics"), re.M)[1])


def _fill_etcd(lab, leases: list) -> None:
    """By etcd's JSON gateway; a transaction takes 128 operations."""
    def encoded(text):
        return base64.b64encode(text.encode()).decode()

    node = lab.nodes[0]
    with contextlib.closing(http.client.HTTPConnection(lab.store.hosts[0].ip, 2379, timeout=30)) as connection:
        connection.sock = node.connect(lab.store.hosts[0].ip, 2379, 30)
        for begin in range(0, len(leases), 100):
            puts = [{"requestPut": {"key": encoded(f"/coreos.com/network/subnets/{key}"),
                                    "value": encoded(json.dumps(value, separators=(",", ":")))}}
                    for key, value in leases[begin:begin + 100]]
            connection.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(answer.read().decode(errors="replace"))
            answer.read()


def _fill(lab, first: int, last: int) -> None:
    if lab.options["store"] == "etcd":
        _fill_etcd(lab, [_lease(i) for i in range(first, last)])
        return
    for i in range(first, last):
        key, value = _lease(i)
        (lab.store.path / "leases" / f"{key}.json").write_text(json.dumps(value))


def _change_to_route(lab, node) -> list:
    """Milliseconds from the rename of a lease file to the kernel's route notification."""
    took = []
    monitor = node.spawn(["ip", "-4", "-ts", "monitor", "route"])
    time.sleep(0.3)  # the monitor says nothing when it listens
    for i in range(CHANGES):
        key, value = _lease(6000 + i)
        subnet = key.replace("-", "/")
        began = time.time()
        lab.store.put(f"leases/{key}.json", json.dumps(value))
        line = monitor.wait_line(subnet, 5)
        stamp = re.match(r"\[\d+-\d+-\d+T(\d+):(\d+):([\d.]+)\]", line)
        hours, minutes, seconds = stamp.groups()
        local = time.localtime(began)
        at = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        start = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + began % 1
        took.append((at - start) * 1000)
    monitor.stop()
    return took


def _one_store(store: str) -> dict:
    found = {}
    with Lab(nodes=1, store=store, net_conf=NETWORK, ip_masq=False) as lab:
        node = lab.nodes[0]
        for before, size in zip((0,) + SIZES, SIZES):
            node.agent_stop()
            _fill(lab, before, size)
            node.agent_start()
            wait.until(lambda: metric(node, "kernel_routes") >= size and metric(node, "peers_applied_seconds") > 0,
                       f"{size} routes", 60, detail=lambda: node.log[-2000:])
            time.sleep(1)  # the allocator gives back what the first pass needed
            found[str(size)] = {"start_to_routes_s": metric(node, "peers_applied_seconds"), **memory(node)}
        if store == "directory":
            found["change_ms"] = _change_to_route(lab, node)
    return found


def measure(options) -> dict:
    return {store: _one_store(store) for store in ("directory", "etcd")}


def rows(data):
    headings = ("store", "peers", "resident MiB", "anonymous MiB", "KiB a peer", "start to all routes s")
    lines = []
    for store, found in data.items():
        idle = found["0"]
        for size in SIZES:
            one = found[str(size)]
            each = (one["vmrss"] - idle["vmrss"]) / size if size else 0
            lines.append((store, size, f"{one['vmrss'] / 1024:.1f}", f"{one['rssanon'] / 1024:.1f}", f"{each:.2f}",
                          f"{one['start_to_routes_s']:.3f}"))
    change = data["directory"]["change_ms"]
    lines.append(("directory", "5000 + 1", "", "", "", f"one change: median {statistics.median(change):.1f} ms, "
                  f"max {max(change):.1f} ms"))
    return headings, lines
