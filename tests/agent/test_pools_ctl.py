# SPDX-License-Identifier: Apache-2.0
"""tullectl ipam: show, check and release, on a directory, on etcd, and where the store speaks Flannel."""
import ipaddress
import json
import pathlib
import re

import pytest
from test_pools import POOL4, calico, manifest, objects, pool, taken  # noqa: F401 (calico is a fixture)
from tullelab import wait


def owned(lab) -> set:
    """Addresses that the store shows as a pod's, not as a batch's."""
    return {ip for ip, handle in taken(lab).items() if not handle.startswith("tulle-reserved-")}


class Ipam:
    """tullectl ipam on one node."""

    def __init__(self, eyes, node):
        self.ctl, self.lab = eyes(node).ctl, node.lab

    def __call__(self, *words):
        return self.ctl("ipam", *words, check=False)

    def json(self, *words):
        return json.loads(self.ctl("-o", "json", "ipam", *words, check=False).stdout)

    def problems(self) -> set:
        return {(each["kind"], each["object"]) for each in self.json("check")["problems"]}

    def wait_clean(self):
        """What is written behind is there, by the other nodes too, and nothing is wrong."""
        if hasattr(self.lab.store, "path") and objects(self.lab, "ipamblocks"):
            wait.until(lambda: all(ip in owned(self.lab) for pod in self.lab.pods.values() for ip in pod.ips), "owners are written", 20,
                       detail=lambda: str(taken(self.lab)))
        wait.until(lambda: self("check").returncode == 0, "nothing is wrong", 20, detail=lambda: self("check").stdout)


@pytest.fixture
def ipam(eyes):
    return lambda node: Ipam(eyes, node)


def path_of(lab, plural, name):
    return pathlib.Path(lab.store.path, "objects", plural, f"{name}.json")


def change(lab, plural, name, by):
    """Somebody edits an object: by(spec)."""
    found = json.loads(path_of(lab, plural, name).read_text())
    by(found["spec"])
    lab.store.put(f"objects/{plural}/{name}.json", json.dumps(found))


def block_of(lab, ip) -> dict:
    return next(each for each in objects(lab, "ipamblocks") if ipaddress.ip_address(ip) in ipaddress.ip_network(each["spec"]["cidr"]))


def give_away(lab, ip, handle, **attributes):
    """An address that somebody who has no pod has taken."""
    block = block_of(lab, ip)
    ordinal = int(ipaddress.ip_address(ip)) - int(ipaddress.ip_network(block["spec"]["cidr"])[0])

    def take(spec):
        assert spec["allocations"][ordinal] is None
        spec["allocations"][ordinal] = len(spec["attributes"])
        spec["attributes"].append({"handle_id": handle, "secondary": attributes})
        spec["unallocated"].remove(ordinal)
        spec["sequenceNumber"] += 1
        spec["sequenceNumberForAllocation"][str(ordinal)] = spec["sequenceNumber"]
    change(lab, "ipamblocks", block["metadata"]["name"], take)
    lab.store.put(f"objects/ipamhandles/{handle}.json", json.dumps({
        "apiVersion": "projectcalico.org/v3", "kind": "IPAMHandle", "metadata": {"name": handle},
        "spec": {"handleID": handle, "block": {block["spec"]["cidr"]: 1}, "deleted": False}}))


def free_ip(lab, ip) -> str:
    """The last free address of the block that has this one."""
    spec = block_of(lab, ip)["spec"]
    return str(ipaddress.ip_network(spec["cidr"])[max(spec["unallocated"])])


def test_show(calico, ipam):  # noqa: F811
    lab = calico(pool(vxlanMode="Always"), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    ask = ipam(one)
    ask.wait_clean()
    shown = ask("show").stdout.splitlines()
    assert re.split(r"  +", shown[0].strip()) == ["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE", "BATCH", "RESTING", "BORROWED", "AFFINITY"]
    assert re.match(rf"IP Pool +{re.escape(POOL4)} +65536 +\d+ \(0%\) +\d+ \(100%\) ", shown[1]) and len(shown) == 2
    found = ask.json("show", "--show-blocks")
    row, = found["pools"]
    assert row["used"] == len(taken(lab)) == sum(each["used"] for each in found["blocks"])
    assert row["used"] + row["free"] + row["resting"] == row["total"] == 65536
    assert {each["affinity"] for each in found["blocks"]} == {"host:node-1", "host:node-2"}
    assert all(each["used"] + each["free"] + each["resting"] == each["total"] == 64 and not each["borrowed"] for each in found["blocks"])
    table = ask("show", "--show-blocks").stdout
    assert len(re.findall(r"^Block +10\.244\.[0-9./]+ .* host:node-[12]$", table, re.M)) == 2, table
    # Somebody's, nobody's, and one of no pool.
    said = ask("show", f"--ip={b.ip}").stdout.splitlines()
    assert said[0] == f"IP {b.ip} is in use" and "  node: node-2" in said and f"Handle: {taken(lab)[b.ip]}" in said
    assert ask.json("show", "--ip", a.ip)["attributes"]["node"] == "node-1"
    assert ask("show", f"--ip={free_ip(lab, a.ip)}").stdout.splitlines()[0].endswith(" is not assigned")
    assert ask("show", "--ip=192.0.2.9").stdout == "IP 192.0.2.9 is in no pool\n"


def test_ipv6(calico, ipam):  # noqa: F811
    """More addresses than a number can say."""
    node, = calico(pool(), pool("pool6", "fd00:10:244::/64", vxlanMode="Always"), nodes=1, family="dual").nodes
    a = node.pod_add("a")
    ask = ipam(node)
    ask.wait_clean()
    shown = ask("show").stdout
    assert re.search(r"^IP Pool +fd00:10:244::/64 +over 10\^15 +\d+ \(0%\) +over 10\^15 \(100%\) ", shown, re.M), shown
    assert ask("show", f"--ip={a.ip_of(6)}").stdout.startswith(f"IP {a.ip_of(6)} is in use\nPool: pool6\nBlock: fd00:10:244:")


def test_wrong_usage(calico, ipam):  # noqa: F811
    ask = ipam(calico(pool(), nodes=1).nodes[0])
    for words, said in ((["show", "--ip=10.244.0.0/26"], '--ip: the value is "10.244.0.0/26", expected'),
                        (["show", "--ip=10.244.0.1", "--show-blocks"], "expected one of --ip and --show-blocks"),
                        (["show", "--force"], '"--force" is none of its flags'), (["check", "all"], '"all" is none'),
                        (["release"], "either --ip=ADDRESS or --handle=HANDLE"), (["release", "--ip=10.244.0.1", "--handle=x"], "either"),
                        (["release", "--handle="], '--handle: the value is ""'), (["release", "--ip=::1", "--force=1"], "takes no value"), ([], "usage:")):
        done = ask(*words)
        assert done.returncode == 2 and said in done.stderr, (words, done.stderr)


def test_check_finds_what_somebody_damaged(calico, ipam):  # noqa: F811
    lab = calico(pool(vxlanMode="Always"), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    ask = ipam(one)
    ask.wait_clean()
    assert re.match(r"2 blocks, 2 affinities, \d+ handles, \d+ addresses in use, 2 nodes, 1 pods here: 0 problems$", ask("check").stdout.strip())
    mine, other = block_of(lab, a.ip)["metadata"]["name"], block_of(lab, b.ip)
    leaked, kept = free_ip(lab, a.ip), taken(lab)[a.ip]
    give_away(lab, leaked, "net.gone", node="node-1", namespace="shop", pod="gone", timestamp="2026-11-23 10:00:00 +0000 UTC")
    change(lab, "ipamhandles", kept, lambda spec: spec["block"].update({block_of(lab, a.ip)["spec"]["cidr"]: 5}))
    lab.store.put("objects/blockaffinities/stray.json", json.dumps({
        "apiVersion": "projectcalico.org/v3", "kind": "BlockAffinity", "metadata": {"name": "stray"},
        "spec": {"cidr": "10.244.99.0/26", "node": "node-9", "state": "confirmed", "deleted": "false", "type": "host"}}))
    expected = {("leaked", leaked), ("handle-count", f"IPAMHandle {kept}"), ("affinity-without-block", "BlockAffinity stray")}
    # the other node may still be writing down whose its address is
    wait.until(lambda: ask.problems() == expected, "what was damaged is found, and nothing else", 15, detail=lambda: str(ask.problems()))
    done = ask("check")
    assert done.returncode == 1 and "3 problems" in done.stdout and "pod shop/gone of node node-1" not in done.stderr
    assert re.search(rf"^leaked +{re.escape(leaked)} +pod shop/gone is not attached to this node; handle net\.gone$", done.stdout, re.M), done.stdout
    # Another node's pods are not this one's to judge; a block that contradicts itself is named and says no more.
    change(lab, "ipamblocks", other["metadata"]["name"], lambda spec: spec["unallocated"].pop())
    wait.until(lambda: ("block-damaged", f"IPAMBlock {other['metadata']['name']}") in ask.problems(), "the damaged block", 15)
    assert {kind for kind, thing in ask.problems()} == {"leaked", "handle-count", "affinity-without-block", "block-damaged"} and mine


def test_release(calico, ipam):  # noqa: F811
    lab = calico(pool(vxlanMode="Always"), nodes=2)
    one, two = lab.nodes
    a, b = one.pod_add("a"), two.pod_add("b")
    ask = ipam(one)
    ask.wait_clean()
    tunnel = next(ip for ip, handle in taken(lab).items() if handle == "vxlan-tunnel-addr-node-1")
    # What lives is refused: pods of either node, a tunnel, the batch.
    batch = [ip for ip, handle in taken(lab).items() if handle.startswith("tulle-reserved-")]
    for ip in (a.ip, b.ip, tunnel, *batch[:1]):
        done = ask("release", f"--ip={ip}")
        assert done.returncode == 1 and f"{ip} belongs to " in done.stderr and "--force" in done.stderr, done.stderr
    assert ask("release", f"--handle={taken(lab)[b.ip]}").returncode == 1
    assert {a.ip, b.ip, tunnel} <= set(taken(lab))
    # A leak goes, by its address or by its handle in small letters.
    leaked = free_ip(lab, a.ip)
    give_away(lab, leaked, "net.gone", node="node-1", namespace="shop", pod="gone")
    done = ask("release", f"--ip={leaked}")
    assert done.returncode == 0 and done.stdout == f"released {leaked}: pod shop/gone of node node-1, handle net.gone\n", done
    assert leaked not in taken(lab) and not path_of(lab, "ipamhandles", "net.gone").exists()
    assert ask("release", f"--ip={leaked}").stdout == f"{leaked}: nobody has it; nothing was done\n"
    give_away(lab, leaked, "net.gone", node="node-1", namespace="shop", pod="gone")
    change(lab, "ipamhandles", "net.gone", lambda spec: spec["block"].update({block_of(lab, a.ip)["spec"]["cidr"]: 7}))
    done = ask("release", "--handle", "NET.gone")
    assert done.returncode == 0 and leaked in done.stdout and "removed handle" in done.stdout, done
    assert leaked not in taken(lab) and not path_of(lab, "ipamhandles", "net.gone").exists()
    missing = ask("release", "--handle=net.gone")
    assert missing.returncode == 1 and 'there is no handle "net.gone"' in missing.stderr
    # By force anything goes, here another node's pod: IPAM says so afterwards.
    assert ask("release", f"--ip={b.ip}", "--force").returncode == 0
    ask.wait_clean()


def test_blocks_of_another_size_than_their_pool_has_now(calico, ipam):  # noqa: F811
    lab = calico(pool(), nodes=1)
    node, = lab.nodes
    a = node.pod_add("a")
    ask = ipam(node)
    ask.wait_clean()
    leaked = free_ip(lab, a.ip)
    give_away(lab, leaked, "net.gone", node="node-1", namespace="shop", pod="gone")
    lab.store.put("pool-0.yaml", pool(blockSize=28))
    b = wait.until(lambda: node.pod_add("b"), "another pod", 1)
    wait.until(lambda: ask("show", f"--ip={a.ip}").stdout.startswith(f"IP {a.ip} is in use\n"), "the first one's block", 5)
    assert ask("show", f"--ip={b.ip}").stdout.startswith(f"IP {b.ip} is in use\n")
    done = ask("release", f"--ip={leaked}")
    assert done.returncode == 0 and leaked in done.stdout and leaked not in taken(lab), done


ASK = """
import http.client, socket, sys
method, door, path = sys.argv[1:]
connection = http.client.HTTPConnection("tulled")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(door)
connection.request(method, path)
print(connection.getresponse().status)
"""


def test_what_changes_something_is_posted_to_the_control_socket(calico):  # noqa: F811
    node, = calico(pool(), nodes=1).nodes
    control = "/run/tulle/ctl.sock"
    for method, path, status in (("GET", "/v1/ipam/release?ip=10.244.0.1", 405), ("POST", "/v1/ipam", 405), ("POST", "/v1/ipam/release", 400),
                                 ("POST", "/v1/ipam/release?ip=x", 400), ("POST", "/v1/ipam/release?ip=10.244.0.1", 200), ("GET", "/v1/ipam?ip=x", 400)):
        assert int(node.run(["python3", "-c", ASK, method, control, path]).stdout) == status, (method, path)


def test_the_check_of_a_deleted_node(calico, ipam):  # noqa: F811
    """Its block and its pods' addresses are named, and may be given back."""
    lab = calico(pool(), nodes=2)
    one, two = lab.nodes
    one.pod_add("a")
    b = two.pod_add("b", args="IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=b")
    ask = ipam(one)
    ask.wait_clean()
    two.agent_kill()
    path_of(lab, "nodes", "node-2").unlink()
    block = block_of(lab, b.ip)["metadata"]["name"]
    wait.until(lambda: {("leaked", b.ip), ("block-without-node", f"IPAMBlock {block}")} <= ask.problems(), "both are named", 20,
               detail=lambda: str(ask.problems()))
    assert ask("release", f"--ip={b.ip}").returncode == 0 and b.ip not in taken(lab)


def test_on_etcd(make_lab, built, ipam):
    lab = make_lab(nodes=1, agents=False, store="etcd")
    lab.store.ctl("put", "/calico/resources/v3/projectcalico.org/ippools/pool4", pool(vxlanMode="Always"))
    node, = lab.nodes
    node.agent_start(extra=["--dialect=calico"])
    a = node.pod_add("a")
    ask = ipam(node)
    ask.wait_clean()
    assert ask.json("show")["pools"][0]["used"] >= 2
    handle = ask.json("show", f"--ip={a.ip}")["handle"]
    assert ask("release", f"--ip={a.ip}").returncode == 1
    # Somebody else takes the address away: it is missed; who has it is asked no more.
    done = ask("release", f"--handle={handle}", "--force")
    assert done.returncode == 0 and a.ip in done.stdout, done


def test_where_the_store_speaks_flannel(make_lab, built, ipam):
    node, = make_lab(nodes=1).nodes
    a = node.pod_add("a")
    ask = ipam(node)
    assert re.search(r"^10\.\S+ +1 ", ask("show").stdout, re.M) and ask("show", "--show-blocks").returncode == 0
    assert ask("show", f"--ip={a.ip}").stdout.splitlines()[0] == f"IP {a.ip} is in use"
    for words in (["check"], ["release", f"--ip={a.ip}"]):
        done = ask(*words)
        assert done.returncode == 1 and "the store speaks Flannel" in done.stderr


NOT_A_NODE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.bind((sys.argv[1], 0))
    sender.sendto(b"\\x08" + bytes(3) + (4096).to_bytes(3, "big") + b"\\0" + bytes(60), (sys.argv[2], 4789))
"""


def names(node) -> set:
    return set(re.findall(r"^(tulle_\w+)", node.api("/metrics"), re.M))


def test_metrics(calico, eyes):  # noqa: F811
    """All that the agent counts, in either dialect, is on the page; the guard's drops show there and in the status."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"`(tulle_\w+)", page))
    lab = calico(pool(vxlanMode="Always"), nodes=2)
    one, two = lab.nodes
    one.pod_add("a")
    seen = names(one)
    assert seen <= told, seen - told
    for name, value in (('pool_pods{pool="pool4"}', 1), ('pool_blocks{pool="pool4"}', 1), ('pool_block_addresses{pool="pool4"}', 64),
                        ("nodes", 2), ("blocks", 2)):
        wait.until(lambda: eyes(one).metric(re.escape(name)) == value, f"{name} is {value}", 5)
    wait.until(lambda: eyes(one).metric(re.escape('batch_addresses{family="4",state="used"}')) == 1, "the batch gave one", 5)
    dropped = re.escape('guard_dropped_total{reason="no_node"}')
    assert eyes(one).metric(dropped) == 0
    stranger = str(ipaddress.ip_network(f"{two.ip}/24", strict=False)[-6])
    two.run(["ip", "address", "add", f"{stranger}/32", "dev", "eth0"])
    two.run(["python3", "-c", NOT_A_NODE, stranger, one.ip])
    wait.until(lambda: eyes(one).metric(dropped) == 1, "the drop is counted", 5)
    assert re.search(r"^Guard: +\d+ packets of tunnels accepted, 1 dropped \(no_node 1\)$", eyes(one).ctl("status", check=False).stdout, re.M)


def test_metrics_where_the_store_speaks_flannel(make_lab, built):
    page = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    node, = make_lab(nodes=1, backend="udp").nodes
    wait.until(lambda: names(node) <= set(re.findall(r"`(tulle_\w+)", page)) and "tulle_carrier_packets_total" in names(node), "all on the page", 5,
               detail=lambda: str(names(node)))
