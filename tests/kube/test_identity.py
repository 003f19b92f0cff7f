# SPDX-License-Identifier: Apache-2.0
"""Who we are to the API server, against the real one."""

import base64
import os
import pathlib
import textwrap

import pytest

from cluster import Authority
from loopback import wait_for
from conftest import PROBE

MAPS = "/api/v1/namespaces/default/configmaps"
ALL = "/api/v1/configmaps"


def narrow_role(cluster, *verbs):
    """User narrow may do so much with ConfigMaps."""
    cluster.request("DELETE", "/apis/rbac.authorization.k8s.io/v1/clusterroles/narrow", allow=404)
    cluster.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", {
        "metadata": {"name": "narrow"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": list(verbs)}] if verbs else []})
    cluster.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
        "metadata": {"name": "narrow"}, "subjects": [{"kind": "User", "name": "narrow"}],
        "roleRef": {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "narrow"}}, allow=409)


def whoami(probe):
    import json
    answer = probe.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                        '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}')
    assert answer["status"] == 201, answer
    return json.loads(answer["body"])["status"]["userInfo"]["username"]


@pytest.mark.parametrize("inline", [True, False])
def test_client_certificate(cluster, probes, inline):
    cert, key = cluster.authority.sign("bob", "/O=system:masters/CN=bob")
    encode = lambda path: base64.b64encode(pathlib.Path(path).read_bytes()).decode()  # noqa: E731
    if inline:
        config = cluster.kubeconfig("k", {"client-certificate-data": encode(cert), "client-key-data": encode(key)},
                                    **{"certificate-authority": None, "certificate-authority-data": encode(cluster.authority.cert)})
    else:
        config = cluster.kubeconfig("k", {"client-certificate": os.path.relpath(cert, cluster.directory),
                                          "client-key": os.path.relpath(key, cluster.directory)})
    assert whoami(probes(f"kubeconfig={config}")) == "bob"


def test_token(cluster, probes):
    assert whoami(probes(f"kubeconfig={cluster.kubeconfig('k', {'token': 'admin-token'})}")) == "admin"


def test_anonymous(cluster, probes):
    config = cluster.kubeconfig("k", {})
    answer = probes(f"kubeconfig={config}").call("GET", ALL)
    assert answer["status"] == 403 and 'User "system:anonymous" cannot list resource "configmaps"' in answer["text"]


def test_token_file_is_rotated(cluster, probes):
    """A token that the server no longer knows is a problem until the file has another one."""
    token = cluster.directory / "token"
    token.write_text("admin-token\n")
    probe = probes(f"kubeconfig={cluster.kubeconfig('k', {'tokenFile': str(token)})}")
    assert whoami(probe) == "admin"
    token.write_text("narrow-token\n")
    assert whoami(probe) == "narrow"
    token.write_text("unknown\n")
    assert probe.call("GET", ALL)["status"] == 401
    watch = probe.watch(MAPS)
    wait_for("a problem", lambda: "401 Unauthorized" in watch.problem)
    token.write_text("admin-token\n")
    wait_for("the list", lambda: watch.ends and watch.problem == "")


def test_narrow_rights(cluster, probes):
    """The message names verb and resource, and whose right it is; once it is given, all goes on."""
    narrow_role(cluster)
    probe = probes(f"kubeconfig={cluster.kubeconfig('k', {'token': 'narrow-token'})}")
    watch = probe.watch(ALL)
    wait_for("a problem", lambda: watch.problem)
    for word in "403 Forbidden", 'User "narrow"', 'cannot watch resource "configmaps"', "at the cluster scope", f"GET {ALL}":
        assert word in watch.problem, watch.problem
    narrow_role(cluster, "watch")
    wait_for("the next problem", lambda: 'cannot list resource "configmaps"' in watch.problem)
    narrow_role(cluster, "list", "watch")
    wait_for("the list", lambda: watch.ends and watch.problem == "")
    answer = probe.call("DELETE", f"{MAPS}/x")
    assert answer["status"] == 403 and answer["reason"] == "Forbidden"
    assert 'cannot delete resource "configmaps"' in answer["text"]


def test_refusals(cluster, probes):
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    missing = probe.call("GET", f"{MAPS}/missing?x=y")
    assert (missing["status"], missing["reason"]) == (404, "NotFound")
    assert missing["text"] == f'{cluster.servers[0].url}: GET {MAPS}/missing: 404 NotFound: configmaps "missing" not found'
    assert probe.call("POST", MAPS, '{"metadata":{"name":"a"}}')["status"] == 201
    again = probe.call("POST", MAPS, '{"metadata":{"name":"a"}}')
    assert (again["status"], again["reason"]) == (409, "AlreadyExists")
    patched = probe.call("PATCH", f"{MAPS}/a", '{"data":{"k":"v"}}')
    assert patched["status"] == 200 and '"k":"v"' in patched["body"] and patched["text"] == ""
    bad = probe.call("POST", MAPS, '{"metadata":')
    assert (bad["status"], bad["reason"]) == (400, "BadRequest")


def test_wrong_authority(cluster, probes, tmp_path):
    other = Authority(tmp_path, "other")
    config = cluster.kubeconfig("k", {"token": "admin-token"}, **{"certificate-authority": str(other.cert)})
    probe = probes(f"kubeconfig={config}")
    answer = probe.call("GET", ALL)
    assert answer["status"] == 0 and "certificate" in answer["text"] and cluster.servers[0].url in answer["text"]
    watch = probe.watch(ALL)
    wait_for("a problem", lambda: "certificate" in watch.problem)


def test_no_authority(cluster, probes):
    """Without one, the system's count, which do not know this server; unless nothing is to be checked."""
    config = cluster.kubeconfig("k", {"token": "admin-token"}, **{"certificate-authority": None})
    assert "certificate" in probes(f"kubeconfig={config}").call("GET", ALL)["text"]
    config = cluster.kubeconfig("k2", {"token": "admin-token"}, **{"certificate-authority": None,
                                                                    "insecure-skip-tls-verify": True})
    assert probes(f"kubeconfig={config}").call("GET", ALL)["status"] == 200


def test_server_name(cluster, probes):
    """The certificate is for another name than the address: its name is asked for, and checked."""
    good = cluster.kubeconfig("k", {"token": "admin-token"}, **{"tls-server-name": "kubernetes.default.svc"})
    probe = probes(f"kubeconfig={good}")
    assert probe.call("GET", ALL)["status"] == 200
    assert probe.call("GET", ALL)["status"] == 200
    bad = cluster.kubeconfig("k2", {"token": "admin-token"}, **{"tls-server-name": "other.example"})
    answer = probes(f"kubeconfig={bad}").call("GET", ALL)
    assert answer["status"] == 0 and "other.example" in answer["text"]


def plugin(cluster, text):
    path = cluster.directory / "plugin"
    path.write_text("#!/usr/bin/python3\nimport json, os, pathlib, sys\n" + textwrap.dedent(text))
    path.chmod(0o700)
    return path


def exec_user(version="v1", **more):
    return {"exec": {"apiVersion": f"client.authentication.k8s.io/{version}", "command": "./plugin",
                     "interactiveMode": "IfAvailable", **more}}


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_plugin_gives_tokens(cluster, probes, version):
    """Run once for many calls, with what the kubeconfig says; again when its token is refused."""
    plugin(cluster, f"""
        home = pathlib.Path(__file__).parent
        with (home / "runs").open("a") as runs:
            runs.write("run\\n")
        info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
        assert info["apiVersion"] == "client.authentication.k8s.io/{version}" and info["kind"] == "ExecCredential"
        assert info["spec"]["interactive"] is False and sys.stdin.read() == ""
        assert info["spec"]["cluster"]["server"] == "{cluster.servers[0].url}"
        assert info["spec"]["cluster"]["certificate-authority-data"].startswith("LS0t")
        assert sys.argv[1:] == ["say", "it all"] and os.environ["FROM"] == "kubeconfig"
        print(json.dumps({{"apiVersion": info["apiVersion"], "kind": "ExecCredential",
                           "status": {{"token": (home / "its-token").read_text()}}}}))
    """)
    runs, token = cluster.directory / "runs", cluster.directory / "its-token"
    runs.write_text("")
    token.write_text("admin-token")
    config = cluster.kubeconfig("k", exec_user(version, args=["say", "it all"], provideClusterInfo=True,
                                               env=[{"name": "FROM", "value": "kubeconfig"}]))
    probe = probes(f"kubeconfig={config}")
    assert probe.next("burst", f"burst 50 {ALL}")["failed"] == 0
    assert runs.read_text() == "run\n"
    # The server forgets the token: one refusal, one more run.
    token.write_text("narrow-token")
    assert whoami(probe) == "admin"
    cluster_tokens = dict(cluster.tokens)
    try:
        cluster.tokens = {"narrow-token": ("narrow", "")}
        cluster.write_tokens()
        cluster.servers[0].stop()
        cluster.servers[0].start()
        assert probe.call("GET", ALL)["status"] in (0, 401)
        wait_for("the new token", lambda: probe.call("GET", ALL)["status"] not in (0, 401))
        assert whoami(probe) == "narrow"
        assert runs.read_text() == "run\n" * 2
    finally:
        cluster.tokens = cluster_tokens
        cluster.write_tokens()
        cluster.servers[0].stop()
        cluster.servers[0].start()


def test_plugin_gives_certificates(cluster, probes):
    cert, key = cluster.authority.sign("eve", "/O=system:masters/CN=eve")
    plugin(cluster, f"""
        print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{
            "clientCertificateData": open("{cert}").read(), "clientKeyData": open("{key}").read()}}}}))
    """)
    probe = probes(f"kubeconfig={cluster.kubeconfig('k', exec_user())}")
    assert whoami(probe) == "eve"
    # Another certificate counts at once, although the connection for the first one is still open.
    other, other_key = cluster.authority.sign("adam", "/O=system:masters/CN=adam")
    plugin(cluster, f"""
        print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{
            "clientCertificateData": open("{other}").read(), "clientKeyData": open("{other_key}").read(),
            "expirationTimestamp": "2001-01-01T00:00:00Z"}}}}))
    """)
    assert whoami(probe) == "eve"
    probe = probes(f"kubeconfig={cluster.kubeconfig('k', exec_user())}")
    assert whoami(probe) == "adam"
    plugin(cluster, f"""
        print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{
            "clientCertificateData": open("{cert}").read(), "clientKeyData": open("{key}").read()}}}}))
    """)
    assert whoami(probe) == "eve"


def test_plugin_fails(cluster, probes):
    """Its own words are told; once it works, all goes on."""
    plugin(cluster, "sys.exit('please log in')")
    probe = probes(f"kubeconfig={cluster.kubeconfig('k', exec_user())}")
    watch = probe.watch(ALL)
    wait_for("a problem", lambda: "plugin ended with code 1: please log in" in watch.problem)
    assert 'user "u": exec' in watch.problem
    plugin(cluster, """
        print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                          "status": {"token": "admin-token"}}))
    """)
    wait_for("the list", lambda: watch.ends and watch.problem == "")


def test_in_a_pod(cluster, probes, tmp_path):
    """In a mount namespace of its own, where a service account's files lie."""
    files = tmp_path / "secrets/kubernetes.io/serviceaccount"
    files.mkdir(parents=True)
    (files / "token").write_text("admin-token")
    (files / "ca.crt").write_bytes(pathlib.Path(cluster.authority.cert).read_bytes())
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {tmp_path} /run && exec {PROBE}'\n")
    wrapper.chmod(0o700)
    probe = probes(program=wrapper, env={**os.environ, "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                                         "KUBERNETES_SERVICE_PORT": str(cluster.servers[0].port)})
    assert whoami(probe) == "admin"
