# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd on a node that runs Kubernetes: everything of its own is on the node's private file systems.

It lives in the node's PID and mount namespaces, so whatever ends the node ends it, its shims and their containers."""

from . import wait
from .host import Daemon

SOCKET = "/run/containerd/containerd.sock"
CONFIG = "/etc/containerd/config.toml"
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
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{configs}"
"""


def start(node, sandbox: str, timeout: float = 40) -> Daemon:
    """Start it and wait until it answers."""
    node.write(CONFIG, SETTINGS.format(socket=SOCKET, sandbox=sandbox, snapshotter=node.snapshotter, plugins=PLUGINS, configs=CONFIGS))
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
