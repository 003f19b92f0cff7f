# SPDX-License-Identifier: Apache-2.0
"""podman on a node of the lab, with the CNI backend and everything of its own below the node's private /run."""

import json

import image
from tullelab import proc

STORAGE = """[storage]
driver = "vfs"
graphroot = "/run/podman/graph"
runroot = "/run/podman/run"
"""

# crun refuses the hybrid control group layout, runc does not; there is no systemd and no journal on a node.
CONTAINERS = """[containers]
apparmor_profile = ""
default_sysctls = []
netns = "bridge"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "/run/podman/tmp"
num_locks = 64
[network]
network_backend = "cni"
default_network = "tulle"
cni_plugin_dirs = ["{plugins}"]
network_config_dir = "/etc/cni/net.d"
"""


class Podman:
    def __init__(self, node, archive, plugins: str, cgroup_parent: str):
        proc.need("podman", "runc", "conmon")
        self.node, self.cgroup_parent = node, cgroup_parent
        # The node's /etc is its own.  Not by variables: podman hands few of them to conmon, which calls podman to clean up.
        node.write("/etc/containers/storage.conf", STORAGE)
        node.write("/etc/containers/containers.conf", CONTAINERS.format(plugins=plugins))
        self("load", "--quiet", "--input", archive)

    def __call__(self, *words, check: bool = True, timeout: float = 60):
        return self.node.run(["podman", *words], check=check, timeout=timeout)

    def start(self, name: str, *options, command=()) -> dict:
        """A container in the background; what inspect says of it."""
        self("run", "--detach", "--name", name, "--cgroup-parent", self.cgroup_parent, *options, image.NAME, *command)
        return self.inspect(name)

    def inspect(self, name: str) -> dict:
        return json.loads(self("inspect", name).stdout)[0]

    def execute(self, name: str, *command, check: bool = True):
        return self("exec", name, *command, check=check)

    def remove(self, *names: str) -> None:
        self("rm", "--force", "--time", "0", *names)

    def names(self) -> list:
        return self("ps", "--all", "--format", "{{.Names}}").stdout.split()
