# SPDX-License-Identifier: Apache-2.0
"""Manifests as what they mean, for comparing them."""
import json

import yaml


def objects(text: str) -> dict:
    """(kind, name) → object, the files inside a ConfigMap as what they mean."""
    found = {}
    for item in yaml.safe_load_all(text):
        if not item:
            continue
        if item["kind"] == "ConfigMap":
            item["data"] = {name: json.loads(content) for name, content in item["data"].items()}
        key = item["kind"], item["metadata"]["name"]
        assert key not in found, f"{key} is there twice"
        found[key] = item
    return found
