# SPDX-License-Identifier: Apache-2.0
"""Processes: identity that survives pid reuse, commands with a deadline, background processes that always end."""

import concurrent.futures
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from . import wait
from .errors import CommandError, LabError

PYTHON = "/usr/bin/python3"


def identity(pid: int):
    """{"pid", "start"} of a living process, else None.  A zombie does not live, unless threads of it still do (and hold its sockets)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X") and len(os.listdir(f"/proc/{pid}/task")) <= 1:
            return None
    except OSError:
        return None
    return {"pid": pid, "start": int(fields[19])}


def alive(who) -> bool:
    return who is not None and identity(who["pid"]) == who


def send(who, number: int) -> bool:
    """Send a signal to exactly that process; False if it is gone."""
    if who is None:
        return False
    try:
        fd = os.pidfd_open(who["pid"])
    except OSError:
        return False
    try:
        if not alive(who):
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def same_namespace(pid: int, kind: str, path: str) -> bool:
    try:
        one, other = os.stat(f"/proc/{pid}/ns/{kind}"), os.stat(path)
    except OSError:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def environment(extra=None, build=None) -> dict:
    """A small, fixed environment, so that a lab behaves alike whoever starts it.  Sanitizer options pass."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
           "TERM": os.environ.get("TERM", "dumb")}
    if build:
        env["PATH"] = f"{build}:{env['PATH']}"
    env.update({k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    env.update(extra or {})
    return env


def run(argv, where="lab", check=True, timeout=30, **options) -> subprocess.CompletedProcess:
    """subprocess.run with text, captured output, a deadline and an error that tells the story."""
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    try:
        done = subprocess.run(argv, text=True, timeout=timeout, errors="replace", **options)
    except subprocess.TimeoutExpired as late:
        out, err = (x.decode(errors="replace") if isinstance(x, bytes) else x or "" for x in (late.stdout, late.stderr))
        raise CommandError(where, argv, f"no end within {timeout} s", out, err) from None
    except FileNotFoundError as error:
        raise LabError(f"{where}: {error.filename} is not installed") from None
    if check and done.returncode != 0:
        raise CommandError(where, argv, f"status {done.returncode}", done.stdout, done.stderr)
    return done


def together(*functions) -> list:
    """Call all of them at the same time, in threads; their results in order, or the first error once it is there."""
    pool = concurrent.futures.ThreadPoolExecutor(max(1, len(functions)))
    try:
        waiting = [pool.submit(function) for function in functions]
        concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_EXCEPTION)
        for one in waiting:
            if one.done():
                one.result()
        return [one.result() for one in waiting]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # what still runs ends with the lab


def allow_watchers(wanted: int = 1024) -> None:
    """A lab has many agents on one machine, and each watches some directories: more than most machines allow one user. The limit stays
    raised, and costs nothing where it is not used."""
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    try:
        if int(limit.read_text()) < wanted:
            limit.write_text(str(wanted))
    except OSError:
        pass  # not ours to change; the agents say so when it is too low


def need(*programs: str) -> None:
    """Every program is there, or an error that names the missing ones and their Debian packages."""
    packages = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux", "setpriv": "util-linux",
                "tcpdump": "tcpdump", "etcd": "etcd-server", "etcdctl": "etcd-client", "nginx": "nginx-light",
                "apache2": "apache2", "openssl": "openssl", "curl": "curl", "ping": "iputils-ping",
                "umoci": "umoci", "musl-gcc": "musl-tools", "busybox": "busybox-static", "bird": "bird2", "birdc": "bird2", "containerd": "containerd", "runc": "runc"}
    path = environment()["PATH"]
    missing = [name for name in programs if not shutil.which(name, path=path)]
    if missing:
        wanted = " ".join(sorted({packages.get(name, name) for name in missing}))
        raise LabError(f"not installed: {', '.join(missing)} (apt-get install {wanted})")


class Background:
    """A process in the background whose output is collected line by line.  stop() always ends it."""

    def __init__(self, argv, name: str, env=None, inner=None):
        """inner: finds the host pid of the program behind a forking nsenter; signals go to that one."""
        self.name, self._inner = name, inner
        self._lines, self._lock = [], threading.Lock()
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env,
                                         stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            with self._lock:
                self._lines.append(line.rstrip("\n"))

    @property
    def lines(self) -> list:
        with self._lock:
            return list(self._lines)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        who = self._inner(self._process.pid) if self._inner else None
        send(who or identity(self._process.pid), number)

    def wait(self, timeout: float = 30) -> int:
        """Wait for its own end; returns the exit status."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise wait.WaitTimeout(f"{self.name}: no end within {timeout:g} s\n{self.output[-2000:]}") from None
        self._reader.join(5)
        return status

    def wait_line(self, found, timeout: float = 5) -> str:
        """Wait for a line: found is a substring or a predicate."""
        test = found if callable(found) else lambda line: found in line

        def look():
            ended = not self.running
            if ended:
                self._reader.join(1)
            for line in self.lines:
                if test(line):
                    return line
            if ended:
                raise wait.GiveUp(f"it ended with status {self._process.returncode}")
            return None

        what = f"{self.name}: a line with {found!r}" if isinstance(found, str) else f"{self.name}: the line waited for"
        return wait.until(look, what, timeout, detail=lambda: self.output[-2000:])

    def stop(self, number: int = 15, timeout: float = 3) -> int:
        """End it (SIGKILL after the timeout) and collect what it wrote."""
        if self.running:
            self.signal(number)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self._process.kill()
                self._process.wait(5)
        self._reader.join(5)
        return self._process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
