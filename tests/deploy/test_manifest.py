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
        ("Namespace", "kube-tulle"), ("ServiceAccount", "tulle"), ("ClusterRole", "tulle"), ("ClusterRoleBinding", "tulle"), ("Role", "tulle"),
        ("RoleBinding", "tulle"), ("ConfigMap", "tulle-cfg"), ("DaemonSet", "tulle")}
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
    "/api/v1/namespaces/default/events": {("", "events", "create")},
    "/apis/apps/v1/namespaces/": {("apps", "daemonsets", "get")},
    "/api/v1/namespaces/": {("", "namespaces", "get")},
    "/api/v1/namespaces/%s/pods/%s": set(),  # only without NODE_NAME, which the manifest sets
}


def granted(manifest):
    return {(group, resource, verb) for kind in ("ClusterRole", "Role") for rule in manifest[kind, "tulle"]["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_least_privilege(manifest):
    """What is granted is what the source asks for, no more and no less. Calico's objects (objects_kube*.c) are not granted here: an agent
    that may not see IPPools speaks Flannel."""
    called = set()
    for path in [*(ROOT / "src" / "store").glob("*.c"), *(ROOT / "src" / "agent").glob("*.c")]:
        if path.name.startswith("objects_kube"):
            continue
        called |= set(re.findall(r'"(/apis?/[^"?]*)', path.read_text()))
    assert called == set(CALLS), "the table in this test names each path of the source"
    assert granted(manifest) == set().union(*CALLS.values())
    env = manifest["DaemonSet", "tulle"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "NODE_NAME" in {variable["name"] for variable in env}
    for rule in manifest["Role", "tulle"]["rules"]:
        assert rule["resourceNames"]


def test_each_verb_has_its_reason(manifest):
    roles = [part for part in TEXT.split("\n---\n") if re.search(r"^kind: (Cluster)?Role$", part, re.MULTILINE)]
    assert len(roles) == 2
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
