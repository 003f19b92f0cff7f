# SPDX-License-Identifier: Apache-2.0
"""Many objects of Kubernetes in little time: written into the API server's etcd as it would keep them (it reads JSON as well as its own
encoding), and seen by it and all who watch as if they had come through it. Each write has a revision of its own, as the API server's
have: who resumes a watch would miss what shares one."""
import base64
import contextlib
import http.client
import json
import threading
import time
import uuid

PORT, WRITERS = 2379, 4
FOLDERS = {"Node": "minions", "Pod": "pods", "NetworkPolicy": "networkpolicies"}


def key(obj: dict) -> str:
    meta = obj["metadata"]
    return "/".join(("/registry", FOLDERS[obj["kind"]], *filter(None, (meta.get("namespace"), meta["name"]))))


def _kept(obj: dict) -> dict:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**obj, "metadata": {**obj["metadata"], "uid": str(uuid.uuid4()), "creationTimestamp": now}}


def _text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _put(obj: dict):
    return "put", {"key": _text(key(obj)), "value": _text(json.dumps(_kept(obj), separators=(",", ":")))}


def _delete(obj: dict):
    return "deleterange", {"key": _text(key(obj))}


class Bulk:
    """Several connections to the etcd of a lab's control plane."""

    def __init__(self, lab):
        self._lock, self._connections = threading.Lock(), []
        for _ in range(WRITERS):
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
            self._connections.append(connection)
            connection.sock = lab.control.connect("127.0.0.1", PORT, 60)

    def _next(self, left):
        with self._lock:
            return next(left, None)

    def _work(self, connection, left, operation, failures) -> None:
        while not failures and (obj := self._next(left)) is not None:
            verb, body = operation(obj)
            connection.request("POST", f"/v3/kv/{verb}", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failures.append(f"etcd: {answer.status}: {text[:300]}")

    def _each(self, objects, operation) -> None:
        left, failures = iter(objects), []
        threads = [threading.Thread(target=self._work, args=(connection, left, operation, failures)) for connection in self._connections]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])

    def put(self, objects, what: str) -> None:
        began = time.monotonic()
        self._each(objects, _put)
        print(f"   {what} written in {time.monotonic() - began:.1f} s", flush=True)

    def delete(self, objects) -> None:
        self._each(objects, _delete)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@contextlib.contextmanager
def opened(lab):
    bulk = Bulk(lab)
    try:
        yield bulk
    finally:
        bulk.close()
