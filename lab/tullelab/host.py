# SPDX-License-Identifier: Apache-2.0
"""A machine of the lab: its namespaces, and ways to run and read things inside.  Nodes, etcd members and the outside are hosts."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from . import address, proc, wait
from .errors import LabError
from .interrupt import held_off
from .kernel import in_netns, netns_create
from .underlay import QUIET

INIT = Path(__file__).with_name("init.py")


class Daemon:
    """A program started to stay; it ends with its host at the latest."""

    def __init__(self, host, who, name: str, log: Path):
        self.host, self.who, self.name, self.log_path = host, who, name, log

    @property
    def pid(self) -> int:
        """Its number as the machine sees it (for /proc)."""
        return self.who["pid"]

    @property
    def running(self) -> bool:
        return proc.alive(self.who)

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def signal(self, number: int) -> bool:
        return proc.send(self.who, number)

    def stop(self, number: int = 15, timeout: float = 10) -> None:
        self.signal(number)
        wait.until(lambda: not self.running, f"{self.host.name}: {self.name} ends on signal {number}", timeout,
                   detail=lambda: wait.tail(self.log_path))


class Host:
    cgroup = None  # cgroup.Group: the host has control groups of its own
    sysctl = {}  # beyond any host's
    image = {}  # what its file systems have beyond any host's; see init.py

    def __init__(self, lab, name: str, port: address.Port):
        self.lab, self.name, self.port = lab, name, port
        self.netns = f"tl-{lab.name}-{name}"
        self.netns_path = f"/run/netns/{self.netns}"
        self.init = None  # identity of its process 1
        self._outer = None  # Popen of unshare, when this process started it

    @property
    def cables(self) -> dict:
        """The cable's name on the underlay's side → (namespace, interface, Port)."""
        return {self.name: (self.netns, "eth0", self.port)}

    # --- life ---

    def begin(self, binds=(), files=None) -> None:
        """Start process 1 in new namespaces; it waits for its line until the pid stands in the state."""
        with held_off():  # or a namespace appears after its removal, a process before its record
            netns_create(self.netns_path)
            self._launch()
        conf = {"hostname": self.name, "binds": list(binds), "sysctl": dict(QUIET, **self.sysctl),
                "files": dict({"/etc/hostname": self.name + "\n", "/etc/resolv.conf": ""}, **(files or {})),
                "disk": None, "overlays": [], "empty": [], "masks": {}, "shared": False,
                "cgroup": self.cgroup.create() if self.cgroup else None, **self.image}
        self._outer.stdin.write(json.dumps(conf) + "\n")
        self._outer.stdin.close()

    def _launch(self) -> None:
        argv = ["nsenter", f"--net={self.netns_path}", "unshare", "-m", "-u", "-i", "-p", "-C", "--fork", "--kill-child",
                "--", proc.PYTHON, "-I", "-S", "-B", str(INIT)]
        with open(self.lab.log_path(f"{self.name}-init"), "w") as log:
            self._outer = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                           start_new_session=True, env=proc.environment())
        self.lab.remember_process(self._outer.pid, self.name)

    def ready(self) -> None:
        """Wait for process 1 to have made the file systems."""
        line = self._outer.stdout.readline()
        self._outer.stdout.close()
        if not line:
            self._outer.wait(5)
            raise LabError(f"{self.name}: its process 1 failed\n{wait.tail(self.lab.log_path(self.name + '-init'))}")
        self.init = proc.identity(json.loads(line)["pid"])
        with self.lab.state.change() as data:
            data["hosts"][self.name] = {"netns": self.netns, "init": self.init,
                                        "addresses": [str(a.ip) for a in self.port.addresses]}

    def reap(self) -> None:
        if self._outer:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._outer.wait(5)

    # --- what it is ---

    @property
    def ips(self) -> list:
        return [str(a.ip) for a in self.port.addresses]

    @property
    def ip(self) -> str:
        return self.ips[0]

    def ip_of(self, family: int) -> str:
        """Its underlay address of family 4 or 6."""
        return next(str(a.ip) for a in self.port.addresses if a.version == family)

    @property
    def root(self) -> Path:
        """Its root directory as the machine sees it.  Mind absolute symbolic links: they lead out."""
        return Path(f"/proc/{self.init['pid']}/root")

    # --- running things ---

    def enter(self, netns=None) -> list:
        """The command line that leads inside.  netns: path of another network namespace (a pod's)."""
        if not proc.alive(self.init):
            raise LabError(f"{self.name} is not running")
        pid = self.init["pid"]
        net = f"--net={netns}" if netns else f"--net=/proc/{pid}/ns/net"
        return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-p", "-C", net, "--"]

    def run(self, argv, check=True, timeout=30, netns=None, env=None, where=None, **options):
        """Run a command to its end; returns subprocess.CompletedProcess with text."""
        # pdeathsig: when the deadline kills nsenter, the program behind it goes too
        line = self.enter(netns) + ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)]
        return proc.run(line, where or self.name, check, timeout, env=proc.environment(env, self.lab.build), **options)

    def spawn(self, argv, netns=None, env=None, where=None) -> proc.Background:
        """Start a command in the background and collect its lines; ends with the lab at the latest."""
        line = self.enter(netns) + ["setpriv", "--pdeathsig", "KILL", "--", *map(str, argv)]
        background = proc.Background(line, f"{where or self.name}: {argv[0]}", proc.environment(env, self.lab.build),
                                     inner=_child)
        self.lab.backgrounds.append(background)
        return background

    def daemon(self, argv, name: str, netns=None, env=None, log=None) -> Daemon:
        """Start a program that outlives this process; its parent is the host's process 1."""
        log = Path(log or self.lab.log_path(f"{self.name}-{name}"))
        script = (self.cgroup.JOIN if self.cgroup else "") + 'setsid "$@" </dev/null >&2 & echo $!'
        with open(log, "a") as stderr:
            done = proc.run(self.enter(netns) + ["/bin/sh", "-c", script, "sh", *map(str, argv)], self.name,
                            stderr=stderr, env=proc.environment(env, self.lab.build))
        who = self._find(int(done.stdout))
        if who is None:
            raise LabError(f"{self.name}: {argv[0]} ended at once\n{wait.tail(log)}")
        with self.lab.state.change() as data:
            data["hosts"][self.name].setdefault("daemons", {})[name] = {"who": who, "log": str(log)}
        return Daemon(self, who, name, log)

    def daemon_named(self, name: str) -> Daemon:
        """The newest daemon of that name, whichever process started it."""
        record = self.lab.state.read()["hosts"].get(self.name, {}).get("daemons", {}).get(name)
        return Daemon(self, record["who"] if record else None, name, Path(record["log"]) if record else self.lab.log_path(f"{self.name}-{name}"))

    def processes(self) -> list:
        """Pids, as the machine sees them, of everything that runs on this host."""
        path = f"/proc/{self.init['pid']}/ns/pid"
        return [pid for pid in proc.pids() if proc.same_namespace(pid, "pid", path)]

    def _find(self, inside: int):
        """Identity of the process that the host knows under that number."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                if int(numbers[-1]) == inside:
                    return proc.identity(pid)
        return None

    # --- files ---

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Atomically, by rename in the same directory."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f".{target.name}.new")
        new.write_text(text)
        os.chmod(new, mode)
        os.rename(new, target)

    def exists(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    # --- sockets and HTTP ---

    def connect(self, where, port: int, timeout: float = 3, kind=socket.SOCK_STREAM, netns=None, source=None):
        """A connected socket made on this host and used from here."""
        def open_socket():
            family = socket.AF_INET6 if ":" in str(where) else socket.AF_INET
            made = socket.socket(family, kind)
            try:
                made.settimeout(timeout)
                if source:
                    made.bind((str(source), 0))
                made.connect((str(where), port))
                if kind == socket.SOCK_STREAM:  # a request in two writes would wait for the other side's delayed ACK
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BaseException:
                made.close()
                raise
            return made
        return in_netns(netns or self.netns_path, open_socket)

    def http(self, url: str, timeout: float = 3, netns=None, tls: ssl.SSLContext = None):
        """GET a URL (literal address) from this host: (status, text)."""
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
        connection.sock = self.connect(parts.hostname, port, timeout, netns=netns)
        with contextlib.closing(connection):
            if parts.scheme == "https":
                connection.sock = tls.wrap_socket(connection.sock, server_hostname=parts.hostname)
            try:
                connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
                answer = connection.getresponse()
                return answer.status, answer.read().decode(errors="replace")
            except http.client.HTTPException as error:
                raise LabError(f"{url}: {type(error).__name__}: {error}") from None


def _child(parent: int):
    """The program that a forking nsenter waits for."""
    for pid in proc.pids():
        with contextlib.suppress(OSError, IndexError):
            if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == parent:
                return proc.identity(pid)
    return None
