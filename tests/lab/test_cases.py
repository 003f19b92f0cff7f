# SPDX-License-Identifier: Apache-2.0
"""tulle-lab cases: what it refuses, where it puts everything, whether the prober sees what is there, and cases from end to end."""

import json
import os
import random
import signal
import subprocess
from ipaddress import ip_address
from pathlib import Path

import pytest

from tullelab import case_file, case_plan, until
from tullelab.case_lab import CaseLab, _policy_args
from tullelab.lab import build_directory

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = str(REPOSITORY / "lab" / "tulle-lab")
NETPOL = REPOSITORY / "tests" / "netpol"
SAMPLES = NETPOL / "data" / "samples"
SOAK = bool(os.environ.get("TULLE_SOAK"))
PORTS = [("TCP", 80), ("UDP", 80), ("SCTP", 80)]


def port_list(key):
    return [{key: port, "protocol": protocol} for protocol, port in PORTS]


def pod(name, node, ips, labels=None, **more):
    namespace, _, short = name.partition("/")
    return {"namespace": namespace, "name": short, "labels": labels or {"app": short}, "ips": ips, "node": node, "ports": port_list("containerPort"), **more}


def world(**more):
    """Two nodes with both families, pods on each, one of them the node's own, a host outside."""
    return {"namespaces": [{"name": "one", "labels": {"team": "a"}}, {"name": "two", "labels": {}}],
            "nodes": [{"name": "left", "ips": ["172.30.0.11", "fd00:172:30::11"]}, {"name": "right", "ips": ["172.30.0.12", "fd00:172:30::12"]}],
            "pods": [pod("one/a", "left", ["10.244.1.10", "fd00:10:244:1::10"]), pod("one/b", "right", ["10.244.2.10", "fd00:10:244:2::10"]),
                     pod("two/host", "right", [], hostNetwork=True)],
            "externals": [{"name": "far", "ips": ["198.51.100.10", "2001:db8:100::10"], "listen": port_list("port")}], "policies": [], **more}


def ips(state, place):
    kind, _, name = place.partition(":")
    if name:
        return next(item["ips"] for item in state[f"{kind}s"] if item["name"] == name)
    found = next(item for item in state["pods"] if f"{item['namespace']}/{item['name']}" == place)
    return ips(state, f"node:{found['node']}") if found.get("hostNetwork") else found["ips"]


def probes(state, verdict=lambda source, target, protocol: True):
    """Everybody to everybody, but not what lies outside the cluster to its like."""
    places = [f"{item['namespace']}/{item['name']}" for item in state["pods"]]
    others = [f"node:{item['name']}" for item in state["nodes"]] + [f"external:{item['name']}" for item in state["externals"]]
    made = []
    for source in places + others:
        for target in places + others:
            if ":" in source and ":" in target:
                continue
            for own, peer in ((a, b) for a in ips(state, source) for b in ips(state, target) if (":" in a) == (":" in b)):
                for protocol, port in PORTS:
                    made.append({"id": len(made), "from": source, "to": target, "from_ip": own, "to_ip": peer, "protocol": protocol, "port": port,
                                 "expected": "allow" if source == target or verdict(source, target, protocol) else "deny"})
    return made


def case(state=None, **more):
    state = state or world()
    return {"schema": "npcase/1", "id": "t", "family": "t", "title": "t", "tags": [], **state, "probes": probes(state), **more}


def sequence(*steps):
    return {"schema": "npseq/1", "id": "t", "family": "t", "title": "t", "tags": [],
            "steps": [{"title": title, "actions": [], "state": state, "probes": probes(state, *verdict)} for title, state, *verdict in steps]}


def play(tmp_path, cases, *args, status=0):
    """Observations by name."""
    paths = []
    for name, content in cases.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    out = tmp_path / "out"
    done = subprocess.run([TOOL, "cases", *map(str, paths), "--out", f"{out}/", "--compare", *args], capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return {name: json.loads((out / f"{name}.json").read_text())["results"] if (out / f"{name}.json").exists() else None for name in cases}, done


def left_over(pid):
    """Labs of that process and its children are named by their process."""
    made = [entry for entry in (os.listdir("/run/netns") if os.path.isdir("/run/netns") else []) if entry.startswith(f"tl-t{pid}x")]
    return made + [str(path) for path in Path("/run/tulle-lab").glob(f"t{pid}x*")]


# --- files ---


def broken(change):
    made = case()
    change(made)
    return made


@pytest.mark.parametrize("content, told", [
    ("{", "not JSON"),
    ("[]", "the whole: expected an object"),
    ({"schema": "npcase/2"}, "schema: expected npcase/1 or npseq/1"),
    ({"schema": "npseq/1", "steps": []}, "steps: expected at least one"),
    ({"schema": "npseq/1", "steps": [{"title": "x", "probes": []}]}, "steps[0].state: expected an object, it is missing"),
    (broken(lambda c: c.pop("pods")), "pods: expected a list, it is missing"),
    (broken(lambda c: c["nodes"].clear()), "nodes: expected at least one"),
    (broken(lambda c: c["pods"][0].update(node="middle")), "pods[0].node: there is no node 'middle'"),
    (broken(lambda c: c["pods"][0].update(namespace="three")), "pods[0].namespace: there is no namespace 'three'"),
    (broken(lambda c: c["pods"][1].update(ips=["10.244.1.300"])), "pods[1].ips[0]: '10.244.1.300' is no IP address"),
    (broken(lambda c: c["pods"][1].update(ips=["10.244.1.10"])), "10.244.1.10 is the address of both one/a and one/b"),
    (broken(lambda c: c["pods"][1].update(ips=[])), "pods[1].ips: expected at least one address"),
    (broken(lambda c: c["pods"][1].update(name="a")), "pods[1].name: 'one/a' stands there twice"),
    (broken(lambda c: c["pods"][1].update(name="../x")), "pods[1].name: '../x': expected a name"),
    (broken(lambda c: c["pods"][1]["ports"][0].update(containerPort=0)), "pods[1].ports[0].containerPort: 0: expected 1 to 65535"),
    (broken(lambda c: c["policies"].append({"kind": "NetworkPolicy"})), "policies[0].metadata: expected an object"),
    (broken(lambda c: c["probes"][3].update(protocol="IPX")), "probes[3].protocol: 'IPX': expected one of TCP, UDP, SCTP"),
    (broken(lambda c: c["probes"][3].update(port="80")), "probes[3].port: expected a number"),
    (broken(lambda c: c["probes"][3].update({"to": "one/z"})), "probes[3].to: 'one/z': expected a pod"),
    (broken(lambda c: c["probes"][3].update({"from_ip": "10.9.9.9"})), "probes[3].from_ip: 10.9.9.9 is no address of one/a"),
    (broken(lambda c: (c["nodes"][0].update(ips=["172.30.0.11"]), c["probes"].clear())), "nodes: left has no address of a family that pods have"),
])
def test_a_bad_file_is_refused_by_name_and_field(tmp_path, content, told):
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(case_file.CaseError) as refused:
        case_plan.together([case_file.read(path)])
    assert str(refused.value).startswith(f"{path}: ") and told in str(refused.value)


def test_a_good_file_beside_a_bad_one_is_not_played(tmp_path):
    """Nobody shall take half an answer for a whole one."""
    observed, done = play(tmp_path, {"good": case(), "bad": {}, "worse": "{"}, status=2)
    assert f"{tmp_path}/bad.json: schema: " in done.stderr and f"{tmp_path}/worse.json: not JSON" in done.stderr
    assert observed == {"good": None, "bad": None, "worse": None}


def test_a_missing_file_and_outputs_that_collide(tmp_path):
    def refused(*args):
        done = subprocess.run([TOOL, "cases", *map(str, args)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 2
        return done.stderr
    one, other = tmp_path / "x" / "a.json", tmp_path / "y" / "a.json"
    for path in (one, other):
        path.parent.mkdir()
        path.write_text(json.dumps(case()))
    assert "No such file" in refused(tmp_path / "none.json", "--out", tmp_path / "o.json")
    assert "would both be observed in" in refused(one, other, "--out", tmp_path / "out")
    assert "expected a folder" in refused(one, one, "--out", other)
    for out in (one, one.parent):
        assert "is a case itself" in refused(one, "--out", out)
    assert case_file.read(one).probes == len(case()["probes"])  # and they are as they were


# --- plans ---


def plan_of(*states):
    found = case_plan.together([case_file.parse(case(state), f"f{number}") for number, state in enumerate(states)])
    return found if len(states) > 1 else found[0][1]


def test_plan_of_the_usual_layout():
    plan = plan_of(world())
    assert plan.flannel and plan.families == (4, 6)
    assert [str(plan.blocks[version][node]) for version in (4, 6) for node in ("left", "right")] == \
        ["10.244.1.0/24", "10.244.2.0/24", "fd00:10:244:1::/64", "fd00:10:244:2::/64"]
    assert plan.nodes[0] == ("left", ("172.30.0.11/24", "fd00:172:30::11/64"))
    assert case_plan.Plan.of_words(json.loads(json.dumps(plan.words()))) == plan


def test_neighbours_on_different_nodes_need_a_pool():
    state = world(pods=[pod("one/a", "left", ["10.244.1.10"]), pod("one/b", "right", ["10.244.1.11"]), pod("one/c", "left", ["10.244.1.12"])])
    assert not plan_of(state).flannel


def test_pods_of_one_family_beside_those_of_two_need_a_pool():
    """A block would give the other family's address unasked."""
    state = world()
    state["pods"].append(pod("one/four", "left", ["10.244.1.11"]))
    assert not plan_of(state).flannel


def test_files_share_a_lab_where_they_can():
    other = world(pods=[pod("one/a", "left", ["10.244.3.10", "fd00:10:244:3::10"])])
    swapped = world(pods=[pod("one/a", "right", ["10.244.1.10", "fd00:10:244:1::10"])])
    assert sorted(len(files) for files, _ in plan_of(world(), other, swapped)) == [1, 2]


def test_every_pod_has_its_address_in_any_plan():
    """Random addresses on random nodes: Flannel's way only where each node's block offers all of them."""
    chance, ways = random.Random(5), set()
    for _ in range(100):
        nodes = [{"name": f"n{i}", "ips": [f"172.{chance.randrange(16, 20)}.{i + 1}.{chance.randrange(1, 255)}"]} for i in range(chance.randrange(1, 5))]
        wide = chance.choice((1, 4, 200))
        taken = {f"10.{chance.randrange(wide)}.{chance.randrange(wide)}.{chance.randrange(2, 255)}" for _ in range(chance.randrange(1, 7))}
        pods = [pod(f"one/p{i}", chance.choice(nodes)["name"], [ip]) for i, ip in enumerate(sorted(taken))]
        state = world(nodes=nodes, pods=pods, externals=[{"name": "x", "ips": ["172.18.0.77"], "listen": []}])
        plan = plan_of(state)
        ways.add(plan.flannel)
        assert all(ip_address(item["ips"][0]) in plan.networks[4] for item in pods)
        gateway, length = plan.gateways[0].split("/")
        assert gateway not in taken | {"172.18.0.77"} | {item["ips"][0] for item in nodes} and int(length) >= 8
        if plan.flannel:
            blocks = plan.blocks[4]
            assert set(blocks) == {item["name"] for item in nodes} and len(set(blocks.values())) == len(blocks)
            assert all(block.subnet_of(plan.networks[4]) and block.prefixlen >= plan.networks[4].prefixlen + 2 for block in blocks.values())
            assert all(case_plan._offers(ip_address(item["ips"][0]), blocks[item["node"]]) for item in pods)
    assert ways == {True, False}


# --- the prober ---


@pytest.fixture(scope="module")
def lab(built):
    parsed = case_file.parse(case(), "case")
    with CaseLab(case_plan.make(case_plan.Needs(parsed), "case")) as lab:
        lab.go(parsed.steps[0].world)
        yield lab


def nft(place, *lines):
    """place: path of a network namespace."""
    text = "table inet t\ndelete table inet t\n" + ("table inet t {\n" + "\n".join(lines) + "\n}\n" if lines else "")
    subprocess.run(["nsenter", f"--net={place}", "nft", "-f", "-"], input=text, text=True, check=True)


def ask(lab):
    wanted = case_file.parse(case(), "case").steps[0].probes
    return list(zip(wanted, lab.probe(wanted, 0.6).outcomes))


@pytest.mark.parametrize("hook, at", [("input", "arriving"), ("output", "leaving")])
def test_the_prober_sees_what_is_dropped(lab, hook, at):
    """In a pod, by nft: exactly those probes have no answer, and the next ones connect again."""
    place = lab.places()["one/b"]
    assert all(outcome.connected for _, outcome in ask(lab))
    nft(place, f"chain c {{ type filter hook {hook} priority 0; oifname \"lo\" accept; iifname \"lo\" accept; meta l4proto {{ udp, sctp }} drop; }}")
    try:
        for probe, outcome in ask(lab):
            dropped = "one/b" in (probe.source, probe.target) and probe.source != probe.target and probe.protocol != "TCP"
            assert outcome.connected != dropped, (probe, outcome)
            # what a socket may not send, it is told
            assert not dropped or outcome.note == ("Operation not permitted" if hook == "output" and probe.source == "one/b" else "no answer"), (probe, outcome)
    finally:
        nft(place)
    assert all(outcome.connected for _, outcome in ask(lab))


def test_only_the_reply_is_dropped(lab):
    """Connected means that the answer came, too."""
    place = lab.places()["one/b"]
    nft(place, "chain c { type filter hook output priority 0; oifname \"eth0\" ct direction reply drop; }",
        "chain d { type filter hook prerouting priority -300; }")
    try:
        for probe, outcome in ask(lab):
            assert outcome.connected == (probe.target != "one/b" or probe.source == "one/b"), (probe, outcome)
    finally:
        nft(place)


def test_a_reset_is_no_connection(lab):
    place = lab.places()["one/a"]
    nft(place, "chain c { type filter hook input priority 0; iifname \"eth0\" tcp dport 80 reject with tcp reset; }")
    try:
        refused = [outcome for probe, outcome in ask(lab) if probe.target == "one/a" and probe.source != "one/a" and probe.protocol == "TCP"]
        assert refused and all((outcome.connected, outcome.note) == (False, "Connection refused") for outcome in refused)
    finally:
        nft(place)


def test_a_node_speaks_from_its_own_address(lab):
    """And pods and outside hosts from theirs: nothing is masqueraded."""
    b = lab.made["one/b"]
    with lab.capture(b.node, "eth0", "tcp[tcpflags] == tcp-syn or ip6[53] == 2", netns=b.netns_path) as seen:
        ask(lab)
        for source in ("172.30.0.11", "172.30.0.12", "10.244.1.10", "198.51.100.10"):
            seen.wait_line(f"{source}.", "> 10.244.2.10.80")
        for source in ("fd00:172:30::11", "fd00:10:244:1::10", "2001:db8:100::10"):
            seen.wait_line(f"{source}.", "> fd00:10:244:2::10.80")


# --- cases from end to end ---


def complete(observed, content):
    steps = content.get("steps") or [content]
    assert [(r["step"], r["id"]) for r in observed] == [(number, probe["id"]) for number, step in enumerate(steps) for probe in step["probes"]]


@pytest.mark.parametrize("backend", ["host-gw", "vxlan"])
def test_a_world_without_policies(built, tmp_path, backend):
    """Both families, TCP, UDP and SCTP, nodes, a hostNetwork pod, outside hosts; one lab by leases, another by a pool."""
    pooled = world()
    pooled["pods"] += [pod("two/c", "right", ["10.244.1.11", "fd00:10:244:1::11"]), pod("two/four", "left", ["10.244.2.11"])]
    cases = {"leases": case(), "pool": case(pooled)}
    observed, done = play(tmp_path, cases, "--backend", backend, "--jobs", "2")
    for name, results in observed.items():
        complete(results, cases[name])
        assert all(result["connected"] for result in results)
    assert "leases" in done.stderr and "a pool of addresses given by name" in done.stderr and "probes a second" in done.stderr
    assert "everything is as expected" in done.stdout


def test_ipv6_alone_and_more_nodes_than_two(built, tmp_path):
    """Also a node without pods, and a world without any."""
    state = world(nodes=[{"name": f"n{i}.example", "ips": [f"2001:db8:7::{i}"]} for i in range(1, 5)], pods=[],
                  externals=[{"name": "far", "ips": ["2001:db8:8::1"], "listen": port_list("port")}])
    empty = {**state, "nodes": [{"name": "only", "ips": ["192.0.2.1"]}]}
    state["pods"] = [pod(f"one/p{i}", f"n{i}.example", [f"fd00:10:{i}::5"]) for i in (1, 2, 3)] + [pod("two/host", "n4.example", [], hostNetwork=True)]
    cases = {"six": case(state), "empty": {**case(empty), "probes": []}}
    observed, done = play(tmp_path, cases)
    complete(observed["six"], cases["six"])
    assert all(result["connected"] for result in observed["six"]) and observed["empty"] == []


def test_probes_that_share_a_source_port_and_packets_without_ports(built, tmp_path):
    """The same flow twice is played one after the other; of what nobody answers it counts whether it arrives."""
    content, pair = case(), ("one/a", "10.244.1.10", "one/b", "10.244.2.10")
    kinds = [{"protocol": p, "port": 80, "source_port": 40000} for p in ("TCP", "UDP", "SCTP") for _ in range(3)]
    kinds += [{"protocol": "ICMP"}, {"protocol": "ICMP", "type": 0, "code": 0}, {"protocol": "UDPLite", "port": 80}, {"protocol": 47}]
    content["probes"] = [{"id": number, "from": pair[0], "from_ip": pair[1], "to": pair[2], "to_ip": pair[3], "expected": "allow", **kind}
                         for number, kind in enumerate(kinds)]
    content["probes"].append({"id": 99, "from": "one/b", "from_ip": "fd00:10:244:2::10", "to": "one/a", "to_ip": "fd00:10:244:1::10",
                              "expected": "allow", "protocol": "ICMPv6"})
    observed, _ = play(tmp_path, {"c": content})
    assert [result["connected"] for result in observed["c"]] == [True] * len(content["probes"])


def test_a_sequence_of_worlds(built, tmp_path):
    """Pods come, go, come again elsewhere; so do outside hosts and namespaces."""
    second, third = world(), world()
    second["pods"][0] = pod("one/a", "left", ["10.244.1.77", "fd00:10:244:1::77"])
    second["pods"].append(pod("two/new", "left", ["10.244.1.10", "fd00:10:244:1::10"]))
    second["externals"].append({"name": "near", "ips": ["203.0.113.5"], "listen": port_list("port")})
    third["pods"] = third["pods"][1:]
    third["externals"] = []
    content = sequence(("first", world()), ("second", second), ("third", third), ("again", world()))
    observed, _ = play(tmp_path, {"seq": content})
    complete(observed["seq"], content)
    assert all(result["connected"] for result in observed["seq"])


def test_one_observation_goes_where_it_is_said(built, tmp_path):
    path, out = tmp_path / "c.json", tmp_path / "there" / "o.json"
    path.write_text(json.dumps(case()))
    subprocess.run([TOOL, "cases", str(path), "--out", str(out)], check=True, capture_output=True, timeout=120)
    complete(json.loads(out.read_text())["results"], case())


def test_what_is_not_expected_is_shown(built, tmp_path):
    """Expectations that cannot hold: without --compare nobody minds."""
    content = case()
    content["probes"] = [dict(probe, expected="deny") for probe in content["probes"][:5]]
    _, done = play(tmp_path, {"c": content}, status=3)
    shown = [line for line in done.stdout.splitlines() if "c.json step 0 (t) probe" in line]
    assert len(shown) == 5 and "one/a 10.244.1.10 to one/a 10.244.1.10 TCP/80: expected denied, it connected" in shown[0]


def test_an_agent_that_cannot_start_fails_the_file(built, tmp_path):
    observed, done = play(tmp_path, {"c": case()}, "--agent-arg=--no-such-option", status=1)
    assert observed == {"c": None} and "NOT PLAYED" in done.stderr and "no-such-option" in done.stderr


@pytest.mark.parametrize("number, jobs", [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_an_end_in_the_middle_leaves_nothing(built, tmp_path, number, jobs):
    for name in ("a", "b"):
        content = world()
        content["nodes"][0]["name"] = content["pods"][0]["node"] = f"left{name}"  # each wants a lab of its own
        (tmp_path / f"{name}.json").write_text(json.dumps(case(content)))
    process = subprocess.Popen([TOOL, "cases", str(tmp_path), "--out", str(tmp_path / "out"), "--jobs", str(jobs)],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = [process.pid]
    until(lambda: any(left_over(pid) for pid in [process.pid, *map(int, children.read_text().split())]), "a lab is being made", 20)
    pids += map(int, children.read_text().split())
    assert any(left_over(pid) for pid in pids)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "interrupted" in output, output
    assert not [found for pid in pids for found in left_over(pid)]


# --- with policies ---


def enforced():
    return bool(_policy_args(build_directory()))


needs_policy = pytest.mark.skipif("not enforced()", reason="this tulled has no option --policy")


def policy(name, namespace="one", **spec):
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


CLOSED = policy("closed", podSelector={"matchLabels": {"app": "b"}}, policyTypes=["Ingress"])
LABELLED = policy("closed", podSelector={"matchLabels": {"app": "b"}}, policyTypes=["Ingress"],
                  ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}], "ports": [{"protocol": "UDP", "port": 80}]}])


def own_node(source, target):
    """right is the node of one/b, and of two/host."""
    return source in ("node:right", "two/host") or target != "one/b"


@needs_policy
@pytest.mark.parametrize("backend", ["host-gw", "vxlan"])
def test_policies_come_change_and_go(built, tmp_path, backend):
    """Verdicts are right at once after each step, in both directions."""
    relabelled = world(policies=[LABELLED])
    relabelled["namespaces"] = [{"name": "one", "labels": {"team": "b"}}, {"name": "two", "labels": {"team": "a"}}]
    content = sequence(
        ("open", world()), ("closed", world(policies=[CLOSED]), lambda s, t, p: own_node(s, t)),
        ("udp", world(policies=[LABELLED]), lambda s, t, p: own_node(s, t) or (p == "UDP" and s == "one/a")),
        ("relabelled", relabelled, lambda s, t, p: own_node(s, t)), ("gone", world()))
    observed, _ = play(tmp_path, {"seq": content}, "--backend", backend)
    complete(observed["seq"], content)


def compared(*args):
    """Plays what is there; the observations' folder."""
    done = subprocess.run([TOOL, "cases", *map(str, args), "--compare"], capture_output=True, text=True, timeout=3000 if SOAK else 300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def probes_in(folder):
    return sum(len(json.loads(path.read_text())["results"]) for path in folder.iterdir())


@needs_policy
def test_the_published_samples(built, tmp_path):
    """Every family of netpol/README.md, as files that were not made here."""
    compared(SAMPLES, "--out", tmp_path)
    assert len(list(tmp_path.iterdir())) == len(list(SAMPLES.iterdir()))
    assert probes_in(tmp_path) == 4099


@needs_policy
@pytest.mark.parametrize("backend", ["vxlan", "udp"])
def test_samples_through_tunnels(built, tmp_path, backend):
    """Where a node's own programs speak from the tunnel's address, and blocks of addresses matter."""
    files = [path for path in sorted(SAMPLES.iterdir()) if path.name.startswith(("host", "ipblock", "dual"))]
    compared(*files, "--out", tmp_path, "--backend", backend)
    assert len(list(tmp_path.iterdir())) == len(files) == 3


@needs_policy
@pytest.mark.parametrize("script, every", [("cases/write.py", 12), ("cyclonus.py", 25)])
def test_cases_of_our_own_and_of_cyclonus(built, tmp_path, script, every):
    """Calico's order and tiers, ClusterNetworkPolicy, what Kubernetes' own suites ask; all of them with TULLE_SOAK."""
    made, out = tmp_path / "made", tmp_path / "out"
    made.mkdir()
    subprocess.run(["/usr/bin/python3", "-B", str(NETPOL / script), str(made)], check=True, timeout=60)
    files = sorted(made.iterdir())[::1 if SOAK else every]
    assert len(files) >= 9
    compared(*files, "--out", out)
    assert len(list(out.iterdir())) == len(files)


def without_errors(made):
    """ICMP errors belong to flows: nobody can try them alone."""
    for path in made.iterdir():
        content = json.loads(path.read_text())
        content["probes"] = [probe for probe in content["probes"] if not (
            probe["protocol"] == "ICMP" and probe["type"] == 3 or probe["protocol"] == "ICMPv6" and probe["type"] < 128)]
        path.write_text(json.dumps(content))


@needs_policy
@pytest.mark.parametrize("family", ["kubernetes", "calico", "cluster"])
def test_random_worlds(built, tmp_path, family):
    """As the slow evaluators judge them (tests/netpol)."""
    made, out, count = tmp_path / "made", tmp_path / "out", 300 if SOAK else 6
    subprocess.run(["/usr/bin/python3", "-B", str(NETPOL / "generate.py"), family, "7000", str(count), str(made)], check=True, timeout=300)
    without_errors(made)
    compared(made, "--out", out)
    assert len(list(out.iterdir())) == count
