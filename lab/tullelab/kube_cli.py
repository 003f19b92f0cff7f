# SPDX-License-Identifier: Apache-2.0
"""What the commands do where a lab has real Kubernetes."""

import json
import os
import sys

from . import proc, table
from .errors import LabError, UsageError
from .kube_lab import KubeLab
from .kube_node import ready_condition

ONLY_HERE = {"network": "--network", "agent": "--agent", "kube_proxy": "--kube-proxy", "dns": "--dns", "etcd": "--etcd", "crds": "--crds"}


def make(name: str, args, progress) -> KubeLab:
    for given, word in ((args.plugin != "tulle", "--plugin (use --network bridge)"), (args.no_agents, "--no-agents (use --network none)")):
        if given:
            raise UsageError(f"--store kubernetes does not go with {word}")
    chosen = {key: getattr(args, key) for key in ONLY_HERE if getattr(args, key) is not None}
    return KubeLab(name, nodes=args.nodes, backend=args.backend, underlay=args.underlay, family=args.family, mtu=args.mtu, ip_masq=args.ip_masq,
                   agent_args=args.agent_arg, net_conf=args.net_conf, held=False, progress=progress, **chosen)


def refuse(args) -> None:
    """Words that mean something only here."""
    given = [word for key, word in ONLY_HERE.items() if getattr(args, key) is not None]
    if given:
        raise UsageError(f"{', '.join(given)}: only with --store kubernetes")


def kubectl(lab, words) -> int:
    """On this terminal; does not come back."""
    if not isinstance(lab, KubeLab):
        raise LabError(f"lab {lab.name} has no Kubernetes (its store is {lab.options['store']})")
    command = lab.kubectl_command(*words)
    env = dict(proc.environment(None, lab.build), **{key: value for key, value in os.environ.items() if key.startswith(("KUBE", "EDITOR", "PAGER"))})
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, env)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}") from None


def pod_exec(lab, name: str, command) -> int:
    """NAME or NAMESPACE/NAME."""
    namespace, _, short = name.rpartition("/")
    terminal = ["-it"] if sys.stdin.isatty() and sys.stdout.isatty() else ["-i"]
    return kubectl(lab, ["exec", *terminal, "-n", namespace or "default", short, "--", *command])


def apply(lab, args) -> int:
    if args.name:
        raise UsageError("apply: --as goes with a directory store")
    return kubectl(lab, ["delete" if args.delete else "apply", *(word for name in args.filename for word in ("-f", name))])


def status(lab, as_json: bool) -> str:
    view = {"lab": lab.name, "options": lab.options, "directory": str(lab.state.dir), "api": lab.control.url,
            "kubeconfig": str(lab.store.kubeconfig), "nodes": _nodes(lab), "pods": _pods(lab)}
    if as_json:
        return json.dumps(view, indent=2)
    o = lab.options
    network = f"{o['network']} ({o['backend']}, agent by {o['agent']})" if o["network"] == "tulle" else o["network"]
    head = (f"lab {lab.name}: Kubernetes at {lab.control.url}, network {network}, {o['underlay']} underlay, family {o['family']}, MTU {o['mtu']}, "
            f"kube-proxy {o['kube_proxy']}\nstate and logs: {lab.state.dir}")
    nodes = table.text(("NODE", "ADDRESSES", "STATUS", "STOPPED", "POD NETWORKS"),
                       [(n["name"], " ".join(n["addresses"]), n["status"], " ".join(n["stopped"]), " ".join(n["podCIDRs"])) for n in view["nodes"]])
    pods = table.text(("NAMESPACE", "POD", "READY", "PHASE", "NODE", "ADDRESSES"),
                      [(p["namespace"], p["name"], p["ready"], p["phase"], p["node"], " ".join(p["ips"])) for p in view["pods"]])
    return f"{head}\n\n{nodes}\n\n{pods}"


def _nodes(lab) -> list:
    known = {item["metadata"]["name"]: item for item in lab.api.items("/api/v1/nodes")}
    return [_node(node, known.get(node.name, {})) for node in lab.nodes]


def _node(node, item: dict) -> dict:
    ready = ready_condition(item).get("status")
    parts = ["containerd", "kubelet", "kube-proxy"] + (["tulled"] if node.daemon_named("tulled").who else [])
    return {"name": node.name, "addresses": node.ips, "status": {"True": "Ready", None: "unknown"}.get(ready, "NotReady"),
            "stopped": [part for part in parts if not node.daemon_named(part).running], "podCIDRs": item.get("spec", {}).get("podCIDRs", []),
            "init": node.init["pid"]}


def _pods(lab) -> list:
    found = []
    for item in lab.api.items("/api/v1/pods"):
        status_ = item.get("status", {})
        ready = sum(bool(c.get("ready")) for c in status_.get("containerStatuses", []))
        found.append({"namespace": item["metadata"]["namespace"], "name": item["metadata"]["name"],
                      "ready": f"{ready}/{len(item['spec']['containers'])}", "phase": status_.get("phase"),
                      "node": item["spec"].get("nodeName"), "ips": [entry["ip"] for entry in status_.get("podIPs", [])]})
    return found
