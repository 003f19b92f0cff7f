# SPDX-License-Identifier: Apache-2.0
"""Where the store speaks Calico: pods get addresses from IPPools, in blocks that nodes claim, by every encapsulation."""
import ipaddress
import json
import pathlib
import re

import pytest
from calico_words import POOL4, POOL6, manifest, objects, pool, taken, talk, way
from published import EXAMPLE
from tullelab import CommandError, LabError, wait


@pytest.fixture
def calico(built, make_lab):
    """calico(pools, **options): a lab whose store holds these IPPools, with an agent on each node."""
    def make(*pools, **options):
        lab = make_lab(agents=False, **options)
        for number, text in enumerate(pools):
            lab.store.put(f"pool-{number}.yaml", text)
        for node in lab.nodes:
            node.agent_start()
        return lab
    return make


def test_the_example_as_published(calico, eyes):
    lab = calico(EXAMPLE, nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    assert {a.ip, b.ip} <= set(taken(lab)) and all(ipaddress.ip_address(pod.ip) in ipaddress.ip_network(POOL4) for pod in (a, b))
    affinities = {each["spec"]["node"]: each["spec"] for each in objects(lab, "blockaffinities")}
    assert set(affinities) == {"node-1", "node-2"} and {each["state"] for each in affinities.values()} == {"confirmed"}
    own, = eyes(one).status()["calico"]["ownBlocks"]
    assert ipaddress.ip_address(a.ip) in ipaddress.ip_network(own) and way(one, b.ip) == "eth0"
    shown = eyes(one).ctl("status").stdout
    assert re.search(r"^Pool: +default-ipv4-ippool, 10.244.0.0/16, encapsulation none, NAT outgoing$", shown, re.M), shown
    eyes(one).wait_no_problem()


MODES = {"vxlan": ("vxlanMode", "Always", "vxlan.calico"), "ipip": ("ipipMode", "Always", "tunl0"),
         "vxlan-subnet": ("vxlanMode", "CrossSubnet", "eth0"), "ipip-subnet": ("ipipMode", "CrossSubnet", "eth0")}


@pytest.mark.parametrize("mode", MODES)
def test_encapsulation(calico, eyes, mode):
    key, when, device = MODES[mode]
    lab = calico(pool(**{key: when}), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    assert way(one, b.ip) == device
    tunnel, = eyes(one).status()["calico"]["tunnels"].values()
    assert tunnel in taken(lab) and tunnel != a.ip
    # The node itself reaches the other node's pod, with the tunnel's address when it goes through the tunnel.
    one.run(["ping", "-n", "-q", "-c", "1", "-W", "2", b.ip])
    eyes(one).wait_no_problem()


@pytest.mark.parametrize("mode", ["vxlan", "ipip"])
def test_across_subnets(calico, mode):
    """Two racks, and a router that knows no pods: plain inside a rack, encapsulated between."""
    key, _, tunnel = MODES[mode]
    lab = calico(pool(**{key: "CrossSubnet"}), nodes=3, underlay="routed")
    pods = [node.pod_add(f"pod-{node.index}") for node in lab.nodes]
    talk(*pods)
    assert way(lab.nodes[0], pods[2].ip) == "eth0" and way(lab.nodes[0], pods[1].ip) == tunnel


@pytest.mark.parametrize("mode", ["Never", "Always"])
def test_dual_stack(calico, eyes, mode):
    lab = calico(pool(vxlanMode=mode), pool("pool6", POOL6, vxlanMode=mode), nodes=2, family="dual")
    a, b = (node.pod_add(f"pod-{node.index}") for node in lab.nodes)
    assert ipaddress.ip_address(a.ip_of(6)) in ipaddress.ip_network(POOL6)
    talk(a, b, versions=(4, 6))
    eyes(lab.nodes[0]).wait_no_problem()


def test_ipv6_only(calico):
    lab = calico(pool("pool6", POOL6, vxlanMode="Always"), nodes=2, family="6")
    a, b = (node.pod_add(f"pod-{node.index}") for node in lab.nodes)
    talk(a, b, versions=(6,))


def test_addresses_come_back(calico):
    """DEL gives them back to the node's batch; a killed agent forgets nothing, and a restarted one keeps its pods."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    one.agent_kill()
    one.agent_start()
    talk(a, b)
    c = one.pod_add("c")
    assert len({a.ip, b.ip, c.ip}) == 3 and {a.ip, b.ip, c.ip} <= set(taken(lab))
    for pod in (a, c):
        pod.delete()
    wait.until(lambda: {taken(lab).get(pod.ip) for pod in (a, c)} == {"tulle-reserved-node-1"}, "they are the batch's", 10,
               detail=lambda: str(taken(lab)))
    assert taken(lab)[b.ip] not in ("tulle-reserved-node-1", "tulle-reserved-node-2")


def test_mode_changed_under_traffic(calico):
    """At most one second of loss, whatever it changes to."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    for spec, device in (({"vxlanMode": "Always"}, "vxlan.calico"), ({"ipipMode": "Always"}, "tunl0"), ({}, "eth0")):
        flow = a.spawn(["ping", "-n", "-i", "0.02", "-W", "1", b.ip])
        flow.wait_line("bytes from")
        lab.store.put("pool-0.yaml", pool(**spec))
        wait.until(lambda: way(one, b.ip) == device, f"the way through {device}", 10)
        before = len(flow.lines)
        wait.until(lambda: len(flow.lines) > before + 10, "packets flow again", 10)
        flow.stop(2)
        sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", flow.output).groups())
        assert sent - received <= 50, f"{sent - received} of {sent} pings were lost on the way to {spec}"


def test_a_pod_chooses_its_pool(calico):
    """By its own annotation, by its namespace's; what cannot be followed is refused with its name."""
    lab = calico(pool(), pool("blue", "10.245.0.0/24"), nodes=1)
    node, = lab.nodes
    blue = {"cni.projectcalico.org/ipv4pools": '["blue"]'}
    lab.store.put("pod.json", manifest("Pod", "a", "shop", annotations=blue, spec={"nodeName": "node-1", "containers": []}))
    lab.store.put("namespace.json", manifest("Namespace", "bluish", annotations=blue))
    lab.store.put("bad.json", manifest("Pod", "bad", "shop", annotations={"cni.projectcalico.org/ipv4pools": "blue"},
                                       spec={"nodeName": "node-1", "containers": []}))
    lab.store.put("wish.json", manifest("Pod", "wish", "shop", annotations={"cni.projectcalico.org/ipAddrs": '["10.245.0.77"]'},
                                        spec={"nodeName": "node-1", "containers": []}))

    def add(name, namespace):
        return node.pod_add(name, args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}")
    wait.until(lambda: ipaddress.ip_address(add("a", "shop").ip) in ipaddress.ip_network("10.245.0.0/24"), "the pool of the annotation", 1)
    assert ipaddress.ip_address(add("b", "bluish").ip) in ipaddress.ip_network("10.245.0.0/24")
    assert add("wish", "shop").ip == "10.245.0.77"
    with pytest.raises((CommandError, LabError), match="ipv4pools of pod bad"):
        add("bad", "shop")


def test_a_pool_for_some_nodes(calico):
    lab = calico(pool(nodeSelector="rack == 'a'"), nodes=2)
    one, two = lab.nodes
    for node, rack in ((one, "a"), (two, "b")):
        path = pathlib.Path(lab.store.path, "objects", "nodes", f"{node.name}.json")
        found = wait.until(lambda: path.exists() and json.loads(path.read_text()), f"{node.name}'s object", 10)
        found["metadata"]["labels"]["rack"] = rack
        lab.store.put(f"objects/nodes/{node.name}.json", json.dumps(found))
    one.pod_add("a")
    with pytest.raises((CommandError, LabError), match="node-2"):
        two.pod_add("b")


def test_bad_pools_are_named_and_the_good_one_works(calico, eyes):
    lab = calico(pool(), pool("overlap", "10.244.128.0/17"), pool("both", "10.250.0.0/16", ipipMode="Always", vxlanMode="Always"),
                 pool("small", "10.251.0.0/28", blockSize=26), nodes=2)
    a, b = (node.pod_add(f"pod-{node.index}") for node in lab.nodes)
    talk(a, b)
    seen = eyes(lab.nodes[0])
    for words in ("overlap", "both", "small"):
        seen.wait_problem(words)


def test_an_ippool_applied_to_a_running_cluster(make_lab, built, eyes):
    """The agents begin anew, and speak Calico from then on."""
    lab = make_lab(nodes=2)
    one, two = lab.nodes
    assert eyes(one).status()["calico"] is None
    lab.store.put("pool.yaml", EXAMPLE)
    for node in lab.nodes:
        wait.until(lambda: eyes(node).status()["calico"] and eyes(node).status()["ready"], f"{node.name} speaks Calico", 15)
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)


def test_on_etcd(make_lab, built, eyes):
    """The same with Calico's keys in a real etcd."""
    lab = make_lab(nodes=2, agents=False, store="etcd")
    lab.store.ctl("put", "/calico/resources/v3/projectcalico.org/ippools/pool4", pool(vxlanMode="Always"))
    for node in lab.nodes:
        node.agent_start(extra=["--dialect=calico"])
    a, b = (node.pod_add(f"pod-{node.index}") for node in lab.nodes)
    talk(a, b)
    assert way(lab.nodes[0], b.ip) == "vxlan.calico"

    def handles():
        lines = lab.store.ctl("get", "--prefix", "--keys-only", "/calico/ipam/v2/handle/").stdout.split()
        return {line.rpartition("/")[2] for line in lines if not re.search("/(tulle-reserved|vxlan-tunnel-addr)-node-[12]$", line)}
    before = wait.until(lambda: len(handles()) == 2 and handles(), "the handles of both pods", 10)
    a.delete()
    wait.until(lambda: len(handles()) == 1 and handles() < before, "the handle of the pod that is left", 10)


def test_bgp(calico, eyes):
    """The agents write BIRD's configuration and start it; the mesh comes up, and an agent that is restarted resets nothing."""
    lab = calico(pool(), nodes=2, agent_args=["--bird=start"])
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")

    def session():
        found = json.loads(eyes(one).ctl("-o", "json", "bgp", "status").stdout)["sessions"]
        return found[0] if len(found) == 1 and found[0]["state"] == "Established" else None
    before = wait.until(session, "the session of the mesh", 30)
    routes = wait.until(lambda: [each for each in json.loads(eyes(one).ctl("-o", "json", "bgp", "routes").stdout)["routes"]
                                 if ipaddress.ip_address(b.ip) in ipaddress.ip_network(each["prefix"]) and each["via"] == two.ip],
                        "the other node's block by BGP", 20)
    assert routes[0]["protocol"].startswith("Mesh_")
    one.agent_restart(extra=[])
    assert wait.until(session, "the session, after the restart", 20)["since"] == before["since"]
    talk(a, b)
