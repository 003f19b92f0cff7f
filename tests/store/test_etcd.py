# SPDX-License-Identifier: Apache-2.0
"""The etcd store against real etcd (reference/flannel.md 3.3, 10.5)."""

import errno
import json
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import DEADLINE, PREFIX, wait_for

NETWORK = json.dumps({"Network": "10.3.0.0/16", "Backend": {"Type": "vxlan"}})
GOOD = '{"PublicIP":"192.0.2.%d","PublicIPv6":null}'


def value(n):
    return ('{"PublicIP":"192.0.2.%d","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:%02x"}}' % (n, n))


def test_two_nodes(etcd, probes):
    a, b = probes(1, etcd), probes(2, etcd)
    key_a, key_b = a.wait_acquired(), b.wait_acquired()
    a.wait_peers(key_b)
    b.wait_peers(key_a)
    # Byte for byte what flanneld writes, bound to an etcd lease.
    assert etcd.leases() == {key_a: value(1), key_b: value(2)}
    assert all(kv["lease"] for _, _, kv in etcd.read(f"{PREFIX}/subnets/", "--prefix"))
    assert [e["event"] for e in a.events][:3] == ["network", "acquired", "synced"] or a.count("synced")
    assert not a.stories and not b.stories
    # The same node again, in a hurry: same subnet, and its lease can be found before.
    a.stop(signal.SIGKILL)
    a = probes(1, etcd, acquire=False)
    a.wait("network")
    a.tell("find 192.0.2.1")
    a.wait("found")
    found = next(e for e in a.events if e["event"] == "found")["lease"]
    assert (found["key"], found["mac"]) == (key_a, "02:00:00:00:00:01")
    a.acquire()
    assert a.wait_acquired() == key_a
    assert b.count("gone") == 0
    # A node that leaves is told when its key goes.
    etcd.delete(f"subnets/{key_a}")
    wait_for("the deletion", lambda: b.count("gone") == 1)
    a.wait("lost")
    assert a.wait_acquired(2) == key_a
    b.wait_peers(key_a)


def test_find_none_and_previous_subnet(etcd, probes):
    a = probes(1, etcd, acquire=False)
    a.wait("network")
    a.tell("find 192.0.2.1")
    a.wait("found")
    assert a.events[-1]["lease"] is None
    a.acquire("10.3.77.0/24")
    assert a.wait_acquired() == "10.3.77.0-24"


def test_config_is_awaited_and_mended(cluster, probes):
    etcd = cluster()
    a = probes(1, etcd, acquire=False)
    a.wait_story(f"{PREFIX}/config", "there is no network configuration")
    etcd.put("config", '{"Network": "10.300.0.0/16"}')
    a.wait_story(f"{PREFIX}/config", "10.300.0.0/16")
    etcd.put("config", NETWORK)
    a.wait("network")
    a.acquire()
    key = a.wait_acquired()
    wait_for("the end of the story", lambda: not a.stories)
    etcd.put("config", "{")
    a.wait_story(f"{PREFIX}/config")
    etcd.delete("config")
    a.wait_story(f"{PREFIX}/config", "gone")
    assert a.count("network") == 1 and a.count("lost") == 0 and key in etcd.leases()
    etcd.put("config", json.dumps({"Network": "10.9.0.0/16", "SubnetLen": 26}))
    a.wait("network", 2)
    assert re.fullmatch(r"10\.9\.\d+\.\d+-26", a.wait_acquired(2))
    assert list(etcd.leases()) == [a.own["key"]]


def test_foreign_keys_hurt_nobody(etcd, probes):
    a, b = probes(1, etcd), probes(2, etcd)
    key_b = b.wait_acquired()
    a.wait_acquired()
    a.wait_peers(key_b)
    for key in ("rubbish", "10.12.13.0-24hi", "deeper/10.3.250.0-24", "10.3.251.0-24"):
        etcd.put(f"subnets/{key}", "no JSON")
    etcd.put("subnets-foo", "beside the prefix")
    for key in ("rubbish", "10.12.13.0-24hi", "deeper/10.3.250.0-24", "10.3.251.0-24"):
        a.wait_story(key)
    b.stop(signal.SIGKILL)
    etcd.put(f"subnets/{key_b}", '{"PublicIP":')  # a known peer turns bad: it stays
    a.wait_story(key_b)
    a.wait_peers(key_b)
    assert a.count("gone") == 0 and a.count("lost") == 0
    etcd.put(f"subnets/{key_b}", GOOD % 2)
    etcd.delete("subnets/rubbish")
    wait_for("the end of two stories", lambda: key_b not in a.stories and "rubbish" not in a.stories)
    wait_for("the change", lambda: a.peers[key_b]["backend"] == "")
    # A node that starts amid the rubbish lives, too.
    c = probes(3, etcd)
    c.wait_acquired()
    c.wait_peers(key_b, a.own["key"])


def test_the_dead_expire_and_the_living_renew(etcd, probes):
    a, b = probes(1, etcd, 5, 4), probes(2, etcd, 5, 2)
    key_a, key_b = a.wait_acquired(), b.wait_acquired()
    a.wait_peers(key_b)
    first = etcd.read(f"{PREFIX}/subnets/{key_a}")[0][2]
    b.stop(signal.SIGKILL)
    a.wait_peers()  # by then the survivor has renewed more than once
    now = etcd.read(f"{PREFIX}/subnets/{key_a}")[0][2]
    assert now["lease"] != first["lease"] and now["version"] > 1
    assert now["create_revision"] == first["create_revision"]
    assert a.count("lost") == 0 and a.count("acquired") == 1
    assert etcd.leases() == {key_a: value(1)}


def test_reservations_hold(etcd, probes):
    etcd.put("subnets/10.3.200.0-24", GOOD % 1)
    a, b = probes(1, etcd, 3, 2), probes(2, etcd)
    assert a.wait_acquired() == "10.3.200.0-24"
    assert a.own["expires"] == 0
    b.wait_acquired()
    wait_for("our data in the reservation", lambda: etcd.get("subnets/10.3.200.0-24") == value(1))
    assert "lease" not in etcd.read(f"{PREFIX}/subnets/10.3.200.0-24")[0][2]
    # An ordinary lease that the administrator turns into a reservation while we run.
    key = b.own["key"]
    etcd.put(f"subnets/{key}", GOOD % 2)
    wait_for("our data again", lambda: etcd.get(f"subnets/{key}") == value(2))
    assert "lease" not in etcd.read(f"{PREFIX}/subnets/{key}")[0][2]
    assert b.count("lost") == 0


def test_a_lease_taken_by_another_is_not_overwritten(etcd, probes):
    a = probes(1, etcd)
    key = a.wait_acquired()
    etcd.put(f"subnets/{key}", GOOD % 99)
    a.wait("lost")
    assert a.wait_acquired(2) != key
    assert etcd.get(f"subnets/{key}") == GOOD % 99
    a.wait_peers(key)


def test_many_race_for_few(etcd, probes):
    etcd.put("config", json.dumps({"Network": "10.3.0.0/19", "SubnetMax": "10.3.11.0", "SubnetLen": 24}))
    nodes = [probes(n, etcd, acquire=False) for n in range(1, 11)]
    for node in nodes:
        node.wait("network")
    for node in nodes:
        node.acquire()
    keys = [node.wait_acquired() for node in nodes]
    assert len(set(keys)) == 10
    for node in nodes:
        node.wait_peers(*(set(keys) - {node.own["key"]}))


def test_overlap_of_another_length_is_withdrawn(etcd, probes):
    etcd.put("config", json.dumps({"Network": "10.3.0.0/22", "SubnetLen": 24}))
    etcd.put("subnets/10.3.2.0-23", GOOD % 50)  # covers two of the three blocks
    a, b = probes(1, etcd), probes(2, etcd)
    wait_for("one of them", lambda: a.count("acquired") + b.count("acquired") == 1)
    have, lack = (a, b) if a.count("acquired") else (b, a)
    assert have.own["key"] == "10.3.1.0-24"
    lack.wait_story("", "out of subnets")
    etcd.delete("subnets/10.3.2.0-23")
    assert lack.wait_acquired() in ("10.3.2.0-24", "10.3.3.0-24")


def write(probe, line):
    """One write of the transport itself; returns its result."""
    before = probe.count("done")
    probe.tell(line)
    probe.wait("done", before + 1)
    return [e for e in probe.events if e["event"] == "done"][-1]


def etcd_leases(etcd):
    return json.loads(etcd.ctl("lease", "list", "-w", "json").stdout).get("leases") or []


def test_guards_of_the_transport(etcd, probes):
    """What the manager relies on when its table is behind."""
    a = probes(1, etcd, acquire=False)
    a.wait("network")
    etcd.put("subnets/10.3.2.0-24&fd00:3:0:2::-64", GOOD % 50)
    # The same IPv4 block under another name, and a part of it: the creation is withdrawn without a trace.
    for key in ("10.3.2.0-24", "10.3.2.128-25", "10.3.0.0-20", "10.3.9.0-24&fd00:3:0:2::-64"):
        assert write(a, f"create {key} 60")["rc"] == -errno.EEXIST, key
    assert len(etcd.leases()) == 1 and not etcd_leases(etcd)
    assert write(a, "create 10.3.9.0-24&fd00:3:0:3::-64 60")["rc"] == 0
    assert write(a, "create 10.3.9.0-24&fd00:3:0:3::-64 60")["rc"] == -errno.EEXIST
    done = write(a, "create 10.3.10.0-24 60")
    assert done["rc"] == 0 and len(etcd_leases(etcd)) == 2
    # A key that changed, or is gone, is not written and not deleted.
    etcd.put("subnets/10.3.10.0-24", GOOD % 51)
    assert write(a, f"replace 10.3.10.0-24 {done['revision']}")["rc"] == -errno.ESTALE
    assert write(a, f"remove 10.3.10.0-24 {done['revision']}")["rc"] == -errno.ESTALE
    assert write(a, f"replace 10.3.11.0-24 {done['revision']}")["rc"] == -errno.ESTALE
    assert etcd.get("subnets/10.3.10.0-24") == GOOD % 51
    assert len(etcd_leases(etcd)) == 2 and len(etcd.leases()) == 3
    revision = etcd.read(f"{PREFIX}/subnets/10.3.10.0-24")[0][2]["mod_revision"]
    assert write(a, f"remove 10.3.10.0-24 {revision}")["rc"] == 0
    assert len(etcd.leases()) == 2


def test_ipv6_only_and_dual_stack(etcd, probes):
    etcd.put("config", json.dumps({"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00:3::/48"}))
    a, b = probes(1, etcd, acquire=False), probes(2, etcd, acquire=False)
    for node, ip in ((a, "2001:db8::1"), (b, "2001:db8::2")):
        node.wait("network")
        node.tell(f"acquire {ip} {node.mac}")
    key_a, key_b = a.wait_acquired(), b.wait_acquired()
    assert key_a != key_b and key_a.startswith("0.0.0.0-0&fd00:3:0:")
    a.wait_peers(key_b)
    b.wait_peers(key_a)
    assert a.peers[key_b]["ip6"] == "2001:db8::2"
    assert '"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::1"' in etcd.get(f"subnets/{key_a}")


def test_compaction_under_the_watch(etcd, probes):
    a, b = probes(1, etcd), probes(2, etcd)
    key_b = b.wait_acquired()
    a.wait_acquired()
    a.wait_peers(key_b)
    etcd.put("subnets/10.3.250.0-24", GOOD % 50)
    etcd.put("subnets/10.3.251.0-24", GOOD % 51)
    wait_for("four", lambda: len(a.peers) == 3)
    # While the node sleeps the connection is cut and what happened is compacted away.
    a.process.send_signal(signal.SIGSTOP)
    etcd.delete("subnets/10.3.250.0-24")
    etcd.put("subnets/10.3.251.0-24", value(51))
    etcd.put("subnets/10.3.252.0-24", GOOD % 52)
    etcd.ctl("compact", str(etcd.revision()))
    etcd.members[0].stop()
    a.process.send_signal(signal.SIGCONT)
    etcd.members[0].start(etcd.cluster)
    etcd.wait()
    wait_for("the difference", lambda: set(a.peers) == {key_b, "10.3.251.0-24", "10.3.252.0-24"})
    wait_for("the changed peer", lambda: a.peers["10.3.251.0-24"]["backend"] == "vxlan")
    assert a.count("lost") == 0 and b.count("lost") == 0
    etcd.put("subnets/10.3.253.0-24", GOOD % 53)  # and live events follow
    wait_for("a live event", lambda: "10.3.253.0-24" in a.peers and "10.3.253.0-24" in b.peers)


def test_own_deletion_hidden_by_compaction(etcd, probes):
    a = probes(1, etcd)
    key = a.wait_acquired()
    a.process.send_signal(signal.SIGSTOP)
    etcd.delete(f"subnets/{key}")
    etcd.ctl("compact", str(etcd.revision()))
    etcd.members[0].stop()
    a.process.send_signal(signal.SIGCONT)
    etcd.members[0].start(etcd.cluster)
    etcd.wait()
    a.wait("lost")
    assert a.wait_acquired(2) == key
    assert etcd.leases() == {key: value(1)}


def test_restart_of_etcd(etcd, probes):
    a = probes(1, etcd)
    key = a.wait_acquired()
    etcd.members[0].stop()
    a.wait_story("etcd (leases)")
    etcd.members[0].start(etcd.cluster)
    etcd.wait()
    b = probes(2, etcd)
    a.wait_peers(b.wait_acquired())
    wait_for("the end of the stories", lambda: not a.stories)
    assert a.count("lost") == 0 and a.own["key"] == key
    assert a.count("problem") <= 4  # told once, ended once, for each watch


def test_a_store_that_lost_its_data(etcd, probes):
    """Restored from a backup, or begun anew: its revisions are behind what was seen."""
    for n in range(60, 80):
        etcd.put(f"subnets/10.3.{n}.0-24", GOOD % n)
    a = probes(1, etcd)
    key = a.wait_acquired()
    wait_for("all of them", lambda: len(a.peers) == 20)
    etcd.members[0].stop()
    shutil.rmtree(f"{etcd.members[0].directory}/m0")
    etcd.members[0].start(etcd.cluster)
    etcd.wait()
    etcd.put("config", NETWORK)
    a.wait("lost")
    assert a.wait_acquired(2) == key
    a.wait_peers()
    etcd.put("subnets/10.3.90.0-24", GOOD % 90)
    a.wait_peers("10.3.90.0-24")


def test_a_store_that_starts_late(cluster, probes):
    etcd = cluster()
    etcd.put("config", NETWORK)
    etcd.members[0].stop()
    a = probes(1, etcd, acquire=False)
    a.wait_story("etcd (configuration)")
    etcd.members[0].start(etcd.cluster)
    a.wait("network")
    a.acquire()
    a.wait_acquired()


def test_two_of_three_members_lost_and_back(cluster, probes):
    etcd = cluster(3)
    etcd.put("config", NETWORK)
    a, b = probes(1, etcd, 600, 300), probes(2, etcd, 600, 300)
    lone = probes(5, etcd, 600, 300, endpoints=etcd.members[2].url)  # knows only the survivor
    keys = {a.wait_acquired(), b.wait_acquired(), lone.wait_acquired()}
    for member in etcd.members[:2]:
        member.stop()
    # The survivor has no leader: it ends its watches and refuses new ones, and each node notices.
    wait_for("stories", lambda: a.stories and b.stories and lone.stories)
    c = probes(3, etcd, acquire=False)  # cannot get anything now
    for member in etcd.members[:2]:
        member.start(etcd.cluster)
    etcd.wait()
    c.wait("network")
    c.acquire()
    key_c = c.wait_acquired()
    a.wait_peers(key_c, b.own["key"], lone.own["key"])
    b.wait_peers(key_c, a.own["key"], lone.own["key"])
    assert set(etcd.leases()) == keys | {key_c}
    assert sum(n.count("lost") + n.count("gone") for n in (a, b, c, lone)) == 0
    # One member for good: everybody finds the others.
    etcd.members[2].stop()
    d = probes(4, etcd)
    key_d = d.wait_acquired()
    for node in (a, b, c):
        wait_for("the newcomer", lambda: key_d in node.peers)


def test_a_silent_endpoint_is_left(etcd, probes):
    """An endpoint that takes connections and never answers."""
    import socket
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        both = f"http://127.0.0.1:{deaf.getsockname()[1]},{etcd.endpoints}"
        nodes = [probes(n, etcd, acquire=False, endpoints=both) for n in (1, 2, 3, 4)]
        for node in nodes:
            node.wait("network")
            node.acquire()
        for node in nodes:
            node.wait_acquired()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=path, check=True, capture_output=True)

    def signed(name, subject, extra):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        (path / "ext").write_text(extra)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")

    for name in ("ca", "foreign"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}", "-days", "2")
    signed("server", "/CN=etcd", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth")
    signed("client", "/CN=flannel", "extendedKeyUsage=clientAuth")
    return path


def tls_options(path):
    return f"ca={path}/ca.pem", f"cert={path}/client.pem", f"key={path}/client.key"


def test_tls_with_client_certificates(cluster, probes, certificates):
    etcd = cluster(tls=certificates)
    etcd.put("config", NETWORK)
    options = tls_options(certificates)
    a, b = probes(1, etcd, 60, 30, *options), probes(2, etcd, 60, 30, *options)
    key_a, key_b = a.wait_acquired(), b.wait_acquired()
    a.wait_peers(key_b)
    b.wait_peers(key_a)
    etcd.delete(f"subnets/{key_a}")
    assert a.wait_acquired(2) == key_a
    for n in range(60, 90):
        etcd.put(f"subnets/10.3.{n}.0-24", GOOD % n)
    wait_for("all of them", lambda: len(b.peers) >= 30)
    # Without a certificate, and with a CA that did not sign the server's: told, not crashed.
    probes(3, etcd, 60, 30, options[0], acquire=False).wait_story("etcd (configuration)")
    stranger = probes(4, etcd, 60, 30, f"ca={certificates}/foreign.pem", *options[1:], acquire=False)
    stranger.wait_story("etcd (configuration)", "certificate")


def enable_auth(etcd):
    etcd.ctl("user", "add", "root:secret")
    etcd.ctl("user", "grant-role", "root", "root", check=False)
    etcd.ctl("role", "add", "flannel")
    etcd.ctl("role", "grant-permission", "flannel", "readwrite", f"{PREFIX}/", "--prefix=true")
    etcd.ctl("user", "add", "flannel:pw")
    etcd.ctl("user", "grant-role", "flannel", "flannel")
    etcd.ctl("auth", "enable")
    etcd.user = "root:secret"


def test_user_authentication(etcd, probes):
    login = ("user=flannel", "password=pw")
    early = probes(9, etcd, 60, 30, *login)  # the cluster does not ask yet
    early.wait_acquired()
    enable_auth(etcd)
    a, b = probes(1, etcd, 60, 30, *login), probes(2, etcd, 60, 30, *login)
    key_a, key_b = a.wait_acquired(), b.wait_acquired()
    a.wait_peers(key_b, early.own["key"])
    # A restart forgets the tokens: they are asked for again.
    etcd.members[0].stop()
    etcd.members[0].start(etcd.cluster)
    etcd.wait()
    etcd.delete(f"subnets/{key_b}")
    assert b.wait_acquired(2) == key_b
    assert a.own["key"] == key_a
    # A wrong password, and none at all.
    probes(3, etcd, 60, 30, login[0], "password=no", acquire=False).wait_story("etcd (configuration)",
                                                                              "authentication failed")
    probes(4, etcd, acquire=False).wait_story("etcd (configuration)", "user name is empty")
    # Another prefix is not theirs.
    probes(5, etcd, 60, 30, *login, acquire=False, prefix="/other").wait_story("etcd (configuration)",
                                                                               "permission denied")


def test_certificate_name_as_user(cluster, probes, certificates):
    etcd = cluster(tls=certificates)
    etcd.put("config", NETWORK)
    enable_auth(etcd)
    a = probes(1, etcd, 60, 30, *tls_options(certificates))  # CN=flannel
    etcd.ctl("user", "list")
    a.wait_acquired()


def test_five_thousand_leases(etcd, probes):
    """More than one page; memory stays small."""
    etcd.put("config", json.dumps({"Network": "10.0.0.0/8", "SubnetLen": 26}))
    keys = [f"10.{64 + n // 1024}.{n // 4 % 256}.{n % 4 * 64}-26" for n in range(5000)]
    for at in range(0, 5000, 100):
        lines = "".join(f"put {PREFIX}/subnets/{key} {json.dumps(value(7))}\n" for key in keys[at:at + 100])
        subprocess.run(["etcdctl", "--endpoints", etcd.endpoints, "txn"], input=f"\n{lines}\n\n", text=True,
                       check=True, capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin"})
    a = probes(1, etcd)
    a.wait_acquired()
    wait_for("all of them", lambda: len(a.peers) == 5000)
    assert a.count("synced") == 1
    etcd.delete(f"subnets/{keys[17]}")
    wait_for("one less", lambda: len(a.peers) == 4999)


@pytest.mark.parametrize("arguments, part", [
    (("etcd", "ftp://127.0.0.1:1", PREFIX, "60", "30"), "ftp://127.0.0.1:1"),
    (("etcd", " , ", PREFIX, "60", "30"), "expected a URL"),
    (("etcd", "https://127.0.0.1:1", PREFIX, "60", "30", "key=/k"), "both or none"),
    (("etcd", "http://127.0.0.1:1", "", "60", "30"), "prefix"),
])
def test_bad_options(arguments, part):
    import os
    done = subprocess.run([os.environ["STORE_PROBE"], *arguments], capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1
    assert part in json.loads(done.stdout)["text"]
