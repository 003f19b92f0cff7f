# SPDX-License-Identifier: Apache-2.0
"""What everybody does first on a new cluster, with Tulle installed as users install it: kubectl run, curl, Services, ports, the way out.
On one cluster, for every backend and both modes of kube-proxy: they change under the running pods."""

import ipaddress
import json

import pytest
from cluster_talk import agent_lives, check_everything, check_pods, http, make_cast, switch_backend, switch_proxy, versions, wait_talk
from tullelab import KubeLab, until
from tullelab.kube_images import ECHO

DEVICES = {"vxlan": "flannel.1", "host-gw": "eth0", "udp": "flannel0"}


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2, network="tulle", agent="daemonset", backend="vxlan", kube_proxy="nftables") as made:
        yield made


@pytest.fixture(scope="module")
def cast(lab):
    return make_cast(lab)


def run_as_typed(lab, name: str, image: str, node) -> None:
    """kubectl run; the override pins it, for want of a flag that does."""
    pin = json.dumps({"spec": {"nodeSelector": {"kubernetes.io/hostname": node.name}}})
    lab.kubectl("run", name, f"--image={image}", "--port=80", f"--overrides={pin}")


@pytest.fixture(scope="module")
def typed(lab):
    """nginx-1 on node-1, apache-1 on node-2."""
    for name, image, node in (("nginx-1", "nginx", lab.nodes[0]), ("apache-1", "httpd", lab.nodes[1])):
        run_as_typed(lab, name, image, node)
    return lab.wait_pods("nginx-1", "apache-1")


def test_addresses_are_of_the_nodes_pod_networks(lab, typed):
    lines = [line.split() for line in lab.kubectl("get", "pods", "-o", "wide", "--no-headers").stdout.splitlines()]
    shown = {words[0]: words for words in lines}
    for pod, node in zip(typed, lab.nodes):
        words = shown[pod.name]
        assert words[2] == "Running" and words[6] == node.name
        assert ipaddress.ip_address(words[5]) in ipaddress.ip_network(node.object["spec"]["podCIDR"])


def test_one_curl(lab, typed):
    nginx, apache = typed
    assert "It works!" in lab.kubectl("exec", "nginx-1", "--", "curl", "-s", apache.ip).stdout
    assert "Welcome to nginx!" in lab.kubectl("exec", "apache-1", "--", "curl", "-s", nginx.ip).stdout
    until(lambda: lab.kubectl("logs", "nginx-1").stdout.startswith(f"{apache.ip} "), "nginx's log shows the other pod's own address")


def test_expose_as_typed(lab, typed):
    """Service by name, and a NodePort, as kubectl makes them."""
    lab.kubectl("expose", "pod", "apache-1", "--port=80")
    lab.kubectl("expose", "pod", "apache-1", "--name=apache-out", "--port=80", "--type=NodePort")
    until(lambda: "It works!" in lab.kubectl("exec", "nginx-1", "--", "curl", "-s", "-m5", "http://apache-1").stdout, "the Service's name", 20)
    port = lab.kubectl("get", "service", "apache-out", "-o", "jsonpath={.spec.ports[0].nodePort}").stdout
    for node in lab.nodes:
        until(lambda: "It works!" in lab.outside.http(f"http://{node.ip}:{port}/")[1], f"{node.name}:{port} from the outside", 20)
    lab.kubectl("delete", "service", "apache-1", "apache-out")


def test_the_api_server_from_a_pod(lab, typed):
    """A Service whose endpoint is no pod: with the account that every pod has."""
    script = ('cd /var/run/secrets/kubernetes.io/serviceaccount && curl -sS --max-time 5 --cacert ca.crt -H "Authorization: Bearer $(cat token)" '
              "https://kubernetes.default/api/v1/namespaces/default/pods")
    for pod in typed:
        assert '"code": 403' in lab.pod_exec(pod.name, "sh", "-c", script)


def fresh_pods(lab, backend: str) -> None:
    """Pods that are made now talk to each other and to the older ones."""
    names = [f"{backend}-{node.index}" for node in lab.nodes]
    for name, node in zip(names, lab.nodes):
        lab.run(name, ECHO, node=node)
    one, two = lab.wait_pods(*names)
    for version in versions(lab):
        assert f"server={two.name} client={one.ip_of(version)} " in http(lab, one, two.ip_of(version))
    lab.pod_delete(*names)


# each differs from the one before it in one thing, so that every change costs once
@pytest.mark.parametrize("mode, backend", [("nftables", "vxlan"), ("nftables", "host-gw"), ("nftables", "udp"),
                                           ("iptables", "udp"), ("iptables", "host-gw"), ("iptables", "vxlan")])
def test_everything(lab, cast, mode, backend):
    lives = agent_lives(lab)
    switch_proxy(lab, mode)
    switch_backend(lab, backend)
    wait_talk(lab, cast.near, cast.far)
    check_everything(lab, cast)
    way = json.loads(lab.nodes[0].run(["ip", "-j", "route", "get", cast.far.ip]).stdout)[0]
    assert way["dev"] == DEVICES[backend]
    fresh_pods(lab, backend)
    assert agent_lives(lab) == lives, "the change took effect without a restart"


def test_pods_of_the_beginning_still_talk(lab, cast, typed):
    check_pods(lab, cast, 4)
    assert "It works!" in lab.pod_exec("nginx-1", "curl", "-s", "-m5", typed[1].ip)
