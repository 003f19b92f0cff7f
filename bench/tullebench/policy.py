# SPDX-License-Identifier: Apache-2.0
"""Policy: what it costs traffic (policy_traffic.py), how soon it is in force (policy_writes.py), what the engine needs (verdict_bench.c), how long a
policy with many CIDRs takes to load. One that fails is told and does not keep the others from being measured."""
import json
import re
import statistics
import subprocess
import time
import traceback

from tullelab.lab import Lab

from . import policy_traffic, policy_world, policy_writes, tools
from .scale import memory

SIZES, QUICK = (100_000, 10_000, 100_000), (1_000, 100, 1_000)  # pods, policies, prefixes
CIDRS, QUICK_CIDRS, ROUNDS = (1_000, 10_000, 100_000), (1_000,), 3
CALICO = "projectcalico.org/v3"


def _engine(options) -> dict:
    """What → the best of each run."""
    binary, found = tools.build_engine(), {}
    for _ in range(1 if options.quick else ROUNDS):
        done = subprocess.run([binary, *map(str, QUICK if options.quick else SIZES)], check=True, stdout=subprocess.PIPE, text=True)
        seen = {}
        for name, value, unit in re.findall(r"^(.+?) {2,}([\d.]+) (ms|bytes each)", done.stdout, re.M):
            if name not in seen:  # "what is left of it" comes again
                seen[name] = unit
                found.setdefault(name, {"unit": unit, "values": []})["values"].append(float(value))
    return found


def _blocks(nets) -> dict:
    spec = {**policy_world.SERVER, "ingress": [{"from": [{"ipBlock": {"cidr": net}} for net in nets]}]}
    return {"policy.json": policy_world.obj("NetworkPolicy", policy_world.POLICY_V1, "cidrs", spec, namespace=policy_world.HOME)}


def _set(nets) -> dict:
    rule = {"action": "Allow", "source": {"selector": "listed == 'yes'"}}
    return {"policy.json": policy_world.obj("GlobalNetworkPolicy", CALICO, "by-label", {"selector": "app == 'server'", "types": ["Ingress"], "ingress": [rule]}),
            "set.json": policy_world.obj("GlobalNetworkSet", CALICO, "listed", {"nets": nets}, labels={"listed": "yes"})}


def _load(options) -> list:
    """From the rename of the file to all of it in the kernel; and what it costs in memory."""
    found = []
    for kind, files in (("ipBlocks", _blocks), ("GlobalNetworkSet", _set)):
        for count in QUICK_CIDRS if options.quick else CIDRS:
            with Lab(nodes=1, backend="host-gw", ip_masq=False, agent_args=["--policy=on"]) as lab:
                node, = lab.nodes
                lab.store.put("namespace.json", json.dumps(policy_world.obj("Namespace", "v1", policy_world.HOME)))
                lab.store.put("pod.json", json.dumps(policy_world.pod("server", node.name, "server")))
                node.pod_add(f"{policy_world.HOME}/server")
                written = {name: json.dumps(value) for name, value in files(policy_world.networks(count)).items()}
                before, spent, began = memory(node), policy_writes.cpu(node), time.monotonic()
                for name, text in written.items():
                    lab.store.put(name, text)
                policy_world.wait_settled(node, lambda now, count=count: now["addresses"] >= count, f"{count} prefixes in force")
                seconds, after = time.monotonic() - began, memory(node)
                found.append({"kind": kind, "count": count, "seconds": seconds, "cpu_s": policy_writes.cpu(node) - spent, "bytes": sum(map(len, written.values())),
                              "bytes_each": (after["rssanon"] - before["rssanon"]) * 1024 / count})
    return found


PARTS = {"traffic": policy_traffic.measure, "engine": _engine, "load": _load, "directory": policy_writes.measure_directory,
         "churn": policy_writes.measure_churn, "server": policy_writes.measure_server}


def measure(options) -> dict:
    found = {}
    for name, part in PARTS.items():
        if options.only and name not in options.only:
            continue
        print(f"-- {name}", flush=True)
        try:
            found[name] = {"data": part(options)}
        except Exception as error:  # pylint: disable=broad-except
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
            traceback.print_exc()
    return found


def _ms(values) -> tuple:
    values = sorted(values)
    return f"{statistics.median(values):.1f}", f"{values[min(len(values) - 1, int(len(values) * 0.99))]:.1f}", f"{values[0]:.1f}"


def _writes_table(found):
    headings = ("pods", "policies", "write to first packet ms, median", "p99", "best", "agent's CPU a write ms", "resident MiB")
    return headings, [(one["pods"], one["policies"], *_ms(one["ms"]), f"{one['cpu_ms']:.1f}", f"{one['vmrss'] / 1024:.0f}") for one in found]


def _churn_table(one):
    headings = ("pods", "come and go a second", "agent's share of a CPU", "write to first packet ms, median", "p99", "best", "done after the last s")
    return headings, [(one["pods"], "0", "", *_ms(one["quiet_ms"]), ""),
                      (one["pods"], f"{one['rate']:.0f}", f"{one['cpu_share']:.2f}", *_ms(one["busy_ms"]), f"{one['behind_s']:.2f}")]


def _engine_table(found):
    return ("engine", "best", "unit"), [(name, f"{min(one['values']):.1f}", one["unit"]) for name, one in found.items()]


def _load_table(found):
    headings = ("policy", "CIDRs", "in force after s", "agent's CPU s", "file MB", "memory bytes a CIDR")
    return headings, [(one["kind"], one["count"], f"{one['seconds']:.2f}", f"{one['cpu_s']:.2f}", f"{one['bytes'] / 1e6:.1f}", f"{one['bytes_each']:.0f}")
                      for one in found]


TABLES = {"traffic": policy_traffic.table, "engine": _engine_table, "load": _load_table, "directory": _writes_table, "churn": _churn_table, "server": _writes_table}


def tables(data):
    for name, one in data.items():
        yield (name,), [(one["failed"],)] if "failed" in one else []
        if "data" in one:
            yield TABLES[name](one["data"])
