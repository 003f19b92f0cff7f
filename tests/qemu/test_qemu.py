# SPDX-License-Identifier: Apache-2.0
"""The demo and what the kernel must do for it on the oldest one that Tulle promises to run on: Debian 12's own 6.1, in QEMU."""

import re

import pytest

from conftest import AGENT, BACKENDS, FEATURES, MODULES, NETS, PROGRAMS, SETTLING, SUITES, step_name


def ended(guest, name: str):
    """The step's outcome; the end of the console where it has none."""
    if name not in guest.steps:
        pytest.fail(f"the guest did not end step {name}: {guest.trouble}\n--- console\n{guest.tail()}", pytrace=False)
    return guest.steps[name]


def test_kernel(guest, record_property):
    """It is the kernel that this suite is about, without what came later: nothing passes by a newer hook."""
    step = ended(guest, "kernel")
    release, *lines = step.text.split()[0], *re.findall("(?:has|lacks) .*", step.text)
    features = dict(reversed(line.split()) for line in lines)
    assert set(features) == set(FEATURES), step.text
    record_property("kernel", release)
    record_property("features", " ".join(f"{word}:{name}" for name, word in features.items()))
    print(f"kernel {release}; " + ", ".join(lines))
    assert release.startswith("6.1."), f"{release}: expected Debian 12's kernel"
    assert features == {"tcx": "lacks", "netkit": "lacks", "decap-l3": "lacks", "ct-kfunc": "has", "redirect-peer": "has"}


def test_modules(guest):
    """What the data path needs is in Debian's kernel package."""
    step = ended(guest, "modules")
    assert step.status == 0, step.text
    loaded = {line.split()[0] for line in step.text.splitlines() if line.strip()}
    assert {"nf_tables", "vxlan", "veth", "bridge", "sch_tbf", "cls_bpf"} <= loaded & set(MODULES)


def succeeded(guest, name: str, sign) -> None:
    """The step ended with 0 and left its sign of having done the work."""
    step = ended(guest, name)
    print(step.text)
    if step.status != 0 or not re.search(sign, step.text, re.MULTILINE):
        pytest.fail(f"{name} ended with {step.status}\n{step.text}\n--- end of the console\n{guest.tail(15)}", pytrace=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(guest, program):
    """This kernel's verifier takes the eBPF programs, and they do what they do elsewhere."""
    succeeded(guest, f"bpf-{program}", r"^\[  PASSED  \] [1-9]\d* test\(s\)")


@pytest.mark.parametrize("step", [*map(step_name, SUITES), *(f"net-{name}" for name in NETS), *(f"agent-{name}" for name in AGENT)])
def test_suites(guest, step):
    """This kernel takes and tells what newer ones do, as far as the plane, pod attachment and the agent need it."""
    succeeded(guest, step, r"^\[  PASSED  \] [1-9]\d* test\(s\)|^[1-9]\d* passed\b")


@pytest.mark.parametrize("backend", BACKENDS)
def test_demo(guest, backend):
    succeeded(guest, f"demo-{backend}", rf"^PASS \({backend},")


@pytest.mark.parametrize("backend", SETTLING)
def test_agent_comes_to_rest(guest, backend):
    """It does not answer the kernel's news of its own work."""
    succeeded(guest, f"settle-{backend}", rf"^AT REST {backend} ")


def test_no_kernel_complaints(guest):
    """Nothing that the demos did made the kernel warn."""
    text = ended(guest, "dmesg").text
    bad = [line for line in text.splitlines() if re.search(r"BUG:|WARNING:|Oops|Call Trace|refcount_t|unregister_netdevice", line)]
    assert not bad, text
