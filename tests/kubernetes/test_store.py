# SPDX-License-Identifier: Apache-2.0
"""The agent and the Kubernetes API: what it reads, what it writes, and what it makes of trouble (reference/flannel.md 3.4)."""

import json
import os
import pathlib
import re
import signal
import sys
import time

import pytest
from tullelab import netconf, wait
from tullelab.api_lab import ApiLab, vxlan_data
from tullelab.kube_addons import agent_rights
from tullelab.kube_control import ANNOTATIONS, NET_CONF

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "agent"))
from eyes import Eyes  # noqa: E402

AWAY_SECONDS = 1800 if os.environ.get("TULLE_SOAK") else 10
NODE = "/api/v1/nodes/node-1"


@pytest.fixture(scope="module")
def lab():
    """Two nodes, not started; a test starts what it needs and leaves node-1 and node-2 in the API, without agents."""
    with ApiLab(nodes=2) as lab:
        lab.own_objects()
        yield lab


@pytest.fixture
def pair(lab):
    for node in lab.nodes:
        node.agent_start()
    yield lab
    for node in lab.nodes:
        if node.agent_running:
            node.agent_stop()


@pytest.fixture
def one(lab):
    node = lab.nodes[0]
    yield node
    if node.agent_running:
        node.agent_stop()


def wait_route(node, destination, present=True, timeout=10):
    version = 6 if ":" in destination else 4
    wait.until(lambda: (destination in Eyes(node).routes(version)) == present, f"{node.name}: route {destination} {present}", timeout, 0.05,
               detail=lambda: node.log[-1500:])


def mac_of(node, device="flannel.1"):
    return Eyes(node).link(device)["address"]


def expected_notes(lab, node, backend):
    """The table of reference/flannel.md 3.4.3."""
    four, six = 4 in lab.versions, 6 in lab.versions
    notes = {"kube-subnet-manager": "true", "backend-type": "" if backend == "udp" else backend}
    data = {4: "null", 6: "null"}
    if backend == "vxlan":
        data = {v: '{"VNI":1,"VtepMAC":"%s"}' % mac_of(node, d) for v, d in ((4, "flannel.1"), (6, "flannel-v6.1")) if v in lab.versions}
    if four:
        notes.update({"public-ip": node.ip_of(4), "backend-data": data[4]})
    elif backend != "vxlan":
        notes.update({"public-ip": "0.0.0.0", "backend-data": "null"})
    if six:
        notes.update({"public-ipv6": node.ip_of(6), "backend-v6-data": data[6]})
    return notes


@pytest.mark.parametrize("family", ["4", "6", "dual"])
def test_two_nodes_talk_and_announce_what_flannel_would(family):
    """Every backend, one after the other, by an edit of net-conf.json under running agents."""
    with ApiLab(nodes=2, family=family, backend="vxlan") as lab:
        lab.own_objects()
        lab.agents_start()
        for backend in ("vxlan", "host-gw", "udp"):
            lab.store.put_config(netconf.build(backend, family, None))
            for node in lab.nodes:
                wait.until(lambda: lab.notes(node.name) == expected_notes(lab, node, backend), f"{node.name}'s annotations of {backend}", 15,
                           detail=lambda: f"{lab.notes(node.name)}\nexpected {expected_notes(lab, node, backend)}")
            a, b = (node.pod_add(f"{backend}-{node.index}") for node in lab.nodes)
            for version in lab.versions:
                wait.until(lambda: a.ping(b.ip_of(version)), f"{backend} IPv{version}", 10)
                subnet = lab.cidrs(1)[lab.versions.index(version)]
                assert Eyes(lab.nodes[0]).ctl("-o", "json", "status").stdout.count(subnet)
            for pod in (a, b):
                pod.delete()


def test_condition_is_set_once_the_data_path_stands(pair):
    for node in pair.nodes:
        condition = wait.until(lambda: pair.condition(node.name), "the condition", 10)
        assert (condition["status"], condition["reason"]) == ("False", "TulleIsUp")
    # a cloud's controller that sets it again loses
    pair.api.patch(f"{NODE}/status", {"status": {"conditions": [{"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"}]}},
                   "application/strategic-merge-patch+json")
    wait.until(lambda: pair.condition("node-1")["status"] == "False", "the condition is set again", 10)


def written(lab) -> tuple:
    """What tulled has written to its node, and when (others write there, too)."""
    metadata = lab.api.get(NODE)["metadata"]
    fields = [each for each in metadata["managedFields"] if each["manager"] == "tulle"]
    assert fields
    return metadata["annotations"], lab.condition("node-1"), fields


def test_restart_keeps_the_mac_and_writes_nothing(lab, one):
    one.agent_start()
    wait.until(lambda: (lab.condition("node-1") or {}).get("status") == "False", "announced", 10)
    mac, before = mac_of(one), written(lab)
    one.agent_restart()
    time.sleep(1)
    assert mac_of(one) == mac and written(lab) == before
    one.agent_stop()
    one.run(["ip", "link", "del", "flannel.1"])  # as after a boot: the annotation remembers it
    one.agent_start()
    assert mac_of(one) == mac


def test_no_pod_cidr_is_waited_for(lab):
    node = lab.nodes[0]
    lab.api.delete(NODE)
    node.agent_start(ready=False)
    eyes = Eyes(node)
    eyes.wait_problem("there is no node node-1")
    assert node.api_status("/readyz")[0] == 503 and "node-1" in node.api_status("/readyz")[1]
    lab.control.stop("kube-controller-manager")  # nobody assigns one
    try:
        lab.node_object("node-1")
        eyes.wait_problem("no IPv4 podCIDR yet")
        lab.wait_event("node-1", "no IPv4 podCIDR yet")
        assert node.agent_running and node.api_status("/readyz")[0] == 503
        lab.api.patch(NODE, {"spec": {"podCIDR": lab.cidrs(1)[0], "podCIDRs": lab.cidrs(1)}})
        node.agent_ready()
        eyes.wait_no_problem()
        assert eyes.status()["lease"]["subnet"] == lab.cidrs(1)[0]
    finally:
        node.agent_stop()
        lab.control.start("kube-controller-manager")


def test_pod_cidr_outside_of_the_network(lab, one):
    lab.api.delete(NODE)
    lab.node_object("node-1", ["172.30.1.0/24"])
    one.agent_start(ready=False)
    Eyes(one).wait_problem("172.30.1.0/24, expected one inside the network configuration's 10.244.0.0/16")
    lab.api.delete(NODE)
    lab.node_object("node-1", lab.cidrs(1))
    one.agent_ready()
    Eyes(one).wait_no_problem()


def test_peers_come_change_and_go(lab, one):
    one.agent_start()
    eyes = Eyes(one)
    lab.peer("far", 1)
    wait_route(one, lab.cidrs(101)[0])
    assert eyes.fdb()["02:00:00:00:aa:01"] == "192.0.2.101"
    lab.annotate("far", public_ip="192.0.2.77", backend_data=vxlan_data(7))
    wait.until(lambda: eyes.fdb().get("02:00:00:00:aa:07") == "192.0.2.77" and "02:00:00:00:aa:01" not in eyes.fdb(), "the new VTEP", 10)
    lab.annotate("far", kube_subnet_manager=None)
    wait_route(one, lab.cidrs(101)[0], False)
    lab.annotate("far", kube_subnet_manager="true")
    wait_route(one, lab.cidrs(101)[0])
    lab.api.delete("/api/v1/nodes/far")
    wait_route(one, lab.cidrs(101)[0], False)


BAD = {
    "shell": dict(public_ip="192.0.2.101; reboot #"),
    "newline": dict(public_ip="192.0.2.101\n10.0.0.1"),
    "family": dict(public_ip="2001:db8::1"),
    "type": dict(backend_data="[]"),
    "mac": dict(backend_data='{"VNI":1,"VtepMAC":"$(id)"}'),
    "large": dict(backend_data='{"VNI":1,"VtepMAC":"02:00:00:00:aa:01","x":"' + "y" * 200000 + '"}'),
    "backend": dict(backend_type="vx lan"),
}


def test_bad_annotations_leave_one_node_out(lab, one):
    one.agent_start()
    eyes = Eyes(one)
    for number, (name, notes) in enumerate(BAD.items(), 1):
        lab.peer(f"bad-{name}", number, **notes)
    lab.peer("good", 50)
    wait_route(one, lab.cidrs(150)[0])
    for number, name in enumerate(BAD, 1):
        problem = eyes.wait_problem(f"store node bad-{name}")
        assert "annotation " + ANNOTATIONS in problem and "\n" not in problem
        lab.wait_event(f"bad-{name}", ANNOTATIONS)
        wait_route(one, lab.cidrs(100 + number)[0], False)
    assert eyes.metric("nodes_left_out") == len(BAD)
    # mended, it takes part; one that was good and turns bad stays as it was
    lab.annotate("bad-shell", public_ip="192.0.2.101")
    wait_route(one, lab.cidrs(101)[0])
    lab.annotate("good", public_ip="nonsense")
    eyes.wait_problem("store node good")
    wait_route(one, lab.cidrs(150)[0])
    for name in [f"bad-{name}" for name in BAD] + ["good"]:
        lab.api.delete(f"/api/v1/nodes/{name}")
    eyes.wait_no_problem()
    assert eyes.metric("nodes_left_out") == 0


def test_subnet_of_another_node(lab, one):
    """A node that claims our block, or a peer's: the contradiction is told, and who was there first keeps it."""
    one.agent_start()
    eyes = Eyes(one)
    lab.peer("first", 1)
    wait_route(one, lab.cidrs(101)[0])
    before = eyes.fdb()
    lab.node_object("thief", lab.cidrs(101), {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.0.2.66",
                                              "backend-data": vxlan_data(66)})
    lab.node_object("impostor", lab.cidrs(1), {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.0.2.67",
                                               "backend-data": vxlan_data(67)})
    for name in ("thief", "impostor"):
        eyes.wait_problem(f"lease {name}")
        lab.wait_event(name, "")
    assert eyes.fdb() == before and eyes.metric("nodes_left_out") == 2
    for name in ("first", "thief", "impostor"):
        lab.api.delete(f"/api/v1/nodes/{name}")
    eyes.wait_no_problem()


def test_one_family_alone_changes_and_one_family_alone_serves():
    with ApiLab(nodes=1, family="dual") as lab:
        lab.own_objects()
        lab.agents_start()
        node, = lab.nodes
        lab.peer("far", 1, public_ipv6="fd00:c0::101", backend_v6_data=vxlan_data(2))
        for cidr in lab.cidrs(101):
            wait_route(node, cidr)
        lab.annotate("far", public_ipv6="fd00:c0::102")
        wait.until(lambda: "fd00:c0::102" in Eyes(node).fdb("flannel-v6.1").values(), "the IPv6 address alone changed", 10)
        # a node that has IPv4 only
        lab.node_object("four", [lab.cidrs(102)[0]], {"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.0.2.102",
                                                      "backend-data": vxlan_data(9)})
        wait_route(node, lab.cidrs(102)[0])


def test_operators_wishes(lab, one):
    lab.annotate("node-1", public_ip_overwrite="203.0.113.9")
    one.agent_start()
    assert lab.notes("node-1")["public-ip"] == "203.0.113.9"
    lab.annotate("node-1", public_ip_overwrite="not an address")
    Eyes(one).wait_problem("public-ip-overwrite: node node-1 has")
    wait.until(lambda: lab.notes("node-1")["public-ip"] == one.ip_of(4), "our own address again", 10)
    lab.annotate("node-1", public_ip_overwrite=None, node_public_ip="203.0.113.10")
    wait.until(lambda: lab.notes("node-1")["public-ip"] == "203.0.113.10", "the operator's", 10)
    lab.annotate("node-1", node_public_ip=None)
    wait.until(lambda: lab.notes("node-1")["public-ip"] == one.ip_of(4), "our own address", 10)
    Eyes(one).wait_no_problem()


def test_somebody_else_writes_our_annotations(lab, one):
    one.agent_start()
    for _ in range(2):
        lab.annotate("node-1", public_ip="192.0.2.250")
        wait.until(lambda: lab.notes("node-1")["public-ip"] == one.ip_of(4), "written again", 10)
    assert "rewritten by somebody else" in one.log


def test_other_prefix(lab, one):
    one.agent_start(["--kube-annotation-prefix=example.org/net"])
    notes = lab.api.get(NODE)["metadata"]["annotations"]
    assert notes["example.org/net-kube-subnet-manager"] == "true"
    one.agent_stop()
    done = one.run([*one.agent_command(), "--kube-annotation-prefix=org"], check=False)
    assert done.returncode == 1 and 'annotation prefix is "org"' in done.stderr


def test_rights_too_narrow(lab, one):
    """The message names verb and resource, for each of the three rights; back with them, all is well without a restart."""
    role = agent_rights()[0]
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/" + role["metadata"]["name"]
    narrow = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}]
    lab.annotate("node-1", public_ip=None)
    try:
        for rules, says in (([], 'cannot watch resource "nodes"'), (narrow, 'cannot patch resource "nodes/status"')):
            lab.api.patch(path, {"rules": rules})
            wait.until(lambda: lab.may("watch", "nodes") == bool(rules) and not lab.may("patch", "nodes", "status"), "the rights are narrow", 15)
            one.agent_start(ready=False)
            Eyes(one).wait_problem(says, 15)
            assert one.api_status("/readyz")[0] == 503
            if not rules:
                one.agent_stop()
    finally:
        lab.api.patch(path, {"rules": role["rules"]})
    one.agent_ready(60)
    Eyes(one).wait_no_problem()


def test_api_server_away_and_back(pair):
    """Nothing of the data path changes while it is away; what happened meanwhile is caught up with."""
    a, b = (node.pod_add(f"away-{node.index}") for node in pair.nodes)
    node = pair.nodes[0]
    wait_route(node, pair.cidrs(2)[0])
    pair.peer("leaves", 1)
    wait_route(node, pair.cidrs(101)[0])
    pair.control.stop("kube-apiserver", signal.SIGKILL)
    Eyes(node).wait_problem("store", 40)
    cpu = cpu_seconds(node)
    began = time.monotonic()
    before = Eyes(node).routes()
    extra = node.pod_add("while-away")
    for _ in range(AWAY_SECONDS):
        assert a.ping(b.ip) and extra.ping(b.ip)
        time.sleep(1)
    assert Eyes(node).routes().keys() >= before.keys()
    assert (cpu_seconds(node) - cpu) / (time.monotonic() - began) < 0.05
    pair.control.start("kube-apiserver")
    pair.api_back()
    pair.api.delete("/api/v1/nodes/leaves")
    pair.peer("comes", 2)
    wait_route(node, pair.cidrs(102)[0], timeout=60)
    wait_route(node, pair.cidrs(101)[0], False)
    Eyes(node).wait_no_problem(60)
    pair.api.delete("/api/v1/nodes/comes")
    for pod in (a, b, extra):
        pod.delete()


def test_clock_moved_by_an_hour(lab):
    """Forwards and back, under the agent: nothing that stands goes, pods come and go, and the CPU stays idle."""
    node, other = lab.nodes
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    clock = "/run/clock"
    node.write(clock, "+0\n")
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    node.agent_start(env=faked)
    other.agent_start()
    wait_route(node, lab.cidrs(2)[0])
    a, b = (each.pod_add(f"clock-{each.index}") for each in lab.nodes)
    for step in ("+1h", "-1h", "+0"):
        routes, cpu = Eyes(node).routes(), cpu_seconds(node)
        node.write(clock, step + "\n")
        lab.peer("timely", 1)
        wait_route(node, lab.cidrs(101)[0])
        lab.api.delete("/api/v1/nodes/timely")
        wait_route(node, lab.cidrs(101)[0], False)
        extra = node.pod_add("extra")
        assert a.ping(b.ip) and extra.ping(b.ip)
        extra.delete()
        assert Eyes(node).routes() == routes and not Eyes(node).problems()
        assert cpu_seconds(node) - cpu < 2
    stamps = re.findall(r"^[IWE]\d+ (\d\d):", node.log, re.M)
    assert len(set(stamps)) >= 2, "the agent's own clock did not move"
    for each in (a, b):
        each.delete()
    for each in lab.nodes:
        each.agent_stop()


def cpu_seconds(node) -> float:
    with open(f"/proc/{node.agent.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


# A moment's writes of an API server that starts must not make up for what the backup lacks: versions would tell nobody.
PASS_TIME = """
import http.client
etcd = http.client.HTTPConnection("127.0.0.1", 2379)
for _ in range(2000):
    etcd.request("POST", "/v3/kv/put", '{"key": "dGltZQ==", "value": "cGFzc2Vz"}')
    answer = etcd.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
"""


def test_compaction_and_a_store_put_back_to_an_earlier_state(pair, tmp_path):
    """etcd is compacted under the watches; then it is replaced by a backup of an hour ago."""
    node, control = pair.nodes[0], pair.control
    pair.peer("kept", 1)
    wait_route(node, pair.cidrs(101)[0])
    control.run(["etcdctl", "snapshot", "save", "/var/lib/backup.db"], env={"ETCDCTL_API": "3"})
    control.run(["/usr/bin/python3", "-c", PASS_TIME], timeout=60)
    pair.peer("lost", 2)
    wait_route(node, pair.cidrs(102)[0])
    status = json.loads(control.run(["etcdctl", "endpoint", "status", "-w", "json"], env={"ETCDCTL_API": "3"}).stdout)
    control.run(["etcdctl", "compact", str(status[0]["Status"]["header"]["revision"])], env={"ETCDCTL_API": "3"})
    pair.peer("later", 3)
    wait_route(node, pair.cidrs(103)[0])
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"):
        control.stop(name, signal.SIGKILL)
    control.run(["sh", "-ec", "rm -rf /var/lib/etcd-lab; etcdctl snapshot restore /var/lib/backup.db --data-dir /var/lib/etcd-lab "
                 "--name control --initial-cluster control=http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380"],
                env={"ETCDCTL_API": "3"})
    control.start("etcd")
    control.start("kube-apiserver")
    pair.store.ready()
    for index in (2, 3):
        wait_route(node, pair.cidrs(100 + index)[0], False, 90)
    wait_route(node, pair.cidrs(101)[0])
    wait_route(node, pair.cidrs(2)[0])
    pair.peer("after", 4)
    wait_route(node, pair.cidrs(104)[0], timeout=60)
    for name in ("kept", "after"):
        pair.api.delete(f"/api/v1/nodes/{name}")


def test_own_node_is_deleted_and_registered_again(lab, one):
    one.agent_start()
    pod = one.pod_add("stays")
    lab.api.delete(NODE)
    Eyes(one).wait_problem("there is no node node-1")
    assert pod.ping(one.ip) and one.agent_running
    lab.node_object("node-1", lab.cidrs(1))
    Eyes(one).wait_no_problem()
    wait.until(lambda: lab.notes("node-1").get("public-ip") == one.ip_of(4), "announced again", 10)
    wait.until(lambda: (lab.condition("node-1") or {}).get("status") == "False", "the condition", 10)
    assert one.pod_add("again").ping(pod.ip)
    for each in list(one.pods):
        each.delete()


def test_token_file_is_rotated(lab, one):
    """A service account's token that runs out while its file has a newer one."""
    namespace = "/api/v1/namespaces/default/serviceaccounts"
    lab.api.create(namespace, {"metadata": {"name": "agent"}})
    role, binding = agent_rights()
    binding["metadata"]["name"] = "agent-account"
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "agent", "namespace": "default"}]
    lab.apply([binding])

    def token():
        return lab.api.create(f"{namespace}/agent/token", {"spec": {"expirationSeconds": 600}})["status"]["token"]
    conf = json.loads(lab.store.identities.kubeconfig_of_token("agent", "x"))
    conf["users"][0]["user"] = {"tokenFile": "/etc/kubernetes/token"}
    one.write("/etc/kubernetes/token", token() + "\n", 0o600)
    one.write("/etc/kubernetes/by-token.kubeconfig", json.dumps(conf), 0o600)
    one.agent_start(["--kubeconfig-file=/etc/kubernetes/by-token.kubeconfig"])
    one.write("/etc/kubernetes/token", "not.a.token\n", 0o600)
    lab.control.stop("kube-apiserver")
    lab.control.start("kube-apiserver")
    lab.api_back()
    Eyes(one).wait_problem("401", 60)
    one.write("/etc/kubernetes/token", token() + "\n", 0o600)
    Eyes(one).wait_no_problem(60)
    lab.peer("seen", 1)
    wait_route(one, lab.cidrs(101)[0])
    lab.api.delete("/api/v1/nodes/seen")


@pytest.mark.parametrize("change, says", [
    (["--kubeconfig-file=/nowhere"], "/nowhere"), (["--kube-api-url=ftp://x"], "ftp://x"), (["--node-name=Not_A_Name"], "Not_A_Name"),
    (["--net-config-path=relative.json"], "relative.json"),
])
def test_bad_start(lab, one, change, says):
    done = one.run([*one.agent_command(), *change], check=False, timeout=20)
    assert done.returncode == 1 and says in done.stderr


def test_configuration_file(lab, one):
    """Missing it waits; a bad edit is told and changes nothing; an edit takes effect."""
    good = one.run(["cat", NET_CONF]).stdout
    one.run(["rm", NET_CONF])
    one.agent_start(ready=False)
    Eyes(one).wait_problem("there is no network configuration: expected " + NET_CONF)
    one.write(NET_CONF, good)
    one.agent_ready()
    one.write(NET_CONF, '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlam"}}')
    Eyes(one).wait_problem("vxlam")
    assert Eyes(one).link()
    changed = json.loads(good)
    changed["Backend"] = {"Type": "vxlan", "VNI": 7}
    one.write(NET_CONF, json.dumps(changed))
    wait.until(lambda: Eyes(one).link("flannel.7"), "the device of VNI 7", 10)
    wait.until(lambda: re.search('"VNI":7', lab.notes("node-1")["backend-data"]), "announced", 10)
    one.write(NET_CONF, good)
    wait.until(lambda: Eyes(one).link("flannel.1"), "the device of VNI 1", 10)
