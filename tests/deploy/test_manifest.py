# SPDX-License-Identifier: Apache-2.0
"""deploy/tulle.yaml and its sister, without a cluster: what one can see by reading them beside the code."""
import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT

IMAGE = "localhost/tulle:dev"
TEXT = (ROOT / "deploy" / "tulle.yaml").read_text()


def containers(item):
    pod = item["spec"]["template"]["spec"]
    return pod.get("initContainers", []) + pod["containers"]


def test_what_there_is(manifest):
    assert set(manifest) == {
        ("Namespace", "kube-tulle"), ("ServiceAccount", "tulle"), ("ClusterRole", "tulle"), ("ClusterRoleBinding", "tulle"),
        ("ClusterRole", "tulle-pools"), ("ClusterRoleBinding", "tulle-pools"), ("ClusterRole", "tulle-policy"),
        ("ClusterRoleBinding", "tulle-policy"), ("Role", "tulle"), ("RoleBinding", "tulle"), ("ConfigMap", "tulle-cfg"), ("DaemonSet", "tulle")}
    assert {item["metadata"]["namespace"] for item in manifest.values() if "namespace" in item["metadata"]} == {"kube-tulle"}


def test_one_image(manifest, cleanup):
    """One name to replace."""
    used = [c for item in (manifest["DaemonSet", "tulle"], cleanup["DaemonSet", "tulle-cleanup"]) for c in containers(item)]
    assert {c["image"] for c in used} == {IMAGE} and {c["imagePullPolicy"] for c in used} == {"IfNotPresent"}


def test_flags_are_known(pod, built):
    """tulled reads them all, and stops at its version."""
    args = pod["containers"][0]["args"]
    done = subprocess.run([built / "tulled", *args, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "--owner-daemonset=kube-tulle/tulle" in args


def test_ports_agree(manifest, pod):
    container = pod["containers"][0]
    port = int(next(arg.split("=")[1] for arg in container["args"] if arg.startswith("--healthz-port=")))
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    assert manifest["DaemonSet", "tulle"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)


def test_configuration_is_good(manifest, built, tmp_path):
    """Both files, and the CNI configuration is the one that the agent has built in."""
    for name, content in manifest["ConfigMap", "tulle-cfg"]["data"].items():
        path = tmp_path / name
        path.write_text(json.dumps(content))
        done = subprocess.run([built / "tullectl", "config", "check", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    source = (ROOT / "src" / "agent" / "agent_install.c").read_text()
    literal = re.search(r"default_conflist\[\] =\n((?:\s*\".*\"\n?)+);", source)[1]
    text = "".join(json.loads(line.strip()) for line in literal.strip().splitlines())
    assert manifest["ConfigMap", "tulle-cfg"]["data"]["cni-conf.json"] == json.loads(text)


def test_the_agent_is_confined(pod):
    agent, = pod["containers"]
    context = agent["securityContext"]
    assert context["privileged"] is False and context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "BPF", "PERFMON", "SYS_ADMIN"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    privileged = [c["name"] for c in pod["initContainers"] if c["securityContext"].get("privileged")]
    assert privileged == ["bpffs"]
    assert pod["initContainers"][0]["command"] == ["/usr/bin/tullectl", "bpffs", "/sys/fs/bpf"]
    assert not pod.get("hostPID") and not pod.get("hostIPC")


def test_volumes_and_mounts(manifest, cleanup):
    for item in (manifest["DaemonSet", "tulle"], cleanup["DaemonSet", "tulle-cleanup"]):
        volumes = {volume["name"] for volume in item["spec"]["template"]["spec"]["volumes"]}
        mounted = {mount["name"] for c in containers(item) for mount in c["volumeMounts"]}
        assert volumes == mounted
    agent = containers(manifest["DaemonSet", "tulle"])[-1]
    places = {mount["mountPath"]: mount for mount in agent["volumeMounts"]}
    assert places["/sys/fs/bpf"]["mountPropagation"] == "HostToContainer"
    for flag in ("--cni-conf-dir", "--cni-bin-dir"):
        assert next(arg.split("=")[1] for arg in agent["args"] if arg.startswith(flag + "=")) in places


def test_it_runs_where_nothing_else_does(pod):
    assert pod["tolerations"] == [{"operator": "Exists"}] and pod["priorityClassName"] == "system-node-critical" and pod["hostNetwork"]


# -- RBAC --

# What the source asks of the API server: path in the code → what RBAC calls it.
CALLS = {
    "/api/v1/nodes": {("", "nodes", "list"), ("", "nodes", "watch")},
    "/api/v1/nodes/%s/status": {("", "nodes/status", "patch")},
    "/api/v1/namespaces/%s/events": {("", "events", "create")},
    "/apis/apps/v1/namespaces/": {("apps", "daemonsets", "get")},
    "/api/v1/namespaces/": {("", "namespaces", "get")},
    "/api/v1/namespaces/%s/pods/%s": set(),  # only without NODE_NAME, which the manifest sets
}


# By kind of objects/objects.h, what src/agent asks for itself; what src/store watches and src/ipam asks for, the test reads there.
OBJECTS = {"KIND_NODE": {"get", "annotate"}, "KIND_POD": {"get", "annotate"}, "KIND_SECRET": {"get"}, "KIND_IPPOOL": {"list", "watch"}}
TASKS = {"get": "get", "list": "list", "create": "create", "update": "update", "remove": "delete"}
CALICO = {"projectcalico.org", "crd.projectcalico.org"}


def kinds() -> dict:
    """KIND_… → (API groups, names of the resource)."""
    text = (ROOT / "src/objects/kind.c").read_text()
    versions = dict(re.findall(r'#define (\w+_VERSION) "([^"]+)"', (ROOT / "src/objects/kind.h").read_text()))
    found = {}
    for kind, macro, entry in re.findall(r"^\t\[(KIND_\w+)\] = (\w*)[({](.*?)[)}],$", text, re.MULTILINE | re.DOTALL):
        texts = re.findall(r'(\.\w+ = )?"([^"]+)"', entry)
        words = [word for member, word in texts if member in ("", ".plural = ", ".v1_plural = ")]
        if macro in ("CORE", "NAMESPACED"):
            found[kind] = ({words[2].rpartition("/")[0]}, {words[1]})
        elif named := re.search(r"api_version = (\w+_VERSION)", entry):
            found[kind] = ({versions[named[1]].rpartition("/")[0]}, set(words))
        else:  # of Calico: its name in either group is no plural
            found[kind] = (CALICO, {word for word in words if word.islower()})
    return found


def asked_for() -> set:
    """(group, resource, verb) of all that goes through objects/objects.h."""
    asked = {(kind, verb) for kind, verbs in OBJECTS.items() for verb in verbs}
    for path in ("src/resources/cluster.c", "src/agent/policy/parts.c"):
        for kind in re.findall(r"^\t\[(?:CLUSTER|WORLD)_\w+\] = \{(KIND_\w+),", (ROOT / path).read_text(), re.MULTILINE):
            asked |= {(kind, "list"), (kind, "watch")}
    for path in (ROOT / "src" / "ipam").glob("*.c"):
        asked |= {(kind, TASKS[verb]) for verb, kind in re.findall(r"\btask_(\w+)\([^;]*?(KIND_\w+)", path.read_text())}
    names = kinds()
    assert {kind for kind, _ in asked} == set(names), "every kind is used, and every use is of a known kind"
    found = set()
    for kind, verb in asked:
        groups, resources = names[kind]
        found |= {(group, f"{resource}/status" if verb == "annotate" else resource, "patch" if verb == "annotate" else verb)
                  for group in groups for resource in resources}
    return found


def granted(manifest):
    return {(group, resource, verb) for (kind, _), item in manifest.items() if kind in ("ClusterRole", "Role") for rule in item["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_least_privilege(manifest):
    """What is granted is what the source asks for, no more and no less."""
    called = set()
    for path in [*(ROOT / "src" / "store").glob("*.c"), *(ROOT / "src" / "agent").glob("*.c"), ROOT / "src" / "objects" / "kube_events.c"]:
        called |= set(re.findall(r'"(/apis?/[^"?]*)', path.read_text()))
    assert called == set(CALLS), "the table in this test names each path of the source"
    assert granted(manifest) == set().union(*CALLS.values()) | asked_for()
    env = manifest["DaemonSet", "tulle"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"NODE_NAME", "POD_NAMESPACE"} <= {variable["name"] for variable in env}


def test_what_is_ours_is_granted_by_name(manifest):
    """The objects of our own namespace, and no Secret anywhere else."""
    role = manifest["Role", "tulle"]
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {"daemonsets", "namespaces", "leases", "secrets"}
    assert [rule["verbs"] for rule in role["rules"] if "resourceNames" not in rule] == [["create"]]
    everywhere = [rule for name in ("tulle", "tulle-pools", "tulle-policy") for rule in manifest["ClusterRole", name]["rules"]]
    assert not {"secrets", "leases", "daemonsets"} & {resource for rule in everywhere for resource in rule["resources"]}


def test_flannel_needs_no_more_than_before(manifest):
    """What pools need is a role of its own, which a cluster with net-conf.json can do without."""
    base = {(group, resource, verb) for rule in manifest["ClusterRole", "tulle"]["rules"] for group in rule["apiGroups"]
            for resource in rule["resources"] for verb in rule["verbs"]}
    assert base == {("", "nodes", "list"), ("", "nodes", "watch"), ("", "nodes/status", "patch"), ("", "events", "create")}


def test_each_verb_has_its_reason(manifest):
    roles = [part for part in TEXT.split("\n---\n") if re.search(r"^kind: (Cluster)?Role$", part, re.MULTILINE)]
    assert len(roles) == 4
    for role in roles:
        verbs = re.findall(r"^ {6}- (\w+)(.*)$", role, re.MULTILINE)
        assert len(verbs) == sum(len(rule["verbs"]) for rule in yaml.safe_load(role)["rules"])
        assert all(re.match(r" # .{10,}", comment) for _, comment in verbs), verbs


def test_the_page_names_them_all(manifest):
    page = (ROOT / "docs" / "install.md").read_text()
    section = page[page.index("### What it may do"):page.index("### Looking")]
    for _, resource, verb in granted(manifest):
        assert re.search(rf"{resource}\b[^|]*\b{verb}\b", section), f"{resource}: {verb}"
    for capability in ("NET_ADMIN", "BPF", "PERFMON", "SYS_ADMIN"):
        assert capability in section


@pytest.mark.parametrize("name", ["tulle.yaml", "tulle-cleanup.yaml"])
def test_no_key_twice(name):
    """Two equal keys in one mapping: YAML takes the last, the API server refuses."""
    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node, deep=False):
        keys = [loader.construct_object(key, deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{name}, line {node.start_mark.line + 1}: {keys}"
        return yaml.SafeLoader.construct_mapping(loader, node, deep)
    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    assert list(yaml.load_all((ROOT / "deploy" / name).read_text(), Strict))
