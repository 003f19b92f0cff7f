# SPDX-License-Identifier: Apache-2.0
"""What a test sees of a cluster's pods from their nodes, and traffic between them that a test counts."""

import json
import pathlib
import re
import sys

from tullelab import wait

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "agent"))
from eyes import Eyes  # noqa: E402, F401


def attachments(node) -> list:
    """The agent's own list of what it has attached on a node."""
    return json.loads(node.run([f"{node.lab.build}/tullectl", "-o", "json", "pods"]).stdout)["pods"]


def netns_of(node, ip: str) -> str:
    """The path, from outside of the node, of the network namespace of its pod with this address."""
    def found():
        for one in attachments(node):
            if ip in (one["ip"], one["ipv6"]):
                return f"/proc/{node.init['pid']}/root" + one["netns"].replace("/var/run/", "/run/", 1)
        return None
    return wait.until(found, f"{node.name} has attached {ip}", 10)


class Flow:
    """Pings every 10 ms and one TCP connection, from a pod to another, that nothing may disturb."""

    TALK = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5); s.settimeout(5); n = 0
print("connected", flush=True)
while True:
    s.sendall(b"x" * 64); got = 0
    while got < 64:
        data = s.recv(64 - got)
        if not data: raise SystemExit("closed after %d" % n)
        got += len(data)
    n += 1
    if n % 100 == 0: print(n, flush=True)
    time.sleep(0.005)
"""

    SERVE = """
import socket, threading
s = socket.create_server(("", 9090)); print("listening", flush=True)
def echo(c):
    while (data := c.recv(100)): c.sendall(data)
while True:
    threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()
"""

    def __init__(self, lab, source, target):
        """source, target: KubePods on different nodes. Both ends run outside of the containers, in the pods' network namespaces."""
        self._from, self._to = lab.node(source.node), lab.node(target.node)
        self._server = self._to.spawn(["/usr/bin/python3", "-c", self.SERVE], netns=netns_of(self._to, target.ip))
        self._server.wait_line("listening")
        inside = netns_of(self._from, source.ip)
        self._ping = self._from.spawn(["ping", "-n", "-i", "0.01", "-W", "1", target.ip], netns=inside)
        self._talk = self._from.spawn(["/usr/bin/python3", "-c", self.TALK, target.ip, "9090"], netns=inside)
        self._ping.wait_line("bytes from")
        self._talk.wait_line("connected")

    def check(self) -> None:
        """Ends it. Nothing was lost, and the connection lives."""
        for background in (self._ping, self._talk):
            before = len(background.lines)
            wait.until(lambda: len(background.lines) > before + 2, f"{background.name} goes on", 10, detail=lambda: background.output[-500:])
        self._ping.stop(2)
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", self._ping.output).groups())
        assert sent == received, f"{sent - received} of {sent} pings were lost"
        assert self._talk.running, self._talk.output[-500:]
        self.end()

    def end(self) -> None:
        for background in (self._ping, self._talk, self._server):
            if background.running:
                background.stop(9)
