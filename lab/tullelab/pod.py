# SPDX-License-Identifier: Apache-2.0
"""A pod: a network namespace made on a node, attached by the node's CNI conflist, with processes in it."""

import hashlib
import json
import os
import re
import socket
import time
import uuid
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from . import cni, proc, wait
from .errors import LabError

NAME = re.compile(r"([a-z0-9][a-z0-9.-]{0,62}/)?[a-z0-9][a-z0-9.-]{0,62}\Z")
ECHO = Path(__file__).with_name("echo.py")


@dataclass(frozen=True)
class Answer:
    """What an echo server said: who it is, whom it saw."""

    server: str
    client: str
    length: int


class Pod:
    def __init__(self, node, name: str, record: dict):
        self.node, self.name, self.record = node, name, record

    @classmethod
    def add(cls, node, name: str, ips=(), mac=None, ports=(), bandwidth=None, args="", labels=None, uid=None) -> "Pod":
        """As a runtime does: namespace, loopback up, CNI ADD.  ports: dicts of hostPort, containerPort, protocol."""
        if not NAME.match(name):
            raise LabError(f"pod name {name!r}: expected lower-case letters, digits, '-' and '.', or NAMESPACE/NAME of such")
        namespace, _, short = name.rpartition("/")
        capabilities = {"portMappings": list(ports)} if ports else {}
        if ips:
            capabilities["ips"] = list(ips)
        if mac:
            capabilities["mac"] = mac
        if bandwidth:
            capabilities["bandwidth"] = bandwidth
        container_id = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
        base = (f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace or 'default'};K8S_POD_NAME={short};"
                f"K8S_POD_INFRA_CONTAINER_ID={container_id};K8S_POD_UID={uid or uuid.uuid4()}")
        record = {"node": node.name, "netns": name.replace("/", "_"), "container_id": container_id, "ifname": "eth0",
                  "args": base + (";" + args if args else ""), "capabilities": capabilities, "labels": labels or {},
                  "state": "adding", "result": None, "created": time.time()}
        with node.lab.state.change() as data:
            if name in data["pods"]:
                raise LabError(f"pod {name} exists already on {data['pods'][name]['node']}")
            data["pods"][name] = record
        pod = cls(node, name, record)
        try:
            quoted = record["netns"]  # the name's alphabet needs no quoting
            node.run(["sh", "-c", f"ip netns add {quoted} && ip -n {quoted} link set lo up"])
            record["result"] = node.runtime.add(pod.attachment)
        except BaseException:
            pod._forget()
            raise
        record["state"] = "ready"
        pod._save()
        return pod

    def delete(self) -> None:
        """Stop its processes, CNI DEL, remove the namespace.  On a failing DEL the pod stays listed, to be deleted again."""
        self.kill()
        self.node.runtime.delete(self.attachment)
        self._forget()

    def check(self) -> None:
        self.node.runtime.check(self.attachment)

    def kill(self) -> None:
        """End every process in the pod."""
        who = [proc.identity(pid) for pid in self.node.processes() if proc.same_namespace(pid, "net", self.netns_path)]
        for one in who:
            proc.send(one, 9)
        wait.until(lambda: not any(proc.alive(one) for one in who), f"{self.name}: its processes end")

    def _forget(self) -> None:
        self.node.run(["ip", "netns", "delete", self.record["netns"]], check=False)
        with self.node.lab.state.change() as data:
            data["pods"].pop(self.name, None)

    def _save(self) -> None:
        with self.node.lab.state.change() as data:
            data["pods"][self.name] = self.record

    # --- what it is ---

    @property
    def attachment(self) -> cni.Attachment:
        r = self.record
        return cni.Attachment(r["container_id"], f"/var/run/netns/{r['netns']}", r["ifname"], r["args"], r["capabilities"])

    @property
    def netns_path(self) -> str:
        """Its namespace as the machine can open it."""
        return str(self.node.root / "run/netns" / self.record["netns"])

    @property
    def result(self) -> dict:
        """The CNI result."""
        return self.record["result"]

    @property
    def ips(self) -> list:
        """Its addresses without prefix length, in the plugin's order."""
        return [str(ip_interface(entry["address"]).ip) for entry in self.result.get("ips", [])]

    @property
    def ip(self) -> str:
        return self.ips[0]

    def ip_of(self, family: int) -> str:
        """Its address of family 4 or 6."""
        found = [ip for ip in self.ips if (":" in ip) == (family == 6)]
        if not found:
            raise LabError(f"pod {self.name} has no IPv{family} address, only {', '.join(self.ips)}")
        return found[0]

    @property
    def mtu(self) -> int:
        """Of its interface; /sys would show the node's."""
        return json.loads(self.run(["ip", "-j", "link", "show", self.record["ifname"]]).stdout)[0]["mtu"]

    # --- running things ---

    def run(self, argv, **options):
        return self.node.run(argv, netns=self.netns_path, where=self.name, **options)

    def spawn(self, argv, **options) -> proc.Background:
        return self.node.spawn(argv, netns=self.netns_path, where=self.name, **options)

    def daemon(self, argv, name=None, **options):
        name = name or f"{self.record['netns']}-{os.path.basename(str(argv[0]))}"
        return self.node.daemon(argv, name, netns=self.netns_path, **options)

    # --- talking ---

    def serve(self, port: int = 8080):
        """Start an echo server (TCP as HTTP, and UDP) on every address of the pod."""
        return serve(self, self.name, port)

    def http(self, url: str, timeout: float = 3):
        return self.node.http(url, timeout, netns=self.netns_path)

    def connect(self, where, port: int, **options):
        return self.node.connect(where, port, netns=self.netns_path, **options)

    def ask(self, where, port: int = 8080, protocol: str = "tcp", timeout: float = 2, size: int = 0) -> Answer:
        """Ask an echo server; OSError if it cannot be reached."""
        return ask(self, where, port, protocol, timeout, size)

    def ping(self, where, size=None, count: int = 1, dont_fragment: bool = False, check=True, timeout: float = 2):
        """size: bytes of the whole IP packet."""
        return ping(self, where, size, count, dont_fragment, check, timeout)


def serve(place, name: str, port: int):
    """An echo server on a pod or a host; returns once it listens."""
    daemon = place.daemon([proc.PYTHON, "-I", "-S", "-B", str(ECHO), name, str(port)], f"{name.replace('/', '_')}-echo-{port}")

    def listening():
        if not daemon.running:
            raise wait.GiveUp("it ended")
        return "listening" in daemon.log
    wait.until(listening, f"{name}: echo server on port {port}", detail=lambda: wait.tail(daemon.log_path))
    return daemon


def ask(place, where, port: int, protocol: str, timeout: float, size: int) -> Answer:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with place.connect(where, port, timeout=timeout, kind=kind) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\nPadding: ".ljust(size - 4, b".") + b"\r\n\r\n")
        data = connection.recv(65536)
        while protocol == "tcp":
            more = connection.recv(65536)
            if not more:
                break
            data += more
    fields = dict(word.split("=", 1) for word in data.decode(errors="replace").split() if "=" in word)
    if "client" not in fields:
        raise LabError(f"{where} port {port}: not an echo server's answer: {data[:200]!r}")
    return Answer(fields["server"], fields["client"], len(data))


def ping(place, where, size, count, dont_fragment, check, timeout):
    where = str(where)
    argv = ["ping", "-n", "-q", "-c", str(count), "-i", "0.05", "-W", str(timeout)]
    if size:
        argv += ["-s", str(size - (48 if ":" in where else 28))]
    if dont_fragment:
        argv += ["-M", "do"]
    return place.run(argv + [where], check=check)
