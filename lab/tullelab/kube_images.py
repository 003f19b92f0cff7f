# SPDX-License-Identifier: Apache-2.0
"""Container images for clusters without a registry: Debian's programs with the libraries they need, put together by umoci.

Nothing is pulled, no daemon runs, and what was made is kept by its content in $XDG_CACHE_HOME/tulle/images (/var/cache for root)."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import proc, web
from .errors import LabError

SOURCES = Path(__file__).resolve().parents[1] / "images"
KEPT, KEPT_S = 4, 2 * 3600  # archives of one kind, and seconds since the last use
SANDBOX, ECHO, COREDNS = "localhost/pause:lab", "localhost/netecho:lab", "localhost/coredns:lab"
APPLETS = "sh cat ls ip ping ping6 wget nc nslookup sleep ps env grep sed head tail mkdir touch hostname id kill true false test netstat vi".split()
PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
GROUP = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NGINX = "/etc/nginx/nginx.conf"
APACHE = "/etc/apache2/apache2.conf"
THREADS = "ThreadsPerChild 16\nMaxRequestWorkers 16\nMinSpareThreads 1\nMaxSpareThreads 16"


@dataclass(frozen=True)
class Recipe:
    """One image.  base: it stands on the common layer (shell, curl, C library)."""

    name: str  # within the archive
    tags: tuple  # the names that pods use
    command: tuple
    programs: tuple = ()  # the machine's, with the libraries that they need, at the same place
    compiled: dict = field(default_factory=dict)  # path in the image → C file of lab/images
    copied: dict = field(default_factory=dict)  # path in the image → program of the machine, with its libraries too
    files: dict = field(default_factory=dict)  # path in the image → text
    base: bool = True


def _page(text: str) -> str:
    return f"<!DOCTYPE html>\n<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\n"


def recipes(coredns: Path) -> list:
    apache_modules = [f"/usr/lib/apache2/modules/mod_{name}.so" for name in ("mpm_event", "authz_core", "dir")]
    return [
        Recipe("pause", (SANDBOX,), ("/pause",), compiled={"/pause": "pause.c"}, base=False),
        Recipe("nginx", ("docker.io/library/nginx:latest",), ("nginx", "-c", NGINX, "-e", "stderr"), programs=("/usr/sbin/nginx",),
               files={NGINX: web.NGINX.format(dir="/var/lib/nginx").replace("access_log off", "access_log /dev/stdout"),
                      "/var/lib/nginx/www/index.html": _page("Welcome to nginx!")}),
        Recipe("httpd", ("docker.io/library/httpd:latest",), ("apache2", "-f", APACHE, "-D", "FOREGROUND"),
               programs=("/usr/sbin/apache2", *apache_modules),
               files={APACHE: web.APACHE.format(dir="/var/lib/apache2", name="localhost").replace("ThreadsPerChild 4\nMaxRequestWorkers 4", THREADS),
                      "/var/lib/apache2/www/index.html": "<html><body><h1>It works!</h1></body></html>\n"}),
        Recipe("curl", ("docker.io/curlimages/curl:latest", "docker.io/library/busybox:latest"), ("sleep", "1000000")),
        Recipe("netecho", (ECHO,), ("netecho", "serve"), compiled={"/usr/bin/netecho": "netecho.c"}),
        Recipe("coredns", (COREDNS,), ("/coredns", "-conf", "/etc/coredns/Corefile"), copied={"/coredns": str(coredns)}, base=False),
    ]


BASE = Recipe("base", (), (), programs=("/usr/bin/curl",), copied={"/bin/busybox": "/bin/busybox"},
              files={"/etc/passwd": PASSWD, "/etc/group": GROUP, "/etc/nsswitch.conf": "hosts: files dns\n", "/tmp/.keep": "",
                     "/var/tmp/.keep": "", "/root/.keep": ""})


def archive(coredns: Path) -> Path:
    """An OCI archive with all of the lab's images, from the cache or made now."""
    proc.need("umoci", "musl-gcc", "nginx", "apache2", "curl", "busybox")
    wanted = recipes(coredns)
    target = cache() / f"lab-{_key([BASE, *wanted])}.tar"
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as work:
                _build(Path(work), wanted).rename(target)
        used(target, "lab-*.tar")
    return target


def cache() -> Path:
    """Where what was made is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "tulle", "images")


def used(path: Path, alike: str) -> None:
    """Says that an archive is in use, and removes those like it that are neither among the newest nor used of late: other
    checkouts share the cache."""
    path.touch()
    oldest_first = sorted(path.parent.glob(alike), key=lambda one: one.stat().st_mtime)
    for old in oldest_first[:-KEPT]:
        if time.time() - old.stat().st_mtime > KEPT_S:
            old.unlink()


def _key(wanted: list) -> str:
    digest = hashlib.sha256((SOURCES.parent / "tullelab" / "kube_images.py").read_bytes())
    for recipe in wanted:
        digest.update(repr(recipe).encode())
        for path in map(Path, [*(SOURCES / name for name in recipe.compiled.values()), *_machine_files(recipe).values()]):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:24]


def _closure(programs) -> list:
    """Every shared library that the loader would map for the programs, under the names it looks for."""
    found = set()
    for path in programs:
        done = proc.run(["ldd", path], "ldd", check=False)  # status 1: it is static
        found.update(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE))
    if found:  # the C library loads this one when a thread ends, without saying so before
        found.update(str(path) for path in Path("/lib").glob("*-linux-gnu/libgcc_s.so.1"))
    return sorted(found)


def _machine_files(recipe: Recipe) -> dict:
    """Path in the image → path on the machine."""
    programs = {**recipe.copied, **{path: path for path in recipe.programs}}
    return {**{path: path for path in _closure(programs.values())}, **programs}


def _build(work: Path, wanted: list) -> Path:
    layout = work / "oci"
    _umoci("init", "--layout", str(layout))
    _umoci("new", "--image", f"{layout}:empty")
    _umoci("insert", "--image", f"{layout}:empty", "--tag", "base", str(_tree(work / "base", BASE, APPLETS)), "/")
    for recipe in wanted:
        source = "base" if recipe.base else "empty"
        if recipe.programs or recipe.compiled or recipe.copied or recipe.files:
            _umoci("insert", "--image", f"{layout}:{source}", "--tag", recipe.name, str(_tree(work / recipe.name, recipe)), "/")
        else:
            _umoci("tag", "--image", f"{layout}:{source}", recipe.name)
        command = [word for part in recipe.command for word in ("--config.cmd", part)]
        _umoci("config", "--image", f"{layout}:{recipe.name}", *command, "--config.env", f"PATH={PATH}", "--config.workingdir", "/")
    _name(layout, {recipe.name: recipe.tags for recipe in wanted})
    _umoci("gc", "--layout", str(layout))
    target = work / "archive.tar"
    with tarfile.open(target, "w") as tar:
        for path in sorted(layout.rglob("*")):
            tar.add(path, path.relative_to(layout), recursive=False)
    return target


def _tree(top: Path, recipe: Recipe, applets=()) -> Path:
    """The files of one layer."""
    def place(path: str) -> Path:
        target = top / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
    for path, source in _machine_files(recipe).items():
        shutil.copy(os.path.realpath(source), place(_merged(path) if recipe.base or recipe is BASE else path))
    for path, name in recipe.compiled.items():
        proc.run(["musl-gcc", "-static", "-Os", "-std=gnu17", "-s", "-o", place(path), SOURCES / name], "images")
    for path, text in recipe.files.items():
        place(path).write_text(text)
    for name in applets:
        place(f"/usr/bin/{name}").symlink_to("busybox")
    if recipe is BASE:
        for name in ("bin", "sbin", "lib", "lib64"):
            place(f"/usr/{name}").mkdir(exist_ok=True)
            place(name).symlink_to(f"usr/{name}")
        for name in ("tmp", "var/tmp"):
            place(name).chmod(0o1777)
    return top


def _merged(path: str) -> str:
    """Where a file of the machine really lies, /usr merged or not."""
    return "/usr" + path if re.match(r"/(bin|sbin|lib|lib64)/", path) else path


def _name(layout: Path, tags: dict) -> None:
    """Tell containerd the full names: umoci's own are short."""
    index = json.loads((layout / "index.json").read_text())
    by_name = {m["annotations"]["org.opencontainers.image.ref.name"]: m for m in index["manifests"]}
    missing = set(tags) - set(by_name)
    if missing:
        raise LabError(f"umoci made no {', '.join(missing)}")
    index["manifests"] = [dict(by_name[name], annotations={"io.containerd.image.name": tag}) for name, wanted in tags.items() for tag in wanted]
    (layout / "index.json").write_text(json.dumps(index))


def _umoci(*args: str) -> None:
    proc.run(["umoci", *args], "umoci", timeout=300)
