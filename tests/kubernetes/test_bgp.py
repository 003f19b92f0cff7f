# SPDX-License-Identifier: Apache-2.0
"""BGP on the real cluster: BIRD by deploy/bird.yaml, resources by kubectl, a router outside that is not ours."""

import json
import re

import pytest
from cluster_eyes import Eyes, Flow
from cluster_pools import EXAMPLE, events, inside, objects, pod_manifest, resource, wait_calico
from cluster_talk import AGENTS, agent_lives
from tullelab import KubeLab, kube_deploy, wait
from tullelab.kube_deploy import NAMESPACE

BIRDS = "app.kubernetes.io/name=tulle-bird"
SOCKET = "/run/tulle/bird/bird.ctl"
ROUTER_AS, PASSWORD = 65001, "a secret"


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2, dns=False) as made:
        made.apply(EXAMPLE)
        wait_calico(made)
        made.kubectl("apply", "-f", kube_deploy.BIRD)
        yield made


@pytest.fixture(scope="module")
def pods(lab):
    lab.apply([pod_manifest(f"pod-{node.index}", node) for node in lab.nodes])
    return lab.wait_pods(*(f"pod-{node.index}" for node in lab.nodes))


@pytest.fixture(scope="module")
def birds(lab, pods):
    """BIRD runs on every node, and the mesh is up."""
    lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/tulle-bird", "--timeout=60s", timeout=70)
    for node in lab.nodes:
        wait_sessions(node, 1)
    return lab


def router_conf(lab, bfd="bfd graceful;") -> str:
    ip = lab.outside.ip
    peers = "".join(f"""protocol bgp node{one.index} {{
    local {ip} as {ROUTER_AS}; neighbor {one.ip} as 64512; multihop; password "{PASSWORD}"; {bfd} connect delay time 1;
    ipv4 {{ import all; export none; }};
}}
""" for one in lab.nodes)
    return f"router id {ip};\nprotocol device {{ }}\nprotocol bfd {{ multihop {{ interval 200 ms; multiplier 5; }}; }}\n{peers}"


@pytest.fixture(scope="module")
def router(lab, birds):
    """A router beyond the gateway, with which each node has a session with a password and BFD."""
    node = lab.outside
    node.write("/etc/router.conf", router_conf(lab))
    node.daemon(["/usr/sbin/bird", "-f", "-c", "/etc/router.conf", "-s", "/run/router.ctl", "-P", "/run/router.pid"], "router")
    lab.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bgp-secrets", "namespace": NAMESPACE}, "stringData": {"router": PASSWORD}},
               resource("BGPPeer", "router", annotations={"tulle/bfd": '{"minTxMs": 200, "minRxMs": 200, "multiplier": 5}'}, peerIP=node.ip,
                        asNumber=ROUTER_AS, password={"secretKeyRef": {"name": "bgp-secrets", "key": "router"}})])
    for one in lab.nodes:
        wait_sessions(one, 2)
    return node


@pytest.fixture
def flow(lab, pods):
    """Traffic between the pods, of which nothing may be lost until flow.check()."""
    made = Flow(lab, *pods)
    yield made
    made.end()


def bgp(node) -> dict:
    return json.loads(Eyes(node).ctl("-o", "json", "bgp", "status", check=False).stdout)


def wait_sessions(node, count: int) -> None:
    wait.until(lambda: [one["state"] for one in bgp(node)["sessions"]] == ["Established"] * count, f"{node.name}: {count} sessions", 60, 0.3,
               detail=lambda: json.dumps(bgp(node), indent=1))


def birdc(host, *words, socket=SOCKET) -> str:
    return host.run(["birdc", "-s", socket, *words], check=False).stdout  # "show bfd sessions" fails where there is no BFD


def learnt(router) -> str:
    return birdc(router, "show", "route", socket="/run/router.ctl")


class Since(float):
    """A time of day in seconds. BIRD works it out anew for each answer, so that its last digit may differ."""

    def __eq__(self, other):
        return abs(self - other) < 1


TIME = r"(?:\d{4}-\d\d-\d\d )?(\d\d):(\d\d):(\d\d(?:\.\d+)?)"


def since(host, socket=SOCKET) -> list:
    """Every BGP and BFD session with the time of its beginning."""
    found = []
    for pattern, question in ((rf"^(\S+) +BGP +\S+ +(up) +{TIME} +Established", ("protocols",)),
                              (rf"^(\S+) +\S+ +(Up) +{TIME}", ("bfd", "sessions"))):
        for name, state, hours, minutes, seconds in sorted(re.findall(pattern, birdc(host, "show", *question, socket=socket), re.M)):
            found.append((name, state, Since(int(hours) * 3600 + int(minutes) * 60 + float(seconds))))
    return found


def bird_lives(lab) -> list:
    return sorted((pod.name, status["containerID"]) for pod in lab.kube_pods(NAMESPACE, BIRDS) for status in pod.object["status"]["containerStatuses"])


def roll(lab, name: str) -> None:
    lab.kubectl("-n", NAMESPACE, "rollout", "restart", f"daemonset/{name}")
    lab.kubectl("-n", NAMESPACE, "rollout", "status", f"daemonset/{name}", "--timeout=90s", timeout=100)


def own_block(lab, pod) -> str:
    return next(one["spec"]["cidr"] for one in objects(lab, "ipamblocks") if inside(pod.ip, one["spec"]["cidr"]))


def test_the_nodes_are_a_mesh(lab, birds):
    for node, other in (lab.nodes, reversed(lab.nodes)):
        session, = bgp(node)["sessions"]
        assert session["name"] == "Mesh_" + other.ip.replace(".", "_")
        Eyes(node).wait_no_problem()


def test_a_router_learns_the_blocks(lab, router, pods):
    """With its password out of the one Secret that agents may read."""
    for pod in pods:
        wait.until(lambda: re.search(rf"^{re.escape(own_block(lab, pod))} ", learnt(router), re.M), f"the block of {pod.name}", 30, 0.3,
                   detail=lambda: learnt(router))
    assert len(since(router, "/run/router.ctl")) == 4, "a BGP and a BFD session with each node"


def test_upgrading_the_agent_touches_no_session(lab, router, pods):
    for node in lab.nodes:
        wait.until(lambda: len(since(node)) == 3, f"{node.name}: mesh, router and its BFD", 30, 0.3, detail=lambda: str(since(node)))
    before = [since(node) for node in lab.nodes], since(router, "/run/router.ctl"), bird_lives(lab)
    agents = agent_lives(lab)
    roll(lab, "tulle")
    assert not set(agents) & set(agent_lives(lab))
    for node in lab.nodes:
        wait_sessions(node, 2)
    assert ([since(node) for node in lab.nodes], since(router, "/run/router.ctl"), bird_lives(lab)) == before


def test_upgrading_bird_loses_no_route(lab, router, pods, flow):
    """The router keeps them for the restart time, the nodes' kernels keep theirs. Without BFD: when its end of a session comes
    back before the other end has missed it, the other takes that for a second restart, and drops what it kept."""
    lab.kubectl("annotate", "bgppeer", "router", "tulle/bfd-")
    router.write("/etc/router.conf", router_conf(lab, bfd=""))
    birdc(router, "configure", socket="/run/router.ctl")
    for node in lab.nodes:
        wait.until(lambda: len(since(node)) == 2, f"{node.name}: mesh and router, no BFD", 60, 0.3, detail=lambda: str(since(node)))
    wait.until(lambda: all(own_block(lab, pod) in learnt(router) for pod in pods), "the blocks", 30, 0.3)
    lives = bird_lives(lab)
    lab.kubectl("-n", NAMESPACE, "rollout", "restart", "daemonset/tulle-bird")

    def rolled():
        assert all(own_block(lab, pod) in learnt(router) for pod in pods)
        return "successfully" in lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/tulle-bird", "--watch=false").stdout
    wait.until(rolled, "BIRD is rolled", 120, 0.3)
    for node in lab.nodes:
        wait_sessions(node, 2)
    assert not set(lives) & set(bird_lives(lab)) and all(own_block(lab, pod) in learnt(router) for pod in pods)
    flow.check()


def test_without_agents(lab, router, pods, flow):
    """Whoever removes them leaves sessions and packets alone; those that come back adopt both."""
    before = [since(node) for node in lab.nodes]
    lab.kubectl("-n", NAMESPACE, "delete", "daemonset", "tulle", timeout=100)
    wait.until(lambda: not lab.kube_pods(NAMESPACE, AGENTS), "no agent is left", 60)
    flow.check()
    assert [since(node) for node in lab.nodes] == before
    lab.deploy()
    wait_calico(lab, 60)
    for node in lab.nodes:
        wait_sessions(node, 2)
    assert [since(node) for node in lab.nodes] == before


def test_one_agent_is_elected(lab, birds):
    """With the rights of the manifest's Role, in its namespace."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
    lease = wait.until(lambda: next(iter(lab.api.items(path)), None), "a Lease", 60, 0.5)
    assert lease["metadata"]["name"] == "tulle-ipam" and lease["spec"]["holderIdentity"] in {node.name for node in lab.nodes}
    for node in lab.nodes:
        assert "IPAM lease" not in Eyes(node).problems()


def test_services_are_announced(lab, router, pods):
    """The range of cluster addresses; a Service with local traffic only where its pod is."""
    lab.apply([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "local"},
                "spec": {"type": "NodePort", "externalTrafficPolicy": "Local", "selector": {"run": "pod-2"}, "ports": [{"port": 80, "targetPort": 8080}]}},
               resource("BGPConfiguration", "default", serviceClusterIPs=[{"cidr": "10.96.0.0/16"}])])
    ip = lab.api.get("/api/v1/namespaces/default/services/local")["spec"]["clusterIP"]
    try:
        wait.until(lambda: re.search(r"^10\.96\.0\.0/16 ", learnt(router), re.M), "the range", 30, 0.3, detail=lambda: learnt(router))
        wait.until(lambda: re.search(rf"^{re.escape(ip)}/32 .*\[node2 ", learnt(router), re.M), "the Service at its pod's node", 30, 0.3,
                   detail=lambda: learnt(router))
        assert f"{ip}/32" not in birdc(router, "show", "route", "protocol", "node1", socket="/run/router.ctl")
    finally:
        lab.kubectl("delete", "bgpconfiguration", "default")
        lab.kubectl("delete", "service", "local")
    wait.until(lambda: "10.96." not in learnt(router), "all is taken back", 30, 0.3, detail=lambda: learnt(router))


def test_without_the_mesh(lab, router, pods, flow):
    """Pods reach each other by block data, whatever BGP says."""
    lab.apply([resource("BGPConfiguration", "default", nodeToNodeMeshEnabled=False)])
    try:
        for node in lab.nodes:
            wait_sessions(node, 1)
        flow.check()
    finally:
        lab.kubectl("delete", "bgpconfiguration", "default")
    for node in lab.nodes:
        wait_sessions(node, 2)


def test_bad_peers(lab, router):
    """Left out, with an Event that names the field; the sessions that are there stay."""
    before = since(router, "/run/router.ctl")
    lab.apply([resource("BGPPeer", "elsewhere", peerIP="198.51.100.77", asNumber=65002,
                        password={"secretKeyRef": {"name": "not-allowed", "key": "x"}}),
               resource("BGPPeer", "filtered", peerIP="198.51.100.78", asNumber=65003, filters=["no-such-filter"])])
    try:
        for name, word in (("elsewhere", "not-allowed"), ("filtered", "no-such-filter")):
            event = wait.until(lambda: next(iter(events(lab, name)), None), f"an Event about BGPPeer {name}", 30, 0.3,
                               detail=lambda: str(Eyes(lab.nodes[0]).problems()))
            assert word in event["message"] and event["involvedObject"]["kind"] == "BGPPeer"
    finally:
        lab.kubectl("delete", "bgppeer", "elsewhere", "filtered")
    for node in lab.nodes:
        wait_sessions(node, 2)
    assert since(router, "/run/router.ctl") == before
