# SPDX-License-Identifier: Apache-2.0
"""The house rules that a machine can check: who may include whom, and how a file begins."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"

# DESIGN.md section 3: a room may include its own headers and those of the rooms named here.
MAY_INCLUDE = {
    "base": set(),
    "model": {"base"},
    "plan": {"base", "model"},
    "client": {"base"},
    "flannel": {"base", "model"},
    "objects": {"base", "model", "client"},
    "resources": {"base", "model", "flannel", "objects"},
    "store": {"base", "model", "client", "flannel", "objects", "resources"},
    # and one header of the objects', see DOORS: IPAM works on them, whichever store holds them
    "ipam": {"base", "model"},
    "bpf": set(),
    "plane": {"base", "model", "plan", "bpf"},
    "attach": {"base", "model", "plan", "plane"},
    "cni_server": {"base", "model", "plan", "attach"},
    "agent": {"base", "model", "plan", "client", "flannel", "objects", "resources", "store", "ipam", "plane",
        "attach", "cni_server"},
    "cni": {"base"},
    "ctl": {"base", "model", "plan", "flannel", "objects", "resources", "store", "plane"},
}
# "tullectl config check" takes a CNI configuration exactly as the server does, without an agent; "tullectl cleanup"
# removes what pod attachment has left in Flannel's directories, and what the agent has put into the runtime's.
DOORS = {("ipam", "objects/objects.h"), ("ctl", "cni_server/cni_server.h"), ("ctl", "attach/flannel_files.h"), ("ctl", "cni_server/cni_files.h")}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def sources():
    return sorted(p for p in SRC.rglob("*") if p.suffix in (".c", ".h"))


def test_every_room_is_known():
    assert {p.relative_to(SRC).parts[0] for p in sources()} == set(MAY_INCLUDE)


def test_include_direction():
    wrong = []
    for path in sources():
        room = path.relative_to(SRC).parts[0]
        for name in INCLUDE.findall(path.read_text()):
            target = name.split("/")[0]
            if target not in MAY_INCLUDE or target == room or (room, name) in DOORS:
                continue
            if target not in MAY_INCLUDE[room]:
                wrong.append(f"{path.relative_to(ROOT)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_licence_line():
    missing = []
    for path in sources():
        first = path.read_text().split("\n", 1)[0]
        licence = "GPL-2.0 OR BSD-2-Clause" if path.name.endswith(".bpf.c") else "SPDX-License-Identifier"
        if licence not in first:
            missing.append(str(path.relative_to(ROOT)))
    assert not missing, "\n".join(missing)


def test_headers_open_with_their_purpose():
    bare = []
    for path in sources():
        if path.suffix == ".h":
            text = path.read_text()
            if "#pragma once" not in text or len(text.split("*/", 1)[0]) < 80:
                bare.append(str(path.relative_to(ROOT)))
    assert not bare, "\n".join(bare)


def texts():
    """Sources and pages of the whole tree. Without git's help: the tree may come from an archive, or belong to somebody else."""
    for top in sorted(ROOT.iterdir()):
        if not top.name.startswith((".", "build")):
            yield from (p for p in ([top] if top.is_file() else sorted(top.rglob("*"))) if p.suffix in (".c", ".h", ".py", ".md"))


def test_nothing_is_left_open():
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b|not " + "implemented")
    found = [f"{p.relative_to(ROOT)}:{number}: {line}" for p in texts()
             for number, line in enumerate(p.read_text().splitlines(), 1) if words.search(line)]
    assert not found, "\n".join(found)


def test_no_shell_in_c():
    """DESIGN.md decision 9: child processes are started by argument vector."""
    wrong = [str(p.relative_to(ROOT)) for p in sources()
             if re.search(r"\b(system|popen)\s*\(", p.read_text())]
    assert not wrong, "\n".join(wrong)
