# SPDX-License-Identifier: Apache-2.0
"""Policy where pods have both families: what is said of pods holds in each, what is said of addresses in its own."""
import pytest
from test_policy import LABELS, OTHER, WEB, World, reaches
from tullelab import wait


@pytest.fixture(scope="module")
def world(built, make_lab):
    lab = make_lab(nodes=2, backend="host-gw", family="dual", agent_args=["--policy=on"])
    world = World(lab)
    one, two = lab.nodes
    world.pod("shop/web", one, LABELS["shop/web"], serve=(WEB, OTHER), ports={"web": WEB})
    world.pod("shop/client", one, LABELS["shop/client"])
    world.pod("bank/client", two, LABELS["bank/client"])
    return world


@pytest.fixture(autouse=True)
def clean(world):
    yield
    world.drop()


def settles(world, expected):
    """{(from, port): of IPv4 and IPv6, whether the web server is reached} comes true, all of it at once."""
    web = world.pods["shop/web"]

    def wrong():
        return [(name, port, ip) for (name, port), passes in expected.items() for ip, good in zip(web.ips, passes)
                if reaches(world.pods[name], ip, port) != good]
    wait.until(lambda: not wrong(), "as the policies say, in both families", 15, detail=lambda: str(wrong()))


BOTH, NEITHER = (True, True), (False, False)


def test_pods_are_themselves_in_both_families(world):
    world.policy("deny", policyTypes=["Ingress"])
    settles(world, {("shop/client", WEB): NEITHER, ("bank/client", WEB): NEITHER})
    world.policy("allow", select={"app": "web"}, ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}], "ports": [{"port": "web"}]}])
    settles(world, {("shop/client", WEB): BOTH, ("shop/client", OTHER): NEITHER, ("bank/client", WEB): NEITHER})
    world.drop("deny", "allow")
    settles(world, {("bank/client", WEB): BOTH})


@pytest.mark.parametrize("everybody, passes", [("0.0.0.0/0", (True, False)), ("::/0", (False, True))])
def test_an_address_is_of_one_family(world, everybody, passes):
    """The other family's is nobody's: it is denied."""
    world.policy("block", select={"app": "web"}, ingress=[{"from": [{"ipBlock": {"cidr": everybody}}]}])
    settles(world, {("shop/client", WEB): passes, ("bank/client", WEB): passes})


def test_one_address_is_left_out(world):
    stranger = world.pods["bank/client"].ips[1]
    world.policy("but", select={"app": "web"}, ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}},
                                                                   {"ipBlock": {"cidr": "::/0", "except": [f"{stranger}/128"]}}]}])
    settles(world, {("shop/client", WEB): BOTH, ("bank/client", WEB): (True, False)})


def test_egress_and_a_rule_of_one_family(world):
    world.policy("out", select={"app": "client"}, policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}], "ports": [{"port": WEB}]}])
    settles(world, {("shop/client", WEB): BOTH, ("shop/client", OTHER): NEITHER, ("bank/client", WEB): BOTH})
    world.put("sixth", "GlobalNetworkPolicy", order=10, selector="app == 'web'", types=["Ingress"], ingress=[{"action": "Deny", "ipVersion": 6}, {"action": "Allow"}])
    settles(world, {("shop/client", WEB): (True, False), ("bank/client", WEB): (True, False)})
