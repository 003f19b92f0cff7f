# SPDX-License-Identifier: Apache-2.0
"""What each command does."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

from . import cases, demo, enter, kube_cli, options, proc, state, table, teardown, web
from .errors import LabError, UsageError
from .kube_lab import KubeLab
from .lab import Lab
from .pod import Pod
from .store import DirectoryStore, check_manifest

OK, FAILED, USAGE, DIFFERENT = 0, 1, 2, 3


class Progress:
    def __init__(self):
        self.start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self.start:6.2f} s] {text}", file=sys.stderr, flush=True)


def refuse_pools(args) -> None:
    """Words that exclude each other."""
    if args.bgp and not args.pools:
        raise UsageError("--bgp goes with --pools")
    if args.pools and (args.store != "directory" or args.net_conf or args.plugin != "tulle"):
        raise UsageError("--pools goes with --store directory and Tulle's plugin, and takes the place of --net-conf")


def cluster_options(args) -> dict:
    return dict(backend=args.backend, store=args.store, underlay=args.underlay, family=args.family, mtu=args.mtu, ip_masq=args.ip_masq,
                agent_args=args.agent_arg, net_conf=args.net_conf, plugin=args.plugin, pools=args.pools,
                bgp=args.bgp)


def up(args) -> int:
    if args.store != "etcd" and (args.etcd_tls or args.etcd_members != 1):
        raise UsageError("--etcd-tls and --etcd-members go with --store etcd")
    refuse_pools(args)
    progress = Progress()
    name = args.lab or free_name()
    if args.store == "kubernetes":
        lab = kube_cli.make(name, args, progress)
    else:
        kube_cli.refuse(args)
        lab = Lab(name, nodes=args.nodes, etcd_members=args.etcd_members, etcd_tls=args.etcd_tls, agents=not args.no_agents, held=False,
                  progress=progress, **cluster_options(args))
    lab.up()
    progress(f"lab {name} is up")
    print(table.text(("NODE", "ADDRESSES"), [(node.name, " ".join(node.ips)) for node in lab.nodes]))
    return OK


def free_name() -> str:
    taken, number = set(state.names()), 1
    while f"lab{number}" in taken:
        number += 1
    return f"lab{number}"


def down(args) -> int:
    if args.all and args.lab:
        raise UsageError("--all and --lab exclude each other")
    if not args.all:
        found = state.choose(args.lab)
        take_down(found)
        return OK
    for name in state.names():
        found = state.State(name)
        if state.busy(found.read()) and not args.force:
            print(f"lab {name}: left alone, process {found.read()['owner']['pid']} holds it (--force takes it too)", file=sys.stderr)
        else:
            take_down(found)
    return OK


def take_down(found: state.State) -> None:
    removed = teardown.remove(found)
    print(f"lab {found.name}: removed {', '.join(removed) or 'an empty state directory'}")


def status(args) -> int:
    everything = state.names()
    if not args.lab and len(everything) != 1:
        rows = [{"lab": name, **summary(state.State(name).read())} for name in everything]
        if args.output == "json":
            print(json.dumps(rows, indent=2))
        elif rows:
            print(table.text(("LAB", "STATE", "NODES", "BACKEND", "STORE", "UNDERLAY", "FAMILY", "PODS", "AGE"), [r.values() for r in rows]))
        else:
            print("no lab is running")
        return OK
    lab = Lab.open(args.lab)
    if isinstance(lab, KubeLab):
        print(kube_cli.status(lab, args.output == "json"))
        return OK
    view = describe(lab)
    if args.output == "json":
        print(json.dumps(view, indent=2))
        return OK
    o = lab.options
    print(f"lab {lab.name}: {lab.traffic}, {o['store']} store, {o['underlay']} underlay, family {o['family']}, MTU {o['mtu']}, "
          f"masquerade {'on' if o['ip_masq'] else 'off'}\nstate and logs: {lab.state.dir}\n")
    print(table.text(("NODE", "ADDRESSES", "AGENT", "PID", "BLOCKS" if lab.pools else "SUBNETS", *(["BGP"] if lab.bgp else [])),
                     [(n["name"], " ".join(n["addresses"]), n["agent"], n["pid"], " ".join(n["subnets"]), *([n["bgp"]] if lab.bgp else []))
                      for n in view["nodes"]]))
    print()
    print(pod_table(view["pods"]))
    return OK


def summary(data: dict) -> dict:
    o = data["options"]
    condition = "broken" if state.broken(data) else "held" if data["held"] else "up" if data["ready"] else "coming up"
    return {"state": condition, "nodes": o.get("nodes"), "backend": f"pools {o['pools']}" if o.get("pools") else o.get("backend"), "store": o.get("store"),
            "underlay": o.get("underlay"), "family": o.get("family"), "pods": len(data["pods"]), "age": age(data["created"])}


def age(created: float) -> str:
    seconds = int(time.time() - created)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def describe(lab: Lab) -> dict:
    try:
        leases = lab.store.leases()
    except LabError:
        leases = {}  # etcd is down: the rest is still worth showing
    return {"lab": lab.name, "options": lab.options, "directory": str(lab.state.dir),
            "nodes": [describe_node(node, leases) for node in lab.nodes], "leases": leases,
            "pods": [describe_pod(pod) for pod in lab.pods.values()]}


def describe_node(node, leases: dict) -> dict:
    agent, condition = node.agent, "stopped"
    if agent.running:
        try:
            condition = "ready" if node.api("/readyz") is not None else "not ready"
        except (LabError, OSError):
            condition = "not ready"
    found = {"name": node.name, "addresses": node.ips, "agent": condition, "pid": agent.pid if agent.running else None,
             "subnets": node.lab.store.blocks(node.name) if node.lab.pools else subnets_of(node, leases), "init": node.init["pid"]}
    if node.lab.bgp:
        sessions = node.bgp_sessions() if condition == "ready" else []
        found["bgp"] = f"{sum(s['state'] == 'Established' for s in sessions)} of {len(sessions)} established"
    return found


def subnets_of(node, leases: dict) -> list:
    """Flannel's key grammar: 10.5.72.0-24, or 10.5.72.0-24&fd00:5:0:48::-64 for two families."""
    for key, lease in leases.items():
        if isinstance(lease, dict) and set(node.ips) & {lease.get("PublicIP"), lease.get("PublicIPv6")}:
            return [re.sub(r"-(\d+)$", r"/\1", part) for part in key.split("&")]
    return []


def describe_pod(pod: Pod) -> dict:
    r = pod.record
    return {"name": pod.name, "node": r["node"], "state": r["state"], "ips": pod.ips if r["result"] else [],
            "containerID": r["container_id"], "netns": r["netns"], "result": r["result"]}


def pod_table(pods: list) -> str:
    return table.text(("POD", "NODE", "ADDRESSES", "STATE"), [(p["name"], p["node"], " ".join(p["ips"]), p["state"]) for p in pods])


def pod(args) -> int:
    lab = Lab.open(args.lab)
    if args.pod_verb == "add":
        if isinstance(lab, KubeLab):
            raise LabError("pod add: this lab's pods are made by Kubernetes: tulle-lab kubectl -- run NAME --image=nginx")
        if args.web:
            proc.need(web.SERVERS[args.web][2][0])
        return pod_add(lab, args)
    if args.pod_verb == "list":
        pods = [describe_pod(p) for p in lab.pods.values()]
        print(json.dumps(pods, indent=2) if args.output == "json" else pod_table(pods))
        return OK
    for name in args.names:
        lab.pod(name).delete()
        print(f"pod {name} deleted")
    return OK


def pod_add(lab: Lab, args) -> int:
    made = lab.node(args.node).pod_add(args.name, ips=args.ip, mac=args.mac, ports=[port_mapping(text) for text in args.port])
    if args.serve:
        made.serve(args.serve)
    if args.web:
        web.start(args.web, made)
    if args.cmd:
        made.daemon(["/bin/sh", "-c", args.cmd], f"{made.record['netns']}-cmd")
    print(json.dumps(describe_pod(made), indent=2) if args.output == "json" else pod_table([describe_pod(made)]))
    return OK


def port_mapping(text: str) -> dict:
    match = re.fullmatch(r"(\d{1,5}):(\d{1,5})(?:/(tcp|udp|sctp))?", text)
    if not match or not all(0 < int(number) < 65536 for number in match.groups()[:2]):
        raise UsageError(f"--port {text}: expected HOST:CONTAINER or HOST:CONTAINER/tcp|udp|sctp")
    return {"hostPort": int(match[1]), "containerPort": int(match[2]), "protocol": match[3] or "tcp"}


def execute(args) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise UsageError("exec: which command? tulle-lab exec POD|NODE -- COMMAND…")
    lab = Lab.open(args.lab)
    if isinstance(lab, KubeLab) and args.place not in [host.name for host in lab.hosts]:
        return kube_cli.pod_exec(lab, args.place, command)
    place = lab.place(args.place)
    if isinstance(place, Pod):
        return enter.execute(place.node, command, place.netns_path)
    return enter.execute(place, command)


def kubectl(args) -> int:
    return kube_cli.kubectl(Lab.open(args.lab), args.command[1:] if args.command[:1] == ["--"] else args.command)


def apply(args) -> int:
    lab = Lab.open(args.lab)
    if isinstance(lab, KubeLab):
        return kube_cli.apply(lab, args)
    if args.name and len(args.filename) > 1:
        raise UsageError("--as goes with one -f")
    for filename in args.filename:
        name = args.name or Path(filename).name
        if filename == "-" and not args.name:
            raise UsageError("-f -: say with --as which name it shall have")
        if "/" in name or name.startswith("."):
            raise UsageError(f"--as {name}: expected a plain file name")
        if args.delete:
            apply_delete(lab, name)
            continue
        try:
            text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise LabError(f"{filename}: {getattr(error, 'strerror', None) or error}") from None
        check_manifest(name, text)
        if isinstance(lab.store, DirectoryStore):
            print(f"{name} → {lab.store.put(name, text)}")
        elif name.endswith(".json") and "backend" in {key.lower() for key in json.loads(text)}:
            lab.store.put_config(text)
            print(f"{name} → etcd key /coreos.com/network/config")
        else:
            raise LabError(f"{name}: an etcd store takes only a network configuration (JSON with a Backend); use --store directory for manifests")
    return OK


def apply_delete(lab: Lab, name: str) -> None:
    if not isinstance(lab.store, DirectoryStore):
        raise LabError("apply --delete: only with the directory store")
    try:
        lab.store.delete(name)
    except FileNotFoundError:
        raise LabError(f"{name}: not in the store") from None
    print(f"{name} deleted")


def logs(args) -> int:
    lab = Lab.open(args.lab)
    names = [f"{args.node}-tulled", args.node]
    for path in map(lab.log_path, names):
        if path.is_file():
            sys.stdout.write(path.read_text(errors="replace"))
            return OK
    known = ", ".join(sorted(p.stem for p in (lab.state.dir / "log").iterdir()))
    raise LabError(f"no log {args.node} (there are {known})")


def run_demo(args) -> int:
    refuse_pools(args)
    name = "demo" if args.keep else f"demo{os.getpid()}"
    good = demo.run(lambda text: print(text, flush=True), Progress(), args.keep, name=name, **cluster_options(args))
    return OK if good else FAILED


def run_cases(args) -> int:
    if args.jobs < 1 or not 0 < args.patience <= 60:
        raise UsageError("--jobs: expected at least 1; --patience: more than 0, at most 60")
    started = time.monotonic()
    settings = cases.Settings(args.backend, args.patience, tuple(args.agent_arg))
    say = Progress()
    played = cases.run(cases.find_files(args.files), args.out, settings, args.jobs, say)
    say(cases.summary(played, started))
    if any(one.trouble for one in played):
        return FAILED
    if not args.compare:
        return OK
    different = [line for one in played for line in one.different]
    print("\n".join(different) if different else "everything is as expected")
    return DIFFERENT if different else OK


VERBS = {"up": up, "down": down, "status": status, "pod": pod, "exec": execute, "kubectl": kubectl, "apply": apply, "logs": logs, "demo": run_demo, "cases": run_cases}


def main(argv=None) -> int:
    args = options.parser().parse_args(argv)

    def terminated(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGHUP, terminated)
    try:
        return VERBS[args.verb](args)
    except UsageError as error:
        print(f"tulle-lab: {error}", file=sys.stderr)
        return USAGE
    except (LabError, OSError) as error:
        print(f"tulle-lab: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("tulle-lab: interrupted; what was made is removed again", file=sys.stderr)
        return FAILED
