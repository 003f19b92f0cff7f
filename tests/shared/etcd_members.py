# SPDX-License-Identifier: Apache-2.0
"""A cluster of real etcd members on free loopback ports, whose members can be killed, stopped and brought back."""

import os
import pathlib
import signal
import subprocess

from loopback import free_ports, wait_for


class Member:
    def __init__(self, directory, name, client, peer, tls=None):
        self.directory, self.name, self.tls, self.process = pathlib.Path(directory), name, tls, None
        self.url, self.peer_url = f"{'https' if tls else 'http'}://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"

    def start(self, cluster, new="new"):
        args = ["etcd", "--name", self.name, "--data-dir", self.directory / self.name, "--listen-client-urls", self.url,
                "--advertise-client-urls", self.url, "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls",
                self.peer_url, "--initial-cluster", cluster, "--initial-cluster-state", new]
        if self.tls:
            args += ["--cert-file", f"{self.tls}/server.pem", "--key-file", f"{self.tls}/server.key",
                     "--trusted-ca-file", f"{self.tls}/ca.pem", "--client-cert-auth"]
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(list(map(str, args)), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self, how=signal.SIGKILL):
        if self.process:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)


class Members:
    """One cluster."""

    def __init__(self, directory, size=1, tls=None):
        ports = free_ports(2 * size)
        self.tls, self.user = tls, None
        self.members = [Member(directory, f"m{i}", ports[2 * i], ports[2 * i + 1], tls) for i in range(size)]
        self.cluster = ",".join(f"{m.name}={m.peer_url}" for m in self.members)

    def start(self):
        for member in self.members:
            member.start(self.cluster)
        self.wait()

    def wait(self):
        wait_for("etcd to serve", lambda: self.ctl("get", "probe", check=False).returncode == 0)

    def revive(self, member):
        """After a stop or a pause."""
        if member.process:
            member.process.send_signal(signal.SIGCONT)
        else:
            member.start(self.cluster)

    def stop(self):
        for member in self.members:
            member.stop()

    @property
    def endpoints(self):
        return ",".join(m.url for m in self.members)

    def ctl(self, *args, check=True):
        alive = ",".join(m.url for m in self.members if m.process)
        command = ["etcdctl", "--endpoints", alive, "--command-timeout=3s"]
        if self.tls:
            command += ["--cacert", f"{self.tls}/ca.pem", "--cert", f"{self.tls}/client.pem", "--key", f"{self.tls}/client.key"]
        if self.user:
            command += ["--user", self.user]
        return subprocess.run([*command, *args], capture_output=True, text=True, check=check,
                              env=dict(os.environ, ETCDCTL_API="3"))
