# SPDX-License-Identifier: Apache-2.0
"""The C tools of bench/, built once, and what machine this is."""
import os
import pathlib
import platform
import subprocess

from tullelab.lab import build_directory

_where = {}
LIBRARIES = ("-ljansson", "-lpcre2-8", "-lcrypto", "-lm")
ENGINE = ("plan/libverdict.a", "plan/libplan.a", "model/libmodel.a", "base/libbase.a")


def build(root: pathlib.Path) -> None:
    target = root / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("netbench", "cnibench"):
        source = root / "bench" / f"{name}.c"
        binary = target / name
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-D_GNU_SOURCE", str(source), "-o", str(binary)], check=True)
        _where[name] = str(binary)


def build_engine() -> str:
    """verdict_bench, with the very libraries that the agent was made of."""
    root = pathlib.Path(__file__).resolve().parents[2]
    binary = root / "build/bench/verdict_bench"
    libraries = [f"{build_directory()}/src/{name}" for name in ENGINE]
    flags = ["-O2", "-Wall", "-Wextra", "-std=gnu17", "-D_GNU_SOURCE", f"-I{root}/src"]
    subprocess.run(["gcc", *flags, str(root / "bench/verdict_bench.c"), *libraries, *LIBRARIES, "-o", str(binary)], check=True)
    return str(binary)


def build_minimal() -> str:
    """The least eBPF that carries packets, as an object for the kernel."""
    root = pathlib.Path(__file__).resolve().parents[2]
    binary = root / "build/bench/minimal.bpf.o"
    headers = f"/usr/include/{platform.machine()}-linux-gnu"
    subprocess.run(["clang", "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror", "-idirafter", headers, "-c", str(root / "bench/minimal.bpf.c"),
                    "-o", str(binary)], check=True)
    return str(binary)


def path(name: str) -> str:
    return _where[name]


def machine() -> dict:
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {"kernel": platform.release(), "cpu": cpu, "cpus": os.cpu_count()}
