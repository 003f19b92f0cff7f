# SPDX-License-Identifier: Apache-2.0
"""A node that ran real Calico becomes Tulle's, under its pods, and goes back (docs/takeover.md). What Calico leaves behind is
made in calico_traces.py."""
import ipaddress
import json
import re

import pytest
from calico_traces import CONF, PLUGIN, RealCalico, host_ifname
from tullelab import wait
from tullelab.cni import Attachment

POOL4, POOL6 = "10.244.0.0/16", "fd00:10:244::/64"
MODES = {"vxlan": {"vxlanMode": "Always"}, "ipip": {"ipipMode": "Always"}, "none": {}}
BLOCKS = {"4": ["10.244.200.0/26"], "dual": ["10.244.200.0/26", "fd00:10:244::c800/122"]}


def pool(name, cidr, mode) -> str:
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": name},
                       "spec": {"cidr": cidr, "natOutgoing": True, **MODES[mode]}})


def versions(lab) -> tuple:
    return (4, 6) if lab.family == "dual" else (4,)


class World:
    """Node one is Tulle's, node two runs Calico; pod a on one, old on two."""

    def __init__(self, lab, mode):
        self.lab, self.mode = lab, mode
        self.one, self.two = lab.nodes
        self.agent_args = ["--dialect=calico", "--ipam-repair-period=5"]
        self.cni_args = ["--cni-bin-dir=/run/bin", "--cni-conf-dir=/etc/cni/net.d"]  # of node two
        pools = [("pool4", POOL4)] + ([("pool6", POOL6)] if lab.family == "dual" else [])
        for name, cidr in pools:
            if hasattr(lab.store, "ctl"):
                lab.store.ctl("put", f"/calico/resources/v3/projectcalico.org/ippools/{name}", pool(name, cidr, mode))
            else:
                lab.store.put(f"{name}.json", pool(name, cidr, mode))
        self.real = RealCalico(lab, self.two, BLOCKS[lab.family], mode)
        self.one.agent_start(self.agent_args)
        self.a = self.one.pod_add("a")
        self.real.begin()
        wait.until(lambda: self.real.objects.node_blocks(self.one.name), "node one has blocks", 10)
        self.real.peer(self.one)
        self.old = [self.real.pod(f"old-{i}") for i in range(2)]
        self.real.rules()
        if mode != "ipip":  # no kernel here has tunl0 for certain
            talk(self.old[0], self.a, versions(lab))
        talk(self.old[0], self.old[1], versions(lab))

    def start(self, **options):
        """The plugin is installed by the agent, because Calico's configuration is there."""
        self.two.agent_start(self.agent_args + self.cni_args, **options)

    def shown(self) -> dict:
        found = {}
        for block in self.real.blocks:
            found.update(self.real.allocations(block))
        return found


def talk(a, b, of=(4,)):
    for version in of:
        for one, other in ((a, b), (b, a)):
            wait.until(lambda: one.ping(other.ip_of(version), check=False) or True, f"{one.name} → {other.name}, IPv{version}", 10)
            one.ping(other.ip_of(version))


def flows(world, also_remote=True):
    """Pings that must not miss one."""
    found = []
    for version in versions(world.lab):
        pairs = [(world.old[0], world.old[1])] + ([(world.old[1], world.a), (world.a, world.old[0])] if also_remote else [])
        for here, there in pairs:
            flow = here.spawn(["ping", "-n", "-i", "0.02", "-W", "1", there.ip_of(version)])
            flow.wait_line("bytes from")
            found.append(flow)
    return found


def nothing_lost(found):
    for flow in found:
        wait.until(lambda: len(flow.lines) > 20, "some packets more", 10)
        flow.stop(2)
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", flow.output).groups())
        assert sent - received <= 1 and sent > 10, flow.output[-400:]  # the last one may be on its way when ping ends
        assert len(set(re.findall(r"icmp_seq=(\d+) ", flow.output))) == received == int(re.findall(r"icmp_seq=(\d+) ", flow.output)[-1])


def test_the_address_that_calico_chose(built, make_lab, eyes):
    """Autodetection by another rule than ours: the Node's address is kept as long as an interface has it."""
    lab = make_lab(nodes=1, agents=False)
    node, = lab.nodes
    lab.store.put("pool4.json", pool("pool4", POOL4, "vxlan"))
    (lab.store.path / "objects/nodes").mkdir(parents=True)
    lab.store.put("objects/nodes/node-1.json", json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": node.name, "annotations": {"projectcalico.org/IPv4Address": "192.0.2.77/24"}}}))
    node.run(["ip", "addr", "add", "192.0.2.77/24", "dev", "eth0"])
    command = node.agent_command()
    at = command.index("--iface")
    node.agent_command = lambda extra=(): command[:at] + command[at + 2:] + list(extra)

    def published():
        return json.loads((lab.store.path / "objects/nodes/node-1.json").read_text())["metadata"]["annotations"]["projectcalico.org/IPv4Address"]
    for _ in range(2):
        node.agent_start()
        assert eyes(node).status()["uplink"]["publicIP"] == "192.0.2.77" and published() == "192.0.2.77/24"
        node.agent_kill()
    node.agent_start()
    node.run(["ip", "addr", "del", "192.0.2.77/24", "dev", "eth0"])
    wait.until(lambda: published() == f"{node.ip}/24", "the other address", 10)


@pytest.fixture(scope="module", params=[("directory", "vxlan", "dual"), ("etcd", "none", "4"), ("directory", "ipip", "4")],
                ids=lambda param: "-".join(param))
def world(request, built, make_lab):
    store, mode, family = request.param
    return World(make_lab(nodes=2, store=store, agents=False, family=family), mode)


def test_the_rules_stay_while_ours_do_not_stand(world, eyes):
    two, before = world.two, world.real.traces()
    assert len(before) > 40
    two.write("/run/broken/nft", "#!/bin/sh\necho 'no nft today' >&2\nexit 1\n", 0o755)
    traffic = flows(world, world.mode != "ipip")
    world.start(ready=False, env={"PATH": "/run/broken:/usr/sbin:/usr/bin:/sbin:/bin"})
    look = eyes(two)
    wait.until(lambda: two.exists("/run/tulle/ctl.sock"), "the agent's door", 10)
    look.wait_problem("no nft today", 15)
    assert world.real.traces() == before
    nothing_lost(traffic)
    two.agent_stop()


def test_the_node_is_taken_over_under_its_pods(world, eyes):
    two, real = world.two, world.real
    tunnels = {key: value for key, value in real.objects.get_node(two.name).items() if "Tunnel" in key}
    before = world.shown()
    traffic = flows(world, world.mode != "ipip")
    world.start()
    wait.until(lambda: not real.traces(), "Calico's rules and sets are gone", 15, detail=lambda: "\n".join(real.traces()) + two.log[-2000:])
    look = eyes(two)
    look.wait_no_problem(15)
    nothing_lost(traffic)
    assert set(look.status()["calico"]["ownBlocks"]) == {str(block) for block in real.blocks}
    assert {key: value for key, value in real.objects.get_node(two.name).items() if "Tunnel" in key} == tunnels
    after = world.shown()
    assert {ip: after.get(ip) for ip in before} == before
    assert "removed what a Calico that ran here left" in two.log
    routes = two.run(["ip", "route"]).stdout + two.run(["ip", "-6", "route"]).stdout
    assert "proto 80" not in routes and "10.244.77.0/26" not in routes and "fd00:10:244::7700/122" not in routes, routes
    listed = {pod["containerID"]: pod for pod in json.loads(look.ctl("-o", "json", "pods").stdout)["pods"]}
    assert set(listed) == {pod.record["container_id"] for pod in world.old}
    talk(world.old[0], world.a, versions(world.lab))


def test_old_and_new_pods_reach_each_other(world, eyes):
    two = world.two
    new = two.pod_add("new")
    assert not set(new.ips) & {ip for pod in world.old for ip in pod.ips}
    assert world.mode == "none" or not set(new.ips) & {str(block[0]) for block in world.real.blocks}
    assert two.run(["ip", "-br", "link", "show", host_ifname("new")]).stdout
    for pod in (*world.old, world.a):
        talk(new, pod, versions(world.lab))
    handle = f"k8s-pod-network.{new.record['container_id']}"
    wait.until(lambda: all(world.shown().get(ip) == handle for ip in new.ips), "its handle in the store", 10)
    eyes(two).wait_no_problem()
    eyes(two).ctl("ipam", "check")  # nothing is leaked, used twice, or another's


def test_they_outlive_the_agent(world, eyes):
    world.two.agent_kill()
    world.start()
    conf = world.two.read("/etc/cni/net.d/10-calico.conflist")
    world.two.write("/etc/cni/net.d/10-calico.conflist", json.dumps(dict(CONF, cniVersion="1.0.0", plugins=CONF["plugins"][:1])))
    for pod in world.old:
        pod.check()
    world.two.write("/etc/cni/net.d/10-calico.conflist", conf)
    for pod in world.old:
        pod.ping(world.a.ip)
    talk(world.old[0], world.lab.pod("new"), versions(world.lab))
    eyes(world.two).wait_no_problem(10)


def test_an_old_pod_is_deleted_by_tulle(world, eyes):
    two, old = world.two, world.old.pop()
    handle = f"k8s-pod-network.{old.record['container_id']}"
    assert handle in world.shown().values()
    old.delete()
    wait.until(lambda: host_ifname(old.name) not in two.run(["ip", "-br", "link"]).stdout, "the interface is gone", 10)
    wait.until(lambda: handle not in world.shown().values(), "the block does not show it any more", 15, detail=lambda: str(world.shown()))
    wait.until(lambda: handle not in world.real.objects.handles(), "nor is there its handle", 10)
    assert old.record["container_id"] not in eyes(two).ctl("pods").stdout


def test_a_pod_made_anew_takes_the_name_of_the_former(world):
    """Same namespace and name, while the old sandbox's DEL has not come: Calico's name for the host end is the same."""
    two = world.two
    former = two.pod_add("again")
    two.run(["ip", "netns", "add", "again-2"])
    attachment = Attachment("e" * 64, "/var/run/netns/again-2", args="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=again")
    result = two.runtime.add(attachment)
    second = [one["address"].split("/")[0] for one in result["ips"]]
    assert not set(second) & set(former.ips)
    former.delete()  # comes late, and harms nobody
    assert host_ifname("again") in two.run(["ip", "-br", "link"]).stdout
    two.run(["ping", "-n", "-c1", "-W2", second[0]])
    two.runtime.delete(attachment)
    two.run(["ip", "netns", "del", "again-2"])


def test_and_back_again(world, eyes):
    """What Calico finds: blocks, handles and interfaces as its own plugin makes them. And what Tulle finds afterwards."""
    two, real, new = world.two, world.real, world.lab.pod("new")
    stays = two.pod_add("stays")
    handle = f"k8s-pod-network.{stays.record['container_id']}"
    wait.until(lambda: all(world.shown().get(ip) == handle for ip in stays.ips), "the handle in the store", 10)
    two.agent_stop()
    assert two.read("/run/bin/calico.before-tulle") == PLUGIN
    eyes(two).ctl("cleanup", "--keep-pods", "--yes", "--cni-bin-dir=/run/bin")
    assert two.read("/run/bin/calico") == PLUGIN and two.run(["ls", "/etc/cni/net.d"]).stdout == "10-calico.conflist\n"
    # the guard knows nodes of this moment; IPIP by the carrier needs its programs, and no Calico does IPIP on such a kernel
    two.run(["sh", "-ec", "nft delete table inet tulle; rm -rf /sys/fs/bpf/tulle/guard"])
    for pod in (new, stays, world.old[0]):
        pod.ping(world.a.ip)
        assert host_ifname(pod.name) in two.run(["ip", "-br", "link"]).stdout
        assert pod.ip in two.run(["ip", "route", "show", "dev", host_ifname(pod.name)]).stdout
    real.felix_again([new, stays, world.old[0]], world.one)
    two.run(["sh", "-ec", "ip route flush proto 84; ip -6 route flush proto 84"])
    for pod in (new, stays, world.old[0]):
        talk(pod, world.a, versions(world.lab))
    # what the batch holds is given back from another node
    eyes(world.one).ctl("ipam", "release", f"--handle=tulle-reserved-{two.name}", "--force")
    assert f"tulle-reserved-{two.name}" not in world.shown().values()
    # Calico's plugin gives another address, and undoes a pod of ours
    again = real.pod_again("calicos")
    assert not set(again.ips) & {ip for pod in (new, stays, world.old[0]) for ip in pod.ips}
    talk(again, world.a, versions(world.lab))
    new.delete()
    real.release_by_handle(f"k8s-pod-network.{new.record['container_id']}")
    assert host_ifname("new") not in two.run(["ip", "-br", "link"]).stdout
    # and forth again
    world.start()
    eyes(two).wait_no_problem(10)
    assert "Calico's plugin has undone it meanwhile" in two.log
    listed = {pod["containerID"] for pod in json.loads(eyes(two).ctl("-o", "json", "pods").stdout)["pods"]}
    assert listed == {pod.record["container_id"] for pod in (again, stays, world.old[0])}
    assert f"k8s-pod-network.{new.record['container_id']}" not in world.shown().values()
    for pod in (again, stays, world.old[0]):
        talk(pod, world.a, versions(world.lab))
    again.delete()
    assert ipaddress.ip_address(two.pod_add("last").ip) in ipaddress.ip_network(POOL4)
