# SPDX-License-Identifier: Apache-2.0
"""The lab's memory: /run/tulle-lab/NAME/state.json, written before each resource is made.

Only what stands here is ever removed, and processes are named by pid and start time.  Several tulle-lab commands may
work on one lab at once: every change is made under flock on the file `lock`, on the newest content, by atomic rename."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

from . import proc
from .errors import LabError

ROOT = Path(os.environ.get("TULLE_LAB_DIR", "/run/tulle-lab"))
NAME = re.compile(r"[a-z][a-z0-9]{0,19}\Z")


class State:
    def __init__(self, name: str):
        self.name = name
        self.dir = ROOT / name
        self._threads = threading.RLock()

    @classmethod
    def create(cls, name: str, options: dict, held: bool) -> "State":
        """Claim the name.  held: the lab belongs to this process (a test, the demo) and ends with it."""
        if not NAME.match(name):
            raise LabError(f"lab name {name!r}: expected a lower-case letter, then at most 19 letters and digits")
        state = cls(name)
        while True:
            ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                state.dir.mkdir(mode=0o755)
                break
            except FileNotFoundError:
                continue  # the last other lab's end took the empty directory away in between
            except FileExistsError:
                raise LabError(f"lab {name} exists already (tulle-lab status --lab {name}, tulle-lab down --lab {name})") from None
        state._write({"version": 1, "name": name, "created": time.time(), "owner": proc.identity(os.getpid()),
                      "held": held, "ready": False, "options": options, "netns": [], "processes": [], "hosts": {},
                      "pods": {}})
        return state

    @classmethod
    def open(cls, name: str) -> "State":
        state = cls(name)
        if not state.dir.is_dir():
            known = ", ".join(names()) or "none"
            raise LabError(f"no lab named {name} (running: {known})")
        return state

    def read(self) -> dict:
        """The current content; that of a lab that died before its first line is empty."""
        try:
            return json.loads((self.dir / "state.json").read_text())
        except FileNotFoundError:
            return {"version": 1, "name": self.name, "created": 0, "owner": None, "held": False, "ready": False,
                    "options": {}, "netns": [], "processes": [], "hosts": {}, "pods": {}}

    @contextlib.contextmanager
    def change(self):
        """with state.change() as data: … — read, change, write under the lock."""
        with self._threads, open(self.dir / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            data = self.read()
            yield data
            self._write(data)

    def _write(self, data: dict) -> None:
        new = self.dir / "state.json.new"
        new.write_text(json.dumps(data, indent=1))
        os.rename(new, self.dir / "state.json")

    def remove(self) -> None:
        """Forget the lab, all at once: a thread of its creator that is still at work finds nothing to write into."""
        hidden = ROOT / f".{self.name}-{os.getpid()}-{time.monotonic_ns()}"
        with contextlib.suppress(FileNotFoundError), self._threads, open(self.dir / "lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(self.dir, hidden)
        shutil.rmtree(hidden, ignore_errors=True)
        with contextlib.suppress(OSError):
            ROOT.rmdir()


def names() -> list:
    try:
        return sorted(entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def busy(data: dict) -> bool:
    """The lab belongs to a process that still lives (a test, a demo, an `up` in progress)."""
    return (data["held"] or not data["ready"]) and proc.alive(data["owner"])


def broken(data: dict) -> bool:
    """Its creator died before it was finished, or died while it held the lab."""
    return (data["held"] or not data["ready"]) and not proc.alive(data["owner"])


def choose(name=None) -> State:
    """The named lab, or the only running one."""
    if name:
        return State.open(name)
    everything = names()
    free = [n for n in everything if not busy(State(n).read())] or everything
    if not free:
        raise LabError("no lab is running (tulle-lab up --help)")
    if len(free) > 1:
        raise LabError(f"several labs are running ({', '.join(free)}): say which with --lab NAME")
    return State.open(free[0])
