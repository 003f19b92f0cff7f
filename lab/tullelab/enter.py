# SPDX-License-Identifier: Apache-2.0
"""`tulle-lab exec`: a command inside, on the caller's own terminal.

Unlike nsenter, which Ctrl-C would end under the feet of an interactive shell, this process ignores the terminal's signals while it
waits, so that they act on the command alone."""

import os
import signal

from . import kernel, proc

KINDS = (("cgroup", kernel.CLONE_NEWCGROUP), ("ipc", kernel.CLONE_NEWIPC), ("uts", kernel.CLONE_NEWUTS),
         ("pid", kernel.CLONE_NEWPID), ("mnt", kernel.CLONE_NEWNS))


def execute(host, argv, netns=None) -> int:
    """Run argv on the host (in the pod whose namespace netns is); returns its exit status, 128 + N if signal N ended it."""
    pid = host.init["pid"]
    opened = [(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), flag) for kind, flag in KINDS]
    network = os.open(netns or host.netns_path, os.O_RDONLY)
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)}
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent()
            for number in old:
                signal.signal(number, signal.SIG_DFL)
            kernel.setns(network, kernel.CLONE_NEWNET)
            for fd, flag in opened:
                kernel.setns(fd, flag)
            os._exit(_inside(list(argv), proc.environment(None, host.lab.build)))
        except OSError as error:
            os.write(2, f"tulle-lab: {host.name}: {error}\n".encode())
        os._exit(126)
    try:
        return _status(os.waitpid(child, 0)[1])
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        for fd in [network, *(fd for fd, _ in opened)]:
            os.close(fd)


def _inside(argv, env) -> int:
    """One more fork, for a PID namespace holds only the children of who entered it."""
    child = os.fork()
    if child == 0:
        try:
            kernel.die_with_parent()
            os.chdir("/")
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(2, f"tulle-lab: {argv[0]}: {error.strerror}\n".encode())
        os._exit(127)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    return _status(os.waitpid(child, 0)[1])


def _status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
