# SPDX-License-Identifier: Apache-2.0
"""What tullectl policy says to people: explain names the tier, policy, rule and selector that decide; lint finds what means
nothing."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "cases")]

import calico  # noqa: E402
import cluster  # noqa: E402
import table  # noqa: E402

TULLECTL = pathlib.Path(os.environ.get("TULLE_BUILD") or HERE.parents[1] / "build") / "tullectl"


def tullectl(*words):
    return subprocess.run([str(TULLECTL), "policy", *map(str, words)], capture_output=True, text=True, timeout=60)


# -- explain --


def ask(tmp_path, policies, *question, state=None):
    """The flows of the answer, and the text that people see."""
    path = tmp_path / "case.json"
    path.write_text(json.dumps(table.case("words: x", state or calico.town(), policies, [])))
    told, shown = (tullectl("explain", *question, "--file", path, *more) for more in (["-o", "json"], []))
    assert (told.returncode, shown.returncode) == (0, 0), told.stderr
    return json.loads(told.stdout)["flows"], shown.stdout


def test_nothing_applies(tmp_path):
    flows, text = ask(tmp_path, [], "shop/web", "bank/ops", "TCP/80")
    assert [flow["allowed"] for flow in flows] == [True]
    assert flows[0]["egress"] == {"of": "shop/web", "allowed": True, "reason": "no-policy"}
    assert flows[0]["path"] == ["node1", "node2"]
    assert text.startswith("shop/web (10.244.1.16) -> bank/ops (10.244.2.32), TCP port 80: allowed\n")
    assert "path: node1 -> node2" in text


def test_the_rule_that_decides(tmp_path):
    policies = [calico.tier("early", 1), calico.local("first", tier="early", ingress=[
        calico.rule("Log"), calico.rule("Deny", {"selector": "hot == 'yes'"}, protocol="TCP")])]
    flows, text = ask(tmp_path, policies, "shop/db", "shop/web", "tcp/80")
    side = flows[0]["ingress"]
    assert not flows[0]["allowed"] and (side["allowed"], side["reason"], side["tier"]) == (False, "rule", "early")
    assert side["policy"].endswith("shop/first") and side["rule"].startswith("ingress[1]")
    assert 'app == "web"' in side["selector"] and 'hot == "yes"' in side["says"] and side["says"].startswith("deny TCP")
    assert "tier early" in text and "ingress[1]" in text and 'hot == "yes"' in text and 'app == "web"' in text


def test_the_end_of_a_tier(tmp_path):
    flows, text = ask(tmp_path, [table.netpol("shop", "closed", {"app": "web"}, ingress=[])], "bank/web", "shop/web", "UDP/53")
    side = flows[0]["ingress"]
    assert (side["allowed"], side["reason"], side["tier"]) == (False, "tier-end", "default")
    assert side["policy"] == "NetworkPolicy shop/closed" and "NetworkPolicy shop/closed" in text


def test_cluster_policy(tmp_path):
    policies = [cluster.policy("Admin", "tenants", ingress=[cluster.rule("Deny", cluster.of("west"))])]
    flows, _ = ask(tmp_path, policies, "west/p0", "north/p1", "SCTP/81", state=cluster.compass())
    side = flows[0]["ingress"]
    assert (side["tier"], side["policy"], side["allowed"]) == ("kube-admin", "ClusterNetworkPolicy tenants", False)


def test_passed(tmp_path):
    flows, _ = ask(tmp_path, [calico.local(ingress=[calico.rule("Pass")])], "shop/db", "shop/web", "TCP/80")
    assert flows[0]["allowed"] and flows[0]["ingress"]["reason"] == "passed"


def test_trouble(tmp_path):
    flows, text = ask(tmp_path, [calico.local(ingress=[calico.rule("Sometimes")])], "shop/db", "shop/web", "TCP/80")
    side = flows[0]["ingress"]
    assert (side["allowed"], side["reason"]) == (False, "trouble") and "Sometimes" in side["trouble"] and "Sometimes" in text


@pytest.mark.parametrize("question, reason", [(("shop/web", "shop/web", "TCP/80"), "self"), (("node:node1", "shop/web", "TCP/80"), "own-node"),
                                              (("shop/web", "node:node1", "TCP/80"), "own-node")])
def test_exempt(question, reason, tmp_path):
    flows, _ = ask(tmp_path, [table.netpol("shop", ingress=[], egress=[])], *question)
    assert flows[0]["allowed"] and {flows[0][side]["reason"] for side in ("egress", "ingress")} == {reason}


def test_addresses_and_outside(tmp_path):
    policies = [table.netpol("shop", egress=[{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}])]
    flows, _ = ask(tmp_path, policies, "10.244.1.16", "192.0.2.77", "TCP/443")
    assert flows[0]["allowed"] and flows[0]["egress"]["reason"] == "rule" and flows[0]["path"] == ["node1", "outside"]
    flows, _ = ask(tmp_path, policies, "shop/web", "external:out", "TCP/443")
    assert not flows[0]["allowed"] and flows[0]["ingress"]["reason"] == "no-pod"


def test_both_families(tmp_path):
    policies = [table.netpol("shop", ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])]
    flows, _ = ask(tmp_path, policies, "bank/web", "shop/web", "TCP/80", state=calico.town("46"))
    assert [flow["allowed"] for flow in flows] == [True, False]
    flows, _ = ask(tmp_path, policies, "bank/web", "shop/web", "ICMPv6/128", state=calico.town("46"))
    assert [(flow["from_ip"], flow["allowed"]) for flow in flows] == [("fd00:10:244:2::1", False)]


@pytest.mark.parametrize("question, told", [
    (("shop/none", "shop/web", "TCP/80"), '"shop/none" is nobody'), (("shop/db", "shop/web", "TCP"), "TCP/80"),
    (("shop/db", "shop/web", "TCP/web"), "TCP/80"), (("shop/db", "shop/web", "0"), "TCP/80"),
    (("shop/db", "2001:db8::1", "TCP/80"), "no address of a family in common")])
def test_bad_questions(question, told, tmp_path):
    path = tmp_path / "case.json"
    path.write_text(json.dumps(table.case("words: x", calico.town(), [], [])))
    done = tullectl("explain", *question, "--file", path)
    assert (done.returncode, done.stdout) == (2, "") and told in done.stderr


def pod(space, name, ip, node="node1", **labels):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": space, "name": name, "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": "c"}]}, "status": {"phase": "Running", "podIPs": [{"ip": ip}]}}


def namespace(name, **labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def test_a_directory(tmp_path):
    objects = [namespace("shop"), pod("shop", "web", "10.1.0.1", app="web"), pod("shop", "db", "10.1.0.2", app="db"),
               table.netpol("shop", "closed", {"app": "db"}, ingress=[])]
    for number, item in enumerate(objects):
        (tmp_path / f"{number}.json").write_text(json.dumps(item))
    done = tullectl("explain", "shop/web", "shop/db", "TCP/80", "--directory", tmp_path, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["flows"][0]["ingress"]["policy"] == "NetworkPolicy shop/closed"


# -- lint --


def lint(tmp_path, *objects, status=1):
    path = tmp_path / "manifests.yaml"
    path.write_text("".join(f"---\n{json.dumps(item)}\n" for item in objects))
    told, shown = tullectl("lint", path, "-o", "json"), tullectl("lint", path)
    assert (told.returncode, shown.returncode) == (status, status), told.stderr + told.stdout
    found = json.loads(told.stdout)["findings"]
    assert len(shown.stdout.splitlines()) == len(found)
    assert all(item["file"] == str(path) for item in found)
    return [(item["object"], item.get("place"), item["kind"]) for item in found]


PEOPLE = [namespace("shop", team="red"), namespace("bank"), pod("shop", "web", "10.1.0.1", app="web"), pod("bank", "ops", "10.1.0.2", app="ops")]


def test_nothing_to_say(tmp_path):
    good = table.netpol("shop", "p", {"app": "web"}, ingress=[
        {"from": [table.space(team="red"), table.pod(app="web")], "ports": [{"protocol": "TCP", "port": 80}]}], egress=[{}])
    assert lint(tmp_path, *PEOPLE, good, status=0) == []


def test_selects_nothing(tmp_path):
    policies = [table.netpol("shop", "who", {"app": "nobody"}, ingress=[]),
                table.netpol("shop", "peer", {"app": "web"}, ingress=[{"from": [table.pod(app="ops")]}, {"from": [table.space(team="red")]}])]
    assert lint(tmp_path, *PEOPLE, *policies) == [
        ("NetworkPolicy shop/who", None, "selects-nothing"), ("NetworkPolicy shop/peer", "ingress[0]", "selects-nothing")]
    assert lint(tmp_path, *policies, status=0) == []  # without pods nobody can know


def test_ports_without_protocol(tmp_path):
    policy = table.netpol("shop", "p", ingress=[{"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}])
    assert lint(tmp_path, policy) == [("NetworkPolicy shop/p", "ingress[0].ports[0]", "port-without-protocol")]


def test_rules_behind_others(tmp_path):
    tcp = [{"protocol": "TCP", "port": 80}]
    policy = table.netpol("shop", "p", ingress=[{"ports": [{"protocol": "TCP", "port": 79, "endPort": 90}]},
                                                {"from": [table.pod(app="web")], "ports": tcp}, {"ports": [{"protocol": "UDP", "port": 80}]}])
    assert lint(tmp_path, policy) == [("NetworkPolicy shop/p", "ingress[1]", "never-reached")]


def test_contradictions(tmp_path):
    policy = calico.local(ingress=[calico.allow({"nets": ["10.0.0.0/16"], "notNets": ["10.0.0.0/8"]}),
                                   calico.allow({"nets": ["10.0.0.0/8"]}, ipVersion=6), calico.allow({"nets": ["10.0.0.0/8"]}, ipVersion=4)])
    assert [(place, kind) for _, place, kind in lint(tmp_path, policy)] == [("ingress[0]", "never-matches"), ("ingress[1]", "never-matches")]


def test_policies_that_shadow_each_other(tmp_path):
    first, second = calico.everywhere("first", order=1, ingress=[calico.rule("Deny")]), calico.everywhere("second", order=2, ingress=[calico.allow()])
    assert lint(tmp_path, first, second) == [("GlobalNetworkPolicy second", "ingress", "shadowed")]
    wide, narrow = table.netpol("shop", "wide", ingress=[{}]), table.netpol("shop", "narrow", ingress=[{"from": [table.pod(app="web")]}])
    assert lint(tmp_path, wide, narrow) == [("NetworkPolicy shop/narrow", "ingress", "shadowed")]
    twins = [table.netpol("shop", name, ingress=[{"from": [table.pod(app="web")]}]) for name in "ab"]
    assert lint(tmp_path, *twins) == [("NetworkPolicy shop/b", "ingress", "shadowed")]


def test_a_rule_of_which_a_part_is_left(tmp_path):
    """TCP of the second is the first's, UDP is not."""
    policy = table.netpol("shop", "p", ingress=[{"ports": [{"protocol": "TCP", "port": 80}]},
                                                {"ports": [{"protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 80}]}])
    assert lint(tmp_path, policy, status=0) == []


def test_a_narrower_selector_behind_a_wider_one(tmp_path):
    policy = calico.local(ingress=[calico.rule("Deny", {"selector": "app == 'web'"}), calico.allow({"selector": "app == 'web' && hot == 'yes'"}),
                                   calico.allow({"selector": "hot == 'yes'"})])
    assert [(place, kind) for _, place, kind in lint(tmp_path, policy)] == [("ingress[1]", "never-reached")]


WIDE, NARROW = "app == 'web'", "app == 'web' && hot == 'yes'"


@pytest.mark.parametrize("first, second, found", [
    # what decides everything for more pods
    ((WIDE, [calico.rule("Deny")]), (NARROW, [calico.allow()]), [("ingress", "shadowed")]),
    ((NARROW, [calico.rule("Deny")]), (WIDE, [calico.allow()]), []),
    ((WIDE, [calico.rule("Pass")]), (NARROW, [calico.allow()]), [("ingress", "shadowed")]),
    ((WIDE, [calico.rule("Log")]), (NARROW, [calico.allow()]), []),
    # one rule that an earlier policy has decided
    ((WIDE, [calico.rule("Deny", protocol="TCP")]), (NARROW, [calico.allow(protocol="TCP"), calico.allow(protocol="UDP")]),
     [("ingress[0]", "never-reached")]),
    ((WIDE, [calico.rule("Deny", notProtocol="UDP")]), (NARROW, [calico.allow(protocol="TCP")]), [("ingress[0]", "never-reached")]),
    ((WIDE, [calico.rule("Deny", notProtocol="TCP")]), (NARROW, [calico.allow(protocol="TCP")]), []),
    ((NARROW, [calico.rule("Deny", protocol="TCP")]), (WIDE, [calico.allow(protocol="TCP")]), []),
    ((WIDE, [calico.rule("Deny", {"notSelector": NARROW})]), (NARROW, [calico.allow({"notSelector": WIDE})]), [("ingress[0]", "never-reached")]),
    ((WIDE, [calico.rule("Deny", {"notSelector": WIDE})]), (NARROW, [calico.allow({"notSelector": NARROW})]), []),
])
def test_policies_of_contained_selectors(first, second, found, tmp_path):
    policies = [calico.everywhere(name, order=order, selector=selector, ingress=rules)
                for name, order, (selector, rules) in (("first", 1, first), ("second", 2, second))]
    assert [(place, kind) for _, place, kind in lint(tmp_path, *policies, status=1 if found else 0)] == found


def test_what_a_later_one_allows_anyway(tmp_path):
    """Unless somebody between them denies it."""
    narrow = calico.everywhere("narrow", order=1, selector=NARROW, ingress=[calico.allow(protocol="TCP")])
    between = calico.everywhere("between", order=2, selector=WIDE, ingress=[calico.rule("Deny", {"nets": ["10.9.0.0/16"]})])
    wide = calico.everywhere("wide", order=3, selector=WIDE, ingress=[calico.allow()])
    assert lint(tmp_path, narrow, wide) == [("GlobalNetworkPolicy narrow", "ingress", "shadowed")]
    assert lint(tmp_path, narrow, between, wide, status=0) == []


@pytest.mark.parametrize("default, rules, found", [("Deny", [calico.allow(protocol="TCP")], True), ("Pass", [calico.allow(protocol="TCP")], False),
                                                   ("Pass", [calico.allow()], True), ("Deny", [calico.rule("Pass", protocol="TCP")], False)])
def test_tiers_that_are_never_reached(default, rules, found, tmp_path):
    policies = [calico.tier("early", 1, default), calico.everywhere("first", tier="early", selector=WIDE, ingress=rules),
                calico.everywhere("second", selector=NARROW, ingress=[calico.allow(protocol="UDP")])]
    assert lint(tmp_path, *policies, status=1 if found else 0) == ([("GlobalNetworkPolicy second", "ingress", "shadowed")] if found else [])


def test_directions_that_it_does_not_have(tmp_path):
    policy = table.netpol("shop", "p", ingress=[{}])
    policy["spec"]["egress"] = [{}]
    assert [kind for _, _, kind in lint(tmp_path, policy)] == ["no-effect"]


def test_what_cannot_be_understood(tmp_path):
    assert [kind for _, _, kind in lint(tmp_path, calico.local(ingress=[calico.rule("Sometimes")]))] == ["trouble"]


def test_staged_kinds(tmp_path):
    staged = [{**calico.local(ingress=[calico.rule("Deny")]), "kind": "StagedNetworkPolicy"},
              {**calico.everywhere("b", ingress=[calico.rule("Deny")]), "kind": "StagedGlobalNetworkPolicy"},
              {"apiVersion": "projectcalico.org/v3", "kind": "StagedKubernetesNetworkPolicy", "metadata": {"name": "c", "namespace": "shop"},
               "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}]
    found = lint(tmp_path, *staged)
    assert [kind for _, _, kind in found] == ["staged"] * 3
    assert found[2][0] == "StagedKubernetesNetworkPolicy shop/c"


def test_many_policies(tmp_path):
    """All of one namespace, ten rules each; every other one applies to all pods, the last two say the same."""
    def rule(i, n):
        return {"from": [{**table.pod(app=f"app-{(10 * i + n) % 997}"), **table.space(team=f"t{(i + n) % 37}")}],
                "ports": [{"protocol": "TCP", "port": 1000 + n}]}
    policies = [table.netpol("shop", f"p-{i:04}", {"app": f"app-{i % 50}"} if i % 2 else {}, ingress=[rule(i, n) for n in range(10)]) for i in range(300)]
    twin = table.netpol("shop", "twin", {"app": "app-49"}, ingress=[rule(299, n) for n in range(10)])
    path = tmp_path / "many.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*policies, twin]}))
    done = tullectl("lint", path, "-o", "json")
    assert [(item["object"], item["kind"]) for item in json.loads(done.stdout)["findings"]] == [("NetworkPolicy shop/twin", "shadowed")], done.stderr


@pytest.mark.parametrize("text", ["a: [", "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {}\n"])
def test_bad_manifests(text, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    done = tullectl("lint", path)
    assert (done.returncode, done.stdout) == (2, "") and str(path) in done.stderr
