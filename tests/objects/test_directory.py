# SPDX-License-Identifier: Apache-2.0
"""The directory store: manifests as people write them, beside what Tulle writes itself."""

import errno
import fcntl
import json
import os
import subprocess
import time

import pytest
import yaml

from conftest import V3, make, pool, wait_for
from published import EXAMPLE


def test_the_published_example(directory, probes):
    (directory.path / "any name at all.yaml").write_text(EXAMPLE)
    one = probes(directory).get("IPPool", "default-ipv4-ippool")
    assert one["spec"] == {"cidr": "10.244.0.0/16", "ipipMode": "Never", "natOutgoing": True, "nodeSelector": "all()"}


def test_kinds_of_files(directory, probes):
    """YAML, JSON, several documents, kubectl's list, the v1 group; other people's things are passed over."""
    files = {
        "a.json": json.dumps(pool("a", "10.1.0.0/16")),
        "b.yml": "# only a remark\n---\n" + EXAMPLE.replace("default-ipv4-ippool", "b") + "---\n" +
                 EXAMPLE.replace("default-ipv4-ippool", "c") + "---\n",
        "list.yaml": yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [pool("d"), pool("e")]}),
        "v1.yaml": yaml.safe_dump({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "IPPool",
            "metadata": {"name": "f", "annotations": {"projectcalico.org/metadata": json.dumps({"labels": {"x": "y"}})}},
            "spec": {"cidr": "10.2.0.0/16"}}),
        "config.yaml": "apiVersion: crd.projectcalico.org/v1\nkind: IPAMConfig\nmetadata: {name: default}\n"
                       "spec: {strictAffinity: true}\n",
        "net-conf.json": '{"Network": "10.3.0.0/16"}', "cni-conf.json": "{broken",
        "staged.yaml": "apiVersion: projectcalico.org/v3\nkind: StagedNetworkPolicy\nmetadata: {name: x}\n",
        "map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {}\n",
        "deployment.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
        "free.json": '{"anything": "else"}', "text.txt": "kind: [", "empty.yaml": "",
        "pool.yaml~": EXAMPLE, ".pool.yaml.swp": "\0",
    }
    for name, text in files.items():
        (directory.path / name).write_text(text)
    probe = probes(directory)
    pools = probe.list("IPPool")
    assert set(pools) == {"a", "b", "c", "d", "e", "f"}
    assert pools["f"]["metadata"]["labels"] == {"x": "y"} and pools["f"]["apiVersion"] == V3
    assert "annotations" not in pools["f"]["metadata"]
    config = probe.get("IPAMConfiguration", "default")
    assert config["kind"] == "IPAMConfiguration" and config["spec"]["strictAffinity"] is True
    watch = probe.watch("IPPool")
    watch.wait_names(*pools)
    assert not watch.problems


def test_yaml_values(directory, probes):
    """Numbers, booleans and texts as kubectl reads them, 64 bits wide."""
    (directory.path / "block.yaml").write_text(
        "apiVersion: projectcalico.org/v3\nkind: IPAMBlock\nmetadata:\n  name: b\n  annotations: {quoted: '12'}\nspec:\n"
        "  sequenceNumber: 1754042400000000005\n  negative: -7\n  fraction: 1.5\n  text: '7'\n  yes: true\n  nothing: ~\n"
        "  list: [0, null, 2]\n")
    spec = probes(directory).get("IPAMBlock", "b")["spec"]
    assert spec == {"sequenceNumber": 1754042400000000005, "negative": -7, "fraction": 1.5, "text": "7", "yes": True,
                    "nothing": None, "list": [0, None, 2]}


@pytest.mark.parametrize("name, text, parts", [
    ("bad.yaml", EXAMPLE + "  broken: [1, 2\n", ("line 11",)),
    ("bad.json", '{\n "apiVersion": "projectcalico.org/v3",\n "kind" "IPPool"\n}', ("line 3",)),
    ("bad.yaml", EXAMPLE.replace("v3", "v2"), ("IPPool", "apiVersion", "projectcalico.org/v2", "projectcalico.org/v3")),
    ("bad.yaml", EXAMPLE.replace("  name: default-ipv4-ippool", "  title: x"), ("IPPool", "metadata.name")),
    ("bad.yaml", EXAMPLE.replace("spec:", "  labels: {a: 1}\nspec:"), ("default-ipv4-ippool", "metadata.labels", '"a"')),
    # Without a policy that somebody wrote, more would be allowed than it says.
    ("bad.yaml", "apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: x}\n", ("NetworkPolicy", "extensions/v1beta1",
                                                                                              "networking.k8s.io/v1")),
    ("bad.yaml", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: x}\n", (
        "AdminNetworkPolicy", "ClusterNetworkPolicy")),
    ("bad.yaml", "apiVersion: projectcalico.org/v1\nkind: GlobalNetworkPolicy\nmetadata: {name: x}\n", ("projectcalico.org/v3",)),
])
def test_bad_files(directory, probes, name, text, parts):
    """A problem names the file and the place; the others work; a mended file counts again."""
    (directory.path / name).write_text(text)
    (directory.path / "good.yaml").write_text(EXAMPLE.replace("default-ipv4-ippool", "good"))
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("good")
    watch.wait_problem(name, name, *parts)
    (directory.path / name).write_text(EXAMPLE if name.endswith("yaml") else json.dumps(pool("default-ipv4-ippool")))
    watch.wait_names("good", "default-ipv4-ippool")
    watch.wait_no_problem()


def test_a_bad_edit_changes_nothing(directory, probes):
    path = directory.path / "pool.yaml"
    path.write_text(EXAMPLE)
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("default-ipv4-ippool")
    path.write_text(EXAMPLE + "\t- oops")
    watch.wait_problem("pool.yaml", "pool.yaml")
    assert set(probe.list("IPPool")) == {"default-ipv4-ippool"} and not watch.gone
    answer = probe.do("update", "IPPool", probe.get("IPPool", "default-ipv4-ippool"))
    assert answer["rc"] == -errno.EINVAL and "pool.yaml" in answer["text"]
    assert path.read_text().endswith("oops"), "nobody's half-done work is overwritten"
    path.write_text(EXAMPLE.replace("true", "false"))
    wait_for("the edit", lambda: watch.objects["default-ipv4-ippool"]["spec"]["natOutgoing"] is False)
    watch.wait_no_problem()


def test_an_empty_file_changes_nothing(directory, probes):
    """Somebody has opened it for writing: what it held stays, until it is filled or goes."""
    path = directory.path / "pool.yaml"
    path.write_text(EXAMPLE)
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("default-ipv4-ippool")
    path.write_text("")
    watch.wait_problem("pool.yaml", "empty")
    assert not watch.gone
    path.write_text("# nothing any more\n")
    watch.wait_names()
    watch.wait_no_problem()


def test_the_same_name_twice(directory, probes):
    (directory.path / "b.yaml").write_text(EXAMPLE)
    (directory.path / "a.json").write_text(json.dumps(pool("default-ipv4-ippool", "10.9.0.0/16")))
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("default-ipv4-ippool")
    watch.wait_problem("IPPool default-ipv4-ippool", "a.json", "b.yaml")
    assert watch.objects["default-ipv4-ippool"]["spec"]["cidr"] == "10.9.0.0/16"
    (directory.path / "a.json").unlink()
    wait_for("the other", lambda: watch.objects["default-ipv4-ippool"]["spec"]["cidr"] == "10.244.0.0/16")
    watch.wait_no_problem()
    assert not watch.gone, "it never went away"


def test_people_come_before_what_tulle_wrote(directory, probes):
    probe = probes(directory)
    watch = probe.watch("IPPool")
    probe.create("IPPool", pool("one"))
    watch.wait_names("one")
    (directory.path / "z.yaml").write_text(EXAMPLE.replace("default-ipv4-ippool", "one"))
    wait_for("the file", lambda: "natOutgoing" in watch.objects["one"]["spec"])
    watch.wait_problem("IPPool one", "z.yaml", "objects/ippools/one.json")


def test_an_editor_at_work(directory, probes):
    """Moved away, written anew, renamed into place: nothing goes, if this machine lets the editor be quick."""
    path = directory.path / "pool.yaml"
    path.write_text(EXAMPLE)
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("default-ipv4-ippool")
    slow = 0
    for i in range(20):
        start = time.monotonic()
        path.rename(directory.path / "pool.yaml~")
        path.write_text(EXAMPLE.replace("10.244", f"10.{i}"))
        slow += time.monotonic() - start > 0.2
        temporary = directory.path / ".pool.yaml.new"
        temporary.write_text(EXAMPLE.replace("10.244", f"10.{100 + i}"))
        temporary.rename(path)
        wait_for("the edit", lambda: watch.objects["default-ipv4-ippool"]["spec"]["cidr"] == f"10.{100 + i}.0.0/16")
    assert len(watch.gone) <= slow < 20
    path.unlink()
    watch.wait_names()


def test_a_mounted_config_map(directory, probes):
    """Links through ..data, which is turned to the new content."""
    for number in (1, 2):
        (directory.path / f"..{number}").mkdir()
        (directory.path / f"..{number}" / "pool.yaml").write_text(EXAMPLE.replace("10.244", f"10.{number}"))
    (directory.path / "..data").symlink_to("..1")
    (directory.path / "pool.yaml").symlink_to("..data/pool.yaml")
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names("default-ipv4-ippool")
    (directory.path / "..new").symlink_to("..2")
    (directory.path / "..new").rename(directory.path / "..data")
    wait_for("the new content", lambda: watch.objects["default-ipv4-ippool"]["spec"]["cidr"] == "10.2.0.0/16")
    assert not watch.gone


def test_where_tulle_writes(directory, probes):
    probe = probes(directory)
    one = probe.create("IPPool", pool("one"))
    path = directory.path / "objects/ippools/one.json"
    assert json.loads(path.read_text())["spec"] == one["spec"]
    probe.create("Pod", make("Pod", "web-0", namespace="shop"))
    assert (directory.path / "objects/pods/shop_web-0.json").exists()
    assert not [p for p in directory.path.rglob("*") if ".tmp-" in p.name]
    probe.delete("IPPool", one)
    assert not path.exists()


def test_what_killed_agents_left(directory, probes):
    """A file that was being written is no manifest, and goes with the next writer."""
    made = directory.path / "objects/ippools"
    made.mkdir(parents=True)
    (made / ".one.json.tmp-4711").write_text('{"apiV')
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names()
    probe.create("IPPool", pool("one"))
    watch.wait_names("one")
    assert [p.name for p in made.iterdir()] == ["one.json"] and not watch.problems


def test_agents_that_are_killed(directory, probes):
    """At any moment: every file is whole, nothing that was confirmed is lost."""
    watch = probes(directory).watch("IPAMHandle")
    probes(directory).create("IPAMHandle", make("IPAMHandle", "h", {"count": 0}))
    for i in range(10):
        victim = probes(directory)
        victim.ask("count", "IPAMHandle", "h", "100000")
        seen = watch.objects.get("h", {"spec": {"count": 0}})["spec"]["count"]
        wait_for("some counting", lambda: watch.objects["h"]["spec"]["count"] > seen + i)
        victim.process.kill()
        victim.process.wait()
        victim.killed = True
    last = watch.objects["h"]["spec"]["count"]
    survivor = probes(directory)
    assert survivor.get("IPAMHandle", "h")["spec"]["count"] >= last
    assert survivor.do("count", "IPAMHandle", "h", "10")["rc"] == 0
    assert not watch.problems and not watch.gone


def test_long_names(directory, probes):
    probe = probes(directory)
    names = ["n" * 250 + end for end in ("a", "b")]
    for name in names:
        probe.create("BlockAffinity", make("BlockAffinity", name, {"state": "pending"}))
    assert set(probe.list("BlockAffinity")) == set(names)
    assert set(probes(directory).list("BlockAffinity")) == set(names)
    probe.delete("BlockAffinity", probe.get("BlockAffinity", names[0]))
    assert set(probe.list("BlockAffinity")) == {names[1]}


def test_a_change_by_hand_counts(directory, probes):
    probe = probes(directory)
    one = probe.create("IPPool", pool("one"))
    path = directory.path / "objects/ippools/one.json"
    text = path.read_text()
    path.write_text(text.replace("Never", "Always"))
    assert probe.do("update", "IPPool", one)["rc"] == -errno.ESTALE
    assert probe.get("IPPool", "one")["spec"]["vxlanMode"] == "Always"
    path.write_text(text)
    assert probe.update("IPPool", one)["metadata"]["resourceVersion"] != one["metadata"]["resourceVersion"]


def test_a_users_manifest_is_rewritten(directory, probes):
    """JSON stays JSON, YAML stays YAML (its remarks are lost); the same file, and every value means what it meant."""
    node = make("Node", "node-a", labels={"rack": "1", "on": "yes", "empty": "", "t": "~", "text": "a: b #c\n\"d\"\n"})
    node["spec"] = {"podCIDRs": ["10.244.0.0/24"], "taints": [{"key": "a", "effect": "NoSchedule"}], "none": [], "map": {}}
    (directory.path / "node.yaml").write_text("# mine\n" + yaml.safe_dump(node))
    (directory.path / "pool.json").write_text(json.dumps(pool("one")))
    probe = probes(directory)
    before = probe.get("Node", "node-a")
    after = probe.good("annotate", "Node", "node-a", {"projectcalico.org/IPv4Address": "192.0.2.1/24", "number": "12"})
    assert after["spec"] == node["spec"] and after["metadata"]["labels"] == node["metadata"]["labels"]
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    text = (directory.path / "node.yaml").read_text()
    again = yaml.safe_load(text)
    assert not text.lstrip().startswith("{") and again["metadata"]["labels"] == node["metadata"]["labels"]
    assert again["spec"] == node["spec"] and again["metadata"]["annotations"]["number"] == "12"
    probe.update("IPPool", {**(one := probe.get("IPPool", "one")), "spec": {**one["spec"], "disabled": True}})
    assert json.loads((directory.path / "pool.json").read_text())["spec"]["disabled"] is True
    probe.delete("IPPool", probe.get("IPPool", "one"))
    assert not (directory.path / "pool.json").exists()
    assert not (directory.path / "objects/nodes").exists(), "there is one copy only"


def test_several_manifests_in_a_file_are_only_read(directory, probes):
    path = directory.path / "all.yaml"
    text = EXAMPLE + "---\n" + EXAMPLE.replace("default-ipv4-ippool", "other")
    path.write_text(text)
    probe = probes(directory)
    for verb in ("update", "delete"):
        answer = probe.do(verb, "IPPool", probe.get("IPPool", "other"))
        assert answer["rc"] == -errno.EINVAL and "all.yaml" in answer["text"] and "several" in answer["text"]
    assert path.read_text() == text


def test_what_nobody_may_write(directory, probes):
    """A file in the way of objects/: the system's words do not pass for the store's."""
    (directory.path / "objects").write_text("")
    answer = probes(directory).do("create", "IPPool", pool("one"))
    assert answer["rc"] < 0 and answer["rc"] not in (-errno.EEXIST, -errno.ENOENT, -errno.ESTALE, -errno.EINVAL)
    assert "objects" in answer["text"]


def test_read_only(directory, probes):
    """As a ConfigMap is mounted."""
    (directory.path / "pool.yaml").write_text(EXAMPLE)
    subprocess.run(["mount", "--bind", directory.path, directory.path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", directory.path], check=True)
        probe = probes(directory)
        assert set(probe.list("IPPool")) == {"default-ipv4-ippool"}
        answer = probe.do("create", "IPPool", pool("one"))
        assert answer["rc"] == -errno.EACCES and "ead-only" in answer["text"]
        probe.stop()
    finally:
        subprocess.run(["umount", directory.path], check=True)


def test_somebody_sits_on_the_lock(directory, probes):
    probe = probes(directory)
    probe.create("IPPool", pool("one"))
    watch = probe.watch("IPPool")
    watch.wait_names("one")
    with open(directory.path / "objects/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = probe.ask("create", "IPPool", pool("two", "10.9.0.0/16"))
        watch.wait_problem("objects/.lock", "lock", str(directory.path))
        assert number not in probe.answers
    assert probe.answer(number)["rc"] == 0
    watch.wait_no_problem()


def test_a_deleted_directory(directory, probes):
    probe = probes(directory)
    probe.create("IPPool", pool("one"))
    watch = probe.watch("IPPool")
    watch.wait_names("one")
    subprocess.run(["rm", "-r", directory.path], check=True)
    watch.wait_names()
    wait_for("a new directory", directory.path.exists)
    probe.create("IPPool", pool("two"))
    watch.wait_names("two")
    os.makedirs(directory.path / "objects/bgppeers", exist_ok=True)
    (directory.path / "objects/bgppeers/by-hand.json").write_text(json.dumps(make("BGPPeer", "tor")))
    assert wait_for("the file", lambda: set(probe.list("BGPPeer")) == {"tor"})


def test_stories_go_to_one_watch(directory, probes):
    (directory.path / "bad.yaml").write_text("a: [")
    probe = probes(directory)
    first, second = probe.watch("IPPool"), probe.watch("BGPPeer")
    first.wait_problem("bad.yaml", "bad.yaml")
    second.wait_names()
    assert not second.stories
    probe.tell("free 0")
    second.wait_problem("bad.yaml", "bad.yaml")
    (directory.path / "bad.yaml").unlink()
    second.wait_no_problem()


def test_many_files(directory, probes):
    for i in range(3000):
        (directory.path / f"pool-{i}.json").write_text(json.dumps(pool(f"p-{i}", f"10.{i // 256}.{i % 256}.0/24")))
    probe = probes(directory)
    watch = probe.watch("IPPool")
    watch.wait_names(*(f"p-{i}" for i in range(3000)))
    assert watch.begins == 1


def test_ages(directory, probes):
    """A pool that people put there is as old as its file, unless it says so itself; nothing else has an age."""
    for name, stamp in (("old", 1000000000), ("new", 1700000000)):
        (directory.path / f"{name}.json").write_text(json.dumps(pool(name)))
        os.utime(directory.path / f"{name}.json", (stamp, stamp))
    said = pool("said")
    said["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    (directory.path / "said.json").write_text(json.dumps(said))
    (directory.path / "peer.json").write_text(json.dumps({"apiVersion": V3, "kind": "BGPPeer", "metadata": {"name": "p"}, "spec": {}}))
    probe = probes(directory)
    ages = {name: one["metadata"]["creationTimestamp"] for name, one in probe.list("IPPool").items()}
    assert ages == {"old": "2001-09-09T01:46:40Z", "new": "2023-11-14T22:13:20Z", "said": "2020-01-01T00:00:00Z"}
    assert "creationTimestamp" not in probe.get("BGPPeer", "p")["metadata"]
