# SPDX-License-Identifier: Apache-2.0
"""A node: a host with an agent, a CNI configuration and pods."""

import json
import signal
import socket
from ipaddress import ip_network

from . import address, cni, proc, wait
from .errors import LabError
from .host import Host
from .pod import Pod, ask, ping, serve

HEALTH_PORT = 8081
CONFLIST = "/etc/cni/net.d/10-tulle.conflist"
DEBIAN_PLUGINS = "/usr/lib/cni"
VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


class Node(Host):
    sysctl = {"net.ipv4.ip_forward": 0}  # what forwards is the agent's to say
    health_port = HEALTH_PORT  # of the agent

    def __init__(self, lab, index: int, name=None, port=None):
        """name, port: other ones than the lab's own."""
        super().__init__(lab, name or f"node-{index}", port or address.node(index, lab.underlay.kind, lab.family))
        self.index = index
        self.runtime = cni.Runtime(self, [lab.build, DEBIAN_PLUGINS])

    # --- configuration ---

    def configure(self) -> None:
        """Write the CNI configuration (a real node's agent or operator does so last of all)."""
        first = {"tulle": self._tulle, "ptp": self._reference, "bridge": self._reference}[self.lab.plugin]()
        conf = {"cniVersion": "1.0.0", "cniVersions": VERSIONS, "name": "tulle", "plugins": [first, PORTMAP]}
        self.write(CONFLIST, json.dumps(conf, indent=2))
        for path, text in getattr(self.lab.store, "node_files", {}).items():
            self.write(path, text, 0o600)

    @staticmethod
    def _tulle() -> dict:
        return {"type": "tulle", "capabilities": {"bandwidth": True, "ips": True, "mac": True}}

    def _reference(self) -> dict:
        """Debian's ptp or bridge plugin with host-local, for comparison: no agent, peers' subnets routed by hand."""
        subnets = self.subnets(self.index)
        routes = [{"dst": "0.0.0.0/0" if s.version == 4 else "::/0"} for s in subnets]
        ipam = {"type": "host-local", "ranges": [[{"subnet": str(s)}] for s in subnets], "routes": routes}
        extra = {"isGateway": True} if self.lab.plugin == "bridge" else {}
        return {"type": self.lab.plugin, "ipMasq": False, "mtu": self.lab.underlay.mtu, "ipam": ipam, **extra}

    def subnets(self, index: int) -> list:
        """Pod subnets of node `index` where the reference plugins are used; with an agent, the leases say."""
        numbers = {4: (address.PODS4, 24), 6: (address.PODS6, 64)}
        return [ip_network((int(network.network_address) + (index << network.max_prefixlen - length), length))
                for version, (network, length) in numbers.items() if version in address.families(self.lab.family)]

    def route_by_hand(self) -> None:
        """What host-gw and masquerade would program, for the reference plugins."""
        lines = ["sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"]
        for peer in self.lab.nodes:
            if peer is not self and peer.port.rack == self.port.rack:
                lines += [f"ip route replace {subnet} via {peer.ip_of(subnet.version)}" for subnet in self.subnets(peer.index)]
        if self.lab.ip_masq:
            rules = "".join(f"{word} saddr {network} {word} daddr != {network} masquerade fully-random\n"
                            for word, network in (("ip", address.PODS4), ("ip6", address.PODS6)))
            self.run(["nft", "-f", "-"], input="table inet byhand\ndelete table inet byhand\ntable inet byhand {\nchain post {\ntype nat hook postrouting priority srcnat;\n" + rules + "}\n}\n")
        self.run(["sh", "-ec", "\n".join(lines)])

    # --- agent ---

    @property
    def agent(self):
        return self.daemon_named("tulled")

    @property
    def agent_running(self) -> bool:
        return self.agent.running

    @property
    def log(self) -> str:
        """Everything the agent has written since the lab came up."""
        return self.agent.log if self.agent.log_path.exists() else ""

    def agent_command(self, extra=()) -> list:
        lab = self.lab
        args = [f"{lab.build}/tulled", *lab.store.agent_args, "--node-name", self.name, "--iface", "eth0",
                f"--ip-masq={str(lab.ip_masq).lower()}", "--healthz-port", str(self.health_port), "-v", "1"]
        args += ["--bird=start"] if lab.bgp else []
        return args + list(lab.agent_args) + list(extra)

    def agent_start(self, extra=(), ready: bool = True, timeout: float = 20, env=None) -> None:
        """Start tulled; with ready, wait until /readyz says 200."""
        if not self.exists(f"{self.lab.build}/tulled"):
            raise LabError(f"{self.lab.build}/tulled is not built: run `make`, or set TULLE_BUILD to where it is")
        if self.agent_running:
            raise LabError(f"{self.name}: tulled is running already")
        # env's for tulled alone: a library that is loaded first is none of those programs' business that lead there
        change = ["env", *(f"{key}={value}" for key, value in env.items())] if env else []
        self.daemon(change + self.agent_command(extra), "tulled")
        if ready:
            self.agent_ready(timeout)

    def agent_ready(self, timeout: float = 20) -> None:
        agent = self.agent

        def is_ready():
            if not agent.running:
                raise wait.GiveUp("tulled has ended")
            return self.api("/readyz") is not None
        wait.until(is_ready, f"{self.name}: tulled ready", timeout, detail=lambda: wait.tail(agent.log_path))

    def agent_stop(self, timeout: float = 10) -> None:
        """SIGTERM and wait."""
        self.agent.stop(signal.SIGTERM, timeout)

    def agent_kill(self) -> None:
        """SIGKILL and wait."""
        self.agent.stop(signal.SIGKILL)

    def agent_restart(self, extra=(), ready: bool = True) -> None:
        self.agent_stop()
        self.agent_start(extra, ready)

    def api(self, path: str) -> str:
        """GET from the agent's HTTP server (/metrics, /healthz, /readyz); LabError unless 200."""
        status, text = self.api_status(path)
        if status != 200:
            raise LabError(f"{self.name}: {path} answered {status}: {text.strip()}")
        return text

    def api_status(self, path: str):
        try:
            return self.http(f"http://127.0.0.1:{self.health_port}{path}")
        except socket.timeout:
            raise LabError(f"{self.name}: tulled does not answer {path}") from None

    def bgp_sessions(self) -> list:
        """What `tullectl bgp status` says of each."""
        return json.loads(self.run([f"{self.lab.build}/tullectl", "-o", "json", "bgp", "status"], check=False).stdout)["sessions"]

    # --- pods ---

    def pod_add(self, name: str, **options) -> Pod:
        """See Pod.add.  Safe to call from many threads."""
        return Pod.add(self, name, **options)

    @property
    def pods(self) -> list:
        return [Pod(self, name, record) for name, record in self.lab.state.read()["pods"].items() if record["node"] == self.name]

    # --- talking, as a pod does ---

    def serve(self, port: int = 8080):
        return serve(self, self.name, port)

    def ask(self, where, port: int = 8080, protocol: str = "tcp", timeout: float = 2, size: int = 0):
        return ask(self, where, port, protocol, timeout, size)

    def ping(self, where, size=None, count: int = 1, dont_fragment: bool = False, check=True, timeout: float = 2):
        return ping(self, where, size, count, dont_fragment, check, timeout)

    def unplug(self) -> None:
        self.lab.underlay.unplug(self.name)

    def plug(self) -> None:
        self.lab.underlay.plug(self.name)
