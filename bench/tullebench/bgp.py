# SPDX-License-Identifier: Apache-2.0
"""BGP by the agent and BIRD: a peer's 10,000 prefixes to the kernel and away again, memory before and with them; and how soon pods' way to
the other rack avoids a router that falls silent, by BFD at 50 ms, three times.

TULLE_BENCH_PREFIXES chooses another number than 10,000."""
import contextlib
import json
import os
import re
import statistics
import time

from tullelab import pools, wait
from tullelab.lab import Lab

from .routes import RouteWatch

PREFIXES = int(os.environ.get("TULLE_BENCH_PREFIXES", 10000))
ROUNDS, FAILOVERS = 3, 6
FAST = {"minTxMs": 50, "minRxMs": 50, "multiplier": 3}
PEER_AS, CTL = 65001, "/run/many.ctl"
PEER = """router id {own};
protocol device {{ }}
protocol static many {{ disabled; ipv4;
{routes}
}}
protocol bgp {{ local {own} as {peer_as}; neighbor {node} as 64512; connect delay time 1; connect retry time 1; ipv4 {{ import all; export all; }}; }}
"""


def _kib(pid, key: str) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(rf"^{key}:\s+(\d+) kB", file.read(), re.M)[1])


def _memory(node) -> dict:
    bird = next(pid for pid in node.processes() if _name(pid) == "bird")
    return {name: {"vmrss": _kib(pid, "VmRSS"), "rssanon": _kib(pid, "RssAnon")} for name, pid in (("agent", node.agent.pid), ("bird", bird))}


def _name(pid) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().strip()
    return ""


def _count(node) -> int:
    return node.run(["ip", "-4", "route", "show", "proto", "bird"]).stdout.count("\n")


def _established(node) -> bool:
    return [session["state"] for session in node.bgp_sessions()] == ["Established"]


def _many_prefixes() -> dict:
    found = {"prefixes": PREFIXES, "in_s": [], "out_s": []}
    with Lab(nodes=2, pools="none", agents=False, agent_args=["--bird=start"]) as lab:
        node, peer = lab.nodes
        lab.store.put("peer.json", json.dumps({"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "many"},
                                               "spec": {"peerIP": peer.ip, "asNumber": PEER_AS}}))
        routes = "\n".join(f"route {32 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24 blackhole;" for n in range(PREFIXES))
        peer.write("/etc/many.conf", PEER.format(own=peer.ip, node=node.ip, peer_as=PEER_AS, routes=routes))
        peer.daemon(["bird", "-f", "-c", "/etc/many.conf", "-s", CTL, "-P", "/run/many.pid"], "bird")
        node.agent_start()
        wait.until(lambda: _established(node), "the session", 30, 0.1)
        time.sleep(1)
        found["before"] = _memory(node)
        for _ in range(ROUNDS):
            for word, count, key in (("enable", PREFIXES, "in_s"), ("disable", 0, "out_s")):
                began = time.monotonic()
                peer.run(["birdc", "-s", CTL, word, "many"])
                wait.until(lambda count=count: _count(node) == count, f"{count} routes", 120)
                found[key].append(time.monotonic() - began)
                if count:
                    time.sleep(1)
                    found["with"] = _memory(node)
    return found


def _failover() -> list:
    """Milliseconds from the cut of a router's cables to the route without it, of node-1."""
    slow, took = dict(pools.BFD), []
    pools.BFD.update(FAST)
    try:
        with Lab(nodes=2, pools="none", underlay="routed", bgp=True) as lab:
            one, two = lab.nodes
            a, b = one.pod_add("a"), two.pod_add("b")
            wait.until(lambda: a.ping(b.ip), "pod to pod", 30)
            watch = RouteWatch([one])
            for n in range(FAILOVERS):
                wait.until(lambda: one.run(["ip", "route", "show", "proto", "bird"]).stdout.count("nexthop") == 2, "both routers are in use", 60, 0.1)
                time.sleep(1)
                watch.clear()
                router, other = lab.routers[n % 2], lab.routers[1 - n % 2]
                began = time.monotonic()
                router.unplug()
                cut = time.monotonic()
                left = watch.wait(lambda new, dst, gateway, merged: new and not merged and str(gateway) == other.ip)
                took.append({"from_first_cut": (left["node-1"] - began) * 1000, "from_last_cut": (left["node-1"] - cut) * 1000})
                a.ping(b.ip)
                router.plug()
            watch.close()
    finally:
        pools.BFD.update(slow)
    return took


def measure(options) -> dict:
    return {"many": _many_prefixes(), "failover_ms": _failover()}


def rows(data):
    headings = ("what", "median", "most", "")
    many, found = data["many"], []

    def line(what, values, unit, text=""):
        found.append((what, f"{statistics.median(values):.2f} {unit}", f"{max(values):.2f} {unit}", text))
    line(f"{many['prefixes']} prefixes from a peer to the kernel", many["in_s"], "s")
    line("withdrawn", many["out_s"], "s")
    for name in ("agent", "bird"):
        before, after = many["before"][name], many["with"][name]
        found.append((f"{name}: resident (anonymous)", f"{before['vmrss'] / 1024:.1f} ({before['rssanon'] / 1024:.1f}) MiB",
                      f"{after['vmrss'] / 1024:.1f} ({after['rssanon'] / 1024:.1f}) MiB", "without, with the prefixes"))
    line("a router falls silent, by BFD, to the other way", [one["from_first_cut"] for one in data["failover_ms"]], "ms", "goal: under 200 ms")
    return headings, found
