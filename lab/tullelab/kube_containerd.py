# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd on a node that runs Kubernetes: everything of its own is on the node's private file systems.

It lives in the node's PID and mount namespaces, so whatever ends the node ends it, its shims and their containers."""

import json

from . import wait
from .host import Daemon

SOCKET = "/run/containerd/containerd.sock"
CONFIG, BASE = "/etc/containerd/config.toml", "/etc/containerd/base.json"
PLUGINS, CONFIGS = "/opt/cni/bin", "/etc/cni/net.d"
NAMESPACE = "k8s.io"

# Without CAP_SYS_RESOURCE oom scores cannot be lowered.
SETTINGS = """version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  max_concurrent_downloads = 1
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      base_runtime_spec = "{base}"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{configs}"
"""


# A container's /proc is fresh, and would show the machine's boot id. (createContainer: in the container's namespaces, before its root is.)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
HOOK = 'bundle=$(sed "s/.*\\"bundle\\":\\"//; s/\\".*//"); exec mount --bind {source} "$bundle/rootfs{boot_id}"'


def base_specification(node) -> dict:
    """What containerd begins every container's specification with: its own, and the node's boot id."""
    spec = json.loads(node.run(["ctr", "oci", "spec"]).stdout)
    hook = HOOK.format(source=node.boot_file, boot_id=BOOT_ID)
    spec["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]}
    return spec


def start(node, sandbox: str, timeout: float = 40) -> Daemon:
    """Start it and wait until it answers."""
    node.write(BASE, json.dumps(base_specification(node)))
    node.write(CONFIG, SETTINGS.format(socket=SOCKET, sandbox=sandbox, snapshotter=node.snapshotter, plugins=PLUGINS, configs=CONFIGS, base=BASE))
    daemon = node.daemon(["containerd", "--config", CONFIG], "containerd")

    def answers():
        if not daemon.running:
            raise wait.GiveUp("it has ended")
        return node.exists(SOCKET) and ctr(node, "plugins", "ls", "id==cri", "-q", check=False).returncode == 0
    wait.until(answers, f"{node.name}: containerd answers", timeout, 0.1, detail=lambda: wait.tail(daemon.log_path, 30))
    return daemon


def ctr(node, *args, **options):
    return node.run(["ctr", "-a", SOCKET, "-n", NAMESPACE, *args], **options)


def load(node, archive: str, timeout: float = 300) -> None:
    """Load an image archive (a path that the node can see) into it, unpacked."""
    ctr(node, "images", "import", "--snapshotter", node.snapshotter, archive, timeout=timeout)
