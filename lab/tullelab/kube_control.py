# SPDX-License-Identifier: Apache-2.0
"""The control plane: etcd and Kubernetes' API server, controller manager and scheduler on a host of their own.

For the lab it is also a store, beside store.DirectoryStore and etcd.EtcdStore: what the nodes' agents read their cluster from."""

import json
import os
from pathlib import Path

from . import address, proc, wait
from .errors import LabError
from .host import Daemon, Host
from .kube_api import Api
from .kube_pki import ADMINISTRATORS, Identities

PORT = 6443
DIR = "/etc/kubernetes"  # on every host: what its components are given
NET_CONF = "/etc/kube-flannel/net-conf.json"
CLUSTER_DOMAIN = "cluster.local"
MASKS = {4: 24, 6: 64}  # of the nodes' pod networks
ANNOTATIONS = "flannel.alpha.coreos.com/"


def binaries() -> Path:
    """Where scripts/kubernetes puts its programs."""
    return Path(os.environ.get("TULLE_KUBERNETES") or Path(__file__).resolve().parents[2] / "build" / "kubernetes").resolve()


def program(name: str) -> str:
    path = binaries() / name
    if not path.exists():
        raise LabError(f"{path} is not built: run scripts/kubernetes, or set TULLE_KUBERNETES to where the programs are")
    return str(path)


def ranges(family: str, four, six) -> str:
    return ",".join(str(n) for n in (four, six) if n.version in address.families(family))


def service_address(family: str, number: int) -> str:
    """The cluster's well-known Services have the first family's addresses: 1 is the API server, 10 is DNS."""
    network = address.SERVICES4 if address.families(family)[0] == 4 else address.SERVICES6
    return str(network[number])


class Control(Host):
    """Its daemons are etcd, kube-apiserver, kube-controller-manager and kube-scheduler, each to be stopped and started alone."""

    def __init__(self, lab, etcd: str):
        """etcd: "debian" or "module"."""
        super().__init__(lab, "control", address.etcd(0, lab.family))
        self._etcd_kind = etcd

    @property
    def url(self) -> str:
        return f"https://{address.url_host(self.ip)}:{PORT}"

    def give(self, identities: Identities) -> None:
        """The files of its components."""
        services = [str(network[1]) for network in (address.SERVICES4, address.SERVICES6)]
        names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}", "control"]
        identities.server("apiserver", "kube-apiserver", [*self.ips, *services, "127.0.0.1"], names)
        identities.server("apiserver-kubelet", "kube-apiserver-kubelet-client", organization=ADMINISTRATORS)
        identities.kubeconfig("controller-manager", "system:kube-controller-manager")
        identities.kubeconfig("scheduler", "system:kube-scheduler")
        for name in ("ca.crt", "ca.key", "accounts.key", "accounts.pub", "apiserver.crt", "apiserver.key", "apiserver-kubelet.crt",
                     "apiserver-kubelet.key", "controller-manager.kubeconfig", "scheduler.kubeconfig"):
            self.write(f"{DIR}/{name}", identities.text(name), 0o600)

    # --- components ---

    def start(self, name: str, extra=()) -> Daemon:
        """extra: more arguments, of which a repeated one wins over ours."""
        return self.daemon([*self.command(name), *extra], name)

    def stop(self, name: str, number: int = 9) -> None:
        """On SIGTERM the API server takes a minute: it waits for its watches' ends."""
        self.daemon_named(name).stop(number, 90)

    def command(self, name: str) -> list:
        return {"etcd": self._etcd, "kube-apiserver": self._apiserver, "kube-controller-manager": self._controllers,
                "kube-scheduler": self._scheduler}[name]()

    def _etcd(self) -> list:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return [program("etcd") if self._etcd_kind == "module" else "etcd", "--name", "control", "--data-dir", "/var/lib/etcd-lab",
                "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"control={peer}", "--logger", "zap",
                "--quota-backend-bytes", str(4 << 30)]

    def _apiserver(self) -> list:
        return [program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={self.ip}", f"--secure-port={PORT}",
                f"--bind-address={'::' if ':' in self.ip else '0.0.0.0'}",
                f"--tls-cert-file={DIR}/apiserver.crt", f"--tls-private-key-file={DIR}/apiserver.key", f"--client-ca-file={DIR}/ca.crt",
                f"--kubelet-certificate-authority={DIR}/ca.crt", f"--kubelet-client-certificate={DIR}/apiserver-kubelet.crt",
                f"--kubelet-client-key={DIR}/apiserver-kubelet.key", "--kubelet-preferred-address-types=InternalIP",
                f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}", f"--service-account-key-file={DIR}/accounts.pub",
                f"--service-account-signing-key-file={DIR}/accounts.key",
                f"--service-cluster-ip-range={ranges(self.lab.family, address.SERVICES4, address.SERVICES6)}",
                "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
                # for the policy that lets pods use images which only the node has: kube_addons.pull_policy
                "--feature-gates=MutatingAdmissionPolicy=true", "--runtime-config=admissionregistration.k8s.io/v1beta1=true", "--profiling=false"]

    def _controllers(self) -> list:
        family = self.lab.family
        sizes = [f"--node-cidr-mask-size-ipv{v}={n}" for v, n in MASKS.items()]
        if family != "dual":
            sizes = [f"--node-cidr-mask-size={MASKS[int(family)]}"]
        return [program("kube-controller-manager"), f"--kubeconfig={DIR}/controller-manager.kubeconfig", "--bind-address=127.0.0.1",
                f"--authentication-kubeconfig={DIR}/controller-manager.kubeconfig", f"--authorization-kubeconfig={DIR}/controller-manager.kubeconfig",
                "--leader-elect=false", "--allocate-node-cidrs=true", f"--cluster-cidr={ranges(family, address.PODS4, address.PODS6)}", *sizes,
                f"--service-cluster-ip-range={ranges(family, address.SERVICES4, address.SERVICES6)}", "--use-service-account-credentials=true",
                f"--root-ca-file={DIR}/ca.crt", f"--service-account-private-key-file={DIR}/accounts.key",
                # the nodes report every second: a dead one is noticed sooner than by the default of 50
                "--node-monitor-grace-period=20s", "--node-monitor-period=2s",
                f"--cluster-signing-cert-file={DIR}/ca.crt", f"--cluster-signing-key-file={DIR}/ca.key", f"--client-ca-file={DIR}/ca.crt",
                "--profiling=false"]

    def _scheduler(self) -> list:
        return [program("kube-scheduler"), f"--kubeconfig={DIR}/scheduler.kubeconfig", f"--authentication-kubeconfig={DIR}/scheduler.kubeconfig",
                f"--authorization-kubeconfig={DIR}/scheduler.kubeconfig", "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false"]


class KubernetesStore:
    """The same methods as the other stores'.  put_config and the leases are where Flannel has them: a file on each node, annotations."""

    binds = []

    def __init__(self, lab):
        proc.need("etcd", "etcdctl", "openssl")
        self.lab, self.control = lab, Control(lab, lab.etcd)
        self.hosts = [self.control]
        self.dir = lab.state.dir / "kubernetes"
        self._identities = self._api = None

    @property
    def agent_args(self) -> list:
        return ["--kube-subnet-mgr", "--kubeconfig-file", f"{DIR}/tulle.kubeconfig", "--net-config-path", NET_CONF]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, on the machine."""
        return self.dir / "admin.kubeconfig"

    @property
    def api(self) -> Api:
        if self._api is None:
            self._api = Api(self.control, self.dir, PORT)
        return self._api

    @property
    def identities(self) -> Identities:
        if self._identities is None:
            self._identities = Identities(self.dir, self.control.url)
        return self._identities

    def create(self, net_conf: str) -> None:
        for name in ("kube-apiserver", "kubelet", "kubectl"):
            program(name)
        self.net_conf = net_conf
        self.identities.kubeconfig("admin", "kubernetes-admin", ADMINISTRATORS)

    def start(self) -> None:
        self.control.give(self.identities)
        for name in ("etcd", "kube-apiserver"):
            self.control.start(name)

    def etcdctl(self, *args, **options):
        """Debian's, which understands either etcd: compaction, a look at the keys."""
        return self.control.run(["etcdctl", "--endpoints", "http://127.0.0.1:2379", *args], env={"ETCDCTL_API": "3"}, **options)

    def serving(self, timeout: float = 120) -> None:
        """Wait until the API server answers."""
        daemon = self.control.daemon_named("kube-apiserver")

        def serves():
            if not daemon.running:
                raise wait.GiveUp("kube-apiserver has ended")
            return self.api.request("GET", "/readyz") == "ok"
        wait.until(serves, "the API server is ready", timeout, 0.1, detail=lambda: wait.tail(daemon.log_path))

    def ready(self, timeout: float = 120) -> None:
        """The API server serves, and the other components work on it.  (They give up when it does not serve soon after their start.)"""
        self.serving(timeout)
        for name in ("kube-controller-manager", "kube-scheduler"):
            self.control.start(name)
        wait.until(lambda: self.api.get("/api/v1/namespaces/default/serviceaccounts/default"), "the default service account exists", timeout, 0.1,
                   detail=lambda: wait.tail(self.control.daemon_named("kube-controller-manager").log_path))

    def put_config(self, net_conf: str) -> None:
        self.net_conf = net_conf
        for node in self.lab.nodes:
            node.write(NET_CONF, net_conf)

    def leases(self) -> dict:
        """Node → what the node's annotations say in Flannel's dialect, in the form of the other stores' leases."""
        found = {}
        for item in self.api.items("/api/v1/nodes"):
            notes = {k.removeprefix(ANNOTATIONS): v for k, v in item["metadata"].get("annotations", {}).items() if k.startswith(ANNOTATIONS)}
            if "public-ip" in notes or "public-ipv6" in notes:
                lease = {"PublicIP": notes.get("public-ip"), "PublicIPv6": notes.get("public-ipv6"), "BackendType": notes.get("backend-type"),
                         "BackendData": _json(notes.get("backend-data")), "BackendV6Data": _json(notes.get("backend-v6-data"))}
                key = "&".join(cidr.replace("/", "-") for cidr in item["spec"].get("podCIDRs", [])) or item["metadata"]["name"]
                found[key] = {name: value for name, value in lease.items() if value is not None}
        return found


def _json(text):
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
