# SPDX-License-Identifier: Apache-2.0
"""The lab as a whole: brought up in order, found again by name, taken down from its state."""

import os
import threading
from pathlib import Path

from . import address, netconf, pools, proc, teardown, wait
from .capture import Capture
from .errors import LabError
from .etcd import EtcdStore
from .host import Host
from .interrupt import held_off
from .node import Node
from .pod import Pod, serve
from .router import Router
from .state import State, broken, choose
from .store import DirectoryStore
from .underlay import Underlay

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = ("tulle", "ptp", "bridge")
OUTSIDE_PORT = 8080


class Lab:
    """See __init__'s arguments for what can be varied.  As a context manager it is up inside and leaves nothing."""

    pools, bgp = None, False  # what __init__ may be given
    kinds = {}  # option "kind", or store → the class of such labs, where it is a class of its own

    def __init__(self, name=None, nodes=2, backend="vxlan", store="directory", underlay="flat", family="4", mtu=1500,
                 ip_masq=True, agent_args=(), net_conf=None, plugin="tulle", etcd_members=1, etcd_tls=False,
                 agents=True, held=True, progress=None, pools=None, bgp=False):
        """agents: start tulled on every node and wait until it is ready.  held: the lab ends with this process's
        interest in it; `down --all` leaves it alone while the process lives.  plugin: the CNI plugin; ptp and bridge
        are Debian's, for comparison, without an agent.  net_conf: keys that replace those of netconf.build.
        pools: Calico's half instead of Flannel's, by the name of an encapsulation (pools.PRESETS) or a manifest's path; bgp: the nodes
        speak BGP, flat with each other, routed with two routers."""
        options = dict(nodes=nodes, backend=backend, store=store, underlay=underlay, family=family, mtu=mtu,
                       ip_masq=ip_masq, agent_args=list(agent_args), net_conf=net_conf, plugin=plugin,
                       etcd_members=etcd_members, etcd_tls=etcd_tls, build=build_directory(), pools=pools, bgp=bgp)
        _validate(options)
        self._agents, self._held, self._progress = agents, held, progress
        self._prepare(name or f"{'t' if held else 'lab'}{os.getpid()}x{_count()}", options)

    def _prepare(self, name: str, options: dict) -> None:
        for key, value in options.items():
            if key not in ("nodes", "store", "underlay", "kind"):
                setattr(self, key, value)
        self.name, self.options = name, options
        self.state = State(name)
        self.backgrounds, self._captures = [], []
        self.underlay = Underlay(name, options["underlay"], options["family"], options["mtu"])
        self.outside = Host(self, "outside", address.outside(self.family))
        self.nodes = [self._node(i + 1) for i in range(options["nodes"])]
        self.routers = [Router(self, i + 1) for i in range(2)] if self.bgp and self.underlay.racks > 1 else []
        self.store = self._store(options)

    def _node(self, index: int) -> Node:
        return Node(self, index)

    def _store(self, options: dict):
        if options["store"] == "etcd":
            return EtcdStore(self, options["etcd_members"], options["etcd_tls"])
        return DirectoryStore(self)

    @classmethod
    def open(cls, name=None) -> "Lab":
        """A lab that another command brought up."""
        state = choose(name)
        data = state.read()
        if broken(data):
            raise LabError(f"lab {state.name} is broken (its creator died): tulle-lab down --lab {state.name}")
        if not data["ready"]:
            raise LabError(f"lab {state.name} is still coming up")
        kind = cls.kinds.get(data["options"].get("kind", data["options"]["store"]), Lab)
        lab = kind.__new__(kind)
        lab._agents, lab._held, lab._progress = True, False, None
        lab._prepare(state.name, data["options"])
        for host in lab.hosts:
            host.init = data["hosts"][host.name]["init"]
        return lab

    # --- up and down ---

    def up(self) -> "Lab":
        """Bring everything up; on any failure, Ctrl-C included, take down what was made and pass the failure on."""
        proc.need("ip", "nsenter", "unshare", "setpriv", "sysctl")
        if os.geteuid() != 0:
            raise LabError("the lab needs root (network and mount namespaces)")
        proc.allow_watchers()
        made = None
        try:
            with held_off():
                self.state = made = State.create(self.name, self.options, self._held)
            self._build()
        except BaseException:
            if made:
                self.down()
            raise
        return self

    def _build(self) -> None:
        self._make_hosts()
        if isinstance(self.store, EtcdStore):
            self.store.start()
        serve(self.outside, "outside", OUTSIDE_PORT)
        self.store.ready()
        self._put_pools()
        self.say(f"store: {' '.join(self.store.agent_args[:4])}")
        for node in self.nodes:
            node.configure()
        if self.plugin != "tulle":
            for node in self.nodes:
                node.route_by_hand()
            self.say(f"Debian's {self.plugin} plugin instead of Tulle, no agents")
        elif self._agents:
            self.agents_start()
            self.say(f"tulled ready on {', '.join(node.name for node in self.nodes)} ({self.traffic})")
        self._finished()

    def _make_hosts(self) -> None:
        """The store's files, the hosts, the underlay between them."""
        (self.state.dir / "log").mkdir()
        self.store.create(None if self.pools else netconf.build(self.backend, self.family, self.net_conf))
        with self.state.change() as data:
            data["netns"] = [self.underlay.netns] + [host.netns for host in self.hosts]
        for host in self.hosts:
            self.begin(host)
        self.underlay.create()
        for host in self.hosts:
            host.ready()
        self.underlay.attach({cable: end for host in self.hosts for cable, end in host.cables.items()})
        self.say(f"{len(self.nodes)} nodes on a {self.underlay.kind} underlay, IPv{self.family}, MTU {self.mtu}"
                 .replace("IPvdual", "IPv4 and IPv6"))

    def begin(self, host: Host) -> None:
        names = "".join(f"{ip} {other.name}\n" for other in self.hosts for ip in other.ips)
        files = {"/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{names}"}
        host.begin(self.store.binds if isinstance(host, Node) else (), files)

    def _put_pools(self) -> None:
        """Calico's half: its manifests, and the routers."""
        if self.pools:
            for name, text in pools.manifests(self.pools, self.family, self.ip_masq).items():
                self.store.put(name, text)
        if self.bgp:
            for name, text in pools.bgp(self).items():
                self.store.put(name, text)
        for router in self.routers:
            router.begin_routing()

    def _finished(self) -> None:
        with self.state.change() as data:
            data["ready"] = True

    def agents_start(self, timeout: float = 20) -> None:
        """All at once, then wait for each."""
        for node in self.nodes:
            node.agent_start(ready=False)
        for node in self.nodes:
            node.agent_ready(timeout)
        if self.bgp:
            self.bgp_ready()

    def bgp_ready(self, timeout: float = 30) -> None:
        """Every session of every node is established."""
        wanted = len(address.families(self.family)) * (len(self.routers) or len(self.nodes) - 1)
        for node in self.nodes:
            wait.until(lambda: [s["state"] for s in node.bgp_sessions()] == ["Established"] * wanted, f"{node.name}: {wanted} BGP sessions established",
                       timeout, 0.1, detail=lambda: wait.tail(node.agent.log_path))

    def down(self) -> None:
        for background in self.backgrounds:
            background.stop(9)
        teardown.remove(self.state, reap=[host.reap for host in self.hosts])

    def __enter__(self) -> "Lab":
        return self.up()

    def __exit__(self, *_) -> None:
        self.down()

    # --- what there is ---

    @property
    def traffic(self) -> str:
        """How pods' packets travel, for people."""
        return f"pools {self.pools}{', BGP' if self.bgp else ''}" if self.pools else f"backend {self.backend}"

    @property
    def hosts(self) -> list:
        return [self.outside, *getattr(self.store, "hosts", []), *self.routers, *self.nodes]

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node {name} in lab {self.name} (there are {', '.join(n.name for n in self.nodes)})")

    @property
    def pods(self) -> dict:
        """Name → Pod."""
        return {name: Pod(self.node(record["node"]), name, record) for name, record in self.state.read()["pods"].items()}

    def pod(self, name: str) -> Pod:
        pods = self.pods
        if name not in pods:
            raise LabError(f"no pod {name} in lab {self.name} (there are {', '.join(sorted(pods)) or 'none'})")
        return pods[name]

    def place(self, name: str):
        """A pod, node or other host by name."""
        pods = self.pods
        if name in pods:
            return pods[name]
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join([*sorted(pods), *(host.name for host in self.hosts)])
        raise LabError(f"no pod or node {name} in lab {self.name} (there are {known})")

    def capture(self, host, interface: str, expression: str = "", **options) -> Capture:
        return Capture(host, interface, expression, **options)

    def log_path(self, name: str) -> Path:
        return self.state.dir / "log" / (name if "." in name else f"{name}.log")

    # --- for the parts ---

    def say(self, text: str) -> None:
        if self._progress:
            self._progress(text)

    def remember_process(self, pid: int, what: str) -> None:
        with self.state.change() as data:
            data["processes"].append(dict(proc.identity(pid) or {"pid": pid, "start": 0}, what=what))


def build_directory() -> str:
    return str(Path(os.environ.get("TULLE_BUILD") or REPOSITORY / "build").resolve())


def _validate(options: dict) -> None:
    def one_of(key, known):
        if options[key] not in known:
            raise LabError(f"{key} {options[key]!r}: expected one of {', '.join(known)}")
    one_of("backend", netconf.BACKENDS)
    one_of("store", ("directory", "etcd", *Lab.kinds))
    one_of("underlay", ("flat", "routed"))
    one_of("family", tuple(address.FAMILIES))
    one_of("plugin", PLUGINS)
    if not 1 <= options["nodes"] <= address.MOST_NODES:
        raise LabError(f"nodes {options['nodes']}: expected 1 to {address.MOST_NODES}")
    if options.get("pools") and (options["store"] != "directory" or options["plugin"] != "tulle" or options["net_conf"]):
        raise LabError("pools: they go with the directory store and Tulle's plugin, and take the place of net_conf")
    if options.get("bgp") and not options["pools"]:
        raise LabError("bgp: it goes with pools")
    least = 576 if options["family"] == "4" else 1280
    if not least <= options["mtu"] <= 65535:
        raise LabError(f"mtu {options['mtu']}: expected {least} to 65535 with family {options['family']}")
    if options["etcd_members"] not in (1, 3):
        raise LabError(f"etcd members {options['etcd_members']}: expected 1 or 3")
    if options["plugin"] != "tulle" and not Path("/usr/lib/cni", options["plugin"]).exists():
        raise LabError(f"plugin {options['plugin']}: /usr/lib/cni/{options['plugin']} is not installed "
                       "(apt-get install containernetworking-plugins)")


_counter, _counter_lock = 0, threading.Lock()


def _count() -> int:
    global _counter
    with _counter_lock:
        _counter += 1
        return _counter
