# SPDX-License-Identifier: Apache-2.0
"""Policy, from manifests in the store to packets that pass or do not: two nodes, Flannel's half (host-gw) and Calico's."""
import json
import socket

import pytest
from calico_words import manifest, pool
from tullelab import LabError, proc, wait

WEB, OTHER = 8080, 8081
NAMESPACES = ("shop", "bank")


class World:
    """What a test puts into the store and sees of it."""

    def __init__(self, lab):
        self.lab, self.pods, self.policies = lab, {}, set()
        for name in NAMESPACES:
            lab.store.put(f"namespace-{name}.json", manifest("Namespace", name, labels={"kubernetes.io/metadata.name": name, "team": name}))

    def tell(self, name, node, labels, ips=(), ports=()):
        namespace, _, short = name.partition("/")
        status = {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]} if ips else {}
        container = {"name": "c", "ports": [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in dict(ports).items()]}
        self.lab.store.put(f"pod-{namespace}-{short}.json", manifest("Pod", short, namespace, labels=labels, status=status,
                                                                     spec={"nodeName": node.name, "containers": [container]}))

    def pod(self, name, node, labels=None, serve=(WEB,), ports=()):
        self.tell(name, node, labels or {}, ports=ports)
        pod = node.pod_add(name)
        self.tell(name, node, labels or {}, pod.ips, ports)
        for port in serve:
            pod.serve(port)
        self.pods[name] = pod
        return pod

    def policy(self, name, namespace="shop", select=None, **spec):
        self.put(name, "NetworkPolicy", namespace, "networking.k8s.io/v1", podSelector={"matchLabels": select} if select else {}, **spec)

    def put(self, name, kind, namespace=None, version="projectcalico.org/v3", **spec):
        self.policies.add(name)
        self.lab.store.put(f"policy-{name}.json", manifest(kind, name, namespace, version, spec=spec))

    def drop(self, *names):
        for name in names or list(self.policies):
            self.lab.store.delete(f"policy-{name}.json")
            self.policies.discard(name)


def reaches(a, where, port=WEB, timeout=0.4):
    try:
        a.ask(where, port, timeout=timeout)
        return True
    except (OSError, LabError):
        return False


def reaches_at_all(a, where, port):
    try:
        a.connect(where, port, timeout=0.4).close()
        return True
    except OSError:
        return False


TALK = """
import socket, sys, threading, time
def talk(connection):
    with connection:
        while True:
            connection.sendall(b"on and on")
            time.sleep(0.05)
server = socket.create_server((sys.argv[1], 9001))
while True:
    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
"""


def until(yes, what, lab=None):
    wait.until(yes, what, 10, detail=lambda: "\n".join(wait.tail(node.agent.log_path) for node in lab.nodes) if lab else "")


def settles(expected, *, lab):
    """{(from, to, port): passes} comes true, all of it at once."""
    def wrong():
        return [key for key, good in expected.items() if reaches(key[0], key[1].ip, key[2]) != good]
    wait.until(lambda: not wrong(), "as the policies say", 15,
               detail=lambda: str([(a.name, b.name, port) for a, b, port in wrong()]) + "".join(node.log[-1500:] for node in lab.nodes))


LABELS = {"shop/web": {"app": "web"}, "shop/client": {"app": "client"}, "bank/client": {"app": "client"}, "shop/far": {"app": "web"}}


@pytest.fixture(scope="module", params=["host-gw", "pool"])
def world(request, built, make_lab):
    if request.param == "pool":
        lab = make_lab(nodes=2, agents=False, agent_args=["--policy=on"])
        lab.store.put("pool.json", pool(vxlanMode="Always"))
        for node in lab.nodes:
            node.agent_start()
    else:
        extra = ["--express-path=disabled"] if request.param == "kernel path" else []
        lab = make_lab(nodes=2, backend="host-gw", agent_args=["--policy=on", *extra])
    world = World(lab)
    one, two = lab.nodes
    world.pod("shop/web", one, LABELS["shop/web"], serve=(WEB, OTHER), ports={"web": WEB})
    world.pod("shop/client", one, LABELS["shop/client"])
    world.pod("bank/client", two, LABELS["bank/client"])
    world.pod("shop/far", two, LABELS["shop/far"], serve=(WEB, OTHER), ports={"web": OTHER})
    return world


@pytest.fixture(autouse=True)
def clean(request):
    yield
    if "world" in request.fixturenames:
        request.getfixturevalue("world").drop()


@pytest.fixture
def cast(world):
    """(lab, web, client, stranger, far)"""
    p = world.pods
    return world.lab, p["shop/web"], p["shop/client"], p["bank/client"], p["shop/far"]


# -- who may --

def test_without_a_policy_everything_passes(cast, eyes):
    lab, web, client, stranger, far = cast
    settles({(a, b, WEB): True for a in (web, client, stranger, far) for b in (web, far)}, lab=lab)
    status = eyes(lab.nodes[0]).status()["policy"]
    assert status["state"] == "on" and status["policies"] == 0 and status["attached"] == 2
    eyes(lab.nodes[0]).wait_no_problem()


def test_default_deny_and_allow_by_label(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("deny", policyTypes=["Ingress"])
    settles({(client, web, WEB): False, (stranger, web, WEB): False, (web, far, WEB): False, (client, stranger, WEB): True}, lab=lab)
    assert reaches(lab.nodes[0], web.ip), "a node always reaches its own pods"
    assert web.ping(lab.nodes[0].ip, check=False).returncode == 0, "and they reach it"
    world.policy("allow", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
    settles({(client, web, WEB): True, (client, far, WEB): True, (stranger, web, WEB): False, (far, web, WEB): False}, lab=lab)
    world.drop("deny", "allow")
    settles({(stranger, web, WEB): True, (far, web, WEB): True}, lab=lab)


def test_by_namespace_and_port(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("ports", select={"app": "web"}, ingress=[
        {"from": [{"namespaceSelector": {"matchLabels": {"team": "bank"}}}], "ports": [{"port": "web"}]},
        {"from": [{"podSelector": {}}], "ports": [{"port": OTHER, "protocol": "TCP"}]}])
    settles({(stranger, web, WEB): True, (stranger, web, OTHER): False, (client, web, WEB): False, (client, web, OTHER): True,
             # the same name is another port there
             (stranger, far, OTHER): True, (stranger, far, WEB): False}, lab=lab)


def test_by_address(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("addresses", select={"app": "web"}, ingress=[
        {"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [f"{stranger.ip}/32"]}}]}])
    settles({(client, web, WEB): True, (stranger, web, WEB): False, (far, web, WEB): True}, lab=lab)


def test_egress(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("egress", select={"app": "client"}, policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": "web"}]}])
    settles({(client, web, WEB): True, (client, web, OTHER): False, (client, far, OTHER): True, (client, far, WEB): False,
             (client, stranger, WEB): False, (stranger, web, WEB): True, (web, client, WEB): True}, lab=lab)
    assert not reaches(client, lab.outside.ip) and reaches(web, lab.outside.ip)


def test_a_label_changes(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("friends", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
    settles({(client, web, WEB): True, (client, far, WEB): True}, lab=lab)
    try:
        world.tell("shop/client", client.node, {"app": "foe"}, client.ips)
        settles({(client, web, WEB): False, (client, far, WEB): False}, lab=lab)
    finally:
        world.tell("shop/client", client.node, LABELS["shop/client"], client.ips)
    settles({(client, web, WEB): True, (client, far, WEB): True}, lab=lab)


def test_a_policy_that_nobody_understands_denies(world, cast, eyes):
    lab, web, client, stranger, far = cast
    world.policy("odd", select={"app": "web"}, ingress=[{"from": [{"podSelector": {}}], "weather": "fine"}])
    settles({(client, web, WEB): False, (web, client, WEB): True}, lab=lab)
    eyes(lab.nodes[0]).wait_problem("weather")
    assert eyes(lab.nodes[0]).status()["policy"]["troubled"] == 1
    world.drop("odd")
    settles({(client, web, WEB): True}, lab=lab)
    eyes(lab.nodes[0]).wait_no_problem()


def test_calicos_policies_sets_and_log(world, cast):
    lab, web, client, stranger, far = cast
    world.put("friends", "GlobalNetworkSet", nets=[f"{stranger.ip}/32"])
    lab.store.put("policy-friends.json", manifest("GlobalNetworkSet", "friends", None, "projectcalico.org/v3", labels={"set": "friends"},
                                                  spec={"nets": [f"{stranger.ip}/32"]}))
    world.put("last", "GlobalNetworkPolicy", order=1000, selector="app == 'web'", ingress=[{"action": "Log"}, {"action": "Deny"}])
    world.put("first", "NetworkPolicy", "shop", order=10, selector="app == 'web'", ingress=[
        {"action": "Allow", "protocol": "TCP", "source": {"selector": "set == 'friends'", "namespaceSelector": "global()"}}])
    settles({(stranger, web, WEB): True, (client, web, WEB): False, (far, web, WEB): False}, lab=lab)
    wait.until(lambda: f"policy: ingress of pod shop/web: TCP from shop/client ({client.ip})" in web.node.log, "the log says it", 5,
               detail=lambda: web.node.log[-1500:])
    world.put("first", "NetworkPolicy", "shop", order=2000, selector="app == 'web'", ingress=[{"action": "Allow"}])
    settles({(stranger, web, WEB): False, (client, web, WEB): False}, lab=lab)


def test_the_cluster_decides_before_namespaces(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("open", select={"app": "web"}, ingress=[{}])
    world.put("admin", "ClusterNetworkPolicy", None, "policy.networking.k8s.io/v1alpha2", tier="Admin", priority=5,
              subject={"pods": {"namespaceSelector": {"matchLabels": {"team": "shop"}}, "podSelector": {"matchLabels": {"app": "web"}}}},
              ingress=[{"action": "Deny", "from": [{"namespaces": {"matchLabels": {"team": "bank"}}}]}])
    settles({(stranger, web, WEB): False, (client, web, WEB): True, (stranger, far, WEB): False}, lab=lab)


# -- behind a Service --

SERVICE = "10.96.0.10"


@pytest.fixture
def service(cast):
    """service(backend): a rule as kube-proxy makes it, on the client's node."""
    lab, web, client, stranger, far = cast
    made = []

    def make(backend, node=client.node, port=WEB):
        node.run(["nft", "-f", "-"], input=f"""
            table ip services {{
                chain before {{ type nat hook prerouting priority dstnat; ip daddr {SERVICE} tcp dport 80 dnat to {backend.ip}:{port}; }}
            }}\n""")
        made.append(node)
    yield make
    for node in made:
        node.run(["nft", "delete", "table", "ip", "services"])


@pytest.mark.parametrize("backend", ["shop/web", "shop/far"])
def test_egress_is_judged_behind_the_service(world, cast, service, backend):
    lab, web, client, stranger, far = cast
    target = world.pods[backend]
    service(target)
    until(lambda: reaches(client, SERVICE, 80), "the Service answers", lab)
    world.policy("egress", select={"app": "client"}, policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": WEB}]}])
    settles({(client, stranger, WEB): False}, lab=lab)
    assert reaches(client, SERVICE, 80), "the backend is allowed"
    world.policy("egress", select={"app": "client"}, policyTypes=["Egress"], egress=[
        {"to": [{"podSelector": {"matchLabels": {"app": "nobody"}}}]}, {"to": [{"ipBlock": {"cidr": f"{SERVICE}/32"}}]}])
    until(lambda: not reaches(client, SERVICE, 80), "the backend is not, whatever the Service's address is", lab)


@pytest.mark.parametrize("world", ["kernel path"], indirect=True)
def test_a_masqueraded_client_is_not_the_node(world, cast):
    """As a NodePort does it: the node's address on the wire, but not the node. Between pods, only without the express path, which goes round such rules."""
    lab, web, client, stranger, far = cast
    node = web.node
    node.run(["nft", "-f", "-"], input=f"""
        table ip masked {{
            chain after {{ type nat hook postrouting priority srcnat - 5; ip saddr {client.ip} ip daddr {web.ip} masquerade; }}
        }}\n""")
    try:
        assert client.ask(web.ip, WEB).client != client.ip
        world.policy("deny", select={"app": "web"}, policyTypes=["Ingress"])
        until(lambda: not reaches(client, web.ip), "who it was is denied", lab)
        assert reaches(node, web.ip)
        world.policy("deny", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
        until(lambda: reaches(client, web.ip), "who it was is allowed", lab)
    finally:
        node.run(["nft", "delete", "table", "ip", "masked"])


# -- never late --

def test_a_pod_under_a_denying_policy_receives_nothing(world, cast):
    """From its first moment: somebody knocks at its address all the time."""
    lab, web, client, stranger, far = cast
    world.policy("deny", select={"app": "new"}, policyTypes=["Ingress"])
    settles({(client, web, WEB): True}, lab=lab)
    for number in range(3):
        name = f"shop/new-{number}"
        world.tell(name, client.node, {"app": "new"})
        before = counter(client.node, "ingress") + counter(client.node, "unknown")
        pod = client.node.pod_add(name)
        knocking = client.spawn(["ping", "-n", "-i", "0.01", pod.ip])
        try:
            wait.until(lambda: counter(client.node, "ingress") + counter(client.node, "unknown") > before + 5, "it is knocked at", 5)
            assert received(pod) == 0
        finally:
            knocking.stop(2)
            pod.delete()
            lab.store.delete(f"pod-shop-new-{number}.json")


def received(pod) -> int:
    """ICMP messages that its stack has seen."""
    lines = [line.split() for line in pod.run(["cat", "/proc/net/snmp"]).stdout.splitlines() if line.startswith("Icmp:")]
    return int(dict(zip(*lines))["InEchos"])


def status(node) -> dict:
    return json.loads(node.run([f"{node.lab.build}/tullectl", "-o", "json", "status"], check=False).stdout)["policy"]


def counter(node, reason) -> int:
    return status(node)["packets"][reason]


def test_a_flow_that_stands_is_cut(world, cast):
    lab, web, client, stranger, far = cast
    sink = web.daemon(["python3", "-c", "import socket\ns=socket.create_server(('',9000))\nprint('up',flush=True)\nwhile 1:\n c,_=s.accept()\n"
                       " while 1:\n  d=c.recv(99)\n  if not d: break\n  c.sendall(d)\n"], "sink")
    until(lambda: "up" in sink.log, "it listens", lab)
    with client.connect(web.ip, 9000, timeout=1) as connection:
        def echoes():
            connection.sendall(b"hello")
            try:
                return connection.recv(99)
            except socket.timeout:
                return b""
        assert echoes()
        world.policy("deny", select={"app": "web"}, policyTypes=["Ingress"])
        until(lambda: not echoes(), "the flow is cut", lab)
        world.drop("deny")
        wait.until(echoes, "it goes on where it was", 20)


def test_connections_with_the_node_stay(world, cast):
    """Those that began before there was a policy, and of which the pod (kubectl logs) or the node is the one who talks: nobody knows the
    flow, and conntrack says who began."""
    lab, web, client, stranger, far = cast
    talkers = [web.spawn([proc.PYTHON, "-c", TALK, web.ip]), web.node.spawn([proc.PYTHON, "-c", TALK, web.node.ip])]
    try:
        for place, where in ((web.node, web.ip), (web, web.node.ip)):
            until(lambda: reaches_at_all(place, where, 9001), "it listens", lab)
        with web.node.connect(web.ip, 9001, timeout=2) as kubelet, web.connect(web.node.ip, 9001, timeout=2) as towards:
            world.policy("silent", policyTypes=["Ingress", "Egress"])
            settles({(client, web, WEB): False, (web, far, WEB): False}, lab=lab)
            for _ in range(2):  # also after the tables have changed once more
                for connection in (kubelet, towards):
                    assert connection.recv(1 << 20) and connection.recv(1 << 20) and connection.recv(1 << 20)
                world.policy("elsewhere", select={"app": "web"}, policyTypes=["Ingress"])
                until(lambda: status(web.node)["policies"] == len(world.policies), "the other policy is there", lab)
    finally:
        for talker in talkers:
            talker.stop(2)


# -- the agent comes and goes --

def test_verdicts_stay_without_the_agent(world, cast):
    lab, web, client, stranger, far = cast
    world.policy("allow", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
    expected = {(client, web, WEB): True, (far, web, WEB): False}
    settles(expected, lab=lab)
    node = web.node
    node.agent_kill()
    try:
        settles(expected, lab=lab)
        knocking = far.spawn(["ping", "-n", "-i", "0.01", web.ip])
        before = received(web)
    finally:
        node.agent_start()
    wait.until(lambda: "policy: in force" in node.log[-3000:], "policy is in force again", 10)
    settles(expected, lab=lab)
    knocking.stop(2)
    assert received(web) == before, "no packet slipped through the restart"


def test_programs_that_somebody_takes_away_come_back(world, cast):
    """A clsact qdisc takes the filters with it that hang on it."""
    lab, web, client, stranger, far = cast
    world.policy("deny", policyTypes=["Ingress"])
    settles({(client, web, WEB): False}, lab=lab)
    device = json.loads(web.node.run(["ip", "-json", "route", "get", web.ip]).stdout)[0]["dev"]
    web.node.run(["tc", "qdisc", "del", "dev", device, "clsact"])
    until(lambda: "had lost their programs" in web.node.log, "the agent notices", lab)
    settles({(client, web, WEB): False}, lab=lab)


def test_a_pod_cannot_be_somebody_else(world, cast):
    lab, web, client, stranger, far = cast
    client.run(["ip", "address", "add", f"{stranger.ip}/32", "dev", "lo"])
    try:
        before = counter(client.node, "source")
        assert client.run(["ping", "-n", "-c", "1", "-W", "0.3", "-I", stranger.ip, web.ip], check=False).returncode != 0
        assert counter(client.node, "source") > before
    finally:
        client.run(["ip", "address", "del", f"{stranger.ip}/32", "dev", "lo"])
    assert reaches(client, web.ip)


# -- switched on and off --

@pytest.fixture(scope="module")
def plain(built, make_lab):
    lab = make_lab(nodes=1, backend="host-gw", agent_args=["--policy-established=keep", "--policy=off"])
    world = World(lab)
    world.pod("shop/web", lab.nodes[0], {"app": "web"}, serve=(WEB, OTHER))
    world.pod("shop/client", lab.nodes[0], {"app": "client"})
    return world


def test_pods_from_before_get_it_too_and_off_takes_all_away(plain):
    node, = plain.lab.nodes
    web, client = plain.pods["shop/web"], plain.pods["shop/client"]
    plain.policy("deny", select={"app": "web"}, policyTypes=["Ingress"])
    assert reaches(client, web.ip)
    node.agent_restart(["--policy=on"])
    until(lambda: not reaches(client, web.ip), "it is denied", plain.lab)
    node.agent_restart(["--policy=off"])
    until(lambda: reaches(client, web.ip), "nobody judges any more", plain.lab)
    plain.drop("deny")
    assert not node.exists("/sys/fs/bpf/tulle/policy") or not node.run(["ls", "/sys/fs/bpf/tulle/policy"]).stdout


def test_keep(plain):
    node, = plain.lab.nodes
    web, client = plain.pods["shop/web"], plain.pods["shop/client"]
    node.agent_restart(["--policy=on"])
    plain.policy("gate", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}])
    until(lambda: reaches(client, web.ip, OTHER), "who is allowed passes", plain.lab)
    wait.until(lambda: status(node)["applied"] == len(plain.policies), "the policy applies", 5)
    with client.connect(web.ip, WEB, timeout=2) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n")
        plain.policy("gate", select={"app": "web"}, policyTypes=["Ingress"])
        until(lambda: not reaches(client, web.ip, OTHER), "new ones are denied", plain.lab)
        connection.sendall(b"\r\n")
        assert b"server=" in connection.recv(999), "the old one goes on"
    plain.drop("gate")
    until(lambda: reaches(client, web.ip, OTHER), "nothing is denied any more", plain.lab)
