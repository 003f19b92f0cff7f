# SPDX-License-Identifier: Apache-2.0
"""The underlay of a case: one bridge for the nodes and, beyond its router, the file's outside hosts.

Outside hosts are network namespaces with the file's own addresses; only the prober has sockets in them.  The router knows
which node each pod is on, so that nothing needs to be masqueraded."""

from ipaddress import ip_address, ip_interface

from . import proc
from .interrupt import held_off
from .kernel import netns_create, netns_remove
from .underlay import BRIDGES, QUIET, Underlay, _batch

NEXT_HOP = {4: ip_interface("169.254.1.1/32"), 6: ip_interface("fe80::1/128")}  # of outside hosts; the same on every cable
BITS = {4: 32, 6: 128}


class CaseUnderlay(Underlay):
    def __init__(self, lab, plan):
        super().__init__(lab.name, "flat", "dual", lab.mtu)
        self.lab, self.plan = lab, plan
        self._numbers = {}  # outside host → its cable's number
        self._count = 0

    def create(self) -> None:
        with held_off():
            netns_create(self.path)
        bridge = BRIDGES[0]
        self._sysctl(dict(QUIET, **{"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}))
        self._ip(["link set lo up", f"link add {bridge} mtu {self.mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                  *(f"address add {gateway} dev {bridge}{_nodad(gateway)}" for gateway in self.plan.gateways), f"link set {bridge} up"])

    # --- outside hosts ---

    def netns_of(self, external: str) -> str:
        return f"tl-{self.lab.name}-x{self._numbers[external]}"

    def add_external(self, external) -> None:
        """Its namespace stands in the lab's state before it is made."""
        self._count += 1
        self._numbers[external.name] = self._count
        netns, cable = self.netns_of(external.name), f"x{self._count}"
        with self.lab.state.change() as data:
            data["netns"].append(netns)
        with held_off():
            netns_create(f"/run/netns/{netns}")
        versions = {ip_address(ip).version for ip in external.ips}
        hosts = [f"{ip}/{BITS[ip_address(ip).version]}" for ip in external.ips]
        self._quiet(netns)
        self._ip([f"link add {cable} mtu {self.mtu} type veth peer name eth0 mtu {self.mtu} netns {netns}",
                  *(f"address add {NEXT_HOP[version]} dev {cable}{_nodad(NEXT_HOP[version])}" for version in versions),
                  f"link set {cable} up", *(f"route add {host} dev {cable}" for host in hosts)])
        _batch(f"/run/netns/{netns}", ["link set lo up", "link set eth0 up", *(f"address add {host} dev eth0{_nodad(host)}" for host in hosts),
                                       *(f"route add default via {NEXT_HOP[version].ip} dev eth0 onlink" for version in versions)])

    def remove_external(self, name: str) -> None:
        netns = self.netns_of(name)
        with held_off():
            self._ip([f"link delete x{self._numbers.pop(name)}"])
            netns_remove(f"/run/netns/{netns}")
            with self.lab.state.change() as data:
                data["netns"].remove(netns)

    def _quiet(self, netns: str) -> None:
        text = "\n".join(f"{key}={value}" for key, value in QUIET.items())
        proc.run(["nsenter", f"--net=/run/netns/{netns}", "sysctl", "-q", "-p", "-"], where=netns, input=text)

    # --- pods ---

    def route(self, add: dict, remove) -> None:
        """add: pod's address → its node's; remove: pods' addresses."""
        lines = [f"route delete {ip}/{BITS[ip_address(ip).version]}" for ip in remove]
        lines += [f"route replace {ip}/{BITS[ip_address(ip).version]} via {node} dev {BRIDGES[0]}" for ip, node in add.items()]
        if lines:
            self._ip(lines)


def _nodad(thing) -> str:
    return " nodad" if ":" in str(thing) else ""
