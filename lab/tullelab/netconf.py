# SPDX-License-Identifier: Apache-2.0
"""Flannel's network configuration for a lab."""

import json

from . import address
from .errors import LabError

BACKENDS = ("vxlan", "host-gw", "udp", "alloc")


def build(backend: str, family: str, override=None) -> str:
    """net-conf.json's text.  override: a JSON object (or its text) whose keys replace ours; its "Backend" replaces Backend's keys."""
    versions = address.families(family)
    conf = {}
    if 4 in versions:
        conf["Network"] = str(address.PODS4)
    else:
        conf["EnableIPv4"] = False
    if 6 in versions:
        conf["EnableIPv6"] = True
        conf["IPv6Network"] = str(address.PODS6)
    conf["Backend"] = {"Type": backend}
    if isinstance(override, str):
        try:
            override = json.loads(override)
        except ValueError as error:
            raise LabError(f"--net-conf: not JSON: {error}") from None
    if override is not None and not isinstance(override, dict):
        raise LabError("--net-conf: expected a JSON object")
    for key, value in (override or {}).items():
        if key == "Backend" and isinstance(value, dict):
            conf["Backend"].update(value)
        else:
            conf[key] = value
    return json.dumps(conf, indent=2) + "\n"
