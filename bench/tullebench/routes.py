# SPDX-License-Identifier: Apache-2.0
"""When a route came to be: the kernels' notifications of several nodes, read by this process as they come."""
import select
import socket
import struct
import time
from ipaddress import ip_address, ip_network

from tullelab import LabError
from tullelab.kernel import in_netns

GROUPS = 0x40 | 0x400  # RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE
SO_RCVBUFFORCE, RTM_NEWROUTE = 33, 24
RTA_DST, RTA_GATEWAY, RTA_MULTIPATH = 1, 5, 9


class RouteWatch:
    def __init__(self, nodes):
        self._poll, self._sockets = select.poll(), {}
        for node in nodes:
            made = in_netns(node.netns_path, self._open)
            self._sockets[made.fileno()] = node.name, made
            self._poll.register(made, select.POLLIN)

    @staticmethod
    def _open():
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)
        made.bind((0, GROUPS))
        return made

    def clear(self) -> None:
        """Forget what has come so far."""
        while self._events(0):
            pass

    def _events(self, seconds: float) -> list:
        """(node's name, when, new, destination, gateway or None, merged) of each notification."""
        found = []
        for fd, _ in self._poll.poll(seconds * 1000):
            name, made = self._sockets[fd]
            data, now = made.recv(1 << 17), time.monotonic()
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                found.append((name, now, kind == RTM_NEWROUTE, *_route(data[16:length])))
                data = data[(length + 3) & ~3:]
        return found

    def wait(self, wanted, nodes=1, timeout=30.0) -> dict:
        """Node's name → when a notification came that wanted(new, destination, gateway, merged) takes, of so many nodes."""
        found, end = {}, time.monotonic() + timeout
        while len(found) < nodes:
            if time.monotonic() > end:
                raise LabError(f"{len(found)} of {nodes} nodes had the route within {timeout:g} s")
            for name, when, *event in self._events(0.1):
                if name not in found and wanted(*event):
                    found[name] = when
        return found

    def wait_new(self, destination: str, nodes=1, timeout=30.0) -> dict:
        wanted = ip_network(destination)
        return self.wait(lambda new, dst, gateway, merged: new and dst == wanted, nodes, timeout)

    def close(self) -> None:
        for _, made in self._sockets.values():
            made.close()


def _route(body: bytes) -> tuple:
    family, length = body[0], body[1]
    found, at = {}, 12
    while at + 4 <= len(body):
        size, kind = struct.unpack_from("=HH", body, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = body[at + 4:at + size]
        at += (size + 3) & ~3
    zero = bytes(4 if family == socket.AF_INET else 16)
    gateway = found.get(RTA_GATEWAY)
    return (ip_network((found.get(RTA_DST, zero), length)), ip_address(gateway) if gateway else None, RTA_MULTIPATH in found)
