# SPDX-License-Identifier: Apache-2.0
"""Labs with Kubernetes come in all families, stand side by side, and leave nothing, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from tullelab import KubeLab, LabError, cgroup, proc, until
from tullelab.address import url_host
from tullelab.kube_images import ECHO
from tullelab.kube_node import DISKS

TOOL = [sys.executable, "-B", str(REPOSITORY / "lab" / "tulle-lab")]


def members(name: str) -> list:
    """Every process in a control group of the lab: what runs on its nodes, in containers too."""
    found = set()
    for top in cgroup.leftovers(name):
        for directory, _, _ in os.walk(top):
            found.update(int(pid) for pid in Path(directory, "cgroup.procs").read_text().split())
    return [who for who in map(proc.identity, found) if who]


def left_over(name: str, processes=(), disks=DISKS, state=None) -> list:
    found = [entry for entry in os.listdir("/run/netns") if entry.startswith(f"tl-{name}-")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"tl-{name}-" in line or f"tulle-lab/{name}" in line]
    found += [str(path) for path in (Path(disks, name), state or Path("/run/tulle-lab", name)) if path.exists()]
    return found + cgroup.leftovers(name) + [f"process {who['pid']}" for who in processes if proc.alive(who)]


def check_traffic(lab) -> None:
    """Between the two last nodes (or on the only one), each family, by address and by Service."""
    lab.run("a", ECHO, node=lab.nodes[0])
    lab.run("b", ECHO, node=lab.nodes[-1])
    a, b = lab.wait_pods("a", "b")
    lab.apply([{"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"b{version}"},
                "spec": {"selector": {"run": "b"}, "ipFamilies": [f"IPv{version}"], "ports": [{"port": 80, "targetPort": 8080}]}}
               for version in versions(lab)])
    for version in versions(lab):
        assert f"client={a.ip_of(version)} " in lab.pod_exec("a", "curl", "-sS", "-m5", f"http://{url_host(b.ip_of(version))}:8080/")
        assert lab.pod_exec("a", "netecho", "ask", "udp", b.ip_of(version), "8080", "hostname") == "b\n"
        until(lambda: lab.pod_exec("a", "curl", "-sS", "-m5", f"http://b{version}/hostname") == "b", f"the Service of IPv{version}", 20)


def versions(lab) -> tuple:
    return {"4": (4,), "6": (6,), "dual": (4, 6)}[lab.family]


def test_two_labs_side_by_side_and_nothing_afterwards():
    """The same addresses twice; one is dual-stack with kube-proxy's iptables mode, the other IPv6 only, on one node."""
    with KubeLab(network="bridge", family="dual", kube_proxy="iptables") as first:
        with KubeLab(nodes=1, network="bridge", family="6") as second:
            check_traffic(first)
            check_traffic(second)
            processes = members(second.name)
            assert len(processes) > 10
        assert left_over(second.name, processes) == []
        assert first.pod_exec("a", "netecho", "ask", "http", first.wait_pods("b")[0].ip, "8080", "hostname") == "b\n"
        forward = first.kubectl_background("port-forward", "pod/a", "18080:8080")
        forward.wait_line("Forwarding", 20)
        processes = members(first.name)
    assert left_over(first.name, processes) == [] and not forward.running


STREAMED = "/api/v1/nodes?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"


def test_the_machine_keeps_its_settings():
    """A kubelet sets sysctls of the whole machine, kube-proxy conntrack's.  (And with the module's etcd the API server streams lists.)"""
    names = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
             "kernel/keys/root_maxbytes", "net/netfilter/nf_conntrack_max", "net/ipv4/ip_forward"]
    before = {name: Path("/proc/sys", name).read_text() for name in names if Path("/proc/sys", name).exists()}
    with KubeLab(nodes=1, network="none", dns=False, etcd="module") as lab:
        node = lab.nodes[0]
        assert node.condition["status"] == "False" and "cni" in node.condition["message"].lower()
        assert {name: Path("/proc/sys", name).read_text() for name in before} == before
        assert node.read("/proc/sys/kernel/panic") == "10\n"
        streamed = [json.loads(line) for line in lab.api.request("GET", STREAMED).splitlines()]
        ends = [at for at, event in enumerate(streamed) if "k8s.io/initial-events-end" in event["object"]["metadata"].get("annotations", {})]
        assert [event["object"]["metadata"]["name"] for event in streamed[:ends[0]]] == ["node-1"]


POINTS = {"control plane": lambda data: "kube-apiserver" in daemons(data, "control"),
          "containerd": lambda data: "containerd" in daemons(data, "node-1"),
          "kubelet": lambda data: "kubelet" in daemons(data, "node-2")}


def daemons(data: dict, host: str) -> dict:
    return data["hosts"].get(host, {}).get("daemons", {})


@pytest.mark.parametrize("point, number", [("control plane", signal.SIGINT), ("containerd", signal.SIGKILL), ("kubelet", signal.SIGTERM),
                                           ("kubelet", signal.SIGKILL)],
                         ids=lambda value: getattr(value, "name", value))
def test_ended_in_the_middle_of_up(point, number, tmp_path):
    """Killed at this point, `down --all` removes what there is; interrupted, `up` does so itself."""
    env = dict(os.environ, TULLE_LAB_DIR=str(tmp_path / "labs"), TULLE_LAB_DISK=str(tmp_path / "disks"))
    name = f"crash{os.getpid()}"
    directory = tmp_path / "labs" / name
    up = subprocess.Popen([*TOOL, "up", "--name", name, "--store", "kubernetes", "--network", "bridge"], env=env, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    until(lambda: POINTS[point](json.loads((directory / "state.json").read_text())), point, 90, interval=0.005)
    processes = members(name)
    up.send_signal(number)
    stderr = up.communicate(timeout=60)[1]
    if number == signal.SIGKILL:
        done = subprocess.run([*TOOL, "down", "--all"], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and name in done.stdout, done.stderr
    else:
        assert up.returncode == 1 and "interrupted" in stderr
    assert left_over(name, processes, tmp_path / "disks", directory) == []


def test_without_the_programs_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("TULLE_KUBERNETES", str(tmp_path))
    with pytest.raises(LabError, match="run scripts/kubernetes"):
        KubeLab(network="bridge").up()
