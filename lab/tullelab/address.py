# SPDX-License-Identifier: Apache-2.0
"""Who has which address on the underlay.  Documentation prefixes only, so that nothing can be mistaken for a real network.

    rack 1   192.0.2.0/24     2001:db8:0:1::/64    gateway .254, ::fe      etcd members .250 … .252   BGP routers .241, .242
    rack 2   203.0.113.0/24   2001:db8:0:2::/64    gateway .254, ::fe      (routed underlay only)       BGP routers .241, .242
    outside  198.51.100.10    2001:db8:ffff::10    gateway .1, ::1
    pods     10.244.0.0/16    fd00:10:244::/48
    services 10.96.0.0/16     fd00:10:96::/112     API server .1, ::1   DNS .10, ::a   (Kubernetes only, whose control plane is etcd member 0)
"""

import hashlib
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

from .errors import LabError

RACKS = ((ip_network("192.0.2.0/24"), ip_network("2001:db8:0:1::/64")),
         (ip_network("203.0.113.0/24"), ip_network("2001:db8:0:2::/64")))
OUTSIDE = (ip_network("198.51.100.0/24"), ip_network("2001:db8:ffff::/64"))
PODS4, PODS6 = ip_network("10.244.0.0/16"), ip_network("fd00:10:244::/48")
SERVICES4, SERVICES6 = ip_network("10.96.0.0/16"), ip_network("fd00:10:96::/112")
GATEWAY, ETCD, ROUTER = 254, 250, 240  # routers count from 1
FAMILIES = {"4": (4,), "6": (6,), "dual": (4, 6)}
MOST_NODES = 240


@dataclass(frozen=True)
class Port:
    """One host's place on the underlay."""

    rack: int  # index into RACKS; None: the outside network
    addresses: tuple  # of ip_interface
    gateways: tuple  # of ip_address


def families(family: str) -> tuple:
    if family not in FAMILIES:
        raise LabError(f"family {family!r}: expected 4, 6 or dual")
    return FAMILIES[family]


def _host(network, number: int):
    """The number as people write it in that family: .250 and ::250 (decimal digits read as hexadecimal)."""
    return network[number] if network.version == 4 else network[int(str(number), 16)]


def _port(networks, rack, number: int, gateway: int, family: str) -> Port:
    chosen = [n for n in networks if n.version in families(family)]
    return Port(rack, tuple(ip_interface(f"{_host(n, number)}/{n.prefixlen}") for n in chosen),
                tuple(_host(n, gateway) for n in chosen))


def mac(port: Port) -> str:
    """Of the network card that stands at this place, whoever plugs it in."""
    digest = hashlib.sha1(" ".join(map(str, port.addresses)).encode()).digest()
    return "02:" + digest[:5].hex(":")


def node(index: int, underlay: str, family: str) -> Port:
    """index counts from 1; on the routed underlay odd nodes stand in rack 1, even ones in rack 2."""
    rack = (index - 1) % 2 if underlay == "routed" else 0
    return _port(RACKS[rack], rack, index, GATEWAY, family)


def etcd(member: int, family: str) -> Port:
    return _port(RACKS[0], 0, ETCD + member, GATEWAY, family)


def router(index: int, racks: int, family: str) -> tuple:
    """One port in each rack, and no default route: a router of BGP knows what BGP says."""
    ports = [_port(RACKS[rack], rack, ROUTER + index, GATEWAY, family) for rack in range(racks)]
    return tuple(Port(port.rack, port.addresses, ()) for port in ports)


def outside(family: str) -> Port:
    return _port(OUTSIDE, None, 10, 1, family)


def url_host(address) -> str:
    """An address as it stands in a URL or before :port."""
    address = ip_address(str(address))
    return f"[{address}]" if address.version == 6 else str(address)
