#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Small ends of traffic that the carrier tests start inside their namespaces. Each prints its result on standard output.

tcp-sink ADDR PORT BYTES        accepts one connection, prints the SHA-256 of what came (at most BYTES)
tcp-send ADDR PORT BYTES [SRC]  sends BYTES of a known pattern, prints its SHA-256
udp-count ADDR PORT WANT        prints how many datagrams came, and their sizes, after WANT; or a second of silence once input has ended
udp-send ADDR PORT COUNT SIZE [SEGMENT]   COUNT datagrams of SIZE; with SEGMENT the kernel cuts each into pieces of it
raw-inner ADDR PORT SRC DST INNERPORT     one datagram whose payload is an IPv4 UDP packet
raw-ipip ADDR SRC DST INNERPORT [SIZE]    the same behind a bare IPv4 header, SIZE bytes of payload
raw-vxlan ADDR PORT VNI MAC SRC DST INNERPORT [SIZE]   the same in a frame to MAC; SRC and DST may be IPv6
relay DEV ADDR PORT DST=PEER... a TUN device, one packet a datagram: what flanneld's udp backend does
"""
import fcntl
import hashlib
import ipaddress
import os
import select
import socket
import struct
import sys

UDP_SEGMENT = 103
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
PATTERN = bytes(range(251)) * 1024


def family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def say(*words):
    print(*words, flush=True)


def tcp_sink(addr, port, size):
    server = socket.create_server((addr, int(port)), family=family(addr))
    say("ready")
    conn, _ = server.accept()
    digest, left = hashlib.sha256(), int(size)
    while left and (data := conn.recv(min(1 << 16, left))):
        digest.update(data)
        left -= len(data)
    conn.sendall(b"done")
    say(digest.hexdigest())


def tcp_send(addr, port, size, source=None):
    conn = socket.create_connection((addr, int(port)), timeout=30, source_address=(source, 0) if source else None)
    data = (PATTERN * (int(size) // len(PATTERN) + 1))[:int(size)]
    conn.sendall(data)
    conn.recv(4)
    say(hashlib.sha256(data).hexdigest())


def udp_count(addr, port, want):
    sock = socket.socket(family(addr), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((addr, int(port)))
    say("ready")
    sizes, ends, silence = [], [sock, sys.stdin], None
    while len(sizes) < int(want) and (ready := select.select(ends, [], [], silence)[0]):
        if sock in ready:
            sizes.append(len(sock.recv(65536)))
        else:
            ends, silence = [sock], 1
    say(len(sizes), *sorted(set(sizes)))


def udp_send(addr, port, count, size, segment=None):
    sock = socket.socket(family(addr), socket.SOCK_DGRAM)
    if segment:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(segment))
    for _ in range(int(count)):
        sock.sendto(b"x" * int(size), (addr, int(port)))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def inner(source, dst, inner_port, size=6):
    udp = struct.pack("!4H", 9, int(inner_port), 8 + int(size), 0) + b"x" * int(size)
    if ":" in source:
        pseudo = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, dst)
        total = checksum(pseudo + struct.pack("!IxxxB", len(udp), 17) + udp + b"\0" * (len(udp) % 2)) or 0xFFFF
        return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + pseudo + udp[:6] + struct.pack("!H", total) + udp[8:]
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                       socket.inet_aton(source), socket.inet_aton(dst))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def raw_inner(addr, port, source, dst, inner_port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", int(port)))
    try:
        sock.sendto(inner(source, dst, inner_port), (addr, int(port)))
    except PermissionError:
        say("refused")


def raw_ipip(addr, source, dst, inner_port, size=6):
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
    try:
        sock.sendto(inner(source, dst, inner_port, size), (addr, 0))
    except PermissionError:
        say("refused")


def raw_vxlan(addr, port, vni, mac, source, dst, inner_port, size=6):
    head = struct.pack("!II", 0x08000000, int(vni) << 8)
    frame = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0200000000ee") + \
        (b"\x86\xdd" if ":" in source else b"\x08\x00")
    sock = socket.socket(family(addr), socket.SOCK_DGRAM)
    sock.sendto(head + frame + inner(source, dst, inner_port, size), (addr, int(port)))


def relay(device, addr, port, *routes):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((addr, int(port)))
    table = [(ipaddress.ip_network(r.split("=")[0]), r.split("=")[1]) for r in routes]
    say("ready")
    while True:
        for fd in select.select([tun, sock], [], [])[0]:
            if fd is sock:
                os.write(tun, sock.recv(65536))
                continue
            packet = os.read(tun, 65536)
            if packet[0] >> 4 != 4:
                continue
            dst = ipaddress.ip_address(packet[16:20])
            for prefix, peer in table:
                if dst in prefix:
                    sock.sendto(packet, (peer, int(port)))


if __name__ == "__main__":
    globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
