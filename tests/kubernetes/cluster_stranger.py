# SPDX-License-Identifier: Apache-2.0
"""Somebody who knocks at every address of whole networks, all the time: a datagram and a TCP SYN at each.  Run as a script:

    cluster_stranger.py SIX NETNS=NETWORK,NETWORK… …

From each network namespace to all addresses of those IPv4 networks, /24, and to the first SIX of those of IPv6, which are given to one pod
after the other and to no second one.  Prints a line when it has been round once; ends with who started it."""

import array
import ipaddress
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lab/tullelab"))  # not the package: this is a process of its own
from kernel import in_netns  # noqa: E402

FOUR, PORT = 254, 8080
PAUSE = 0.03  # seconds after each round of one network: the machine has other things to do


def own_address(family: int, towards: str) -> bytes:
    """By which the kernel would send there."""
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.connect((towards, PORT))
        return socket.inet_pton(family, one.getsockname()[0])


def syn(source: bytes, target: bytes) -> bytes:
    head = struct.pack("!HHIIBBHHH", random.randint(20000, 60000), PORT, random.getrandbits(32), 0, 5 << 4, 2, 64240, 0, 0)
    covered = source + target + struct.pack("!II", len(head), socket.IPPROTO_TCP) + head  # the pseudo headers of both families add up to the same
    total = sum(array.array("H", covered))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:16] + struct.pack("=H", ~total & 0xFFFF) + head[18:]


class Door:
    """The sockets of one namespace and family, and what is sent through them."""

    def __init__(self, network, six: int):
        self.family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        self.targets = [str(network[n]) for n in range(1, (FOUR if network.version == 4 else six) + 1)]
        source = own_address(self.family, self.targets[0])
        self.packets = [syn(source, socket.inet_pton(self.family, target)) for target in self.targets]
        self.udp = socket.socket(self.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.tcp = socket.socket(self.family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
        self.sent = 0

    def knock(self) -> None:
        for target, packet in zip(self.targets, self.packets):
            for sock, data, port in ((self.udp, b"stranger", PORT), (self.tcp, packet, 0)):
                try:
                    sock.sendto(data, (target, port))
                    self.sent += 1
                except OSError:
                    pass  # nobody is there yet: an earlier packet's error


def main() -> None:
    doors, six = [], int(sys.argv[1])
    for word in sys.argv[2:]:
        path, _, networks = word.partition("=")
        doors += in_netns(path, lambda: [Door(ipaddress.ip_network(one), six) for one in networks.split(",")])
    for door in doors:
        door.knock()
    print(f"sent {sum(door.sent for door in doors)}", flush=True)
    while True:
        for door in doors:
            door.knock()
            time.sleep(PAUSE)


main()
