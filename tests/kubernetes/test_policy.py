# SPDX-License-Identifier: Apache-2.0
"""Policy on the real cluster, as people use it: kubectl writes policies, labels and pods, and packets pass or do not.  Both families, the
agents are pods with the rights of deploy/tulle.yaml and nothing more."""

import contextlib
import json
import os
import select
import signal
import time
from pathlib import Path

import pytest
from cluster_eyes import Eyes, attachments
from cluster_policy import ALIVE, HOST_PORT, OTHER, PODS, WEB, World, calico, counters, pod_object, policy
from cluster_talk import switch_proxy
from tullelab import KubeLab, proc, until
from tullelab.kube_deploy import NAMESPACE

SOAK = os.environ.get("TULLE_SOAK") == "1"
CLIENT = {"podSelector": {"matchLabels": {"app": "client"}}}
SHOP, BANK = ({"namespaceSelector": {"matchLabels": {"team": team}}} for team in ("shop", "bank"))
OPEN = {(a, b): True for a in PODS for b in PODS if a != b}


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2, family="dual", agent_args=["--policy=auto"]) as made:
        yield made


@pytest.fixture(scope="module")
def whole(lab):
    made = World(lab)
    yield made
    made.close()


@pytest.fixture
def world(whole):
    """Each test begins and ends without a policy."""
    whole.settles(OPEN, "without a policy everything passes", 60)
    yield whole
    whole.clean()


# -- who may --

def test_default_deny_and_allow_by_labels(world):
    deny = policy("deny", policyTypes=["Ingress"])
    world.write(deny)
    world.settles({("shop/client", "shop/web"): False, ("bank/client", "shop/far"): False, ("shop/web", "shop/far", WEB, "UDP"): False,
                   ("outside", "node-2", HOST_PORT): False, ("node-1", "shop/far"): False,
                   ("node-1", "shop/web"): True, ("shop/web", "bank/client"): True})
    world.write(policy("allow", select={"app": "web"}, ingress=[{"from": [{**CLIENT, **BANK}, {"podSelector": {"matchLabels": {"self": "shop-client"}}}]}]))
    world.settles({("shop/client", "shop/web"): True, ("shop/client", "shop/far", WEB, "UDP"): True, ("bank/client", "shop/web"): True,
                   ("shop/far", "shop/web"): False, ("bank/client", "shop/client"): False})
    world.lab.kubectl("patch", "networkpolicy", "-n", "shop", "allow", "--type=merge", "-p", json.dumps({"spec": {"ingress": [{"from": [BANK]}]}}))
    world.settles({("shop/client", "shop/web"): False, ("bank/client", "shop/web"): True, ("bank/client", "shop/far"): True})
    world.delete(deny)
    world.settles({("bank/client", "shop/client"): True, ("shop/client", "shop/web"): False})


def test_ports_by_number_range_and_name(world):
    world.write(policy("ports", select={"app": "web"}, ingress=[
        {"from": [BANK], "ports": [{"port": "web"}]},
        {"from": [SHOP], "ports": [{"port": OTHER - 1, "endPort": OTHER + 100, "protocol": "TCP"}]}]))
    # the name is WEB in one of the pods and OTHER in the other
    world.settles({("bank/client", "shop/web", WEB): True, ("bank/client", "shop/web", OTHER): False, ("bank/client", "shop/far", OTHER): True,
                   ("bank/client", "shop/far", WEB): False, ("shop/client", "shop/web", WEB): True, ("shop/client", "shop/web", OTHER): True,
                   ("shop/client", "shop/web", WEB, "UDP"): False})


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_services_whatever_kube_proxys_mode(world, mode):
    """Egress and ingress are judged behind the Service: what was its address, NodePort or host port says nothing of who talks to whom."""
    lab = world.lab
    switch_proxy(lab, mode)
    front = {**{("shop/client", f"service/{name}", 80, protocol): True for name in ("web", "far") for protocol in ("TCP", "UDP")},
             ("outside", "node-1", node_port(world)): True, ("outside", "node-2", node_port(world)): True, ("outside", "node-2", HOST_PORT): True}
    world.settles(front, f"Services by {mode}", 60)

    world.write(policy("egress", select={"app": "client"}, policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": {"matchLabels": {"self": "shop-far"}}}], "ports": [{"port": WEB}]},
        {"to": [{"ipBlock": {"cidr": f"{ip}/{128 if ':' in ip else 32}"}} for ip in world.ips("service/web")]}]))
    world.settles({("shop/client", "service/far", 80): True, ("shop/client", "service/web", 80): False, ("shop/client", "shop/far"): True,
                   ("shop/client", "shop/web"): False, ("shop/client", "service/far", 80, "UDP"): False, ("bank/client", "shop/web"): True})
    world.clean()

    outside = [{"ipBlock": {"cidr": f"{ip}/{128 if ':' in ip else 32}"}} for ip in lab.outside.ips]
    world.write(policy("closed", policyTypes=["Ingress", "Egress"]))
    closed = {key: False for key in front}
    world.settles({**closed, ("shop/far", "service/far", 80): True, ("shop/far", "service/far", 80, "UDP"): True})
    world.write(policy("outside", select={"self": "shop-far"}, ingress=[{"from": outside}]))
    world.settles({("outside", "node-2", HOST_PORT): True, ("outside", "node-2", node_port(world)): True, ("shop/client", "shop/far"): False,
                   ("shop/client", "service/far", 80): False})


def node_port(world) -> int:
    return world.lab.api.get("/api/v1/namespaces/shop/services/far")["spec"]["ports"][0]["nodePort"]


def test_deny_egress_but_dns(world):
    """By the DNS Service's cluster address, from a node that has its pod and from one that does not."""
    for namespace in ("shop", "bank"):
        world.write(policy("dns", namespace, select={"app": "client"}, policyTypes=["Egress"], egress=[
            {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                     "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}], "ports": [{"port": 53, "protocol": "UDP"}]}]))
    clients = ("shop/client", "bank/client")
    world.settles({(client, "shop/web"): False for client in clients})
    for client in clients:
        until(lambda: resolves(world.lab, client), f"{client} finds names", 20)
    world.clean()
    for namespace in ("shop", "bank"):
        world.write(policy("dns", namespace, select={"app": "client"}, policyTypes=["Egress"], egress=[
            {"to": [{"ipBlock": {"cidr": "10.96.0.0/12"}}]}]))
    world.settles({(client, "shop/web"): False for client in clients})
    for client in clients:
        assert not resolves(world.lab, client), "the Service's own address is no pod"


def resolves(lab, client: str) -> bool:
    namespace, _, name = client.partition("/")
    said = lab.pod_exec(name, "busybox", "timeout", "2", "busybox", "nslookup", "-type=a", "web.shop.svc.cluster.local", namespace=namespace, check=False)
    return said.partition("Name:")[2].count("Address") == 1


def test_what_the_kubelet_does_goes_on(world):
    """Its probes, logs, exec and port-forward, under policies that deny everything."""
    lab = world.lab
    for namespace in ("shop", "bank"):
        world.write(policy("nothing", namespace, policyTypes=["Ingress", "Egress"]))
    world.settles({key: False for key in OPEN})
    before = {name: world.received(name)["accepted"] for name in PODS}
    for name in PODS:
        until(lambda: world.received(name)["accepted"] >= before[name] + 8, f"the kubelet's probes reach {name}", 30)
    for name, pod in world.pods.items():
        seen = lab.api.get(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")["status"]
        assert [s["restartCount"] for s in seen["containerStatuses"]] == [0]
        assert [c["status"] for c in seen["conditions"] if c["type"] == "Ready"] == ["True"]
    assert lab.pod_exec("far", "hostname", namespace="shop").strip() == "far"
    assert "listening" in lab.kubectl("logs", "-n", "bank", "client").stdout
    with lab.kubectl_background("port-forward", "-n", "shop", "pod/web", "18081:7070") as forward:
        forward.wait_line("Forwarding from 127.0.0.1:18081", 20)
        assert lab.control.http("http://127.0.0.1:18081/hostname")[1] == "web"


# -- the other kinds --

def test_calicos_tiers_and_sets(world):
    last = calico("GlobalNetworkPolicy", "last", order=900, selector="app == 'web'", types=["Ingress"], ingress=[{"action": "Deny"}])
    nets = [f"{ip}/{128 if ':' in ip else 32}" for ip in world.pods["bank/client"].ips]
    world.write(calico("Tier", "first", order=10, defaultAction="Pass"),
                calico("GlobalNetworkSet", "friends", labels={"set": "friends"}, nets=nets),
                last,
                calico("NetworkPolicy", "first.friends", "shop", tier="first", order=1, selector="app == 'web'", types=["Ingress"],
                       ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": [WEB, "9000:9100"]},
                                 "source": {"selector": "set == 'friends'", "namespaceSelector": "global()"}}]))
    world.settles({("bank/client", "shop/web"): True, ("bank/client", "shop/web", OTHER): False, ("bank/client", "shop/far"): True,
                   ("shop/client", "shop/web"): False, ("shop/client", "shop/far", WEB, "UDP"): False})
    world.lab.kubectl("patch", "tiers.projectcalico.org", "first", "--type=merge", "-p", '{"spec":{"defaultAction":"Deny"}}')
    world.delete(last)
    world.settles({("bank/client", "shop/web"): True, ("shop/client", "shop/web"): False, ("shop/web", "shop/client"): True})


def test_services_and_accounts_in_calicos_rules(world):
    """Agents ask for EndpointSlices and ServiceAccounts only now."""
    world.write(calico("NetworkPolicy", "to-web", "shop", selector="self == 'shop-client'", types=["Egress"], egress=[
        {"action": "Allow", "destination": {"services": {"name": "web"}}}]),
        calico("NetworkPolicy", "by-account", "shop", selector="self == 'shop-far'", types=["Ingress"], ingress=[
            {"action": "Allow", "source": {"serviceAccounts": {"names": ["default"]}, "namespaceSelector": "team == 'bank'"}}]))
    world.settles({("shop/client", "shop/web"): True, ("shop/client", "service/web", 80): True, ("shop/client", "bank/client"): False,
                   ("bank/client", "shop/far"): True, ("shop/web", "shop/far"): False})


def test_the_cluster_decides_before_namespaces(world):
    subject = {"pods": {"namespaceSelector": {"matchLabels": {"team": "shop"}}, "podSelector": {"matchLabels": {"app": "web"}}}}
    world.write(policy("open", select={"app": "web"}, ingress=[{}]),
                {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "admin"},
                 "spec": {"tier": "Admin", "priority": 5, "subject": subject,
                          "ingress": [{"action": "Deny", "from": [{"namespaces": {"matchLabels": {"team": "bank"}}}]}]}})
    world.settles({("bank/client", "shop/web"): False, ("bank/client", "shop/far"): False, ("shop/client", "shop/web"): True})


def test_what_cannot_be_understood_denies_and_an_event_says_why(world):
    world.write(calico("NetworkPolicy", "odd", "shop", selector="app == 'web'", types=["Ingress"], ingress=[{"action": "Allow", "http": {"methods": ["GET"]}}]),
                calico("GlobalNetworkPolicy", "odd-too", selector="team == ", types=["Egress"], egress=[{"action": "Allow"}]))
    # nobody knows whom the second one selects
    world.settles({("node-1", "shop/web"): True, ("node-2", "shop/web"): False, ("node-2", "shop/client"): True, ("bank/client", "shop/client"): False})
    for name, namespace, word in (("odd", "shop", "http"), ("odd-too", "default", "selector")):
        until(lambda: word in events(world.lab, name, namespace), f"an Event at {name}", 20, 0.2, detail=lambda: events(world.lab, name, namespace))
    assert [one["troubled"] for one in world.status()] == [2, 2]
    world.lab.kubectl("patch", "networkpolicies.projectcalico.org", "-n", "shop", "odd", "--type=json", "-p", '[{"op":"remove","path":"/spec/ingress/0/http"}]')
    world.lab.kubectl("patch", "globalnetworkpolicies.projectcalico.org", "odd-too", "--type=merge", "-p", '{"spec":{"selector":"app == \'client\'"}}')
    world.settles({**OPEN, ("node-2", "shop/web"): True})
    for node in world.lab.nodes:
        Eyes(node).wait_no_problem(20)


def events(lab, name: str, namespace: str) -> str:
    found = lab.api.items(f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name={name}")
    shown = lab.kubectl("get", "events", "-n", namespace, "--field-selector", f"involvedObject.name={name}").stdout
    return shown if any(one["source"].get("component") == "tulled" for one in found) else ""


# -- while things change --

EACH = 25  # connections of one pod

def test_labels_cut_those_who_are_now_denied(world):
    """50 connections; those of a namespace, then of a pod, that loses its label stand still, the others do not."""
    world.write(policy("friends", select={"app": "web"}, ingress=[
        {"from": [{**CLIENT, "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["shop", "bank"]}]}}]}]))
    world.settles({("shop/client", "shop/web"): True, ("bank/client", "shop/web"): True, ("shop/far", "shop/web"): False})
    with contextlib.ExitStack() as stack:
        ips = world.ips("shop/web")
        flows = {name: [stack.enter_context(world.connect(name, ips[n % len(ips)], ALIVE)) for n in range(EACH)] for name in ("shop/client", "bank/client")}
        assert all(answering(each, 10) == EACH for each in flows.values())
        world.label("namespace", "bank", "team=foe")
        try:
            until(lambda: not answering(flows["bank/client"], 0.5), "those of the namespace are cut", 20)
            assert answering(flows["shop/client"], 10) == EACH, "and nobody else's"
        finally:
            world.label("namespace", "bank", "team=bank")
        until(lambda: answering(flows["bank/client"], 10) == EACH, "they go on where they were", 60)
        world.label("pod", "client", "app=foe", namespace="shop")
        try:
            until(lambda: not answering(flows["shop/client"], 0.5), "those of the pod are cut", 20)
            assert answering(flows["bank/client"], 10) == EACH
        finally:
            world.label("pod", "client", "app=client", namespace="shop")
        until(lambda: answering(flows["shop/client"], 10) == EACH, "they go on, too", 60)


def answering(flows: list, patience: float) -> int:
    """How many of the connections give back what is sent now, or was before."""
    for flow in flows:
        with contextlib.suppress(BlockingIOError):
            while flow.recv(4096):
                pass
        flow.sendall(b"x")
    waiting, end = set(flows), time.monotonic() + patience
    while waiting and time.monotonic() < end:
        waiting -= set(select.select(list(waiting), [], [], max(0, end - time.monotonic()))[0])
    return len(flows) - len(waiting)


# -- never late --

SIX = 900 if SOAK else 254  # addresses of IPv6 that a node's pods come to have


class Strangers:
    """They knock at every address of both nodes' pods, but for a node's own: these it always reaches."""

    def __init__(self, world, *places):
        networks = {node.name: list(map(str, node.subnets(node.index))) for node in world.lab.nodes}
        words = [f"{world.places[place]}=" + ",".join(one for name, each in networks.items() if name != place for one in each) for place in places]
        command = ["setpriv", "--pdeathsig", "KILL", "--", proc.PYTHON, "-I", "-S", "-B", str(Path(__file__).with_name("cluster_stranger.py")), str(SIX), *words]
        self._process = proc.Background(command, "strangers", proc.environment())
        world.lab.backgrounds.append(self._process)

    def __enter__(self):
        self._process.wait_line("sent", 20)
        return self

    def __exit__(self, *_):
        self._process.stop(9)

    @property
    def running(self) -> bool:
        return self._process.running


BATCH = 50 if SOAK else 20  # pods under the policy; as many batches as there are to be


def test_pods_that_start_under_a_deny_receive_nothing(world):
    """20 of them, and their policy just before them in the same kubectl apply; 1,000 in the soak.  What a pod's stack has ever received it counts
    itself, from before its first process.  Those beside them that no policy selects hear the strangers at once."""
    for number in range(1000 // BATCH if SOAK else 1):
        with Strangers(world, "shop/client", "shop/far", "node-1", "node-2") as strangers:
            start_batch(world, number, strangers)
        world.clean()


def start_batch(world, number: int, strangers) -> None:
    closed = [f"bank/new-{number}-{n}" for n in range(BATCH)]
    free = [f"bank/open-{number}-{n}" for n in range(2)]
    nodes = world.lab.nodes
    world.write(policy(f"new-{number}", "bank", select={"new": f"n{number}"}, policyTypes=["Ingress"]),
                *(pod_object(name, nodes[n % 2], {"new": f"n{number}", "batch": f"b{number}"}) for n, name in enumerate(closed)),
                *(pod_object(name, nodes[n % 2], {"batch": f"b{number}"}) for n, name in enumerate(free)))
    pods = {f"bank/{pod.name}": pod for pod in world.lab.wait_pods(namespace="bank", selector=f"batch=b{number}", count=BATCH + 2, timeout=240)}
    paths = {node.name: paths_of(node) for node in nodes}
    netns = {name: paths[pod.node][pod.ip] for name, pod in pods.items()}
    heard = [counters(netns[name]) for name in free]
    until(lambda: all(counters(netns[name])[kind] > one[kind] + 20 for name, one in zip(free, heard) for kind in ("TCP", "UDP", "UDP6")),
          "the strangers are heard where no policy is", 20)
    assert strangers.running
    for name in closed:
        seen = counters(netns[name])
        assert not any(seen.values()), f"{name} has received {seen}"


def paths_of(node) -> dict:
    """First address of each of its pods → path of its network namespace."""
    root = f"/proc/{node.init['pid']}/root"
    return {one["ip"]: root + one["netns"].replace("/var/run/", "/run/", 1) for one in attachments(node)}


# -- agents and the API server come and go --

FRIENDS = {("shop/client", "shop/web"): True, ("bank/client", "shop/web"): False, ("shop/far", "shop/web"): False, ("shop/client", "shop/far"): True,
           ("bank/client", "shop/far"): False}
FOES = {**FRIENDS, ("shop/client", "shop/web"): False, ("bank/client", "shop/web"): True, ("shop/client", "shop/far"): False,
        ("bank/client", "shop/far"): True}


def friends(team=SHOP) -> dict:
    return policy("friends", select={"app": "web"}, ingress=[{"from": [{**CLIENT, **team}]}])


def pid_of_agent(node) -> str:
    return node.run(["pidof", "tulled"], check=False).stdout.strip()


def kill_agents(world, number: int) -> None:
    for node in world.lab.nodes:
        node.run(["kill", f"-{number}", *pid_of_agent(node).split()])


def agents_back(world, before: list) -> None:
    for node, pid in zip(world.lab.nodes, before):
        until(lambda: pid_of_agent(node) not in ("", pid), f"{node.name}: tulled is back", 90, 0.2)
    world.agents_settled(90)


def test_agents_that_stand_still_and_die(world):
    """What they did not see counts once they are back; nothing slips through before."""
    world.write(friends())
    world.settles(FRIENDS)
    before = [pid_of_agent(node) for node in world.lab.nodes]
    heard = {name: world.received(name)["UDP"] for name in ("shop/web", "shop/client")}
    with Strangers(world, "shop/far", "node-2"):
        kill_agents(world, signal.SIGSTOP)
        world.write(friends(BANK))
        assert not world.wrong(FRIENDS), "nobody has seen the change yet"
        kill_agents(world, signal.SIGKILL)
        agents_back(world, before)
        world.settles(FOES, "the policy that was written meanwhile", 30)
        world.lab.kubectl("-n", NAMESPACE, "rollout", "restart", "daemonset/tulle")
        world.lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/tulle", "--timeout=120s", timeout=130)
        assert not world.wrong(FOES)
        world.agents_settled()
        assert not world.wrong(FOES)
    assert world.received("shop/client")["UDP"] > heard["shop/client"] + 20, "the strangers are there"
    assert world.received("shop/web")["UDP"] == heard["shop/web"], "no packet of theirs"


def test_the_api_server_is_away(world):
    """And agents that start meanwhile leave in force what was."""
    world.write(friends())
    world.settles(FRIENDS)
    control = world.lab.control
    before = [pid_of_agent(node) for node in world.lab.nodes]
    control.stop("kube-apiserver", signal.SIGKILL)
    try:
        if SOAK:
            time.sleep(20)
        kill_agents(world, signal.SIGKILL)
        assert not world.wrong(FRIENDS)
        for node, pid in zip(world.lab.nodes, before):
            until(lambda: pid_of_agent(node) not in ("", pid), f"{node.name}: tulled is back", 90, 0.2)
        assert not world.wrong(FRIENDS)
    finally:
        control.start("kube-apiserver")
        until(lambda: world.lab.api.request("GET", "/readyz") == "ok", "the API server is back", 90, 0.2)
    assert not world.wrong(FRIENDS)
    world.write(friends(BANK))
    world.settles(FOES, "a policy of afterwards", 60)


# -- rights --

def test_agents_have_every_right_that_they_need(world):
    """With policies that make them ask for all that there is; none of what they said speaks of a right that is missing."""
    world.write(friends(), calico("NetworkPolicy", "all", "shop", selector="app == 'web'", types=["Ingress", "Egress"], egress=[{"action": "Allow"}], ingress=[
        {"action": "Allow", "source": {"serviceAccounts": {"names": ["default"]}, "namespaceSelector": "team == 'shop'"}}]),
        calico("NetworkPolicy", "slices", "shop", selector="app == 'web'", types=["Egress"],
               egress=[{"action": "Allow", "destination": {"services": {"name": "web"}}}]),
        calico("NetworkPolicy", "odd", "shop", selector="app == 'nobody'", types=["Ingress"], ingress=[{"action": "Allow", "http": {"methods": ["GET"]}}]))
    world.agents_settled()
    until(lambda: "http" in events(world.lab, "odd", "shop"), "an Event about the policy that is not understood", 20, 0.2)
    said = world.agent_log()
    assert "policy: in force" in said
    assert not [line for line in said.splitlines() if "forbidden" in line.lower() or " 403" in line]
    for node in world.lab.nodes:
        assert list(Eyes(node).problems()) == [next(name for name in Eyes(node).problems() if "odd" in name)]
