# SPDX-License-Identifier: Apache-2.0
"""A router between racks that knows its own networks, and what BGP tells it. BIRD with a configuration of its own: nothing in it is Tulle's."""

from . import address, proc, wait
from .host import Host
from .pools import BFD, NODE_AS, ROUTER_AS

CONF, CTL = "/etc/bird-lab.conf", "/run/bird-lab.ctl"
HEAD = """router id {id};
protocol device {{ scan time 10; }}
protocol kernel {{ ipv4 {{ import none; export all; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ import none; export all; }}; merge paths on; }}
protocol bfd {{ interface "*" {{ interval {bfd[minTxMs]} ms; multiplier {bfd[multiplier]}; }}; }}
"""
PEER = """protocol bgp {name} {{
	local {own} as {own_as};
	neighbor {peer} as {peer_as};
	hold time 30;
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 2;
	bfd on;
	ipv{version} {{ import all; export all; }};
}}
"""


class Router(Host):
    sysctl = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}

    def __init__(self, lab, index: int):
        self.ports = address.router(index, lab.underlay.racks, lab.family)
        super().__init__(lab, f"router-{index}", self.ports[0])
        self.index = index

    @property
    def cables(self) -> dict:
        return {self.cable(number): (self.netns, f"eth{number}", port) for number, port in enumerate(self.ports)}

    def cable(self, number: int) -> str:
        return f"{self.name}-{number}" if number else self.name

    def begin_routing(self) -> None:
        proc.need("bird", "birdc")
        text = HEAD.format(bfd=BFD, id=f"192.0.2.{address.ROUTER + self.index}")
        for node in self.lab.nodes:
            port = next(port for port in self.ports if port.rack == node.port.rack)
            for own, peer in zip(port.addresses, node.port.addresses):
                text += PEER.format(name=f"node{node.index}_{own.version}", own=own.ip, own_as=ROUTER_AS + self.index, peer=peer.ip,
                                    peer_as=NODE_AS + node.index, version=own.version)
        self.write(CONF, text)
        daemon = self.daemon(["bird", "-f", "-c", CONF, "-s", CTL, "-P", "/run/bird-lab.pid"], "bird")
        wait.until(lambda: self.birdc("show", "status"), f"{self.name}: BIRD answers", 10, detail=lambda: wait.tail(daemon.log_path))

    def birdc(self, *words) -> str:
        return self.run(["birdc", "-s", CTL, *words]).stdout

    def unplug(self) -> None:
        for cable in self.cables:
            self.lab.underlay.unplug(cable)

    def plug(self) -> None:
        for cable in self.cables:
            self.lab.underlay.plug(cable)
