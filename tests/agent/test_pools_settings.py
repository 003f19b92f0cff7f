# SPDX-License-Identifier: Apache-2.0
"""Pools and FelixConfiguration, seen by packets and in the kernel: outgoing NAT with all its rules, MTU, who may use which pool."""
import ipaddress
import json
import re
import socket

import pytest
from calico_words import POOL4, POOL6, objects, pool, taken, talk, way
from tullelab import CommandError, LabError, wait
from tullelab.lab import OUTSIDE_PORT
from tullelab.pod import serve

KINDS = {4: ("10.244.0.0/16", "198.51.100.0/24"), 6: (POOL6, "2001:db8:ffff::/64")}


@pytest.fixture
def calico(built, make_lab):
    """calico(pools, files={name: text}, **options): a lab whose store holds these, with an agent on each node."""
    def make(*pools, files=None, **options):
        lab = make_lab(agents=False, **options)
        for number, text in enumerate(pools):
            lab.store.put(f"pool-{number}.yaml", text)
        for name, text in (files or {}).items():
            lab.store.put(name, text)
        for node in lab.nodes:
            node.agent_start()
        return lab
    return make


def resource(kind, name="default", **spec) -> str:
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})


def felix(lab, **spec):
    lab.store.put("felix.yaml", resource("FelixConfiguration", **spec))


# -- outgoing NAT --

def seen_as(pod, where, port=OUTSIDE_PORT, protocol="udp"):
    """(address, port) of a pod in the eyes of an echo server; None without an answer."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with pod.connect(where, port, timeout=1, kind=kind) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            text = b""
            while b"port=" not in text:
                text += connection.recv(65536)
    except OSError:
        return None
    found = re.search(r"client=(\S+) port=(\d+)", text.decode())
    return found[1], int(found[2])


def wait_seen(pod, where, address, **options):
    wait.until(lambda: (found := seen_as(pod, where, **options)) and found[0] == address, f"{where} sees {address}", 10,
               detail=lambda: f"{seen_as(pod, where, **options)}\n{pod.node.log[-1500:]}\n{pod.node.run(['nft', 'list', 'table', 'inet', 'tulle']).stdout}")


def wait_itself(lab, pod, version=4):
    """The outside, which has no way back, sees the pod's own address; pod.connect would wait for an answer."""
    def arrives():
        pod.ping(lab.outside.ip_of(version), check=False, timeout=0.1)
        return any("echo request" in line for line in seen.lines)
    with lab.capture(lab.outside, "eth0", f"src host {pod.ip_of(version)}") as seen:
        wait.until(arrives, f"the pod's own IPv{version} address outside", 10, detail=lambda: pod.node.log[-1500:])


def test_disabled_pools_exempt_from_nat(calico):
    """Any pool's CIDR as a destination does, also a disabled one's; a pool for load balancers does not. In both families."""
    lab = calico(pool(), pool("pool6", POOL6), nodes=1, family="dual")
    a = lab.nodes[0].pod_add("a")
    for version in (4, 6):
        for protocol in ("tcp", "udp"):
            wait_seen(a, lab.outside.ip_of(version), lab.nodes[0].ip_of(version), protocol=protocol)
    for version in (4, 6):
        lab.store.put(f"exempt-{version}.yaml", pool(f"exempt-{version}", KINDS[version][1], disabled=True, natOutgoing=False))
        wait_itself(lab, a, version)
    lab.store.put("exempt-4.yaml", pool("exempt-4", KINDS[4][1], allowedUses=["LoadBalancer"], natOutgoing=False))
    wait_seen(a, lab.outside.ip, lab.nodes[0].ip)
    wait_itself(lab, a, 6)


def test_nat_only_for_pools_that_want_it(calico):
    """By the source's pool."""
    lab = calico(pool(), pool("plain", "10.245.0.0/16", assignmentMode="Manual", natOutgoing=False), nodes=1)
    node, = lab.nodes
    lab.store.put("namespace.json", json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "plain", "annotations": {"cni.projectcalico.org/ipv4pools": '["plain"]'}}}))

    def added():
        pod = node.pod_add("plain/a")
        if pod.ip.startswith("10.245."):
            return pod
        pod.delete()
        return None
    plain = wait.until(added, "a pod of the other pool", 5)
    wait_itself(lab, plain)
    wait_seen(node.pod_add("b"), lab.outside.ip, node.ip)
    lab.store.put("pool-1.yaml", pool("plain", "10.245.0.0/16", assignmentMode="Manual", natOutgoing=True))
    wait_seen(plain, lab.outside.ip, node.ip)


def test_nat_towards_nodes(calico):
    """Nodes are outside, unless natOutgoingExclusions says otherwise; externalNodesList counts among them."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    serve(two, "node-2", 9191)
    wait_seen(a, two.ip, one.ip, port=9191)
    felix(lab, natOutgoingExclusions="IPPoolsAndHostIPs", externalNodesList=["198.51.100.0/25"])
    wait_seen(a, two.ip, a.ip, port=9191)
    wait_itself(lab, a)
    felix(lab)
    wait_seen(a, two.ip, one.ip, port=9191)
    wait_seen(a, lab.outside.ip, one.ip)


@pytest.mark.parametrize("mode", ["Never", "Always"])
def test_nat_ports_and_address(calico, mode):
    """A range of ports, a fixed address for one node; with VXLAN in the store never its port."""
    lab = calico(pool(vxlanMode=mode), nodes=1)
    node, = lab.nodes
    a = node.pod_add("a")
    wait_seen(a, lab.outside.ip, node.ip)
    felix(lab, natPortRange="4700:4790")
    good = {"tcp": range(4700, 4791), "udp": range(4700, 4789 if mode == "Always" else 4791)}
    for protocol, ports in good.items():
        wait.until(lambda: (seen_as(a, lab.outside.ip, protocol=protocol) or (0, 0))[1] in ports, f"{protocol} from {ports}", 10,
                   detail=lambda: node.run(["nft", "list", "table", "inet", "tulle"]).stdout)
    node.run(["ip", "address", "add", "192.0.2.99/32", "dev", "eth0"])
    lab.store.put("own.yaml", resource("FelixConfiguration", "node.node-1", natOutgoingAddress="192.0.2.99"))
    for protocol, ports in good.items():
        wait.until(lambda: (found := seen_as(a, lab.outside.ip, protocol=protocol)) and found[0] == "192.0.2.99" and found[1] in ports,
                   f"{protocol} from the address and {ports}", 10)
    lab.store.put("own.yaml", resource("FelixConfiguration", "node.node-2", natOutgoingAddress="192.0.2.98"))
    wait_seen(a, lab.outside.ip, node.ip)


def test_nat_by_interface(calico):
    lab = calico(pool(), nodes=1)
    node, = lab.nodes
    a = node.pod_add("a")
    felix(lab, iptablesNATOutgoingInterfaceFilter="wlan+")
    wait_itself(lab, a)
    felix(lab, iptablesNATOutgoingInterfaceFilter="et+")
    wait_seen(a, lab.outside.ip, node.ip)
    felix(lab, iptablesNATOutgoingInterfaceFilter="eth1")
    wait_itself(lab, a)


# -- MTU --

def mtu_of(node, device) -> int:
    done = node.run(["ip", "-j", "link", "show", device], check=False)
    return json.loads(done.stdout)[0]["mtu"] if done.returncode == 0 else 0


def with_mtu(node, name, mtu):
    """A pod with that MTU, as soon as new ones have it."""
    def added():
        pod = node.pod_add(name)
        if pod.mtu == mtu:
            return pod
        pod.delete()
        return None
    return wait.until(added, f"{name} has MTU {mtu}", 10)


def two(mode4, mode6) -> list:
    return [*([pool(**mode4)] if mode4 is not None else []), *([pool("pool6", POOL6, **mode6)] if mode6 is not None else [])]


VXLAN, IPIP, ACROSS, PLAIN = {"vxlanMode": "Always"}, {"ipipMode": "Always"}, {"vxlanMode": "CrossSubnet"}, {}
# Pools of each family → tunnels' MTU and pods', as what the uplink's is less.
COMBINATIONS = {
    "none": (PLAIN, PLAIN, {}, 0), "vxlan": (VXLAN, None, {"vxlan.calico": 50}, 50), "vxlan6": (None, VXLAN, {"vxlan-v6.calico": 70}, 70),
    "plain, across6": (PLAIN, ACROSS, {"vxlan-v6.calico": 70}, 70), "vxlan, vxlan6": (VXLAN, VXLAN, {"vxlan.calico": 50, "vxlan-v6.calico": 70}, 70),
    "ipip, vxlan6": (IPIP, VXLAN, {"tunl0": 20, "vxlan-v6.calico": 70}, 70), "ipip, plain": (IPIP, PLAIN, {"tunl0": 20}, 20),
}


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_mtu(calico, combination):
    """Found from the uplink and followed; packets as large as a pod may send arrive whole, through whatever they go."""
    mode4, mode6, tunnels, less = COMBINATIONS[combination]
    family = "dual" if None not in (mode4, mode6) else "4" if mode6 is None else "6"
    lab = calico(*two(mode4, mode6), nodes=2, family=family, mtu=1480)
    versions = {"4": (4,), "6": (6,), "dual": (4, 6)}[family]

    def fits(mtu, name):
        for node in lab.nodes:
            for device, overhead in tunnels.items():
                wait.until(lambda: mtu_of(node, device) == mtu - overhead, f"{node.name}: {device} has {mtu - overhead}", 10,
                           detail=lambda: f"{mtu_of(node, device)}\n{node.log[-1500:]}")
        a, b = (with_mtu(node, f"{name}-{node.index}", mtu - less) for node in lab.nodes)
        talk(a, b, versions=versions)
        for version in versions:
            a.ping(b.ip_of(version), size=a.mtu, dont_fragment=True)
        return a, b
    old = fits(1480, "old")
    for node in lab.nodes:
        node.run(["ip", "link", "set", "eth0", "mtu", "1420"])
    new = fits(1420, "new")
    # Those that were there before learn on the way what fits.
    for version in versions:
        assert old[0].mtu == 1480 - less and old[0].run(["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-s", "1350", "-M", "want", new[1].ip_of(version)])


def test_mtu_that_somebody_said(calico):
    """vxlanMTU, vxlanMTUV6, ipipMTU: as they are, and pods have the least of those in use."""
    lab = calico(*two(VXLAN, VXLAN), nodes=1, family="dual")
    node, = lab.nodes
    felix(lab, vxlanMTU=1400, vxlanMTUV6=1410, ipipMTU=1300)
    wait.until(lambda: (mtu_of(node, "vxlan.calico"), mtu_of(node, "vxlan-v6.calico")) == (1400, 1410), "both", 10)
    with_mtu(node, "a", 1400)
    lab.store.put("pool-0.yaml", pool(**IPIP))
    wait.until(lambda: mtu_of(node, "tunl0") == 1300, "the other tunnel", 10)
    with_mtu(node, "b", 1300)


def test_a_stream_outlives_a_smaller_mtu(calico):
    """Pools begin to encapsulate under pods whose interfaces are as large as the network: TCP goes on, packets shrink."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    assert a.mtu == 1500
    lab.store.put("pool-0.yaml", pool(**VXLAN))
    wait.until(lambda: way(one, b.ip) == way(two, a.ip) == "vxlan.calico", "encapsulated", 10)
    b.serve(8080)
    assert a.ask(b.ip, 8080, size=200000, timeout=10).client == a.ip


# -- who may use which pool --

def added_in(node, name, cidr):
    """A pod whose address lies there, as soon as the agent has heard of it."""
    def added():
        pod = node.pod_add(name)
        if ipaddress.ip_address(pod.ip) in ipaddress.ip_network(cidr):
            return pod
        pod.delete()
        return None
    return wait.until(added, f"{name} has an address of {cidr}", 10, detail=lambda: node.log[-1500:])


def test_allowed_uses(calico, eyes):
    """Tunnels from one pool, pods from another, load balancers' addresses from none of these."""
    lab = calico(pool(allowedUses=["Workload"], **VXLAN), pool("tunnels", "10.245.0.0/24", allowedUses=["Tunnel"], **VXLAN),
                 pool("balancers", "10.1.0.0/24", allowedUses=["LoadBalancer"]), nodes=2)
    one, two_ = lab.nodes
    pods = [node.pod_add(f"pod-{node.index}") for node in lab.nodes]
    talk(*pods)
    assert all(ipaddress.ip_address(pod.ip) in ipaddress.ip_network(POOL4) for pod in pods)
    for node in lab.nodes:
        tunnel, = eyes(node).status()["calico"]["tunnels"].values()
        assert ipaddress.ip_address(tunnel) in ipaddress.ip_network("10.245.0.0/24")
    # Not by name either: neither a tunnel's pool nor the load balancers'.
    for name, notes in (("wish", {"ipAddrs": '["10.245.0.77"]'}), ("choice", {"ipv4pools": '["tunnels"]'}), ("balancer", {"ipv4pools": '["balancers"]'})):
        lab.store.put(f"{name}.json", pod_object(name, one, **notes))
        wait.until(lambda: "this use" in refusal(one, f"shop/{name}"), f"{name} is refused", 5, detail=lambda: refusal(one, f"shop/{name}"))


def test_no_pool_for_tunnels(calico, eyes):
    """Both nodes say so, and reach each other as soon as there is one."""
    lab = calico(pool(allowedUses=["Workload"], **VXLAN), nodes=2)
    pods = [node.pod_add(f"pod-{node.index}") for node in lab.nodes]
    for node in lab.nodes:
        said = eyes(node).wait_problem(f"node {node.name}: IPv4VXLANTunnelAddr is missing")
        assert "allowedUses" in said and "IPPool pool4" in said
    lab.store.put("tunnels.yaml", pool("tunnels", "10.245.0.0/24", allowedUses=["Tunnel"], **VXLAN))
    talk(*pods)
    for node in lab.nodes:
        eyes(node).wait_no_problem(10)


def pod_object(name, node, **notes) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "namespace": "shop", "annotations": {f"cni.projectcalico.org/{key}": value for key, value in notes.items()}},
        "spec": {"nodeName": node.name, "containers": []}})


def refusal(node, name) -> str:
    """Why a pod cannot be; "" where it can."""
    try:
        node.pod_add(name).delete()
    except (CommandError, LabError) as error:
        return str(error)
    return ""


def test_pools_of_namespaces(calico):
    """By labels of the pod's namespace, which change."""
    def namespace(**labels):
        return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}})
    lab = calico(pool("a", "10.245.0.0/24", namespaceSelector="team == 'a'"), pool("others", "10.246.0.0/24", namespaceSelector="!has(team)"),
                 nodes=1, files={"namespace.json": namespace(team="a")})
    node, = lab.nodes
    added_in(node, "shop/one", "10.245.0.0/24")
    added_in(node, "two", "10.246.0.0/24")
    lab.store.put("namespace.json", namespace())
    added_in(node, "shop/three", "10.246.0.0/24")
    lab.store.put("namespace.json", namespace(team="b"))
    wait.until(lambda: "node-1" in refusal(node, "shop/four"), "no pool is left for it", 5)


def put_pool(lab, text):
    if hasattr(lab.store, "ctl"):
        lab.store.ctl("put", f"/calico/resources/v3/projectcalico.org/ippools/{json.loads(text)['metadata']['name']}", text)
    else:
        lab.store.put("pool.yaml", text)


def put_ipam(lab, **spec):
    if hasattr(lab.store, "ctl"):
        names = {"strictAffinity": "strict_affinity", "autoAllocateBlocks": "auto_allocate_blocks"}
        lab.store.ctl("put", "/calico/ipam/v2/config", json.dumps({names.get(key, key): value for key, value in spec.items()}))
    else:
        lab.store.put("ipam.yaml", resource("IPAMConfiguration", **spec))


@pytest.fixture
def bare(built, make_lab):
    """bare(store, pool, ipam, nodes): what to do with a pool and IPAM's settings, on a directory and on etcd."""
    def make(store, text, ipam=None, nodes=1, extra=()):
        lab = make_lab(agents=False, nodes=nodes, store=store)
        put_pool(lab, text)
        if ipam:
            put_ipam(lab, **ipam)
        for node in lab.nodes:
            node.agent_start(extra=[*(["--dialect=calico"] if store == "etcd" else []), *extra])
        return lab
    return make


STORES = ["directory", "etcd"]


@pytest.mark.parametrize("store", STORES)
def test_blocks_of_a_node_are_limited(bare, store):
    """maxBlocksPerHost: so many and no more, and no borrowing instead; who raises it is heard."""
    lab = bare(store, pool(blockSize=30), {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 2})
    node, = lab.nodes
    pods = [node.pod_add(f"pod-{number}") for number in range(8)]
    assert len({ipaddress.ip_network(f"{pod.ip}/30", strict=False) for pod in pods}) == 2
    wait.until(lambda: "maxBlocksPerHost" in refusal(node, "one-more"), "the ninth is refused with the reason", 10, detail=lambda: refusal(node, "one-more"))
    put_ipam(lab, strictAffinity=True, autoAllocateBlocks=True, maxBlocksPerHost=3)
    wait.until(lambda: refusal(node, "one-more") == "", "there is room", 40, detail=lambda: refusal(node, "one-more"))


@pytest.mark.parametrize("store", STORES)
def test_borrowing(bare, store):
    """All blocks have owners: a node without one takes addresses of the others', which are reached where they live."""
    lab = bare(store, pool(cidr="10.244.0.0/27", blockSize=28), nodes=3, extra=["--address-rest=1"])
    one, two_, three = lab.nodes
    a, b = one.pod_add("a"), two_.pod_add("b")
    lent = three.pod_add("lent")
    assert {ipaddress.ip_network(f"{pod.ip}/28", strict=False) for pod in (a, b)} == set(ipaddress.ip_network("10.244.0.0/27").subnets(new_prefix=28))
    talk(a, b, lent)
    owner = next(pod for pod in (a, b) if ipaddress.ip_address(lent.ip) in ipaddress.ip_network(f"{pod.ip}/28", strict=False))
    routes = json.loads(owner.node.run(["ip", "-j", "route", "show", lent.ip]).stdout)
    assert routes and routes[0]["gateway"] == three.ip
    shown = json.loads(one.run([f"{lab.build}/tullectl", "-o", "json", "ipam", "show"]).stdout)["pools"][0]
    assert shown["borrowed"] >= 1


@pytest.mark.parametrize("store", STORES)
def test_no_new_blocks(bare, store):
    """autoAllocateBlocks false: the blocks that there are, and no new one."""
    lab = bare(store, pool(blockSize=30))
    node, = lab.nodes
    node.pod_add("first")
    put_ipam(lab, strictAffinity=True, autoAllocateBlocks=False)
    wait.until(lambda: "autoAllocateBlocks" in next((said for number in range(20) if (said := refusal_kept(node, f"pod-{number}"))), ""), "the reason", 20)


def refusal_kept(node, name) -> str:
    try:
        node.pod_add(name)
    except (CommandError, LabError) as error:
        return str(error)
    return ""


def test_cooldown(bare):
    """ipCooldownSeconds: what is given back to the pool cannot be had again before, by anybody."""
    lab = bare("directory", pool(cidr="10.244.0.0/30", blockSize=30), {"ipCooldownSeconds": 4}, nodes=2, extra=["--address-rest=0"])
    one, two_ = lab.nodes
    pods = [one.pod_add(f"pod-{number}") for number in range(4)]
    gone = pods.pop()
    gone.delete()
    wait.until(lambda: gone.ip not in taken(lab), "it is given back", 10)
    block, = objects(lab, "ipamblocks")
    released = [each for each in block["spec"]["attributes"] if each.get("releasedAt")]
    if released:
        assert refusal(two_, "too-early")
    wait.until(lambda: refusal(two_, "later") == "", "it comes again", 20)


# -- changes under traffic --

def test_a_change_of_one_pool_leaves_the_others_alone(calico):
    """At most a second is lost by pods of the pool whose mode changes, nothing by pods of another."""
    lab = calico(pool(), pool("other", "10.245.0.0/16", assignmentMode="Manual", **VXLAN), nodes=2,
                 files={"namespace.json": json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                     "name": "other", "annotations": {"cni.projectcalico.org/ipv4pools": '["other"]'}}})})
    one, two_ = lab.nodes
    a, b = one.pod_add("a"), two_.pod_add("b")
    c, d = added_in(one, "other/c", "10.245.0.0/16"), added_in(two_, "other/d", "10.245.0.0/16")
    talk(a, b)
    talk(c, d)
    kept = c.spawn(["ping", "-n", "-i", "0.01", "-W", "1", d.ip])
    kept.wait_line("bytes from")
    for spec, device in ((VXLAN, "vxlan.calico"), (IPIP, "tunl0"), (ACROSS, "eth0"), (PLAIN, "eth0")):
        flow = a.spawn(["ping", "-n", "-i", "0.02", "-W", "1", b.ip])
        flow.wait_line("bytes from")
        lab.store.put("pool-0.yaml", pool(**spec))
        wait.until(lambda: way(one, b.ip) == way(two_, a.ip) == device, f"the way through {device}", 10)
        before = len(flow.lines)
        wait.until(lambda: len(flow.lines) > before + 10, "packets flow again", 10)
        flow.stop(2)
        sent, received = counted(flow)
        assert sent - received <= 50, f"{sent - received} of {sent} pings were lost on the way to {spec}"
    assert way(one, d.ip) == "vxlan.calico"
    kept.stop(2)
    sent, received = counted(kept)
    assert sent - received <= 1, f"{sent - received} of {sent} pings of the other pool were lost"  # the last one may be on its way


def counted(flow) -> tuple:
    return tuple(map(int, re.search(r"(\d+) packets transmitted, (\d+) received", flow.output).groups()))
