"""The app's own routes, as a browser and as somebody with bad intentions asks them."""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
from serving import serving
from starlette.applications import Starlette

from drawbench.human_eval.app import routes as routes_module
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DESIGNS, DRAWBENCH
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import Study

ANSWERS = {"fidelity": "first", "alignment": "second"}


@pytest.fixture(scope="module")
def served(runs, tmp_path_factory):
    """A study of two systems whose names would be found, served; and links to it."""
    path = tmp_path_factory.mktemp("app") / "study"
    study = create(path, runs[:2], replace(DRAWBENCH, raters=6), images_per_set=2)
    store = Store(study)
    tokens = [store.invite(f"person {number}")[1] for number in range(60)]
    store.close()
    with serving(path, "--access-code", "open sesame") as app:
        app.tokens = iter(tokens)
        yield app


def sent(view, key, **changes):
    """An answer to what is shown."""
    answer = {"position": view["position"], "item": view["item"]["id"], "answers": ANSWERS, "seconds": 2.0, "key": key}
    return answer | changes


def places(app):
    """How many places of each unit are taken."""
    store = Store(Study.open(app.study))
    found = {unit: store.places(unit) for unit in store.study.units}
    store.close()
    return found


def judgements(app, **options):
    store = Store(Study.open(app.study))
    found = store.judgements(**options)
    store.close()
    return found


def test_a_rater_goes_from_the_link_to_the_completion_code(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    for number in range(view["total"]):
        status, _, body = served.ask("POST", "/api/answer", sent(view, f"whole-{number}"), cookie)
        assert status == 200
        view = json.loads(body)
    assert (view["item"], view["done"]) == (None, view["total"])


def test_nothing_that_a_browser_receives_names_a_system(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    text = json.dumps(view)
    assert "repeat" not in text
    study = Study.open(served.study)
    for name in (*study.systems, *study.manifest["runs"].values(), study.manifest["secret"], "shapes_truth"):
        assert name not in text
    status, headers, image = served.ask("GET", f"/img/{view['item']['sets'][0][0]}", cookie=cookie)
    assert (status, headers["content-type"]) == (200, "image/webp")
    assert headers["cache-control"].startswith("private")
    assert image[:4] == b"RIFF"


def test_without_a_link_nothing_is_told(served):
    name = next((served.study / "images").iterdir()).name
    for path in ("/api/state", f"/img/{name}"):
        assert served.ask("GET", path)[0] == 401
        assert served.ask("GET", path, cookie="drawbench_rater=guess")[0] == 401
    assert (
        served.ask("POST", "/api/answer", {"position": 0, "item": "x", "answers": {}, "seconds": 1, "key": "k"})[0]
        == 401
    )
    assert served.ask("GET", "/r/guess")[0] == 404


def test_consent_comes_before_the_first_item(served):
    cookie = served.enter(next(served.tokens), consent=False)
    assert served.state(cookie)[0] == 403
    assert served.ask("POST", "/api/consent", {}, cookie)[0] == 200
    assert served.state(cookie)[0] == 200


def test_the_cookie_cannot_be_read_by_a_script(served):
    _, headers, _ = served.ask("GET", f"/r/{next(served.tokens)}")
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=lax" in headers["set-cookie"].lower()


def test_a_submission_that_arrives_twice_is_one(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    first = served.ask("POST", "/api/answer", sent(view, "twice"), cookie)
    second = served.ask("POST", "/api/answer", sent(view, "twice"), cookie)
    assert (first[0], second[0]) == (200, 200)
    assert json.loads(first[2])["position"] == json.loads(second[2])["position"] == 1
    assert len([one for one in judgements(served) if one.key == "twice"]) == 2  # One for each question.


def test_going_back_and_on_changes_nothing(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    served.ask("POST", "/api/answer", sent(view, "slowly", seconds=30.0), cookie)
    _, back = served.state(cookie, 0)
    status, _, body = served.ask("POST", "/api/answer", sent(back, "quickly", seconds=0.5), cookie)
    assert (status, json.loads(body)["position"]) == (200, 1)
    rows = [one for one in judgements(served, all_rows=True) if one.key in ("slowly", "quickly")]
    assert [(one.key, one.seconds) for one in rows] == [("slowly", 30.0)] * 2


def test_going_back_changes_the_answer_and_keeps_the_old_one(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    served.ask("POST", "/api/answer", sent(view, "before"), cookie)
    _, back = served.state(cookie, 0)
    assert back["item"]["answers"] == ANSWERS
    changed = {**ANSWERS, "fidelity": "indifferent"}
    status, _, body = served.ask("POST", "/api/answer", sent(back, "after", answers=changed), cookie)
    assert (status, json.loads(body)["position"]) == (200, 1)
    rows = {one.key: one for one in judgements(served, all_rows=True) if one.question == "fidelity"}
    assert rows["after"].supersedes == rows["before"].id


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"item": "0123456789abcdef"}, 409),
        ({"position": 1}, 409),
        ({"position": -1}, 409),
        ({"position": "0"}, 400),
        ({"answers": {"fidelity": "first"}}, 400),
        ({"answers": {**ANSWERS, "fidelity": "'; DROP TABLE judgements; --"}}, 400),
        ({"answers": ["first"]}, 400),
        ({"seconds": "soon"}, 400),
        ({"seconds": -1}, 400),
        ({"seconds": 1e9}, 400),
        ({"key": ""}, 400),
        ({"key": "k" * 65}, 400),
    ],
)
def test_a_forged_answer_is_refused_and_stored_nowhere(served, changes, status):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    before = len(judgements(served, all_rows=True))
    assert served.ask("POST", "/api/answer", sent(view, **({"key": "forged"} | changes)), cookie)[0] == status
    assert len(judgements(served, all_rows=True)) == before


def test_what_is_no_json_or_far_too_long_is_refused(served):
    cookie = served.enter(next(served.tokens))
    assert served.ask("POST", "/api/answer", "no json", cookie)[0] == 400
    assert served.ask("POST", "/api/answer", "[" * 30_000, cookie)[0] == 400
    assert served.ask("POST", "/api/answer", "x" * 100_000, cookie)[0] == 413


@pytest.mark.parametrize(
    "name",
    ["..%2fstudy.json", "../study.json", "..%2f..%2fetc%2fpasswd", "study.json", "judgements.sqlite", "%00", "."],
)
def test_no_file_but_the_raters_own_images_can_be_had(served, name):
    cookie = served.enter(next(served.tokens))
    status, _, body = served.ask("GET", f"/img/{name}", cookie=cookie)
    assert status in (400, 404)
    assert b"schema_version" not in body
    assert b"root:" not in body


def test_images_wait_for_consent_and_asking_for_one_takes_no_place(served):
    free = places(served)
    cookie = served.enter(next(served.tokens), consent=False)
    for name in ("anything", next((served.study / "images").iterdir()).name):
        assert served.ask("GET", f"/img/{name}", cookie=cookie)[0] == 403
        assert places(served) == free
    assert served.ask("POST", "/api/consent", {}, cookie)[0] == 200
    assert served.ask("GET", "/img/anything", cookie=cookie)[0] == 404
    assert places(served) == free
    assert served.state(cookie)[0] == 200
    assert places(served) != free


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_image_comes_without_the_time_of_its_file(runs, tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(routes_module, "IN_MEMORY", 2**30 if in_memory else 0)
    study = create(tmp_path / "study", runs[:2], DRAWBENCH, images_per_set=1)
    store = Store(study)
    rater, token = store.invite()
    store.consent(rater)
    place = store.place(rater)
    name = study.units[place.unit][0].sides[0].images[0]
    app = Starlette(routes=routes_module.routes(routes_module.Desk(store, "secret")))
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": f"/img/{name}", "query_string": b"", "root_path": ""}
    asyncio.run(app(scope | {"headers": [(b"cookie", f"drawbench_rater={token}".encode())]}, None, send))
    store.close()
    start, *bodies = sent
    assert b"".join(body["body"] for body in bodies) == study.image_path(name).read_bytes()
    names = {key.decode() for key, _ in start["headers"]}
    assert (start["status"], names) == (200, {"content-type", "content-length", "cache-control"})
    assert dict(start["headers"])[b"cache-control"] == b"private, max-age=31536000, immutable"


def test_images_of_another_unit_cannot_be_had(served):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    study = Study.open(served.study)
    unit = study.by_id[view["item"]["id"]].unit
    other = next(item for item in study.items if item.unit != unit).sides[0].images[0]
    assert served.ask("GET", f"/img/{other}", cookie=cookie)[0] == 404


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:9"])
def test_posts_from_elsewhere_are_refused(served, origin):
    cookie = served.enter(next(served.tokens))
    _, view = served.state(cookie)
    assert served.ask("POST", "/api/answer", sent(view, "cross"), cookie, origin=origin)[0] == 403
    assert not [one for one in judgements(served, all_rows=True) if one.key == "cross"]


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://localhost:9999"])
def test_websockets_from_elsewhere_are_refused(served, origin):
    with socket.create_connection(("127.0.0.1", served.port), 10) as line:
        lines = [
            "GET /_stcore/stream HTTP/1.1",
            f"Host: 127.0.0.1:{served.port}",
            *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
            *("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: streamlit"),
            *([f"Origin: {origin}"] if origin else []),
        ]
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        assert line.recv(64).startswith(b"HTTP/1.1 403")


def test_a_host_that_it_is_not_known_by_is_refused(served):
    assert served.ask("GET", "/healthz", headers={"Host": "evil.example"})[0] == 403
    assert served.ask("GET", "/healthz", headers={"Host": f"localhost:{served.port}"})[0] == 200


def test_the_administrators_export_needs_the_secret(served, tmp_path):
    assert served.ask("GET", "/api/admin/export.csv")[0] == 403
    assert served.ask("GET", "/api/admin/export.csv", cookie="drawbench_admin=guess")[0] == 403
    assert served.ask("POST", "/admin", "secret=guess")[0] == 403
    secret = (served.study / "admin_secret.txt").read_text().strip()
    assert (served.study / "admin_secret.txt").stat().st_mode & 0o077 == 0
    status, headers, _ = served.ask("POST", "/admin", f"secret={secret}")
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, body = served.ask("GET", "/api/admin/export.csv", cookie=cookie)
    assert (status, body.split(b",")[0]) == (200, b"id")
    # It is what the command line writes, without what was changed later.
    rater = served.enter(next(served.tokens))
    _, view = served.state(rater)
    served.ask("POST", "/api/answer", sent(view, "exported"), rater)
    changed = {**ANSWERS, "fidelity": "indifferent"}
    served.ask("POST", "/api/answer", sent(view, "exported-later", answers=changed), rater)
    _, _, body = served.ask("GET", "/api/admin/export.csv", cookie=cookie)
    command = [*(sys.executable, "-m", "drawbench", "study", "export", served.study), "-o", tmp_path / "by_cli.csv"]
    subprocess.run(command, check=True, capture_output=True)
    assert body == (tmp_path / "by_cli.csv").read_bytes()
    assert body.count(b"exported-later") == body.count(b"exported,") == 1
    assert not list(served.study.glob("tmp*"))


def test_the_access_code_lets_in_and_a_wrong_one_does_not(served):
    assert served.ask("POST", "/join", "secret=please")[0] == 403
    status, headers, _ = served.ask("POST", "/join", "secret=open+sesame")
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert served.ask("POST", "/api/consent", {}, cookie)[0] == 200
    # Who enters it once more is the same person, and not another rater.
    for method in ("GET", "POST"):
        status, headers, _ = served.ask(method, "/join", "secret=open+sesame" if method == "POST" else None, cookie)
        assert (status, headers["location"], headers.get("set-cookie")) == (303, "/", None)


@pytest.fixture
def behind_a_proxy(runs, tmp_path):
    """The app with an access code, reached by a name of its own, and a proxy at another loopback address."""
    study = create(tmp_path / "study", runs[:2], DRAWBENCH, images_per_set=1)
    store = Store(study)
    token = store.invite()[1]
    store.close()
    options = ("--access-code", "open sesame", "--name", "Raters.Example.org", "--proxy", "127.0.0.2")
    with serving(study.path, *options) as app:
        app.token = token
        yield app


def test_who_tries_many_links_must_wait_and_shuts_out_nobody_who_has_one(behind_a_proxy):
    app = behind_a_proxy
    statuses = [app.ask("GET", f"/r/guess{number}")[0] for number in range(25)]
    assert statuses == [404] * 20 + [429] * 5
    assert app.ask("GET", f"/r/{app.token}")[0] == 303
    assert app.ask("POST", "/admin", "secret=guess")[0] == 429
    secret = (app.study / "admin_secret.txt").read_text().strip()
    assert app.ask("POST", "/admin", f"secret={secret}")[0] == 303
    assert app.ask("POST", "/join", "secret=open+sesame")[0] == 303


def test_access_codes_are_counted_for_each_address_that_a_proxy_speaks_for(behind_a_proxy):
    app = behind_a_proxy

    def join(code, behind, rater):
        connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=30, source_address=(behind, 0))
        connection.request("POST", "/join", f"secret={code}", {"Origin": app.url, "X-Forwarded-For": rater})
        status = connection.getresponse().status
        connection.close()
        return status

    assert [join("guess", "127.0.0.2", "192.0.2.1") for _ in range(21)] == [403] * 20 + [429]
    assert join("open+sesame", "127.0.0.2", "192.0.2.1") == 429
    assert join("open+sesame", "127.0.0.2", "192.0.2.2") == 303
    # Somebody else's word for whom they speak is worth nothing.
    assert [join("guess", "127.0.0.3", f"192.0.2.{number}") for number in range(21)] == [403] * 20 + [429]


def test_a_name_is_known_however_its_letters_are_written(behind_a_proxy):
    app = behind_a_proxy
    for host in ("raters.example.org", "Raters.Example.org"):
        assert app.ask("GET", "/healthz", headers={"Host": host})[0] == 200
        assert (
            app.ask("POST", "/join", "secret=no", origin="https://raters.example.org", headers={"Host": host})[0] == 403
        )
        answer = app.ask("POST", "/join", "secret=no", origin="https://raters.example.org", headers={"Host": host})[2]
        assert b"This code is not right" in answer


@pytest.mark.parametrize("host", ["[", "[::1", "a[b]"])
def test_a_host_that_cannot_be_is_a_bad_request(served, host):
    assert served.ask("GET", "/healthz", headers={"Host": host})[0] == 400


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_what_is_told_before_consent_is_true_of_the_design(design):
    from drawbench.human_eval.app.pages import subject

    told = subject(design)
    has_photographs = design.name.startswith("coco")
    assert ("images that computers made" in told) == (not has_photographs)
    assert ("some made by computers and some not" in told) == has_photographs
    assert ("no right answer" in told) == (design.name in ("drawbench", "dalle2"))
    assert "no right answer" not in subject(replace(design, controls=5))
