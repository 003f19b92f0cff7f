# SPDX-License-Identifier: Apache-2.0
"""Process 1 of a host of the lab.  Run as a script inside fresh mount, UTS, IPC, PID and cgroup namespaces.

Reads one line of JSON from stdin: only then, once its pid stands in the state file, it begins (end of file: the creator died, so
end too).  Makes the host's own file systems, says {"pid": N} (as the machine sees it) on stdout, then reaps orphans for ever.
Whoever kills it kills everything on the host, and with the last process the mounts go."""

import contextlib
import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # not the package: its imports would cost megabytes a host
from kernel import MS_BIND, MS_PRIVATE, MS_REC, mount, sethostname, umount  # noqa: E402

SCRATCH = "/run/.lab"
OVERLAYS = ("/etc", "/var/lib", "/var/log")
EMPTY = ("/etc/cni", "/var/lib/cni", "/var/lib/tulle", "/var/lib/flannel")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def forget_other_namespaces() -> None:
    """Our copy of the mount table holds other labs' network namespaces: let go of them, or they outlive their labs."""
    with open("/proc/self/mountinfo") as table:
        held = [line.split()[4] for line in table if " - nsfs " in line]
    for path in held:
        with contextlib.suppress(OSError):  # its lab was faster: the file is gone, and the mount with it
            umount(path)


def file_systems(binds) -> None:
    opened = [(os.open(source, os.O_PATH), target) for source, target in binds]
    cgroup = os.open("/sys/fs/cgroup", os.O_PATH)
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")  # this namespace's devices, not the machine's
    mount(f"/proc/self/fd/{cgroup}", "/sys/fs/cgroup", None, MS_BIND | MS_REC)
    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700")
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    for directory in ("lock", "netns", "lab"):
        os.mkdir(f"/run/{directory}", 0o755)
    for target in OVERLAYS:
        place = SCRATCH + target.replace("/", "-")
        os.makedirs(place + "/upper")
        os.mkdir(place + "/work")
        mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={place}/upper,workdir={place}/work")
    for target in EMPTY:
        os.makedirs(target, exist_ok=True)
        mount("tmpfs", target, "tmpfs", 0, "mode=0755")
    os.makedirs("/etc/cni/net.d")
    for fd, target in opened:
        os.makedirs(target, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", target, None, MS_BIND)
        os.close(fd)
    os.close(cgroup)


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)
    conf = json.loads(line)
    pid = int(os.readlink("/proc/self"))  # the machine's /proc: the machine's number
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    forget_other_namespaces()
    file_systems(conf["binds"])
    sethostname(conf["hostname"])
    for path, text in conf["files"].items():
        write(path, text)
    for key, value in conf["sysctl"].items():
        write("/proc/sys/" + key.replace(".", "/"), str(value))
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    print(json.dumps({"pid": pid}), flush=True)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    while True:
        signal.sigwait([signal.SIGCHLD])
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    main()
