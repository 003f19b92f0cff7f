# SPDX-License-Identifier: Apache-2.0
"""ADD and DEL: Tulle against Debian's bridge and ptp plugins with host-local, interleaved."""
import json
import statistics

from tullelab.lab import Lab

from . import report, tools

COUNT = 40
ROUNDS = 3
WORKERS = (1, 8)
PLUGINS = ("tulle", "bridge", "ptp")


def _conf(lab) -> str:
    """The first plugin of the node's list alone, as the runtime would merge it."""
    conflist = lab.nodes[0].runtime.conflist()
    plugin = dict(conflist["plugins"][0], name=conflist["name"], cniVersion="1.0.0")
    plugin.pop("capabilities", None)
    return json.dumps(plugin)


def _once(lab, workers) -> dict:
    node = lab.nodes[0]
    node.write("/run/bench.conf", _conf(lab))
    plugin = f"{lab.build}/tulle" if lab.plugin == "tulle" else f"/usr/lib/cni/{lab.plugin}"
    done = node.run([tools.path("cnibench"), plugin, "/run/bench.conf", COUNT, workers], timeout=300)
    return json.loads(done.stdout)


def measure(options) -> dict:
    # no masquerade anywhere: the reference plugins do theirs per pod, ours once per node
    labs = {name: Lab(nodes=1, plugin=name, agent_args=["--address-rest", "1"]) for name in PLUGINS}
    samples = {f"{name}/{workers}": [] for name in PLUGINS for workers in WORKERS}
    try:
        for lab in labs.values():
            lab.up()
        for _ in range(ROUNDS):
            for workers in WORKERS:
                for name, lab in labs.items():
                    samples[f"{name}/{workers}"].append(_once(lab, workers))
    finally:
        for lab in labs.values():
            lab.down()
    return {key: {"add_ms": statistics.median(s["add"]["median_ms"] for s in found),
                  "del_ms": statistics.median(s["del"]["median_ms"] for s in found),
                  "add_wall_ms": min(s["add"]["wall_ms"] for s in found),
                  "del_wall_ms": min(s["del"]["wall_ms"] for s in found),
                  "failed": sum(s["add"]["failed"] + s["del"]["failed"] for s in found)}
            for key, found in samples.items()}


def rows(data):
    headings = ("plugin", "at once", "ADD median ms", "of bridge", "DEL median ms", "of bridge", f"{COUNT} ADDs ms",
                f"{COUNT} DELs ms", "failed")
    lines = []
    for workers in WORKERS:
        base = data[f"bridge/{workers}"]
        for name in PLUGINS:
            one = data[f"{name}/{workers}"]
            lines.append((name, workers, f"{one['add_ms']:.2f}", report.ratio(one["add_ms"], base["add_ms"]),
                          f"{one['del_ms']:.2f}", report.ratio(one["del_ms"], base["del_ms"]),
                          f"{one['add_wall_ms']:.0f}", f"{one['del_wall_ms']:.0f}", one["failed"]))
    return headings, lines
