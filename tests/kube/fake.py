# SPDX-License-Identifier: Apache-2.0
"""An API server that does what a test tells it: also what no real one would do. And a wire that can be cut."""

import http.server
import json
import select
import socket
import ssl
import threading
import time
import urllib.parse


def obj(name, version="1", **more):
    return {"kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "default", "resourceVersion": version}, **more}


def event(kind, one):
    return (json.dumps({"type": kind, "object": one}) + "\n").encode()


def bookmark(version, end=False):
    annotations = {"k8s.io/initial-events-end": "true"} if end else {}
    return event("BOOKMARK", {"kind": "ConfigMap", "metadata": {"resourceVersion": version, "annotations": annotations}})


def items(version, *objects, more=None):
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return json.dumps({"kind": "ConfigMapList", "metadata": metadata, "items": objects}).encode()


def status(code, reason, message, **more):
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                       "message": message, **more}).encode()


class Request:
    def __init__(self, number, path, headers):
        self.at = time.monotonic()
        self.number, self.headers = number, headers
        parts = urllib.parse.urlsplit(path)
        self.path = parts.path
        self.query = {k: v[0] for k, v in urllib.parse.parse_qs(parts.query).items()}
        self.watch = "watch" in self.query
        self.streamed = "sendInitialEvents" in self.query
        self.check = self.query.get("limit") == "1"
        self.version = self.query.get("resourceVersion", "")


class Fake:
    """answer(request) gives (status, headers, body); a body that is no bytes is an iterator, sent as it comes: None lets
    the stream stand open until the end of the test, an exception cuts it."""

    def __init__(self, answer, tls=None):
        self.requests, self.closing = [], threading.Event()
        lock = threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                with lock:
                    request = Request(len(fake.requests), self.path, self.headers)
                    fake.requests.append(request)
                code, headers, body = answer(request)
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                if isinstance(body, bytes):
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                else:
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.stream(body)

            do_PATCH = do_POST = do_PUT = do_DELETE = do_GET

            def stream(self, body):
                try:
                    for piece in body:
                        if piece is None:
                            fake.closing.wait()
                        else:
                            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                            self.wfile.flush()
                    self.wfile.write(b"0\r\n\r\n")
                except (OSError, StopAsyncIteration):
                    self.close_connection = True

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def handle_error(self, *args):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, tls))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def cut():
    """In a body: the connection breaks here."""
    raise StopAsyncIteration


class Wire:
    """A TCP relay to a port on loopback. cut() breaks what goes through it; freeze() lets it hang."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.pairs, self.frozen, self.connections = [], False, 0
        self.closed = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.closed:
            sockets = [self.listener] + [s for pair in self.pairs for s in pair]
            for one in select.select(sockets, [], [], 0.05)[0]:
                if one is self.listener:
                    self._accept()
                elif not self.frozen:
                    self._relay(one)

    def _accept(self):
        client = self.listener.accept()[0]
        self.connections += 1
        try:
            self.pairs.append((client, socket.create_connection(("127.0.0.1", self.port))))
        except OSError:
            client.close()

    def _relay(self, one):
        for pair in list(self.pairs):
            if one not in pair:
                continue
            try:
                data = one.recv(65536)
                if data:
                    pair[one is pair[0]].sendall(data)
                    return
            except OSError:
                pass
            self._close(pair)

    def _close(self, pair):
        self.pairs.remove(pair)
        for one in pair:
            one.close()

    def cut(self):
        for pair in list(self.pairs):
            for one in pair:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def stop(self):
        self.closed = True
        self.thread.join()
        for pair in list(self.pairs):
            self._close(pair)
        self.listener.close()
