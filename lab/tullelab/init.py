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
from kernel import CLONE_NEWCGROUP, MS_BIND, MS_PRIVATE, MS_REC, MS_SHARED, mount, sethostname, umount, unshare  # noqa: E402

SCRATCH = "/run/.lab"
OVERLAYS = ("/etc", "/var/lib", "/var/log")
EMPTY = ("/etc/cni", "/var/lib/cni", "/var/lib/tulle", "/var/lib/flannel")
CGROUPS = "/sys/fs/cgroup"


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


def enter_cgroup(conf) -> None:
    """The host's own group becomes the root that it sees; the processes of the host itself sit in the leaf `host` below it."""
    for directory in conf["groups"]:
        write(directory + "/cgroup.procs", "0")
    unshare(CLONE_NEWCGROUP)
    for directory in conf["groups"]:
        write(directory + "/host/cgroup.procs", "0")


def mount_cgroups(conf) -> None:
    if not conf:
        cgroup = os.open(CGROUPS, os.O_PATH)
        mount("sysfs", "/sys", "sysfs")  # this namespace's devices, not the machine's
        mount(f"/proc/self/fd/{cgroup}", CGROUPS, None, MS_BIND | MS_REC)
        os.close(cgroup)
        return
    mount("sysfs", "/sys", "sysfs")
    if conf["mounts"][0][0] != CGROUPS:
        mount("tmpfs", CGROUPS, "tmpfs", 0, "mode=0755")
    for target, kind, options in conf["mounts"]:
        os.makedirs(target, exist_ok=True)
        mount("cgroup", target, kind, 0, options)


def private_directories(conf, disk) -> None:
    """Overlays over the machine's own, and empty ones.  With a disk they outlive the host's process 1; else they are memory."""
    for target in OVERLAYS + tuple(conf["overlays"]):
        place = (disk or SCRATCH) + "/" + target.strip("/").replace("/", "-")
        os.makedirs(place + "/upper", exist_ok=True)
        os.makedirs(place + "/work", exist_ok=True)
        mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={place}/upper,workdir={place}/work")
    for target in EMPTY + tuple(conf["empty"]):
        os.makedirs(target, exist_ok=True)
        if disk:
            place = f"{disk}/empty{target}"
            os.makedirs(place, exist_ok=True)
            mount(place, target, None, MS_BIND)
        else:
            mount("tmpfs", target, "tmpfs", 0, "mode=0755")


def file_systems(conf) -> None:
    opened = [(os.open(source, os.O_PATH), target) for source, target in conf["binds"]]
    disk = os.open(conf["disk"], os.O_PATH) if conf["disk"] else None
    mount("proc", "/proc", "proc")
    mount_cgroups(conf["cgroup"])
    mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700")
    mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
    for directory in ("lock", "netns", "lab"):
        os.mkdir(f"/run/{directory}", 0o755)
    os.mkdir(SCRATCH, 0o700)
    private_directories(conf, None if disk is None else f"/proc/self/fd/{disk}")
    os.makedirs("/etc/cni/net.d", exist_ok=True)
    for fd, target in opened:
        os.makedirs(target, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", target, None, MS_BIND)
        os.close(fd)
    if disk is not None:
        os.close(disk)
    for target, text in conf["masks"].items():
        place = SCRATCH + target.replace("/", "-")
        write(place, text)
        mount(place, target, None, MS_BIND)


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)
    conf = json.loads(line)
    pid = int(os.readlink("/proc/self"))  # the machine's /proc: the machine's number
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    forget_other_namespaces()
    if conf["cgroup"]:
        enter_cgroup(conf["cgroup"])
    file_systems(conf)
    sethostname(conf["hostname"])
    for path, text in conf["files"].items():
        write(path, text)
    for key, value in conf["sysctl"].items():
        write("/proc/sys/" + key.replace(".", "/"), str(value))
    os.umask(0o022)
    if conf["shared"]:
        mount(None, "/", None, MS_REC | MS_SHARED)  # as on a machine whose process 1 is systemd: containers may follow mounts
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
