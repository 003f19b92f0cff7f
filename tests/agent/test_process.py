# SPDX-License-Identifier: Apache-2.0
"""tulled as a process: exit status, help, health, metrics, systemd, files it cannot write."""
import re
import socket

import pytest
from tullelab import wait


@pytest.fixture(scope="module")
def lab(built, make_lab):
    return make_lab(nodes=1)


@pytest.fixture(scope="module")
def idle(built, make_lab):
    """A node without an agent."""
    return make_lab(nodes=1, agents=False)


def tulled(lab, *words, **options):
    node = lab.nodes[0]
    return node.run(["timeout", "10", f"{lab.build}/tulled", *words], check=False, timeout=15, **options)


def test_help_and_version(idle):
    done = tulled(idle, "--help")
    assert done.returncode == 0
    for flag in ("--etcd-endpoints", "--iface-regex", "--subnet-lease-renew-margin", "--ip-masq", "--store-dir", "--config"):
        assert flag in done.stdout
    assert tulled(idle, "--version").returncode == 0


@pytest.mark.parametrize("words, says", [
    (["--nonsense"], "no flag --nonsense"), (["--ip-masq", "true"], "unexpected word"), (["--store=tape"], "--store"),
    (["--subnet-lease-renew-margin=0"], "1 to 1439"), (["--healthz-ip=nowhere"], "--healthz-ip"),
    (["--kube-subnet-mgr", "--store=etcd"], "--kube-subnet-mgr asks for kubernetes"), (["--config=/nowhere.yaml"], "/nowhere.yaml"),
])
def test_usage_errors_exit_2(idle, words, says):
    done = tulled(idle, *words)
    assert done.returncode == 2 and says in done.stderr


@pytest.mark.parametrize("words, says", [
    (["--iface=nope"], 'no interface "nope"'), (["--iface-regex=("], "no regular expression"),
    (["--iface-regex=wlan"], "matches no interface"), (["--public-ip=203.0.113.200"], "no interface of this node"),
    (["--iface-can-reach=bad"], "no IP address"), (["--non-masquerade-cidr=10.0.0.0"], "no CIDR"),
    (["--run-dir=/proc/nowhere"], "/proc/nowhere"), (["--state-dir=/proc/nowhere"], "/proc/nowhere"),
    (["--healthz-ip=192.0.2.222", "--healthz-port=9999"], "cannot listen"),
])
def test_failed_starts_exit_1(idle, words, says):
    done = tulled(idle, "--store-dir=/var/lib/tulle/store", *words)
    assert done.returncode == 1 and says in done.stderr, done.stderr


def test_without_the_capability_it_says_so(idle):
    node = idle.nodes[0]
    done = node.run(["setpriv", "--reuid", "65534", "--clear-groups", f"{idle.build}/tulled", "--store-dir=/tmp/x"], check=False)
    assert done.returncode == 1 and "CAP_NET_ADMIN" in done.stderr


def test_clean_stop_exits_0(idle):
    node = idle.nodes[0]
    running = node.spawn([f"{idle.build}/tulled", "--store-dir=/var/lib/tulle/store", "--iface=eth0", "--healthz-port=8081"])
    wait.until(lambda: node.api("/readyz"), "ready")
    running.signal(15)
    assert running.wait(10) == 0


def test_environment_and_config_file(idle):
    node = idle.nodes[0]
    node.write("/run/tulled.yaml", "iface:\n  - nope\n  - eth0\nhealthz-port: 8081\nv: 1\n")
    running = node.spawn([f"{idle.build}/tulled", "--config=/run/tulled.yaml"],
                         env={"FLANNELD_IP_MASQ": "true", "FLANNELD_SUBNET_FILE": "/run/other.env", "FLANNELD_V": "nonsense"})
    wait.until(lambda: node.api("/readyz"), "ready")
    running.stop()
    assert "FLANNEL_IPMASQ=true" in node.read("/run/other.env")
    assert "environment: --v" in running.output


def test_unwritable_subnet_file_is_not_ready(idle, eyes):
    node = idle.nodes[0]
    running = node.spawn([f"{idle.build}/tulled", "--iface=eth0", "--healthz-port=8081", "--subnet-file=/proc/nowhere/subnet.env"])
    wait.until(lambda: "/proc/nowhere" in node.api_status("/readyz")[1], "the reason")
    assert node.api_status("/readyz")[0] == 503 and node.api_status("/healthz")[0] == 200
    running.stop()


def test_systemd_is_told(idle):
    node = idle.nodes[0]
    path = node.root / "run/notify.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(10)
    running = node.spawn([f"{idle.build}/tulled", "--iface=eth0"], env={"NOTIFY_SOCKET": "/run/notify.sock"})
    try:
        assert listener.recv(100) == b"READY=1"
    finally:
        running.stop()
        listener.close()


def test_plugin_and_configuration_are_installed_when_ready(idle):
    node = idle.nodes[0]
    running = node.spawn([f"{idle.build}/tulled", "--iface=eth0", "--cni-bin-dir=/run/cni-bin", "--cni-conf-dir=/run/cni-conf"])
    wait.until(lambda: node.exists("/run/cni-conf/10-tulle.conflist"), "the configuration")
    assert (node.root / "run/cni-bin/tulle").stat().st_mode & 0o777 == 0o755
    node.run(["/run/cni-bin/tulle"], env={"CNI_COMMAND": "VERSION"}, input='{"cniVersion":"1.0.0"}')
    running.stop()


def test_health_and_metrics(lab):
    node = lab.nodes[0]
    assert node.api("/healthz") == "tulled is running\n"
    assert node.api("/readyz") == "tulled is ready\n"
    assert node.api_status("/other")[0] == 404
    seen = set()
    for line in node.api("/metrics").splitlines():
        if line.startswith("# TYPE"):
            seen.add(line.split()[2])
        elif not line.startswith("#"):
            match = re.fullmatch(r'(tulle_\w+)(\{[^}]*\})? ([-+.\de]+)', line)
            assert match and match[1] in seen, line
    assert {"tulle_ready", "tulle_peers", "tulle_cni_requests_total", "tulle_addresses"} <= seen


def test_only_root_may_talk_to_it(lab):
    node = lab.nodes[0]
    for name in ("cni.sock", "ctl.sock"):
        assert (node.root / f"run/tulle/{name}").stat().st_mode & 0o077 == 0


def test_tables_and_json(lab, eyes):
    look = eyes(lab.nodes[0])
    lab.nodes[0].pod_add("seen")
    assert "Ready:      yes" in look.ctl("status").stdout
    assert "this node" in look.ctl("leases").stdout
    assert lab.pod("seen").ip in look.ctl("pods").stdout
    assert "BLOCK" in look.ctl("ipam", "show").stdout
    assert look.ctl("nonsense", check=False).returncode == 2
    assert look.ctl("status", "more", check=False).returncode == 2
    done = look.ctl("--socket", "/nowhere", "status", check=False)
    assert done.returncode == 1 and "is tulled running" in done.stderr
