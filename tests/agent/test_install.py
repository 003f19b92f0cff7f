# SPDX-License-Identifier: Apache-2.0
"""--cni-conf-dir and --cni-bin-dir: what the container runtime finds."""
import contextlib
import json

import pytest
from tullelab import wait

BIN, CONF = "/run/install/bin", "/run/install/conf"
FLANNEL = {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}
LIST = {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [FLANNEL, {"type": "portmap", "capabilities": {"portMappings": True}}]}
# the example of many articles: one plugin, no version
SINGLE = {"name": "flannel", "type": "flannel",
          "delegate": {"isDefaultOverlay": True, "network": "10.244.0.0/16", "backend": {"type": "vxlan"}}}
OTHER = "#!/bin/sh\n# another plugin\n"


@pytest.fixture(scope="module")
def lab(built, make_lab):
    return make_lab(nodes=1, agents=False)


@pytest.fixture
def node(lab):
    node = lab.nodes[0]
    node.run(["rm", "-rf", "/run/install", "/var/lib/tulle/store/cm.json"])
    node.run(["mkdir", "-p", BIN, CONF])
    return node


def put_conf(node, conf):
    """The store's ConfigMap with this cni-conf.json."""
    text = conf if isinstance(conf, str) else json.dumps(conf)
    net = {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-flannel-cfg", "namespace": "kube-flannel"},
                "data": {"cni-conf.json": text, "net-conf.json": json.dumps(net)}}
    node.run(["rm", "-f", "/var/lib/tulle/store/net-conf.json"])
    node.write("/var/lib/tulle/store/cm.json", json.dumps(manifest))


@contextlib.contextmanager
def agent(node, *words, ready=True):
    running = node.spawn([f"{node.lab.build}/tulled", "--store-dir=/var/lib/tulle/store", "--iface=eth0", "--healthz-port=8081",
                          f"--cni-bin-dir={BIN}", f"--cni-conf-dir={CONF}", *words])
    try:
        if ready:
            wait.until(lambda: node.api("/readyz"), "ready", detail=lambda: running.output)
        yield running
    finally:
        running.stop()


def names(node, directory):
    return sorted(node.run(["ls", "-A", directory]).stdout.split())


def is_ours(node, name):
    return node.run(["cmp", "-s", f"{BIN}/{name}", f"{node.lab.build}/tulle"], check=False).returncode == 0


def test_a_list_is_written_as_it_is(node):
    text = json.dumps(LIST, indent=3)
    put_conf(node, text)
    with agent(node):
        assert names(node, CONF) == ["10-tulle.conflist"]
        assert node.read(f"{CONF}/10-tulle.conflist") == text
        assert names(node, BIN) == ["flannel", "tulle"]
        assert is_ours(node, "tulle") and is_ours(node, "flannel")
        assert (node.root / BIN.lstrip("/") / "flannel").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("version", [None, "0.3.1", "1.0.0"])
def test_a_single_plugin_becomes_a_list(node, version):
    put_conf(node, dict(SINGLE, **({"cniVersion": version} if version else {})))
    with agent(node):
        written = json.loads(node.read(f"{CONF}/10-tulle.conflist"))
    plugin = {key: value for key, value in SINGLE.items() if key != "name"}
    assert written == dict({"name": "flannel", "plugins": [plugin]}, **({"cniVersion": version} if version else {}))
    assert is_ours(node, "flannel")


def test_a_pod_by_a_single_plugin(node):
    """From the ConfigMap to a pod, the way a runtime goes."""
    put_conf(node, dict(SINGLE, cniVersion="0.3.1"))
    node.run(["mkdir", "-p", "/run/saved"])
    node.run(["sh", "-c", "mv /etc/cni/net.d/* /run/saved/"])
    node.runtime.path.insert(0, BIN)
    try:
        with agent(node, "--cni-conf-dir=/etc/cni/net.d"):
            pod = node.pod_add("single")
            pod.ping(pod.ip)
            assert node.exists(f"/var/lib/cni/networks/flannel/{pod.ip}")
            pod.delete()
            assert not node.exists(f"/var/lib/cni/networks/flannel/{pod.ip}")
    finally:
        node.runtime.path.remove(BIN)
        node.run(["sh", "-c", "rm /etc/cni/net.d/*; mv /run/saved/* /etc/cni/net.d/"])


def test_without_a_configuration_ours_is_written(node):
    put_conf(node, LIST)
    node.run(["sh", "-c", """rm /var/lib/tulle/store/cm.json
        echo '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}' >/var/lib/tulle/store/net-conf.json"""])
    with agent(node):
        assert json.loads(node.read(f"{CONF}/10-tulle.conflist"))["plugins"][0]["type"] == "tulle"
        assert names(node, BIN) == ["tulle"]


def test_another_plugin_is_kept(node):
    node.write(f"{BIN}/flannel", OTHER, 0o755)
    put_conf(node, LIST)
    with agent(node):
        pass
    assert names(node, BIN) == ["flannel", "flannel.before-tulle", "tulle"]
    assert is_ours(node, "flannel") and node.read(f"{BIN}/flannel.before-tulle") == OTHER
    # a second start, and an older plugin of ours in its place: what was kept stays
    node.run(["sh", "-c", f"cp {node.lab.build}/tulle {BIN}/flannel; echo >>{BIN}/flannel"])
    with agent(node):
        pass
    assert is_ours(node, "flannel") and node.read(f"{BIN}/flannel.before-tulle") == OTHER
    # back, Flannel is upgraded, and forth again: the newer one is kept
    node.run(["mv", f"{BIN}/flannel.before-tulle", f"{BIN}/flannel"])
    node.write(f"{BIN}/flannel", OTHER + "# newer\n", 0o755)
    with agent(node):
        pass
    assert is_ours(node, "flannel") and node.read(f"{BIN}/flannel.before-tulle") == OTHER + "# newer\n"


def test_a_link_to_a_plugin_is_kept_as_a_link(node):
    """As distributions with one binary for all plugins have it."""
    node.write(f"{BIN}/cni", OTHER, 0o755)
    node.run(["ln", "-s", "cni", f"{BIN}/flannel"])
    put_conf(node, LIST)
    with agent(node):
        pass
    assert node.read(f"{BIN}/cni") == OTHER and is_ours(node, "flannel")
    assert node.run(["readlink", f"{BIN}/flannel.before-tulle"]).stdout.strip() == "cni"
    assert not node.run(["sh", "-c", f"test -L {BIN}/flannel"], check=False).returncode == 0


def test_the_configuration_follows_the_store(node):
    put_conf(node, dict(LIST, plugins=[{"type": "tulle"}]))
    with agent(node):
        assert names(node, BIN) == ["tulle"]
        put_conf(node, LIST)
        wait.until(lambda: json.loads(node.read(f"{CONF}/10-tulle.conflist")) == LIST, "the new one")
        assert is_ours(node, "flannel")  # before it is called
        node.run(["rm", f"{BIN}/flannel", f"{CONF}/10-tulle.conflist"])
        put_conf(node, dict(LIST, name="cbr1"))
        wait.until(lambda: json.loads(node.read(f"{CONF}/10-tulle.conflist"))["name"] == "cbr1", "written again")
        assert is_ours(node, "flannel")


@pytest.mark.parametrize("given", ["10-flannel.conf", "10-flannel.json", "10-flannel.conflist", "10-flannel"])
def test_old_files_of_ours_are_removed(node, given):
    node.write(f"{CONF}/10-flannel.conf", json.dumps(SINGLE))  # of Flannel's first manifests; it would come first
    node.write(f"{CONF}/10-flannel.json", json.dumps({"name": "mine", "type": "macvlan"}))
    node.write(f"{CONF}/10-tulle.conf", json.dumps(SINGLE))
    put_conf(node, LIST)
    with agent(node, f"--cni-conf-name={given}"):
        pass
    assert names(node, CONF) == ["10-flannel.conflist", "10-flannel.json", "10-tulle.conf"]


def test_a_bad_configuration_is_not_written(node):
    put_conf(node, dict(LIST, plugins=[{"type": "flannel", "delegate": {"type": "macvlan"}}]))
    with agent(node, ready=False) as running:
        wait.until(lambda: "macvlan" in node.api_status("/readyz")[1], "the reason", detail=lambda: running.output)
        assert names(node, CONF) == [] and names(node, BIN) == []
        put_conf(node, LIST)
        wait.until(lambda: node.api("/readyz"), "ready")
        assert is_ours(node, "flannel")


def test_a_directory_that_cannot_be_written(node):
    put_conf(node, LIST)
    with agent(node, "--cni-bin-dir=/proc/nowhere", ready=False):
        wait.until(lambda: "/proc/nowhere" in node.api_status("/readyz")[1], "the reason")
        assert names(node, CONF) == []
