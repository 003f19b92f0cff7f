# SPDX-License-Identifier: Apache-2.0
"""The express path beside what translates: Services as kube-proxy makes them (iptables and nftables), NodePorts, hostPorts, masquerade. All of it
must go on, in every encapsulation, with kube-proxy's rule that drops what conntrack does not understand; only pods' direct flows go express."""
import itertools
import socket

import pytest
from express_words import KINDS, ON, OTHER, PORT, ask, bulk, datagram, express_way, kernel_way, ping_once, ready, serve
from tullelab import wait
from tullelab.kernel import in_netns

SERVICES = {"far": "10.96.0.10", "near": "10.96.0.11"}  # to b on the other node, to c on a's own
NODE_PORT, HOST_PORT = 30080, 18080
_ports = itertools.count(20_000, 100)  # below those that the kernel chooses


class Place:
    """Somewhere to talk to."""

    def __init__(self, ip):
        self.ip = ip


def iptables(lab, node):
    """But for its many chains, what kube-proxy writes."""
    lines = []
    for protocol in ("tcp", "udp"):
        for name, pod in (("far", lab.b), ("near", lab.c)):
            for chain in ("PREROUTING", "OUTPUT"):
                lines.append(f"-A {chain} -d {SERVICES[name]}/32 -p {protocol} --dport {PORT} -j DNAT --to-destination {pod.ip}:{OTHER}")
        lines += [f"-A PREROUTING -p {protocol} --dport {NODE_PORT} -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x4000/0x4000",
                  f"-A PREROUTING -p {protocol} --dport {NODE_PORT} -m addrtype --dst-type LOCAL -j DNAT --to-destination {lab.b.ip}:{OTHER}",
                  # a pod that reaches itself by its Service
                  f"-A POSTROUTING -p {protocol} -s {lab.b.ip} -d {lab.b.ip} -j MASQUERADE"]
    lines.append("-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully")
    forward = ["-A FORWARD -m conntrack --ctstate INVALID -j DROP", "-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT"]
    text = "\n".join(["*nat", *lines, "COMMIT", "*filter", *forward, "COMMIT", ""])
    node.run(["iptables-restore", "--noflush"], input=text)
    yield
    node.run(["iptables-restore", "--noflush"], input=text.replace("\n-A", "\n-D"))  # what others have written stays


def nftables(lab, node):
    """The same in the way of kube-proxy's younger mode: maps from address and port to where it leads."""
    to = {f"{SERVICES[name]} . {protocol} . {PORT}": f"{pod.ip} . {OTHER}" for protocol in ("tcp", "udp") for name, pod in (("far", lab.b), ("near", lab.c))}
    services = ", ".join(f"{key} : {value}" for key, value in to.items())
    node.run(["nft", "-f", "-"], input=f"""table ip kube-proxy {{
        map services {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; elements = {{ {services} }}; }}
        chain translate {{
            dnat ip to ip daddr . meta l4proto . th dport map @services
            meta l4proto {{ tcp, udp }} th dport {NODE_PORT} fib daddr type local meta mark set meta mark or 0x4000 dnat ip to {lab.b.ip}:{OTHER}
        }}
        chain in {{ type nat hook prerouting priority dstnat; jump translate; }}
        chain out {{ type nat hook output priority -100; jump translate; }}
        chain post {{ type nat hook postrouting priority srcnat; meta mark and 0x4000 == 0x4000 masquerade fully-random; ip saddr {lab.b.ip} ip daddr {lab.b.ip} masquerade; }}
        chain forward {{ type filter hook forward priority filter; ct state invalid drop; }}
    }}
""")
    yield
    node.run(["nft", "delete", "table", "ip", "kube-proxy"])


@pytest.fixture(scope="module", params=list(KINDS))
def lab(request, built, make_lab):
    """a and c on node 1, b on node 2; the nodes know the Services' range, which leads nowhere."""
    lab = make_lab(nodes=2, agent_args=[*ON, "--address-rest=0"], **KINDS[request.param])
    one, two = lab.nodes
    ports = [{"hostPort": HOST_PORT, "containerPort": OTHER, "protocol": protocol} for protocol in ("tcp", "udp")]
    lab.a, lab.c, lab.b = one.pod_add("a"), one.pod_add("c"), two.pod_add("b", ports=ports)
    for pod in (lab.a, lab.b, lab.c):
        serve(pod)
        serve(pod, OTHER)  # to which everything leads that is translated: no flow there is also a direct one
    wait.until(lambda: lab.a.ping(lab.b.ip, timeout=1), "pods talk", 10)
    ready(lab)
    return lab


@pytest.fixture(params=[iptables, nftables])
def services(request, lab):
    made = [request.param(lab, node) for node in lab.nodes]
    for one in made:
        next(one)
    yield
    for one in made:
        next(one, None)


def talk(here, place, port=PORT):
    bulk(here, place, 1 << 18, port)
    with datagram(here, place, port) as connection:
        for _ in range(3):
            assert ask(connection, 1000)["length"] == 1000


def test_a_service_of_a_pod_elsewhere(lab, services):
    one = lab.nodes[0]
    kernel_way(one, lambda: talk(lab.a, Place(SERVICES["far"])))
    express_way(one, lambda: talk(lab.a, lab.b))
    kernel_way(one, lambda: talk(lab.a, Place(SERVICES["far"])))


def test_a_service_of_a_pod_beside(lab, services):
    one = lab.nodes[0]
    kernel_way(one, lambda: talk(lab.a, Place(SERVICES["near"])), "local")
    with datagram(lab.a, lab.c) as connection:
        express_way(one, lambda: ask(connection), "local")
    kernel_way(one, lambda: talk(lab.a, Place(SERVICES["near"])), "local")


def test_a_pod_reaches_itself_by_its_service(lab, services):
    talk(lab.b, Place(SERVICES["far"]))


def test_a_node_port_leads_to_the_other_node(lab, services):
    for node in lab.nodes:
        talk(lab.outside, Place(node.ip), NODE_PORT)
    talk(lab.a, Place(lab.nodes[1].ip), NODE_PORT)


def test_a_host_port(lab, services):
    for here in (lab.outside, lab.a):
        talk(here, Place(lab.nodes[1].ip), HOST_PORT)


def test_a_node_reaches_pods_and_services(lab, services):
    for node in lab.nodes:
        for place in (lab.b, lab.c, Place(SERVICES["far"]), Place(SERVICES["near"])):
            talk(node, place)


def test_what_leaves_is_masqueraded(lab, services):
    """As ever, and a flow to a pod is not; nor is what a pod answers to the outside."""
    assert lab.a.ask(lab.outside.ip).client == lab.nodes[0].ip
    ping_once(lab)
    assert lab.a.ask(lab.outside.ip).client == lab.nodes[0].ip


def connect_from(pod, port, ip):
    def connect():
        made = socket.socket()
        made.settimeout(5)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", port))
        made.connect((ip, PORT))
        return made
    return in_netns(pod.netns_path, connect)


def test_flows_to_a_pod_and_to_its_service_side_by_side(lab, services):
    """Many at once, each from a port of its own; each gets its own answers."""
    first = next(_ports)
    connections = [connect_from(lab.a, first + i, ip) for i, ip in enumerate([lab.b.ip, SERVICES["far"]] * 20)]
    try:
        for i in range(5):
            for j, connection in enumerate(connections):
                connection.sendall(b"%03d/%03d" % (i, j))
            for j, connection in enumerate(connections):
                assert connection.recv(7) == b"%03d/%03d" % (i, j)
    finally:
        for connection in connections:
            connection.close()
