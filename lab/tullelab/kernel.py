# SPDX-License-Identifier: Apache-2.0
"""The few system calls that Python 3.11 does not offer: setns, unshare, mount, umount2.  Linux only, root only."""

import ctypes
import os
import threading

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _bytes(text):
    return None if text is None else os.fsencode(text)


def setns(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), "setns")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def mount(source, target: str, kind=None, flags: int = 0, data: str = "") -> None:
    _check(_libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data or None)),
           f"mount {kind or 'bind'} on {target}")


def umount(target: str, flags: int = MNT_DETACH) -> None:
    _check(_libc.umount2(_bytes(target), flags), f"umount {target}")


def sethostname(name: str) -> None:
    _check(_libc.sethostname(_bytes(name), len(_bytes(name))), "sethostname")


def die_with_parent(number: int = 9) -> None:
    """Ask for that signal when the parent (thread) ends."""
    _check(_libc.prctl(1, ctypes.c_ulong(number), 0, 0, 0), "prctl")  # PR_SET_PDEATHSIG


def in_thread(function):
    """Run function in a thread of its own and hand over its value or exception: namespaces belong to threads."""
    outcome = {}

    def body():
        try:
            outcome["value"] = function()
        except BaseException as error:  # handed over to the caller below
            outcome["error"] = error

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]


def in_netns(path: str, function):
    """Call function inside the network namespace at path.  Sockets opened there stay in that namespace."""

    def body():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, CLONE_NEWNET)
        finally:
            os.close(fd)
        return function()

    return in_thread(body)


def netns_create(path: str) -> None:
    """Make a network namespace and keep it by a bind mount at path, as `ip netns add` does."""

    def body():
        unshare(CLONE_NEWNET)
        mount("/proc/thread-self/ns/net", path, None, MS_BIND)

    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        in_thread(body)
    except BaseException:
        os.unlink(path)
        raise


def netns_remove(path: str) -> None:
    """Undo netns_create, whatever part of it happened."""
    try:
        umount(path)
    except OSError:
        pass  # not mounted, or not there: the file is what is left to remove
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
