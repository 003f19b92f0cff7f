# SPDX-License-Identifier: Apache-2.0
"""Where everything of a case is: what nodes, pods' blocks and the underlay have to be so that each gets the file's own address.

Two ways lead there.  Flannel's: one block a node, all of one length.  Where the pods' addresses do not lie so (neighbours on
different nodes, or pods of one family beside those of two), Calico's: a pool of addresses that are given by name, whichever node asks.

Pure: no lab is needed."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from .case_file import CaseError

USUAL = {4: 24, 6: 64}
BLOCKS = {4: [24, *range(23, 9, -1), *range(25, 31)], 6: [64, *range(63, 31, -1), *range(65, 127)]}  # lengths, the best first
BITS = {4: 32, 6: 128}


@dataclass(frozen=True)
class Plan:
    nodes: tuple  # (name, its addresses as ADDRESS/LENGTH)
    gateways: tuple  # ADDRESS/LENGTH of the underlay's router, one a family
    families: tuple  # of pods
    blocks: dict  # version → {node: block}; None: Calico's way
    networks: dict  # version → the prefix of all pods

    @property
    def flannel(self) -> bool:
        return self.blocks is not None

    @property
    def family(self) -> str:
        return "dual" if len(self.families) == 2 else str(self.families[0])

    def words(self) -> dict:
        """For the lab's state."""
        return {"nodes": self.nodes, "gateways": self.gateways, "families": self.families,
                "blocks": self.flannel and {v: {node: str(b) for node, b in found.items()} for v, found in self.blocks.items()},
                "networks": {version: str(network) for version, network in self.networks.items()}}

    @classmethod
    def of_words(cls, words: dict) -> "Plan":
        blocks = words["blocks"] and {int(v): {node: ip_network(b) for node, b in found.items()} for v, found in words["blocks"].items()}
        return cls(tuple((name, tuple(ips)) for name, ips in words["nodes"]), tuple(words["gateways"]), tuple(words["families"]), blocks or None,
                   {int(version): ip_network(network) for version, network in words["networks"].items()})


class Needs:
    """What a file, or several, ask of a lab."""

    def __init__(self, case):
        first = case.steps[0].world
        self.nodes = dict(first.nodes)
        self.homes = {}  # address of a pod → the nodes where it is at some time
        self.others = set()  # addresses of outside hosts
        for step in case.steps:
            for pod in step.world.pods.values():
                for ip in () if pod.host else pod.ips:
                    self.homes.setdefault(ip_address(ip), set()).add(pod.node)
            for external in step.world.externals.values():
                self.others.update(map(ip_address, external.ips))
        self.mixed = len({frozenset(":" in ip for ip in pod.ips) for step in case.steps for pod in step.world.pods.values() if not pod.host}) > 1
        self.families = {ip.version for ip in self.homes} or {4 if any(":" not in ip for ips in self.nodes.values() for ip in ips) else 6}

    def join(self, other: "Needs"):
        """Of both, or None: they need labs of their own."""
        if self.nodes != other.nodes or self.families != other.families:
            return None
        both = Needs.__new__(Needs)
        both.nodes, both.families, both.others = self.nodes, self.families, self.others | other.others
        both.mixed = self.mixed or other.mixed
        both.homes = {ip: self.homes.get(ip, set()) | other.homes.get(ip, set()) for ip in (*self.homes, *other.homes)}
        return both


def make(needs: Needs, path) -> Plan:
    nodes, gateways = _underlay(needs, path)
    versions = tuple(sorted(needs.families))
    for name, ips in needs.nodes.items():
        if not needs.families <= {ip_address(ip).version for ip in ips}:
            raise CaseError(f"{path}: nodes: {name} has no address of a family that pods have")
    blocks = {version: None if needs.mixed else _blocks(needs, version) for version in versions}
    if all(blocks.values()):
        return Plan(nodes, gateways, versions, {v: found for v, (found, _) in blocks.items()}, {v: network for v, (_, network) in blocks.items()})
    return Plan(nodes, gateways, versions, None, {version: _pool(needs, version) for version in versions})


def together(cases: list) -> list:
    """[(files, Plan)]: as few labs as can be, Flannel's way where a file allows it."""
    groups = []
    for case in cases:
        needs = Needs(case)
        plan = make(needs, case.path)
        for number, (files, known, old) in enumerate(groups):
            both = known.join(needs)
            joined = make(both, case.path) if both else None
            if joined and joined.flannel == plan.flannel == old.flannel:
                groups[number] = ([*files, case], both, joined)
                break
        else:
            groups.append(([case], needs, plan))
    return [(sorted(files, key=_pods), plan) for files, _, plan in groups]


def _pods(case) -> list:
    """Files with the same pods follow each other, and the pods stay."""
    return sorted(pod.attachment for pod in case.steps[0].world.pods.values())


def cover(addresses):
    """The longest prefix that holds them all."""
    found = [int(ip) for ip in addresses]
    bits = BITS[addresses[0].version]
    length = bits - (min(found) ^ max(found)).bit_length()
    return _within(addresses[0], length)


def _within(ip, length: int):
    keep = BITS[ip.version] - length
    return _at(ip.version, int(ip) >> keep << keep, length)


def _at(version: int, number: int, length: int):
    """The prefix, also where the number is small enough to be of the other family."""
    return ip_network((number.to_bytes(BITS[version] // 8, "big"), length))


# --- the underlay ---


def _underlay(needs: Needs, path):
    """One network for the nodes, with room for a gateway; other addresses that lie in it are reached by routes of their own."""
    networks, gateways = {}, []
    for version in (4, 6):
        own = [ip_address(ip) for ips in needs.nodes.values() for ip in ips if ip_address(ip).version == version]
        if own:
            networks[version] = _node_network(own, needs, version, path)
            gateways.append(f"{_gateway(networks[version], {*own, *needs.others, *needs.homes}, path)}/{networks[version].prefixlen}")
    nodes = tuple((name, tuple(f"{ip}/{networks[ip_address(ip).version].prefixlen}" for ip in ips)) for name, ips in needs.nodes.items())
    return nodes, tuple(gateways)


def _node_network(own: list, needs: Needs, version: int, path):
    longest = min(cover(own).prefixlen, BITS[version] - 2)
    if longest < 8:
        raise CaseError(f"{path}: nodes: their addresses lie too far apart for one network")
    strangers = [ip for ip in (*needs.homes, *needs.others) if ip.version == version]
    usual = min(longest, USUAL[version])
    for length in (usual, *range(usual + 1, longest + 1)):
        network = _within(own[0], length)
        ends = (network.network_address, network.broadcast_address)
        if not any(ip in network for ip in strangers) and not any(ip in ends for ip in own) and network.num_addresses > len(own) + 2:
            return network
    return _within(own[0], max(usual - 1, 8) if usual == longest and version == 4 else usual)


def _gateway(network, taken: set, path):
    """The highest that is free."""
    for number in range(2, min(network.num_addresses, 4096)):
        candidate = network[-number]
        if candidate not in taken:
            return candidate
    raise CaseError(f"{path}: nodes: no address is left in {network} for a gateway")


# --- blocks ---


def _blocks(needs: Needs, version: int):
    """({node: block}, network) with all pods in their nodes' blocks, or None."""
    homes = {ip: nodes for ip, nodes in needs.homes.items() if ip.version == version}
    if any(len(nodes) > 1 for nodes in homes.values()):
        return None
    for length in BLOCKS[version]:
        owned = {}
        for ip, (node,) in homes.items():
            owned.setdefault(node, set()).add(_within(ip, length))
        used = [block for blocks in owned.values() for block in blocks]
        if any(len(blocks) > 1 for blocks in owned.values()) or len(set(used)) != len(used) or not all(map(_offers, homes, map(_within, homes, [length] * len(homes)))):
            continue
        found = _complete({node: next(iter(blocks)) for node, blocks in owned.items()}, needs, version, length)
        if found:
            return found
    return None


def _offers(ip, block) -> bool:
    """The first two of a block, and the last of IPv4's, are nobody's."""
    return block[2] <= ip and (ip.version == 6 or ip != block.broadcast_address)


def _complete(blocks: dict, needs: Needs, version: int, length: int):
    """Blocks for nodes without pods, too, and the network around all."""
    start = next(iter(blocks.values())).network_address if blocks else ip_address("10.244.0.0" if version == 4 else "fd00:10:244::")
    network = cover([start, *(block.network_address for block in blocks.values()), *(block.broadcast_address for block in blocks.values())])
    size = min(network.prefixlen, length - 2)
    while size > 1:
        network = _within(start, size)
        free = _free_blocks(network, blocks, needs, length)
        missing = [name for name in needs.nodes if name not in blocks]
        taken = [block for block, _ in zip(free, missing)]
        if len(taken) == len(missing):
            return {**blocks, **dict(zip(missing, taken))}, network
        size -= 1
    return None


def _free_blocks(network, blocks: dict, needs: Needs, length: int):
    """Of the network, where nobody else's address lies; the first thousand are looked at."""
    strangers = [*needs.others, *(ip_address(ip) for ips in needs.nodes.values() for ip in ips)]
    step = 1 << BITS[network.version] - length
    for number in range(min(1024, 1 << length - network.prefixlen)):
        block = _at(network.version, int(network.network_address) + number * step, length)
        if block not in blocks.values() and not any(ip.version == block.version and ip in block for ip in strangers):
            yield block


def _pool(needs: Needs, version: int):
    """Around all pods' addresses, at least of the usual length."""
    own = [ip for ip in needs.homes if ip.version == version]
    if not own:
        return ip_network("10.244.0.0/24" if version == 4 else "fd00:10:244::/64")
    return _within(own[0], min(cover(own).prefixlen, USUAL[version]))
