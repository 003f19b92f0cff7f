# SPDX-License-Identifier: Apache-2.0
"""podman with its CNI backend: it calls VERSION first, wants MAC addresses in the result, and passes prevResult at DEL."""

from ipaddress import ip_address

import pytest

import cgroups
from containerd import PLUGINS
from podman import Podman
from tullelab import until
from view import attached, subnet_of


@pytest.fixture(scope="module")
def podman(lab, archive):
    """podman on node-1."""
    return Podman(lab.nodes[0], archive, PLUGINS, cgroups.parent("podman"))


@pytest.fixture(autouse=True)
def emptied(podman):
    yield
    names = podman.names()
    if names:
        podman.remove(*names)


def network(inspected: dict) -> dict:
    return inspected["NetworkSettings"]["Networks"]["tulle"]


def test_run_shows_address_and_mac(lab, podman):
    node = lab.nodes[0]
    shown = network(podman.start("shown"))
    assert ip_address(shown["IPAddress"]) in subnet_of(node)
    inside = podman.execute("shown", "ip", "addr", "show", "eth0").stdout
    assert f"inet {shown['IPAddress']}/" in inside and f"link/ether {shown['MacAddress']}" in inside
    assert shown["IPAddress"] in attached(node)


def test_reaches_a_pod_on_the_other_node(lab, podman):
    pod = lab.nodes[1].pod_add("podman-peer")
    try:
        pod.serve(8080)
        shown = network(podman.start("caller"))
        answer = podman.execute("caller", "wget", "-q", "-O", "-", f"http://{pod.ip}:8080/").stdout
        assert f"server=podman-peer client={shown['IPAddress']} " in answer
        pod.ping(shown["IPAddress"])
    finally:
        pod.delete()


def test_foreground_run_ends_and_releases(lab, podman):
    before = attached(lab.nodes[0])
    done = podman("run", "--rm", "--cgroup-parent", podman.cgroup_parent, "localhost/tulle-test:1", "ip", "-4", "addr", "show", "eth0")
    assert "inet " in done.stdout
    until(lambda: attached(lab.nodes[0]) == before, "the address is released")


def test_static_address_and_mac(lab, podman):
    node = lab.nodes[0]
    wanted = str(subnet_of(node)[200])
    mac = "0a:58:0a:f4:01:c8"
    if lab.plugin == "ptp":
        pytest.skip("ptp knows no requested MAC address")
    shown = network(podman.start("static", "--ip", wanted, "--mac-address", mac))
    assert (shown["IPAddress"], shown["MacAddress"]) == (wanted, mac)
    assert f"link/ether {mac}" in podman.execute("static", "ip", "link", "show", "eth0").stdout
    node.ping(wanted)
    refused = podman("run", "--detach", "--name", "second", "--cgroup-parent", podman.cgroup_parent, "--ip", wanted,
                     "localhost/tulle-test:1", check=False)
    assert refused.returncode != 0 and wanted in refused.stderr, refused.stderr
    node.ping(wanted)


def test_published_port(lab, podman):
    podman.start("web", "--publish", "8086:80", command=["sh", "-c", "echo podman >/www/index.html; exec httpd -f -h /www -p 80"])
    url = f"http://{lab.nodes[0].ip}:8086/"
    assert until(lambda: lab.nodes[1].http(url), "the published port answers") == (200, "podman\n")
    podman.remove("web")
    with pytest.raises(OSError):
        lab.nodes[1].http(url, timeout=1)


def test_rm_releases(lab, podman):
    node = lab.nodes[0]
    before = attached(node)
    names = [f"many-{number}" for number in range(4)]
    ips = {network(podman.start(name))["IPAddress"] for name in names}
    assert len(ips) == 4 and set(attached(node)) == ips | set(before)
    podman.remove(*names)
    assert attached(node) == before
    assert podman.names() == []
