# SPDX-License-Identifier: Apache-2.0
"""What may change under a running agent, and who else may live on the node."""
import json
import re
import time

import pytest
from tullelab import netconf, wait


def test_a_second_family_keeps_the_first_ones_subnet(built, make_lab, eyes):
    lab = make_lab(nodes=2, family="dual")
    lab.store.put_config(netconf.build("vxlan", "4"))
    for node in lab.nodes:
        wait.until(lambda: not eyes(node).status()["lease"]["ipv6Subnet"], f"{node.name}: IPv4 only", 10)
    one, two = (node.pod_add(f"p{node.index}") for node in lab.nodes)
    wait.until(lambda: one.ping(two.ip, timeout=1), "pods talk", 10)
    before = [eyes(node).own_subnet() for node in lab.nodes]
    lab.store.put_config(netconf.build("vxlan", "dual"))
    for node, subnet in zip(lab.nodes, before):
        wait.until(lambda: eyes(node).status()["lease"]["ipv6Subnet"], f"{node.name}: IPv6, too", 10)
        assert eyes(node).own_subnet() == subnet
    wait.until(lambda: one.ping(two.ip, timeout=1), "the old pods talk", 10)
    three, four = (node.pod_add(f"q{node.index}") for node in lab.nodes)
    wait.until(lambda: three.ping(four.ip_of(6), timeout=1), "new pods talk IPv6", 10)
    lab.store.put_config(netconf.build("vxlan", "4"))
    for node, subnet in zip(lab.nodes, before):
        wait.until(lambda: not eyes(node).status()["lease"]["ipv6Subnet"], f"{node.name}: IPv4 only again", 10)
        assert eyes(node).own_subnet() == subnet
    wait.until(lambda: one.ping(two.ip, timeout=1), "pods talk", 10)
    for node in lab.nodes:
        assert len(lab.store.leases()) == 2 and not eyes(node).problems()


def test_a_node_behind_address_translation(built, make_lab, eyes):
    """The published address is not the node's own: the tunnel's source must be one that it has."""
    lab = make_lab(nodes=2, agents=False)
    one, two = lab.nodes
    one.run(["ip", "route", "add", "203.0.113.2/32", "via", "192.0.2.2"])
    two.run(["nft", "-f", "-"], input="table ip nat {\nchain in {\ntype nat hook prerouting priority -100;\n"
            "ip daddr 203.0.113.2 dnat to 192.0.2.2\n}\n}\n")
    one.agent_start()
    two.agent_start(extra=["--public-ip=203.0.113.2"])
    a, b = one.pod_add("a"), two.pod_add("b")
    wait.until(lambda: "203.0.113.2" in eyes(one).fdb().values(), "the published address", 10)
    assert eyes(two).status()["uplink"]["publicIP"] == "203.0.113.2"
    b.ping(a.ip)
    a.ping(b.ip)
    mac = eyes(two).link()["address"]
    two.agent_restart(extra=["--public-ip=203.0.113.2"])
    assert eyes(two).link()["address"] == mac
    a.ping(b.ip)


def test_another_address_on_the_uplink_changes_nothing(built, make_lab, eyes):
    """A virtual address that wanders between nodes (keepalived, kube-vip) beside a leased one."""
    lab = make_lab(nodes=1)
    node = lab.nodes[0]
    node.run(["ip", "addr", "change", "192.0.2.1/24", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "3600"])
    node.run(["ip", "addr", "add", "192.0.2.250/32", "dev", "eth0"])
    node.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    wait.until(lambda: eyes(node).status()["uplink"]["mtu"] == 1400, "the agent has looked at the uplink")
    assert eyes(node).status()["uplink"]["publicIP"] == "192.0.2.1"
    node.run(["ip", "addr", "del", "192.0.2.1/24", "dev", "eth0"])
    wait.until(lambda: eyes(node).status()["uplink"]["ip"] == "192.0.2.250", "what is left")
    node.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "eth0", "valid_lft", "3600", "preferred_lft", "3600"])
    wait.until(lambda: eyes(node).status()["uplink"]["ip"] == "192.0.2.1", "the address of the start is back")


def test_a_second_agent_is_refused(built, make_lab, eyes):
    """Upstream's "Multi" runs two daemons on a host; here they would take each other's routes and table away."""
    lab = make_lab(nodes=1)
    node = lab.nodes[0]
    node.run(["mkdir", "-p", "/run/store2"])
    node.write("/run/store2/net-conf.json", '{"Network":"10.12.0.0/16","Backend":{"Type":"host-gw"}}')
    command = ["timeout", "5", f"{lab.build}/tulled", "--store-dir=/run/store2", "--iface=eth0", "--subnet-file=/run/two.env"]
    for _ in range(5):
        done = node.run([*command, "--run-dir=/run/tulle2", "--state-dir=/run/state2"], check=False, timeout=10)
        assert done.returncode == 1 and "another tulled" in done.stderr, done.stderr
    for words, says in ((["--run-dir=/run/tulle2"], "another agent uses this directory"),
                        (["--state-dir=/run/state2"], "/run/tulle/cni.sock: another agent")):
        done = node.run(["unshare", "-n", *command, *words], check=False, timeout=10)
        assert done.returncode == 1 and says in done.stderr, done.stderr
    assert node.api("/readyz") and eyes(node).metric("kernel_repairs_total") == 0
    node.agent_kill()
    node.agent_start()


def test_nobody_else_keeps_the_agent_from_starting(built, make_lab):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    squat = ("import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'tulle/agent'); s.listen(1); "
             "print('there', flush=True); __import__('time').sleep(60)")
    squatter = node.spawn(["/usr/bin/python3", "-c", squat])
    wait.until(lambda: "there" in squatter.output, "the squatter")
    node.agent_start()
    squatter.stop()


def test_an_agent_that_was_killed_may_hold_on_for_a_moment(built, make_lab):
    """While it started nft: the child has all that the agent had, until it has become nft."""
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    late = node.spawn(["/usr/bin/python3", "-c", """
import glob, socket, time
s = socket.socket(socket.AF_UNIX)
s.bind(chr(0) + "tulle/agent")
s.listen(1)
print("there", flush=True)
while not any(open(name).read() == "tulled\\n" for name in glob.glob("/proc/[0-9]*/comm")):
    time.sleep(0.01)
time.sleep(0.2)
"""])
    wait.until(lambda: "there" in late.output, "the name is held")
    node.agent_start()


@pytest.mark.parametrize("change", [
    {"Backend": {"Type": "vxlan", "VNI": 42}}, {"Backend": {"Type": "vxlan", "Port": 4789}},
    {"SubnetLen": 26}, {"Network": "10.99.0.0/16"}, {"Backend": {"Type": "vxlan", "GBP": True}},
], ids=["vni", "port", "length", "network", "gbp"])
def test_configuration_changed_while_running(built, make_lab, eyes, converged, change):
    lab = make_lab(nodes=2)
    lab.store.put_config(netconf.build("vxlan", "4", change))
    prefix = change.get("Network", "10.244.")[:6]
    for node in lab.nodes:
        wait.until(lambda: eyes(node).own_subnet().startswith(prefix) and eyes(node).own_subnet().endswith(
            f"/{change.get('SubnetLen', 24)}"), f"{node.name}: a fitting subnet", 10)
    one, two = (node.pod_add(f"n{node.index}") for node in lab.nodes)
    wait.until(lambda: one.ping(two.ip, timeout=1), "pods talk", 10, detail=lambda: lab.nodes[0].log[-1500:])
    for node in lab.nodes:
        eyes(node).wait_no_problem()
        assert len(eyes(node).routes()) == 2  # the peer's and the pod's
        devices = [link["ifname"] for link in json.loads(node.run(["ip", "-j", "link"]).stdout)]
        assert [name for name in devices if name.startswith("flannel")] == [f"flannel.{change.get('Backend', {}).get('VNI', 1)}"]


def test_why_there_is_no_configuration(built, make_lab):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    lab.store.put_config('{"Network":"10.244.0.0"}')
    node.agent_start(ready=False)
    wait.until(lambda: "10.244.0.0" in node.api_status("/readyz")[1], "the reason", detail=lambda: node.api_status("/readyz")[1])


def test_direct_routing_follows_the_subnet(built, make_lab, eyes, converged):
    """A peer that is on-link no more goes through the tunnel, and back."""
    lab = make_lab(nodes=2, net_conf={"Backend": {"Type": "vxlan", "DirectRouting": True}})
    converged(lab)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    look = eyes(one)
    block = eyes(two).own_subnet()
    assert look.routes()[block]["dev"] == "eth0"
    one.run(["sh", "-ec", "ip addr add 192.0.2.1/32 dev eth0; ip route add 192.0.2.254 dev eth0; "
             "ip addr del 192.0.2.1/24 dev eth0; ip route replace default via 192.0.2.254 dev eth0 onlink"])
    wait.until(lambda: look.routes().get(block, {}).get("dev") == "flannel.1", "through the tunnel", 10, detail=lambda: one.log[-1500:])
    one.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "eth0"])
    wait.until(lambda: look.routes().get(block, {}).get("dev") == "eth0", "on-link again", 10)
    wait.until(lambda: a.ping(b.ip, timeout=1), "pods talk", 10)


def test_the_uplink_is_never_a_tunnel_of_ours(built, make_lab, eyes):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    node.daemon([f"{lab.build}/tulled", *lab.store.agent_args, "--iface-regex", r"^(192|10)\.", "--healthz-port", "8081"], "tulled")
    node.agent_ready()
    node.run(["ip", "addr", "del", "192.0.2.1/24", "dev", "eth0"])
    eyes(node).wait_problem("uplink")
    assert eyes(node).status()["uplink"]["interface"] == "eth0"


@pytest.mark.parametrize("words", [[], ["--cni-conf-dir=/run/conf"]], ids=["binary", "both"])
def test_the_plugin_is_installed_once_and_again_when_it_is_gone(built, make_lab, eyes, make_lease, words):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    node.agent_start(extra=["--cni-bin-dir=/run/bin", *words])
    wait.until(lambda: node.exists("/run/bin/tulle"), "the plugin")
    size = (node.root / "run/bin/tulle").stat().st_size

    def bytes_read():
        return int(re.search(r"rchar: (\d+)", node.run(["sh", "-ec", "cat /proc/$(pidof tulled)/io"]).stdout)[1])
    before = bytes_read()
    for i in range(10):
        plans = eyes(node).metric("plans_total")
        lab.store.put("leases/10.244.250.0-24.json", make_lease("192.0.2.77", mac=f"02:00:00:00:aa:{i:02x}"))
        wait.until(lambda: eyes(node).metric("plans_total") > plans, "a pass")
    assert bytes_read() - before < 5 * size
    (node.root / "run/bin/tulle").unlink()
    lab.store.delete("leases/10.244.250.0-24.json")
    wait.until(lambda: node.exists("/run/bin/tulle"), "the plugin is back")


def test_a_password_is_never_shown(built, make_lab):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    done = node.run([f"{lab.build}/tulled", "--etcd-endpoints=https://root:S3cret@127.0.0.1:1"], check=False)
    assert done.returncode == 1 and "--etcd-username" in done.stderr and "S3cret" not in done.stderr
    running = node.spawn([f"{lab.build}/tulled", "--iface=eth0", "--etcd-endpoints=http://127.0.0.1:1", "--etcd-username=root",
                          "--etcd-password=S3cret", "-v", "10"], env={"FLANNELD_ETCD_PASSWORD": "S3cret"})
    wait.until(lambda: "Failed to connect" in running.output, "the agent tells its trouble")
    shown = node.run([f"{lab.build}/tullectl", "-o", "json", "status"], check=False).stdout
    running.stop()
    assert "127.0.0.1" in shown and "S3cret" not in shown + running.output


@pytest.mark.parametrize("store", ["directory", "etcd"])
def test_a_new_device_has_one_mac_address(built, make_lab, eyes, store):
    """Peers believe the first one that is published."""
    lab = make_lab(nodes=1, store=store, backend="host-gw")
    node = lab.nodes[0]
    monitor = node.spawn(["ip", "-o", "monitor", "link"])
    for vni in (1, 5):
        lab.store.put_config(netconf.build("vxlan", "4", {"Backend": {"Type": "vxlan", "VNI": vni}}))
        wait.until(lambda: eyes(node).link(f"flannel.{vni}"), "the device")
        wait.until(lambda: eyes(node).status()["lease"]["vtepMAC"] == eyes(node).link(f"flannel.{vni}")["address"], "its MAC is published")
    monitor.stop()
    for vni in (1, 5):
        macs = {m for name, m in re.findall(r"\d+: ([\w.]+)[:@].*link/ether ([0-9a-f:]{17})", monitor.output) if name == f"flannel.{vni}"}
        assert len(macs) == 1, monitor.output


def test_a_crowd_at_the_health_port(built, make_lab, eyes):
    """More connections than descriptors: no endless loop, no flood in the log, and pods come and go."""
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    node.daemon(["prlimit", "--nofile=2048", *node.agent_command()], "tulled")
    node.agent_ready()
    crowd = node.spawn(["prlimit", "--nofile=4096", "/usr/bin/python3", "-c", "import socket, time\n"
                        "crowd = []\nfor i in range(2500):\n s = socket.socket(); s.setblocking(False); s.connect_ex(('127.0.0.1', 8081))\n"
                        " crowd.append(s)\n if i % 50 == 0: time.sleep(0.01)\nprint('there', flush=True); time.sleep(60)"])
    wait.until(lambda: "there" in crowd.output, "the crowd", 20, detail=lambda: crowd.output)
    node.pod_add("one").delete()
    assert eyes(node).status()["ready"]
    held = int(node.run(["sh", "-ec", "ls /proc/$(pidof tulled)/fd | wc -l"]).stdout)
    assert 100 < held < 600 and "Too many open files" not in node.log
    crowd.stop()
    wait.until(lambda: node.api("/readyz"), "the door is open again", 15)


def test_a_network_that_holds_the_nodes_is_told(built, make_lab, eyes):
    lab = make_lab(nodes=1)
    look = eyes(lab.nodes[0])
    lab.store.put_config(netconf.build("vxlan", "4", {"Network": "192.0.0.0/16"}))
    look.wait_problem("192.0.2.1")
    lab.store.put_config(netconf.build("vxlan", "4"))
    look.wait_no_problem()


def test_a_family_that_the_node_has_not(built, make_lab, eyes):
    """Dual stack is switched on before the node has an IPv6 address: IPv4 goes on, IPv6 comes with the address."""
    lab = make_lab(nodes=2)
    for node in lab.nodes:
        node.run(["sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=1"])
    one, two = (node.pod_add(f"p{node.index}") for node in lab.nodes)
    subnet = eyes(lab.nodes[0]).own_subnet()
    lab.store.put_config(netconf.build("vxlan", "dual"))
    assert "IPv6" in eyes(lab.nodes[0]).wait_problem("uplink")
    one.ping(two.ip)
    late = lab.nodes[0].pod_add("late")
    late.ping(two.ip)
    for node in lab.nodes:
        node.run(["sh", "-ec", f"sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0; ip addr add 2001:db8::{node.index}/64 dev eth0 nodad"])
    for node in lab.nodes:
        wait.until(lambda: eyes(node).status()["lease"]["ipv6Subnet"], f"{node.name}: IPv6, too", 10, detail=lambda: str(eyes(node).problems()))
        eyes(node).wait_no_problem()
    assert eyes(lab.nodes[0]).own_subnet() == subnet
    three, four = (node.pod_add(f"q{node.index}") for node in lab.nodes)
    wait.until(lambda: three.ping(four.ip_of(6), timeout=1), "new pods talk IPv6", 10)


def test_a_hostile_file_name_in_the_log(built, make_lab, eyes):
    lab = make_lab(nodes=1)
    lab.store.put("leases/\x1b[31mred\x07.json", "{}")
    eyes(lab.nodes[0]).wait_problem("red")
    assert "\x1b" not in lab.nodes[0].log and "\x07" not in lab.nodes[0].log


@pytest.mark.parametrize("claim", ["mac", "subnet"])
def test_who_came_first_keeps_what_a_late_lease_claims(built, make_lab, eyes, make_lease, claim):
    """Whatever its expiry says: a short-lived lease must not take a node's MAC or block away."""
    lab = make_lab(nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    wait.until(lambda: a.ping(b.ip, timeout=1), "pods talk", 10)
    block, mac = eyes(two).own_subnet(), eyes(two).link()["address"]
    key = "10.244.250.0-24" if claim == "mac" else block.replace(".0/24", ".0-25")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    lab.store.put(f"leases/{key}.json", make_lease("192.0.2.66", mac=mac if claim == "mac" else "02:00:00:00:cc:cc", Expiration=soon))
    assert key in eyes(one).wait_problem("older lease")
    assert eyes(one).fdb()[mac] == "192.0.2.2" and block in eyes(one).routes()
    a.ping(b.ip)
    lab.store.put("leases/10.244.251.0-24.json", make_lease("192.0.2.67", mac="02:00:00:00:dd:dd"))  # another pass
    wait.until(lambda: "10.244.251.0/24" in eyes(one).routes(), "a peer without fault")
    a.ping(b.ip)
