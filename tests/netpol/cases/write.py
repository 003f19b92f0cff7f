#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the cases of this directory as npcase/1 and npseq/1: write.py OUTDIR."""
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

import calico  # noqa: E402
import cluster  # noqa: E402
import hosts  # noqa: E402
import kubernetes_e2e  # noqa: E402
import refused  # noqa: E402

SETS = {"kubernetes": kubernetes_e2e.cases, "cluster": cluster.cases, "calico": calico.cases, "refused": refused.cases,
        "hosts": hosts.cases}


def write(name, out):
    """The paths of the files of one set."""
    paths = []
    for number, case in enumerate(SETS[name](), 1):
        title = re.sub(r"[^a-z0-9]+", "-", case["title"].lower()).strip("-")
        paths.append(pathlib.Path(out) / f"{name}-{number:03}-{title[:60]}.json")
        paths[-1].write_text(json.dumps(case) + "\n")
    return paths


def main(args):
    if len(args) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    pathlib.Path(args[0]).mkdir(parents=True, exist_ok=True)
    for name in SETS:
        write(name, args[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
