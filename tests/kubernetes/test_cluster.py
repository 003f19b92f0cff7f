# SPDX-License-Identifier: Apache-2.0
"""The cluster itself, with Debian's bridge plugin in Tulle's place: what fails here is the lab's fault, not Tulle's."""

import ipaddress
import ssl
import subprocess
import sys

import pytest

from conftest import REPOSITORY
from tullelab import CommandError, KubeLab, until
from tullelab.kube_images import ECHO

PAGE = {"nginx": "Welcome to nginx!", "httpd": "It works!"}


@pytest.fixture(scope="module")
def lab():
    with KubeLab(network="bridge") as made:
        yield made


@pytest.fixture(scope="module")
def pods(lab):
    """nginx-1 on node-1, apache-1 and an echo server on node-2, a client on node-1."""
    node1, node2 = lab.nodes
    lab.run("nginx-1", "nginx", node=node1)
    lab.run("apache-1", "httpd", node=node2)
    lab.run("echo-1", ECHO, node=node1)
    lab.run("echo-2", ECHO, node=node2)
    return {pod.name: pod for pod in lab.wait_pods("nginx-1", "apache-1", "echo-1", "echo-2")}


def curl(lab, pod: str, url: str) -> str:
    return lab.pod_exec(pod, "curl", "-sS", "--max-time", "5", url)


def test_nodes_are_ready_and_have_networks_of_their_own(lab):
    networks = []
    for node in lab.nodes:
        seen = node.object
        assert node.condition["status"] == "True"
        assert {"type": "InternalIP", "address": node.ip} in seen["status"]["addresses"]
        assert seen["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.34.")
        networks.append(ipaddress.ip_network(seen["spec"]["podCIDR"]))
    assert all(network.subnet_of(ipaddress.ip_network("10.244.0.0/16")) for network in networks)
    assert len(set(networks)) == len(lab.nodes)


def test_kubectl_run_as_everybody_types_it(lab):
    """nginx means docker.io/library/nginx:latest, which kubelets would look for in a registry if nothing told them otherwise."""
    for name, image in (("typed-nginx", "nginx"), ("typed-httpd", "httpd")):
        lab.kubectl("run", name, f"--image={image}", "--port=80")
    for pod in lab.wait_pods("typed-nginx", "typed-httpd"):
        node = lab.node(pod.node)
        assert ipaddress.ip_address(pod.ip) in ipaddress.ip_network(node.object["spec"]["podCIDR"])
        line = lab.kubectl("get", "pod", pod.name, "-o", "wide", "--no-headers").stdout.split()
        assert pod.ip in line and pod.node in line
    lab.pod_delete("typed-nginx", "typed-httpd")


def test_logs_and_exec(lab, pods):
    curl(lab, "echo-2", f"http://{pods['nginx-1'].ip}/found-in-the-log")
    until(lambda: "found-in-the-log" in lab.kubectl("logs", "nginx-1").stdout, "the request in the log")
    assert lab.pod_exec("nginx-1", "hostname").strip() == "nginx-1"
    assert lab.kubectl("exec", "-i", "nginx-1", "--", "cat", input="through stdin").stdout == "through stdin"
    with pytest.raises(CommandError) as error:
        lab.pod_exec("nginx-1", "sh", "-c", "exit 7")
    assert error.value.status == "status 7"


def test_port_forward(lab, pods):
    with lab.kubectl_background("port-forward", "pod/apache-1", "18080:80") as forward:
        forward.wait_line("Forwarding from 127.0.0.1:18080", 20)
        assert PAGE["httpd"] in lab.control.http("http://127.0.0.1:18080/")[1]


@pytest.mark.parametrize("source, target", [("echo-1", "echo-2"), ("echo-2", "echo-1"), ("nginx-1", "echo-1")])
def test_pod_to_pod(lab, pods, source, target):
    """On different nodes and on one, TCP and UDP, and the server sees the pod's own address."""
    own = pods[source].ip
    assert f"server={target} client={own} " in curl(lab, source, f"http://{pods[target].ip}:8080/")
    if source.startswith("echo"):
        assert f"server={target} client={own} " in lab.pod_exec(source, "netecho", "ask", "udp", pods[target].ip, "8080")


def test_node_to_pod(lab, pods):
    for node in lab.nodes:
        for name in ("echo-1", "echo-2"):
            assert f"server={name}" in node.http(f"http://{pods[name].ip}:8080/")[1]


def test_pod_to_the_outside_is_masqueraded(lab, pods):
    assert f"server=outside client={lab.nodes[0].ip} " in curl(lab, "echo-1", f"http://{lab.outside.ip}:8080/")


@pytest.fixture(scope="module")
def service(lab, pods):
    """A Service with a backend on each node."""
    lab.kubectl("label", "pod", "echo-1", "echo-2", "app=echo")
    lab.apply([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"},
                "spec": {"selector": {"app": "echo"},
                         "ports": [{"name": p.lower(), "port": 80, "targetPort": 8080, "protocol": p} for p in ("TCP", "UDP")]}}])
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=echo"
    until(lambda: [len(item["endpoints"] or []) for item in lab.api.items(slices)] == [2], "the Service has its endpoints")
    return lab.api.get("/api/v1/namespaces/default/services/echo")["spec"]["clusterIP"]


@pytest.mark.parametrize("client", ["nginx-1", "apache-1"])
def test_service_by_address(lab, service, client):
    """kube-proxy on the client's node reaches backends on both nodes."""
    seen = set()

    def both():
        seen.update(curl(lab, client, f"http://{service}/hostname").split())
        return seen == {"echo-1", "echo-2"}
    until(both, "both backends answer", 20)


def test_service_by_name(lab, service):
    until(lambda: curl(lab, "nginx-1", "http://echo/hostname") in ("echo-1", "echo-2"), "the short name", 20)
    assert curl(lab, "apache-1", "http://echo.default.svc.cluster.local/hostname") in ("echo-1", "echo-2")
    assert lab.pod_exec("echo-1", "netecho", "ask", "udp", "echo.default", "80", "hostname").strip() in ("echo-1", "echo-2")
    assert "server=echo-" in curl(lab, "echo-1", "http://echo/"), "a pod may be its own Service's backend"


def test_api_server_by_service(lab, pods):
    """With the service account that every pod has."""
    script = ('cd /var/run/secrets/kubernetes.io/serviceaccount && curl -sS --max-time 5 --cacert ca.crt -H "Authorization: Bearer $(cat token)" '
              "https://kubernetes.default/api/v1/namespaces/default/pods")
    assert '"code": 403' in lab.pod_exec("nginx-1", "sh", "-c", script)


def test_a_node_may_change_only_itself(lab):
    config = f"--kubeconfig={lab.store.dir}/node-1.kubeconfig"
    lab.kubectl("label", "node", "node-1", "example.org/mine=yes", config)
    with pytest.raises(CommandError, match="(?i)forbidden"):
        lab.kubectl("label", "node", "node-2", "example.org/mine=yes", config)


def test_kubelets_prove_who_they_are_and_ask_who_calls(lab):
    node = lab.nodes[0]
    trusted = ssl.create_default_context(cafile=str(lab.store.dir / "ca.crt"))
    assert lab.control.http(f"https://{node.ip}:10250/pods", tls=trusted)[0] == 401


def test_kubelet_and_api_server_restart_under_the_pods(lab, pods):
    before = lab.kube_pods()
    for component in ("kube-apiserver", "kube-controller-manager"):
        lab.control.stop(component)
        lab.control.start(component)
        lab.store.serving()
    lab.nodes[0].kubelet.stop()
    lab.nodes[0].kubelet_start()
    lab.nodes[0].wait_ready()
    lab.kubectl("run", "after", "--image=nginx", "--port=80")
    lab.wait_pods("after")
    lab.pod_delete("after")
    after = lab.wait_pods(*pods)
    assert {pod.name: pod.ips for pod in after} == {pod.name: pod.ips for pod in before}
    assert all(status["restartCount"] == 0 for pod in after for status in pod.object["status"]["containerStatuses"])


def test_a_rebooted_node_comes_back(lab, pods):
    """Everything but the disk is lost; kubelet sees the new boot and makes new sandboxes."""
    node = lab.nodes[1]
    boot = node.boot
    node.reboot()
    node.wait_ready()
    assert node.boot != boot

    def again():
        pod, = lab.wait_pods("apache-1", timeout=5)
        return pod if pod.object["status"]["containerStatuses"][0]["restartCount"] else None
    pod = until(again, "the pod of before the reboot runs again", 90)
    assert lab.pod_exec("apache-1", "cat", "/proc/sys/kernel/random/boot_id").strip() == node.boot
    until(lambda: PAGE["httpd"] in curl(lab, "nginx-1", f"http://{pod.ip}/"), "its page, from the other node", 20)


def test_a_node_joins(lab, pods):
    node = lab.node_add()
    node.wait_ready()
    lab.run("joined", "nginx", node=node)
    pod, = lab.wait_pods("joined")
    assert PAGE["nginx"] in curl(lab, "nginx-1", f"http://{pod.ip}/")


def test_the_command_line(lab, pods):
    def tulle_lab(verb, *words):
        done = subprocess.run([sys.executable, "-B", str(REPOSITORY / "lab/tulle-lab"), verb, "--lab", lab.name, *words],
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert "nginx-1" in tulle_lab("kubectl", "--", "get", "pods")
    assert tulle_lab("exec", "nginx-1", "--", "hostname") == "nginx-1\n"
    assert tulle_lab("exec", "node-1", "--", "hostname") == "node-1\n"
    shown = tulle_lab("status").split()
    assert {"node-1", "nginx-1", "Ready", pods["nginx-1"].ip} <= set(shown)
