# SPDX-License-Identifier: Apache-2.0
"""Tulle in a cluster as its users install it: the image by its own recipe, deploy/tulle.yaml with the lab's network."""

import fcntl
import hashlib
import json
from pathlib import Path

from . import kube_images, proc
from .errors import LabError

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "deploy" / "image" / "build"
MANIFEST = REPOSITORY / "deploy" / "tulle.yaml"
BIRD = REPOSITORY / "deploy" / "bird.yaml"
DEFINITIONS = REPOSITORY / "deploy" / "crds"
NAMESPACE, NAME, PORT = "kube-tulle", "tulle", 10484
IMAGE = "localhost/tulle:dev"


def image(build: str, tag: str = IMAGE) -> Path:
    """An archive of Tulle's image with the programs of a build directory, from the cache or made now."""
    programs = [Path(build, name) for name in ("tulled", "tullectl", "src/cni/tulle")]
    missing = [str(path) for path in programs if not path.exists()]
    if missing:
        raise LabError(f"{', '.join(missing)} not built: run `make`, or set TULLE_BUILD to where they are")
    digest = hashlib.sha256(tag.encode())
    for path in (RECIPE, *programs):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    cache = kube_images.cache()
    target = cache / f"tulle-{digest.hexdigest()[:24]}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock-tulle", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            new = cache / f".new-{target.name}"
            proc.run([RECIPE, "--programs", build, "--tag", tag, "--output", new], "deploy/image/build", timeout=600)
            new.rename(target)
        kube_images.used(target, "tulle-*.tar")
    return target


def objects(lab, manifest: Path = MANIFEST) -> list:
    """What the manifest says, as kubectl reads it, with the lab's network configuration and arguments."""
    text = lab.kubectl("create", "--dry-run=client", "-o", "json", "-f", manifest).stdout
    found = list(_documents(text))
    for item in found:
        if item["kind"] == "ConfigMap" and "net-conf.json" in item["data"]:
            item["data"]["net-conf.json"] = lab.store.net_conf
        if item["kind"] == "DaemonSet" and item["metadata"]["name"] == NAME:
            container = item["spec"]["template"]["spec"]["containers"][0]
            own = ["--ip-masq=false"] if not lab.ip_masq else []
            container["args"] = [arg for arg in container["args"] if not (own and arg == "--ip-masq")] + own + list(lab.agent_args)
    return found


def _documents(text: str):
    """kubectl prints one JSON object after the other, or a List of them."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        yield from value["items"] if value.get("kind") == "List" else [value]
