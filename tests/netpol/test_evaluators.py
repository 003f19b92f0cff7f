# SPDX-License-Identifier: Apache-2.0
"""The slow evaluators themselves: they come to the values that others wrote down."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "cases")]

import cyclonus  # noqa: E402
import evaluator  # noqa: E402
import expressions  # noqa: E402
import tiers  # noqa: E402
import world  # noqa: E402
import write  # noqa: E402

SAMPLES = sorted((HERE / "data" / "samples").glob("*.json.xz"))


def differences(case, evaluate):
    found = []
    for number, raw, probes in world.steps(case):
        for probe, answer in zip(probes, evaluate(raw, probes), strict=True):
            wrong = {key: value for key, value in answer.items() if probe.get(key, value) != value}
            if wrong:
                found.append((case["id"], number, probe, wrong))
    return found


@pytest.mark.parametrize("evaluate", [evaluator.evaluate, tiers.evaluate], ids=["alone", "tiers"])
def test_samples(evaluate):
    assert len(SAMPLES) == 21
    for path in SAMPLES:
        assert differences(world.load(path), evaluate) == []


def test_cyclonus():
    cases = list(cyclonus.cases())
    assert len(cases) == 230
    for case in cases:
        assert differences(case, evaluator.evaluate) == []


@pytest.mark.parametrize("name, count", [("kubernetes", 48), ("cluster", 99), ("calico", 70), ("hosts", 20)])
def test_our_own_cases(name, count):
    """What was written down by hand."""
    cases = write.SETS[name]()
    assert len({case["id"] for case in cases}) == len(cases) >= count
    for case in cases:
        assert differences(case, tiers.evaluate) == []


@pytest.mark.parametrize("text, labels, expected", [
    ("", {}, True), ("all()", {}, True), ("global()", {}, True), ("has(a)", {"a": ""}, True), ("has( a )", {}, False),
    ("a == 'b'", {"a": "b"}, True), ('a=="b"', {"a": "c"}, False), ("a != 'b'", {}, True), ("a != 'b'", {"a": "b"}, False),
    ("a in {'b', 'c'}", {"a": "c"}, True), ("a in {}", {"a": "c"}, False), ("a not in {'b'}", {}, True),
    ("a notin {'b',}", {"a": "b"}, False), ("a contains 'x'", {"a": "axb"}, True), ("a contains 'x'", {}, False),
    ("a starts with 'x'", {"a": "xb"}, True), ("a startswith 'x'", {"a": "bx"}, False), ("a ends with 'x'", {"a": "bx"}, True),
    ("!has(a)", {}, True), ("!!has(a)", {}, False), ("!a == 'b'", {"a": "b"}, False),
    ("has(a) || has(b) && has(c)", {"a": ""}, True), ("(has(a) || has(b)) && has(c)", {"a": ""}, False),
    ("not == 'in'", {"not": "in"}, True), ("pcns.x/y_z == 'q'", {"pcns.x/y_z": "q"}, True)])
def test_selectors(text, labels, expected):
    assert expressions.matches(text, labels) is expected
