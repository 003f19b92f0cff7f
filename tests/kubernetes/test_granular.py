# SPDX-License-Identifier: Apache-2.0
"""The granular networking checks of Kubernetes' conformance tests, and what pods rely on beside them: large packets, host ports that
differ in address or protocol only, restarts, bandwidth."""

import json
import socket

import pytest
from cluster_eyes import netns_of
from cluster_talk import PORT, from_host, http, udp
from tullelab import CommandError, KubeLab, until
from tullelab.kube_images import ECHO
from tullelab.pod import ping

NODE_PORT = 8081  # of the echo servers on the host network
MEGABYTES = 10


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2, network="tulle", agent="daemonset", backend="vxlan") as made:
        yield made


@pytest.fixture(scope="module")
def pods(lab):
    """echo-1 and echo-1b on node-1, echo-2 on node-2; host-1 and host-2 on their nodes' own network."""
    for name, node in (("echo-1", 0), ("echo-1b", 0), ("echo-2", 1)):
        lab.run(name, ECHO, node=lab.nodes[node])
    for name, node in zip(("host-1", "host-2"), lab.nodes):
        lab.run(name, ECHO, "netecho", "serve", str(NODE_PORT), node=node, hostNetwork=True)
    return {pod.name: pod for pod in lab.wait_pods("echo-1", "echo-1b", "echo-2", "host-1", "host-2")}


def ask(lab, protocol: str, source, ip: str, port: int) -> dict:
    """What the echo server at ip said to the pod: server, client, port."""
    answer = (http if protocol == "http" else udp)(lab, source, ip, port)
    return dict(word.split("=", 1) for word in answer.split())


# --- sig-network's granular checks ---

@pytest.mark.parametrize("protocol", ["http", "udp"])
@pytest.mark.parametrize("source, target", [("echo-1", "echo-1b"), ("echo-1", "echo-2"), ("echo-2", "echo-1b")])
def test_pod_to_pod(lab, pods, source, target, protocol):
    seen = ask(lab, protocol, pods[source], pods[target].ip, PORT)
    assert (seen["server"], seen["client"]) == (target, pods[source].ip)


@pytest.mark.parametrize("protocol", ["http", "udp"])
@pytest.mark.parametrize("source, target", [("host-1", "echo-1"), ("host-1", "echo-2"), ("host-2", "echo-1")])
def test_node_to_pod(lab, pods, source, target, protocol):
    """A pod on the host network, which is the node itself."""
    assert ask(lab, protocol, pods[source], pods[target].ip, PORT)["server"] == target


@pytest.mark.parametrize("protocol", ["http", "udp"])
@pytest.mark.parametrize("source, target", [("echo-1", "node-1"), ("echo-1", "node-2"), ("echo-2", "node-1")])
def test_pod_to_node(lab, pods, source, target, protocol):
    """The pod's own node sees the pod; another one sees the pod's node, whose address it has on the way out."""
    node = lab.node(target)
    seen = ask(lab, protocol, pods[source], node.ip, NODE_PORT)
    own = pods[source].node == target
    assert (seen["server"], seen["client"]) == (target, pods[source].ip if own else lab.node(pods[source].node).ip)


@pytest.mark.parametrize("protocol", ["http", "udp"])
def test_node_to_node(lab, pods, protocol):
    seen = ask(lab, protocol, pods["host-1"], pods["host-2"].ip, NODE_PORT)
    assert (seen["server"], seen["client"]) == ("node-2", lab.nodes[0].ip)


# --- what kubelets do to pods from the node ---

def test_port_forward(lab, pods):
    with lab.kubectl_background("port-forward", "pod/echo-2", "18080:8080") as forward:
        forward.wait_line("Forwarding from 127.0.0.1:18080", 20)
        assert lab.control.http("http://127.0.0.1:18080/hostname") == (200, "echo-2")


def test_logs(lab, pods):
    assert lab.kubectl("logs", "echo-1").stdout == "listening\n"


def test_probes(lab, pods):
    """The kubelet asks the pod from the node."""
    probe = {"httpGet": {"path": "/hostname", "port": PORT}, "periodSeconds": 1}
    container = {"name": "echo", "image": ECHO, "readinessProbe": probe, "livenessProbe": dict(probe, httpGet=None, tcpSocket={"port": PORT})}
    lab.run("probed", ECHO, node=lab.nodes[1], containers=[container])
    lab.wait_pods("probed")
    lab.pod_delete("probed")


# --- host ports ---

@pytest.fixture(scope="module")
def sharing(lab, pods):
    """Three pods on node-2 with the same host port: loopback TCP, the node's address TCP, the node's address UDP."""
    node = lab.nodes[1]
    for name, ip, protocol in (("loopback-tcp", "127.0.0.1", "TCP"), ("node-tcp", node.ip, "TCP"), ("node-udp", node.ip, "UDP")):
        ports = [{"containerPort": PORT, "hostPort": 8090, "hostIP": ip, "protocol": protocol}]
        lab.run(name, ECHO, containers=[{"name": "echo", "image": ECHO, "ports": ports}], nodeSelector={"kubernetes.io/hostname": node.name})
    return {pod.name: pod for pod in lab.wait_pods("loopback-tcp", "node-tcp", "node-udp")}


def test_the_scheduler_lets_them_share_a_port(lab, sharing):
    assert {pod.node for pod in sharing.values()} == {"node-2"}


@pytest.mark.parametrize("protocol, where, answers", [("http", "loopback", "loopback-tcp"), ("http", "node", "node-tcp"), ("udp", "node", "node-udp")])
def test_each_answers_at_its_own(lab, pods, sharing, protocol, where, answers):
    """From the node itself, as the conformance test asks: a pod on the host network."""
    ip = "127.0.0.1" if where == "loopback" else lab.nodes[1].ip
    assert ask(lab, protocol, pods["host-2"], ip, 8090)["server"] == answers


def test_only_the_nodes_address_is_open_to_others(lab, pods, sharing):
    """The other node and the outside reach the two pods behind the node's address; nobody reaches loopback's."""
    ip = lab.nodes[1].ip
    for host in (lab.outside, lab.nodes[0]):
        assert from_host(host, ip, 8090).server == "node-tcp"
        assert from_host(host, ip, 8090, "udp").server == "node-udp"
    with pytest.raises(CommandError):
        lab.pod_exec("host-1", "curl", "-sS", "-m2", "http://127.0.0.1:8090/")


# --- Services ---

def test_hairpin(lab, pods):
    """A pod that is the only one behind a Service reaches itself through it, and does not see its own address as the client."""
    lab.kubectl("expose", "pod", "echo-1", "--name=mirror", "--port=80", f"--target-port={PORT}")
    lab.kubectl("expose", "pod", "echo-1", "--name=mirror-udp", "--port=80", f"--target-port={PORT}", "--protocol=UDP")
    for protocol, name in (("http", "mirror"), ("udp", "mirror-udp")):
        seen = until(lambda: ask(lab, protocol, pods["echo-1"], name, 80), f"itself by {protocol}", 20)
        assert seen["server"] == "echo-1" and seen["client"] != pods["echo-1"].ip


# --- large packets and transfers ---

class Inside:
    """A pod's network namespace, for what no container of it can do: a place of tullelab.pod's functions."""

    def __init__(self, lab, pod):
        self.node = lab.node(pod.node)
        self.netns = netns_of(self.node, pod.ip)

    def run(self, argv, **options):
        return self.node.run(argv, netns=self.netns, **options)

    def connect(self, where, port, **options):
        return self.node.connect(where, port, netns=self.netns, **options)

    @property
    def mtu(self) -> int:
        return json.loads(self.run(["ip", "-j", "link", "show", "eth0"]).stdout)[0]["mtu"]


@pytest.fixture(scope="module")
def inside(lab, pods):
    return {name: Inside(lab, pods[name]) for name in ("echo-1", "echo-2")}


def test_packets_of_the_mtu_pass_whole(lab, pods, inside):
    """Not a byte less than what the pods' interfaces promise goes through unfragmented."""
    mtu = inside["echo-1"].mtu
    assert mtu == inside["echo-2"].mtu == 1450
    for source, target in (("echo-1", "echo-2"), ("echo-2", "echo-1")):
        ping(inside[source], pods[target].ip, mtu, 2, True, True, 2)
        assert ping(inside[source], pods[target].ip, mtu + 1, 1, True, False, 0.2).returncode != 0


@pytest.mark.parametrize("extra", [0, 1, 6000], ids=["mtu", "one-more", "fragments"])
def test_udp(lab, pods, inside, extra):
    """Ten megabytes in datagrams that fill the MTU, or are larger; each comes back as it was sent."""
    size = inside["echo-1"].mtu - 28 + extra
    text = (b"0123456789abcdef" * (size // 16 + 1))[:size - 5]
    with inside["echo-1"].connect(pods["echo-2"].ip, PORT, kind=socket.SOCK_DGRAM, timeout=5) as connection:
        for _ in range(MEGABYTES * 1000000 // size):
            connection.send(b"echo " + text)
            assert connection.recv(65536) == text


def fill(lab, name: str) -> str:
    """A file of so many megabytes for a pod to serve; returns its sum."""
    lab.pod_exec(name, "busybox", "dd", "if=/dev/urandom", "of=/var/lib/nginx/www/large", "bs=1000000", f"count={MEGABYTES}")
    return lab.pod_exec(name, "busybox", "sha256sum", "/var/lib/nginx/www/large").split()[0]


def test_tcp(lab, pods):
    """Ten megabytes each way between nodes by curl; what arrives is what was sent."""
    lab.run("nginx-1", "nginx", node=lab.nodes[0])
    lab.run("nginx-2", "nginx", node=lab.nodes[1])
    one, two = lab.wait_pods("nginx-1", "nginx-2")
    for source, target in ((one, two), (two, one)):
        wanted = fill(lab, target.name)
        got = lab.pod_exec(source.name, "sh", "-c", f"curl -sS -m 20 http://{target.ip}/large | busybox sha256sum")
        assert got.split()[0] == wanted


# --- pods that are started again ---

def restarts(pod) -> int:
    return pod.object["status"]["containerStatuses"][0]["restartCount"]


def kill(node, pod: str, kind: str) -> None:
    """The process of a pod's container or sandbox (kind), from the node: inside, it is one that no signal of its own pod's ends."""
    label = f'labels."io.kubernetes.pod.name"=={pod},labels."io.cri-containerd.kind"=={kind}'
    found, = node.run(["ctr", "-n", "k8s.io", "containers", "ls", "-q", label]).stdout.split()
    node.run(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "KILL", found])


def test_container_started_again(lab, pods):
    """Its process ends: a new one in the same sandbox, with the same address."""
    before, = lab.wait_pods("echo-1b")
    kill(lab.nodes[0], "echo-1b", "container")
    after = until(lambda: next((pod for pod in lab.wait_pods("echo-1b") if restarts(pod) == restarts(before) + 1), None), "the container runs again", 30)
    assert after.ips == before.ips
    assert ask(lab, "http", pods["echo-2"], after.ip, PORT)["server"] == "echo-1b"


def test_sandbox_made_again(lab, pods):
    """The sandbox's own process is killed: the pod gets a network anew, and the old address is no longer there."""
    node = lab.nodes[0]
    lab.run("again", ECHO, node=node)
    before, = lab.wait_pods("again")
    kill(node, "again", "sandbox")
    after = until(lambda: next((pod for pod in lab.wait_pods("again") if restarts(pod) > restarts(before)), None), "the pod runs again", 60)
    assert ask(lab, "http", pods["echo-2"], after.ip, PORT)["server"] == "again"
    assert ask(lab, "udp", after, pods["echo-2"].ip, PORT)["client"] == after.ip
    assert after.ip != before.ip, "an address rests before it is given again"
    until(lambda: before.ip not in node.run(["ip", "route"]).stdout.split(), "the old address is gone from the node", 20)


# --- bandwidth ---

RATE = 40_000_000  # bits a second


@pytest.fixture(scope="module")
def shaped(lab, pods):
    """slow-in may receive, slow-out send with 40 Mbit/s."""
    for name, direction in (("slow-in", "ingress"), ("slow-out", "egress")):
        lab.api.create("/api/v1/namespaces/default/pods", {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "annotations": {f"kubernetes.io/{direction}-bandwidth": "40M"}},
            "spec": {"containers": [{"name": "nginx", "image": "nginx"}], "nodeName": "node-2", "terminationGracePeriodSeconds": 1}})
    return {pod.name: pod for pod in lab.wait_pods("slow-in", "slow-out")}


def seconds(lab, source: str, target) -> float:
    """How long the large file takes, by curl's own watch."""
    return float(lab.pod_exec(source, "curl", "-sS", "-m30", "-o", "/dev/null", "-w", "%{time_total}", f"http://{target.ip}/large"))


@pytest.mark.parametrize("shaped_pod, receives", [("slow-in", True), ("slow-out", False)])
def test_bandwidth(lab, pods, shaped, shaped_pod, receives):
    """What the annotation limits cannot be faster than it says; the other direction is not limited."""
    lab.run(f"{shaped_pod}-peer", "nginx", node=lab.nodes[0])
    peer, = lab.wait_pods(f"{shaped_pod}-peer")
    fill(lab, peer.name)
    fill(lab, shaped_pod)
    inwards, outwards = seconds(lab, shaped_pod, peer), seconds(lab, peer.name, shaped[shaped_pod])
    limited, free = (inwards, outwards) if receives else (outwards, inwards)
    print(f"{shaped_pod}: {MEGABYTES} MB in {limited:.2f} s where limited, {free:.2f} s where not")
    assert limited > 0.9 * MEGABYTES * 8_000_000 / RATE, "a tenth of a second's worth may pass at once"
    assert free < limited
