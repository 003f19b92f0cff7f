# SPDX-License-Identifier: Apache-2.0
"""deploy/image/build: what is in the image, and that it runs. A chroot stands for the container."""
import hashlib
import json
import os
import re
import stat
import subprocess
import tarfile

import pytest
from conftest import ROOT, recipe

WORK = ROOT / "build" / "image"
VERSION = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]


def inside(root, *command, **options):
    """In network and mount namespaces of its own: nothing in there may reach the machine's."""
    return subprocess.run(["/usr/bin/unshare", "--net", "--mount", "--root", root, *command], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("command, answer", [
    (["/usr/sbin/tulled", "--version"], f"tulled {VERSION}"),
    (["/usr/bin/tullectl", "--version"], f"tullectl {VERSION}"),
    (["/usr/sbin/nft", "--version"], "nftables v1."),
    (["/usr/sbin/bird", "--version"], "BIRD version 2"),
    (["/usr/sbin/iptables-nft", "--version"], "(nf_tables)"),
    (["/usr/sbin/ip6tables-legacy", "--version"], "(legacy)"),
    (["/usr/sbin/iptables-nft", "-A", "FORWARD", "-m", "comment", "--comment", "x", "-j", "ACCEPT"], ""),
    (["/usr/sbin/nft", "add table inet x; list ruleset"], "table inet x"),
])
def test_programs_run(image_root, command, answer):
    done = inside(image_root, *command)
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout + done.stderr


def test_the_plugin_answers(image_root):
    done = inside(image_root, "/usr/libexec/tulle/tulle", input='{"cniVersion": "1.0.0"}', env={"CNI_COMMAND": "VERSION"})
    assert done.returncode == 0 and "1.1.0" in json.loads(done.stdout)["supportedVersions"]


def test_nothing_but_the_agent_needs(image_root):
    """No shell, no set-user-id program, no device, and little of it."""
    files = [path for path in image_root.rglob("*") if not path.is_symlink()]
    assert not [path for path in files if path.is_file() and path.name in ("sh", "bash", "dash", "busybox", "apt", "dpkg", "perl", "python3")]
    for path in files:
        mode = path.lstat().st_mode
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode), path
        assert not mode & (stat.S_ISUID | stat.S_ISGID) and not mode & stat.S_IWOTH, path
    assert sum(path.lstat().st_size for path in files if path.is_file()) < 50e6


def test_every_library_is_there(image_root):
    """The loader says what it would map: also for what is only loaded later."""
    loader = next(image_root.glob("lib*/ld-linux-*"))
    elf = [path for path in image_root.rglob("*") if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\x7fELF"]
    assert len(elf) > 50
    for path in elf:
        if path == loader or path.name == "tulle":
            continue
        done = inside(image_root, f"/{loader.relative_to(image_root)}", "--list", f"/{path.relative_to(image_root)}")
        assert done.returncode == 0 and "not found" not in done.stdout, f"{path}: {done.stdout}{done.stderr}"


def test_licences(image_root):
    for package in ("tulle", "bird2", "nftables", "libcurl4"):
        assert (image_root / "usr/share/doc" / package / "copyright").stat().st_size > 100


def layers(archive):
    with tarfile.open(archive) as tar:
        entry, = json.load(tar.extractfile("manifest.json"))
        config = json.load(tar.extractfile(entry["Config"]))
        return entry, config, [hashlib.sha256(tar.extractfile(name).read()).hexdigest() for name in entry["Layers"]]


def test_archive(built, architecture, tmp_path):
    """One layer, our names; made again it is the same."""
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for path in archives:
        said = recipe("--programs", built, "--output", path, "--tag", "localhost/tulle-test:7")
        assert "localhost/tulle-test:7" in said
    entry, config, digests = layers(archives[0])
    assert entry["RepoTags"] == ["localhost/tulle-test:7"] and len(digests) == 1
    assert (config["os"], config["architecture"]) == ("linux", architecture)
    assert config["config"]["Entrypoint"] == ["/usr/sbin/tulled"]
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == VERSION
    assert layers(archives[1])[2] == digests
    with tarfile.open(archives[0]) as tar, tarfile.open(fileobj=tar.extractfile(entry["Layers"][0])) as layer:
        owners = {(member.uid, member.gid) for member in layer}
        assert owners == {(0, 0)}


@pytest.mark.soak
def test_arm64():
    """Cross-compiled in a tree of its own; qemu's user mode stands for the machine."""
    recipe("--arch", "arm64", timeout=1800)
    root = WORK / "root-arm64"
    run = ["qemu-aarch64-static", "-L", root]
    assert subprocess.run([*run, root / "usr/sbin/tulled", "--version"], capture_output=True, text=True).stdout == f"tulled {VERSION}\n"
    assert "--kube-subnet-mgr" in subprocess.run([*run, root / "usr/sbin/tulled", "--help"], capture_output=True, text=True).stdout
    assert subprocess.run([*run, root / "usr/bin/tullectl", "--version"], capture_output=True, text=True).stdout == f"tullectl {VERSION}\n"
    assert "BIRD version 2" in subprocess.run([*run, root / "usr/sbin/bird", "--version"], capture_output=True, text=True).stderr
    plugin = subprocess.run([*run, root / "usr/libexec/tulle/tulle"], capture_output=True, text=True, input='{"cniVersion": "1.0.0"}',
                            env={"CNI_COMMAND": "VERSION", "PATH": os.environ["PATH"]})
    assert "1.1.0" in json.loads(plugin.stdout)["supportedVersions"]
    for program in ("usr/sbin/tulled", "usr/bin/tullectl", "usr/libexec/tulle/tulle", "usr/sbin/nft"):
        assert (root / program).read_bytes()[18:20] == b"\xb7\x00", f"{program}: EM_AARCH64"
    _, config, _ = layers(WORK / "tulle-arm64.tar")
    assert config["architecture"] == "arm64"
