# SPDX-License-Identifier: Apache-2.0
"""The command line of tulle-lab: what can be said, and the help."""

import argparse

from . import address, cases, netconf, pools

EXAMPLES = """examples:
  tulle-lab demo --backend vxlan
  tulle-lab up --nodes 3 --backend host-gw --family dual
  tulle-lab pod add web --node node-1
  tulle-lab pod add shell --node node-2 --cmd 'sleep 1000'
  tulle-lab exec shell -- ping -c1 10.244.1.2
  tulle-lab exec node-1 -- ip route
  tulle-lab status
  tulle-lab down

  tulle-lab demo --pools ipip
  tulle-lab up --pools none --underlay routed --bgp
  tulle-lab up --pools my-pools.yaml --nodes 3
  tulle-lab exec node-1 -- tullectl bgp status

  tulle-lab cases case.json --out observation.json
  tulle-lab cases tests/netpol/data/samples --out observations/ --compare

  tulle-lab up --store kubernetes --nodes 2
  tulle-lab kubectl -- run nginx-1 --image=nginx --port=80
  tulle-lab kubectl -- get pods -o wide

Everything lives in namespaces of its own; state and logs are under /run/tulle-lab/NAME (TULLE_LAB_DIR puts them elsewhere). Needs root.
TULLE_BUILD says where tulled and tulle are (default: build/ of this repository).
exit status: 0 done, 1 failed, 2 wrong usage; exec: that of the command."""


def _lab(parser) -> None:
    parser.add_argument("--lab", metavar="NAME", help="which lab (default: the only running one)")


def _output(parser) -> None:
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table", help="default: table")


def _cluster(parser, stores=("directory", "etcd")) -> None:
    parser.add_argument("--backend", choices=netconf.BACKENDS, default="vxlan", help="how pods' packets travel (default: vxlan)")
    parser.add_argument("--pools", metavar="HOW|FILE",
                        help="Calico's half instead of Flannel's, so instead of --backend: a default IPPool of each family with the encapsulation "
                             f"{', '.join(pools.PRESETS)} (IPIP is IPv4 only: the IPv6 pool has VXLAN), or a manifest with IPPools; "
                             "with --store directory")
    parser.add_argument("--bgp", action="store_true",
                        help="with --pools: nodes speak BGP by BIRD. --underlay flat: with each other; routed: with two routers, which know only "
                             "what BGP tells them, so --pools none crosses the racks without encapsulation")
    parser.add_argument("--store", choices=stores, default="directory",
                        help="where the cluster's state lies: a shared directory, a real etcd"
                             + (", or real Kubernetes" if "kubernetes" in stores else "") + " (default: directory)")
    parser.add_argument("--underlay", choices=["flat", "routed"], default="flat",
                        help="flat: one bridge; routed: two racks and a router, odd nodes in one, even nodes in the other (default: flat)")
    parser.add_argument("--family", choices=list(address.FAMILIES), default="4", help="of nodes and pods (default: 4)")
    parser.add_argument("--mtu", type=int, default=1500, metavar="M", help="of the underlay (default: 1500)")
    parser.add_argument("--ip-masq", action=argparse.BooleanOptionalAction, default=True,
                        help="masquerade what leaves the pod network (default: yes)")
    parser.add_argument("--agent-arg", action="append", default=[], metavar="ARG", help="one more argument for tulled (repeatable): --agent-arg=--v=5")
    parser.add_argument("--net-conf", metavar="JSON", help="keys that replace those of the network configuration: '{\"Backend\":{\"DirectRouting\":true}}'")
    parser.add_argument("--plugin", choices=["tulle", "ptp", "bridge"], default="tulle",
                        help="CNI plugin; ptp and bridge are Debian's, without agent, for comparison (default: tulle)")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="tulle-lab", description="Clusters from namespaces on one machine.", epilog=EXAMPLES,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    up = verbs.add_parser("up", help="bring a lab up", description="Bring a lab up and leave it running.")
    up.add_argument("--nodes", type=int, default=2, metavar="N", help="default: 2")
    up.add_argument("--name", "--lab", metavar="LAB", dest="lab", help="default: lab1, lab2, …")
    up.add_argument("--etcd-members", type=int, choices=[1, 3], default=1, help="with --store etcd (default: 1)")
    up.add_argument("--etcd-tls", action="store_true", help="with --store etcd: TLS with client certificates")
    up.add_argument("--no-agents", action="store_true", help="do not start tulled")
    _cluster(up, ("directory", "etcd", "kubernetes"))
    kube = up.add_argument_group("with --store kubernetes", "The programs come from scripts/kubernetes (TULLE_KUBERNETES says where they are).")
    kube.add_argument("--network", choices=["tulle", "bridge", "none"], help="what connects the pods: Tulle, Debian's bridge plugin and plain "
                                                                             "routes, or nothing (default: tulle)")
    kube.add_argument("--agent", choices=["daemonset", "host"], help="tulled by deploy/tulle.yaml, or as a process on each node (default: daemonset)")
    kube.add_argument("--kube-proxy", choices=["nftables", "iptables"], help="its mode (default: nftables)")
    kube.add_argument("--etcd", choices=["debian", "module"], help="Debian's 3.4, or the module's 3.6, with which the API server streams lists "
                                                                   "(default: debian)")
    kube.add_argument("--dns", action=argparse.BooleanOptionalAction, help="run CoreDNS (default: yes)")
    kube.add_argument("--crds", action=argparse.BooleanOptionalAction, help="define Calico's resources, by deploy/crds (default: yes)")

    down = verbs.add_parser("down", help="take a lab down", description="Take a lab down, whole or half-made, and leave nothing.")
    _lab(down)
    down.add_argument("--all", action="store_true", help="every lab, except those that a living test or demo holds")
    down.add_argument("--force", action="store_true", help="with --all: those too")

    status = verbs.add_parser("status", help="show a lab", description="Show nodes, agents, leases and pods; without a lab to choose, list the labs.")
    _lab(status)
    _output(status)

    _pod(verbs.add_parser("pod", help="add, delete, list pods").add_subparsers(dest="pod_verb", metavar="COMMAND", required=True))

    run = verbs.add_parser("exec", help="run a command in a pod or on a node", usage="tulle-lab exec [--lab NAME] POD|NODE -- COMMAND…",
                           description="Run a command in a pod, on a node, on 'outside' or on an etcd member, on this terminal.")
    _lab(run)
    run.add_argument("place", metavar="POD|NODE")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND…")

    kubectl = verbs.add_parser("kubectl", help="run kubectl on a lab with Kubernetes", usage="tulle-lab kubectl [--lab NAME] -- ARGUMENTS…",
                               description="Run kubectl as the cluster's administrator, with the machine's files, on this terminal. What it listens "
                                           "on (port-forward, proxy) is reached from the host 'control'.")
    _lab(kubectl)
    kubectl.add_argument("command", nargs=argparse.REMAINDER, metavar="-- ARGUMENTS…")

    apply = verbs.add_parser("apply", help="put a manifest into the store",
                             description="Copy manifests into the directory store, atomically. With etcd: a network configuration only. With "
                                         "Kubernetes: kubectl apply.")
    _lab(apply)
    apply.add_argument("-f", "--filename", action="append", required=True, metavar="FILE", help="repeatable; '-' reads stdin")
    apply.add_argument("--as", dest="name", metavar="NAME", help="the file's name in the store (default: its own)")
    apply.add_argument("--delete", action="store_true", help="take the manifest of that name out of the store instead")

    logs = verbs.add_parser("logs", help="show a node's agent log", description="Show the agent's log of a node, or another log of the lab by name.")
    _lab(logs)
    logs.add_argument("node", metavar="NODE")

    _cases(verbs)

    demo = verbs.add_parser("demo", help="nginx and Apache httpd curl each other across two nodes",
                            description="Two nodes, nginx in a pod on one, Apache httpd in a pod on the other, and curl in all directions. "
                                        "The last line is PASS or FAIL; nothing is left behind.")
    _cluster(demo)
    demo.add_argument("--keep", action="store_true", help="leave the lab running")
    return top


def _cases(verbs) -> None:
    parser = verbs.add_parser("cases", help="play policy cases on real pods", formatter_class=argparse.RawDescriptionHelpFormatter,
                              description="Play policy cases (npcase/1, npseq/1): the file's own nodes, pods, outside hosts and policies in labs that are made\n"
                                          "for them and removed, each probe a real connection (TCP, UDP, SCTP), and what connected in the end.",
                              epilog="exit status: 0 all played, whatever the verdicts; 1 a lab failed; 2 a bad file, nothing was played;\n"
                                     "3 with --compare: some verdict is not what the file expects")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a case (also .json.xz), or a folder with cases")
    parser.add_argument("--out", required=True, metavar="OBSERVATION.json", help="where the observation goes; of several files: a folder, one "
                                                                                 "observation a file under its name")
    parser.add_argument("--backend", choices=["host-gw", "vxlan", "udp"], default="host-gw", help="how packets travel (default: host-gw)")
    parser.add_argument("--compare", action="store_true", help="print what is not as the file expects")
    parser.add_argument("--jobs", type=int, default=cases.default_jobs(), metavar="N", help="processes, with labs of their own (default: two a processor, at most 4)")
    parser.add_argument("--patience", type=float, default=cases.PATIENCE, metavar="SECONDS",
                        help=f"how long without an answer counts as dropped; half of it where others are answered quickly, longer "
                             f"where answers are slow (default: {cases.PATIENCE})")
    parser.add_argument("--agent-arg", action="append", default=[], metavar="ARG", help="one more argument for tulled (repeatable)")


def _pod(verbs) -> None:
    add = verbs.add_parser("add", help="make a pod on a node")
    _lab(add)
    _output(add)
    add.add_argument("name", metavar="NAME", help="or NAMESPACE/NAME")
    add.add_argument("--node", required=True, metavar="NODE")
    add.add_argument("--ip", action="append", default=[], metavar="ADDRESS", help="ask for this address (repeatable: one a family)")
    add.add_argument("--mac", metavar="MAC")
    add.add_argument("--port", action="append", default=[], metavar="HOST:CONTAINER[/PROTOCOL]", help="host port (repeatable)")
    add.add_argument("--cmd", metavar="COMMAND", help="start this in the pod (a shell command line)")
    add.add_argument("--serve", type=int, metavar="PORT", help="start the lab's echo server in the pod")
    add.add_argument("--web", choices=["nginx", "apache"], help="start this web server in the pod, with a page that names itself")
    delete = verbs.add_parser("del", aliases=["delete"], help="delete pods")
    _lab(delete)
    delete.add_argument("names", nargs="+", metavar="NAME")
    show = verbs.add_parser("list", help="list pods")
    _lab(show)
    _output(show)
