# SPDX-License-Identifier: Apache-2.0
"""Nothing of one dialect is left when a node turns to the other, and nothing of Calico's half after tullectl cleanup."""
import json

import pytest
from test_pools import EXAMPLE, calico, pool, talk, way  # noqa: F401 (calico is a fixture)
from tullelab import wait

FELIX = json.dumps({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration", "metadata": {"name": "default"},
                    "spec": {"deviceRouteProtocol": 85}})


def be_calicos(node):
    """Its pods come by a configuration of Calico's type: their interfaces have Calico's names."""
    conf = json.dumps({"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}}]})
    node.write("/etc/cni/net.d/05-calico.conflist", conf)
    node.run(["sh", "-ec", "mkdir -p /run/bin; cp $1 /run/bin/calico", "sh", f"{node.lab.build}/tulle"])
    node.runtime.path.append("/run/bin")


def state(node):
    """What a node's kernel holds: devices with their addresses, routes, rules, programs at the uplink."""
    links = sorted((each["ifname"], "UP" in each["flags"], sorted(a["local"] for a in each["addr_info"] if a["scope"] != "link"))
                   for each in json.loads(node.run(["ip", "-j", "address"]).stdout))
    uplink = node.run(["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout
    return links, node.run(["ip", "route"]).stdout, node.run(["nft", "list", "ruleset"]).stdout, uplink


@pytest.mark.parametrize("mode", ["vxlanMode", "ipipMode"])
def test_cleanup_leaves_nothing(calico, eyes, mode):  # noqa: F811
    lab = calico(pool(**{mode: "Always"}), FELIX, nodes=2)
    one, two = lab.nodes
    device = "vxlan.calico" if mode == "vxlanMode" else "tunl0"
    be_calicos(one)
    pods = [node.pod_add(f"pod-{node.index}") for node in lab.nodes]
    talk(*pods)
    assert [name for name, up, addresses in state(one)[0] if name.startswith("cali")]
    assert "proto 85" in one.run(["ip", "route"]).stdout
    one.agent_stop()
    dry = eyes(one).ctl("cleanup", "--dry-run").stdout
    done = eyes(one).ctl("cleanup", "--yes").stdout
    for said in (device, "eBPF program guard", "nftables table inet tulle", "/run/tulle", "dev " + device):
        assert said in done and said in dry, (said, done)
    links, routes, rules, uplink = state(one)
    assert not [name for name, up, addresses in links if name not in ("lo", "eth0") and (up or addresses)], links
    assert "proto 84" not in routes and "proto 85" not in routes and "blackhole" not in routes, routes
    assert "tulle" not in rules and not uplink.strip() and not one.exists("/sys/fs/bpf/tulle/guard")
    again = eyes(one).ctl("cleanup", "--yes").stdout.splitlines()
    assert [line for line in again if not line.startswith("kept ")] in ([], ["nothing of Tulle is left on this node"])


@pytest.mark.parametrize("ended", [False, True])
def test_cleanup_stops_bird_and_takes_its_routes(calico, eyes, ended):  # noqa: F811
    """BIRD keeps its routes in the kernel when it ends: they are removed by name, and somebody else's stay. One that has ended
    already names none, so all go."""
    lab = calico(pool(), json.dumps({"apiVersion": "projectcalico.org/v3", "kind": "BGPConfiguration", "metadata": {"name": "default"},
                                     "spec": {"programClusterRoutes": "Enabled"}}), nodes=2, agent_args=["--bird=start"])
    one, two = lab.nodes
    talk(*(node.pod_add(f"pod-{node.index}") for node in lab.nodes))
    one.run(["ip", "route", "add", "198.51.100.0/24", "dev", "eth0", "proto", "bird"])
    wait.until(lambda: json.loads(eyes(one).ctl("-o", "json", "bgp", "status", check=False).stdout)["established"] == 1, "the session", 30)
    wait.until(lambda: one.run(["ip", "route", "show", "proto", "bird"]).stdout.count("\n") > 1, "BIRD's routes", 20)
    one.agent_stop()
    if ended:
        one.run(["sh", "-c", "kill -9 $(cat /run/tulle/bird/bird.pid)"])
    done = eyes(one).ctl("cleanup", "--yes").stdout
    assert ("stopped program bird" in done) != ended, done
    left = one.run(["ip", "route", "show", "proto", "bird"]).stdout.split("\n")
    assert [line.split()[0] for line in left if line] == ([] if ended else ["198.51.100.0/24"]), left
    assert not one.exists("/run/tulle/bird")


def test_from_flannel_to_calico_and_back(make_lab, built, eyes):
    lab = make_lab(nodes=2)
    one, two = lab.nodes
    talk(*(node.pod_add(f"before-{node.index}") for node in lab.nodes))
    assert eyes(one).link("flannel.1") and eyes(one).routes()
    lab.store.put("pool.yaml", EXAMPLE.replace("ipipMode: Never", "vxlanMode: Always"))
    for node in lab.nodes:
        wait.until(lambda: eyes(node).status()["calico"] and eyes(node).status()["ready"], f"{node.name} speaks Calico", 15)
        wait.until(lambda: not eyes(node).link("flannel.1"), "Flannel's device is gone", 10)
    a, b = one.pod_add("a"), two.pod_add("b")
    talk(a, b)
    assert way(one, b.ip) == "vxlan.calico" and not [r for r in eyes(one).routes().values() if r.get("dev") == "flannel.1"]
    for node in lab.nodes:
        node.agent_restart(extra=["--dialect=flannel"])
    for node in lab.nodes:
        wait.until(lambda: eyes(node).link("flannel.1") and not eyes(node).link("vxlan.calico"), "Calico's device is gone", 15)
        wait.until(lambda: not node.exists("/sys/fs/bpf/tulle/guard"), "and its guard", 10)
    talk(*(node.pod_add(f"after-{node.index}") for node in lab.nodes))
    left = [route for route in eyes(one).routes().values() if route.get("dev") != "flannel.1" and not route["dev"].startswith("tul")]
    assert not left, left
