# SPDX-License-Identifier: Apache-2.0
"""Two namespaces, four pods and their Services, policies that kubectl writes, and probes that show at once who reaches whom."""

import json

from tullelab import until
from tullelab.address import families
from tullelab.kernel import in_netns
from tullelab.kube_deploy import NAMESPACE
from tullelab.kube_images import ECHO
from tullelab.probing import Prober

from cluster_eyes import Eyes, netns_of
from cluster_talk import agent_pods

WEB, OTHER, ALIVE, HOST_PORT = 8080, 8081, 7070, 8088
SERVED = ("TCP", WEB), ("TCP", OTHER), ("UDP", WEB)
NAMESPACES = {"shop": {"team": "shop"}, "bank": {"team": "bank"}}
# web and the clients by name of namespace and pod; a named port is another number in each
PODS = {"shop/web": (0, {"app": "web"}, WEB), "shop/far": (1, {"app": "web"}, OTHER),
        "shop/client": (0, {"app": "client"}, WEB), "bank/client": (1, {"app": "client"}, WEB)}


def pod_object(name: str, node, labels: dict, **more) -> dict:
    """An echo server.  more: of its container."""
    namespace, _, short = name.partition("/")
    container = {"name": "main", "image": ECHO, "imagePullPolicy": "IfNotPresent", **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": short, "namespace": namespace, "labels": labels},
            "spec": {"nodeName": node.name, "containers": [container], "terminationGracePeriodSeconds": 1,
                     "automountServiceAccountToken": False, "enableServiceLinks": False}}


def cast_pod(name: str, node, labels: dict, named: int) -> dict:
    """The kubelet asks every second whether it lives; the prober listens at the other ports."""
    ports = [{"name": "web", "containerPort": named}]
    if name == "shop/far":
        ports += [{"containerPort": WEB, "hostPort": HOST_PORT, "protocol": protocol} for protocol in ("TCP", "UDP")]
    probe = {"tcpSocket": {"port": ALIVE}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3}
    return pod_object(name, node, labels, command=["netecho", "serve", str(ALIVE)], ports=ports,
                      readinessProbe={"httpGet": {"path": "/hostname", "port": ALIVE}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 3},
                      livenessProbe=probe)


def service(name: str, pod: str, family: str) -> dict:
    """A NodePort in front of one pod of shop."""
    ports = [{"name": f"{p.lower()}", "port": 80, "targetPort": WEB, "protocol": p} for p in ("TCP", "UDP")]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "NodePort", "selector": {"self": pod}, "ports": ports,
                     "ipFamilyPolicy": "RequireDualStack" if family == "dual" else "SingleStack"}}


def policy(name: str, namespace: str = "shop", select=None, **spec) -> dict:
    """A NetworkPolicy."""
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {"matchLabels": select} if select else {}, **spec}}


def calico(kind: str, name: str, namespace=None, labels=None, **spec) -> dict:
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **({"labels": labels} if labels else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": meta, "spec": spec}


class World:
    def __init__(self, lab):
        self.lab, self.versions, self._written = lab, families(lab.family), []
        lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}} for name, labels in NAMESPACES.items()])
        lab.apply([cast_pod(name, lab.nodes[node], {"self": name.replace("/", "-"), **labels}, named) for name, (node, labels, named) in PODS.items()]
                  + [service(name, f"shop-{name}", lab.family) for name in ("web", "far")])
        self.pods = {f"{pod.namespace}/{pod.name}": pod for namespace in NAMESPACES
                     for pod in lab.wait_pods(namespace=namespace, count=sum(name.startswith(namespace) for name in PODS), timeout=90)}
        self.netns = {name: netns_of(lab.node(pod.node), pod.ip) for name, pod in self.pods.items()}
        self.places = {**self.netns, **{host.name: host.netns_path for host in (*lab.nodes, lab.outside)}}
        self._listen = [(name, ip, *door) for name, pod in self.pods.items() for ip in pod.ips for door in SERVED]
        self._prober = Prober(lab)

    def close(self) -> None:
        self._prober.stop()

    # --- what people write ---

    def write(self, *objects) -> None:
        """kubectl apply; clean() takes them away."""
        self._written += objects
        self.lab.apply(objects)

    def delete(self, *objects) -> None:
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.lab.kubectl("delete", "--ignore-not-found", "--now", "-f", "-", input=text, timeout=120)

    def clean(self) -> None:
        if self._written:
            self.delete(*{(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in self._written}.values())
            self._written.clear()

    def label(self, kind: str, name: str, *labels, namespace=None) -> None:
        self.lab.kubectl("label", "--overwrite", *(("-n", namespace) if namespace else ()), kind, name, *labels)

    # --- who reaches whom ---

    def ips(self, target: str) -> list:
        """Of a pod, a host (each family), or the address itself; service/NAME: its cluster addresses."""
        if target in self.pods:
            return [self.pods[target].ip_of(version) for version in self.versions]
        if target.startswith("service/"):
            return self.lab.api.get(f"/api/v1/namespaces/shop/services/{target.partition('/')[2]}")["spec"]["clusterIPs"]
        host = next((one for one in (*self.lab.nodes, self.lab.outside) if one.name == target), None)
        return [host.ip_of(version) for version in self.versions] if host else [target]

    def ask(self, questions, patience=0.5) -> list:
        """questions: (from, to, port, protocol); whether each is answered, by every family's address."""
        probes, of = [], []
        for number, (source, target, port, protocol) in enumerate(questions):
            for ip in self.ips(target):
                probes.append((source, None, ip, protocol, port, 0))
                of.append(number)
        outcomes = self._prober.ask(self.places, self._listen, probes, patience).outcomes
        good = [[outcome.connected for at, outcome in zip(of, outcomes) if at == number] for number in range(len(questions))]
        return [all(found) if any(found) == all(found) else "one family only" for found in good]

    def wrong(self, expected: dict) -> list:
        """expected: {(from, to[, port[, protocol]]): reached}."""
        questions = [(*key, WEB, "TCP")[:4] if len(key) == 2 else (*key, "TCP")[:4] for key in expected]
        return [f"{question}: {seen}" for question, seen, wanted in zip(questions, self.ask(questions), expected.values()) if seen != wanted]

    def settles(self, expected: dict, what: str = "as the policies say", timeout: float = 20) -> None:
        """All of it comes true at once."""
        until(lambda: not self.wrong(expected), what, timeout, detail=lambda: f"{self.wrong(expected)}\n{self.status()}")

    def connect(self, source: str, ip: str, port: int, timeout: float = 5):
        """A connected socket of a pod, used from here; it does not block."""
        made = self.lab.nodes[0].connect(ip, port, timeout, netns=self.netns[source])
        made.setblocking(False)
        return made

    # --- what is seen of the pods and agents ---

    def status(self) -> list:
        return [{key: value for key, value in Eyes(node).status().get("policy", {}).items() if key not in ("packets", "exits")}
                for node in self.lab.nodes]

    def received(self, name: str) -> dict:
        """Segments, datagrams and connections; see counters."""
        return counters(self.netns[name])

    def agents_settled(self, timeout: float = 60) -> None:
        """Every agent has brought what the store says into the kernel."""
        until(lambda: all(one.get("state") == "on" and one["settled"] for one in self.status()), "policy is in force on all nodes", timeout, 0.1,
              detail=lambda: str(self.status()))

    def agent_log(self) -> str:
        """Of all agents, those that have ended too."""
        said = ""
        for pod in agent_pods(self.lab):
            for more in ((), ("--previous",)):
                said += self.lab.kubectl("logs", "-n", NAMESPACE, pod.name, "-c", "tulled", *more, check=False).stdout
        return said


def counters(netns: str) -> dict:
    """What the network stack of a namespace has received since it was made: TCP's segments and connections, of both families, and datagrams
    of each."""
    def read():
        with open("/proc/thread-self/net/snmp", encoding="ascii") as four, open("/proc/thread-self/net/snmp6", encoding="ascii") as six:
            return four.read().splitlines(), six.read().splitlines()
    four, six = in_netns(netns, read)
    found = {line.split()[0]: int(line.split()[1]) for line in six}
    for names, values in zip(four[::2], four[1::2]):
        found |= {names.split(":")[0] + name: int(value) for name, value in zip(names.split()[1:], values.split()[1:])}
    datagrams = {family.upper(): sum(found[family + what] for what in ("InDatagrams", "NoPorts", "InErrors")) for family in ("Udp", "Udp6")}
    return {"TCP": found["TcpInSegs"], "accepted": found["TcpPassiveOpens"], **datagrams}
