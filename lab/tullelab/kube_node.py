# SPDX-License-Identifier: Apache-2.0
"""A node of a real cluster: containerd, kubelet and kube-proxy on a host with control groups, a disk and a boot of its own."""

import json
import os
import uuid
from ipaddress import ip_network
from pathlib import Path

from . import cgroup, kube_containerd, kube_deploy, wait
from .errors import LabError
from .host import Daemon
from .kube_control import CLUSTER_DOMAIN, DIR, NET_CONF, program, service_address
from .node import DEBIAN_PLUGINS, Node

DISKS = Path(os.environ.get("TULLE_LAB_DISK", "/var/tmp/tulle-lab"))
AGENT_USER = "tulle-agent"
PLUGINS = ("loopback", "bridge", "host-local", "portmap", "bandwidth")
# A kubelet sets these of the whole machine. On a node of the lab it finds them set already, and they are only the node's.
TUNABLES = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
            "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}


class KubeNode(Node):
    """The parts are started and stopped one by one: containerd, kubelet, proxy, agent.  reboot() loses what a machine's boot loses."""

    def __init__(self, lab, index: int):
        super().__init__(lab, index)
        self.cgroup = cgroup.Group(lab.name, self.name)
        self.disk = DISKS / lab.name / self.name

    @property
    def image(self) -> dict:
        masks = {f"/proc/sys/{name}": f"{value}\n" for name, value in TUNABLES.items()}
        masks[kube_containerd.BOOT_ID] = f"{uuid.uuid4()}\n"
        return {"disk": str(self.disk), "overlays": ["/opt"], "shared": True, "masks": masks,
                "empty": ["/etc/containerd", "/etc/kubernetes", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods",
                          "/var/log/containers", "/opt/cni"]}

    @property
    def snapshotter(self) -> str:
        """An overlay needs a disk that is none itself."""
        return "native" if _kind_of(self.disk) == "overlay" else "overlayfs"

    # --- files ---

    def prepare(self, identities) -> None:
        """What the operator of a machine puts there before it joins a cluster."""
        identities.server(self.name, f"system:node:{self.name}", self.ips, [self.name], "system:nodes")
        files = {"ca.crt": identities.text("ca.crt"),
                 "kubelet.crt": identities.text(f"{self.name}.crt"), "kubelet.key": identities.text(f"{self.name}.key"),
                 "kubelet.kubeconfig": identities.kubeconfig(self.name, f"system:node:{self.name}", "system:nodes"),
                 "proxy.kubeconfig": identities.kubeconfig("proxy", "system:kube-proxy"),
                 "tulle.kubeconfig": identities.kubeconfig("tulle", AGENT_USER),
                 "kubelet.json": json.dumps(self.kubelet_configuration(), indent=1), "proxy.json": json.dumps(self.proxy_configuration(), indent=1)}
        for name, text in files.items():
            self.write(f"{DIR}/{name}", text, 0o600)
        self.write("/etc/machine-id", uuid.uuid4().hex + "\n")
        self.write(NET_CONF, self.lab.store.net_conf)
        wanted = " ".join(f"{DEBIAN_PLUGINS}/{name}" for name in PLUGINS)
        self.run(["sh", "-ec", f"mkdir -p {kube_containerd.PLUGINS} && cp --reflink=auto -t {kube_containerd.PLUGINS} {wanted}"])

    def kubelet_configuration(self) -> dict:
        return {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                "containerRuntimeEndpoint": f"unix://{kube_containerd.SOCKET}", "cgroupDriver": "cgroupfs", "failSwapOn": False,
                "failCgroupV1": False,
                "nodeStatusUpdateFrequency": "1s", "nodeStatusReportFrequency": "1s", "syncFrequency": "10s", "oomScoreAdj": 0,
                "clusterDNS": [service_address(self.lab.family, 10)], "clusterDomain": CLUSTER_DOMAIN,
                "address": "::" if ":" in self.ip else "0.0.0.0", "healthzBindAddress": "127.0.0.1",
                "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": f"{DIR}/ca.crt"}},
                "authorization": {"mode": "Webhook"}, "tlsCertFile": f"{DIR}/kubelet.crt", "tlsPrivateKeyFile": f"{DIR}/kubelet.key",
                # the machine's disk and memory are not the node's own: no pod is evicted, no image removed for their sake
                "evictionHard": {name: "0%" for name in ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")},
                "imageGCHighThresholdPercent": 100, "localStorageCapacityIsolation": False, "maxPods": 200, "serializeImagePulls": False,
                "volumePluginDir": "/var/lib/kubelet/volume-plugins", "registerWithTaints": []}

    def proxy_configuration(self) -> dict:
        return {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": self.lab.kube_proxy,
                "clientConnection": {"kubeconfig": f"{DIR}/proxy.kubeconfig"}, "hostnameOverride": self.name, "clusterCIDR": self.lab.cluster_cidr,
                "bindAddress": "::" if ":" in self.ip else "0.0.0.0", "oomScoreAdj": 0,
                # these sysctls belong to the whole machine; 0 leaves them alone
                "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}}

    # --- parts ---

    @property
    def containerd(self) -> Daemon:
        return self.daemon_named("containerd")

    @property
    def kubelet(self) -> Daemon:
        return self.daemon_named("kubelet")

    @property
    def proxy(self) -> Daemon:
        return self.daemon_named("kube-proxy")

    def containerd_start(self) -> Daemon:
        return kube_containerd.start(self, self.lab.sandbox_image)

    def kubelet_start(self, extra=()) -> Daemon:
        argv = [program("kubelet"), f"--config={DIR}/kubelet.json", f"--kubeconfig={DIR}/kubelet.kubeconfig", f"--hostname-override={self.name}",
                f"--node-ip={','.join(self.ips)}", "--v=2"]
        return self.daemon([*argv, *extra], "kubelet")

    def proxy_start(self, extra=()) -> Daemon:
        return self.daemon([program("kube-proxy"), f"--config={DIR}/proxy.json", *extra], "kube-proxy")

    def load(self, archive: Path) -> None:
        """An image archive of the machine into this node's containerd."""
        inside = f"/var/lib/containerd/{archive.name}"
        try:
            with open(archive, "rb") as source:  # it may lie where the node sees something else
                self.run(["sh", "-c", 'exec cat >"$0"', inside], stdin=source, timeout=120)
            kube_containerd.load(self, inside)
        finally:
            self.run(["rm", "-f", inside])

    # --- what the API server says of it ---

    @property
    def object(self) -> dict:
        return self.lab.api.get(f"/api/v1/nodes/{self.name}")

    @property
    def condition(self) -> dict:
        """The condition Ready; {} before there is one."""
        return ready_condition(self.object)

    boot_file = "/run/.lab" + kube_containerd.BOOT_ID.replace("/", "-")  # which init.py mounts there

    @property
    def boot(self) -> str:
        """Its boot id; a reboot makes a new one."""
        return self.read(self.boot_file).strip()

    def wait_ready(self, timeout: float = 60) -> None:
        def is_ready():
            if not self.kubelet.running:
                raise wait.GiveUp("kubelet has ended")
            found = self.object
            if found["status"]["nodeInfo"]["bootID"] != self.boot:
                raise LabError("the cluster knows only its last boot")
            condition = ready_condition(found)
            if condition.get("status") == "True":
                return True
            raise LabError(condition.get("message") or "no condition Ready yet")
        wait.until(is_ready, f"{self.name} is Ready", timeout, 0.1, detail=lambda: wait.tail(self.kubelet.log_path))

    def containers(self) -> set:
        """The ids of those that the cluster takes for running here; for a moment after a reboot, of those that ran before."""
        pods = self.lab.api.items(f"/api/v1/pods?fieldSelector=spec.nodeName={self.name}")
        return {one["containerID"] for pod in pods for one in pod["status"].get("containerStatuses", ()) if "running" in one["state"]}

    def wait_registered(self, timeout: float = 60) -> dict:
        """Its Node object with the pod networks that the controller manager gave it."""
        def registered():
            if not self.kubelet.running:
                raise wait.GiveUp("kubelet has ended")
            found = self.object
            return found if found["spec"].get("podCIDRs") else None
        return wait.until(registered, f"{self.name} has its podCIDR", timeout, 0.1, detail=lambda: wait.tail(self.kubelet.log_path))

    # --- network by hand ---

    def subnets(self, index: int) -> list:
        """What the controller manager gave node `index`."""
        peer = self if index == self.index else self.lab.nodes[index - 1]
        return [ip_network(cidr) for cidr in peer.object["spec"]["podCIDRs"]]

    def _reference(self) -> dict:
        return dict(super()._reference(), hairpinMode=True)

    def connect_by_hand(self) -> None:
        """Debian's plugin and routes to the other nodes' pods (those that the cluster knows)."""
        self.configure()
        self.route_by_hand()

    # --- the machine itself ---

    def power_off(self) -> None:
        """As if the plug were pulled: every process, mount and interface is gone; the disk stays."""
        self.lab.power_off(self)

    def power_on(self) -> None:
        """Boot and start containerd, kubelet and kube-proxy (and the agent, where it runs on the host)."""
        self.lab.power_on(self)

    def reboot(self) -> None:
        self.power_off()
        self.power_on()

    # --- agent ---

    @property
    def health_port(self) -> int:
        """Of the agent that runs here, as a process or as a pod."""
        return kube_deploy.PORT if self.lab.agent == "daemonset" else super().health_port

    def agent_command(self, extra=()) -> list:
        return super().agent_command([*self.lab.install_args, *extra])


def ready_condition(node_object: dict) -> dict:
    return next((c for c in node_object.get("status", {}).get("conditions", []) if c["type"] == "Ready"), {})


def _kind_of(path: Path) -> str:
    """The file system that a directory lies on."""
    path, best = path.resolve(), ("", "")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, target, kind = line.split()[:3]
        if path.is_relative_to(target) and len(target) > len(best[0]):
            best = (target, kind)
    return best[1]
