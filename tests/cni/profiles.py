# SPDX-License-Identifier: Apache-2.0
"""The plugins that the suite knows, and what each is known to do differently, with the reason.

A deviation is recorded by the test's name (with parameters, or without for all of them): the test is then expected to
fail for that plugin, and it is an error when it passes, so that the table stays true."""
import dataclasses
import json
import os
import pathlib
import subprocess

from node import Plugin, die_with_parent, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALL = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
# Debian 12 ships the plugins in version 1.1.1, whose skeleton ends at CNI 1.0.0.
OLD_SKELETON = {
    "test_bad_value_comes_before_missing": "skeleton 1.1.1 reports missing variables before bad values",
    "test_gc_and_status_are_too_new": "skeleton 1.1.1 knows neither and asks for a container id (code 3)",
}

DEVIATIONS = {
    "tulle": {},
    "ptp": {**OLD_SKELETON},
    "bridge": {**OLD_SKELETON},
    "custom": {},
}


@dataclasses.dataclass
class Profile:
    name: str
    versions: list
    parallel: int = 20
    rounds: int = 2
    ours: bool = False


PROFILES = {
    "tulle": Profile("tulle", ALL, parallel=200, rounds=100, ours=True),
    "ptp": Profile("ptp", ALL[:-1]),
    "bridge": Profile("bridge", ALL[:-1]),
}


class Agent:
    """tests/cni/cni_harness: the CNI server and pod attachment, in the node's namespaces."""

    def __init__(self, node, build, directory, masq="0", block="10.97.0.0/22", block6="fd00:97::/64"):
        self.node, self.directory = node, directory
        self.words = [str(build / "tests/cni/cni_harness"), str(directory), block, block6, "10.96.0.0/12",
                      "fd00:97::/48", masq]
        self.process = None
        self.log = open(directory / "agent.log", "ab")
        self.start()

    def start(self):
        socket = self.directory / "cni.sock"
        socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.node.command(*self.words), stdout=self.log, stderr=self.log,
                                        preexec_fn=die_with_parent)
        wait_until(lambda: socket.exists() or self.process.poll() is not None, "the agent's socket")
        assert self.process.poll() is None, (self.directory / "agent.log").read_text()

    def stop(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        code = self.process.wait(timeout=30)
        assert kill or code == 0, f"the agent ended with {code}: {(self.directory / 'agent.log').read_text()}"

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.log.close()


def host_local(directory):
    return {"type": "host-local", "dataDir": str(directory / "networks"),
            "ranges": [[{"subnet": "10.97.0.0/22"}], [{"subnet": "fd00:97::/64"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}


def make_plugin(name, node, build, directory, config):
    if name == "custom":
        template = config.getoption("--conf-template") or "{}"
        text = pathlib.Path(template).read_text() if os.path.exists(template) else template
        return Plugin(node, config.getoption("--plugin"), json.loads(text.replace("${DIR}", str(directory))),
                      dict(pair.split("=", 1) for pair in config.getoption("--plugin-env")))
    if name == "tulle":
        return Plugin(node, str(build / "src/cni/tulle"), {"type": "tulle"},
                      {"TULLE_SOCKET": str(directory / "cni.sock"), "TULLE_SPOOL": str(directory / "spool")})
    conf = {"type": name, "ipam": host_local(directory)}
    if name == "bridge":
        conf.update(bridge="suite0", isGateway=True)
    return Plugin(node, f"/usr/lib/cni/{name}", conf)
