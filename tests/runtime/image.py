# SPDX-License-Identifier: Apache-2.0
"""A container image made on the spot from Debian's static busybox: nothing is pulled, and no tool leaves its cache on the machine."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

NAME = "localhost/tulle-test:1"
BUSYBOX = Path("/bin/busybox")
APPLETS = "sh sleep cat echo ip ping wget httpd hostname ls mkdir".split()
DIRECTORIES = "bin etc proc sys dev tmp www".split()
FILES = {"etc/passwd": "root:x:0:0:root:/:/bin/sh\n", "etc/group": "root:x:0:\n"}


def archive(directory: Path) -> Path:
    """The image as a docker archive, which ctr and podman both load.  Without a command of its own it sleeps, as a sandbox shall."""
    layer = _layer()
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
                         "config": {"Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
                         "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "tests/runtime/image.py"}]}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"]}]).encode()
    target = directory / "image.tar"
    with tarfile.open(target, "w") as tar:
        for member, content in (("layer.tar", layer), (name, config), ("manifest.json", manifest)):
            _file(tar, member, content)
    return target


def _layer() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in DIRECTORIES:
            _member(tar, name, tarfile.DIRTYPE)
        _file(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in APPLETS:
            _member(tar, f"bin/{applet}", tarfile.SYMTYPE, linkname="busybox")
        for name, text in FILES.items():
            _file(tar, name, text.encode())
    return out.getvalue()


def _member(tar, name: str, kind, **fields) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o755
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info)


def _file(tar, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))
