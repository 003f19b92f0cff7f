# SPDX-License-Identifier: Apache-2.0
"""A real kube-apiserver with a real etcd on loopback: just the API, without controllers and nodes."""

import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/shared"))

from loopback import SLOW, free_ports, wait_for  # noqa: E402

BINARIES = pathlib.Path(os.environ.get("TULLE_KUBERNETES", ROOT / "build/kubernetes"))


# -- certificates --

def openssl(*args, **kwargs):
    subprocess.run(["openssl", *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kwargs)


class Authority:
    """A certificate authority in a directory, and what it signs."""

    def __init__(self, directory, name="ca"):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.cert, self.key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 30,
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def sign(self, name, subject, alternative="", days=30):
        """Paths of a new certificate and its key."""
        cert, key, request = (self.directory / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.directory / f"{name}.ext"
        extensions.write_text("extendedKeyUsage=serverAuth,clientAuth\n" +
                              (f"subjectAltName={alternative}\n" if alternative else ""))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject,
                "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
                "-days", days, "-extfile", extensions, "-out", cert)
        return cert, key


# -- processes --

class Process:
    def __init__(self, directory, name, args):
        self.log = pathlib.Path(directory) / f"{name}.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(list(map(str, args)), stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def stop(self, how=signal.SIGKILL):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]


class Etcd:
    def __init__(self, directory, binary="etcd"):
        self.directory, self.binary = pathlib.Path(directory), binary
        client, peer = free_ports(2)
        self.url, self.peer = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        self.process = None

    def start(self):
        self.process = Process(self.directory, "etcd", [
            self.binary, "--name", "m", "--data-dir", self.directory / "data", "--listen-client-urls", self.url,
            "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls",
            self.peer, "--initial-cluster", f"m={self.peer}", "--unsafe-no-fsync"])
        wait_for("etcd to serve", lambda: self.ctl("get", "x", check=False).returncode == 0)

    def stop(self):
        if self.process:
            self.process.stop()

    def ctl(self, *args, check=True):
        return subprocess.run(["etcdctl", "--endpoints", self.url, "--command-timeout=5s", *map(str, args)], check=check,
                              capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"))

    def save(self):
        """A snapshot, as far as restore() needs it."""
        path = self.directory / "snapshot.db"
        path.unlink(missing_ok=True)
        self.ctl("snapshot", "save", path)

    def restore(self):
        self.stop()
        shutil.rmtree(self.directory / "data")
        subprocess.run(["etcdctl", "snapshot", "restore", str(self.directory / "snapshot.db"), "--name", "m",
                        "--data-dir", str(self.directory / "data"), "--initial-cluster", f"m={self.peer}",
                        "--initial-advertise-peer-urls", self.peer], check=True, capture_output=True,
                       env=dict(os.environ, ETCDCTL_API="3"))
        self.start()

    def compact(self):
        revision = json.loads(self.ctl("get", "-w", "json", "x").stdout)["header"]["revision"]
        self.ctl("compact", revision)


class Server:
    """One kube-apiserver."""

    def __init__(self, cluster, number, *args):
        self.cluster, self.args = cluster, args
        self.port, = free_ports(1)
        self.url = f"https://127.0.0.1:{self.port}"
        self.directory = cluster.directory / f"server-{number}"
        self.directory.mkdir()
        self.process = None

    def start(self, *more, wait=True):
        keys = self.cluster.authority.directory
        self.process = Process(self.directory, "apiserver", [
            BINARIES / "cluster", "kube-apiserver", "--etcd-servers", self.cluster.etcd.url, "--bind-address", "127.0.0.1",
            "--secure-port", self.port, "--cert-dir", self.directory, "--tls-cert-file", keys / "server.pem",
            "--tls-private-key-file", keys / "server.key", "--client-ca-file", keys / "ca.pem",
            "--token-auth-file", self.cluster.directory / "tokens.csv", "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", keys / "server.pem",
            "--service-account-signing-key-file", keys / "server.key", "--service-cluster-ip-range", "10.96.0.0/16",
            "--endpoint-reconciler-type", "none", "--disable-admission-plugins", "ServiceAccount",
            "--shutdown-delay-duration", "0s", "-v", "0", *self.args, *more])
        if wait:
            self.wait()

    def wait(self):
        wait_for(lambda: f"{self.url} to be ready: {self.process.tail()}", self.is_ready, 180 * SLOW)

    def is_ready(self):
        if self.process.process.poll() is not None:
            pytest.fail(f"kube-apiserver has ended: {self.process.tail()}")
        try:
            return self.cluster.request("GET", "/readyz", server=self)[0] == 200
        except OSError:
            return False

    def stop(self, how=signal.SIGKILL):
        if self.process:
            self.process.stop(how)
            self.process = None


class Cluster:
    """etcd and API servers, with an administrator's certificate, and users by token."""

    def __init__(self, directory, *args, servers=1, etcd="etcd"):
        self.directory = pathlib.Path(directory)
        self.authority = Authority(self.directory / "keys")
        self.authority.sign("server", "/CN=kube-apiserver", "IP:127.0.0.1,DNS:kubernetes.default.svc")
        self.admin = self.authority.sign("admin", "/O=system:masters/CN=admin")
        self.tokens = {"admin-token": ("admin", "system:masters"), "narrow-token": ("narrow", "")}
        self.write_tokens()
        self.etcd = Etcd(self.directory, etcd)
        self.servers = [Server(self, i, *args) for i in range(servers)]
        self.context = ssl.create_default_context(cafile=str(self.authority.cert))
        self.context.load_cert_chain(*map(str, self.admin))

    def write_tokens(self):
        lines = [f'{token},{name},{name},"{groups}"' for token, (name, groups) in self.tokens.items()]
        (self.directory / "tokens.csv").write_text("\n".join(lines) + "\n")

    def start(self):
        self.etcd.start()
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait()
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}}, allow=409)

    def stop(self):
        for server in self.servers:
            server.stop()
        self.etcd.stop()

    def request(self, method, path, body=None, server=None, kind="application/json", allow=None):
        """(status, decoded answer) as the administrator."""
        request = urllib.request.Request((server or self.servers[0]).url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": kind, "Accept": "application/json"})
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text[:1] == b"{" else text
        except urllib.error.HTTPError as error:
            if error.code == allow or path == "/readyz":
                return error.code, error.read()
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]}") from error

    # -- ConfigMaps --

    MAPS = "/api/v1/namespaces/default/configmaps"

    def create(self, name, value="", **labels):
        return self.request("POST", self.MAPS, {"metadata": {"name": name, "labels": labels}, "data": {"v": value}})[1]

    def update(self, name, value):
        return self.request("PATCH", f"{self.MAPS}/{name}", {"data": {"v": value}},
                            kind="application/merge-patch+json")[1]

    def delete(self, name):
        self.request("DELETE", f"{self.MAPS}/{name}")

    def create_many(self, prefix, count, size=10, first=0):
        """Many at once: one List through the API for each chunk would be refused, so a few connections share the work."""
        import concurrent.futures
        import http.client

        def some(numbers):
            connection = http.client.HTTPSConnection("127.0.0.1", self.servers[0].port, context=self.context)
            for n in numbers:
                body = json.dumps({"metadata": {"name": f"{prefix}-{n}"}, "data": {"v": "x" * size}})
                connection.request("POST", self.MAPS, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 201, answer.status
            connection.close()

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(some, [range(first + i, first + count, 4) for i in range(4)]))

    # -- kubeconfig --

    def kubeconfig(self, name, user, **cluster):
        """A kubeconfig file; user and cluster are in its own words."""
        cluster = {"server": self.servers[0].url, "certificate-authority": str(self.authority.cert), **cluster}
        path = self.directory / name
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "c", "cluster": {k: v for k, v in cluster.items() if v is not None}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}]}, indent=1))
        return path

    def admin_kubeconfig(self):
        cert, key = self.admin
        return self.kubeconfig("admin.kubeconfig", {"client-certificate": str(cert), "client-key": str(key)})


def newer_etcd():
    """An etcd that streams lists through the API server (3.4.31, 3.5.13 or newer; Debian 12's does not)."""
    return BINARIES / "etcd"
