# SPDX-License-Identifier: Apache-2.0
"""BGP as whole agents speak it: what the store says reaches BIRD. The sessions' own matters are in tests/bgp."""
import json

import pytest
from calico_words import pool
from tullelab import wait


def resource(kind, name, **spec) -> str:
    return json.dumps({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def speakers(built, make_lab):
    """speakers(files, **options): nodes that speak BGP, with these manifests in the store."""
    def make(files=None, **options):
        lab = make_lab(agents=False, agent_args=["--bird=start"], **options)
        for name, text in {"pool.yaml": pool(), **(files or {})}.items():
            lab.store.put(name, text)
        for node in lab.nodes:
            node.agent_start()
        return lab
    return make


def sessions(eyes, node) -> dict:
    found = json.loads(eyes(node).ctl("-o", "json", "bgp", "status", check=False).stdout)
    return {one["name"]: one for one in found.get("sessions", [])}


def wait_established(eyes, node, *names):
    def there():
        found = sessions(eyes, node)
        return found if set(found) == set(names) and all(one["state"] == "Established" for one in found.values()) else None
    return wait.until(there, f"{node.name}: {names}", 40, detail=lambda: json.dumps(sessions(eyes, node)))


def listens(node) -> set:
    """Where BIRD awaits calls: (address, port)."""
    lines = node.run(["ss", "-Hltnp"]).stdout.splitlines()
    return {tuple(line.split()[3].rsplit(":", 1)) for line in lines if '"bird"' in line}


def test_a_node_listens_elsewhere(speakers, eyes):
    """listenPort of one node: it listens there, and the others call there. One for all: everybody does."""
    lab = speakers({"one.yaml": resource("BGPConfiguration", "node.node-1", listenPort=1790)})
    one, two = lab.nodes
    wait_established(eyes, one, "Mesh_192_0_2_2")
    assert {port for _, port in listens(one)} == {"1790"} and {port for _, port in listens(two)} == {"179"}
    lab.store.put("one.yaml", resource("BGPConfiguration", "default", listenPort=1791))
    wait.until(lambda: {port for node in lab.nodes for _, port in listens(node)} == {"1791"}, "both listen there", 20,
               detail=lambda: f"{listens(one)} {listens(two)}")
    wait_established(eyes, one, "Mesh_192_0_2_2")
