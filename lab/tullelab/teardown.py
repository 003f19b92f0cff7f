# SPDX-License-Identifier: Apache-2.0
"""Taking a lab down from its state alone, whatever part of it was made, and whoever made it."""

import contextlib
import os
import shutil
import signal

from . import cgroup, proc, wait
from .interrupt import held_off
from .kernel import netns_remove
from .state import State


def remove(state: State, reap=()) -> list:
    """Kill the hosts' first processes (and with them everything inside), remove the namespaces, forget the lab.

    Returns what was removed, in words.  Ctrl-C waits until it is done.  reap: callbacks that collect our own children."""
    with held_off(replay=False):
        data = state.read()
        hosts = [host["init"] for host in data["hosts"].values() if host.get("init")]
        processes = hosts + [{"pid": p["pid"], "start": p["start"]} for p in data["processes"]]
        living = [who for who in processes if proc.alive(who)]
        for who in living:
            proc.send(who, signal.SIGKILL)
        for collect in reap:
            collect()
        wait.until(lambda: not any(proc.alive(who) for who in living), f"lab {state.name}: its processes end", 15)
        removed = [f"{len(living)} processes"] if living else []
        for name in data["netns"]:
            path = f"/run/netns/{name}"
            if os.path.lexists(path):
                netns_remove(path)
                removed.append(name)
        if data.get("cgroups") and cgroup.remove(state.name):
            removed.append("control groups")
        if data.get("disk") and os.path.isdir(data["disk"]):
            shutil.rmtree(data["disk"])
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(data["disk"]))  # goes with the last lab
            removed.append(data["disk"])
        # /run/netns stays, even empty: to remove it would unmount what other mount namespaces have mounted on it.
        state.remove()
        return removed

