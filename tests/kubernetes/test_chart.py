# SPDX-License-Identifier: Apache-2.0
"""The Helm chart, rendered by Helm's own engine (a Go program in tests/deploy/helm): it is the manifest, and its values do what they say."""
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "deploy"))

from manifests import objects  # noqa: E402

CHART = REPOSITORY / "deploy" / "helm" / "tulle"


def module(path):
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.name, loader))
    loader.exec_module(made)
    return made


@pytest.fixture(scope="session")
def helm(tmp_path_factory):
    """Go as scripts/kubernetes finds it; its own cache makes the second build short."""
    script = module(REPOSITORY / "scripts" / "kubernetes")
    go, version = script.choose_go()
    if script.go_version(go) != version:
        go = script.fetch_toolchain(go)
    target = tmp_path_factory.mktemp("helm") / "helm"
    done = subprocess.run([go, "build", "-mod=readonly", "-buildvcs=false", "-o", target, "."], cwd=REPOSITORY / "tests/deploy/helm",
                          env=script.go_environment(), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def render(helm, tmp_path):
    def rendered(namespace="kube-tulle", **values):
        path = tmp_path / "values.json"
        path.write_text(json.dumps(values))
        done = subprocess.run([helm, CHART, namespace, path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return objects(done.stdout)
    return rendered


def agent(found):
    return found["DaemonSet", "tulle"]["spec"]["template"]["spec"]["containers"][0]


def volumes(found):
    return {v["name"]: v.get("hostPath", {}).get("path") for v in found["DaemonSet", "tulle"]["spec"]["template"]["spec"]["volumes"]}


def test_it_is_the_manifest(render):
    manifest = objects((REPOSITORY / "deploy" / "tulle.yaml").read_text())
    assert render(createNamespace=True) == manifest
    del manifest["Namespace", "kube-tulle"]
    assert render() == manifest


def test_another_namespace(render):
    found = render("network")
    text = json.dumps(list(found.values()))
    assert "kube-tulle" not in text
    assert "--owner-daemonset=network/tulle" in agent(found)["args"]
    assert found["Role", "tulle"]["rules"][1]["resourceNames"] == ["network"]


def test_k3s(render):
    found = render(network={"podCidr": "10.42.0.0/16"},
                   cni={"confDir": "/var/lib/rancher/k3s/agent/etc/cni/net.d", "binDir": "/var/lib/rancher/k3s/data/cni"})
    assert volumes(found)["cni-conf"] == "/var/lib/rancher/k3s/agent/etc/cni/net.d"
    assert volumes(found)["cni-bin"] == "/var/lib/rancher/k3s/data/cni"
    assert found["ConfigMap", "tulle-cfg"]["data"]["net-conf.json"] == {"Network": "10.42.0.0/16", "Backend": {"Type": "vxlan"}}


@pytest.mark.parametrize("network, wanted", [
    ({"podCidrV6": "fd00:42::/56"}, {"Network": "10.244.0.0/16", "EnableIPv6": True, "IPv6Network": "fd00:42::/56", "Backend": {"Type": "vxlan"}}),
    ({"podCidr": "", "podCidrV6": "fd00:42::/56"}, {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00:42::/56", "Backend": {"Type": "vxlan"}}),
    ({"backend": {"Type": "vxlan", "DirectRouting": True, "Port": 4789}},
     {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": True, "Port": 4789}}),
])
def test_networks(render, network, wanted):
    assert render(network=network)["ConfigMap", "tulle-cfg"]["data"]["net-conf.json"] == wanted


def test_files_as_text(render):
    net, cni = {"Network": "10.9.0.0/16", "Backend": {"Type": "host-gw"}}, {"name": "cbr0", "plugins": [{"type": "flannel"}]}
    data = render(netConf=json.dumps(net, indent=2), cniConf=json.dumps(cni, indent=2))["ConfigMap", "tulle-cfg"]["data"]
    assert data == {"net-conf.json": net, "cni-conf.json": cni}


def test_settings(render):
    found = render(image={"repository": "registry.example/net/tulle", "tag": "9"}, ipMasq=False, healthPort=9999, extraArgs=["--iface=eth1"],
                   apiServer={"host": "fd00::1", "port": 6443}, extraCapabilities=["NET_RAW"], appArmorProfile="", seLinuxType="", mountBpffs=False,
                   maxUnavailable=1, imagePullSecrets=[{"name": "s"}], tolerations=[], podAnnotations={"a": "b"})
    spec = found["DaemonSet", "tulle"]["spec"]
    container, pod = agent(found), spec["template"]["spec"]
    assert container["image"] == "registry.example/net/tulle:9" and "--ip-masq" not in container["args"] and "--iface=eth1" in container["args"]
    assert {"name": "KUBERNETES_SERVICE_HOST", "value": "fd00::1"} in container["env"]
    assert {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"} in container["env"]
    assert container["securityContext"]["capabilities"]["add"][-1] == "NET_RAW"
    assert not {"appArmorProfile", "seLinuxOptions"} & set(container["securityContext"])
    assert container["readinessProbe"]["httpGet"]["port"] == 9999 and "--healthz-port=9999" in container["args"]
    assert "initContainers" not in pod and "tolerations" not in pod and pod["imagePullSecrets"] == [{"name": "s"}]
    assert spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert spec["template"]["metadata"]["annotations"] == {"prometheus.io/scrape": "true", "prometheus.io/port": "9999", "a": "b"}


def test_every_value_is_used():
    """A value that no template reads does nothing, silently."""
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    values = re.findall(r"^(\w+):", (CHART / "values.yaml").read_text(), re.MULTILINE)
    assert values and not [name for name in values if not re.search(rf"\.Values\.{name}\b", templates)]
    used = set(re.findall(r"\.Values\.(\w+)", templates))
    assert used == set(values)


def rights(found, name) -> set:
    return {(group, resource) for rule in found[name]["rules"] for group in rule["apiGroups"] for resource in rule["resources"]}


def test_pools(render):
    """Without them the agents may do what Flannel's do, and no more; Secrets by name."""
    found = render(pools={"enabled": False})
    assert ("ClusterRole", "tulle-pools") not in found and ("ClusterRoleBinding", "tulle-pools") not in found
    assert rights(found, ("Role", "tulle")) == {("apps", "daemonsets"), ("", "namespaces")}
    found = render(pools={"bgpSecrets": ["rack1", "rack2"]})
    secrets, = [rule for rule in found["Role", "tulle"]["rules"] if rule["resources"] == ["secrets"]]
    assert secrets["resourceNames"] == ["rack1", "rack2"] and secrets["verbs"] == ["get"]
    assert ("", "secrets") not in rights(render(pools={"bgpSecrets": []}), ("Role", "tulle"))


def test_definitions():
    """Helm makes those that are not there, and no other; they are the very files that kubectl is given."""
    assert {path.name: path.read_text() for path in (CHART / "crds").iterdir()} == \
        {path.name: path.read_text() for path in (REPOSITORY / "deploy" / "crds").iterdir()}


def test_bgp(render):
    """BIRD's DaemonSet is the manifest too, and the agent's image is not BIRD's."""
    manifest, = objects((REPOSITORY / "deploy" / "bird.yaml").read_text()).values()
    before = render()
    found = render(bgp={"enabled": True}, image={"tag": "v2"})
    assert found.pop(("DaemonSet", "tulle-bird")) == manifest and set(found) == set(before)
    assert agent(found)["image"].endswith(":v2")
