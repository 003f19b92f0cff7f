# SPDX-License-Identifier: Apache-2.0
"""The agent in a container as confined as the manifest says: its capabilities, its mounts, a read-only root, the runtime's seccomp
profile and masked /proc. podman and runc stand for the kubelet's runtime, a node of the lab for the host; the store is a directory."""
import json

import cgroups
import pytest
from tullelab import proc, wait

PRIVATE = {"/opt/cni/bin": "/run/host-cni-bin"}  # the machine's own otherwise: a node of the lab shares it

STORAGE = """[storage]
driver = "vfs"
graphroot = "/run/podman/graph"
runroot = "/run/podman/run"
"""
CONTAINERS = """[containers]
apparmor_profile = ""
default_sysctls = []
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "/run/podman/tmp"
num_locks = 64
"""


def confinement(context) -> list:
    """A container's securityContext in podman's words."""
    words = [f"--cap-drop={name}" for name in context["capabilities"]["drop"]] + [f"--cap-add={name}" for name in context["capabilities"]["add"]]
    assert context["readOnlyRootFilesystem"] and not context["privileged"] and not context["allowPrivilegeEscalation"]
    return words + ["--read-only", "--read-only-tmpfs=false", "--security-opt=no-new-privileges"]


def mounts(pod, container, node) -> list:
    sources = {volume["name"]: volume["hostPath"] for volume in pod["volumes"] if "hostPath" in volume}
    words = []
    for mount in container["volumeMounts"]:
        if mount["name"] not in sources:
            continue
        host = PRIVATE.get(sources[mount["name"]]["path"], sources[mount["name"]]["path"])
        if sources[mount["name"]]["type"] == "DirectoryOrCreate":
            node.run(["mkdir", "-p", host])
        elif sources[mount["name"]]["type"] == "FileOrCreate":
            node.run(["touch", host])
        options = ":rslave" if mount.get("mountPropagation") == "HostToContainer" else ""
        words += ["--volume", f"{host}:{mount['mountPath']}{options}"]
    return words


def prepare(node, root) -> None:
    """podman on the node, and a copy of the image's files."""
    proc.need("podman", "runc", "conmon")
    node.write("/etc/containers/storage.conf", STORAGE)
    node.write("/etc/containers/containers.conf", CONTAINERS)
    node.run(["mkdir", "-p", "/run/rootfs"])
    node.run(["cp", "-a", f"{root}/.", "/run/rootfs"])


class Container:
    """The agent as the manifest starts it, but for the flags of the Kubernetes store."""

    def __init__(self, node, pod, root, more=()):
        """more: capabilities besides the manifest's."""
        prepare(node, root)
        self.node = node
        container, = pod["containers"]
        flags = [arg for arg in container["args"] if not arg.startswith(("--kube", "--net-config", "--owner"))]
        self.words = ["podman", "run", "--rm", "--name", "tulled", "--net=host", "--cgroup-parent", cgroups.parent(node.name),
                      *confinement(container["securityContext"]), *(f"--cap-add={name}" for name in more), *mounts(pod, container, node),
                      "--entrypoint", container["command"][0], "--rootfs", "/run/rootfs", *flags, "--store-dir=/var/lib/tulle/store", "--iface=eth0"]

    def __enter__(self):
        self.process = self.node.spawn(self.words)
        wait.until(lambda: self.ctl("status").returncode == 0, "the agent in the container is ready", 30, detail=lambda: self.process.output)
        return self

    def __exit__(self, *_):
        self.node.run(["podman", "rm", "--force", "--time", "5", "tulled"], check=False)
        self.process.stop()

    def ctl(self, *words):
        return self.node.run(["podman", "exec", "tulled", "/usr/bin/tullectl", *words], check=False)

    def mounts(self) -> dict:
        """Mount point → options, as the agent sees them."""
        found = self.node.run(["podman", "inspect", "--format", "{{.State.Pid}}", "tulled"]).stdout.strip()
        table = self.node.read(f"/proc/{found}/mountinfo").splitlines()
        return {words[4]: words[5].split(",") for words in map(str.split, table)}


@pytest.fixture(scope="module")
def lab(make_lab):
    return make_lab(nodes=2, agents=False, family="dual")


@pytest.fixture(scope="module", params=["vxlan", "udp"])
def each_backend(request, make_lab, lab):
    return lab if request.param == "vxlan" else make_lab(nodes=2, agents=False, backend="udp")


@pytest.fixture(scope="module", autouse=True)
def groups():
    yield
    cgroups.remove()


def test_the_manifests_confinement_is_enough(each_backend, pod, image_root):
    one, two = each_backend.nodes
    two.agent_start()
    far = two.pod_add("far")
    one.runtime.path.insert(0, PRIVATE["/opt/cni/bin"])
    with Container(one, pod, image_root) as agent:
        assert "10-tulle.conflist" in one.run(["ls", "/etc/cni/net.d"]).stdout
        assert one.run(["stat", "-c", "%a", PRIVATE["/opt/cni/bin"] + "/tulle"]).stdout.strip() == "755"
        near, beside = one.pod_add("near"), one.pod_add("beside")
        for ip in (far.ips + beside.ips):
            wait.until(lambda ip=ip: near.ping(ip, timeout=1), f"a pod of the container's agent reaches {ip}", 10)
        assert "read-only" not in agent.process.output and "permitted" not in agent.process.output, agent.process.output
        assert not json.loads(agent.ctl("-o", "json", "status").stdout)["problems"]
        # written although the container's /proc/sys is read-only: this part of it is not, for the agent alone
        seen = agent.mounts()
        assert "ro" in seen["/"] and "ro" in seen["/proc/sys"] and "rw" in seen["/proc/sys/net"]
        assert one.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout.strip() == "1"
    near.ping(far.ip)  # without the agent
    with Container(one, pod, image_root):  # the next version
        near.ping(far.ip)
        near.delete()
        assert one.pod_add("after").ping(far.ip)


def test_what_it_may_not_look_at_is_named(lab, pod, image_root):
    """Rules of iptables-legacy need NET_RAW, which the manifest does not give: then the agent says so, and with it it opens the chain."""
    node = lab.nodes[0]
    node.run(["iptables-legacy", "-P", "FORWARD", "DROP"])
    try:
        with Container(node, pod, image_root) as agent:
            note = wait.until(lambda: json.loads(agent.ctl("-o", "json", "status").stdout)["forwardNote"], "a note", 10)
            assert "iptables-legacy" in note and "NET_RAW" in note
        with Container(node, pod, image_root, more=["NET_RAW"]) as agent:
            wait.until(lambda: "tulle forward" in node.run(["iptables-legacy", "-S", "FORWARD"]).stdout, "the chain is open", 10)
    finally:
        node.run(["iptables-legacy", "-F", "FORWARD"])
        node.run(["iptables-legacy", "-P", "FORWARD", "ACCEPT"])


def test_the_init_container_mounts_for_the_host(lab, pod, image_root):
    """Where the host has no bpf file system, and only there; what it mounts is the host's."""
    node = lab.nodes[0]
    container, = pod["initContainers"]
    mount, = container["volumeMounts"]
    assert container["securityContext"]["privileged"] and mount == {"name": "bpffs", "mountPath": "/sys/fs/bpf", "mountPropagation": "Bidirectional"}
    prepare(node, image_root)
    init = ["podman", "run", "--rm", "--name", "bpffs", "--net=host", "--privileged", "--read-only", "--cgroup-parent", cgroups.parent(node.name),
            "--entrypoint", container["command"][0], "--rootfs", "/run/rootfs", *container["command"][1:]]
    init[2:2] = ["--volume", "/sys/fs/bpf:/sys/fs/bpf:rshared"]

    def mounted():  # /proc/mounts also has what lies below the node's own /sys
        return node.run(["stat", "-f", "-c", "%t", "/sys/fs/bpf"]).stdout.strip() == "cafe4a11"
    assert mounted()
    wait.until(lambda: "nothing done" in node.run(init).stdout, "it leaves what is there alone", 60)  # podman may lose what a short life said
    node.run(["umount", "/sys/fs/bpf"])
    node.run(["mount", "--make-shared", "/sys"])
    try:
        assert not mounted()
        node.run(init)
        assert mounted()
    finally:
        if not mounted():
            node.run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"])
