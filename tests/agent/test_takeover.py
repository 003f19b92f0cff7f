# SPDX-License-Identifier: Apache-2.0
"""A node that ran Flannel becomes Tulle's, under its pods, and goes back. What flanneld and its plugin leave behind is
made here piece by piece (reference/flannel.md 4.1, 5.1, 8): a lease, the device, routes, rules, and pods that the same
delegates attached: Debian's bridge and host-local."""
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tullelab import wait
from tullelab.cni import Attachment
from tullelab.errors import CniError

MAC = "02:00:00:00:0f:01"
SUBNET = "10.244.77.0/24"
PREFIX = "/coreos.com/network"
FLANNEL = {"cniVersion": "0.3.1", "name": "cbr0", "plugins": [
    {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
    {"type": "portmap", "capabilities": {"portMappings": True}}]}
FLANNEL_1 = dict(FLANNEL, cniVersion="1.0.0")  # with CHECK
DELEGATE = {"cniVersion": "0.3.1", "name": "cbr0", "type": "bridge", "hairpinMode": True, "isDefaultGateway": True,
            "isGateway": True, "ipMasq": False, "mtu": 1450,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": SUBNET}]], "routes": [{"dst": "10.244.0.0/16"}]}}
RULES = """
iptables-nft -t nat -N FLANNEL-POSTRTG
iptables-nft -t nat -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
iptables-nft -t nat -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE
iptables-nft -N FLANNEL-FWD
iptables-nft -A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
iptables-nft -A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
nft add table ip flannel-ipv4
nft 'add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority 100; }'
"""


def become_flannel(lab, node):
    """What flanneld programs for its own lease and its peers."""
    value = {"PublicIP": node.ip, "PublicIPv6": None, "BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": MAC}}
    lab.store.ctl("put", f"{PREFIX}/subnets/{SUBNET.replace('/', '-')}", json.dumps(value, separators=(",", ":")))
    node.write("/run/flannel/subnet.env", "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.77.1/24\n"
               "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
    lines = [f"ip link add flannel.1 address {MAC} mtu 1450 type vxlan id 1 local {node.ip} dev eth0 dstport 8472 nolearning",
             "ip addr add 10.244.77.0/32 dev flannel.1", "ip link set flannel.1 up", "echo 1 > /proc/sys/net/ipv4/ip_forward",
             "ip route add 10.244.250.0/24 via 10.244.250.0 dev flannel.1 onlink"]  # of a node that is long gone
    node.run(["sh", "-ec", "\n".join(lines) + RULES])


def flannel_peer(node, key, value):
    subnet = key.replace("-", "/")
    first = subnet.split("/")[0]
    mac = value["BackendData"]["VtepMAC"]
    node.run(["sh", "-ec", f"ip neigh replace {first} lladdr {mac} dev flannel.1 nud permanent; "
              f"bridge fdb replace {mac} dev flannel.1 dst {value['PublicIP']} self permanent; "
              f"ip route replace {subnet} via {first} dev flannel.1 onlink"])


def flannel_pod(node, name):
    """As Flannel's plugin attaches: state file first, then the delegate."""
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(dict(FLANNEL, plugins=[DELEGATE, FLANNEL["plugins"][1]])))
    pod = node.pod_add(name)
    (node.root / "var/lib/cni/flannel").mkdir(mode=0o700, parents=True, exist_ok=True)
    node.write(f"/var/lib/cni/flannel/{pod.record['container_id']}", json.dumps(DELEGATE), 0o600)
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(FLANNEL))
    return pod


@pytest.fixture(scope="module")
def lab(built, make_lab):
    lab = make_lab(nodes=2, store="etcd", agents=False)
    one, two = lab.nodes
    become_flannel(lab, two)
    one.agent_start()
    key, value = next((k, v) for k, v in lab.store.leases().items() if v["PublicIP"] == one.ip)
    flannel_peer(two, key, value)
    two.run(["mkdir", "-p", "/run/bin"])
    two.run(["cp", f"{lab.build}/tulle", "/run/bin/flannel"])
    two.runtime.path.insert(0, "/run/bin")
    lab.a = one.pod_add("a")
    lab.old = [flannel_pod(two, f"old-{i}") for i in range(2)]
    wait.until(lambda: lab.a.ping(lab.old[0].ip, timeout=1), "the two worlds talk")
    return lab


def test_the_node_is_taken_over_under_its_pods(lab, eyes):
    two = lab.nodes[1]
    traffic = lab.old[0].spawn(["ping", "-n", "-i", "0.01", "-W", "1", lab.a.ip])
    traffic.wait_line("bytes from")
    two.agent_start(["--ip-masq"])
    look = eyes(two)
    wait.until(lambda: look.status()["peersSynced"], "peers")
    assert look.own_subnet() == SUBNET
    assert look.link()["address"] == MAC and look.status()["lease"]["vtepMAC"] == MAC
    wait.until(lambda: "FLANNEL" not in two.run(["iptables-nft-save"]).stdout
               and "flannel-ipv4" not in two.run(["nft", "list", "ruleset"]).stdout, "its rules are gone")
    wait.until(lambda: "10.244.250.0" not in two.run(["ip", "route"]).stdout, "its stale route is gone")
    traffic.stop(2)
    assert " 0% packet loss" in traffic.output, traffic.output[-300:]


def test_old_and_new_pods_reach_each_other(lab):
    two = lab.nodes[1]
    new = two.pod_add("new")
    assert new.ip not in {pod.ip for pod in lab.old}
    for old in lab.old:
        wait.until(lambda: old.ping(new.ip, timeout=1), "old to new")
        new.ping(old.ip)
        lab.a.ping(old.ip)
    lab.a.ping(new.ip)
    new.ping(lab.a.ip)


def test_an_old_pod_is_deleted_by_tulle(lab):
    two = lab.nodes[1]
    old = lab.old.pop()
    assert two.exists(f"/var/lib/cni/networks/cbr0/{old.ip}")
    old.delete()
    assert not two.exists(f"/var/lib/cni/networks/cbr0/{old.ip}")
    assert not two.exists(f"/var/lib/cni/flannel/{old.record['container_id']}")


def test_and_back_again(lab):
    """Flannel's delegates find Tulle's pods in their own files: no address twice, and their DEL undoes them."""
    two = lab.nodes[1]
    new = lab.pod("new")
    two.agent_stop()
    again = flannel_pod(two, "again")
    assert again.ip not in {new.ip, lab.old[0].ip}
    wait.until(lambda: again.ping(lab.a.ip, timeout=1), "the pod of Flannel's delegates talks")
    new.ping(lab.a.ip)
    state = json.loads(two.read(f"/var/lib/cni/flannel/{new.record['container_id']}"))
    assert state["type"] == "bridge"
    done = two.runtime.call_plugin("DEL", "bridge", json.dumps(state), new.attachment)
    assert done.returncode == 0, done.stdout
    assert not two.exists(f"/var/lib/cni/networks/cbr0/{new.ip}")
    assert "eth0" not in new.run(["ip", "-br", "link"]).stdout


@pytest.fixture(scope="module")
def back(built, make_lab):
    """One dual-stack node with Tulle under the name flannel."""
    lab = make_lab(nodes=1, family="dual")
    node = lab.nodes[0]
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(FLANNEL_1))
    node.run(["mkdir", "-p", "/run/bin"])
    node.run(["cp", f"{lab.build}/tulle", "/run/bin/flannel"])
    node.runtime.path.insert(0, "/run/bin")
    return lab


def state_path(pod):
    return f"/var/lib/cni/flannel/{pod.record['container_id']}"


def reserved(pod):
    """Its addresses that host-local's files give to it."""
    owner = f"{pod.record['container_id']}\r\neth0"
    paths = {ip: pod.node.root / f"var/lib/cni/networks/cbr0/{ip}" for ip in pod.ips}
    return [ip for ip, path in paths.items() if path.exists() and path.read_bytes().decode() == owner]


def delegate_del(pod):
    """What Flannel's plugin does on DEL (reference/flannel.md 8.4)."""
    node = pod.node
    done = node.runtime.call_plugin("DEL", "bridge", node.read(state_path(pod)), pod.attachment)
    assert done.returncode == 0, done.stdout + done.stderr
    node.run(["rm", state_path(pod)])


def listed(eyes, node):
    return {pod["containerID"] for pod in json.loads(eyes(node).ctl("-o", "json", "pods").stdout)["pods"]}


def test_files_of_both_families(back):
    node = back.nodes[0]
    pod = node.pod_add("files")
    assert len(pod.ips) == 2 and reserved(pod) == pod.ips
    mode = (node.root / state_path(pod).lstrip("/")).stat().st_mode & 0o777
    assert mode == 0o600
    state = json.loads(node.read(state_path(pod)))
    env = dict(line.split("=", 1) for line in node.read("/run/flannel/subnet.env").splitlines())
    assert state["name"] == "cbr0" and state["cniVersion"] == "1.0.0" and state["type"] == "bridge"
    assert state["hairpinMode"] and state["isDefaultGateway"] and state["isGateway"] and not state["ipMasq"]
    assert state["mtu"] == int(env["FLANNEL_MTU"]) == pod.mtu
    assert [r["dst"] for r in state["ipam"]["routes"]] == [env["FLANNEL_NETWORK"], env["FLANNEL_IPV6_NETWORK"]]
    assert [len(r) for r in state["ipam"]["ranges"]] == [1, 1]
    pod.check()
    pod.delete()
    assert not node.exists(state_path(pod)) and not reserved(pod)


def test_no_files_for_other_types(back):
    node = back.nodes[0]
    node.run(["mv", "/etc/cni/net.d/05-cbr0.conflist", "/etc/cni/net.d/05-cbr0.off"])
    try:
        pod = node.pod_add("plain")
        assert not node.exists(state_path(pod)) and not node.exists(f"/var/lib/cni/networks/tulle/{pod.ip}")
        pod.delete()
    finally:
        node.run(["mv", "/etc/cni/net.d/05-cbr0.off", "/etc/cni/net.d/05-cbr0.conflist"])


def test_a_failed_add_leaves_no_files(back):
    """An interface of that name stands in the way: found out when the files are written already."""
    node = back.nodes[0]
    attachment = Attachment("f" * 64, "/var/run/netns/taken")
    node.run(["sh", "-ec", "ip netns add taken; ip -n taken link add eth0 type bridge"])
    conf = dict(FLANNEL["plugins"][0], name="cbr0", cniVersion="1.0.0")
    done = node.runtime.call_plugin("ADD", "flannel", json.dumps(conf), attachment)
    node.run(["ip", "netns", "del", "taken"])
    assert done.returncode == 1 and json.loads(done.stdout)["code"] == 100
    assert_no_files(node)


def assert_no_files(node):
    assert node.run(["ls", "-A", "/var/lib/cni/flannel"]).stdout == ""
    assert not [name for name in node.run(["ls", "/var/lib/cni/networks/cbr0"]).stdout.split()
                if name != "lock" and not name.startswith("last_reserved_ip")]


def test_undone_while_tulle_is_away(back, eyes):
    node = back.nodes[0]
    gone, stays = node.pod_add("gone"), node.pod_add("stays")
    node.agent_kill()
    delegate_del(gone)
    assert not reserved(gone) and reserved(stays) == stays.ips
    node.agent_start()
    assert listed(eyes, node) == {stays.record["container_id"]}
    stays.check()
    gone.delete()  # the runtime's own, once more: nothing is left to do
    # the address is free again: it may be asked for once it has rested
    again = wait.until(lambda: try_add(node, "again", gone.ip_of(4)), "the address has rested", 15)
    assert again.ip_of(4) == gone.ip_of(4)
    for pod in (again, stays):
        pod.delete()
    assert listed(eyes, node) == set()


def try_add(node, name, ip):
    try:
        return node.pod_add(name, args=f"IP={ip}")
    except CniError as error:
        assert error.code == 11, error
        return None


def test_gc_takes_both_kinds(back, eyes):
    """Pods of Tulle and of Flannel's plugin that are not in the list: reservations and state files go."""
    node = back.nodes[0]
    ours, kept = node.pod_add("ours"), node.pod_add("kept")
    delegate = {k: v for k, v in json.loads(node.read(state_path(kept))).items() if k != "tulle"}
    theirs = flannel_pod_of(node, "theirs", delegate)
    valid = flannel_pod_of(node, "valid", delegate)
    # GC came with 1.1.0, which Debian's portmap does not know
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(dict(FLANNEL_1, cniVersion="1.1.0", plugins=FLANNEL["plugins"][:1])))
    node.runtime.gc([kept.attachment, valid.attachment])
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(FLANNEL_1))
    assert not reserved(ours) and not reserved(theirs)
    assert not node.exists(state_path(ours)) and not node.exists(state_path(theirs))
    assert reserved(kept) == kept.ips and reserved(valid) == valid.ips
    assert listed(eyes, node) == {kept.record["container_id"]}
    kept.ping(valid.ip)
    for pod in (ours, theirs, kept, valid):
        pod.delete()
    assert_no_files(node)


def flannel_pod_of(node, name, delegate):
    node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(dict(FLANNEL_1, plugins=[delegate])))
    try:
        pod = node.pod_add(name)
    finally:
        node.write("/etc/cni/net.d/05-cbr0.conflist", json.dumps(FLANNEL_1))
    node.write(state_path(pod), json.dumps(delegate), 0o600)
    return pod


def test_killed_at_random_points_it_leaves_no_files(back, eyes):
    node = back.nodes[0]
    for i in range(6):
        pods = []
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(add_or_none, node, f"k{i}-{n}") for n in range(4)]
            time.sleep(0.01 * i)  # no condition to wait for: the point of the kill is what varies
            node.agent_kill()
            pods = [job.result() for job in jobs]
        node.agent_start()
        for pod in filter(None, pods):
            assert reserved(pod) == pod.ips
            pod.check()
            pod.delete()
    node.agent_restart()
    assert listed(eyes, node) == set()
    assert_no_files(node)


def add_or_none(node, name):
    try:
        return node.pod_add(name)
    except CniError:
        return None


def test_cleanup_takes_the_files_too(back, eyes):
    node = back.nodes[0]
    ours, kept = node.pod_add("swept"), node.pod_add("flannels")
    state = {k: v for k, v in json.loads(node.read(state_path(kept))).items() if k != "tulle"}
    node.write(state_path(kept), json.dumps(state), 0o600)  # as if Flannel's plugin had written it
    node.run(["mount", "-t", "tmpfs", "none", "/opt"])  # the machine's otherwise
    try:
        node.run(["sh", "-ec", "mkdir -p /opt/cni/bin; cp $1 /opt/cni/bin/flannel; echo theirs >/opt/cni/bin/flannel.before-tulle", "sh", f"{node.lab.build}/tulle"])
        node.agent_stop()
        done = eyes(node).ctl("cleanup", "--yes")
        assert node.run(["ls", "/opt/cni/bin"]).stdout == "flannel\n" and node.read("/opt/cni/bin/flannel") == "theirs\n"
    finally:
        node.run(["umount", "/opt"])
    assert "restored /opt/cni/bin/flannel" in done.stdout
    assert not node.exists(state_path(ours)) and not reserved(ours)
    assert node.exists(state_path(kept)) and reserved(kept) == kept.ips
