# SPDX-License-Identifier: Apache-2.0
"""One guest for all tests of this directory: booted once, every step's output kept.

/usr/bin/python3 -m pytest tests/qemu (as root; TULLE_BUILD names the build directory)."""

import os
import shlex
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(REPOSITORY / "lab"))

from tullelab.lab import build_directory  # noqa: E402

import machine  # noqa: E402

BACKENDS = ("vxlan", "host-gw", "udp")
SETTLING = ("vxlan",)  # the one that has all of routes, neighbours, FDB entries and devices
PROGRAMS = ("pod", "carrier", "guard", "policy", "policy_source", "express")  # tests of tests/bpf: this kernel's verifier has its own mind
SLOW = "5"  # times as slow as the machine outside, at least: the tests' deadlines are stretched by as much
# Suites of tests/unit against the kernel, their seconds.
SUITES = {"plane/test_plane_entries": 200, "plane/test_plane_links": 200, "plane/test_plane_nft": 200, "plane/test_plane_pools": 100,
          "plane/test_plane_guard": 100, "attach/test_attach": 400}
ARGUMENTS = {"attach/test_attach": "'*' two_hundred"}  # without that one: it takes longer than all others
NETS = {"ipip": "kernel and (reach or full_size or packets_are)"}  # files of tests/bpf, what is taken of them; all of it in the soak
# This kernel has the module ipip, which puts a tunl0 into every network namespace: loaded for these only, others count devices.
IPIP = "modprobe ipip; trap 'modprobe -r ipip' EXIT; "
WITH_IPIP = {"plane/test_plane_pools"}
AGENT = {}  # files of tests/agent, what is left out of them
if os.environ.get("TULLE_SOAK"):
    SUITES |= {"plane/test_plane_netlink": 100, "plane/test_plane_repair": 600, "attach/test_attach_crash": 600,
               "attach/test_attach_files": 200, "attach/test_takeover": 200}
    ARGUMENTS = {}
    NETS = {"ipip": "kernel", "guard": "filter"}
    AGENT = {"repair": "nothing", "peers": "nothing", "pods": "two_hundred or killed"}  # hundreds of plugin calls take many minutes
MODULES = """crc32c_generic libcrc32c nf_tables nft_chain_nat nft_masq nft_ct nft_compat nf_conntrack bridge veth vxlan tun sch_ingress sch_tbf
 sch_fq cls_bpf act_bpf xt_MASQUERADE ip_tables ip6_tables""".split()
# Names of kernel features as the kernel's own type information spells them.
FEATURES = {"tcx": "BPF_TCX_INGRESS", "netkit": "BPF_NETKIT_PRIMARY", "decap-l3": "BPF_F_ADJ_ROOM_DECAP_L3_IPV4",
            "ct-kfunc": "bpf_skb_ct_lookup", "redirect-peer": "BPF_FUNC_redirect_peer"}


def step_name(suite: str) -> str:
    return Path(suite).name.removeprefix("test_")


def steps(directory: Path, build: Path) -> list:
    probes = "; ".join(f"cat /sys/kernel/btf/* | grep -qa {word} && echo has {name} || echo lacks {name}"
                       for name, word in FEATURES.items())
    here = f"cd {shlex.quote(str(directory))}; "
    demo, settle, tests = (shlex.quote(str(path)) for path in (REPOSITORY / "lab/tulle-lab", HERE / "settle.py", build / "tests/bpf"))
    units = build / "tests/unit"
    return [machine.Step("modules", f"set -e; for m in {' '.join(MODULES)}; do modprobe $m; done; lsmod", 60),
            machine.Step("kernel", f"uname -r; {probes}", 60),
            *(machine.Step(f"bpf-{name}", f"{here}{tests}/test_{name}", 120) for name in PROGRAMS),
            *(machine.Step(step_name(suite), f"{IPIP if suite in WITH_IPIP else ''}{here}{units / suite} {ARGUMENTS.get(suite, '')}", seconds) for suite, seconds in SUITES.items()),
            *(machine.Step(f"net-{name}", f"{IPIP}cd {shlex.quote(str(REPOSITORY))}; CARRIER_TOOL={tests}/carrier_tool GUARD_TOOL={tests}/guard_tool "
                           f"/usr/bin/python3 -m pytest -p no:cacheprovider -q tests/bpf/test_{name}_net.py -k '{taken}'", 600)
              for name, taken in NETS.items()),
            *(machine.Step(f"agent-{name}", f"cd {shlex.quote(str(REPOSITORY))}; /usr/bin/python3 -m pytest -p no:cacheprovider -q "
                           f"tests/agent/test_{name}.py -k 'not ({without})'", 600) for name, without in AGENT.items()),
            *(machine.Step(f"demo-{backend}", f"{here}/usr/bin/python3 {demo} demo --backend {backend}", 180) for backend in BACKENDS),
            *(machine.Step(f"settle-{backend}", f"{here}/usr/bin/python3 {settle} {backend}", 120) for backend in SETTLING),
            machine.Step("dmesg", "dmesg --level=emerg,alert,crit,err,warn", 20)]


@pytest.fixture(scope="session")
def guest(tmp_path_factory):
    """The guest's outcome.  What is missing to make one is a failure: `make check` installs it and builds first."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the root file system is shared with the guest")
    build = Path(build_directory())
    missing = [name for name in ("tulled", "tulle", "tullectl", *(f"tests/bpf/test_{name}" for name in PROGRAMS),
                            *(f"tests/unit/{suite}" for suite in SUITES)) if not (build / name).exists()]
    if missing:
        pytest.fail(f"{', '.join(missing)} not in {build}: run `make`, or set TULLE_BUILD")
    directory = tmp_path_factory.mktemp("guest")
    outcome = machine.run(steps(directory, build), directory, {"TULLE_BUILD": str(build), "TULLE_SLOW": SLOW})
    print(f"guest: {outcome.seconds:.0f} s; {outcome.trouble or 'went down by itself'}")
    return outcome
