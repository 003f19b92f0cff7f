# SPDX-License-Identifier: Apache-2.0
"""SCTP's first two packets from raw sockets, for kernels without SCTP: an INIT, and the INIT ACK that answers it (RFC 9260).

Part of the prober's process."""

import random
import select
import socket
import struct

PROTOCOL = 132
INIT, INIT_ACK = 1, 2
COOKIE = 7  # parameter of INIT ACK


def _table() -> list:
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        made.append(byte)
    return made


TABLE = _table()


def crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def packet(source_port: int, port: int, tag: int, kind: int, own_tag: int) -> bytes:
    """tag: the receiver's, as it stands in the common header; own_tag: the sender's, in the chunk."""
    parameters = struct.pack("!HH4s", COOKIE, 8, b"tlab") if kind == INIT_ACK else b""
    chunk = struct.pack("!BBHIIHHI", kind, 0, 20 + len(parameters), own_tag, 65536, 1, 1, random.getrandbits(32)) + parameters
    head = struct.pack("!HHI", source_port, port, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def parse(data: bytes):
    """(source port, port, tag, kind of the first chunk, sender's tag), or None."""
    if len(data) < 32:
        return None
    source_port, port, tag = struct.unpack_from("!HHI", data)
    kind, _, _, own_tag = struct.unpack_from("!BBHI", data, 12)
    if struct.unpack_from("<I", data, 8)[0] != crc32c(data[:8] + bytes(4) + data[12:]):
        return None
    return source_port, port, tag, kind, own_tag


class SctpDoor:
    """The raw socket of one namespace and family: answers for whoever listens, hears answers for whoever asks."""

    def __init__(self, loop, family: int):
        self.loop, self.family = loop, family
        self.listening, self.asking = set(), {}  # (ip, port); (own port, peer, peer's port, tag) → Question
        self.sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, PROTOCOL)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if family == socket.AF_INET6:
            self.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self.sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
        loop.add(self.sock, select.EPOLLIN, self._hear)

    def ask(self, source, source_port: int, target: str, port: int, answered) -> "Question":
        question = Question(self, source, source_port, target, port, answered)
        question.again()
        self.asking[question.key] = question
        return question

    def send(self, source, target: str, data: bytes) -> None:
        """source: None: the kernel chooses."""
        control = []
        if source and self.family == socket.AF_INET6:
            control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, socket.inet_pton(self.family, source) + bytes(4))]
        elif source:
            control = [(socket.IPPROTO_IP, 8, bytes(4) + socket.inet_pton(self.family, source) + bytes(4))]
        self.sock.sendmsg([data], control, 0, (target, 0))

    def _hear(self, _) -> None:
        while True:
            try:
                data, control, _, peer = self.sock.recvmsg(2048, socket.CMSG_SPACE(20))
            except BlockingIOError:
                return
            except OSError:
                continue  # an error of an earlier packet
            own = self._own(control)
            if self.family == socket.AF_INET:
                data = data[(data[0] & 15) * 4:]  # raw IPv4 sockets hear the header, too
            said = parse(data)
            if own and said:
                self._take(own, peer[0].split("%")[0], *said)

    def _own(self, control):
        """The address that was asked."""
        for level, kind, value in control:
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
                return socket.inet_ntop(self.family, value[:16])
            if (level, kind) == (socket.IPPROTO_IP, 8):
                return socket.inet_ntop(self.family, value[8:12])
        return None

    def _take(self, own: str, peer: str, peer_port: int, port: int, tag: int, kind: int, peer_tag: int) -> None:
        if kind == INIT and (own, port) in self.listening:
            try:
                self.send(own, peer, packet(port, peer_port, peer_tag, INIT_ACK, random.getrandbits(32) | 1))
            except OSError:
                pass  # denied on the way out: the peer will notice
        elif kind == INIT_ACK:
            question = self.asking.get((port, peer, peer_port, tag))
            if question:
                question.answered()

    def close(self) -> None:
        self.loop.remove(self.sock)
        self.sock.close()


class Question:
    def __init__(self, door: SctpDoor, source, source_port: int, target: str, port: int, answered):
        self.door, self.source, self.target, self.answered = door, source, target, answered
        self.tag = random.getrandbits(32) | 1
        self.key = (source_port, canonical(target), port, self.tag)
        self.text = packet(source_port, port, 0, INIT, self.tag)

    def again(self) -> None:
        """The same packet: retransmissions are no new flow."""
        self.door.send(self.source, self.target, self.text)

    def close(self) -> None:
        self.door.asking.pop(self.key, None)


def canonical(ip: str) -> str:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return socket.inet_ntop(family, socket.inet_pton(family, ip))
