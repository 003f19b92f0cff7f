# SPDX-License-Identifier: Apache-2.0
"""Control groups of the containers: the one thing that a node of the lab shares with the machine, so that it must be removed by name."""

import contextlib
import os
import re
from pathlib import Path

from tullelab import proc, until

ROOT = Path("/sys/fs/cgroup")
NAME = re.compile(r"tulle-runtime-(\d+)-(\d+)(-.*)?\Z")


def parent(host: str) -> str:
    """The name of a parent group for one host of this test run."""
    who = proc.identity(os.getpid())
    return f"/tulle-runtime-{who['pid']}-{who['start']}-{host}"


def leftovers(of) -> list:
    """The parent groups, in every hierarchy, of the test runs for whose identity of() is true."""
    found = []
    for directory, names, _ in os.walk(ROOT):
        for name in list(names):
            match = NAME.match(name)
            if match:
                names.remove(name)  # what is inside belongs to it
                if of({"pid": int(match[1]), "start": int(match[2])}):
                    found.append(Path(directory) / name)
    return found


def remove() -> None:
    """Remove our own, innermost first.  The kernel needs a moment after the last process."""
    me = proc.identity(os.getpid())

    def gone():
        for group in leftovers(lambda who: who == me):
            _remove(group)
        return not leftovers(lambda who: who == me)
    until(gone, "the containers' control groups are removed", 10)


def sweep() -> None:
    """Remove what killed test runs left, unless their processes still live (`tulle-lab down --all` ends those)."""
    for group in leftovers(lambda who: not proc.alive(who)):
        with contextlib.suppress(OSError):
            _remove(group)


def _remove(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        os.rmdir(directory)
