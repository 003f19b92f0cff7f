# SPDX-License-Identifier: Apache-2.0
"""A real etcd on the underlay: one or three members, each on a host of its own; TLS if asked for."""

import base64
import json
import ssl

from . import address, proc, wait
from .certs import Authority
from .errors import LabError
from .host import Host

PREFIX = "/coreos.com/network"
CERTS = "/etc/tulle/etcd"  # on the nodes


class EtcdStore:
    binds = []

    def __init__(self, lab, members: int = 1, tls: bool = False):
        proc.need("etcd", "etcdctl", *(["openssl"] if tls else []))
        self.lab, self.tls = lab, tls
        self.hosts = [Host(lab, f"etcd-{i + 1}" if members > 1 else "etcd", address.etcd(i, lab.family)) for i in range(members)]
        self.scheme = "https" if tls else "http"
        self.dir = lab.state.dir / "etcd"

    @property
    def endpoints(self) -> list:
        return [self._url(host) for host in self.hosts]

    @property
    def agent_args(self) -> list:
        args = ["--store", "etcd", "--etcd-endpoints", ",".join(self.endpoints)]
        if self.tls:
            args += ["--etcd-cafile", f"{CERTS}/ca.crt", "--etcd-certfile", f"{CERTS}/client.crt", "--etcd-keyfile", f"{CERTS}/client.key"]
        return args

    @property
    def node_files(self) -> dict:
        """What a node needs to be a client: path → text."""
        if not self.tls:
            return {}
        return {f"{CERTS}/{name}": (self.dir / name).read_text() for name in ("ca.crt", "client.crt", "client.key")}

    def create(self, net_conf: str) -> None:
        self.net_conf = net_conf
        self.dir.mkdir()
        if self.tls:
            authority = Authority(self.dir)
            authority.issue("client", "tulle")
            for host in self.hosts:
                authority.issue(host.name, host.name, host.ips + ["127.0.0.1"])

    def start(self) -> None:
        """Start every member; the hosts are up and plugged in."""
        for host in self.hosts:
            self.member_start(host)

    def member_start(self, host: Host) -> None:
        url, peer = self._url(host), self._url(host, 2380)
        cluster = ",".join(f"{h.name}={self._url(h, 2380)}" for h in self.hosts)
        fresh = not host.exists("/var/lib/etcd-lab/member")
        argv = ["etcd", "--name", host.name, "--data-dir", "/var/lib/etcd-lab", "--listen-client-urls", url,
                "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster, "--initial-cluster-state", "new" if fresh else "existing",
                "--heartbeat-interval", "50", "--election-timeout", "500", "--logger", "zap"]
        if self.tls:
            own = ["--{}cert-file", str(self.dir / f"{host.name}.crt"), "--{}key-file", str(self.dir / f"{host.name}.key"),
                   "--{}trusted-ca-file", str(self.dir / "ca.crt"), "--{}client-cert-auth"]
            for prefix in ("", "peer-"):
                argv += [word.format(prefix) for word in own]
        # the lab's directory lies under the machine's /run, which the host does not see: give it the files
        if self.tls:
            inside = "/etc/etcd-lab"
            for name in (f"{host.name}.crt", f"{host.name}.key", "ca.crt"):
                host.write(f"{inside}/{name}", (self.dir / name).read_text(), 0o600)
            argv = [word.replace(str(self.dir), inside) for word in argv]
        host.daemon(argv, "etcd")

    def member_stop(self, host: Host, number: int = 15) -> None:
        host.daemon_named("etcd").stop(number)

    def ready(self) -> None:
        """Every member healthy, the configuration stored."""
        for host in self.hosts:
            daemon = host.daemon_named("etcd")

            def healthy(host=host, daemon=daemon):
                if not daemon.running:
                    raise wait.GiveUp("etcd ended")
                status, text = host.http(self._url(host) + "/health", tls=self._tls())
                return status == 200 and "true" in text
            wait.until(healthy, f"{host.name}: etcd healthy", 20, detail=lambda d=daemon: wait.tail(d.log_path))
        self.put_config(self.net_conf)

    def put_config(self, net_conf: str) -> None:
        self.ctl("put", f"{PREFIX}/config", net_conf)

    def leases(self) -> dict:
        """Last part of the key → lease object."""
        answer = json.loads(self.ctl("get", "--prefix", f"{PREFIX}/subnets/", "-w", "json").stdout)
        pairs = [(base64.b64decode(kv["key"]).decode(), base64.b64decode(kv.get("value", ""))) for kv in answer.get("kvs", [])]
        return {key.rpartition("/")[2]: json.loads(value) for key, value in pairs}

    def ctl(self, *args, host=None, **options):
        """etcdctl on a member's host, as root's client."""
        host = host or next((h for h in self.hosts if h.daemon_named("etcd").running), None)
        if host is None:
            raise LabError("etcd: no member is running")
        argv = ["etcdctl", "--endpoints", self._url(host)]
        if self.tls:
            for name in ("ca.crt", "client.crt", "client.key"):
                if not host.exists(f"{CERTS}/{name}"):
                    host.write(f"{CERTS}/{name}", (self.dir / name).read_text(), 0o600)
            argv += ["--cacert", f"{CERTS}/ca.crt", "--cert", f"{CERTS}/client.crt", "--key", f"{CERTS}/client.key"]
        return host.run([*argv, *args], env={"ETCDCTL_API": "3"}, **options)

    def _url(self, host: Host, port: int = 2379) -> str:
        return f"{self.scheme}://{address.url_host(host.ip)}:{port}"

    def _tls(self):
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=str(self.dir / "ca.crt"))
        context.load_cert_chain(str(self.dir / "client.crt"), str(self.dir / "client.key"))
        return context
