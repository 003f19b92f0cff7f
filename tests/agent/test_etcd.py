# SPDX-License-Identifier: Apache-2.0
"""The agent on real etcd: three members over TLS, two of them lost and back."""
import json

import pytest
from tullelab import wait


@pytest.fixture(scope="module")
def lab(built, make_lab):
    lab = make_lab(nodes=2, store="etcd", etcd_members=3, etcd_tls=True,
                   net_conf={"SubnetMax": "10.244.150.0"})  # the rest is for made-up peers
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two")
    return lab


def test_leases_are_flannels(lab, eyes, converged):
    converged(lab)
    for node in lab.nodes:
        status = eyes(node).status()
        key = status["lease"]["subnet"].replace("/", "-")
        value = lab.store.leases()[key]
        assert list(value) == ["PublicIP", "PublicIPv6", "BackendType", "BackendData"]
        assert value["PublicIP"] == node.ip and list(value["BackendData"]) == ["VNI", "VtepMAC"]
    lab.pod("one").ping(lab.pod("two").ip)


def test_quorum_lost_and_back(lab, eyes, converged):
    before = {node.name: eyes(node).own_subnet() for node in lab.nodes}
    for host in lab.store.hosts[:2]:
        lab.store.member_stop(host, 9)
    lab.pod("one").ping(lab.pod("two").ip, count=3)
    lab.nodes[0].agent_restart(ready=False)  # without a store: the data path stays as it was
    lab.pod("one").ping(lab.pod("two").ip, count=3)
    for host in lab.store.hosts[:2]:
        lab.store.member_start(host)
    lab.store.ready()
    lab.nodes[0].agent_ready(30)
    converged(lab)
    assert {node.name: eyes(node).own_subnet() for node in lab.nodes} == before
    lab.pod("one").ping(lab.pod("two").ip)


def test_compaction_under_the_watch(lab, eyes, make_lease):
    look = eyes(lab.nodes[0])
    prefix = "/coreos.com/network/subnets"
    for i in range(5):
        lab.store.ctl("put", f"{prefix}/10.244.20{i}.0-24", make_lease(f"192.0.2.8{i}", mac=f"02:00:00:00:dd:0{i}"))
    revision = json.loads(lab.store.ctl("endpoint", "status", "-w", "json").stdout)[0]["Status"]["header"]["revision"]
    lab.store.ctl("compact", str(revision))
    wait.until(lambda: all(f"10.244.20{i}.0/24" in look.routes() for i in range(5)), "all peers")
    lab.store.ctl("put", f"{prefix}/nonsense", "{}")
    for i in range(5):
        lab.store.ctl("del", f"{prefix}/10.244.20{i}.0-24")
    wait.until(lambda: not any(f"10.244.20{i}.0/24" in look.routes() for i in range(5)), "all gone", detail=lambda: str(look.routes()))
    assert "nonsense" in look.wait_problem("nonsense")
    lab.store.ctl("del", f"{prefix}/nonsense")
    lab.pod("one").ping(lab.pod("two").ip)
