# SPDX-License-Identifier: Apache-2.0
"""Routers in network namespaces: nodes with a BIRD that Tulle's own code configures (bgp_probe), and foreign speakers.
Everything is made by Bed and gone with it."""
import contextlib
import itertools
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TULLE_BUILD") or ROOT / "build")
sys.path.insert(0, str(ROOT / "lab"))

from tullelab.wait import until  # noqa: E402

BIRD = "/usr/sbin/bird"
FRR = pathlib.Path("/usr/lib/frr")
numbers = itertools.count()


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, **options)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


class Place:
    """A network namespace with a folder."""

    def __init__(self, bed, name):
        self.bed, self.name = bed, name
        self.ns = f"tb{os.getpid()}-{next(numbers)}"
        self.dir = bed.dir / name
        self.dir.mkdir()
        self.processes = []
        run("ip", "netns", "add", self.ns)
        self.ip("link", "set", "lo", "up")
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            self.run("sysctl", "-qw", f"{key}=1")

    def run(self, *command, **options):
        return run("ip", "netns", "exec", self.ns, *command, **options)

    def ip(self, *words):
        return run("ip", "-n", self.ns, *words)

    def spawn(self, *command, **options):
        log = (self.dir / "log").open("a")
        process = subprocess.Popen(["ip", "netns", "exec", self.ns, *map(str, command)], stderr=log,
                                   **{"stdin": subprocess.DEVNULL, "stdout": log, **options})
        self.processes.append(process)
        return process

    def kernel(self, *words, family="-4"):
        """{destination: route} of the main table; a destination's best one."""
        routes = json.loads(run("ip", "-n", self.ns, "-j", family, "route", "show", *words) or "[]")
        best = {}
        for route in sorted(routes, key=lambda r: -r.get("metric", 0)):
            best[route["dst"]] = route
        return best

    def pids(self):
        return [int(pid) for pid in run("ip", "netns", "pids", self.ns).split()]

    def stop(self):
        """What runs in there is ours. Once more does no harm."""
        if not os.path.exists(f"/run/netns/{self.ns}"):
            return
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()
        subprocess.run(["ip", "netns", "del", self.ns], capture_output=True)


class Node(Place):
    """A node of the cluster: bgp_probe starts BIRD, and scenarios say what it shall speak."""

    def __init__(self, bed, name, options=("program", BIRD, "start", "poll", "100")):
        super().__init__(bed, name)
        self.options = options
        self.run_dir = self.dir / "bird"
        self.probe = None
        self.begin()

    def begin(self):
        self.probe = self.spawn(BUILD / "tests/bgp/bgp_probe", self.run_dir, *self.options, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)

    def end_agent(self):
        self.probe.stdin.close()
        assert self.probe.wait(10) == 0

    def ask(self, line):
        self.probe.stdin.write(line + "\n")
        self.probe.stdin.flush()
        ready, _, _ = select.select([self.probe.stdout], [], [], 30)
        assert ready, f"{self.name}: no answer to {line}"
        return json.loads(self.probe.stdout.readline())

    def put(self, scenario):
        path = self.dir / "scenario.json"
        path.write_text(json.dumps({"node": self.name, **scenario}))
        return self.ask(f"scenario {path}")["complaints"]

    def put_text(self, text):
        path = self.dir / "text.conf"
        path.write_text(text)
        self.ask(f"text {path}")

    def status(self):
        return self.ask("status")

    def sessions(self):
        return {s["name"]: s for s in self.status()["sessions"]}

    def routes(self, most=1000):
        return self.ask(f"routes {most}")

    def current(self):
        return until(lambda: self.status()["current"] and self.status(), f"{self.name}: configuration in force", 20,
                     detail=lambda: json.dumps(self.status()))

    def established(self, *names):
        def all_up():
            sessions = self.sessions()
            return {name: sessions[name] for name in names} if all(
                name in sessions and sessions[name]["state"] == "Established" for name in names) else None
        return until(all_up, f"{self.name}: {names} established", 40, detail=lambda: json.dumps(self.status()))

    def birdc(self, *words):
        return self.run("birdc", "-s", self.run_dir / "bird.ctl", *words)

    def bird_pid(self):
        return int((self.run_dir / "bird.pid").read_text())

    def reaches(self, destination, **fields):
        """Waits until the kernel's route has these fields."""
        def there():
            route = self.kernel(family="-6" if ":" in destination else "-4").get(destination)
            return route if route and all(route.get(key) == value for key, value in fields.items()) else None
        return until(there, f"{self.name}: {destination} {fields}", 40,
                     detail=lambda: f"{self.kernel()} {self.kernel(family='-6')} {json.dumps(self.status())}")

    def lacks(self, destination):
        until(lambda: destination not in self.kernel(family="-6" if ":" in destination else "-4"), f"{self.name}: no {destination}", 40)


class PlainBird(Place):
    """BIRD with a configuration written by hand."""

    def __init__(self, bed, name):
        super().__init__(bed, name)
        self.conf = self.dir / "bird.conf"

    def begin(self, text):
        self.conf.write_text(text)
        self.spawn(BIRD, "-f", "-c", self.conf, "-s", self.dir / "ctl", "-P", self.dir / "pid")
        until(lambda: self.birdc("show", "status"), f"{self.name}: BIRD answers", 20)

    def birdc(self, *words):
        return self.run("birdc", "-s", self.dir / "ctl", *words)


class Frr(Place):
    """zebra, bgpd and bfdd with the same configuration."""

    def begin(self, text, daemons=("zebra", "bgpd")):
        conf = self.dir / "frr.conf"
        conf.write_text("log file " + str(self.dir / "frr.log") + "\n" + text)
        os.chmod(self.bed.dir, 0o755)
        shutil.chown(self.dir, "frr", "frr")
        for daemon in daemons:
            self.spawn(FRR / daemon, "-f", conf, "-z", self.dir / "zserv", "-i", self.dir / f"{daemon}.pid",
                       "--vty_socket", self.dir, "-A", "127.0.0.1",
                       *(("--bfdctl", self.dir / "bfdd.sock") if daemon == "bfdd" else ()))
            until(lambda: (self.dir / f"{daemon}.vty").exists(), f"{self.name}: {daemon} answers", 20)

    def vtysh(self, command):
        return self.run("vtysh", "--vty_socket", self.dir, "-c", command)

    def bgp(self, what="ipv4 unicast"):
        return json.loads(self.vtysh(f"show bgp {what} json"))


class Gobgp(Place):
    def begin(self, text):
        conf = self.dir / "gobgpd.toml"
        conf.write_text(text)
        self.spawn("/usr/bin/gobgpd", "-f", conf, "--api-hosts", "127.0.0.1:50051")
        until(lambda: self.gobgp("global"), f"{self.name}: gobgpd answers", 30)

    def gobgp(self, *words):
        return self.run("/usr/bin/gobgp", *words)


class Bed:
    """Places and the wires between them."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="tulle-bgp-"))
        self.places = []

    def add(self, kind, name, **options):
        self.places.append(kind(self, name, **options))
        return self.places[-1]

    def switch(self, *ends):
        """One link for all: (place, interface, address with length, …) each."""
        switch = self.add(Place, f"switch{next(numbers)}")
        switch.ip("link", "add", "br0", "type", "bridge")
        switch.ip("link", "set", "br0", "up")
        for number, (place, dev, *addresses) in enumerate(ends):
            run("ip", "link", "add", dev, "netns", place.ns, "type", "veth", "peer", "name", f"port{number}", "netns", switch.ns)
            switch.ip("link", "set", f"port{number}", "master", "br0", "up")
            place.ip("link", "set", dev, "up")
            for address in addresses:
                place.ip("addr", "add", address, "dev", dev, *(("nodad",) if ":" in address else ()))
        return switch

    def close(self):
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.dir, ignore_errors=True)
            for place in self.places:
                stack.callback(place.stop)


def node(name, address=None, **more):
    return {"name": name, **({"ipv4Address": address} if address else {}), **more}


def cluster(nodes, **more):
    return {"nodes": nodes, "pools": [{"name": "default", "cidr": "10.244.0.0/16"}], "blocks": [], "config": {}, "peers": [], **more}
