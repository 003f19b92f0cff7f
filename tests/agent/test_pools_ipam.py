# SPDX-License-Identifier: Apache-2.0
"""IPAM where the store speaks Calico: the batch on ADD's path, owners written behind, repair, deleted nodes (docs/ipam.md)."""
import base64
import ipaddress
import json
import pathlib
import re
import signal
import threading

import pytest
from calico_words import POOL4, POOL6, manifest, objects, pool
from tullelab import CommandError, LabError, wait

ETCD = "/calico/resources/v3/projectcalico.org"
FAMILIES = {"4": (4,), "6": (6,), "dual": (4, 6)}
SOON = ["--ipam-repair-period=2"]


def blocks(lab) -> list:
    if not hasattr(lab.store, "ctl"):
        return [block["spec"] for block in objects(lab, "ipamblocks")]
    answer = json.loads(lab.store.ctl("get", "--prefix", "/calico/ipam/v2/assignment/", "-w", "json").stdout)
    return [json.loads(base64.b64decode(kv["value"])) for kv in answer.get("kvs", [])]


def owners(lab) -> dict:
    """Address → its attributes, with the handle among them, of all addresses that are given out."""
    found = {}
    for block in blocks(lab):
        network = ipaddress.ip_network(block["cidr"])
        for ordinal, index in enumerate(block["allocations"]):
            if index is not None and block["attributes"][index].get("handle_id"):
                attribute = block["attributes"][index]
                found[str(network[ordinal])] = {**(attribute["secondary"] or {}), "handle": attribute["handle_id"]}
    return found


def batch(lab, node) -> set:
    return {addr for addr, owner in owners(lab).items() if owner["handle"] == f"tulle-reserved-{node.name}"}


def is_owner(lab, pod) -> bool:
    """All that the store ought to show of a pod's addresses."""
    namespace, _, name = pod.name.rpartition("/")
    wanted = {"handle": f"tulle.{pod.record['container_id']}", "node": pod.node.name, "namespace": namespace or "default", "pod": name}
    shown = owners(lab)
    return all(wanted.items() <= shown.get(addr, {}).items() for addr in pod.ips)


def wait_owned(lab, *pods):
    wait.until(lambda: all(is_owner(lab, pod) for pod in pods), "the store shows whose the addresses are", 15,
               detail=lambda: json.dumps(owners(lab), indent=1))


def at_hand(node) -> dict:
    """Free addresses of the batch, by family: in the store they may be its own before the answer has come."""
    free = re.findall(r'^tulle_batch_addresses{family="(.)",state="free"} (\d+)$', node.api("/metrics"), re.M)
    return {int(version): int(count) for version, count in free}


def wait_batch(lab, node, versions=(4,), at_least=8):
    wait.until(lambda: all(at_hand(node).get(version, 0) >= at_least for version in versions), f"{node.name} has its batch", 10,
               detail=lambda: node.log[-1500:])


def distinct(*pods) -> bool:
    addrs = [addr for pod in pods for addr in pod.ips]
    return len(addrs) == len(set(addrs))


@pytest.fixture
def calico(built, make_lab):
    """calico(pools, store, family, …): a lab with these IPPools and an agent on each node."""
    def make(*pools, more=(), extra=(), **options):
        lab = make_lab(agents=False, **options)
        put(lab, *pools)
        for number, text in enumerate(more):
            lab.store.put(f"more-{number}.json", text)
        for node in lab.nodes:
            node.agent_start(extra=list(extra) + (["--dialect=calico"] if hasattr(lab.store, "ctl") else []))
        return lab
    return make


def put(lab, *pools):
    for text in pools:
        name = json.loads(text)["metadata"]["name"]
        if hasattr(lab.store, "ctl"):
            lab.store.ctl("put", f"{ETCD}/ippools/{name}", text)
        else:
            lab.store.put(f"{name}.json", text)


def pools_of(family) -> list:
    return [pool() if version == 4 else pool("pool6", POOL6) for version in FAMILIES[family]]


def again(node, extra=()):
    """The agent, once more, as it was started before."""
    node.agent_start(extra=list(extra) + (["--dialect=calico"] if hasattr(node.lab.store, "ctl") else []))


# -- without the store --

@pytest.mark.parametrize("family", FAMILIES)
def test_pods_start_without_the_store(calico, eyes, family):
    lab = calico(*pools_of(family), nodes=1, store="etcd", family=family)
    node, = lab.nodes
    before = node.pod_add("before")
    wait_batch(lab, node, FAMILIES[family])
    reserved = batch(lab, node)
    wait_owned(lab, before)
    lab.store.member_stop(lab.store.hosts[0], signal.SIGKILL)
    pods = [node.pod_add(f"pod-{number}") for number in range(4)]
    assert distinct(before, *pods) and all(set(pod.ips) <= reserved for pod in pods)
    pods.pop().delete()
    assert pods[0].ping(before.ip)
    lab.store.member_start(lab.store.hosts[0])
    lab.store.ready()
    wait_owned(lab, before, *pods)
    wait_batch(lab, node, FAMILIES[family])
    eyes(node).wait_no_problem(20)


def test_a_store_that_hangs_holds_up_no_pod(calico):
    """Requests that are under way when it stops answering stay so: an ADD must not stand behind them."""
    lab = calico(pool(), nodes=1, store="etcd")
    node, = lab.nodes
    wait_batch(lab, node)
    etcd = lab.store.hosts[0].daemon_named("etcd")
    etcd.signal(signal.SIGSTOP)
    try:
        pods = [node.pod_add(f"pod-{number}") for number in range(4)]
    finally:
        etcd.signal(signal.SIGCONT)
    assert distinct(*pods)
    wait_owned(lab, *pods)


def test_killed_before_it_was_written(calico):
    """The journal knows whose the addresses are: the next agent writes it, and gives none of them to another pod."""
    lab = calico(*pools_of("dual"), nodes=1, store="etcd", family="dual")
    node, = lab.nodes
    wait_batch(lab, node, (4, 6))
    lab.store.member_stop(lab.store.hosts[0], signal.SIGKILL)
    pods = [node.pod_add("shop/cart"), node.pod_add("b"), node.pod_add("gone")]
    gone = pods.pop()
    gone.delete()
    node.agent_kill()
    lab.store.member_start(lab.store.hosts[0])
    lab.store.ready()
    assert not any(is_owner(lab, pod) for pod in pods)
    again(node)
    wait_owned(lab, *pods)
    later = [node.pod_add(f"later-{number}") for number in range(12)]
    assert distinct(*pods, *later) and not {addr for pod in later for addr in pod.ips} & set(gone.ips), "a resting address was given out"


@pytest.mark.parametrize("store", ["directory", "etcd"])
def test_killed_again_and_again(calico, store):
    """Whenever the agent dies: no address twice, and in the end the store shows every owner."""
    lab = calico(*pools_of("dual"), nodes=1, store=store, family="dual")
    node, = lab.nodes
    pods = []
    for turn in range(4):
        pods += [node.pod_add(f"pod-{turn}-{number}") for number in range(3)]
        if turn % 2:
            pods.pop(0).delete()
        node.agent_kill()
        again(node)
    assert distinct(*pods)
    wait_owned(lab, *pods)


# -- given back --

def test_a_burst_is_expected_again(calico):
    """Who used the batch up finds a larger one the next time."""
    lab = calico(pool(), nodes=1, store="etcd")
    node, = lab.nodes
    wait_batch(lab, node, at_least=16)
    etcd = lab.store.hosts[0].daemon_named("etcd")
    etcd.signal(signal.SIGSTOP)
    again_soon = threading.Timer(1, etcd.signal, [signal.SIGCONT])
    try:
        usual = at_hand(node)[4]
        pods = [node.pod_add(f"pod-{number}") for number in range(usual)]
        again_soon.start()
        pods.append(node.pod_add("one-more"))
    finally:
        again_soon.cancel()
        etcd.signal(signal.SIGCONT)
    assert distinct(*pods)
    wait_batch(lab, node, at_least=usual + 8)


def test_what_is_given_back_rests_and_comes_again(calico):
    """A pool of eight, all in use: the one that comes free rests, and the next pod waits for it."""
    lab = calico(pool(cidr="10.250.0.0/29", blockSize=29), nodes=1, extra=["--address-rest=2"])
    node, = lab.nodes
    pods = [node.pod_add(f"pod-{number}") for number in range(8)]
    assert distinct(*pods)
    with pytest.raises((CommandError, LabError), match="10.250.0.0/29|address"):
        node.pod_add("one-too-many")
    pods[3].delete()
    assert node.pod_add("patient").ip == pods[3].ip


def test_what_is_given_back_is_used_last(calico):
    lab = calico(pool(), nodes=1, extra=["--address-rest=0"])
    node, = lab.nodes
    wait_batch(lab, node)
    seen = []
    for number in range(8):
        pod = node.pod_add(f"pod-{number}")
        seen.append(pod.ip)
        pod.delete()
    assert len(set(seen)) == 8


# -- repair --

def lose(node, *pods):
    """As a crash of the machine does: pods without a DEL, and a journal that knows nothing."""
    node.agent_kill()
    for pod in pods:
        node.run(["ip", "netns", "delete", pod.record["netns"]])
    wait.until(lambda: not any(addr in node.run(["ip", f"-{version}", "route"]).stdout.split() for pod in pods for version in (4, 6)
                               for addr in pod.ips), "their interfaces go", 10)
    (pathlib.Path(node.root) / "var/lib/tulle/journal").unlink()


@pytest.mark.parametrize("store", ["directory", "etcd"])
def test_repair_frees_what_vanished_pods_had(calico, store):
    lab = calico(*pools_of("dual"), nodes=1, store=store, family="dual")
    node, = lab.nodes
    lost, kept = node.pod_add("lost"), node.pod_add("kept")
    wait_owned(lab, lost, kept)
    lose(node, lost)
    again(node, SOON)
    wait.until(lambda: not set(lost.ips) & set(owners(lab)), "the vanished pod's addresses are free", 20, detail=lambda: node.log[-2000:])
    # The other one lives, though its record is lost: its address is nobody else's, until its DEL.
    assert set(kept.ips) <= set(owners(lab)) and kept.ping(node.ip)
    others = [node.pod_add(f"pod-{number}") for number in range(10)]
    assert distinct(kept, *others)
    wait_owned(lab, *others)
    kept.delete()
    wait.until(lambda: set(kept.ips) <= batch(lab, node), "its addresses are the batch's", 10, detail=lambda: str(owners(lab)))


def test_repair_leaves_others_pods(calico):
    """A pod that another plugin made on this node lives: the kernel has a route to it."""
    lab = calico(pool(), nodes=1)
    node, = lab.nodes
    theirs, gone = node.pod_add("theirs"), node.pod_add("gone")
    wait_owned(lab, theirs, gone)
    lose(node, theirs, gone)
    node.run(["ip", "link", "add", "their0", "type", "veth", "peer", "name", "their-pod"])
    node.run(["ip", "link", "set", "their0", "up"])
    node.run(["ip", "route", "add", theirs.ip, "dev", "their0", "scope", "link"])
    again(node, SOON)
    wait.until(lambda: gone.ip not in owners(lab), "the vanished pod's address is free", 20, detail=lambda: node.log[-2000:])
    assert is_owner(lab, theirs)
    node.run(["ip", "link", "delete", "their0"])
    wait.until(lambda: theirs.ip not in owners(lab), "its address is free", 20, detail=lambda: node.log[-2000:])


@pytest.mark.parametrize("store,family", [("directory", "dual"), ("etcd", "4")])
def test_a_deleted_node_is_cleaned_up(calico, store, family):
    """By whichever agent holds the lease: pods, tunnel addresses, batch, blocks, affinities."""
    lab = calico(*(pool(name, cidr, vxlanMode="Always") for name, cidr in (("pool4", POOL4), ("pool6", POOL6))
                   if family == "dual" or name == "pool4"), nodes=2, store=store, family=family, extra=SOON)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    wait_owned(lab, a, b)
    two.agent_kill()
    if store == "directory":
        lab.store.delete("objects/nodes/node-2.json")
    else:
        lab.store.ctl("del", f"{ETCD}/nodes/node-2")

    def traces():
        found = [addr for addr, owner in owners(lab).items() if owner.get("node") == "node-2"]
        found += [block["cidr"] for block in blocks(lab) if block.get("affinity") == "host:node-2"]
        if store == "directory":
            found += [each["metadata"]["name"] for plural in ("blockaffinities", "ipamhandles") for each in objects(lab, plural)
                      if "node-2" in each["metadata"]["name"]]
        return found
    wait.until(lambda: not traces(), "nothing of node-2 is left", 40, detail=lambda: f"{traces()}\n{one.log[-3000:]}")
    assert is_owner(lab, a)


# -- what pods wish --

def with_wish(lab, node, name, addr):
    lab.store.put(f"{name}.json", manifest("Pod", name, "shop", annotations={"cni.projectcalico.org/ipAddrs": json.dumps([addr])},
                                           spec={"nodeName": node.name, "containers": []}))
    # the agent reads what the directory shows a moment later: until then the pod wishes nothing
    def added():
        pod = node.pod_add(f"shop/{name}")
        if pod.ip == addr:
            return pod
        pod.delete()
        return None
    return wait.until(added, f"{name} has {addr}", 5)


def test_fixed_addresses_on_two_nodes(calico):
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    wait_batch(lab, one)
    wait_batch(lab, two)
    foreign = ipaddress.ip_network(next(block["cidr"] for block in blocks(lab) if block.get("affinity") == "host:node-1"))[40]
    fixed = with_wish(lab, two, "fixed", str(foreign))
    wait_owned(lab, fixed)
    lab.store.put("second.json", manifest("Pod", "second", "shop", annotations={"cni.projectcalico.org/ipAddrs": json.dumps([str(foreign)])},
                                          spec={"nodeName": "node-1", "containers": []}))
    wait.until(lambda: refused(one, "shop/second", str(foreign)), "node-1 refuses it", 5)
    neighbour = one.pod_add("neighbour")
    wait.until(lambda: fixed.ping(neighbour.ip) or True, "it is reached though its block is the other node's", 10)
    fixed.delete()
    wait.until(lambda: str(foreign) not in owners(lab) or str(foreign) in batch(lab, two), "it is given back", 10)


def test_a_fixed_address_moves(calico):
    """With its pod, from node to node, also over a restart: it rests on none, and lies in no batch."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    wait_batch(lab, one)
    addr = str(ipaddress.ip_network(next(block["cidr"] for block in blocks(lab) if block.get("affinity") == "host:node-1"))[50])
    pod = with_wish(lab, one, "mover", addr)
    wait_owned(lab, pod)
    one.agent_kill()
    again(one)
    pod.delete()
    pod = with_wish(lab, two, "mover", addr)
    wait_owned(lab, pod)
    pod.delete()
    pod = with_wish(lab, two, "mover", addr)
    pod.delete()
    wait.until(lambda: addr not in owners(lab), "it is free", 10)


def test_a_pool_of_one_address(calico):
    """What is to be had only once lies in no node's batch: the next pod has it, wherever it runs."""
    lab = calico(pool(), pool("single", "10.251.0.7/32", blockSize=32, nodeSelector="all()"), nodes=2, extra=["--address-rest=1"])
    mine = {"cni.projectcalico.org/ipv4pools": '["single"]'}
    lab.store.put("namespace.json", manifest("Namespace", "single", annotations=mine))
    for turn, node in enumerate([*lab.nodes, *lab.nodes]):
        def added(turn=turn, node=node):
            pod = node.pod_add(f"single/pod-{turn}")
            if pod.ip == "10.251.0.7":
                return pod
            pod.delete()
            return None
        wait.until(added, f"{node.name}'s pod has the address", 20).delete()


def refused(node, name, words) -> bool:
    """The ADD is refused because of these words; a pod that comes all the same is taken down again."""
    try:
        node.pod_add(name).delete()
    except (CommandError, LabError) as error:
        return words in str(error)
    return False


def test_reserved_addresses_are_given_to_nobody(calico):
    """Also when the reservation comes while they lie in the batch."""
    lab = calico(pool(cidr="10.250.0.0/25", blockSize=28), nodes=1,
                 more=[manifest("IPReservation", "first", version="projectcalico.org/v3", spec={"reservedCIDRs": ["10.250.0.0/26"]})])
    node, = lab.nodes
    wait_batch(lab, node, at_least=2)
    inside = batch(lab, node)
    first, later = ipaddress.ip_network("10.250.0.0/26"), {ipaddress.ip_network(addr) for addr in inside}
    assert not [addr for addr in inside if ipaddress.ip_address(addr) in first]
    lab.store.put("later.json", manifest("IPReservation", "later", version="projectcalico.org/v3",
                                         spec={"reservedCIDRs": [str(each) for each in later]}))
    wait.until(lambda: batch(lab, node) and not batch(lab, node) & inside, "the batch is of other addresses", 10, detail=lambda: str(batch(lab, node)))
    pods = [node.pod_add(f"pod-{number}") for number in range(20)]
    assert distinct(*pods) and not {pod.ip for pod in pods} & inside
    assert not [pod.ip for pod in pods if ipaddress.ip_address(pod.ip) in first]


@pytest.mark.parametrize("store", ["directory"])
def test_strict_affinity(calico, store):
    """No node draws from another's block, neither by itself nor by a wish."""
    lab = calico(pool(cidr="10.250.0.0/28", blockSize=29), nodes=2, store=store,
                 more=[manifest("IPAMConfiguration", "default", version="projectcalico.org/v3",
                                spec={"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 1})])
    one, two = lab.nodes
    pods = [one.pod_add(f"pod-{number}") for number in range(8)] + [two.pod_add("other")]
    assert distinct(*pods)
    own = {node.name: {block["cidr"] for block in blocks(lab) if block.get("affinity") == f"host:{node.name}"} for node in lab.nodes}
    assert all(len(cidrs) == 1 for cidrs in own.values())
    assert all(ipaddress.ip_address(pod.ip) in ipaddress.ip_network(next(iter(own[pod.node.name]))) for pod in pods)
    assert refused(one, "ninth", "10.250.0.0/28") or refused(one, "ninth", "affinity") or refused(one, "ninth", "block")
    theirs = str(ipaddress.ip_network(next(iter(own["node-2"])))[7])
    lab.store.put("wish.json", manifest("Pod", "wish", "shop", annotations={"cni.projectcalico.org/ipAddrs": json.dumps([theirs])},
                                        spec={"nodeName": "node-1", "containers": []}))
    wait.until(lambda: refused(one, "shop/wish", theirs), "the wish is refused", 5)


# -- what may go wrong --

def test_an_address_that_was_taken_away_is_told(calico, eyes):
    """Somebody releases it in the store while its pod lives, and another takes it: a problem until the pod is gone."""
    lab = calico(pool(), nodes=1)
    node, = lab.nodes
    pod = node.pod_add("robbed")
    wait_owned(lab, pod)
    path, = pathlib.Path(lab.store.path, "objects/ipamblocks").glob("*.json")

    def rob():
        block = json.loads(path.read_text())
        for attribute in block["spec"]["attributes"]:
            if attribute["handle_id"] == f"tulle.{pod.record['container_id']}":
                attribute.update(handle_id="somebody.else", secondary={"node": "node-1", "pod": "x", "namespace": "y"})
        lab.store.put(f"objects/ipamblocks/{path.name}", json.dumps(block))
        return owners(lab)[pod.ip]["handle"] == "somebody.else"
    wait.until(rob, "it is somebody else's", 5)
    assert "robbed" in eyes(node).wait_problem(pod.ip)
    others = [node.pod_add(f"pod-{number}") for number in range(3)]
    assert distinct(pod, *others)
    pod.delete()
    eyes(node).wait_no_problem()
    assert owners(lab)[pod.ip]["handle"] == "somebody.else"


def test_a_pool_that_goes_and_comes_back(calico, eyes):
    """Pods of a pool that is gone live on, are held again with it, and can be deleted meanwhile."""
    lab = calico(pool(), pool("blue", "10.245.0.0/24"), nodes=1)
    node, = lab.nodes
    pods = [node.pod_add(f"pod-{number}") for number in range(4)]
    wait_owned(lab, *pods)
    victim = "pool4" if ipaddress.ip_address(pods[0].ip) in ipaddress.ip_network(POOL4) else "blue"
    lab.store.delete(f"{victim}.json")
    wait.until(lambda: victim not in [each["name"] for each in eyes(node).status()["calico"]["pools"]], "the pool is gone", 10)
    node.agent_kill()
    again(node)
    other = node.pod_add("other")
    assert ipaddress.ip_address(other.ip) not in ipaddress.ip_network(POOL4 if victim == "pool4" else "10.245.0.0/24")
    pods.pop().delete()
    put(lab, pool() if victim == "pool4" else pool("blue", "10.245.0.0/24"))
    wait.until(lambda: victim in [each["name"] for each in eyes(node).status()["calico"]["pools"]], "the pool is back", 10)
    later = [node.pod_add(f"later-{number}") for number in range(20)]
    assert distinct(other, *pods, *later)
    wait_owned(lab, other, *pods, *later)
