# SPDX-License-Identifier: Apache-2.0
"""Dual-stack and IPv6-only clusters: everything that works with IPv4 works with IPv6, and with both at once."""

import ipaddress
import json

import pytest
from cluster_eyes import Eyes
from cluster_talk import check_everything, make_cast, switch_backend, versions, wait_talk
from tullelab import KubeLab

DEVICES = {("vxlan", 4): "flannel.1", ("vxlan", 6): "flannel-v6.1", ("host-gw", 4): "eth0", ("host-gw", 6): "eth0"}
BACKENDS = ["vxlan", "host-gw"]


@pytest.fixture(scope="module", params=["dual", "6"], ids=["dual-stack", "IPv6-only"])
def lab(request):
    with KubeLab(nodes=2, network="tulle", agent="daemonset", backend="vxlan", family=request.param) as made:
        yield made


@pytest.fixture(scope="module")
def cast(lab):
    return make_cast(lab)


def test_pods_have_an_address_of_each_family(lab, cast):
    for pod in (cast.near, cast.beside, cast.far):
        networks = [ipaddress.ip_network(cidr) for cidr in lab.node(pod.node).object["spec"]["podCIDRs"]]
        assert [network.version for network in networks] == list(versions(lab))
        assert len(pod.ips) == len(networks)
        assert all(ipaddress.ip_address(ip) in network for ip, network in zip(pod.ips, networks))


def test_names_have_an_address_of_each_family(lab, cast):
    """What DNS says of a Service: A where the cluster has IPv4, AAAA where it has IPv6, and nothing else."""
    name = "echo.default.svc.cluster.local"
    for kind, version in (("a", 4), ("aaaa", 6)):
        said = lab.pod_exec("near", "busybox", "nslookup", f"-type={kind}", name, check=False)
        found = [line.split()[-1] for line in said.partition(name)[2].splitlines() if line.startswith("Address")]
        assert found == ([cast.service_ip(version)] if version in versions(lab) else [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything(lab, cast, backend):
    """Pods, nodes, Services by address and by name, NodePorts, host ports, the way out: each family."""
    switch_backend(lab, backend)
    wait_talk(lab, cast.near, cast.far)
    check_everything(lab, cast)
    for version in versions(lab):
        way = json.loads(lab.nodes[0].run(["ip", "-j", f"-{version}", "route", "get", cast.far.ip_of(version)]).stdout)[0]
        assert way["dev"] == DEVICES[backend, version]


def test_no_trace_of_a_family_that_is_not_used(lab, cast):
    for node in lab.nodes:
        seen = Eyes(node)
        for version in (4, 6):
            assert bool(seen.routes(version)) == (version in versions(lab))
        assert not seen.problems()


def test_services_of_one_family(lab, cast):
    """A dual-stack cluster's Services may have either family alone."""
    lab.apply([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"only-{version}"},
                "spec": {"selector": {"run": "far"}, "ipFamilies": [f"IPv{version}"], "ports": [{"port": 80, "targetPort": 8080}]}}
               for version in versions(lab)])
    for version in versions(lab):
        command = ("curl", "-sS", "-m5", "--retry", "10", "--retry-connrefused", "--retry-delay", "1", f"http://only-{version}/clientip")
        assert lab.pod_exec("near", *command).rpartition(":")[0].strip("[]") == cast.near.ip_of(version)
