# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API as the lab itself uses it: JSON over HTTPS, one request a connection.  People and tests of kubectl use kubectl."""

import contextlib
import http.client
import json
import ssl

from . import address
from .errors import LabError

MERGE = "application/merge-patch+json"


class ApiError(LabError):
    """The API server refused; .code is HTTP's, .status the Status object where there is one."""

    def __init__(self, method: str, path: str, code: int, text: str):
        self.code = code
        try:
            self.status = json.loads(text)
        except ValueError:
            self.status = {}
        message = self.status.get("message") if isinstance(self.status, dict) else None
        super().__init__(f"API server: {method} {path} answered {code}: {message or text.strip()[:500]}")


class Api:
    """A client with the rights of one identity of the cluster (kube_pki)."""

    def __init__(self, host, directory, port: int, name: str = "admin"):
        """host: whose network namespace the connections are made in; also the one the server listens on.  directory: of kube_pki."""
        self._host, self._port = host, port
        self.tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        self.tls.load_cert_chain(str(directory / f"{name}.crt"), str(directory / f"{name}.key"))

    def request(self, method: str, path: str, body=None, content_type: str = "application/json", timeout: float = 20) -> str:
        connection = http.client.HTTPConnection(address.url_host(self._host.ip), self._port, timeout=timeout)
        connection.sock = self._host.connect(self._host.ip, self._port, timeout)
        with contextlib.closing(connection):
            connection.sock = self.tls.wrap_socket(connection.sock, server_hostname=self._host.ip)
            try:
                connection.request(method, path, None if body is None else json.dumps(body),
                                   {"Content-Type": content_type, "Accept": "application/json"})
                answer = connection.getresponse()
                text = answer.read().decode(errors="replace")
            except http.client.HTTPException as error:
                raise LabError(f"API server: {method} {path}: {type(error).__name__}: {error}") from None
        if answer.status >= 300:
            raise ApiError(method, path, answer.status, text)
        return text

    def get(self, path: str) -> dict:
        return json.loads(self.request("GET", path))

    def items(self, path: str) -> list:
        return self.get(path)["items"]

    def create(self, path: str, body: dict) -> dict:
        return json.loads(self.request("POST", path, body))

    def patch(self, path: str, body: dict, content_type: str = MERGE) -> dict:
        return json.loads(self.request("PATCH", path, body, content_type))

    def delete(self, path: str, missing_ok: bool = False) -> None:
        try:
            self.request("DELETE", path)
        except ApiError as error:
            if not (missing_ok and error.code == 404):
                raise
