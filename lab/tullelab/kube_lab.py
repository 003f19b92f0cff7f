# SPDX-License-Identifier: Apache-2.0
"""A lab with real Kubernetes on it.

    with KubeLab(nodes=2, network="bridge") as lab:
        lab.kubectl("run", "web", "--image=nginx", "--port=80")
        pod, = lab.wait_pods("web")
        lab.apply([{"apiVersion": "v1", "kind": "Pod", …}])
        assert "nginx" in lab.pod_exec("client", "curl", "-s", pod.ip)
        lab.nodes[1].kubelet.stop(9)
        lab.nodes[1].reboot()

network: what connects the pods.  "none": nothing, nodes stay NotReady; "bridge": Debian's bridge plugin and plain routes; "tulle": Tulle,
and agent says how: "daemonset" applies deploy/tulle.yaml, "host" runs tulled as a process on each node."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import address, kube_addons, kube_deploy, kube_images, proc, wait
from .errors import LabError
from .kernel import netns_remove
from .kube_control import KubernetesStore, binaries, program, ranges
from .kube_node import DISKS, KubeNode
from .lab import OUTSIDE_PORT, Lab, _count, _validate, build_directory
from .pod import serve

NETWORKS, AGENTS, PROXIES, ETCDS = ("tulle", "bridge", "none"), ("daemonset", "host"), ("nftables", "iptables"), ("debian", "module")


@dataclass(frozen=True)
class KubePod:
    """A pod as the API server described it a moment ago."""

    name: str
    namespace: str
    node: str
    ips: tuple
    object: dict

    @property
    def ip(self) -> str:
        return self.ips[0]

    def ip_of(self, family: int) -> str:
        return next(ip for ip in self.ips if (":" in ip) == (family == 6))


class KubeLab(Lab):
    def __init__(self, name=None, nodes=2, backend="vxlan", underlay="flat", family="4", mtu=1500, ip_masq=True, network="tulle",
                 agent="daemonset", kube_proxy="nftables", dns=True, etcd="debian", crds=True, agent_args=(), net_conf=None, held=True,
                 progress=None):
        """As Lab; see the head of this file for network and agent.  dns: run CoreDNS.  etcd: Debian's 3.4, or the module's 3.6, with which the
        API server streams lists.  crds: define Calico's resources by deploy/crds."""
        options = dict(nodes=nodes, backend=backend, store="kubernetes", underlay=underlay, family=family, mtu=mtu, ip_masq=ip_masq,
                       agent_args=list(agent_args), net_conf=net_conf, plugin="bridge" if network == "bridge" else "tulle", etcd_members=1,
                       etcd_tls=False, build=build_directory(), network=network, agent=agent, kube_proxy=kube_proxy, dns=dns, etcd=etcd,
                       crds=crds)
        _validate(options)
        for key, known in (("network", NETWORKS), ("agent", AGENTS), ("kube_proxy", PROXIES), ("etcd", ETCDS)):
            if options[key] not in known:
                raise LabError(f"{key} {options[key]!r}: expected one of {', '.join(known)}")
        if network == "bridge" and underlay != "flat":
            raise LabError("network bridge: its plain routes need --underlay flat")
        self._agents, self._held, self._progress = True, held, progress
        self._prepare(name or f"{'t' if held else 'lab'}{os.getpid()}x{_count()}", options)

    sandbox_image = kube_images.SANDBOX
    install_args = ("--cni-conf-dir", "/etc/cni/net.d", "--cni-bin-dir", "/opt/cni/bin")

    def _node(self, index: int) -> KubeNode:
        return KubeNode(self, index)

    def _store(self, options: dict) -> KubernetesStore:
        return KubernetesStore(self)

    # --- up ---

    def _build(self) -> None:
        proc.need("containerd", "ctr", "runc", "conntrack", "iptables", "nft")
        with self.state.change() as data:
            data["cgroups"], data["disk"] = True, str(DISKS / self.name)
        for node in self.nodes:
            self._make_disk(node)
        self._make_hosts()
        serve(self.outside, "outside", OUTSIDE_PORT)
        self.store.start()
        self.images = kube_images.archive(binaries() / "coredns")
        self.say(f"images: {self.images}")
        proc.together(self._control_plane, *(lambda node=node: self._runtime(node) for node in self.nodes))
        self.join(*self.nodes)
        if self.dns:
            self.apply(kube_addons.dns(self.family))
        self.network_start()
        self._finished()

    @staticmethod
    def _make_disk(node) -> None:
        if node.disk.exists():  # of a lab of that name from before the machine's last boot
            shutil.rmtree(node.disk)
        node.disk.mkdir(parents=True, mode=0o700)

    def _control_plane(self) -> None:
        self.store.ready()
        self.apply(kube_addons.pull_policy() + kube_addons.agent_rights())
        if self.crds:
            self.define()

        def in_force():
            made = self.api.create("/api/v1/namespaces/default/pods?dryRun=All", kube_addons.probe_pod())
            return made["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
        wait.until(in_force, "pods take the images that their node has", 30, 0.1)
        self.say(f"control plane: {self.store.control.url}")

    def _runtime(self, node) -> None:
        node.prepare(self.store.identities)
        node.containerd_start()
        node.load(self.images)
        self.say(f"{node.name}: containerd with {len(kube_images.recipes(Path()))} images")

    def join(self, *nodes) -> None:
        """Start kubelet and kube-proxy and wait until the cluster knows the nodes."""
        for node in nodes:
            node.kubelet_start()
            node.proxy_start()
        for node in nodes:
            node.wait_registered()
        self.say(f"{', '.join(node.name for node in nodes)} registered")

    def network_start(self) -> None:
        """What gives the nodes' pods their network; then every node turns Ready."""
        if self.network == "none":
            self.say("no pod network: nodes stay NotReady")
            return
        if self.network == "bridge":
            for node in self.nodes:
                node.connect_by_hand()
        elif self.agent == "host":
            self.agents_start()
        else:
            self.deploy()
        for node in self.nodes:
            node.wait_ready()
        self.say(f"{', '.join(node.name for node in self.nodes)} Ready (network {self.network})")
        if self.dns:
            self.wait_pods(selector="k8s-app=kube-dns", namespace="kube-system")
            self.say("cluster DNS answers")

    def define(self) -> None:
        """Calico's resources, as a user installs them."""
        self.kubectl("create", "-f", kube_deploy.DEFINITIONS)
        self.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", kube_deploy.DEFINITIONS)

    def deploy(self, manifest: Path = kube_deploy.MANIFEST) -> None:
        """Put Tulle's image on every node and apply its manifest, with this lab's network in it."""
        archive = kube_deploy.image(self.build)
        self.say(f"image: {archive}")
        proc.together(*(lambda node=node: node.load(archive) for node in self.nodes))
        self.apply(kube_deploy.objects(self, manifest))

    # --- nodes that come and go ---

    def node_add(self) -> KubeNode:
        """One more machine, which joins the cluster."""
        node = self._node(len(self.nodes) + 1)
        with self.state.change() as data:
            data["netns"].append(node.netns)
            data["options"]["nodes"] = node.index
        self.nodes.append(node)
        self._make_disk(node)
        self._boot(node)
        self._runtime(node)
        self.join(node)
        self._connect(node)
        return node

    def power_off(self, node) -> None:
        proc.send(node.init, 9)
        node.reap()
        wait.until(lambda: not proc.alive(node.init), f"{node.name}: its process 1 ends")
        self.underlay.detach(node.name)
        netns_remove(node.netns_path)
        node.cgroup.remove()

    def power_on(self, node) -> None:
        self._boot(node)
        node.containerd_start()
        node.kubelet_start()
        node.proxy_start()
        self._connect(node)

    def _boot(self, node) -> None:
        self.begin(node)
        node.ready()
        self.underlay.attach(node.cables)

    def _connect(self, node) -> None:
        if self.network == "bridge":
            for each in self.nodes:
                each.connect_by_hand()
        elif self.network == "tulle" and self.agent == "host":
            node.agent_start()
        elif self.network == "tulle":
            node.load(kube_deploy.image(self.build))

    # --- using it ---

    @property
    def control(self):
        return self.store.control

    @property
    def api(self):
        return self.store.api

    @property
    def cluster_cidr(self) -> str:
        return ranges(self.family, address.PODS4, address.PODS6)

    def kubectl_command(self, *args) -> list:
        """kubectl on the machine's file systems and in the control plane's network namespace."""
        return ["nsenter", f"--net={self.control.netns_path}", "--", *self._kubectl(args)]

    def _kubectl(self, args) -> list:
        return [program("kubectl"), f"--kubeconfig={self.store.kubeconfig}", f"--cache-dir={self.state.dir}/kubectl", *map(str, args)]

    def _kubectl_mortal(self, args) -> list:
        """It lives on the machine, not on a host that takes it along: it ends with who started it."""
        return ["nsenter", f"--net={self.control.netns_path}", "--", "setpriv", "--pdeathsig", "KILL", "--", *self._kubectl(args)]

    def kubectl(self, *args, check=True, timeout=60, **options):
        """Run it as the administrator; returns subprocess.CompletedProcess."""
        return proc.run(self._kubectl_mortal(args), "kubectl", check, timeout, env=proc.environment(None, self.build), **options)

    def kubectl_background(self, *args) -> proc.Background:
        """For port-forward, logs -f and the like."""
        background = proc.Background(self._kubectl_mortal(args), f"kubectl {args[0]}", proc.environment(None, self.build))
        self.backgrounds.append(background)
        return background

    def apply(self, manifests, *args) -> None:
        """manifests: YAML or JSON text, or objects."""
        if not isinstance(manifests, str):
            manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests)})
        self.kubectl("apply", "-f", "-", *args, input=manifests)

    def run(self, name: str, image: str, *command, node=None, **spec) -> None:
        """A pod of one container, on a node if one is named; does not wait.  spec: more fields of the pod's spec."""
        container = {"name": name, "image": image, **({"command": list(command)} if command else {})}
        body = {"containers": [container], "terminationGracePeriodSeconds": 1, **({"nodeName": getattr(node, "name", node)} if node else {}), **spec}
        self.api.create("/api/v1/namespaces/default/pods",
                        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"run": name}}, "spec": body})

    def kube_pods(self, namespace: str = "default", selector=None) -> list:
        """Those that are not on their way out."""
        query = f"?labelSelector={selector}" if selector else ""
        found = self.api.items(f"/api/v1/namespaces/{namespace}/pods{query}")
        return [_pod(item) for item in found if "deletionTimestamp" not in item["metadata"]]

    def wait_pods(self, *names, namespace: str = "default", selector=None, count=None, timeout: float = 60) -> list:
        """Wait until the named pods (or all that the selector finds: count of them, else at least one) are Ready; returns them as KubePod."""
        def ready():
            found = {pod.name: pod for pod in self.kube_pods(namespace, selector)}
            wanted = [found[name] for name in names if name in found] if names else list(found.values())
            late = [f"{pod.name}: {_trouble(pod.object)}" for pod in wanted if not _is_ready(pod.object)]
            expected = len(names) or count or max(1, len(wanted))
            if len(wanted) != expected:
                late.append(f"{len(wanted)} pods, not {expected}")
            if late:
                raise LabError("; ".join(late[:5]))
            return wanted
        return wait.until(ready, f"pods {', '.join(names) or selector or namespace} are Ready", timeout, 0.1)

    def pod_exec(self, name: str, *argv, namespace: str = "default", check=True, timeout=30) -> str:
        """What the command printed, run in the pod's first container by kubectl exec."""
        return self.kubectl("exec", "-n", namespace, name, "--", *argv, check=check, timeout=timeout).stdout

    def pod_delete(self, *names, namespace: str = "default", timeout: float = 60) -> None:
        """At once, and wait until they are gone from the API."""
        self.kubectl("delete", "pod", "-n", namespace, *names, "--grace-period=1", "--wait=true", timeout=timeout)


Lab.kinds["kubernetes"] = KubeLab


def _pod(item: dict) -> KubePod:
    status = item.get("status", {})
    return KubePod(item["metadata"]["name"], item["metadata"]["namespace"], item["spec"].get("nodeName"),
                   tuple(entry["ip"] for entry in status.get("podIPs", [])), item)


def _is_ready(item: dict) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))


def _trouble(item: dict) -> str:
    status = item.get("status", {})
    for container in status.get("containerStatuses", []):
        for state, detail in container.get("state", {}).items():
            if state != "running":
                return f"{state}: {detail.get('reason', '')} {detail.get('message', '')}".strip()
    for condition in status.get("conditions", []):
        if condition.get("message"):
            return condition["message"]
    return status.get("phase", "unknown")
