# SPDX-License-Identifier: Apache-2.0
"""Who is who in a cluster: one authority, certificates, and a kubeconfig for each component."""

import base64
import json
import threading
from pathlib import Path

from . import proc
from .certs import Authority

ADMINISTRATORS = "system:masters"


class Identities:
    """The cluster's certificates and kubeconfigs in one directory of the machine; hosts are given what they need by text."""

    def __init__(self, directory: Path, url: str):
        """url: of the API server, as every component reaches it.  What is there already, from another command, is used."""
        directory.mkdir(mode=0o700, exist_ok=True)
        self.dir, self.url = directory, url
        self._lock = threading.Lock()
        self._authority = Authority(directory)
        if not (directory / "accounts.pub").exists():
            self._openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "accounts.key")
            self._openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")

    def text(self, name: str) -> str:
        return (self.dir / name).read_text()

    def server(self, name: str, common_name: str, addresses=(), names=(), organization=None) -> None:
        self._authority.issue(name, common_name, addresses, names, organization)

    def kubeconfig(self, name: str, user: str, group=None) -> str:
        """NAME.kubeconfig (and NAME.crt, NAME.key) for a user; returns its text."""
        path = self.dir / f"{name}.kubeconfig"
        with self._lock:  # nodes are prepared at the same time, and share some
            if not path.exists():
                self._authority.issue(name, user, organization=group)
                path.write_text(self._config(user, {"client-certificate-data": self._data(f"{name}.crt"),
                                                    "client-key-data": self._data(f"{name}.key")}))
                path.chmod(0o600)
        return path.read_text()

    def kubeconfig_of_token(self, user: str, token: str) -> str:
        return self._config(user, {"token": token})

    def _config(self, user: str, secret: dict) -> str:
        conf = {"apiVersion": "v1", "kind": "Config", "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": {"server": self.url, "certificate-authority-data": self._data("ca.crt")}}],
                "users": [{"name": user, "user": secret}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}]}
        return json.dumps(conf, indent=1) + "\n"

    def _data(self, name: str) -> str:
        return base64.b64encode((self.dir / name).read_bytes()).decode()

    def _openssl(self, *args: str) -> None:
        proc.run(["openssl", *args], "openssl", cwd=self.dir)
