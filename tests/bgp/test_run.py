# SPDX-License-Identifier: Apache-2.0
"""What starts BIRD on a node, and what people see: tullectl bgp."""
import http.server
import json
import os
import re
import socketserver
import subprocess
import threading

import yaml
from bed import BUILD, ROOT, Node, cluster, node
from tullelab.wait import until

TULLECTL = BUILD / "tullectl"
NODES = [node("a", "10.0.0.1/24"), node("b", "10.0.0.2/24")]
BLOCKS = [{"cidr": "10.244.1.0/26", "node": "a"}, {"cidr": "10.244.2.0/26", "node": "b"}]


def pair(bed):
    """a's BIRD is started as a DaemonSet or a unit would."""
    a, b = bed.add(Node, "a", options=("poll", "100")), bed.add(Node, "b")
    bed.switch((a, "eth0", "10.0.0.1/24"), (b, "eth0", "10.0.0.2/24"))
    return a, b, cluster(NODES, blocks=BLOCKS)


def alive(place):
    return subprocess.run([TULLECTL, "bgp", "alive", place.run_dir], capture_output=True, text=True)


def test_run_waits_and_a_restart_keeps_routes(bed):
    a, b, scenario = pair(bed)
    first = a.spawn(TULLECTL, "bgp", "run", a.run_dir)
    until(lambda: "waiting for" in (a.dir / "log").read_text(), "it waits", 20)
    assert alive(a).returncode == 0  # one that waits is well
    a.put(scenario)
    b.put(scenario)
    a.established("Mesh_10_0_0_2")
    assert first.pid == a.bird_pid() and "-R" not in open(f"/proc/{first.pid}/cmdline").read().split("\0")
    assert alive(a).returncode == 0
    b.reaches("10.244.1.0/26", gateway="10.0.0.1")
    until(lambda: (a.run_dir / "started").exists(), "the agent has seen it", 20)
    since = b.established("Mesh_10_0_0_1")["Mesh_10_0_0_1"]["since"]
    monitor = b.spawn("ip", "monitor", "route", stdout=(b.dir / "monitor").open("w"))
    a.birdc("graceful", "restart")
    assert first.wait(10) == 0
    done = alive(a)
    assert done.returncode == 1 and "no BIRD answers" in done.stderr
    second = a.spawn(TULLECTL, "bgp", "run", a.run_dir)
    until(lambda: a.bird_pid() == second.pid, "it runs", 20)
    until(lambda: b.established("Mesh_10_0_0_1")["Mesh_10_0_0_1"]["since"] != since, "another session", 40)
    assert "-R" in open(f"/proc/{second.pid}/cmdline").read().split("\0")
    monitor.terminate()
    assert "Deleted 10.244.1.0/26" not in (b.dir / "monitor").read_text()


def test_what_people_see(bed):
    a, b, scenario = pair(bed)
    a.spawn(TULLECTL, "bgp", "run", a.run_dir)
    scenario["peers"] = [{"name": "nobody", "node": "a", "peerIP": "10.0.0.77", "asNumber": 65001}]
    a.put(scenario)
    b.put(scenario)
    a.established("Mesh_10_0_0_2")
    a.reaches("10.244.2.0/26", gateway="10.0.0.2")
    answers = {"/v1/bgp/status": a.status(), "/v1/bgp/routes": a.routes()}

    class Agent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self):
            return "socket"

        def log_message(self, *words):
            pass

    class Server(socketserver.UnixStreamServer):
        def get_request(self):
            return self.socket.accept()[0], ("socket", 0)

    server = Server(str(bed.dir / "ctl.sock"), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def tullectl(*words):
        return subprocess.run([TULLECTL, "--socket", bed.dir / "ctl.sock", "bgp", *words], capture_output=True, text=True)
    status = tullectl("status")
    assert status.returncode == 1  # one of two does not stand
    assert re.search(r"^BIRD: +running, BIRD 2\.", status.stdout, re.M) and "1 of 2 established" in status.stdout
    assert re.search(r"^10\.0\.0\.2 +64512 +mesh with node b +Established ", status.stdout, re.M)
    assert re.search(r"^10\.0\.0\.77 +65001 +BGPPeer nobody .*not established", status.stdout, re.M)
    routes = tullectl("routes")
    assert routes.returncode == 0 and re.search(r"^10\.244\.2\.0/26 +\* +unicast +10\.0\.0\.2 +eth0 +Mesh_10_0_0_2 +2147482623 ", routes.stdout, re.M)
    assert json.loads(tullectl("status", "-o", "json").stdout) == answers["/v1/bgp/status"]
    assert tullectl("bogus").returncode == 2
    server.shutdown()
    server.server_close()


def test_the_manifest_fits_the_agents():
    """The directory that both mount is the one that the code has, and nothing of the agent's version is in it."""
    bird, = yaml.safe_load_all((ROOT / "deploy/bird.yaml").read_text())
    agent = next(o for o in yaml.safe_load_all((ROOT / "deploy/tulle.yaml").read_text()) if o["kind"] == "DaemonSet")
    pod = bird["spec"]["template"]["spec"]
    directory = re.search(r'BIRD_DIRECTORY "(.*)"', (ROOT / "src/plane/bird.h").read_text())[1]
    container, = pod["containers"]
    assert container["command"] == ["/usr/bin/tullectl", "bgp", "run", directory]
    assert container["livenessProbe"]["exec"]["command"][-1] == directory
    volume, = pod["volumes"]
    mount, = container["volumeMounts"]
    assert volume["hostPath"]["path"] == mount["mountPath"] == directory
    assert any(directory.startswith(v.get("hostPath", {}).get("path", "?")) for v in agent["spec"]["template"]["spec"]["volumes"])
    assert container["image"] == agent["spec"]["template"]["spec"]["containers"][0]["image"]
    assert bird["metadata"]["namespace"] == agent["metadata"]["namespace"]
    unit = (ROOT / "deploy/systemd/tulle-bird.service").read_text()
    assert f"ExecStart=/usr/bin/tullectl bgp run {directory}" in unit and f"{directory}/bird.ctl graceful restart" in unit
    if os.path.exists("/usr/bin/systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", ROOT / "deploy/systemd/tulle-bird.service"], capture_output=True, text=True)
        assert "Unknown" not in done.stderr and "Invalid" not in done.stderr, done.stderr
