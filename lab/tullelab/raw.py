# SPDX-License-Identifier: Apache-2.0
"""Packets of any other protocol, ICMP among them: nobody answers most of them, so what counts is whether one arrives.

Part of the prober's process, where both ends are at hand: a packet carries a token, and the raw socket at the other end looks for it."""

import os
import select
import socket
import struct

from sctp import canonical

ICMP, ICMPV6, UDPLITE = 1, 58, 136
TOKEN = 16  # bytes, at the end of the packet
HEADER_INCLUDED = socket.AF_INET  # raw sockets of this family hear the IP header


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class RawDoor:
    """The raw socket of one namespace, family and protocol."""

    def __init__(self, loop, family: int, protocol: int, arrivals: dict):
        """arrivals: token → whom to tell; shared by all doors."""
        self.loop, self.family, self.protocol, self.arrivals = loop, family, protocol, arrivals
        self.listening = set()  # (ip, 0)
        self.sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        loop.add(self.sock, select.EPOLLIN, self._hear)

    def ask(self, source, source_port: int, target: str, port: int, arrived) -> "RawProbe":
        made = RawProbe(self, source, source_port, target, port)
        self.arrivals[made.token] = (canonical(target), arrived)
        try:
            made.again()
        except OSError:
            made.close()
            raise
        return made

    def packet(self, source_port: int, port: int, token: bytes) -> bytes:
        """ICMPv6's checksum is the kernel's affair.  UDPLite covers its header alone, whose checksum nobody on the way looks at."""
        if self.protocol == ICMPV6:
            return struct.pack("!BBHHH", port >> 8, port & 255, 0, source_port, 1) + token
        if self.protocol == ICMP:
            head = struct.pack("!BBHHH", port >> 8, port & 255, 0, source_port, 1)
            return head[:2] + struct.pack("!H", checksum(head + token)) + head[4:] + token
        return struct.pack("!HHHH", source_port, port, 8, 0) + token

    def send(self, source, target: str, data: bytes) -> None:
        control = []
        if source and self.family == socket.AF_INET6:
            control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(self.family, source) + bytes(4))]
        elif source:
            control = [(socket.IPPROTO_IP, 8, bytes(4) + socket.inet_pton(self.family, source) + bytes(4))]  # IP_PKTINFO
        self.sock.sendmsg([data], control, 0, (target, 0))

    def _hear(self, _) -> None:
        while True:
            try:
                data, control, _, _ = self.sock.recvmsg(2048, socket.CMSG_SPACE(20))
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier packet
            target, arrived = self.arrivals.get(data[-TOKEN:], (None, None))
            if arrived and self._own(data, control) == target:  # not the kernel's answer, which has the token, too
                arrived()

    def _own(self, data: bytes, control):
        if self.family == HEADER_INCLUDED:
            return socket.inet_ntop(self.family, data[16:20])
        for level, kind, value in control:
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                return socket.inet_ntop(self.family, value[:16])
        return None

    def close(self) -> None:
        self.loop.remove(self.sock)
        self.sock.close()


class RawProbe:
    def __init__(self, door: RawDoor, source, source_port: int, target: str, port: int):
        self.door, self.source, self.target = door, source, target
        self.token = os.urandom(TOKEN)
        self.text = door.packet(source_port, port, self.token)

    def again(self) -> None:
        self.door.send(self.source, self.target, self.text)

    def close(self) -> None:
        self.door.arrivals.pop(self.token, None)
