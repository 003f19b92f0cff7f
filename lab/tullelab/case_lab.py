# SPDX-License-Identifier: Apache-2.0
"""A lab with a case's own nodes, pods, outside hosts and policies, which goes from one world to the next."""

import concurrent.futures
import dataclasses
import json
import os
from ipaddress import ip_address, ip_interface, ip_network

from . import address, case_objects, case_plan, proc, wait
from .case_file import PROTOCOLS
from .case_underlay import CaseUnderlay
from .errors import LabError
from .lab import Lab, _count, build_directory
from .node import Node
from .probing import Prober
from .settle import Settler
from .store import DirectoryStore

BACKENDS = ("host-gw", "vxlan", "udp")
TOGETHER = 8  # pods that are made at a time


class CaseNode(Node):
    def __init__(self, lab, index: int):
        name, ips = lab.plan.nodes[index - 1]
        gateways = tuple(ip_interface(gateway).ip for gateway in lab.plan.gateways)
        addresses = tuple(ip_interface(ip) for ip in ips)
        own = {a.version for a in addresses}
        super().__init__(lab, index, name, address.Port(0, addresses, tuple(g for g in gateways if g.version in own)))
        self.netns = f"tl-{lab.name}-n{index}"  # names of nodes may be long
        self.netns_path = f"/run/netns/{self.netns}"

    @property
    def cables(self) -> dict:
        return {f"n{self.index}": (self.netns, "eth0", self.port)}

    def agent_command(self, extra=()) -> list:
        # the node's own ports are the case's
        return super().agent_command(["--healthz-ip", "127.0.0.1", "--address-rest", "0", *self.lab.policy_args, *extra])


class CaseStore(DirectoryStore):
    """Manifests lie where those of agents do: there, a file that is deleted was not moved away by an editor, and is gone at once."""

    PLACE = "objects/cases"

    def create(self, net_conf) -> None:
        super().create(net_conf)
        (self.path / self.PLACE).mkdir(parents=True)
        self.texts = {}  # file name → text, as it lies there

    def change(self, put: dict, remove) -> None:
        for name in remove:
            self.delete(f"{self.PLACE}/{name}")
            del self.texts[name]
        for name, text in put.items():
            self.put(f"{self.PLACE}/{name}", text)
            self.texts[name] = text


class CaseLab(Lab):
    def __init__(self, plan, backend="host-gw", progress=None, agent_args=(), mtu=1500):
        if backend not in BACKENDS:
            raise LabError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}")
        if backend == "udp" and not plan.flannel:
            raise LabError("backend udp: the pods' addresses need Calico's pools, which know host-gw and vxlan")
        self._agents, self._held, self._progress = True, True, progress
        options = dict(nodes=len(plan.nodes), backend=backend, store="directory", underlay="flat", family=plan.family, mtu=mtu, ip_masq=False,
                       agent_args=list(agent_args), net_conf=_net_conf(plan) if plan.flannel else None, plugin="tulle", etcd_members=1,
                       etcd_tls=False, build=build_directory(), pools=None if plan.flannel else "case", bgp=False, kind="cases", plan=plan.words())
        self._prepare(f"t{os.getpid()}x{_count()}", options)

    def _prepare(self, name: str, options: dict) -> None:
        self.plan = case_plan.Plan.of_words(options["plan"])
        self.world, self.made, self.prober = None, {}, None  # made: key → Pod
        super()._prepare(name, {key: value for key, value in options.items() if key != "plan"})
        self.options = options
        self.underlay = CaseUnderlay(self, self.plan)
        self.policy_args = _policy_args(self.build)
        self.settler = Settler(self)

    @property
    def hosts(self) -> list:
        return list(self.nodes)

    @property
    def traffic(self) -> str:
        return f"backend {self.backend}, " + ("leases" if self.plan.flannel else "a pool of addresses given by name")

    def _node(self, index: int) -> CaseNode:
        return CaseNode(self, index)

    def _store(self, options: dict) -> CaseStore:
        return CaseStore(self)

    # --- up and down ---

    def _build(self) -> None:
        self._make_hosts()
        self._put_places()
        for node in self.nodes:
            node.configure()
        self.prober = Prober(self)
        self.agents_start()
        self.say(f"tulled ready on {', '.join(node.name for node in self.nodes)} ({self.traffic})")
        self._greet()
        self._finished()

    def _put_places(self) -> None:
        """Which pods' addresses are on which node: leases that are there before the nodes ask, or pools."""
        for name, ips in self.plan.nodes:
            self.store.put(f"node_{name}.json", json.dumps(case_objects.of_node(name, [ip_interface(ip).ip for ip in ips]), indent=1))
        if not self.plan.flannel:
            for version, network in self.plan.networks.items():
                pool = case_objects.of_pool(version, network, self.backend)
                self.store.put(f"pool_ipv{version}.json", json.dumps(pool, indent=1))
            if self.backend == "vxlan":
                self._put_tunnel_pools()
            return
        for node in self.nodes:
            own = {version: self.plan.blocks[version][node.name] for version in self.plan.families}
            self.store.put(f"leases/{_lease_key(own)}.json", json.dumps(_lease(node, own, self.backend)))

    def _put_tunnel_pools(self) -> None:
        """A pool whose addresses are given by name has none for tunnels."""
        for version in self.plan.families:
            network = ip_network("100.64.0.0/24" if version == 4 else "fd64:64:64::/120")
            pool = case_objects.of_pool(version, network, self.backend)
            pool["metadata"]["name"] = f"tunnels-ipv{version}"
            pool["spec"].update(assignmentMode="Automatic", allowedUses=["Tunnel"])
            self.store.put(f"pool_tunnels_ipv{version}.json", json.dumps(pool, indent=1))

    def _greet(self) -> None:
        """Everybody on the bridge learns who is there: a queue of packets that wait for a neighbour is short."""
        def greet(node):
            for ip in (*(str(gateway) for gateway in node.port.gateways), *(ip for peer in self.nodes if peer is not node for ip in peer.ips)):
                if (":" in ip) in {":" in own for own in node.ips}:
                    wait.until(lambda: node.ping(ip, check=False, timeout=1).returncode == 0, f"{node.name} reaches {ip}", 10)
        proc.together(*(lambda node=node: greet(node) for node in self.nodes))

    def down(self) -> None:
        if self.prober:
            self.prober.stop()
        super().down()

    # --- from world to world ---

    def go(self, world) -> None:
        """Make it so, and wait until every agent has it in force."""
        old = self.world
        before, after = old.pods if old else {}, world.pods
        gone = [pod for key, pod in before.items() if key not in after or after[key].attachment != pod.attachment]
        new = [pod for key, pod in after.items() if key not in before or before[key].attachment != pod.attachment]
        self._externals(old.externals if old else {}, world.externals)
        self._parallel(lambda pod: self.made.pop(pod.key).delete(), [pod for pod in gone if not pod.host])
        wanted = case_objects.of_world(world)
        put = {name: text for name, text in wanted.items() if self.store.texts.get(name) != text}
        removed = [name for name in self.store.texts if name not in wanted and not self.settler.is_mark(name)]
        self.store.change(put, removed)
        self.underlay.route({ip: self._node_ip(pod, ip) for pod in new if not pod.host for ip in pod.ips},
                            {ip for pod in gone if not pod.host for ip in pod.ips} - {ip for pod in new for ip in pod.ips})
        self._parallel(self._add, sorted((pod for pod in new if not pod.host), key=lambda pod: -len(pod.ips)))
        self.world = world
        self.settler.wait(world, old, [pod for pod in new if not pod.host])

    def empty(self) -> None:
        """No pods, and so no flow that anybody remembers."""
        self.go(dataclasses.replace(self.world, pods={}, policies={}))

    def _node_ip(self, pod, ip: str) -> str:
        return self.node(pod.node).ip_of(ip_address(ip).version)

    def _externals(self, before: dict, after: dict) -> None:
        for name, external in before.items():
            if name not in after or after[name].ips != external.ips:
                self.underlay.remove_external(name)
        for name, external in after.items():
            if name not in before or before[name].ips != external.ips:
                self.underlay.add_external(external)

    def _add(self, pod) -> None:
        made = self.node(pod.node).pod_add(pod.key, ips=pod.ips, uid=case_objects.uid(pod))
        self.made[pod.key] = made
        if set(pod.ips) != set(made.ips):
            raise LabError(f"pod {pod.key} has {', '.join(made.ips)}: it asked for {', '.join(pod.ips)}")

    @staticmethod
    def _parallel(function, items) -> None:
        """The first error, once all of them have ended: a lab is not taken down under their feet."""
        with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
            done = [pool.submit(function, item) for item in items]
        for one in done:
            one.result()

    # --- probes ---

    def places(self) -> dict:
        """Place of a probe → path of its network namespace.  hostNetwork pods are where their node is."""
        found = {f"node:{node.name}": node.netns_path for node in self.nodes}
        found |= {f"external:{name}": f"/run/netns/{self.underlay.netns_of(name)}" for name in self.world.externals}
        return found | {key: made.netns_path for key, made in self.made.items()}

    def place_of(self, name: str) -> str:
        pod = self.world.pods.get(name)
        return f"node:{pod.node}" if pod and pod.host else name

    def probe(self, probes, patience: float):
        """Answers in the order of the probes."""
        listen = {(self.place_of(probe.target), probe.target_ip, probe.protocol, probe.port) for probe in probes if probe.protocol in PROTOCOLS}
        listen |= {(self.place_of(probe.target), probe.target_ip, probe.protocol, 0) for probe in probes if probe.protocol not in PROTOCOLS}
        for name, thing in (*self.world.pods.items(), *((f"external:{n}", e) for n, e in self.world.externals.items())):
            listen |= {(self.place_of(name), ip, protocol, port) for ip in thing.ips for protocol, port in thing.listen}
        words = [(self.place_of(probe.source), self._source(probe), probe.target_ip, probe.protocol, probe.port, probe.source_port)
                 for probe in probes]
        return self.prober.ask(self.places(), listen, words, patience)

    def _source(self, probe):
        """Where a node has one address of the family, the kernel chooses, as it does for the programs of nodes: it may choose a tunnel's."""
        place = self.place_of(probe.source)
        if not place.startswith("node:"):
            return probe.source_ip
        own = [ip for ip in self.world.ips(place) if (":" in ip) == (":" in probe.target_ip)]
        return None if len(own) == 1 and self.place_of(probe.target) != place else probe.source_ip


def _net_conf(plan) -> dict:
    conf = {}
    for version, (network, length, least) in {4: ("Network", "SubnetLen", "SubnetMin"), 6: ("IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin")}.items():
        if version in plan.families:
            block = next(iter(plan.blocks[version].values()))
            conf.update({network: str(plan.networks[version]), length: block.prefixlen, least: str(plan.networks[version].network_address)})
    return conf


def _lease_key(blocks: dict) -> str:
    """10.5.72.0-24, or 10.5.72.0-24&fd00:5:0:48::-64, or 0.0.0.0-0&fd00:5:0:48::-64."""
    halves = [f"{blocks[version].network_address}-{blocks[version].prefixlen}" if version in blocks else "0.0.0.0-0" for version in (4, 6)]
    return "&".join(halves if 6 in blocks else halves[:1])


def _lease(node, blocks: dict, backend: str) -> dict:
    """A reservation, which the node finds by its address and fills in."""
    ips = {version: node.ip_of(version) for version in blocks}
    return {"PublicIP": ips.get(4, "0.0.0.0"), "PublicIPv6": ips.get(6), "BackendType": backend, "BackendData": None, "BackendV6Data": None}


def _policy_args(build: str) -> list:
    """A tulled without the option enforces nothing, and cases without policies can be played all the same."""
    done = proc.run([f"{build}/tulled", "--help"], check=False)
    return ["--policy", "on"] if "--policy" in done.stdout + done.stderr else []


Lab.kinds["cases"] = CaseLab
