# SPDX-License-Identifier: Apache-2.0
"""Policy cases, npcase/1 and npseq/1, from their files.  What cannot be played is refused here, with file and field."""

import functools
import json
import lzma
import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from .errors import UsageError

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z")
PROTOCOLS = ("TCP", "UDP", "SCTP")  # what listens; probes may be of any other, too
NUMBERS = {"ICMP": 1, "ICMPV6": 58, "UDPLITE": 136}
ECHO = {1: 8, 58: 128}
ERRORS = {1: (3, 4, 5, 11, 12), 58: range(1, 128)}
SOURCE_PORT = 40000  # of probes that do not say theirs, where it matters (tests/netpol/README.md)
DEFAULT_POLICY = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}  # of an object that says neither


class CaseError(UsageError):
    """A file that cannot be played."""


@dataclass(frozen=True)
class CasePod:
    key: str  # namespace/name
    namespace: str
    name: str
    labels: tuple  # pairs
    ips: tuple  # text, canonical; of a hostNetwork pod its node's
    node: str
    host: bool
    ports: tuple  # (name or None, number, protocol)
    listen: tuple  # (protocol, number)
    account: str

    @property
    def attachment(self) -> tuple:
        """What cannot change while it lives."""
        return self.key, self.ips, self.node, self.host


@dataclass(frozen=True)
class External:
    name: str
    ips: tuple
    listen: tuple


@dataclass(frozen=True)
class Probe:
    id: object
    source: str  # a place: namespace/pod, node:NAME, external:NAME
    target: str
    source_ip: str
    target_ip: str
    protocol: object  # one of PROTOCOLS, or a number
    port: int  # of ICMP: type and code, 256 * type + code
    source_port: int  # 0: any
    expected: object  # True, False; None: the file does not say

    @property
    def words(self) -> str:
        if self.protocol in ECHO:
            return f"{'ICMP' if self.protocol == 1 else 'ICMPv6'} type {self.port >> 8} code {self.port & 255}"
        return f"{self.protocol}/{self.port}" if self.protocol in PROTOCOLS or self.port else f"protocol {self.protocol}"


@dataclass(frozen=True)
class World:
    namespaces: dict  # name → labels
    nodes: dict  # name → ips
    pods: dict  # key → CasePod
    externals: dict  # name → External
    policies: dict  # key → object

    @functools.cached_property
    def judges_source_ports(self) -> bool:
        """Calico's rules may."""
        specs = [policy["spec"] for policy in self.policies.values() if isinstance(policy.get("spec"), dict)]
        rules = [rule for spec in specs for way in ("ingress", "egress") for rule in spec.get(way) or () if isinstance(rule, dict)]
        return any(isinstance(rule.get("source"), dict) and {"ports", "notPorts"} & set(rule["source"]) for rule in rules)

    def ips(self, place: str) -> tuple:
        kind, _, name = place.partition(":")
        if not name:
            return self.pods[place].ips
        return self.nodes[name] if kind == "node" else self.externals[name].ips


@dataclass(frozen=True)
class Step:
    number: int
    title: str
    world: World
    probes: tuple


@dataclass(frozen=True)
class CaseFile:
    path: Path
    steps: tuple

    @property
    def probes(self) -> int:
        return sum(len(step.probes) for step in self.steps)

    @property
    def leaves_flows(self) -> bool:
        """Flows without ports of their own, for which later ones between the same pods could be taken: a reply, or the same one again."""
        return any(probe.protocol not in PROTOCOLS or probe.source_port for step in self.steps for probe in step.probes)


def read(path) -> CaseFile:
    path = Path(path)
    try:
        data = path.read_bytes()
        raw = json.loads(lzma.decompress(data) if path.suffix == ".xz" else data)
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise CaseError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise CaseError(f"{path}: not JSON: {error}") from None
    return parse(raw, path)


def parse(raw, path) -> CaseFile:
    top = Reader(path, "", raw)
    schema = top.get("schema", str)
    if schema == "npcase/1":
        return CaseFile(Path(path), (_step(0, top, top),))
    if schema != "npseq/1":
        raise top.bad("schema", f"expected npcase/1 or npseq/1, not {schema!r}")
    steps = top.objects("steps")
    if not steps:
        raise top.bad("steps", "expected at least one")
    made = tuple(_step(number, step.object("state"), step) for number, step in enumerate(steps))
    for step in made[1:]:
        if step.world.nodes != made[0].world.nodes:
            raise top.bad(f"steps[{step.number}].state.nodes", "expected those of the first step: nodes neither come nor go")
    return CaseFile(Path(path), made)


class Reader:
    """An object of the file that knows where it stands."""

    def __init__(self, path, where: str, raw):
        self.path, self.where, self.raw = path, where, raw
        if not isinstance(raw, dict):
            raise CaseError(f"{path}: {where or 'the whole'}: expected an object")

    def _field(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def bad(self, key: str, text: str) -> CaseError:
        return CaseError(f"{self.path}: {self._field(key)}: {text}")

    def get(self, key: str, kind, default=...):
        value = self.raw.get(key)
        if value is None and default is not ...:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            names = {str: "a string", int: "a number", list: "a list", dict: "an object", bool: "true or false"}
            raise self.bad(key, f"expected {names[kind]}" + ("" if key in self.raw else ", it is missing"))
        return value

    def object(self, key: str) -> "Reader":
        return Reader(self.path, self._field(key), self.get(key, dict))

    def objects(self, key: str, default=...) -> list:
        return [Reader(self.path, f"{self._field(key)}[{number}]", value) for number, value in enumerate(self.get(key, list, default))]

    def name(self, key: str, grammar=NAME) -> str:
        value = self.get(key, str)
        if not grammar.match(value):
            raise self.bad(key, f"{value!r}: expected a name of at most 63 lower-case letters, digits, '-'" + (" and '.'" if grammar is NAME else ""))
        return value

    def labels(self, key: str) -> dict:
        found = self.get(key, dict, {})
        for name, value in found.items():
            if not isinstance(value, str):
                raise self.bad(key, f"{name}: expected a string")
        return found

    def ip(self, key: str) -> str:
        return self._ip(key, self.get(key, str))

    def ips(self, key: str, default=...) -> tuple:
        found = tuple(self._ip(f"{key}[{number}]", value) for number, value in enumerate(self.get(key, list, default)))
        if len(set(found)) != len(found):
            raise self.bad(key, "an address stands there twice")
        return found

    def _ip(self, key: str, text) -> str:
        try:
            found = ip_address(text if isinstance(text, str) else "")
        except ValueError:
            raise self.bad(key, f"{text!r} is no IP address") from None
        if found.is_multicast or found.is_loopback or found.is_link_local or found.is_unspecified:
            raise self.bad(key, f"{text}: expected an address that a host can have")
        return str(found)

    def port(self, key: str) -> int:
        value = self.get(key, int)
        if not 1 <= value <= 65535:
            raise self.bad(key, f"{value}: expected 1 to 65535")
        return value

    def protocol(self, key: str = "protocol", default=...) -> str:
        value = self.get(key, str, default).upper()
        if value not in PROTOCOLS:
            raise self.bad(key, f"{value!r}: expected one of {', '.join(PROTOCOLS)}")
        return value


def _step(number: int, state: Reader, probes: Reader) -> Step:
    world = _world(state)
    return Step(number, probes.get("title", str, ""), world, tuple(_probe(world, probe) for probe in probes.objects("probes")))


def _unique(readers: list, key: str, names: list) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise readers[number].bad(key, f"{name!r} stands there twice")


def _world(state: Reader) -> World:
    namespaces, nodes = state.objects("namespaces"), state.objects("nodes")
    pods, externals, policies = state.objects("pods"), state.objects("externals", []), state.objects("policies", [])
    if not nodes:
        raise state.bad("nodes", "expected at least one")
    found_namespaces = [(reader.name("name", LABEL), reader.labels("labels")) for reader in namespaces]
    found_nodes = [(reader.name("name"), reader.ips("ips")) for reader in nodes]
    found_externals = [_external(reader) for reader in externals]
    _unique(namespaces, "name", [name for name, _ in found_namespaces])
    _unique(nodes, "name", [name for name, _ in found_nodes])
    _unique(externals, "name", [external.name for external in found_externals])
    for reader, (_, ips) in zip(nodes, found_nodes):
        if not ips:
            raise reader.bad("ips", "expected at least one address")
    known = dict(found_nodes)
    found_pods = [_pod(reader, dict(found_namespaces), known, list(known)[number % len(known)]) for number, reader in enumerate(pods)]
    _unique(pods, "name", [pod.key for pod in found_pods])
    found_policies = [_policy(reader) for reader in policies]
    _unique(policies, "metadata.name", found_policies)
    world = World(dict(found_namespaces), known, {pod.key: pod for pod in found_pods}, {e.name: e for e in found_externals},
                  {key: _whole(reader.raw) for key, reader in zip(found_policies, policies)})
    _addresses(state, world)
    return world


def _addresses(state: Reader, world: World) -> None:
    """Nobody has another's."""
    owners = {}
    for place in [*(f"node:{name}" for name in world.nodes), *(f"external:{name}" for name in world.externals),
                  *(key for key, pod in world.pods.items() if not pod.host)]:
        for ip in world.ips(place):
            if ip in owners:
                raise CaseError(f"{state.path}: {state.where or 'the world'}: {ip} is the address of both {owners[ip]} and {place}")
            owners[ip] = place


def _pod(reader: Reader, namespaces: dict, nodes: dict, default_node: str) -> CasePod:
    namespace, name, node = reader.name("namespace", LABEL), reader.name("name"), reader.get("node", str, default_node)
    host = reader.get("hostNetwork", bool, False)
    if namespace not in namespaces:
        raise reader.bad("namespace", f"there is no namespace {namespace!r}")
    if node not in nodes:
        raise reader.bad("node", f"there is no node {node!r}")
    ips = reader.ips("ips", [] if host else ...)
    if host and not set(ips) <= set(nodes[node]):
        raise reader.bad("ips", f"a hostNetwork pod has addresses of its node, {', '.join(nodes[node])}")
    if not host and not ips:
        raise reader.bad("ips", "expected at least one address")
    if not host and len({":" in ip for ip in ips}) != len(ips):
        raise reader.bad("ips", "expected at most one address of each family")
    ports = tuple((port.get("name", str, None), port.port("containerPort"), port.protocol(default="TCP")) for port in reader.objects("ports", []))
    return CasePod(f"{namespace}/{name}", namespace, name, tuple(reader.labels("labels").items()), nodes[node] if host else ips, node, host,
                   ports, _listen(reader) + tuple((protocol, number) for _, number, protocol in ports),
                   reader.get("serviceAccount", str, "default"))


def _listen(reader: Reader) -> tuple:
    return tuple((entry.protocol(default="TCP"), entry.port("port")) for entry in reader.objects("listen", []))


def _external(reader: Reader) -> External:
    return External(reader.name("name"), reader.ips("ips"), _listen(reader))


def _policy(reader: Reader) -> str:
    """Its key.  What is in it, the product has to judge."""
    reader, metadata = Reader(reader.path, reader.where, _whole(reader.raw)), reader.object("metadata")
    return "/".join((reader.get("apiVersion", str), reader.get("kind", str), metadata.get("namespace", str, ""), metadata.get("name", str)))


def _whole(policy: dict) -> dict:
    """A NetworkPolicy need not say that it is one, nor that it is in the namespace default."""
    whole = {**policy, **DEFAULT_POLICY} if "kind" not in policy and "apiVersion" not in policy else policy
    if whole.get("kind") == "NetworkPolicy" and isinstance(whole.get("metadata"), dict) and not whole["metadata"].get("namespace"):
        whole = {**whole, "metadata": {**whole["metadata"], "namespace": "default"}}
    return whole


def _probe(world: World, reader: Reader) -> Probe:
    if not isinstance(reader.raw.get("id"), (int, str)):
        raise reader.bad("id", "expected a number")
    source, target = (_place(world, reader, key) for key in ("from", "to"))
    pair = [_probe_ip(world, reader, key, place) for key, place in (("from_ip", source), ("to_ip", target))]
    if (":" in pair[0]) != (":" in pair[1]):
        raise reader.bad("to_ip", f"{pair[1]}: expected an address of the same family as {pair[0]}")
    said = {"allow": True, "deny": False}.get(reader.get("expected", str, None))
    return Probe(reader.raw["id"], source, target, *pair, *_flow(reader, pair[0], SOURCE_PORT if world.judges_source_ports else 0), said)


def _flow(reader: Reader, ip: str, source_port: int) -> tuple:
    """(protocol, port, source port, if that is said)"""
    raw = reader.raw.get("protocol")
    number = NUMBERS.get(raw.upper()) if isinstance(raw, str) else raw
    if number is None or isinstance(raw, bool):
        return reader.protocol(), reader.port("port"), reader.get("source_port", int, source_port)
    if not isinstance(number, int) or not 1 <= number <= 255 or number in (4, 6, 17, 41, 132):
        raise reader.bad("protocol", f"{raw!r}: expected one of {', '.join(PROTOCOLS)}, ICMP, ICMPv6, UDPLite, or the number of another protocol")
    if number not in ECHO:
        return number, reader.get("port", int, 0), reader.get("source_port", int, source_port)
    if number != (58 if ":" in ip else 1):
        raise reader.bad("protocol", f"{raw!r}: not between addresses such as {ip}")
    if reader.get("type", int, ECHO[number]) in ERRORS[number]:
        raise reader.bad("type", f"{reader.raw['type']}: an error belongs to a flow, and has no verdict of its own on the wire")
    return number, reader.get("type", int, ECHO[number]) << 8 | reader.get("code", int, 0), 0


def _place(world: World, reader: Reader, key: str) -> str:
    text = reader.get(key, str)
    kind, _, name = text.partition(":")
    known = world.pods if not name else {"node": world.nodes, "external": world.externals}.get(kind, {})
    if (name or text) not in known:
        raise reader.bad(key, f"{text!r}: expected a pod as NAMESPACE/NAME, node:NAME or external:NAME of the world")
    return text


def _probe_ip(world: World, reader: Reader, key: str, place: str) -> str:
    ip = reader.ip(key)
    if ip not in world.ips(place):
        raise reader.bad(key, f"{ip} is no address of {place}, which has {', '.join(world.ips(place))}")
    return ip
