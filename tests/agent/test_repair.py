# SPDX-License-Identifier: Apache-2.0
"""Whatever somebody else removes from the kernel is put back from notifications; what is not ours stays."""
import pytest
from tullelab import wait

WITHIN = 3  # the promise is a second; the deadline leaves room for a loaded machine


@pytest.fixture(scope="module", params=["vxlan", "host-gw", "udp"])
def lab(request, built, make_lab):
    lab = make_lab(backend=request.param)
    lab.nodes[0].pod_add("one")
    lab.nodes[1].pod_add("two")
    return lab


def talk(lab):
    wait.until(lambda: lab.pod("one").ping(lab.pod("two").ip, count=1, timeout=1), "pods talk", WITHIN + 3)


@pytest.fixture
def node(lab, converged):
    converged(lab)
    talk(lab)
    yield lab.nodes[0]
    talk(lab)


def remote(look) -> str:
    return next(dst for dst in look.routes() if dst.endswith("/24"))


def test_route(lab, node, eyes):
    look = eyes(node)
    dst = remote(look)
    node.run(["ip", "route", "del", dst])
    wait.until(lambda: dst in look.routes(), "the route is back", WITHIN)
    assert look.metric("kernel_repairs_total") >= 1


def test_route_replaced_by_a_wrong_one(lab, node, eyes):
    look = eyes(node)
    dst = remote(look)
    right = look.routes()[dst]
    node.run(["ip", "route", "replace", "blackhole", dst])
    wait.until(lambda: look.routes().get(dst) == right and f"blackhole {dst}" not in node.run(["ip", "route"]).stdout,
               "the right route is back", WITHIN)


def test_pod_route(lab, node, eyes):
    look = eyes(node)
    address = lab.pod("one").ip
    node.run(["ip", "route", "del", address])
    wait.until(lambda: address in look.routes(), "the pod's route is back", WITHIN)


def test_rules(lab, node):
    node.run(["nft", "flush", "ruleset"])
    wait.until(lambda: "masquerade" in node.run(["nft", "list", "table", "inet", "tulle"]).stdout, "the table is back", WITHIN)


def test_rules_changed(lab, node):
    before = node.run(["nft", "-s", "list", "table", "inet", "tulle"]).stdout
    chain = next(line.split()[1] for line in before.splitlines() if line.strip().startswith("chain"))
    node.run(["nft", "flush", "chain", "inet", "tulle", chain])
    wait.until(lambda: node.run(["nft", "-s", "list", "table", "inet", "tulle"]).stdout == before, "the rules are back", WITHIN)


def test_uplink_flap(lab, node, eyes):
    look = eyes(node)
    dst = remote(look)
    node.run(["ip", "link", "set", "eth0", "down"])
    node.run(["ip", "link", "set", "eth0", "up"])
    node.run(["ip", "route", "replace", "default", "via", "192.0.2.254"])
    wait.until(lambda: dst in look.routes(), "the routes are back", WITHIN)


DEVICES = {"vxlan": "flannel.1", "udp": "flannel0"}


@pytest.mark.parametrize("lab", DEVICES, indirect=True)
def test_device(lab, node, eyes):
    look = eyes(node)
    device = DEVICES[lab.backend]
    before = look.link(device)
    dst = remote(look)
    node.run(["ip", "link", "del", device])
    wait.until(lambda: look.link(device) and dst in look.routes(), "device and routes are back", WITHIN)
    if lab.backend == "vxlan":
        assert look.link(device)["address"] == before["address"]


@pytest.mark.parametrize("lab", DEVICES, indirect=True)
def test_device_down(lab, node, eyes):
    look = eyes(node)
    device = DEVICES[lab.backend]
    dst = remote(look)
    node.run(["ip", "link", "set", device, "down"])
    wait.until(lambda: dst in look.routes() and "UP" in look.link(device)["flags"], "device up, routes back", WITHIN)


@pytest.mark.parametrize("lab", ["vxlan"], indirect=True)
def test_neighbour_and_fdb(lab, node, eyes):
    look = eyes(node)
    (address, mac), = look.neighbours().items()
    node.run(["ip", "neigh", "del", address, "dev", "flannel.1"])
    wait.until(lambda: look.neighbours().get(address) == mac, "the neighbour is back", WITHIN)
    peer = look.fdb()[mac]
    node.run(["bridge", "fdb", "del", mac, "dev", "flannel.1", "dst", peer, "self"])
    wait.until(lambda: look.fdb().get(mac) == peer, "the FDB entry is back", WITHIN)


@pytest.mark.parametrize("lab", ["udp"], indirect=True)
def test_programs(lab, node):
    """The programs are put back, or were never on the qdisc that went; that pods talk again is seen afterwards."""
    node.run(["tc", "qdisc", "del", "dev", "eth0", "clsact"], check=False)
    node.run(["tc", "qdisc", "del", "dev", "flannel0", "clsact"], check=False)
