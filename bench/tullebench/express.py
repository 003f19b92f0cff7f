# SPDX-License-Identifier: Apache-2.0
"""The data path, and what it is measured against: pod to pod on two nodes that one veth connects. Rows: bare (host to host), the layouts by hand
(express_hand.py), and ours through the agent, with policy and masquerade as deployed: to the same node, without encapsulation, by VXLAN, IPIP and
UDP, with 0 and 1,000 policies (half of them apply to the client, half to the server), the express path off and on, where the agent has it.

Client and server on one CPU (once, for datagrams, on two), all rows interleaved in random order, best and median, ratios inside the run."""
import contextlib
import json
import pathlib
import random
import subprocess
import time

from tullelab.errors import LabError
from tullelab.lab import build_directory

from . import express_hand, express_tables, tools
from .express_tables import OTHER_CPU, TESTS, name_of
from .policy_world import HOME, POLICY_V1, PORT, many, obj, pod, wait_settled

ENCAPSULATIONS = {"none": {"backend": "host-gw"}, "vxlan": {"backend": "vxlan"}, "ipip": {"pools": "ipip"}, "udp": {"backend": "udp"}}
QUICK_ENCAPSULATIONS = ("none", "vxlan")
POLICIES = (0, 1_000)
MILLISECONDS, QUICK_MILLISECONDS, QUICK_REPEAT = 350, 120, 2
MANY, QUICK_MANY = 10_000, 1_000

tables = express_tables.tables


class Row:
    """Where a client runs and two servers answer, one on each CPU."""

    servers = {}  # (place, port) → process; pods may serve several rows
    threads = ()

    def __init__(self, name, client, server):
        self.name, self.client, self.address = name, client, server.ip
        for cpu in (0, 1):
            key = server.ip, str(server.netns_path), cpu
            if key not in Row.servers:
                Row.servers[key] = server.spawn([tools.path("netbench"), "serve", server.ip, PORT + cpu, cpu])
                Row.servers[key].wait_line("ready")

    def run(self, test, milliseconds, flows) -> dict:
        port = PORT + (1 if test == OTHER_CPU else 0)
        before = _nanoseconds(Row.threads)
        done = self.client.run([tools.path("netbench"), TESTS[test].how, self.address, port, milliseconds, flows], timeout=60)
        found = json.loads(done.stdout)
        if found["units"]:
            found["cpu_ns"] += (_nanoseconds(Row.threads) - before) / found["units"]
        return found


def _softirqd() -> list:
    """Where the kernel's threads for late interrupts say what they have used up."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has just ended
            if path.read_text().startswith("ksoftirqd/"):
                found.append(path.with_name("schedstat"))
    return found


def _nanoseconds(threads) -> int:
    return sum(int(path.read_text().split()[0]) for path in threads)


def _can_express() -> bool:
    done = subprocess.run([f"{build_directory()}/tulled", "--help"], stdout=subprocess.PIPE, text=True, check=True)
    return "--express-path" in done.stdout


def _policy(name, app, direction, peer) -> dict:
    """Lets pods of one app talk with those of another, one way."""
    ports = [{"protocol": protocol, "port": port} for protocol in ("TCP", "UDP") for port in (PORT, PORT + 1)]
    rule = {"from" if direction == "ingress" else "to": [{"podSelector": {"matchLabels": {"app": peer}}}], "ports": ports}
    spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": [direction.capitalize()], direction: [rule]}
    return obj("NetworkPolicy", POLICY_V1, name, spec, namespace=HOME)


def _policies(count) -> list:
    """Every one applies to one of the two; the last ones let them talk."""
    if not count:
        return []
    others = [_policy(f"p{i}", *(("server", "ingress") if i % 2 else ("client", "egress")), f"other-{i}") for i in range(count - 2)]
    return [*others, _policy("in", "server", "ingress", "client"), _policy("out", "client", "egress", "server")]


def _ours(labs, where, count, express) -> dict:
    """Name of a row → its client and server. The lab without encapsulation has a client beside the server as well."""
    extra = [] if express is None else [f"--express-path={'enabled' if express else 'disabled'}"]
    lab = express_hand.WireLab(nodes=2, agent_args=["--policy=on", *extra], **ENCAPSULATIONS[where])
    labs.append(lab)
    lab.up()
    lab.store.put("namespace.json", json.dumps(obj("Namespace", "v1", HOME)))
    made = {}
    for name, node in zip(("client", "server", "near") if where == "none" else ("client", "server"), (*lab.nodes, lab.nodes[1])):
        app = "server" if name == "server" else "client"
        lab.store.put(f"pod-{name}.json", json.dumps(pod(name, node.name, app)))
        made[name] = node.pod_add(f"{HOME}/{name}")
        lab.store.put(f"pod-{name}.json", json.dumps(pod(name, node.name, app, made[name].ip)))
    if count:
        lab.store.put("policies.json", many(_policies(count)))
    for node in lab.nodes:
        wait_settled(node, lambda now: now["policies"] == count, f"{count} policies in force")
    ends = {name_of(where, count, express): (made["client"], made["server"])}
    if where == "none":
        ends[name_of("same node", count, express)] = (made["near"], made["server"])
    return ends


def _rows(labs, options, left_out) -> list:
    rows = []
    for name, make in express_hand.ROWS.items():
        reason = express_hand.why_not(name)
        if reason:
            left_out[name] = reason
            continue
        rows.append(Row(name, *make(labs)))
    rows.append(Row("bare", *labs[0].nodes))
    modes = (False, True) if _can_express() else (None,)
    for where in QUICK_ENCAPSULATIONS if options.quick else ENCAPSULATIONS:
        for count in POLICIES:
            for express in modes:
                rows += [Row(name, *ends) for name, ends in _ours(labs, where, count, express).items()]
    return rows


def _chosen(options) -> list:
    groups = {test.group for test in TESTS.values()}
    unknown = set(options.only or ()) - groups
    if unknown:
        raise SystemExit(f"express has no measurement {unknown.pop()!r}; there are {', '.join(sorted(groups))}")
    return [name for name, test in TESTS.items() if not options.only or test.group in options.only]


def measure(options) -> dict:
    milliseconds, repeat, most = (QUICK_MILLISECONDS, min(options.repeat, QUICK_REPEAT), QUICK_MANY) if options.quick else (MILLISECONDS, options.repeat, MANY)
    tests, labs, samples, left_out, failed = _chosen(options), [], {}, {}, []
    began, Row.threads = time.monotonic(), _softirqd()
    try:
        rows = _rows(labs, options, left_out)
        names = [row.name for row in rows]
        for row in rows:
            row.run("TCP_RR", 20, 1)  # neighbours, caches
        ready = time.monotonic()
        for _ in range(repeat):
            for test in tests:
                random.shuffle(rows)
                for row in rows:
                    flows = most if TESTS[test].flows == MANY else TESTS[test].flows
                    try:
                        samples.setdefault(row.name, {}).setdefault(test, []).append(row.run(test, milliseconds, flows))
                    except LabError as error:  # told, and the others are measured nevertheless
                        failed.append(f"{row.name}: {test}: {error}")
                        print(f"failed: {failed[-1]}", flush=True)
    finally:
        Row.servers.clear()
        for lab in labs:
            lab.down()
    data = {"repeat": repeat, "flows": most, "seconds": {"making": round(ready - began, 1), "measuring": round(time.monotonic() - ready, 1)},
            "left_out": left_out, "failed": failed, "rows": names, "samples": samples}
    if "TCP_RR" in tests:
        root = pathlib.Path(__file__).resolve().parents[2]
        express_tables.plot(data, root / ("build/express.svg" if options.quick else "docs/express.svg"))
    return data
