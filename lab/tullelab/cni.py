# SPDX-License-Identifier: Apache-2.0
"""A container runtime's half of CNI: what libcni does with a conflist, in one readable place.

reference: CNI specification 1.1.0, sections 3 to 5; libcni 1.x for what the text leaves open (results cached under
/var/lib/cni/results, capabilities merged as runtimeConfig, DEL in reverse order with the final result of ADD)."""

import base64
import json
from pathlib import PurePosixPath

from . import proc
from .errors import CniError, LabError

CONF_DIR = "/etc/cni/net.d"
CACHE = "/var/lib/cni/results"


class Attachment:
    """One container's interface: what every operation on it is told."""

    def __init__(self, container_id: str, netns: str, ifname="eth0", args="", capabilities=None):
        self.container_id, self.netns, self.ifname, self.args = container_id, netns, ifname, args
        self.capabilities = capabilities or {}


class Runtime:
    def __init__(self, node, path, timeout: float = 60):
        """path: directories with plugins, in order (CNI_PATH)."""
        self.node, self.path, self.timeout = node, list(path), timeout

    def conflist(self) -> dict:
        """The node's network: the first list in byte order of the file names."""
        directory = self.node.root / CONF_DIR.lstrip("/")
        files = sorted(p for p in directory.iterdir() if p.suffix == ".conflist")
        if not files:
            raise LabError(f"{self.node.name}: no .conflist in {CONF_DIR}")
        return json.loads(files[0].read_text())

    def add(self, attachment: Attachment) -> dict:
        """Run the chain; returns the final result and caches it.  A failed chain is undone by DEL before the error."""
        conf, result = self.conflist(), None
        try:
            for plugin in conf["plugins"]:
                result = json.loads(self._call("ADD", conf, plugin, attachment, result))
        except (CniError, ValueError) as error:
            try:
                self.delete(attachment)
            except CniError:
                pass  # the ADD's own error is the story
            if isinstance(error, CniError):
                raise
            raise LabError(f"{self.node.name}: ADD: the plugin's answer is not JSON: {error}") from None
        entry = {"kind": "cniCacheV1", "containerId": attachment.container_id, "ifName": attachment.ifname,
                 "networkName": conf["name"], "netns": attachment.netns, "result": result,
                 "config": base64.b64encode(json.dumps(conf).encode()).decode(),
                 "cniArgs": [pair.split("=", 1) for pair in attachment.args.split(";") if pair],
                 "capabilityArgs": attachment.capabilities}
        self.node.write(self._cache(conf, attachment), json.dumps(entry), 0o600)
        return result

    def delete(self, attachment: Attachment) -> None:
        conf = self.conflist()
        result = self._cached(conf, attachment)
        for plugin in reversed(conf["plugins"]):
            self._call("DEL", conf, plugin, attachment, result)
        (self.node.root / self._cache(conf, attachment).lstrip("/")).unlink(missing_ok=True)

    def check(self, attachment: Attachment) -> None:
        conf = self.conflist()
        result = self._cached(conf, attachment)
        for plugin in conf["plugins"]:
            self._call("CHECK", conf, plugin, attachment, result)

    def status(self) -> None:
        """STATUS of every plugin; needs cniVersion 1.1.0."""
        conf = self.conflist()
        for plugin in conf["plugins"]:
            self._call("STATUS", conf, plugin, None, None)

    def gc(self, valid) -> None:
        """GC; valid: the attachments that still live.  Needs cniVersion 1.1.0."""
        conf = self.conflist()
        keys = [{"containerID": a.container_id, "ifname": a.ifname} for a in valid]
        for plugin in conf["plugins"]:
            self._call("GC", conf, plugin, None, None, {"cni.dev/valid-attachments": keys, "cni.dev/attachments": keys})

    def call_plugin(self, command: str, plugin_type: str, stdin: str, attachment=None, **overrides):
        """One bare call: the finished process, whatever its status.  overrides: environment variables to change."""
        a = attachment or Attachment("", "", "")
        env = {"CNI_COMMAND": command, "CNI_CONTAINERID": a.container_id, "CNI_NETNS": a.netns, "CNI_IFNAME": a.ifname,
               "CNI_ARGS": a.args, "CNI_PATH": ":".join(map(str, self.path))}
        env.update(overrides)
        return self.node.run([self._find(plugin_type)], check=False, env=env, input=stdin, timeout=self.timeout)

    def _call(self, command, conf, plugin, attachment, result, extra=None) -> str:
        merged = dict(plugin, name=conf["name"], cniVersion=conf.get("cniVersion", "0.1.0"))
        if result is not None:
            merged["prevResult"] = result
        if attachment:
            wanted = {key: attachment.capabilities[key] for key, on in plugin.get("capabilities", {}).items()
                      if on and key in attachment.capabilities}
            if wanted:
                merged["runtimeConfig"] = wanted
        merged.update(extra or {})
        done = self.call_plugin(command, plugin["type"], json.dumps(merged), attachment)
        if done.returncode == 0:
            return done.stdout
        try:
            error = json.loads(done.stdout)
        except ValueError:
            error = {"code": None, "msg": f"status {done.returncode}, no error object",
                     "details": (done.stdout + done.stderr).strip()[-2000:]}
        raise CniError(f"{plugin['type']} on {self.node.name}", command, error)

    def _find(self, plugin_type: str) -> str:
        for directory in self.path:
            candidate = PurePosixPath(directory) / plugin_type
            if self.node.exists(str(candidate)):
                return str(candidate)
        raise LabError(f"CNI plugin {plugin_type}: not in {':'.join(map(str, self.path))}"
                       + (" (run `make`, or set TULLE_BUILD)" if plugin_type == "tulle" else ""))

    @staticmethod
    def _cache(conf, attachment) -> str:
        return f"{CACHE}/{conf['name']}-{attachment.container_id}-{attachment.ifname}"

    def _cached(self, conf, attachment):
        path = self._cache(conf, attachment)
        return json.loads(self.node.read(path))["result"] if self.node.exists(path) else None
