# SPDX-License-Identifier: Apache-2.0
"""Lists and watches against the real API server."""

import json
import re

import pytest

from cluster import newer_etcd
from fake import Wire
from loopback import wait_for

MAPS = "/api/v1/namespaces/default/configmaps"
DROP = "drop=metadata.managedFields"


def names(prefix, count):
    return {f"{prefix}-{i}" for i in range(count)}


def wait_names(watch, wanted):
    wait_for(lambda: f"{len(wanted)} objects, has {len(watch.objects)}; problem {watch.problem!r}",
             lambda: watch.ends and not watch.listing and set(watch.objects) == wanted)


def follow(one, watch, mark):
    """A change of each kind arrives."""
    before = set(watch.objects)
    one.create(mark, "first")
    wait_for("the new one", lambda: mark in watch.objects and watch.objects[mark]["data"] == {"v": "first"})
    one.update(mark, "second")
    wait_for("its change", lambda: watch.objects[mark]["data"] == {"v": "second"})
    one.delete(mark)
    wait_for("its end", lambda: mark not in watch.objects)
    assert set(watch.objects) == before


def test_pages(cluster, probes):
    """2,000 objects in four pages; then changes, one at a time."""
    cluster.create_many("m", 2000)
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    watch = probe.watch(MAPS, DROP)
    wait_names(watch, names("m", 2000))
    assert watch.begins == watch.ends == 1 and watch.puts == 2000
    assert "managedFields" not in watch.objects["m-0"]["metadata"]
    follow(cluster, watch, "changing")
    assert watch.begins == 1 and not watch.problems


def test_selectors(cluster, probes):
    for i in range(6):
        cluster.create(f"m-{i}", color="red" if i % 2 else "blue & green".split()[0])
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    red = probe.watch(MAPS, "label=color=red")
    two = probe.watch(MAPS, "field=metadata.name=m-2")
    others = probe.watch(MAPS, "label=color!=red,color")
    wait_names(red, {"m-1", "m-3", "m-5"})
    wait_names(two, {"m-2"})
    wait_names(others, {"m-0", "m-2", "m-4"})
    # What leaves a selection is gone from it.
    cluster.request("PATCH", f"{MAPS}/m-3", {"metadata": {"labels": {"color": "blue"}}},
                    kind="application/merge-patch+json")
    wait_names(red, {"m-1", "m-5"})
    wait_names(others, {"m-0", "m-2", "m-3", "m-4"})
    wait_names(two, {"m-2"})


def test_nothing_there(cluster, probes):
    watch = probes(f"kubeconfig={cluster.admin_kubeconfig()}").watch("/api/v1/nodes")
    wait_for("an empty list", lambda: watch.ends == 1)
    assert not watch.objects and not watch.problems


def test_drops(cluster, probes):
    cluster.request("POST", MAPS, {"metadata": {"name": "a", "annotations": {"x": "y"}, "labels": {"l": "m"}},
                                   "data": {"keep": "1", "drop": "2"}})
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    watch = probe.watch(MAPS, "drop=metadata.annotations,metadata.managedFields,data.drop,metadata,kind")
    wait_names(watch, {"a"})

    def check(value):
        one = watch.objects["a"]
        assert one["data"] == {"keep": value} and one["metadata"]["labels"] == {"l": "m"}
        assert not {"annotations", "managedFields"} & set(one["metadata"]) and "kind" not in one

    check("1")
    cluster.request("PATCH", f"{MAPS}/a", {"data": {"keep": "3"}}, kind="application/merge-patch+json")
    wait_for("the change", lambda: watch.objects["a"]["data"]["keep"] == "3")
    check("3")


def test_streamed_list(clusters, probes):
    """The list as the beginning of the watch; and the end of it is found although annotations are dropped."""
    one = clusters(etcd=newer_etcd())
    one.create_many("m", 2000)
    probe = probes(f"kubeconfig={one.admin_kubeconfig()}")
    plain, bare = probe.watch(MAPS, DROP), probe.watch(MAPS, "drop=metadata.annotations,metadata.managedFields")
    for watch in plain, bare:
        wait_names(watch, names("m", 2000))
        follow(one, watch, "changing")
        assert watch.begins == watch.ends == 1 and not watch.problems
    audit = probe.counters(0)
    assert audit["lists"] == 1


def test_server_that_does_not_stream(clusters, probes):
    """The feature is off: the server refuses with 422."""
    one = clusters("--feature-gates=WatchList=false")
    one.create_many("m", 700)
    watch = probes(f"kubeconfig={one.admin_kubeconfig()}").watch(MAPS, DROP)
    wait_names(watch, names("m", 700))
    follow(one, watch, "changing")
    assert watch.begins == 1 and not watch.problems


def test_server_restarts(clusters, probes):
    """The watch resumes where it was: nothing is listed again, nothing that happened meanwhile is lost."""
    one = clusters()
    one.create_many("m", 100)
    probe = probes(f"kubeconfig={one.admin_kubeconfig()}")
    watch = probe.watch(MAPS, DROP)
    wait_names(watch, names("m", 100))
    puts = watch.puts
    one.servers[0].stop()
    one.servers[0].start()
    follow(one, watch, "after")
    assert watch.begins == 1 and not watch.anew and watch.puts == puts + 2
    # A server that stays away is a problem, and over when it is back.
    one.servers[0].stop()
    wait_for("a problem", lambda: watch.problem)
    assert one.servers[0].url in watch.problem and "GET " + MAPS in watch.problem
    one.servers[0].start()
    wait_for("no problem", lambda: not watch.problem)
    follow(one, watch, "again")
    assert watch.begins == 1


def test_bookmarks_carry_the_version(clusters, probes, tmp_path):
    """Others' changes move the watch's version: what is asked for when the connection broke is the bookmark's."""
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.log"
    policy.write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n")
    one = clusters("--audit-policy-file", policy, "--audit-log-path", log)
    one.create("m-0")
    wire = Wire(one.servers[0].port)
    probe = probes(f"kubeconfig={one.kubeconfig('k', {'token': 'admin-token'}, server=wire.url)}")
    watch = probe.watch(MAPS, "field=metadata.name=m-0")
    wait_names(watch, {"m-0"})
    heard = probe.counters(0)["bytes"]
    last = [one.create(f"other-{i}") for i in range(20)][-1]
    wait_for("a bookmark", lambda: probe.counters(0)["bytes"] > heard, 180)
    wire.cut()
    one.update("m-0", "new")
    wait_for("the change", lambda: watch.objects["m-0"].get("data") == {"v": "new"})
    assert watch.begins == 1
    asked = [int(v) for line in log.read_text().splitlines() if "tulle/" in line
             for v in re.findall(r"resourceVersion=(\d+)", json.loads(line)["requestURI"])]
    assert asked[-1] >= int(last["metadata"]["resourceVersion"]) > asked[0]
    wire.stop()


def test_compacted(clusters, probes):
    """Too much has happened meanwhile: a new list, from which the missed deletions follow."""
    one = clusters(servers=2)
    one.create_many("m", 50)
    url = one.servers[0].url
    probe = probes(f"kubeconfig={one.kubeconfig('k', {'token': 'admin-token'}, server=url)}")
    watch = probe.watch(MAPS, DROP)
    wait_names(watch, names("m", 50))
    one.servers[0].stop()
    other = one.servers[1]
    for i in range(5):
        one.request("DELETE", f"{MAPS}/m-{i}", server=other)
    one.request("PATCH", f"{MAPS}/m-7", {"data": {"v": "new"}}, server=other, kind="application/merge-patch+json")
    one.etcd.compact()
    one.servers[0].start()
    wait_names(watch, names("m", 50) - names("m", 5))
    assert watch.objects["m-7"]["data"] == {"v": "new"}
    assert watch.begins == 2 and not watch.anew


@pytest.mark.parametrize("more", [0, 3])
def test_history_goes_back(clusters, probes, more):
    """etcd is restored from a snapshot: everything is listed again, and said to be anew."""
    one = clusters()
    one.create_many("m", 10)
    one.etcd.save()
    for i in range(20):
        one.create(f"lost-{i}")
    probe = probes(f"kubeconfig={one.admin_kubeconfig()}")
    watch, nodes = probe.watch(MAPS, DROP), probe.watch("/api/v1/nodes")
    wait_names(watch, names("m", 10) | names("lost", 20))
    wait_for("no nodes", lambda: nodes.ends)
    one.servers[0].stop()
    one.etcd.restore()
    one.servers[0].start()
    wait_names(watch, names("m", 10))
    wait_for("the nodes anew", lambda: nodes.anew == 1 and nodes.ends == 2)
    for i in range(more):
        one.create(f"new-{i}")
    wait_names(watch, names("m", 10) | names("new", more))
    assert watch.anew == 1
    follow(one, watch, "after")
    assert watch.begins == watch.ends == 2


def test_two_servers(clusters, probes):
    """Whichever is in use dies: the other one takes over, without a new list; and back."""
    one = clusters(servers=2)
    one.create_many("m", 100)
    config = one.kubeconfig("k", {"token": "admin-token"})
    probe = probes(f"kubeconfig={config}", "api=" + ",".join(s.url for s in one.servers))
    watch = probe.watch(MAPS, DROP)
    wait_names(watch, names("m", 100))
    for n in range(3):
        used = probe.next("server", "server")["url"]
        dying, = [s for s in one.servers if s.url == used]
        living, = [s for s in one.servers if s.url != used]
        dying.stop()
        one.request("POST", MAPS, {"metadata": {"name": f"new-{n}"}}, server=living)
        wait_for("the change by way of the other", lambda: f"new-{n}" in watch.objects)
        assert probe.next("server", "server")["url"] == living.url
        dying.start()
    assert watch.begins == 1


def test_pages_under_change(clusters, probes):
    """Objects come and go while the pages are read: the list shows one moment, the watch what came after."""
    one = clusters("--feature-gates=WatchList=false")
    one.create_many("m", 1500)
    probe = probes(f"kubeconfig={one.admin_kubeconfig()}")
    watches = []
    for n in range(10):
        watches.append(probe.watch(MAPS, DROP))
        one.delete(f"m-{n}")
        one.create(f"new-{n}")
        one.update(f"m-{1000 + n}", f"changed-{n}")
    wanted = names("m", 1500) - names("m", 10) | names("new", 10)
    for watch in watches:
        wait_names(watch, wanted)
        for n in range(10):
            wait_for("the changes", lambda: watch.objects[f"m-{1000 + n}"]["data"] == {"v": f"changed-{n}"})
        assert watch.begins == 1 and not watch.problems


def test_too_large(cluster, probes):
    """One that is too large is named and left out; all others come; and it is no problem any more when it is gone."""
    cluster.create("small", "x")
    cluster.create("large", "x" * 50000)
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    watch = probe.watch(MAPS, DROP, "max=20000")
    wait_names(watch, {"small"})
    assert "default/large: larger than 20000 bytes; it is left out" in watch.problem
    cluster.create("other", "x" * 50000)
    wait_for("the second", lambda: "default/other" in watch.problem)
    cluster.delete("other")
    cluster.update("large", "fits")
    wait_names(watch, {"small", "large"})
    wait_for("no problem", lambda: watch.problem == "")
    # One that was known, and is deleted while it is too large.
    cluster.update("large", "y" * 50000)
    wait_for("the problem", lambda: "default/large" in watch.problem)
    cluster.delete("large")
    wait_names(watch, {"small"})
    wait_for("no problem", lambda: watch.problem == "")


def test_many_requests_beside_streams(cluster, probes):
    """One connection carries watches and requests: none of many is lost, and none waits for another's timer."""
    cluster.create_many("m", 20)
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    watches = [probe.watch(MAPS, DROP) for _ in range(10)]
    for watch in watches:
        wait_names(watch, names("m", 20))
    many = probe.next("burst", f"burst 500 {MAPS}/m-1")
    assert many["failed"] == 0, many
    for n, watch in enumerate(watches):
        wait_names(watch, names("m", 20))  # another watch's object is gone here, too
        follow(cluster, watch, f"changing-{n}")
    slow = 0
    for _ in range(200):
        answer = probe.next("burst", f"burst 1 {MAPS}/m-1")
        assert answer["failed"] == 0
        slow += answer["slowest"] > 0.19
    # A stall would show in most of them; a busy machine in a few.
    assert slow < 50


def test_streams_are_cancelled(cluster, probes):
    probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
    path = f"{MAPS}?watch=1"
    for _ in range(3):
        assert probe.next("stream", f"stream {path} 0")["text"] == "cancelled"
    watch = probe.watch(MAPS)
    wait_for("the list", lambda: watch.ends)
    probe.tell("free 0")
    assert probe.call("GET", f"{MAPS}?limit=1")["status"] == 200


def test_memory_does_not_grow_with_the_list(cluster, probes):
    """5,000 objects of 20 kB cost as much as 500."""
    sizes = []
    for first, last in (0, 500), (500, 5000):
        cluster.create_many("m", last - first, 20000, first)
        probe = probes(f"kubeconfig={cluster.admin_kubeconfig()}")
        watch = probe.watch(MAPS, DROP, "quiet")
        wait_for("the list", lambda: watch.ends)
        assert watch.quiet_puts == last
        sizes.append(probe.rss())
        probe.stop()
    assert sizes[1] < sizes[0] + (2 << 20), sizes
