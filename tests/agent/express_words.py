# SPDX-License-Identifier: Apache-2.0
"""What tests of the express path say and see: traffic of which every byte is checked, and the counters of a node."""
import itertools
import json
import os
import pathlib
import re
import socket
import threading

from tullelab import proc, wait

ON = ["--policy=on", "--express-path=enabled"]
PORT, OTHER = 9000, 9001
KINDS = {"none": {"backend": "host-gw"}, "vxlan": {"backend": "vxlan"}, "ipip": {"pools": "ipip"}, "udp": {"backend": "udp"}}
SERVER = str(pathlib.Path(__file__).with_name("express_server.py"))
_numbers = itertools.count()


# --- what a test does and sees ---

def counts(node) -> dict:
    """The express path's counters: packets that went by it, and why others did not."""
    return {name: int(value) for name, value in re.findall(r'^tulle_express_\w+_total{\w+="(\w+)"} (\d+)$', node.api("/metrics"), re.M)}


class Watch:
    """with Watch(node) as seen: …; then seen["out"] is how many more there are than before."""

    def __init__(self, node):
        self.node = node

    def __enter__(self):
        self.before = counts(self.node)
        return self

    def __exit__(self, *_):
        self.after = counts(self.node)

    def __getitem__(self, name):
        return self.after[name] - self.before[name]


def serve(pod, port=PORT):
    daemon = pod.daemon([proc.PYTHON, "-I", "-S", "-B", SERVER, str(port)])
    wait.until(lambda: f"listening on port {port}\n" in daemon.log, f"{pod.name}: server on port {port}", detail=lambda: daemon.log)
    return daemon


def datagram(pod, to, port=PORT):
    return pod.connect(to.ip, port, kind=socket.SOCK_DGRAM, timeout=2)


def ask(connection, size=20) -> dict:
    """One datagram and what the server saw of it; once more if it gets lost, as where a neighbour is looked up."""
    name = f"{next(_numbers):08d}"
    for again in (True, True, False):
        connection.send(name.encode().ljust(size, b"."))
        try:
            while True:  # an answer may be late, and one to an earlier question
                answer = json.loads(connection.recv(65536))
                if answer["first"] == name:
                    return answer
        except socket.timeout:
            if not again:
                raise


def bulk(pod, to, size=1 << 20, port=PORT):
    """Random bytes there and back again."""
    data, back = os.urandom(size), bytearray()
    with pod.connect(to.ip, port, timeout=10) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,), daemon=True)
        sender.start()
        while len(back) < size:
            more = connection.recv(1 << 20)
            assert more, f"closed after {len(back)} of {size} bytes"
            back += more
        sender.join()
    assert back == data


def ping_pong(connection, data=b"ping"):
    connection.sendall(data)
    back = b""
    while len(back) < len(data):
        more = connection.recv(len(data) - len(back))
        assert more, "closed"
        back += more
    assert back == data


def express_way(node, go, name="out", timeout=10):
    """Until what go() sends leaves this node express."""
    def went():
        with Watch(node) as seen:
            go()
        return seen[name] > 0
    wait.until(went, f"{node.name}: packets go express", timeout, detail=lambda: f"{counts(node)}\n{node.log[-1500:]}")


def kernel_way(node, go, name="out", timeout=10):
    """Until nothing goes express beside go(): the last words of an earlier connection may."""
    def went():
        with Watch(node) as seen:
            go()
        return seen[name] == 0
    wait.until(went, f"{node.name}: none of these packets goes express", timeout, detail=lambda: str(counts(node)))


# --- labs with a client a on node 1 and a server b on node 2 ---

def furnish(lab):
    """A client here, a server there, which have talked express."""
    one, two = lab.nodes
    lab.a, lab.b = one.pod_add("a"), two.pod_add("b")
    serve(lab.b)
    wait.until(lambda: lab.a.ping(lab.b.ip, check=False, timeout=1).returncode == 0, "pods talk", 10)
    return lab


def ready(lab):
    """Both ways are express by now."""
    for node in lab.nodes:
        express_way(node, lambda: ping_once(lab))


def ping_once(lab):
    with lab.a.connect(lab.b.ip, PORT) as connection:
        ping_pong(connection)
