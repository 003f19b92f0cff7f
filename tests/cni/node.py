# SPDX-License-Identifier: Apache-2.0
"""A node for the protocol suite: a network and mount namespace of its own, with pods' namespaces in it, and a plugin
that is called in it as a container runtime calls one."""
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, what, seconds=20):
    """Waits for condition() to be true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


class Node:
    SETUP = ("mount --make-rprivate / && mkdir -p /run/netns && mount -t tmpfs none /run/netns && ip link set lo up && "
             "ip addr add 192.0.2.1/32 dev lo && ip addr add 2001:db8::1/128 dev lo nodad && echo ready && "
             "exec sleep infinity")

    def __init__(self, dad=True):
        """dad: whether pods look for duplicates of their IPv6 addresses, as they do everywhere but in a test of something else."""
        self.dad = dad
        self.holder = subprocess.Popen(["unshare", "--net", "--mount", "/bin/sh", "-c", self.SETUP],
                                       stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.holder.stdout.readline() == b"ready\n"
        self.count = 0
        self.names = set()

    def close(self):
        for name in list(self.names):
            self.remove_netns(name)
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def command(self, *words):
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "--", *words]

    def run(self, *words, check=True):
        done = subprocess.run(self.command(*words), capture_output=True, text=True)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done

    def ip(self, *words, pod=None):
        """Output of ip -j as objects."""
        out = self.run("ip", "-j", *(["-n", pod] if pod else []), *words).stdout
        return json.loads(out or "[]")

    def add_netns(self):
        self.count += 1
        name = f"pod{self.count}"
        self.run("ip", "netns", "add", name)
        self.names.add(name)
        if not self.dad:
            self.run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        return name

    def remove_netns(self, name):
        self.run("ip", "netns", "del", name, check=False)
        self.names.discard(name)

    @staticmethod
    def path(name):
        return f"/var/run/netns/{name}"

    def links(self):
        return {link["ifname"] for link in self.ip("link")}

    def routes(self):
        return [r["dst"] for family in ("-4", "-6") for r in self.ip(family, "route", "show", "table", "all")
                if r.get("type", "unicast") == "unicast"]


@dataclasses.dataclass
class Answer:
    exit: int
    out: bytes
    err: bytes

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def code(self):
        """Code of the error object; the call must have failed properly."""
        assert self.exit != 0, f"expected a failure, got success and {self.out!r}"
        error = self.json
        assert isinstance(error["code"], int) and error["code"] > 0 and error["msg"], error
        return error["code"]

    def ok(self):
        assert self.exit == 0, f"exit {self.exit}: {self.out!r} {self.err!r}"
        return self

    def silent(self):
        self.ok()
        assert self.out.strip() == b"", self.out
        return self


class Plugin:
    def __init__(self, node, path, conf, environment=None):
        self.node, self.path, self.template = node, path, conf
        self.environment = {"PATH": os.environ["PATH"], "CNI_PATH": "/usr/lib/cni", **(environment or {})}

    def conf(self, version="1.0.0", **keys):
        conf = {"cniVersion": version, "name": "suite", **self.template, **keys}
        return {key: value for key, value in conf.items() if value is not None}

    def start(self, command, env=None, stdin=subprocess.PIPE):
        full = {**self.environment, **({"CNI_COMMAND": command} if command is not None else {}), **(env or {})}
        full = {key: value for key, value in full.items() if value is not None}
        return subprocess.Popen(self.node.command(self.path), env=full, stdin=stdin, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def call(self, command, conf=None, env=None, timeout=60):
        """conf: an object, or the bytes of stdin as they are."""
        data = conf if isinstance(conf, bytes) else json.dumps(self.conf() if conf is None else conf).encode()
        process = self.start(command, env)
        try:
            out, err = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"{command}: no answer within {timeout} s")
        return Answer(process.returncode, out, err)

    @staticmethod
    def variables(pod, container=None, ifname="eth0", **more):
        return {"CNI_CONTAINERID": container or f"id-{pod}", "CNI_NETNS": Node.path(pod), "CNI_IFNAME": ifname,
                "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=p", **more}

    def add(self, pod, conf=None, **more):
        return self.call("ADD", conf, self.variables(pod, **more))

    def delete(self, pod, conf=None, **more):
        return self.call("DEL", conf, self.variables(pod, **more))

    def check(self, pod, result, conf=None, **more):
        conf = dict(conf or self.conf())
        return self.call("CHECK", {**conf, "prevResult": result}, self.variables(pod, **more))
