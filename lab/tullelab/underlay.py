# SPDX-License-Identifier: Apache-2.0
"""The physical network: one namespace that is switch, router and gateway.

Flat: one bridge.  Routed: two bridges (racks), and this namespace routes between them.  Both: a link to the outside host.  It has no route to
the pod networks, so a pod's packet that leaves a node without masquerade gets no answer."""

from . import address, proc
from .interrupt import held_off
from .kernel import netns_create

BRIDGES = ("rack1", "rack2")
QUIET = {"net.ipv6.conf.all.disable_ipv6": 0, "net.ipv6.conf.default.disable_ipv6": 0, "net.ipv6.conf.all.accept_ra": 0,
         "net.ipv6.conf.default.accept_ra": 0, "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0}


class Underlay:
    def __init__(self, lab_name: str, kind: str, family: str, mtu: int):
        self.kind, self.family, self.mtu = kind, family, mtu
        self.netns = f"tl-{lab_name}-net"
        self.path = f"/run/netns/{self.netns}"

    @property
    def racks(self) -> int:
        return 2 if self.kind == "routed" else 1

    def create(self) -> None:
        """Make the namespace, which stands in the state already, with its bridges and gateway addresses."""
        with held_off():
            netns_create(self.path)
        lines = ["link set lo up"]
        for rack in range(self.racks):
            name = BRIDGES[rack]
            lines.append(f"link add {name} mtu {self.mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
            for network in address.RACKS[rack]:
                if network.version in address.families(self.family):
                    gateway = address._host(network, address.GATEWAY)
                    lines.append(f"address add {gateway}/{network.prefixlen} dev {name}" + _nodad(network))
            lines.append(f"link set {name} up")
        sysctls = dict(QUIET, **{"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        self._sysctl(sysctls)
        self._ip(lines)

    def attach(self, ports: dict) -> None:
        """Plug hosts in: {cable's name: (the host's namespace, its interface's name, Port)}.  Each gets addresses and default routes."""
        lines = []
        for host, (netns, interface, port) in ports.items():
            # its own for good: neighbours remember a machine that is rebooted
            lines.append(f"link add {host} mtu {self.mtu} type veth peer name {interface} address {address.mac(port)} mtu {self.mtu} netns {netns}")
            if port.rack is not None:
                lines.append(f"link set {host} master {BRIDGES[port.rack]}")
            for gateway, own in zip(port.gateways, port.addresses):
                if port.rack is None:
                    lines.append(f"address add {gateway}/{own.network.prefixlen} dev {host}" + _nodad(own))
            lines.append(f"link set {host} up")
        self._ip(lines)
        for netns, interface, port in ports.values():
            lines = ["link set lo up", f"link set {interface} up"]
            lines += [f"address add {own} dev {interface}" + _nodad(own) for own in port.addresses]
            lines += [f"route add default via {gateway} dev {interface}" for gateway in port.gateways]
            _batch(f"/run/netns/{netns}", lines)

    def detach(self, host: str) -> None:
        """Take a host's link away, both ends: its machine is switched off."""
        self._ip([f"link delete {host}"])

    def unplug(self, host: str) -> None:
        """Pull the host's cable: its eth0 loses carrier."""
        self._ip([f"link set {host} down"])

    def plug(self, host: str) -> None:
        self._ip([f"link set {host} up"])

    def _ip(self, lines) -> None:
        _batch(self.path, lines)

    def _sysctl(self, values: dict) -> None:
        text = "\n".join(f"{key}={value}" for key, value in values.items())
        proc.run(["nsenter", f"--net={self.path}", "sysctl", "-q", "-p", "-"], where=self.netns, input=text)


def _nodad(thing) -> str:
    return " nodad" if thing.version == 6 else ""


def _batch(path: str, lines) -> None:
    """One `ip` process for many commands; the first that fails ends it and is named."""
    proc.run(["nsenter", f"--net={path}", "ip", "-batch", "-"], where=path, input="\n".join(lines) + "\n")
