# SPDX-License-Identifier: Apache-2.0
"""Control groups of a host's own: tulle-lab/LAB/HOST in every hierarchy of the machine, which is the root that the host sees.

They are the one thing that a host does not take along when its process 1 is killed: removed by name, from the lab's state."""

import contextlib
import os
from pathlib import Path

from . import wait

ROOT = Path("/sys/fs/cgroup")
TOP = "tulle-lab"


def hierarchies() -> list:
    """(mount point, file system, mount options) of each, whether version 1, hybrid, or version 2 alone."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, target, kind, options = line.split()[:4]
        if kind in ("cgroup", "cgroup2") and Path(target).is_relative_to(ROOT):
            found.append((target, kind, _version1_options(options.split(",")) if kind == "cgroup" else ""))
    return sorted(set(found))


def _version1_options(shown: list) -> str:
    """What says which hierarchy it is: its controllers, or its name."""
    name = [word for word in shown if word.startswith("name=")]
    return ",".join(["none", *name] if name else [w for w in shown if w not in ("rw", "ro", "nosuid", "nodev", "noexec", "relatime", "xattr")])


class Group:
    # Of a process of the host that is about to start a program: nsenter enters namespaces, not groups.
    JOIN = 'for g in /sys/fs/cgroup/host /sys/fs/cgroup/*/host; do [ ! -e "$g" ] || echo 0 >"$g/cgroup.procs"; done\n'

    def __init__(self, lab: str, host: str):
        self.path = f"{TOP}/{lab}/{host}"

    def create(self) -> dict:
        """Make them (again); returns what init.py needs to know."""
        mounts, groups = hierarchies(), []
        for target, kind, _ in mounts:
            directory = Path(target)
            for name in Path(self.path).parts:
                if kind == "cgroup2":
                    _delegate(directory)
                directory /= name
                directory.mkdir(exist_ok=True)
                _cpuset(directory)
            (directory / "host").mkdir(exist_ok=True)
            _cpuset(directory / "host")
            groups.append(str(directory))
        return {"mounts": mounts, "groups": groups}

    def remove(self) -> None:
        """After the host's end."""
        _remove_all(self.path)


def remove(lab: str) -> bool:
    """All of a lab's; whether there were any."""
    there = _remove_all(f"{TOP}/{lab}")
    for target, _, _ in hierarchies():
        with contextlib.suppress(OSError):
            Path(target, TOP).rmdir()  # goes with the last lab
    return there


def leftovers(lab: str) -> list:
    return [str(path) for target, _, _ in hierarchies() if (path := Path(target, TOP, lab)).exists()]


def _delegate(directory: Path) -> None:
    """Version 2: children get what the parent has."""
    for controller in (directory / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (directory / "cgroup.subtree_control").write_text(f"+{controller}")


def _cpuset(directory: Path) -> None:
    """Version 1: a new group has no processors, and so can hold no process."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        with contextlib.suppress(FileNotFoundError):
            if not (directory / name).read_text().strip():
                (directory / name).write_text((directory.parent / name).read_text())


def _remove_all(path: str) -> bool:
    """Innermost first; the kernel needs a moment after the last process."""
    tops = [Path(target, path) for target, _, _ in hierarchies()]
    there = any(top.exists() for top in tops)

    def gone() -> bool:
        for top in tops:
            for directory, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
        return not any(top.exists() for top in tops)
    wait.until(gone, f"control groups {path} are removed", 20)
    return there
