# SPDX-License-Identifier: Apache-2.0
"""The lab itself: it gives what it says, and leaves nothing, whatever happens to it.  Needs none of our binaries."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tullelab import CniError, CommandError, Lab, LabError, WaitTimeout, until
from tullelab import proc, state

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = str(REPOSITORY / "lab" / "tulle-lab")


def tool(*args, status=0, **options):
    done = subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == status, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def host_network():
    """What the machine's own namespace has; the lab may not touch it."""
    return [subprocess.run(["ip", "-o", *words], capture_output=True, text=True, check=True).stdout
            for words in (["link"], ["route", "show", "table", "all"], ["-6", "route", "show", "table", "main"])]


def namespaces(data):
    """Inodes of the network and PID namespaces of a lab that is up."""
    paths = [f"/run/netns/{name}" for name in data["netns"]]
    paths += [f"/proc/{host['init']['pid']}/ns/pid" for host in data["hosts"].values() if proc.alive(host["init"])]
    return {os.stat(path).st_ino for path in paths if os.path.exists(path)}


def left_over(name, inodes=frozenset()):
    """Everything of a lab that should be gone."""
    found = [entry for entry in (os.listdir("/run/netns") if os.path.isdir("/run/netns") else []) if entry.startswith(f"tl-{name}-")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"tl-{name}-" in line or f"/tulle-lab/{name}" in line]
    found += [str(p) for p in [state.ROOT / name] if p.exists()]
    for pid in proc.pids():
        for kind in ("net", "pid"):
            try:
                inode = os.stat(f"/proc/{pid}/ns/{kind}").st_ino
            except OSError:
                continue
            if inode in inodes and proc.identity(pid):
                found.append(f"process {pid} in {kind} namespace {inode}")
    return found


# --- what it gives ---


def test_nodes_are_hosts_of_their_own(plain_lab):
    node1, node2 = plain_lab.nodes
    assert node1.run(["hostname"]).stdout.strip() == "node-1"
    assert node1.read("/etc/hostname") == "node-1\n"
    assert node1.run(["cat", "/proc/1/comm"]).stdout.strip() == "python3"
    assert node1.run(["ls", "/sys/class/net"]).stdout.split()[0] == "eth0"
    assert node1.run(["stat", "-f", "-c", "%T", "/sys/fs/bpf"]).stdout.strip() == "bpf_fs"
    for path in ("/run/x", "/etc/x", "/var/lib/tulle/x", "/var/lib/cni/x", "/var/lib/flannel/x", "/sys/fs/bpf/x", "/var/log/x"):
        node1.run(["mkdir", path])
        assert node1.exists(path) and not node2.exists(path) and not os.path.exists(path), path
        node1.run(["rmdir", path])


def test_underlay_reaches_everybody(plain_lab):
    node1, node2 = plain_lab.nodes
    for family in (4, 6):
        node1.ping(node2.ip_of(family))
        node2.ping(plain_lab.outside.ip_of(family))
        assert node1.run(["getent", "hosts", "node-2"]).stdout.split()[0] in node2.ips


def test_routed_underlay_has_two_subnets_and_a_router(make_lab):
    lab = make_lab(plugin="ptp", underlay="routed", nodes=3, mtu=1400, family="dual")
    node1, node2, node3 = lab.nodes
    for family in (4, 6):
        assert "ttl=63" in node1.run(["ping", "-n", "-c1", "-W2", node2.ip_of(family)]).stdout
        assert "ttl=64" in node1.run(["ping", "-n", "-c1", "-W2", node3.ip_of(family)]).stdout
        node1.ping(node2.ip_of(family), size=1400, dont_fragment=True)
        assert node1.ping(node2.ip_of(family), size=1401, dont_fragment=True, check=False, timeout=0.2).returncode != 0


def test_pods_are_attached_as_a_runtime_does(plain_lab):
    node1, node2 = plain_lab.nodes
    a, b = node1.pod_add("a"), node2.pod_add("b")
    assert len(a.ips) == 2 and a.result["cniVersion"] == "1.0.0"
    assert a.result["interfaces"][1]["sandbox"] == "/var/run/netns/a"
    assert node1.run(["ip", "netns"]).stdout.split()[0] == "a"
    b.serve(8080)
    for family in (4, 6):
        for protocol in ("tcp", "udp"):
            answer = a.ask(b.ip_of(family), 8080, protocol, size=1000)
            assert (answer.server, answer.client) == ("b", a.ip_of(family))
        assert b.ask(plain_lab.outside.ip_of(family)).client == node2.ip_of(family)
    a.check()
    assert a.run(["hostname"]).stdout.strip() == "node-1"
    with plain_lab.capture(node1, "eth0", "icmp") as seen:
        a.ping(b.ip)
        assert f"{a.ip} > {b.ip}" in seen.wait_line("echo request")
    daemon = a.daemon(["sleep", "1000"])
    assert daemon.running
    with pytest.raises(LabError, match="exists already on node-1"):
        node2.pod_add("a")
    for pod in (a, b):
        pod.delete()
    assert not daemon.running and plain_lab.pods == {} and node1.run(["ip", "netns"]).stdout == ""
    assert not node1.run(["ls", "/var/lib/cni/results"]).stdout
    assert node1.pod_add("a").delete() is None  # the name is free again


def test_a_refused_pod_leaves_nothing(plain_lab):
    node = plain_lab.nodes[0]
    links = node.run(["ip", "-o", "link"]).stdout
    with pytest.raises(CniError) as error:
        node.pod_add("refused", args="IP=192.0.2.77")  # host-local: not in its range
    assert error.value.command == "ADD" and "192.0.2.77" in str(error.value)
    assert plain_lab.pods == {} and node.run(["ip", "netns"]).stdout == "" and node.run(["ip", "-o", "link"]).stdout == links


def test_many_pods_at_once(plain_lab):
    errors = []

    def add(number):
        try:
            plain_lab.nodes[number % 2].pod_add(f"many-{number}")
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=add, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    pods = plain_lab.pods
    assert len(pods) == 12 and len({pod.ip for pod in pods.values()}) == 12
    for pod in pods.values():
        pod.delete()


def test_commands_have_deadlines_and_background_processes_end(plain_lab):
    node = plain_lab.nodes[0]
    before = set(node.processes())
    with pytest.raises(CommandError, match="no end within 0.3 s"):
        node.run(["sleep", "100"], timeout=0.3)
    with node.spawn(["sleep", "100"]) as background:
        assert background.running
    assert not background.running
    until(lambda: set(node.processes()) <= before, "nothing is left on the node", 3)
    with pytest.raises(WaitTimeout, match="last seen: 'ValueError: 7'"):
        until(lambda: _raise(ValueError(7)), "never", 0.1)
    with pytest.raises(LabError, match="ended with status 3"):
        node.spawn(["sh", "-c", "exit 3"]).wait_line("never")


def _raise(error):
    raise error


@pytest.mark.parametrize("members,tls,family", [(1, False, "4"), (3, True, "dual")])
def test_etcd(make_lab, members, tls, family):
    lab = make_lab(plugin="ptp", store="etcd", etcd_members=members, etcd_tls=tls, family=family)
    conf = lab.store.ctl("get", "--print-value-only", "/coreos.com/network/config").stdout
    assert json.loads(conf)["Network"] == "10.244.0.0/16"
    lab.store.ctl("put", "/coreos.com/network/subnets/10.244.7.0-24", '{"PublicIP":"192.0.2.1","PublicIPv6":null}')
    assert lab.store.leases() == {"10.244.7.0-24": {"PublicIP": "192.0.2.1", "PublicIPv6": None}}
    if members == 3:
        lost = lab.store.hosts[0]
        lab.store.member_stop(lost, signal.SIGKILL)
        until(lambda: lab.store.ctl("put", "/x", "1", timeout=3), "two members of three still write", 10)
        lab.store.member_start(lost)
        until(lambda: lab.store.ctl("get", "--print-value-only", "/x", host=lost).stdout == "1\n", "the member is back", 10)


FAKE_AGENT = """#!/usr/bin/python3 -IS
import http.server, sys
print("started with", *sys.argv[1:], flush=True)
if "--fail" in sys.argv:
    sys.exit("as asked")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path in ("/readyz", "/metrics") else 404)
        self.end_headers()
        self.wfile.write(b"fake_metric 1\\n")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--healthz-port") + 1])), Handler).serve_forever()
"""


def test_agents_life(make_lab, tmp_path, monkeypatch):
    """Start, ready, stop, kill, restart, dying at the start: with a stand-in that has only the HTTP door."""
    (tmp_path / "tulled").write_text(FAKE_AGENT)
    (tmp_path / "tulled").chmod(0o755)
    monkeypatch.setenv("TULLE_BUILD", str(tmp_path))
    lab = make_lab(agent_args=["--v=5"])
    node = lab.nodes[0]
    assert node.api("/metrics") == "fake_metric 1\n"
    assert "--store directory --store-dir /var/lib/tulle/store --node-name node-1 --iface eth0 --ip-masq=true" in node.log and "--v=5" in node.log
    assert (node.root / "var/lib/tulle/store/net-conf.json").read_text() == (lab.store.path / "net-conf.json").read_text()
    with pytest.raises(LabError, match="404"):
        node.api("/nothing")
    with pytest.raises(LabError, match="running already"):
        node.agent_start()
    first = node.agent.pid
    node.agent_kill()
    assert not node.agent_running
    node.agent_start()
    node.agent_restart()
    assert node.agent_running and node.agent.pid != first and lab.nodes[1].agent_running
    again = Lab.open(lab.name)
    assert again.nodes[0].agent.pid == node.agent.pid and again.nodes[0].api("/readyz")
    node.agent_stop()
    with pytest.raises(LabError, match="(?s)tulled (has ended|ended at once).*as asked|ended at once"):
        node.agent_start(["--fail"])


# --- the tool ---


def test_command_line(tmp_path):
    name = f"cli{os.getpid()}"
    try:
        tool("up", "--name", name, "--plugin", "ptp", "--nodes", "2")
        assert "exists already" in tool("up", "--name", name, "--plugin", "ptp", status=1).stderr
        added = json.loads(tool("pod", "add", "web", "--node", "node-1", "--serve", "80", "-o", "json", "--lab", name).stdout)
        tool("pod", "add", "ns1/client", "--node", "node-2", "--cmd", "sleep 1000", "--lab", name)
        listed = json.loads(tool("pod", "list", "-o", "json", "--lab", name).stdout)
        assert [pod["name"] for pod in listed] == ["web", "ns1/client"]
        text = tool("exec", "--lab", name, "ns1/client", "--", "curl", "-sS", f"http://{added['ips'][0]}/").stdout
        assert text.startswith(f"server=web client={listed[1]['ips'][0]} ")
        assert tool("exec", "--lab", name, "node-2", "--", "hostname").stdout == "node-2\n"
        tool("exec", "--lab", name, "web", "--", "sh", "-c", "exit 7", status=7)
        tool("exec", "--lab", name, "web", "--", "no-such-program", status=127)
        assert "no pod or node nobody" in tool("exec", "--lab", name, "nobody", "--", "true", status=1).stderr
        view = json.loads(tool("status", "-o", "json", "--lab", name).stdout)
        assert [node["addresses"] for node in view["nodes"]] == [["192.0.2.1"], ["192.0.2.2"]]
        assert "node-2" in tool("status", "--lab", name).stdout
        manifest = tmp_path / "policy.yaml"
        manifest.write_text("kind: NetworkPolicy\n")
        tool("apply", "-f", str(manifest), "--lab", name)
        assert tool("exec", "--lab", name, "node-2", "--", "cat", "/var/lib/tulle/store/policy.yaml").stdout == "kind: NetworkPolicy\n"
        (tmp_path / "bad.json").write_text("{")
        assert "not JSON" in tool("apply", "-f", str(tmp_path / "bad.json"), "--lab", name, status=1).stderr
        tool("apply", "--delete", "-f", "policy.yaml", "--lab", name)
        tool("pod", "del", "web", "ns1/client", "--lab", name)
        inodes = namespaces(state.State(name).read())
        assert inodes
    finally:
        tool("down", "--lab", name)
    assert left_over(name, inodes) == []
    assert "no lab named" in tool("down", "--lab", name, status=1).stderr


POOL = """apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: mine}
spec: {cidr: 10.245.0.0/16, ipipMode: CrossSubnet}
"""


def test_pools_and_bgp_by_command(built, tmp_path):
    """A user's own pools, two racks, two routers: what `up` says is what `status` and the agents show."""
    name = f"pools{os.getpid()}"
    manifest = tmp_path / "mine.yaml"
    manifest.write_text(POOL)
    try:
        tool("up", "--name", name, "--pools", str(manifest), "--underlay", "routed", "--bgp")
        tool("pod", "add", "a", "--node", "node-1", "--lab", name)
        text = tool("status", "--lab", name).stdout
        assert f"pools {manifest}, BGP" in text and text.count("2 of 2 established") == 2 and "10.245." in text
        assert "mine" in tool("exec", "--lab", name, "node-1", "--", "tullectl", "status").stdout
        assert "10.245." in tool("exec", "--lab", name, "router-1", "--", "ip", "route", "show", "proto", "bird").stdout
        view = json.loads(tool("status", "-o", "json", "--lab", name).stdout)
        assert view["options"]["bgp"] and len(view["nodes"][0]["subnets"]) == 1 and view["nodes"][1]["bgp"] == "2 of 2 established"
    finally:
        tool("down", "--lab", name)
    assert left_over(name) == []
    manifest.write_text("kind: NetworkPolicy\n")
    assert "no IPPool" in tool("up", "--name", name, "--pools", str(manifest), status=1).stderr
    assert "neither one of none, ipip" in tool("up", "--name", name, "--pools", "ipop", status=1).stderr
    assert left_over(name) == []


@pytest.mark.parametrize("words,part", [
    (["up", "--backend", "nonsense"], "invalid choice"), (["up", "--etcd-tls"], "--store etcd"),
    (["up", "--bgp"], "--pools"), (["demo", "--pools", "ipip", "--store", "etcd"], "--store directory"), (["up", "--pools", "none", "--store", "kubernetes"], "--pools"), ([], "required"),
    (["pod", "add", "x"], "--node"), (["frobnicate"], "invalid choice"), (["down", "--all", "--lab", "x"], "exclude each other")])
def test_wrong_usage_is_status_2(words, part):
    assert part in tool(*words, status=2).stderr


@pytest.mark.parametrize("options,part", [
    ({"mtu": 1000, "family": "6"}, "1280"), ({"nodes": 0}, "nodes 0"), ({"family": "5"}, "family '5'"),
    ({"name": "Not-A-Name"}, "lab name"), ({"net_conf": "{"}, "not JSON")])
def test_bad_options_say_what_was_expected(options, part):
    with pytest.raises(LabError, match=part):
        Lab(plugin="ptp", **options).up()
    if "name" not in options:
        assert not [name for name in state.names() if name.startswith(f"t{os.getpid()}x") and not state.State(name).read()["ready"]]


def test_help_explains_every_command():
    text = tool("--help").stdout
    for verb in ("up", "down", "status", "pod", "exec", "apply", "demo"):
        assert verb in text
        assert "usage:" in tool(verb, "--help").stdout


# --- what it leaves ---


def test_up_and_down_leave_nothing():
    before = host_network()
    with Lab(plugin="ptp", family="dual", store="etcd") as lab:
        pod = lab.nodes[0].pod_add("a")
        pod.serve()
        background = lab.nodes[1].spawn(["sleep", "1000"])
        lab.capture(lab.nodes[1], "eth0")
        inodes = namespaces(lab.state.read())
        assert len(inodes) == 9 and left_over(lab.name, inodes)  # 5 network and 4 PID namespaces
        assert host_network() == before
    assert not background.running
    assert left_over(lab.name, inodes) == []
    assert host_network() == before


def test_a_failing_up_leaves_nothing(monkeypatch):
    lab = Lab(plugin="ptp")
    monkeypatch.setattr(lab.nodes[1], "configure", lambda: _raise(LabError("as asked")))
    with pytest.raises(LabError, match="as asked"):
        lab.up()
    assert left_over(lab.name) == []


POINTS = {"directory": lambda data: True, "namespaces": lambda data: data["netns"], "first process": lambda data: data["processes"],
          "two hosts": lambda data: len(data["hosts"]) >= 2, "daemon": lambda data: any(h.get("daemons") for h in data["hosts"].values())}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("point", POINTS)
def test_ended_in_the_middle_of_up(point, number, tmp_path):
    """Killed at this point, `down --all` removes what there is; interrupted, `up` does so itself."""
    env = dict(os.environ, TULLE_LAB_DIR=str(tmp_path / "labs"))
    name = f"crash{os.getpid()}"
    directory = tmp_path / "labs" / name
    up = subprocess.Popen([TOOL, "up", "--name", name, "--plugin", "ptp", "--store", "etcd", "--nodes", "4"], env=env,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    data = {}

    def reached():
        data.update(json.loads((directory / "state.json").read_text()))
        return POINTS[point](data)
    try:
        until(reached, point, 30, interval=0.001)
    finally:
        up.send_signal(number)
    stderr = up.communicate(timeout=20)[1]
    inodes = namespaces(data)
    if number == signal.SIGKILL:
        assert up.returncode == -signal.SIGKILL
        if directory.exists():
            inodes |= namespaces(json.loads((directory / "state.json").read_text()))
            assert "broken" in tool("exec", "--lab", name, "node-1", "--", "true", status=1, env=env).stderr
        tool("down", "--all", env=env)
    else:
        assert up.returncode == 1 and "interrupted" in stderr
    assert left_over(name, inodes) == [] and not directory.exists()


def test_a_dead_owner_of_a_held_lab(tmp_path):
    """A test run that was killed leaves its lab to `down --all`; a living one keeps it."""
    env = dict(os.environ, TULLE_LAB_DIR=str(tmp_path / "labs"), PYTHONPATH=str(REPOSITORY / "lab"))
    script = "from tullelab import Lab\nwith Lab(name='held', plugin='ptp') as lab:\n print('up', flush=True)\n input()"
    owner = subprocess.Popen(["/usr/bin/python3", "-B", "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "up\n"
    inodes = namespaces(json.loads((tmp_path / "labs/held/state.json").read_text()))
    assert "left alone" in tool("down", "--all", env=env).stderr
    owner.kill()
    owner.wait()
    assert "broken" in tool("status", "--lab", "held", status=1, env=env).stderr
    tool("down", "--all", env=env)
    assert left_over("held", inodes) == []


def test_two_labs_side_by_side():
    """The same addresses twice, and neither sees the other; one going leaves the other as it was."""
    with Lab(plugin="ptp") as first:
        a = first.nodes[0].pod_add("a")
        with Lab(plugin="ptp") as second:
            b = second.nodes[1].pod_add("a")
            b.serve()
            assert first.nodes[0].ips == second.nodes[0].ips
            with pytest.raises(OSError):
                a.ask(b.ip, timeout=0.3)
        assert left_over(second.name) == []
        c = first.nodes[1].pod_add("c")
        c.serve()
        assert a.ask(c.ip).server == "c"
