# SPDX-License-Identifier: Apache-2.0
"""Many probes at once, from one process.  Run as a script by probing.py.

Namespaces belong to sockets: each socket is made inside its place (a pod, a node, an outside host) and used from here.  Each line
of stdin is one batch, a JSON object; each gets one line of stdout:

    {"places": {NAME: PATH of its network namespace}, "listen": [[PLACE, IP, PROTOCOL, PORT]],
     "probes": [[PLACE, IP or null (the kernel chooses), IP, PROTOCOL, PORT, OWN PORT or 0]], "patience": SECONDS}
    {"results": [[CONNECTED, NOTE]], "seconds": S, "slowest": S} or {"error": TEXT}

PROTOCOL is TCP, UDP, SCTP, or the number of another one, which is only watched on arrival (raw.py).  What listens stays until a batch does without it.  A probe is connected once its request has been answered.  What stays without an
answer for `patience` is not: half of that is enough where many others were answered, and quickly; where answers are slow it is more.
Before time is up everything that has arrived is looked at."""

import errno
import json
import os
import random
import resource
import select
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # not the package: this is a process of its own
from kernel import CLONE_NEWNET, setns  # noqa: E402
from raw import RawDoor  # noqa: E402
from sctp import SctpDoor  # noqa: E402

AT_ONCE = 512  # probes under way: a queue of the kernel holds 1000 packets
MOST_PATIENCE = 4.0  # seconds
ENOUGH = 20  # answers that show how quick this machine is today
TURN = 0.01  # seconds
AGAIN = 0.2  # seconds until a datagram is sent once more, as a TCP would
PORTS = (20000, 60999)  # of clients


class Place:
    def __init__(self, path: str):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.inode = os.fstat(self.fd).st_ino
        self.listeners = {}  # (ip, protocol, port) → Listener
        self.doors = {}  # (family, protocol) → SctpDoor or RawDoor
        self.taken = {}  # protocol → ports where somebody listens
        self._ports = {}  # (ip, protocol) → the last one used

    def next_port(self, ip, protocol: str) -> int:
        """Not used by an earlier flow from here for as long as there are others, and nobody listens there."""
        port = self._ports.get((ip, protocol)) or random.randint(*PORTS)
        taken = self.taken.get(protocol, ())
        while True:
            port = PORTS[0] if port >= PORTS[1] else port + 1
            if port not in taken:
                break
        self._ports[ip, protocol] = port
        return port

    def close(self) -> None:
        for thing in (*self.listeners.values(), *self.doors.values()):
            thing.close()
        os.close(self.fd)


class Loop:
    """Who waits for which descriptor."""

    def __init__(self):
        self.epoll = select.epoll()
        self.users = {}
        self.waited = 0.0  # seconds spent waiting; those in which this process was kept from running do not count

    def add(self, sock, events: int, call) -> None:
        self.users[sock.fileno()] = call
        self.epoll.register(sock.fileno(), events)

    def change(self, sock, events: int) -> None:
        self.epoll.modify(sock.fileno(), events)

    def remove(self, sock) -> None:
        if self.users.pop(sock.fileno(), None):
            self.epoll.unregister(sock.fileno())

    def turn(self, timeout: float) -> bool:
        before = time.monotonic()
        ready = self.epoll.poll(timeout, 512)
        self.waited += min(time.monotonic() - before, 2 * timeout)
        for fd, events in ready:
            call = self.users.get(fd)
            if call:
                call(events)
        return bool(ready)


def family_of(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


class TcpListener:
    """Says back what it hears."""

    def __init__(self, loop: Loop, ip: str, port: int):
        self.loop, self.connections = loop, set()
        self.sock = socket.socket(family_of(ip), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((ip, port))
        self.sock.listen(4096)
        loop.add(self.sock, select.EPOLLIN, self._accept)

    def _accept(self, _) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            connection.setblocking(False)
            self.connections.add(connection)
            self.loop.add(connection, select.EPOLLIN, lambda _, c=connection: self._answer(c))

    def _answer(self, connection) -> None:
        try:
            data = connection.recv(4096)
            if data:
                connection.send(data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # its end, too
        self.connections.discard(connection)
        self.loop.remove(connection)
        connection.close()

    def close(self) -> None:
        for sock in (*self.connections, self.sock):
            self.loop.remove(sock)
            sock.close()


class UdpListener:
    def __init__(self, loop: Loop, ip: str, port: int):
        self.loop = loop
        self.sock = socket.socket(family_of(ip), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((ip, port))
        loop.add(self.sock, select.EPOLLIN, self._answer)

    def _answer(self, _) -> None:
        while True:
            try:
                data, peer = self.sock.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer could not be delivered
            try:
                self.sock.sendto(data, peer)
            except OSError:
                pass  # denied, or the peer is gone: it will notice

    def close(self) -> None:
        self.loop.remove(self.sock)
        self.sock.close()


class DoorListener:
    def __init__(self, door, ip: str, port: int):
        self.door, self.key = door, (ip, port)
        door.listening.add(self.key)

    def close(self) -> None:
        self.door.listening.discard(self.key)


class Probe:
    """One attempt.  ok: None while nobody knows."""

    def __init__(self, batch, number: int, words):
        self.batch, self.number = batch, number
        self.place, self.source, self.target, self.protocol, self.port, self.own_port = words
        self.flow = tuple(words)
        self.waited_before = self.waited_at_last = 0.0
        self.ok, self.note, self.sock, self.begun, self.token = None, "", None, 0.0, b"%d-%d" % (number, random.getrandbits(48))

    def begin(self, place: Place) -> None:
        """In the place's namespace."""
        self.begun = time.monotonic()
        try:
            {"TCP": self._tcp, "UDP": self._udp}.get(self.protocol, self._door)(place)
        except OSError as error:
            self.end(False, error.strerror or str(error))

    def _open(self, place: Place, kind: int):
        self.sock = socket.socket(family_of(self.target), kind | socket.SOCK_NONBLOCK)
        if self.own_port:  # several may ask for the same one
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for attempt in range(100):
            try:
                self.sock.bind((self.source or "", self.own_port or place.next_port(self.source, self.protocol)))
                return self.sock
            except OSError as error:
                if error.errno != errno.EADDRINUSE or attempt == 99 or self.own_port:
                    raise

    def _tcp(self, place: Place) -> None:
        sock = self._open(place, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # leaves nothing in TIME_WAIT
        self.batch.loop.add(sock, select.EPOLLOUT, self._connected)
        try:
            sock.connect((self.target, self.port))
        except BlockingIOError:
            pass

    def _connected(self, _) -> None:
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.end(False, os.strerror(error))
            return
        self.batch.loop.users[self.sock.fileno()] = self._hear
        self.batch.loop.change(self.sock, select.EPOLLIN)
        self._say()

    def _udp(self, place: Place) -> None:
        sock = self._open(place, socket.SOCK_DGRAM)
        sock.connect((self.target, self.port))
        self.batch.loop.add(sock, select.EPOLLIN, self._hear)
        self._say()

    def _say(self) -> None:
        try:
            self.sock.send(self.token)
        except OSError as error:
            self.end(False, error.strerror)

    def _hear(self, _) -> None:
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(False, error.strerror)
            return
        if data == self.token:
            self.end(True)
        elif self.protocol == "TCP":
            self.end(False, "closed without an answer" if not data else "a wrong answer")

    def _door(self, place: Place) -> None:
        door = place.doors[family_of(self.target), self.protocol]
        own_port = self.own_port or place.next_port(self.source, self.protocol)
        self.sock = door.ask(self.source, own_port, self.target, self.port, lambda: self.end(True))

    def again(self) -> None:
        """A datagram may be lost; TCP sees to itself."""
        try:
            if self.protocol == "UDP":
                self.sock.send(self.token)
            elif self.protocol != "TCP":
                self.sock.again()
        except OSError as error:
            self.end(False, error.strerror)

    def end(self, ok: bool, note: str = "") -> None:
        if self.ok is not None:
            return
        self.ok, self.note = ok, note
        if self.sock is not None:
            if self.protocol in ("TCP", "UDP"):
                self.batch.loop.remove(self.sock)
            self.sock.close()
        self.batch.ended(self)


class Batch:
    def __init__(self, loop: Loop, places: dict, words: dict):
        self.loop, self.places, self.patience = loop, places, float(words["patience"])
        self.probes = [Probe(self, number, probe) for number, probe in enumerate(words["probes"])]
        self.open, self.answers = set(), 0
        self.flows, self.later = set(), []  # those under way that were given their own port, and who asks for one of these
        self.slowest, self.longest_wait = 0.0, 0.0  # of answers: by the clock, and by what this process saw of it

    def ended(self, probe: Probe) -> None:
        self.open.discard(probe)
        self.flows.discard(probe.flow)
        if probe.ok:
            self.answers += 1
            self.slowest = max(self.slowest, time.monotonic() - probe.begun)
            self.longest_wait = max(self.longest_wait, self.loop.waited - probe.waited_before)

    def run(self) -> dict:
        start, waiting = time.monotonic(), list(reversed(self.probes))
        while waiting or self.open or self.later:
            self._begin(waiting)
            if not self.loop.turn(0.0 if waiting and len(self.open) < AT_ONCE else TURN):
                self._give_up()  # nothing is there to be read: whoever has been answered is no longer open
        return {"results": [[probe.ok, probe.note] for probe in self.probes], "seconds": time.monotonic() - start, "slowest": self.slowest}

    def _begin(self, waiting: list) -> None:
        """Some more, with a look at the answers in between."""
        for _ in range(64):
            if not waiting or len(self.open) >= AT_ONCE:
                break
            probe = waiting.pop()
            if probe.own_port and probe.flow in self.flows:
                self.later.append(probe)
                continue
            self.flows.add(probe.flow)
            place = self.places[probe.place]
            setns(place.fd, CLONE_NEWNET)
            self.open.add(probe)
            probe.waited_before = probe.waited_at_last = self.loop.waited
            probe.begin(place)
        free = [probe for probe in self.later if probe.flow not in self.flows]
        self.later = [probe for probe in self.later if probe.flow in self.flows]
        waiting += free

    def _give_up(self) -> None:
        least = self.patience / 2 if self.answers >= ENOUGH else self.patience
        patience, now = max(least, min(MOST_PATIENCE, 12 * self.longest_wait)), self.loop.waited
        for probe in list(self.open):
            if now - probe.waited_before > patience:
                probe.end(False, "no answer")
            elif now - probe.waited_at_last > AGAIN:
                probe.waited_at_last = now
                probe.again()


class Prober:
    def __init__(self):
        self.loop, self.places = Loop(), {}
        self.arrivals = {}  # of raw packets: token → whom to tell
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def batch(self, words: dict) -> dict:
        self._places(words["places"])
        try:
            self._listen(words["listen"])
            batch = Batch(self.loop, self.places, words)
            self._doors(batch)
            return batch.run()
        finally:
            setns(self.home, CLONE_NEWNET)

    def _places(self, wanted: dict) -> None:
        for name in [name for name, place in self.places.items() if wanted.get(name) != place.path or os.stat(place.path).st_ino != place.inode]:
            self.places.pop(name).close()
        for name, path in wanted.items():
            if name not in self.places:
                self.places[name] = Place(path)

    def _listen(self, wanted: list) -> None:
        keys = {(place, ip, protocol, port) for place, ip, protocol, port in wanted}
        for name, place in self.places.items():
            for key in [key for key in place.listeners if (name, *key) not in keys]:
                place.listeners.pop(key).close()
        for name, *key in sorted(keys, key=repr):
            place, (ip, protocol, port) = self.places[name], key
            if tuple(key) in place.listeners:
                continue
            setns(place.fd, CLONE_NEWNET)
            try:
                if protocol in ("TCP", "UDP"):
                    made = {"TCP": TcpListener, "UDP": UdpListener}[protocol](self.loop, ip, port)
                else:
                    made = DoorListener(self._door(place, ip, protocol), ip, port)
            except OSError as error:
                raise OSError(error.errno, f"{name}: {protocol} {ip} port {port}: {error.strerror}") from None
            place.listeners[tuple(key)] = made
        for place in self.places.values():
            place.taken = {kind: {port for _, protocol, port in place.listeners if protocol == kind} for _, kind, _ in place.listeners}

    def _door(self, place: Place, ip: str, protocol):
        """In the place's namespace."""
        key = family_of(ip), protocol
        if key not in place.doors:
            place.doors[key] = SctpDoor(self.loop, key[0]) if protocol == "SCTP" else RawDoor(self.loop, key[0], protocol, self.arrivals)
        return place.doors[key]

    def _doors(self, batch: Batch) -> None:
        for probe in batch.probes:
            if probe.protocol not in ("TCP", "UDP"):
                setns(self.places[probe.place].fd, CLONE_NEWNET)
                self._door(self.places[probe.place], probe.target, probe.protocol)


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    prober = Prober()
    for line in sys.stdin:
        try:
            answer = prober.batch(json.loads(line))
        except OSError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
