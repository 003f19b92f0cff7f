# SPDX-License-Identifier: Apache-2.0
"""The network configuration: what is taken, what is refused, what a change does."""
import json
import re

import pytest
from tullelab import netconf, wait

ISSUE_CNI = {"name": "flannel", "type": "flannel", "delegate": {
    "isDefaultOverlay": True, "runtime": {"cniVersion": "0.3.1"}, "network": "10.244.0.0/16",
    "backend": {"type": "vxlan", "vxlan": {"port": 8472}}}}
ISSUE_NET = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472}}


@pytest.fixture(scope="module")
def lab(built, make_lab):
    lab = make_lab(nodes=2)
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two")
    return lab


@pytest.mark.parametrize("text, says", [
    ("", "JSON"), ("{", "JSON"), ("[]", "object"), ('{"Network":"10.244.0.0"}', "Network"),
    ('{"Network":7}', "Network"), ('{"Network":"10.244.0.0/16","Backend":{"Type":"warp"}}', "warp"),
    ('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":99999999}}', "VNI"),
    ('{"Network":"10.244.0.0/16","SubnetLen":31,"Backend":{"Type":"vxlan"}}', "SubnetLen"),
    ('{"Network":"10.244.0.0/16","SubnetMin":"10.245.0.0","Backend":{"Type":"vxlan"}}', "SubnetMin"),
    ('{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","MTU":9999999}}', "MTU"),
    ("[" * 10000, "JSON"),
], ids=["empty", "truncated", "list", "no-length", "number", "backend", "vni", "length", "min", "mtu", "deep"])
def test_a_bad_edit_keeps_the_last_good_configuration(lab, eyes, text, says):
    look = eyes(lab.nodes[0])
    lab.store.put_config(text)
    assert says in look.wait_problem("net-conf.json")
    lab.pod("one").ping(lab.pod("two").ip)
    assert look.status()["ready"] and look.status()["backend"] == "vxlan"
    lab.store.put_config(netconf.build("vxlan", "4"))
    look.wait_no_problem()


def test_removed_and_back(lab, eyes):
    look = eyes(lab.nodes[0])
    lab.store.delete("net-conf.json")
    look.wait_problem("net-conf.json")
    lab.pod("one").ping(lab.pod("two").ip)
    lab.store.put_config(netconf.build("vxlan", "4"))
    look.wait_no_problem()


def test_subnet_env_is_exact(lab, eyes):
    node = lab.nodes[0]
    subnet = eyes(node).own_subnet()
    first = re.sub(r"\.0/", ".1/", subnet)
    assert node.read("/run/flannel/subnet.env") == (
        f"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET={first}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
    assert (node.root / "run/flannel/subnet.env").stat().st_mode & 0o777 == 0o644


def test_backend_changed_while_running(lab, eyes, converged):
    try:
        for backend in ("host-gw", "udp", "vxlan"):
            lab.store.put_config(netconf.build(backend, "4"))
            for node in lab.nodes:
                wait.until(lambda: eyes(node).status()["backend"] == backend, f"{node.name}: {backend}")
            wait.until(lambda: lab.pod("one").ping(lab.pod("two").ip, timeout=1), f"pods talk by {backend}", 15,
                       detail=lambda: lab.nodes[0].log[-1500:])
    finally:
        lab.store.put_config(netconf.build("vxlan", "4"))
        for node in lab.nodes:
            eyes(node).wait_no_problem(15)


def test_no_configuration_yet(built, make_lab, eyes):
    lab = make_lab(nodes=1, agents=False)
    node = lab.nodes[0]
    lab.store.delete("net-conf.json")
    node.agent_start(ready=False)
    wait.until(lambda: node.api_status("/readyz")[0] == 503, "not ready")
    assert "no network configuration yet" in node.api_status("/readyz")[1]
    with pytest.raises(Exception, match="network configuration"):
        node.pod_add("early")
    assert eyes(node).ctl("status", check=False).returncode == 1
    lab.store.put_config(netconf.build("vxlan", "4"))
    node.agent_ready()
    node.pod_add("late")


def test_the_issues_example_as_a_config_map(built, make_lab, eyes):
    """The ConfigMap kube-flannel-cfg as kubectl prints it, with both halves of the example, unchanged."""
    lab = make_lab(nodes=2, agents=False)
    lab.store.delete("net-conf.json")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-flannel"},
                "data": {"cni-conf.json": json.dumps(ISSUE_CNI), "net-conf.json": json.dumps(ISSUE_NET)}}
    lab.store.put("kube-flannel-cfg.json", json.dumps(manifest))
    for node in lab.nodes:
        node.run(["mkdir", "-p", "/run/bin"])
        node.run(["cp", f"{lab.build}/tulle", "/run/bin/flannel"])
        node.runtime.path.insert(0, "/run/bin")
        node.agent_start()
        node.write("/etc/cni/net.d/05-flannel.conflist", json.dumps({"name": "flannel", "plugins": [ISSUE_CNI]}))
    one, two = lab.nodes[0].pod_add("one"), lab.nodes[1].pod_add("two")
    one.ping(two.result["ip4"]["ip"].split("/")[0])
    assert "ip4" in one.result and one.result["cniVersion"] in ("0.1.0", "0.2.0")
    assert eyes(lab.nodes[0]).status()["backend"] == "vxlan"


def test_config_check(built, make_lab, eyes, lab):
    node = lab.nodes[0]
    look = eyes(node)
    node.write("/run/net.json", json.dumps(ISSUE_NET))
    node.write("/run/cni.json", json.dumps(ISSUE_CNI))
    yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kube-flannel-cfg\ndata:\n"
    yaml += f"  cni-conf.json: |\n    {json.dumps(ISSUE_CNI)}\n  net-conf.json: |\n    {json.dumps(ISSUE_NET)}\n"
    node.write("/run/cm.yaml", yaml)
    done = look.ctl("config", "check", "/run/net.json", "/run/cni.json", "/run/cm.yaml")
    assert done.stdout.count("good network configuration") == 2 and done.stdout.count("good CNI configuration") == 2
    node.write("/run/bad.json", '{"Network":"10.244.0.0/16","SubnetLen":40}')
    done = look.ctl("config", "check", "/run/bad.json", check=False)
    assert done.returncode == 1 and "SubnetLen" in done.stderr
