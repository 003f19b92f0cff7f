# SPDX-License-Identifier: Apache-2.0
"""Tulle is upgraded, removed, cleaned up and installed again, on the real cluster and by its own manifests (docs/install.md)."""

import json

import pytest
from cluster_eyes import Eyes, Flow
from cluster_talk import AGENTS, agent_lives, make_cast, wait_talk
from conftest import REPOSITORY
from tullelab import KubeLab, kube_deploy, wait
from tullelab.kube_deploy import NAMESPACE

CLEANUP = REPOSITORY / "deploy" / "tulle-cleanup.yaml"
CONF, PLUGIN = "/etc/cni/net.d/10-tulle.conflist", "/opt/cni/bin/tulle"
NEXT = "localhost/tulle:next"


@pytest.fixture(scope="module")
def lab():
    with KubeLab(nodes=2) as made:
        yield made


@pytest.fixture(scope="module")
def cast(lab):
    return make_cast(lab)


def installed(lab) -> list:
    return [node.exists(path) for node in lab.nodes for path in (CONF, PLUGIN)]


def roll(lab, *words, gap=False) -> None:
    """An upgrade by kubectl. At no moment does a node lose its plugin or its configuration, unless there may be a gap."""
    before = dict(agent_lives(lab))
    lab.kubectl("-n", NAMESPACE, *words)

    def rolled():
        assert gap or all(installed(lab)), "plugin and configuration stay"
        return "successfully rolled out" in lab.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/tulle", "--watch=false").stdout
    wait.until(rolled, "the agents are rolled", 120, 0.05)
    assert not set(before) & set(dict(agent_lives(lab)))


def is_ready(node) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.object["status"]["conditions"])


def test_upgrade_under_traffic(lab, cast):
    archive = kube_deploy.image(lab.build, NEXT)
    for node in lab.nodes:
        node.load(archive)
    flow = Flow(lab, cast.near, cast.far)
    roll(lab, "set", "image", "daemonset/tulle", f"tulled={NEXT}", f"bpffs={NEXT}")
    flow.check()
    for node in lab.nodes:
        assert not Eyes(node).problems()
    assert {container["image"] for pod in lab.kube_pods(NAMESPACE, AGENTS) for container in pod.object["spec"]["containers"]} == {NEXT}


def test_the_configmap_is_followed(lab, cast):
    """cni-conf.json as the kubelet brings it, without a restart."""
    lives = agent_lives(lab)
    conf = json.loads(lab.nodes[0].read(CONF))
    conf["plugins"][0]["mtu"] = 1400
    lab.kubectl("-n", NAMESPACE, "patch", "configmap", "tulle-cfg", "--type=merge", "-p", json.dumps({"data": {"cni-conf.json": json.dumps(conf)}}))
    for node in lab.nodes:
        wait.until(lambda: json.loads(node.read(CONF)) == conf, f"{node.name}: the new CNI configuration", 120, 0.5)
    assert agent_lives(lab) == lives


def test_an_agent_that_may_not_ask_removes_nothing(lab, cast):
    """Without its Role it cannot know, and says which verb is missing. (Only who loses the Role while he runs thinks of a removal.)"""
    lab.kubectl("-n", NAMESPACE, "delete", "rolebinding", "tulle")
    roll(lab, "rollout", "restart", "daemonset/tulle", gap=True)
    for node in lab.nodes:
        problem = wait.until(lambda: Eyes(node).problems().get("owner DaemonSet"), f"{node.name}: says what is missing", 20, 0.2)
        assert "daemonsets" in problem and "get" in problem
        wait.until(lambda: all(installed(lab)), "plugin and configuration are back", 10, 0.1)
    roll(lab, "rollout", "restart", "daemonset/tulle")
    lab.apply([item for item in kube_deploy.objects(lab) if item["kind"] == "RoleBinding"])
    roll(lab, "rollout", "restart", "daemonset/tulle")
    for node in lab.nodes:
        wait.until(lambda: not Eyes(node).problems(), f"{node.name}: all is well again", 20, 0.2)


@pytest.mark.parametrize("how", ["daemonset", "all"])
def test_removed_under_traffic(lab, cast, how):
    """The DaemonSet alone, then everything: account, roles and namespace go at the same time."""
    flow = Flow(lab, cast.near, cast.far)
    if how == "daemonset":
        lab.kubectl("-n", NAMESPACE, "delete", "daemonset", "tulle")
    else:
        lab.kubectl("delete", "-f", kube_deploy.MANIFEST, "--wait=true", timeout=120)
    wait.until(lambda: not any(installed(lab)), "plugin and configuration are gone", 30, 0.2, detail=lambda: str(installed(lab)))
    for node in lab.nodes:
        wait.until(lambda: not is_ready(node), f"{node.name} is not ready without a network", 60, 0.5)
    flow.check()
    wait_talk(lab, cast.far, cast.near)
    if how == "daemonset":
        lab.deploy()
        for node in lab.nodes:
            node.wait_ready()
        wait_talk(lab, cast.near, cast.far)


def trace(node) -> str:
    """What of Tulle a node still has."""
    commands = ("ip -br link; ip route; ip -6 route; ip neigh; bridge fdb", "nft list ruleset", "find /run/tulle /run/flannel /sys/fs/bpf/tulle "
                f"/var/lib/tulle -mindepth 1; ls {CONF} {PLUGIN} /var/lib/cni/flannel")
    said = "".join(node.run(["sh", "-c", command], check=False).stdout for command in commands)
    return "\n".join(line for line in said.splitlines() if any(word in line for word in ("tul", "flannel", "proto 84")))


def test_cleaned_up(lab, cast):
    assert all("flannel.1" in trace(node) and "inet tulle" in trace(node) for node in lab.nodes)
    lab.kubectl("apply", "-f", CLEANUP)
    lab.kubectl("-n", "kube-tulle-cleanup", "rollout", "status", "daemonset/tulle-cleanup", "--timeout=90s", timeout=100)
    said = lab.kubectl("-n", "kube-tulle-cleanup", "logs", "-l", "app.kubernetes.io/name=tulle-cleanup", "-c", "cleanup", "--tail=-1").stdout
    for line in ("removed device flannel.1", "removed nftables table inet tulle", "removed /run/tulle", "removed /var/lib/tulle/journal"):
        assert said.count(line) == 2, said
    looked = lab.kubectl("-n", "kube-tulle-cleanup", "logs", "-l", "app.kubernetes.io/name=tulle-cleanup", "-c", "look", "--tail=-1").stdout
    assert looked.count("nothing of Tulle is left on this node") == 2
    for node in lab.nodes:
        assert trace(node) == ""
    lab.kubectl("delete", "-f", CLEANUP, timeout=100)


def test_installed_again(lab, cast):
    lab.deploy()
    for node in lab.nodes:
        node.wait_ready()
    for name in ("near", "beside", "far"):
        lab.kubectl("delete", "pod", name, "--grace-period=0", "--force", timeout=60)
    lab.kubectl("delete", "service", "echo", "echo-local")
    new = make_cast(lab)
    wait_talk(lab, new.near, new.far)
