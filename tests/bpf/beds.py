# SPDX-License-Identifier: Apache-2.0
"""Nodes on a bridge, a pod each, in namespaces that die with the test; and ends of traffic between them."""
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PEER = [sys.executable, str(HERE / "peer.py")]
SLOW = int(os.environ.get("TULLE_SLOW", "1"))
DEADLINE = 60 * SLOW
KERNEL = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def tool(name):
    return os.environ.get(name.upper(), str(HERE.parents[1] / "build/tests/bpf" / name))


class Space:
    """A network and mount namespace, held by a process that dies with us."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "-n", "sh", "-c",
             "mount -t bpf bpf /sys/fs/bpf && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "up\n"
        self("ip link set lo up")

    def argv(self, command):
        words = command.split() if isinstance(command, str) else [str(w) for w in command]
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", "--"] + words

    def __call__(self, command, check=True, env=None):
        done = subprocess.run(self.argv(command), capture_output=True, text=True, timeout=DEADLINE,
                              env={**os.environ, **(env or {})})
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command):
        process = subprocess.Popen(self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        return process

    def close(self):
        self.holder.kill()
        self.holder.wait()


def plug(a, a_name, b, b_name):
    a(f"ip link add name {a_name} type veth peer name {b_name} netns {b.holder.pid}")
    a(f"ip link set {a_name} up")
    b(f"ip link set {b_name} up")


def make_wire():
    wire = Space()
    wire("ip link add br0 type bridge mcast_snooping 0")
    wire("ip link set br0 up")
    return wire


class Node(Space):
    def __init__(self, number, wire, mtu):
        super().__init__()
        self.number = number
        self.outer, self.outer6 = f"192.0.2.{number}", f"2001:db8::{number}"
        self.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        plug(wire, f"port{number}", self, "up0")
        wire(f"ip link set port{number} master br0")
        self.add("up0", f"{self.outer}/24", f"{self.outer6}/64")
        self.pod = Space()
        plug(self, "pod0", self.pod, "eth0")
        self.add("pod0", f"10.42.{number}.1/24", f"fd00:42:0:{number}::1/64")
        self.pod_addr = {4: f"10.42.{number}.2", 6: f"fd00:42:0:{number}::2"}
        Node.add(self.pod, "eth0", f"{self.pod_addr[4]}/24", f"{self.pod_addr[6]}/64")
        self.pod(f"ip link set eth0 mtu {mtu}")
        self.pod(f"ip route add default via 10.42.{number}.1")
        self.pod(f"ip -6 route add default via fd00:42:0:{number}::1")

    def sysctl(self, *values):
        self(["sysctl", "-qw", *values])

    def add(self, device, *addresses):
        for address in addresses:
            self(f"ip addr add {address} dev {device}" + (" nodad" if ":" in address else ""))

    def close(self):
        self.pod.close()
        super().close()


def reached(space, addr, *options):
    """Waits until a ping is answered (neighbours resolved)."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if " 0% packet loss" in space(["ping", "-c", 1, "-W", 1, *options, addr], check=False):
            return True
    return False


def stream(source, dst, addr, size=30_000_000 // SLOW, bind=None):
    sink = dst.start([*PEER, "tcp-sink", addr, 7000, size])
    sent = source([*PEER, "tcp-send", addr, 7000, size, *([bind] if bind else [])])
    got, _ = sink.communicate(timeout=DEADLINE)
    assert got == sent


def datagrams(source, dst, addr, count, size, segment=None):
    want = count * (size // segment if segment else 1)
    counter = dst.start([*PEER, "udp-count", addr, 7001, want])
    source([*PEER, "udp-send", addr, 7001, count, size, *([segment] if segment else [])])
    got, _ = counter.communicate(timeout=DEADLINE)
    assert got.split() == [str(want), str(segment or size)]
