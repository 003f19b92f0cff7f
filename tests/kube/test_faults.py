# SPDX-License-Identifier: Apache-2.0
"""What a real API server does seldom or never, from one that is told to."""

import socket
import time

import pytest

from cluster import Authority
from fake import Fake, bookmark, cut, event, items, obj, status
from loopback import free_ports, wait_for

MAPS = "/api/v1/configmaps"
REFUSED = (422, {}, status(422, "Invalid", "sendInitialEvents is forbidden"))


@pytest.fixture
def fakes():
    made = []

    def make(answer, **kwargs):
        made.append(Fake(answer, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def standing(*pieces):
    yield from pieces
    yield None


def listing(version, *objects, then):
    """No streamed lists; the list is this, and the history goes on; what watches answer is decided by then(request)."""
    def answer(request):
        if request.streamed:
            return REFUSED
        if request.check:
            return 200, {}, items("1000")
        if not request.watch:
            return 200, {}, items(version, *objects)
        return then(request)
    return answer


def watched(probes, *fakes, words=()):
    probe = probes("api=" + ",".join(one.url for one in fakes))
    return probe, probe.watch(MAPS, *words)


def watch_requests(fake):
    return [r for r in fake.requests if r.watch and not r.streamed]


# -- lists --

def test_streamed(fakes, probes):
    """Events before the mark are the list; those behind it are news. One request for all of it."""
    def answer(request):
        assert request.streamed and request.query["resourceVersionMatch"] == "NotOlderThan"
        assert request.query["allowWatchBookmarks"] == "true" and 300 <= int(request.query["timeoutSeconds"]) <= 600
        return 200, {}, standing(event("ADDED", obj("a", "7")), event("ADDED", obj("b", "3")), bookmark("9", end=True),
                                 event("MODIFIED", obj("a", "10", data={"x": "y"})), event("DELETED", obj("b", "11")))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("the news", lambda: watch.ends and "b" not in watch.objects and "data" in watch.objects.get("a", {}))
    assert watch.begins == 1 and watch.quiet_puts == 2 and len(fake.requests) == 1
    assert not watch.problems


def test_streamed_byte_by_byte(fakes, probes):
    text = event("ADDED", obj("ä€", "7", status={"x": ["\\\"}"]})) + bookmark("9", end=True) + event("ADDED", obj("b", "12"))

    def drip():
        for i in range(len(text)):
            yield text[i:i + 1]
        yield None

    fake = fakes(lambda request: (200, {}, drip()))
    probe, watch = watched(probes, fake, words=["drop=status"])
    wait_for("all of it", lambda: set(watch.objects) == {"ä€", "b"})
    assert "status" not in watch.objects["ä€"]


def test_stream_breaks_off(fakes, probes):
    """A streamed list that ends in its middle is begun again, and again said to begin."""
    def answer(request):
        if request.number == 0:
            return 200, {}, (cut() if i == 2 else event("ADDED", obj(f"old-{i}")) for i in range(3))
        return 200, {}, standing(event("ADDED", obj("new")), bookmark("9", end=True))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("the list", lambda: watch.ends == 1)
    assert set(watch.objects) == {"new"} and watch.begins == 2 and not watch.anew


def test_stream_without_an_end(fakes, probes):
    """A server in between that knows the parameters, but never marks the end: pages, after a while."""
    def answer(request):
        if request.streamed:
            return 200, {}, standing(event("ADDED", obj("a")))
        if request.watch:
            return 200, {}, standing()
        return 200, {}, items("5", obj("a"), obj("b"))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("the list", lambda: watch.ends == 1, 90)
    assert set(watch.objects) == {"a", "b"}


@pytest.mark.parametrize("code", [400, 422, 501])
def test_stream_refused(fakes, probes, code):
    """Learned once: later lists of this watch begin as pages."""
    state = {"gone": False}

    def answer(request):
        if request.streamed:
            return code, {}, status(code, "Invalid", "no")
        if request.watch and not state["gone"]:
            state["gone"] = True
            return 410, {}, status(410, "Expired", "too old")
        if request.watch:
            return 200, {}, standing()
        return 200, {}, items("5", obj("a"))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("two lists", lambda: watch.ends == 2)
    assert sum(r.streamed for r in fake.requests) == 1 and not watch.problems


def test_stream_refused_as_event(fakes, probes):
    def answer(request):
        if request.streamed:
            return 200, {}, [event("ERROR", {"kind": "Status", "code": 500, "message": "storage feature is disabled"})]
        return (200, {}, standing()) if request.watch else (200, {}, items("5", obj("a")))

    probe, watch = watched(probes, fakes(answer))
    wait_for("the list", lambda: watch.ends == 1)
    assert watch.begins == 1 and not watch.problems


def test_pages(fakes, probes):
    """The version to watch from is the first page's; continue tokens are escaped."""
    def answer(request):
        if request.streamed:
            return REFUSED
        if request.watch:
            return 200, {}, standing()
        at = request.query.get("continue")
        assert request.query["limit"] == "500"
        if not at:
            return 200, {}, items("100", obj("a"), more="to ken/&?=+")
        if at == "to ken/&?=+":
            return 200, {}, items("100", obj("b"), more="2")
        return 200, {}, items("100", obj("c"))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("the list", lambda: watch.ends)
    assert set(watch.objects) == {"a", "b", "c"} and watch.begins == 1
    assert wait_for("the watch", lambda: watch_requests(fake))[0].version == "100"


def test_pages_expire(fakes, probes):
    """The list took longer than its moment is kept: it begins again."""
    state = {"expired": False}

    def answer(request):
        if request.streamed:
            return REFUSED
        if request.watch:
            return 200, {}, standing()
        if "continue" in request.query and not state["expired"]:
            state["expired"] = True
            return 410, {}, status(410, "Expired", "The provided continue parameter is too old",
                                   metadata={"continue": "inconsistent"})
        if "continue" in request.query:
            return 200, {}, items("200", obj("b"))
        return 200, {}, items("100" if not state["expired"] else "200", obj("old") if not state["expired"] else obj("a"),
                              more="2")

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for("the list", lambda: watch.ends)
    assert set(watch.objects) == {"a", "b"} and watch.begins == 2 and not watch.problems
    assert wait_for("the watch", lambda: watch_requests(fake))[0].version == "200"


@pytest.mark.parametrize("body, words", [
    (b'{"kind":"List"}', 'a list without "items"'),
    (b'{"items":[', "the list ends too early"),
    (b'<html>', "byte 0: expected an object"),
    (b'{"items":[1]}', "byte 10: expected an object"),
    (b'{"items":[]}', "the list has no resourceVersion"),
    (b"", "the list ends too early"),
])
def test_broken_list(fakes, probes, body, words):
    state = {"broken": True}

    def answer(request):
        if request.streamed:
            return REFUSED
        if request.watch:
            return 200, {}, standing()
        return 200, {}, body if state["broken"] else items("5", obj("a"))

    fake = fakes(answer)
    probe, watch = watched(probes, fake)
    wait_for(f"words about it, has {watch.problems}", lambda: words in watch.problem)
    assert watch.problem.startswith(f"{fake.url}: GET {MAPS}: ")
    state["broken"] = False
    wait_for("the list", lambda: watch.ends and watch.problem == "")
    assert set(watch.objects) == {"a"}


def test_bad_objects(fakes, probes):
    """What no parser takes is left out and named; all others come."""
    text = b'{"metadata":{"resourceVersion":"5"},"items":[%s,{"metadata":{"name":"bad","namespace":"x"},"n":1e999},' \
           b'{"metadata":{}},{"metadata":{"name":"deep"},"d":%s},%s]}' % (
               items("", obj("a"))[-120:].split(b"[", 1)[1].rsplit(b"]", 1)[0], b"[" * 3000 + b"]" * 3000,
               b'{"metadata":{"name":"nul\\u0000","x":1}}')

    def answer(request):
        if request.streamed:
            return REFUSED
        return (200, {}, standing()) if request.watch else (200, {}, text)

    probe, watch = watched(probes, fakes(answer))
    wait_for("the list", lambda: watch.ends)
    assert "a" in watch.objects and "bad" not in watch.objects and "deep" not in watch.objects
    assert any("x/bad: " in one for one in watch.problems) and any(" deep: " in one for one in watch.problems)
    assert any('key "metadata.name" is missing' in one for one in watch.problems)


# -- watches --

@pytest.mark.parametrize("garbage", [b"garbage\n", b'{"type":"ADDED","object":{"metadata":{"name":"h', b"\x00\xff\n", b"[]\n",
                                     b'{"type":5,"object":{}}\n', b'{"object":{}}\n', b'{"type":"ADDED","object":7}\n',
                                     b'{"type":"ADDED"]\n'])
def test_garbage_in_the_stream(fakes, probes, garbage):
    """Whatever it is: the watch goes on behind the last event that was sound."""
    def then(request):
        if request.version == "5":
            return 200, {}, [event("ADDED", obj("b", "8")), garbage]
        return 200, {}, standing(event("ADDED", obj("c", "9")))

    fake = fakes(listing("5", obj("a"), then=then))
    probe, watch = watched(probes, fake)
    wait_for("what came later", lambda: set(watch.objects) == {"a", "b", "c"})
    assert [r.version for r in watch_requests(fake)] == ["5", "8"] and watch.begins == 1


def test_half_an_event(fakes, probes):
    half = event("ADDED", obj("b", "8"))

    def then(request):
        if len(watch_requests(fake)) == 1:
            return 200, {}, (cut() if i else half[:60] for i in range(2))
        return 200, {}, standing(half)

    fake = fakes(listing("5", then=then))
    probe, watch = watched(probes, fake)
    wait_for("the event", lambda: "b" in watch.objects)
    assert [r.version for r in watch_requests(fake)] == ["5", "5"] and watch.begins == 1


def test_bookmarks_and_unknown_events(fakes, probes):
    def then(request):
        if request.version == "5":
            return 200, {}, (cut() if i == 2 else [bookmark("20"), event("STRANGE", obj("x", "21"))][i] for i in range(3))
        return 200, {}, standing()

    fake = fakes(listing("5", then=then))
    probe, watch = watched(probes, fake)
    wait_for("the second watch", lambda: len(watch_requests(fake)) == 2)
    assert watch_requests(fake)[1].version == "21" and not watch.objects


@pytest.mark.parametrize("as_event", [True, False])
def test_expired(fakes, probes, as_event):
    def then(request):
        if request.version == "7":
            return 200, {}, standing()
        gone = status(410, "Expired", "too old resource version")
        return (200, {}, [b'{"type":"ERROR","object":' + gone + b"}\n"]) if as_event else (410, {}, gone)

    versions = iter(["5", "7", "7", "7"])
    fake = fakes(lambda request: listing(next(versions) if not request.watch else "", obj("a"), then=then)(request))
    probe, watch = watched(probes, fake)
    wait_for("the second list", lambda: watch.ends == 2)
    # In between, it was asked whether the history has gone back.
    assert any(r.check for r in fake.requests) and watch.anew == 0 and not watch.problems


def test_expires_again_and_again(fakes, probes):
    """A new list each time would ask too much of a server: they come ever more seldom."""
    fake = fakes(listing("5", obj("a"), then=lambda request: (410, {}, status(410, "Expired", "too old"))))
    probe, watch = watched(probes, fake)
    wait_for("the third list", lambda: watch.ends == 3)
    first = time.monotonic()
    wait_for("five seconds", lambda: time.monotonic() > first + 5)
    assert watch.ends < 12


@pytest.mark.parametrize("version", ["3", "1"])
def test_history_goes_back_in_a_watch(fakes, probes, version):
    """An event, or a bookmark, that is older than what was seen."""
    state = {"back": False}

    def answer(request):
        if request.streamed:
            return REFUSED
        if not request.watch:
            return 200, {}, items("2" if state["back"] else "5", obj("new" if state["back"] else "old"))
        if state["back"]:
            return 200, {}, standing()
        state["back"] = True
        return 200, {}, standing(bookmark("1") if version == "1" else event("ADDED", obj("x", "3")))

    probe, watch = watched(probes, fakes(answer))
    wait_for("the list anew", lambda: watch.ends == 2)
    assert watch.anew == 1 and set(watch.objects) == {"new"}


def test_errors_in_the_stream(fakes, probes):
    def then(request):
        if len(watch_requests(fake)) <= 2:
            return 200, {}, [event("ERROR", {"kind": "Status", "code": 500, "reason": "InternalError", "message": "a\nb"})]
        return 200, {}, standing(event("ADDED", obj("b", "8")))

    fake = fakes(listing("5", obj("a"), then=then))
    probe, watch = watched(probes, fake)
    wait_for("the event", lambda: "b" in watch.objects and watch.problem == "")
    assert any(f"GET {MAPS}: 500 InternalError: a b" in one for one in watch.problems) and watch.begins == 1


def test_ends_at_once(fakes, probes):
    """A server that ends each watch at once is asked ever more seldom, and told of."""
    fake = fakes(listing("5", obj("a"), then=lambda request: (200, {}, [])))
    probe, watch = watched(probes, fake)
    wait_for("a problem", lambda: "the server ends the watch at once" in watch.problem)
    first = time.monotonic()
    wait_for("five seconds", lambda: time.monotonic() > first + 5)
    assert len(watch_requests(fake)) < 12 and watch.begins == 1


# -- refusals and failures --

@pytest.mark.parametrize("code", [429, 503])
def test_retry_after(fakes, probes, code):
    """Obeyed; and such a server is not left for another one."""
    def answer(request):
        if request.number < 2:
            return code, {"Retry-After": "2"}, status(code, "TooManyRequests", "later")
        return 200, {}, standing(bookmark("9", end=True))

    fake = fakes(answer)
    idle = fakes(answer)
    idle.requests.extend([None] * 2)
    probe = probes(f"api={fake.url}")
    watch = probe.watch(MAPS)
    wait_for("the list", lambda: watch.ends)
    times = [r.at for r in fake.requests]
    assert len(times) == 3 and all(b - a >= 2 for a, b in zip(times, times[1:]))
    assert any(f": {code} TooManyRequests: later" in one for one in watch.problems) and watch.problem == ""


def test_retry_after_stays_with_the_server(fakes, probes):
    def answer(request):
        return 503, {"Retry-After": "1"}, status(503, "ServiceUnavailable", "later")

    both = fakes(answer), fakes(answer)
    probe = probes("api=" + ",".join(one.url for one in both))
    used = probe.next("server", "server")["url"]
    for _ in range(3):
        assert probe.call("GET", MAPS)["retry_after"] == 1
        assert probe.next("server", "server")["url"] == used


@pytest.mark.parametrize("fault", ["500", "refused", "cut", "garbage"])
def test_another_server(fakes, probes, fault):
    """One fails, the other does: every second call at most goes wrong, and then none."""
    def broken(request):
        if fault == "500":
            return 500, {}, status(500, "InternalError", "broken")
        return 200, {"Content-Length": "100", "X": "y"}, (cut() for _ in range(1))

    good = fakes(lambda request: (200, {}, b"{}"))
    if fault == "refused":
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
    elif fault == "garbage":
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        import threading

        def serve():
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                one.recv(1000)
                one.sendall(b"no HTTP at all\r\n\r\n")
                one.close()
        threading.Thread(target=serve, daemon=True).start()
    else:
        url = fakes(broken).url
    probe = probes(f"api={url},{good.url}")
    answers = [probe.call("GET", MAPS) for _ in range(4)]
    assert [a["status"] for a in answers[1:]] == [200] * 3, answers
    assert answers[0]["status"] == 200 or url in answers[0]["text"]
    if fault == "garbage":
        listener.close()


def test_both_away(fakes, probes):
    """No server at all: idle, told once, and each is tried."""
    ports = free_ports(2)
    probe = probes(",".join(f"{'api=' if not i else ''}http://127.0.0.1:{port}" for i, port in enumerate(ports)))
    watch = probe.watch(MAPS)
    wait_for("a problem", lambda: watch.problem)
    before, first = probe.cpu(), time.monotonic()
    wait_for("five seconds", lambda: time.monotonic() > first + 5)
    assert probe.cpu() - before < 0.5 and len(watch.problems) == 1
    answers = {probe.call("GET", MAPS)["text"].split(": ")[0] for _ in range(4)}
    assert answers == {f"http://127.0.0.1:{port}" for port in ports}


@pytest.mark.parametrize("code, body, words", [
    (404, b"<html>\n<h1>404</h1>\r\n</html>", "404: <html> <h1>404</h1>  </html>"),
    (302, b"", ": 302"),
    (403, status(403, "Forbidden", "x" * 5000), ": 403 Forbidden: xxx"),
    (400, b'{"kind":"Status","message":5,"code":"x"}', ": 400"),
    (409, b"\xff\xfe\x00", ": 409: ??"),
    (500, b"z" * 300000, ": 500: zzz"),
], ids=["page", "empty", "long", "types", "binary", "large"])
def test_strange_refusals(fakes, probes, code, body, words):
    fake = fakes(lambda request: (code, {"Location": "http://127.0.0.1:1/"} if code == 302 else {}, body))
    answer = probes(f"api={fake.url}").call("GET", MAPS)
    assert answer["status"] == code and words in answer["text"], answer
    assert len(answer["text"]) < 1024 and not any(c < " " for c in answer["text"])


def test_answer_too_large(fakes, probes):
    fake = fakes(lambda request: (200, {}, b"x" * (5 << 20)))
    answer = probes(f"api={fake.url}").call("GET", MAPS)
    assert answer["status"] == 0 and "larger than 4194304 bytes" in answer["text"]


def test_no_answer(fakes, probes):
    """Time runs out; the next call takes another connection."""
    def answer(request):
        if request.number == 0:
            time.sleep(11)
        return 200, {}, b"{}"

    fake = fakes(answer)
    probe = probes(f"api={fake.url}")
    late = probe.call("GET", MAPS)
    assert late["status"] == 0 and "timed out" in late["text"]
    assert probe.call("GET", MAPS)["status"] == 200


def test_tls_without_http2(fakes, probes, tmp_path):
    """A server that knows HTTP/1.1 only: a connection for each stream."""
    authority = Authority(tmp_path)
    pair = authority.sign("server", "/CN=server", "IP:127.0.0.1")
    fake = fakes(lambda request: (200, {}, standing(event("ADDED", obj("a")), bookmark("9", end=True)))
                 if request.watch else (200, {}, b"{}"), tls=pair)
    config = tmp_path / "config"
    config.write_text(f"""
current-context: a
contexts: [{{name: a, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{fake.url}", certificate-authority: ca.pem}}}}]
users: [{{name: u, user: {{token: secret-token}}}}]
""")
    probe = probes(f"kubeconfig={config}")
    watches = [probe.watch(MAPS) for _ in range(5)]
    for watch in watches:
        wait_for("the list", lambda: watch.ends)
    burst = probe.next("burst", f"burst 100 {MAPS}")
    assert burst["failed"] == 0, burst
    assert all(r.headers["Authorization"] == "Bearer secret-token" for r in fake.requests)
    assert all(r.headers["User-Agent"].startswith("tulle/") for r in fake.requests)


def test_no_secrets_in_clear_text(fakes, probes, tmp_path):
    fake = fakes(lambda request: (200, {}, b"{}"))
    config = tmp_path / "config"
    config.write_text(f"""
current-context: a
contexts: [{{name: a, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{fake.url}"}}}}]
users: [{{name: u, user: {{token: secret-token}}}}]
""")
    assert probes(f"kubeconfig={config}").call("GET", MAPS)["status"] == 200
    assert "Authorization" not in fake.requests[0].headers


def test_proxies_of_the_environment_are_passed_over(fakes, probes):
    import os
    fake = fakes(lambda request: (200, {}, b"{}"))
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    probe = probes(f"api={fake.url}", env={**os.environ, "http_proxy": nobody, "https_proxy": nobody, "ALL_PROXY": nobody})
    assert probe.call("GET", MAPS)["status"] == 200
