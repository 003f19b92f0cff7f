# SPDX-License-Identifier: Apache-2.0
"""Pods as kubelet makes them: containerd by CRI, from RunPodSandbox to exec and back."""

import threading
from ipaddress import ip_address

import pytest

from tullelab import until
from view import attached, subnet_of

WEB = ["/bin/sh", "-c", 'echo "$0" >/www/index.html; exec httpd -f -h /www -p 80']


@pytest.fixture
def pods(runtimes):
    """pods(index, name, …) makes a sandbox on a node; all of them are gone afterwards, whatever the test did."""
    made = []

    def make(index: int, name: str, **options) -> str:
        client = runtimes[index].cri
        sandbox = client.run_sandbox(name, **options)
        made.append((client, sandbox))
        return sandbox
    yield make
    for client, sandbox in made:
        if any(one.id == sandbox for one in client.sandboxes()):
            client.stop(sandbox)
            client.remove(sandbox)


def serve(client, sandbox: str, text: str) -> str:
    """A web server on port 80 of the sandbox; returns its container."""
    container = client.run_container(sandbox, [*WEB, text], "web")
    until(lambda: client.execute(container, ["wget", "-q", "-O", "-", "http://127.0.0.1/"])[1] == text + "\n", "the page is served")
    return container


def test_network_is_ready_by_the_conflist(runtimes):
    """What makes a node Ready: containerd has loaded the list, chained plugins and all."""
    for runtime in runtimes:
        assert runtime.cri.conditions() == {"RuntimeReady": True, "NetworkReady": True}


def test_sandbox_has_an_address_of_the_nodes_subnet(lab, runtimes, pods):
    for index, node in enumerate(lab.nodes):
        client = runtimes[index].cri
        sandbox = pods(index, f"addressed-{index}")
        ip = client.ip(sandbox)
        assert ip_address(ip) in subnet_of(node)
        assert ip in attached(node)
        container = client.run_container(sandbox, ["sleep", "1000000"])
        code, out, err = client.execute(container, ["ip", "-4", "addr", "show", "eth0"])
        assert code == 0 and f"inet {ip}/" in out, out + err


def test_pods_talk_across_nodes(lab, runtimes, pods):
    here, there = (runtime.cri for runtime in runtimes)
    a, b = pods(0, "client"), pods(1, "server")
    inside = here.run_container(a, ["sleep", "1000000"])
    serve(there, b, "pod b")
    assert here.execute(inside, ["ping", "-c", "2", "-W", "2", there.ip(b)])[0] == 0
    assert here.execute(inside, ["wget", "-q", "-O", "-", f"http://{there.ip(b)}/"])[:2] == (0, "pod b\n")
    assert lab.nodes[0].http(f"http://{there.ip(b)}/") == (200, "pod b\n")


def test_host_port(lab, runtimes, pods):
    """portmap, chained behind the plugin, with containerd's capitalised keys."""
    node1, node2 = lab.nodes
    sandbox = pods(1, "published", host_ports=[(8085, 80)])
    serve(runtimes[1].cri, sandbox, "by host port")
    url = f"http://{node2.ip}:8085/"
    assert until(lambda: node1.http(url), "the host port answers") == (200, "by host port\n")
    client = pods(0, "port-client")
    inside = runtimes[0].cri.run_container(client, ["sleep", "1000000"])
    assert runtimes[0].cri.execute(inside, ["wget", "-q", "-O", "-", url])[:2] == (0, "by host port\n")
    runtimes[1].cri.stop(sandbox)
    with pytest.raises(OSError):
        node1.http(url, timeout=1)


def test_bandwidth_annotations(lab, runtimes, pods):
    """Accepted with containerd's bursts of 2^32 - 1, and in force: a shaping qdisc on the node names the rate."""
    node = lab.nodes[0]
    sandbox = pods(0, "shaped", annotations={"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "4M"})
    inside = runtimes[0].cri.run_container(sandbox, ["sleep", "1000000"])
    assert runtimes[0].cri.execute(inside, ["ping", "-c", "1", "-W", "2", node.ip])[0] == 0
    if lab.plugin == "tulle":
        script = "tc qdisc show; for n in /run/netns/*; do nsenter --net=$n tc qdisc show; done"
        qdiscs = node.run(["sh", "-c", script]).stdout
        assert "8Mbit" in qdiscs and "4Mbit" in qdiscs, qdiscs


def test_stop_releases_and_remove_forgets(lab, runtimes, pods):
    node, client = lab.nodes[0], runtimes[0].cri
    before = attached(node)
    sandbox = pods(0, "short-lived")
    ip = client.ip(sandbox)
    assert attached(node) == sorted([*before, ip])
    client.stop(sandbox)
    assert attached(node) == before
    assert ip not in node.run(["ip", "route"]).stdout
    client.stop(sandbox)  # kubelet repeats itself
    client.remove(sandbox)
    client.remove(sandbox)
    assert sandbox not in [one.id for one in client.sandboxes()]


def test_ten_sandboxes_at_once(lab, runtimes, pods):
    node, client, errors, made = lab.nodes[0], runtimes[0].cri, [], []
    before = attached(node)

    def run(number):
        try:
            made.append(pods(0, f"many-{number}"))
        except Exception as error:
            errors.append(error)

    def stop(sandbox):
        try:
            client.stop(sandbox)
        except Exception as error:
            errors.append(error)
    for work, items in ((run, range(10)), (stop, made)):
        threads = [threading.Thread(target=work, args=(item,)) for item in list(items)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        if work is run:
            ips = {client.ip(sandbox) for sandbox in made}
            assert len(ips) == 10 and all(ip_address(ip) in subnet_of(node) for ip in ips)
            assert set(attached(node)) == ips | set(before)
    assert attached(node) == before


def test_containerd_restarted(lab, runtimes, pods):
    """Its pods live on, with their addresses, and it can still take them down."""
    node, runtime = lab.nodes[0], runtimes[0]
    sandbox, other = pods(0, "survivor"), pods(1, "peer")
    inside = runtime.cri.run_container(sandbox, ["sleep", "1000000"])
    ip = runtime.cri.ip(sandbox)
    runtime.restart()
    assert runtime.cri.ip(sandbox) == ip
    assert runtime.cri.execute(inside, ["ping", "-c", "1", "-W", "2", runtimes[1].cri.ip(other)])[0] == 0
    runtime.cri.stop(sandbox)
    assert ip not in attached(node)


@pytest.mark.tulle
def test_stop_while_the_agent_is_away(lab, runtimes, pods):
    """The DEL is spooled: kubelet's StopPodSandbox succeeds, and the agent catches up when it is back."""
    node, client = lab.nodes[0], runtimes[0].cri
    stays, goes = pods(0, "stays"), pods(0, "goes")
    ip = client.ip(goes)
    node.agent_stop()
    try:
        client.stop(goes)
        client.remove(goes)
        assert node.run(["ls", "/var/lib/tulle/spool"]).stdout.split()
        with pytest.raises(Exception, match="[Tt]ulle"):
            client.run_sandbox("refused")
    finally:
        node.agent_start()
    until(lambda: ip not in attached(node), "the spooled DEL is carried out")
    until(lambda: not node.run(["ls", "/var/lib/tulle/spool"]).stdout.split(), "the spool is empty")
    assert attached(node) == [client.ip(stays)]
    assert ip_address(client.ip(pods(0, "afterwards"))) in subnet_of(node)
