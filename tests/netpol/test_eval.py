# SPDX-License-Identifier: Apache-2.0
"""tullectl policy eval comes to the same as everybody else: samples, cyclonus, cases of our own, random worlds. Files that are
none are told, with place and expectation; explain and lint say what they should."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "cases")]

import cyclonus  # noqa: E402
import generate  # noqa: E402
import world  # noqa: E402
import write  # noqa: E402

TULLECTL = pathlib.Path(os.environ.get("TULLE_BUILD") or HERE.parents[1] / "build") / "tullectl"
SOAK = os.environ.get("TULLE_SOAK") == "1"
BATCH = 250  # worlds that are written, judged and removed together


def tullectl(*words, **more):
    return subprocess.run([str(TULLECTL), *map(str, words)], capture_output=True, text=True, timeout=600, **more)


def check(paths):
    """Every expected value, of each side, without one difference."""
    done = tullectl("policy", "eval", "--compare", *paths)
    assert done.returncode == 0, done.stdout[:6000] + done.stderr[:6000]
    assert done.stdout.endswith(" 0 differences\n")
    return int(done.stdout.split()[0])


def put(path, value):
    path.write_text(json.dumps(value))
    return path


# -- agreement --


def test_samples(tmp_path):
    paths = [put(tmp_path / path.name[:-3], world.load(path)) for path in sorted((HERE / "data" / "samples").glob("*.xz"))]
    assert check(paths) == 4099


def test_cyclonus(tmp_path):
    paths = [put(tmp_path / f"{case['id']}.json", case) for case in cyclonus.cases()]
    assert len(paths) == 230
    assert check(paths) == 124884


@pytest.mark.parametrize("name", write.SETS)
def test_our_own_cases(name, tmp_path):
    assert check(write.write(name, tmp_path)) > 0


@pytest.mark.parametrize("family, share", [("kubernetes", 0.4), ("calico", 0.4), ("cluster", 0.2), ("hosts", 0.3)])
def test_random_worlds(family, share, tmp_path):
    """The seeds of CI are the first of the full count's."""
    count = int((100000 if SOAK else 1000) * share)
    for first in range(0, count, BATCH):
        paths = generate.write(family, first, min(BATCH, count - first), tmp_path)
        check(paths)
        for path in paths:
            path.unlink()


def chain(family, seeds):
    """Random worlds one after the other as steps of a sequence: what is left of one must not show in the next."""
    found = [generate.case(family, seed) for seed in seeds]
    steps = [{"title": case["id"], "actions": [], "probes": case.pop("probes"), "state": case} for case in found]
    return {"schema": "npseq/1", "id": f"{family}-chain", "family": family, "title": "", "tags": [], "steps": steps}


@pytest.mark.parametrize("family", generate.FAMILIES)
def test_worlds_that_follow_each_other(family, tmp_path):
    paths = []
    for first in range(0, 10000 if SOAK else 100, 50):
        paths.append(put(tmp_path / f"{first}.json", chain(family, range(500000 + first, 500050 + first))))
    check(paths)


def test_either_group_of_calico(tmp_path):
    """Objects may be those of the v1 custom resources as well."""
    paths = []
    for seed in range(20):
        case = generate.case("calico", seed)
        for item in case["policies"]:
            item["apiVersion"] = item["apiVersion"].replace("projectcalico.org/v3", "crd.projectcalico.org/v1")
        paths.append(put(tmp_path / f"{seed}.json", case))
    assert check(paths) > 0


def test_policies_without_kind(tmp_path):
    """Which is what the public generator writes, too."""
    case = generate.case("kubernetes", 3)
    for item in case["policies"]:
        del item["apiVersion"], item["kind"]
    assert check([put(tmp_path / "case.json", case)]) == len(case["probes"])


# -- the observation --


def test_observation(tmp_path):
    case = generate.case("kubernetes", 7)
    path = put(tmp_path / "case.json", case)
    done = tullectl("policy", "eval", path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"results": [
        {"step": 0, "id": probe["id"], "connected": probe["expected"] == "allow"} for probe in case["probes"]]}


def test_observations_of_several_files(tmp_path):
    paths = generate.write("cluster", 0, 3, tmp_path)
    out = tmp_path / "out" / "deep"
    done = tullectl("policy", "eval", f"--out={out}", *paths)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    for path in paths:
        probes = json.loads(path.read_text())["probes"]
        assert [item["connected"] for item in json.loads((out / path.name).read_text())["results"]] == \
            [probe["expected"] == "allow" for probe in probes]


def test_several_files_need_a_place(tmp_path):
    done = tullectl("policy", "eval", *generate.write("cluster", 0, 2, tmp_path))
    assert done.returncode == 2 and "--out=DIR" in done.stderr


def test_steps_of_a_sequence(tmp_path):
    case = world.load(HERE / "data" / "samples" / "seq-001.json.xz")
    done = tullectl("policy", "eval", put(tmp_path / "seq.json", case))
    assert done.returncode == 0, done.stderr
    assert [(item["step"], item["id"], item["connected"]) for item in json.loads(done.stdout)["results"]] == \
        [(number, probe["id"], probe["expected"] == "allow") for number, _, probes in world.steps(case) for probe in probes]


def test_differences_are_told(tmp_path):
    case = generate.case("kubernetes", 7)
    probe = case["probes"][3]
    probe["ingress"] = "deny" if probe["ingress"] == "allow" else "allow"
    done = tullectl("policy", "eval", "--compare", put(tmp_path / "case.json", case))
    assert done.returncode == 1
    assert f"probe {probe['id']}, {probe['from']} -> {probe['to']}" in done.stdout
    assert f"expected {probe['ingress']}" in done.stdout and "1 differences" in done.stdout


# -- files that are none --


def change(*path, value):
    def apply(case):
        place = case
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    return apply


def forget(*path):
    def apply(case):
        place = case
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
    return apply


def repeat(key):
    return lambda case: case[key].append(case[key][0])


BAD = [
    (change("schema", value="npcase/2"), "schema is \"npcase/2\", expected npcase/1 or npseq/1"),
    (forget("schema"), "schema is missing"),
    (change("schema", value="npseq/1"), "steps is missing, expected a list"),
    (forget("probes"), "probes is missing, expected a list"),
    (forget("policies"), "policies is missing, expected a list"),
    (change("pods", value={}), "pods is {}, expected a list"),
    (change("pods", 0, value=7), "pods[0] is 7, expected an object"),
    (change("pods", 0, "name", value="../x"), "pods[0].name is \"../x\", expected a name"),
    (change("pods", 0, "ips", value=["10.0.0.300"]), "pods[0].ips[0] is \"10.0.0.300\", expected an address"),
    (change("pods", 0, "ips", value=[""]), "pods[0].ips[0] is \"\", expected an address"),
    (change("pods", 0, "ips", value=[None]), "pods[0].ips[0] is "),
    (change("pods", 0, "labels", value={"a": 1}), "pods[0].labels.a is 1, expected a text"),
    (change("pods", 0, "ports", value=[{"containerPort": 70000}]), "pods[0].ports[0].containerPort is 70000"),
    (change("pods", 0, "ports", value=[[]]), "pods[0].ports[0] is [], expected an object"),
    (change("pods", 0, "hostNetwork", value="yes"), "pods[0].hostNetwork is \"yes\", expected true or false"),
    (change("namespaces", 0, "labels", value=[]), "namespaces[0].labels is [], expected an object"),
    (change("nodes", 0, "ips", value=["::1/128"]), "nodes[0].ips[0] is \"::1/128\", expected an address"),
    (change("policies", 0, "metadata", "name", value=""), "policies[0]"),
    (change("policies", 0, "kind", value="NetworkPolicies"), "policies[0].kind is \"NetworkPolicies\", expected one of policy"),
    (change("policies", 0, "apiVersion", value="networking.k8s.io/v2"), "policies[0].kind is \"NetworkPolicy\""),
    (forget("policies", 0, "kind"), "policies[0]: kind is missing"),
    (change("probes", 2, "from", value="nobody/here"), "probes[2].from is \"nobody/here\", expected \"namespace/pod\""),
    (change("probes", 2, "to_ip", value="x"), "probes[2].to_ip is \"x\", expected an address"),
    (forget("probes", 2, "from_ip"), "probes[2].from_ip is missing"),
    (change("probes", 2, "to_ip", value="2001:db8::99"), "probes[2].to_ip is \"2001:db8::99\", expected an address of from_ip's family"),
    (change("probes", 2, "protocol", value="tcp"), "probes[2].protocol is \"tcp\", expected TCP"),
    (change("probes", 2, "port", value=65536), "probes[2].port is 65536"),
    (change("probes", 2, "expected", value="maybe"), "probes[2].expected is \"maybe\""),
    (forget("probes", 2, "id"), "probes[2].id is missing, expected a number"),
    (repeat("pods"), "is there twice"), (repeat("nodes"), "is there twice"), (repeat("policies"), "is there twice"),
    (repeat("externals"), "externals["),
]


def small():
    """IPv4 alone, a policy at least."""
    return next(case for case in (generate.case("kubernetes", seed) for seed in range(100))
                if not any(":" in ip for node in case["nodes"] for ip in node["ips"]) and len(case["probes"]) > 3)


@pytest.mark.parametrize("spoil, told", BAD, ids=[told.replace(" ", "-")[:40] for _, told in BAD])
def test_bad_files(spoil, told, tmp_path):
    case = small()
    spoil(case)
    path = put(tmp_path / "bad.json", case)
    done = tullectl("policy", "eval", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and str(path) in done.stderr, done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"schema":"npcase/1"}\0', '{"schema":"npcase/1"} x', "[" * 5000])
def test_no_case_at_all(text, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(text)
    done = tullectl("policy", "eval", path)
    assert (done.returncode, done.stdout) == (2, "") and str(path) in done.stderr


def test_no_file(tmp_path):
    done = tullectl("policy", "eval", tmp_path / "none.json")
    assert done.returncode == 2 and "none.json" in done.stderr


@pytest.mark.parametrize("words", [[], ["eval"], ["eval", "--fast", "x"], ["eval", "--out"], ["judge"], ["explain", "a/b", "c/d"],
                                   ["explain", "a/b"], ["lint"]])
def test_usage(words):
    done = tullectl("policy", *words)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("tullectl: ")
