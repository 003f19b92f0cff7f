# SPDX-License-Identifier: Apache-2.0
"""The express path where it is hard: packets that it must leave to the kernel, networks and pods that are not as usual, agents that die. Each
test says that the traffic is right and, by the counters, whether it went express."""
import contextlib
import errno
import itertools
import json
import socket
import threading
import time

import pytest
from calico_words import manifest
from express_words import KINDS, ON, OTHER, PORT, Watch, ask, bulk, counts, datagram, express_way, furnish, kernel_way, ping_once, ping_pong, ready, serve
from test_takeover_calico import World
from tullelab import address, proc, wait

TOS, TTL, MTU_DISCOVER, RECVERR, UDP_SEGMENT = socket.IP_TOS, socket.IP_TTL, 10, 11, 103


def make(make_lab, **options):
    return furnish(make_lab(nodes=2, agent_args=[*ON, "--address-rest=0"], **options))


@pytest.fixture(scope="module", params=list(KINDS))
def lab(request, built, make_lab):
    lab = make(make_lab, **KINDS[request.param])
    lab.kind = request.param
    ready(lab)
    return lab


@pytest.fixture(scope="module")
def vxlan(built, make_lab):
    lab = make(make_lab, backend="vxlan")
    ready(lab)
    return lab


# --- packets that are not as usual ---

def test_fragments_go_by_the_kernel(lab):
    one = lab.nodes[0]
    with datagram(lab.a, lab.b) as connection:
        express_way(one, lambda: ask(connection))
        kernel_way(one, lambda: ask(connection, 4000))
        assert ask(connection, 4000)["length"] == 4000
        with Watch(one) as seen:
            assert ask(connection, 100)["length"] == 100
        assert seen["out"] > 0


def test_a_packet_at_the_end_of_its_life_is_told_so(lab):
    one = lab.nodes[0]
    with datagram(lab.a, lab.b) as connection:
        express_way(one, lambda: ask(connection))
        assert ask(connection)["ttl"] == 62  # two routers, however it went
        connection.setsockopt(socket.IPPROTO_IP, RECVERR, 1)
        connection.setsockopt(socket.IPPROTO_IP, TTL, 1)

        def expire():
            connection.send(b"one hop")
            with pytest.raises(OSError, match="No route to host"):
                connection.recv(100)
        with Watch(one) as seen:
            kernel_way(one, expire)
        assert seen["ttl"] > 0
        connection.setsockopt(socket.IPPROTO_IP, TTL, 64)
        assert ask(connection)["length"] == 20


@pytest.mark.parametrize("inner, outer", [(0x00, 0), (0x02, 2), (0x01, 1), (0x03, 2), (0xb8, 0)])
def test_congestion_marks_are_carried_outside_as_the_kernel_does(lab, inner, outer):
    one, two = lab.nodes
    with datagram(lab.a, lab.b) as connection:
        express_way(one, lambda: ask(connection))
        connection.setsockopt(socket.IPPROTO_IP, TOS, inner)
        with lab.capture(one, "eth0") as seen, Watch(one) as express:
            answer = ask(connection)
            frames = wait.until(lambda: [frame for _, frame in seen.packets if answer["first"].encode() + b"." in frame], "the packet on the wire")
    assert answer["tos"] == inner and express["out"] > 0
    if lab.kind == "none":
        assert {frame[15] for frame in frames} == {inner}
    else:
        assert {frame[15] & 3 for frame in frames} == {inner & 3 if lab.kind == "udp" else outer}  # udp: RFC 6040's normal mode


def test_congestion_on_the_way_reaches_the_pod(lab):
    """A switch marks the outer header: RFC 6040 wants the mark inside."""
    one = lab.nodes[0]
    with datagram(lab.a, lab.b) as connection:
        express_way(one, lambda: ask(connection))
        connection.setsockopt(socket.IPPROTO_IP, TOS, 0x02)
        with marked(lab), Watch(one) as seen:
            assert ask(connection)["tos"] == 0x03
        assert seen["out"] > 0
        assert ask(connection)["tos"] == 0x02


@contextlib.contextmanager
def marked(lab):
    """What node 1 sends and may be marked, is."""
    rules = "table netdev marks { chain in { type filter hook ingress device node-1 priority 0; ip ecn ect0 ip ecn set ce; }; }"
    enter = ["nsenter", f"--net={lab.underlay.path}", "nft"]
    proc.run([*enter, "-f", "-"], input=rules)
    try:
        yield
    finally:
        proc.run([*enter, "delete", "table", "netdev", "marks"])


@pytest.mark.parametrize("flow", ["known", "new"])
def test_super_datagrams_arrive_whole(lab, flow):
    """UDP_SEGMENT, as QUIC uses it: one call, twenty datagrams."""
    one = lab.nodes[0]
    with datagram(lab.a, lab.b) as connection:
        if flow == "known":
            express_way(one, lambda: ask(connection))
        connection.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)

        def go():
            connection.send(b"".join((b"%08d" % i).ljust(1000, b".") for i in range(20)))
            answers = [json.loads(connection.recv(65536)) for _ in range(20)]
            assert sorted(int(one["first"]) for one in answers) == list(range(20))
            assert {one["length"] for one in answers} == {1000}
        with Watch(one) as seen:
            go()
        if flow == "known" and lab.kind in ("vxlan", "udp"):
            assert seen["gso"] > 0
            kernel_way(one, go)


def test_a_pod_that_believes_in_a_larger_mtu(lab):
    """The kernel tells it what fits; super-packets of TCP that do not fit are the kernel's as well."""
    if lab.kind == "none":
        pytest.skip("the pod's MTU is the uplink's")
    one, right = lab.nodes[0], lab.a.mtu
    device = json.loads(one.run(["ip", "-j", "route", "get", lab.a.ip]).stdout)[0]["dev"]

    def believe(mtu):
        one.run(["ip", "link", "set", device, "mtu", str(mtu)])
        lab.a.run(["ip", "link", "set", "eth0", "mtu", str(mtu)])
    believe(1500)
    try:
        bulk(lab.a, lab.b)
        with datagram(lab.a, lab.b) as connection:
            express_way(one, lambda: ask(connection))
            lab.a.run(["ip", "route", "flush", "cache"])
            connection.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, 2)

            def told():
                try:
                    connection.send(bytes(1472))
                    return False
                except OSError as error:
                    return error.errno == errno.EMSGSIZE
            with Watch(one) as seen:
                wait.until(told, "the pod hears that it is too long")
            assert seen["long"] > 0
    finally:
        believe(right)
        lab.a.run(["ip", "route", "flush", "cache"])
    bulk(lab.a, lab.b)


@pytest.fixture
def strict(lab):
    """kube-proxy drops what conntrack does not understand; and here that is all of which it has not seen the beginning."""
    rule = ["FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
    for node in lab.nodes:
        node.run(["iptables", "-I", *rule])
        node.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0"])
    yield
    for node in lab.nodes:
        node.run(["iptables", "-D", *rule])
        node.run(["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=1"])


def test_what_the_kernel_gets_of_a_flow_is_not_invalid_there(lab, strict):
    one = lab.nodes[0]
    for pod in (lab.a, lab.b):
        pod.run(["sysctl", "-qw", "net.ipv4.tcp_ecn=1"])
    with lab.a.connect(lab.b.ip, PORT, timeout=10) as connection, datagram(lab.a, lab.b) as other:
        express_way(one, lambda: ping_pong(connection))
        express_way(one, lambda: ask(other))
        assert ask(other, 4000)["length"] == 4000  # fragments
        with marked(lab):
            for _ in range(20):
                ping_pong(connection, bytes(1000))
        ping_pong(connection, bytes(1000))


def test_the_path_is_switched_off_and_on_under_its_flows(lab):
    with lab.a.connect(lab.b.ip, PORT, timeout=10) as connection, datagram(lab.a, lab.b) as other:
        for how in (["--express-path=disabled"], []):
            for node in lab.nodes:
                node.agent_restart(how)
                for _ in range(5):
                    ping_pong(connection, bytes(1000))
                    ask(other)
    ready(lab)


# --- checksums ---

@pytest.mark.parametrize("where", ["pods", "sender", "receiver", "both"])
def test_checksums_made_by_software_anywhere(lab, where):
    one, two = lab.nodes
    off = {"pods": [(lab.a, "eth0"), (lab.b, "eth0")], "sender": [(one, "eth0")], "receiver": [(two, "eth0")], "both": [(one, "eth0"), (two, "eth0")]}[where]
    features = ("tx", "rx", "tso", "gso")

    def switch(state):
        for place, device in off:
            place.run(["ethtool", "-K", device, *(word for feature in features for word in (feature, state))], check=False)
    switch("off")
    try:
        with Watch(one) as seen, Watch(two) as far:
            bulk(lab.a, lab.b)
            with datagram(lab.a, lab.b) as connection:
                assert ask(connection, 1200)["length"] == 1200
        assert seen["out"] > 0 and far["out"] > 0 and far["in"] > 0
        assert seen["lost"] == 0 and far["lost"] == 0
    finally:
        switch("on")


# --- the network ---

def test_the_path_is_narrower_than_the_node_knows(built, make_lab):
    """A router between the racks that lets less pass than any node's link: it cuts outer packets, which then go by the kernel."""
    lab = make(make_lab, underlay="routed", backend="vxlan")
    ready(lab)
    lines = [f"route change {rack[0]} dev rack{i} scope link src {rack[0][254]} mtu lock 1300" for i, rack in enumerate(address.RACKS, 1)]
    proc.run(["nsenter", f"--net={lab.underlay.path}", "ip", "-batch", "-"], input="\n".join(lines) + "\n")
    with Watch(lab.nodes[0]) as seen:
        bulk(lab.a, lab.b)
        with datagram(lab.a, lab.b) as connection:
            assert ask(connection, 1400)["length"] == 1400
    assert seen["out"] > 0 and seen["lost"] == 0


def test_the_uplink_goes_and_comes(lab):
    one = lab.nodes[0]
    with lab.a.connect(lab.b.ip, PORT, timeout=30) as connection:
        ping_pong(connection)
        one.unplug()
        connection.sendall(b"waits")
        one.plug()
        back = b""
        while len(back) < 5:
            back += connection.recv(5)
        assert back == b"waits"
        express_way(one, lambda: ping_pong(connection))


def test_neighbours_are_forgotten(lab):
    one = lab.nodes[0]
    with datagram(lab.a, lab.b) as connection:
        express_way(one, lambda: ask(connection))
        for _ in range(5):
            for node in lab.nodes:
                node.run(["ip", "neigh", "flush", "dev", "eth0"])
            with Watch(one) as seen:
                assert ask(connection)["length"] == 20
            assert seen["out"] > 0


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_node_has_no_express_path(built, make_lab, kind):
    """Its packets come from the kernel's devices. Of these VXLAN's has outer checksums, which is the kernel's to check."""
    lab = make_lab(nodes=2, agents=False, **KINDS[kind])
    one, two = lab.nodes
    one.agent_start(ON, ready=False)
    two.agent_start(["--policy=on", "--express-path=disabled"], ready=False)
    for node in lab.nodes:
        node.agent_ready()
    furnish(lab)
    serve(lab.a)
    express_way(one, lambda: ping_once(lab))
    with Watch(one) as seen:
        bulk(lab.a, lab.b)
        with datagram(lab.a, lab.b) as connection:
            assert ask(connection, 1200)["length"] == 1200
    assert seen["out"] > 0 and seen["lost"] == 0
    assert (seen["in"] > 0) == (kind != "vxlan")

    def come():
        bulk(lab.b, lab.a)
        with datagram(lab.b, lab.a) as connection:
            assert ask(connection, 1200)["length"] == 1200
    if kind == "vxlan":
        kernel_way(one, come)
    else:
        express_way(one, come)
    assert counts(one)["lost"] == 0


@pytest.mark.parametrize("checksum", ["noudpcsum", "udpcsum"])
def test_a_node_of_plain_flannel(built, make_lab, make_lease, checksum):
    """The other node has Flannel's device, routes and Debian's bridge, and nothing of ours."""
    lab = make_lab(nodes=2, agents=False, backend="vxlan")
    one, two = lab.nodes
    mac, block = "02:00:00:00:0f:01", "10.244.77.0/24"
    lab.store.put("leases/10.244.77.0-24.json", make_lease(two.ip, mac))
    one.agent_start(ON)
    own = json.loads(one.run([f"{lab.build}/tullectl", "-o", "json", "status"]).stdout)["lease"]
    first = own["subnet"].split("/")[0]
    two.run(["sh", "-ec", "\n".join([
        f"ip link add flannel.1 address {mac} mtu 1450 type vxlan id 1 local {two.ip} dev eth0 dstport 8472 nolearning {checksum}",
        "ip addr add 10.244.77.0/32 dev flannel.1", "ip link set flannel.1 up", "sysctl -qw net.ipv4.ip_forward=1",
        f"ip neigh replace {first} lladdr {own['vtepMAC']} dev flannel.1 nud permanent",
        f"bridge fdb replace {own['vtepMAC']} dev flannel.1 dst {one.ip} self permanent",
        f"ip route replace {own['subnet']} via {first} dev flannel.1 onlink"])])
    delegate = {"type": "bridge", "isGateway": True, "ipMasq": False, "mtu": 1450,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": block}]], "routes": [{"dst": "0.0.0.0/0"}]}}
    two.write("/etc/cni/net.d/10-tulle.conflist", json.dumps({"cniVersion": "1.0.0", "name": "cbr0", "plugins": [delegate]}))
    furnish(lab)
    express_way(one, lambda: ping_once(lab))
    with Watch(one) as seen:
        bulk(lab.a, lab.b)
        with datagram(lab.a, lab.b) as connection:
            assert ask(connection, 1200)["length"] == 1200
    assert seen["out"] > 0 and seen["lost"] == 0
    assert (seen["in"] > 0) == (checksum == "noudpcsum")
    serve(lab.a)
    bulk(lab.b, lab.a)


@pytest.mark.parametrize("mode", ["vxlan", "none"])
def test_a_node_of_real_calico(built, make_lab, mode):
    """The other node has Calico's devices, routes and rules, and nothing of ours."""
    lab = make_lab(nodes=2, agents=False, agent_args=ON)
    world = World(lab, mode)
    one, lab.a, lab.b = lab.nodes[0], world.a, world.old[0]
    for pod in (lab.a, lab.b):
        serve(pod)
    express_way(one, lambda: ping_once(lab))
    with Watch(one) as seen:
        bulk(lab.a, lab.b)
        with datagram(lab.a, lab.b) as connection:
            assert ask(connection, 1200)["length"] == 1200
    assert seen["out"] > 0 and seen["lost"] == 0
    assert (seen["in"] > 0) == (mode == "none")
    bulk(lab.b, lab.a)


# --- the agent ---

def test_no_flow_is_lost_when_the_agent_is_killed(vxlan):
    one, two = vxlan.nodes
    flows = [vxlan.a.connect(vxlan.b.ip, PORT, timeout=10) for _ in range(1000)]
    try:
        for flow in flows:
            ping_pong(flow)
        before = counts(one)["out"]
        for node in (one, two):
            node.agent_kill()
        for flow in flows:
            ping_pong(flow)
        for node in (one, two):
            node.agent_start()
        assert counts(one)["out"] - before >= 1000
        for flow in flows:
            ping_pong(flow)
        express_way(one, lambda: ping_pong(flows[0]))
    finally:
        for flow in flows:
            flow.close()


# --- policies and pods ---

def policy(lab, name, **spec):
    """Without the store's own sync to disk, which may take longer than everything else."""
    new = lab.store.path / ".policy.new"
    new.write_text(manifest("NetworkPolicy", name, "default", "networking.k8s.io/v1", spec={"policyTypes": ["Ingress"], **spec}))
    new.rename(lab.store.path / f"policy-{name}.json")


def tell(lab, pod, **labels):
    """What Kubernetes would say of a pod."""
    lab.store.put(f"pod-{pod.name}.json", manifest("Pod", pod.name, "default", labels=labels, status={"podIP": pod.ip, "podIPs": [{"ip": pod.ip}]},
                                                   spec={"nodeName": pod.node.name, "containers": [{"name": "c"}]}))


@pytest.fixture
def clean(vxlan):
    vxlan.store.put("namespace.json", manifest("Namespace", "default", labels={"kubernetes.io/metadata.name": "default"}))
    yield
    for path in list(vxlan.store.path.glob("policy-*.json")):
        vxlan.store.delete(path.name)


def refused(pod, to, port):
    try:
        pod.connect(to.ip, port, timeout=0.3).close()
        return False
    except OSError:
        return True


def test_policies_change_a_hundred_times_a_second(vxlan, clean):
    """One port stays open and the other shut, whatever else is written about the pod."""
    one = vxlan.nodes[0]
    serve(vxlan.b, OTHER)
    tell(vxlan, vxlan.a, app="client")
    tell(vxlan, vxlan.b, app="server")
    select = {"podSelector": {"matchLabels": {"app": "server"}}}
    policy(vxlan, "stays", **select, ingress=[{"ports": [{"port": PORT, "protocol": "TCP"}]}])
    wait.until(lambda: refused(vxlan.a, vxlan.b, OTHER), "the other port is shut", 10)
    ended, wrong = threading.Event(), []

    def knock():
        while not ended.is_set():
            if not refused(vxlan.a, vxlan.b, OTHER):
                wrong.append("the shut port answered")

    def write():
        for i in itertools.count():
            policy(vxlan, f"changes-{i % 5}", **select, ingress=[{"ports": [{"port": 10_000 + i % 1000, "protocol": "TCP"}]}])
            if ended.wait(0.01):
                break
    threads = [threading.Thread(target=target, daemon=True) for target in (knock, write)]
    with vxlan.a.connect(vxlan.b.ip, PORT, timeout=5) as connection:
        with Watch(one) as seen:
            for thread in threads:
                thread.start()
            for _ in range(200):
                ping_pong(connection)
                ping_once(vxlan)
                time.sleep(0.005)
            ended.set()
            for thread in threads:
                thread.join()
    assert not wrong
    assert seen["out"] >= 200


def test_a_policy_ends_an_express_flow_with_its_next_packet(vxlan, clean):
    one, two = vxlan.nodes
    tell(vxlan, vxlan.a, app="client")
    tell(vxlan, vxlan.b, app="server")
    with datagram(vxlan.a, vxlan.b) as connection:
        express_way(one, lambda: ask(connection))
        connection.settimeout(0.3)
        policy(vxlan, "shut", podSelector={"matchLabels": {"app": "server"}}, ingress=[])

        def silent():
            connection.send(b"still there?")
            try:
                connection.recv(100)
                return False
            except socket.timeout:
                return True
        wait.until(silent, "the flow is cut", 10)
        kernel_way(two, silent, "in")


def test_an_address_goes_to_another_pod(vxlan, clean):
    """The flow that its former owner had does not reach the new one, whom a policy shuts off."""
    one, two = vxlan.nodes
    old = two.pod_add("old")
    serve(old)
    tell(vxlan, vxlan.a, app="client")
    tell(vxlan, old, app="old")
    policy(vxlan, "shut", podSelector={"matchLabels": {"app": "new"}}, ingress=[])
    new = None
    with datagram(vxlan.a, old) as connection:
        express_way(one, lambda: ask(connection))
        address = old.ip
        vxlan.store.put("pod-new.json", manifest("Pod", "new", "default", labels={"app": "new"}, spec={"nodeName": two.name, "containers": [{"name": "c"}]}))
        old.delete()
        vxlan.store.delete("pod-old.json")
        new = two.pod_add("new", ips=[address])
        try:
            assert new.ip == address
            serve(new)
            tell(vxlan, new, app="new")

            def speak():
                for _ in range(10):
                    connection.send(b"for the old one")
                assert refused(vxlan.a, new, PORT)
            with vxlan.capture(two, "eth0", f"port {PORT}", netns=new.netns_path) as inside:
                kernel_way(two, speak, "in")
                assert not inside.lines
            vxlan.store.delete("policy-shut.json")
            wait.until(lambda: not refused(vxlan.a, new, PORT), "the new pod is reached", 10)
            express_way(one, lambda: ask_once(vxlan.a, new))
        finally:
            new.delete()
            vxlan.store.delete("pod-new.json")


def test_a_host_endpoint_ends_the_path_at_its_interface(vxlan, clean):
    """Its policies judge what the node forwards; they are on the kernel's path, so everything goes there."""
    one = vxlan.nodes[0]

    def put(kind, name, **spec):
        vxlan.store.put(f"policy-{name}.json", manifest(kind, name, None, "projectcalico.org/v3", labels={"where": "edge"}, spec=spec))
    with datagram(vxlan.a, vxlan.b) as connection:
        express_way(one, lambda: ask(connection))
        put("GlobalNetworkPolicy", "forward", selector="where == 'edge'", types=["Ingress", "Egress"], applyOnForward=True, ingress=[{"action": "Allow"}],
            egress=[{"action": "Allow", "protocol": "UDP"}, {"action": "Deny"}])
        put("HostEndpoint", "edge", node=one.name, interfaceName="*", profiles=["projectcalico-default-allow"])
        wait.until(lambda: refused(vxlan.a, vxlan.b, PORT), "the host endpoint's policy denies TCP", 10)
        kernel_way(one, lambda: ask(connection))
        for name in ("edge", "forward"):
            vxlan.store.delete(f"policy-{name}.json")
        wait.until(lambda: not refused(vxlan.a, vxlan.b, PORT), "nobody denies TCP", 10)
    express_way(one, lambda: ping_once(vxlan))


def ask_once(pod, to):
    with datagram(pod, to) as connection:
        ask(connection)


def test_a_pod_that_forwards(lab):
    """What comes in express leaves again, translated by the pod: a proxy, a router, a nested machine."""
    one, two = lab.nodes
    middle = one.pod_add("middle")
    far = two.pod_add("far")
    try:
        middle.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        middle.run(["nft", "-f", "-"], input=f"""table ip through {{
            chain pre {{ type nat hook prerouting priority dstnat; meta l4proto {{ tcp, udp }} th dport {OTHER} dnat to {lab.b.ip}:{PORT}; }}
            chain post {{ type nat hook postrouting priority srcnat; masquerade; }}
        }}""")
        with Watch(two) as seen:
            bulk(far, middle, port=OTHER)
            with datagram(far, middle, OTHER) as connection:
                assert ask(connection, 1200)["length"] == 1200
        assert seen["out"] > 0 and seen["lost"] == 0
        assert counts(one)["lost"] == 0
    finally:
        middle.delete()
        far.delete()


def test_a_pod_with_programs_of_its_own(lab):
    """They see what comes and goes express: a verdict of theirs counts."""
    one = lab.nodes[0]
    pod = one.pod_add("programmed")
    try:
        with datagram(pod, lab.b) as connection:
            express_way(one, lambda: ask(connection))
            pod.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"])
            for direction in ("ingress", "egress"):
                program(pod, direction, 0)
                with Watch(one) as seen:
                    ask(connection)
                assert seen["out"] > 0 and seen["in"] > 0
                program(pod, direction, 2)
                connection.send(b"into nowhere")
                connection.settimeout(0.3)
                with pytest.raises(socket.timeout):
                    connection.recv(100)
                connection.settimeout(2)
                program(pod, direction, 0)
                ask(connection)
    finally:
        pod.delete()


def program(pod, direction, verdict):
    """A filter that says the same of every packet: 0 passes, 2 drops (TC_ACT_OK, TC_ACT_SHOT)."""
    pod.run(["tc", "filter", "replace", "dev", "eth0", direction, "protocol", "ip", "pref", "1", "handle", "1", "bpf", "direct-action", "bytecode",
             f"1,6 0 0 {verdict}"])
