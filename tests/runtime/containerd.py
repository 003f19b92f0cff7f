# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd on a node of the lab, with everything of its own below the node's private /run.

It lives in the node's PID and mount namespaces: whatever ends the node ends it, its shims and their containers, and unmounts what they
mounted.  Only control groups outlive that; see cgroups.py."""

import cri
import image
from tullelab import proc, until, wait

SOCKET = "/run/containerd/containerd.sock"
CONFIG = "/run/containerd.toml"
PLUGINS = "/run/cni-bin"

# No CAP_SYS_RESOURCE: oom scores cannot be lowered.  The node's file systems are overlays and tmpfs: no snapshotter but the plainest.
SETTINGS = f"""version = 2
root = "/run/containerd.root"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.overlayfs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd.opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image.NAME}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "/etc/cni/net.d"
"""


class Containerd:
    """containerd on one node; .cri is its client."""

    def __init__(self, node, made, archive, cgroup_parent: str):
        self.node, self._made, self._archive, self._cgroup_parent = node, made, archive, cgroup_parent
        self.daemon = self.cri = None

    def start(self) -> "Containerd":
        """Start it and wait until the node would be Ready; the image is loaded the first time."""
        proc.need("containerd", "ctr", "runc")
        self.node.write(CONFIG, SETTINGS)
        self.daemon = self.node.daemon(["containerd", "--config", CONFIG], "containerd")
        until(self._answers, f"{self.node.name}: containerd answers", 20, detail=self.log_tail)
        if self._archive:
            self.node.run(["ctr", "-a", SOCKET, "-n", "k8s.io", "images", "import", "--snapshotter", "native", self._archive])
            self._archive = None
        until(lambda: all(self.cri.conditions().values()), f"{self.node.name}: runtime and network ready", 20, detail=self.log_tail)
        return self

    def _answers(self):
        if not self.daemon.running:
            raise wait.GiveUp("containerd has ended")
        if not self.node.exists(SOCKET):
            return False
        if self.cri is None:
            self.cri = cri.Client(str(self.node.root) + SOCKET, self._made, image.NAME, self._cgroup_parent)
        try:
            return self.cri.conditions()
        except cri.grpc.RpcError as error:
            raise OSError(error.details()) from None

    def restart(self) -> None:
        """Killed and started again; the sandboxes live on with their shims."""
        self.daemon.stop(9)
        self.start()

    def log_tail(self) -> str:
        return wait.tail(self.daemon.log_path, 30)

    def close(self) -> None:
        if self.cri:
            self.cri.close()


def plugin_directory(node) -> None:
    """The one directory of plugins that containerd looks into: ours beside Debian's, as on a real node."""
    node.run(["sh", "-ec", 'mkdir -p "$0"; ln -sf /usr/lib/cni/* "$0"; if [ -e "$1" ]; then ln -sf "$1" "$0"; fi', PLUGINS,
              f"{node.lab.build}/tulle"])
