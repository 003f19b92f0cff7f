# SPDX-License-Identifier: Apache-2.0
"""A cluster of real etcd members on free loopback ports, whose members can be killed, stopped and brought back."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "kube"))

from cluster import wait_for  # noqa: E402


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Member:
    def __init__(self, name, client, peer):
        self.name, self.client, self.peer, self.process = name, client, peer, None
        self.url, self.peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"


class Etcd:
    def __init__(self, directory, size):
        ports = free_ports(2 * size)
        self.directory = directory
        self.members = [Member(f"m{i}", ports[2 * i], ports[2 * i + 1]) for i in range(size)]
        self.endpoints = ",".join(member.url for member in self.members)

    def launch(self, member):
        log = open(self.directory / f"{member.name}.log", "ab")
        member.process = subprocess.Popen(
            ["etcd", "--name", member.name, "--data-dir", str(self.directory / member.name),
             "--listen-client-urls", member.url, "--advertise-client-urls", member.url,
             "--listen-peer-urls", member.peer_url, "--initial-advertise-peer-urls", member.peer_url,
             "--initial-cluster", ",".join(f"{one.name}={one.peer_url}" for one in self.members)],
            stdout=log, stderr=log)
        log.close()

    def start(self):
        for member in self.members:
            self.launch(member)
        self.wait()

    def wait(self):
        environment = dict(os.environ, ETCDCTL_API="3")
        wait_for("etcd to serve", lambda: subprocess.run(
            ["etcdctl", "--endpoints", self.endpoints, "--command-timeout=3s", "get", "x"], capture_output=True,
            env=environment, check=False).returncode == 0, 60)

    def cut(self, member, how):
        member.process.send_signal(how)
        if how == signal.SIGKILL:
            member.process.wait()

    def revive(self, member):
        if member.process.poll() is None:
            member.process.send_signal(signal.SIGCONT)
        else:
            self.launch(member)

    def stop(self):
        for member in self.members:
            if member.process and member.process.poll() is None:
                member.process.kill()
                member.process.wait()
