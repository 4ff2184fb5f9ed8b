import base64
import io
import json
import re
import signal
import socket
import ssl
import sys
import threading
import time
from email.utils import formatdate
from urllib.error import URLError

import numpy as np
import pytest
from image_api import Api, StoodClock, answer, openai, picture, pixels
from PIL import Image

from drawbench.cli import main
from drawbench.errors import UserError
from drawbench.generators.http_api import INTERRUPTED, http
from drawbench.interfaces import Drawn, Failed, Item, Prompt, Refused
from drawbench.plugins import find
from drawbench.prompts import make_prompt_set
from drawbench.runner import generate
from drawbench.settings import on_record, resolve
from drawbench.store import Manifest, Plan, Run, System

KEY = "sk-proj-Zx81yvQ77secretW"


@pytest.fixture
def api():
    with Api() as one:
        yield one


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAINTER_KEY", KEY)


def made(api, **options):
    generator = http(**{"url": api.url, "key_env": "PAINTER_KEY", "retries": 2, "back_off": 1.0, **options})
    generator.caller.clock = StoodClock()
    return generator


def items(*texts):
    return [Item(Prompt(f"{n:03d}", text), 0, 2**62 + n) for n, text in enumerate(texts)]


def start(path, generator, texts):
    prompts = make_prompt_set("small", [Prompt(f"{n:03d}", text) for n, text in enumerate(texts)])
    system = System("painter", "http", {}, generator.fingerprint())
    return Run.start(
        path, Manifest(system, "small", prompts.sha256, len(texts), 0, "-", Plan(None, 1), 4, "2026-01-01"), prompts
    )


def draw(run, generator, batch_size=4):
    return generate(run, generator, run.items(), batch_size=batch_size, device="cpu")


def one(generator, text="a fox"):
    (result,) = generator.generate(items(text))
    return result


def image_of(drawn):
    return np.asarray(drawn.image).tolist()


def everything_in(folder):
    return b"\n".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_openais_api_gets_what_it_knows_and_gives_the_image(api):
    drawn = one(made(api, model="painter-2", size="1024x1024", extra='{"quality": "low"}'))
    assert image_of(drawn) == pixels(picture("a fox"))
    assert api.bodies == [{"model": "painter-2", "size": "1024x1024", "n": 1, "quality": "low", "prompt": "a fox"}]
    assert api.paths == ["/images/generations"]
    assert api.headers[0]["authorization"] == f"Bearer {KEY}"
    assert drawn.facts["source_codec"] == "PNG"
    assert len(drawn.facts["source_sha256"]) == 64
    assert drawn.prompt_used is None


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/images/generations"])
def test_the_address_may_be_given_with_or_without_its_end(api, path):
    one(made(api, url=f"{api.url}{path}?api-version=1", key_header="api-key"))
    assert api.paths == ["/v1/images/generations?api-version=1"]
    assert (api.headers[0]["api-key"], "authorization" in api.headers[0]) == (KEY, False)


def test_a_plain_api_gets_a_seed_and_may_answer_with_an_image(api):
    api.good = lambda prompt: answer(body=picture(prompt, "WEBP"), kind="image/webp")
    drawn = one(made(api, style="plain", url=f"{api.url}/draw", prompt_field="prompt", extra='{"steps": 4}'))
    assert image_of(drawn) == pixels(picture("a fox"))
    assert api.bodies == [{"steps": 4, "prompt": "a fox", "seed": 2**62 % 2**31}]
    assert api.paths == ["/draw"]
    assert (drawn.facts["source_codec"], drawn.facts["seed_sent"]) == ("WEBP", 2**62 % 2**31)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_plain_api_may_answer_with_base64_somewhere_inside(api, prefix):
    text = prefix + base64.encodebytes(picture("a fox")).decode()
    api.good = lambda prompt: answer(body={"images": [text], "cost": 0.25})
    drawn = one(made(api, style="plain", image_field="images.0", seed_field="none_of_yours", seed_bits=63, cost=9))
    assert image_of(drawn) == pixels(picture("a fox"))
    assert api.bodies[0]["none_of_yours"] == 2**62
    assert drawn.facts["cost"] == 0.25  # The answer knows better than the option.


def test_where_no_seed_is_sent_it_is_said(api):
    generator = made(api)
    assert generator.fingerprint()["seed"] == "not sent: not reproducible"
    assert generator.remarks([]) == []
    one(generator)
    assert "seed" not in api.bodies[0]
    assert any("cannot be drawn again" in remark for remark in generator.remarks([]))
    seeded = made(api, seed_field="seed")
    one(seeded)
    assert api.bodies[1]["seed"] == 2**62 % 2**31
    assert seeded.fingerprint()["seed"] == "sent as 'seed', 31 bits"
    assert not any("again" in remark for remark in seeded.remarks([]))


def test_what_the_answer_says_of_prompt_and_cost_is_kept(api):
    usage = {"total_tokens": 12, "details": {"image_tokens": 10, "cached": True}, "huge": 10**400, "note": "x"}
    body = json.loads(openai(picture("a fox"), revised_prompt="A red fox \ud83d.")[2])
    api.good = lambda prompt: answer(body={**body, "usage": usage})
    generator = made(api, cost=0.04)
    drawn = one(generator)
    assert drawn.prompt_used == "A red fox ?."
    told = {name: value for name, value in drawn.facts.items() if not name.startswith("source")}
    assert told == {"usage.total_tokens": 12, "usage.details.image_tokens": 10, "cost": 0.04}
    assert "1 images cost 0.04" in generator.remarks([])[0]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"code": "moderation_blocked", "message": "not\nthis"}}),
        (400, {"error": {"code": "content_policy_violation", "message": "not this"}}),
        (400, {"error": {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "not this"}}),
        (403, {"error": {"code": "content_policy_violation", "message": "not this"}}),
        (200, {"refused": "not this"}),
        (422, {"refused": "not this"}),
    ],
)
def test_a_refusal_is_a_refusal_and_is_not_asked_for_again(api, status, body):
    api.good = lambda prompt: answer(status, body)
    assert one(made(api)) == Refused("not this")
    assert len(api.bodies) == 1


def test_a_moderated_answer_without_an_image_is_a_refusal(api):
    api.good = lambda prompt: answer(body={"data": [{"b64_json": "", "respect_moderation": False}]})
    assert isinstance(one(made(api)), Refused)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"message": "no\nsuch   size"}}, "HTTP 404: no such size"),
        ({"error": "no model"}, "HTTP 404: no model"),
        ({"detail": [1]}, 'HTTP 404: {"detail": [1]}'),
        (b"<html><b>lost</b></html>", "HTTP 404: lost"),
        (b"", "HTTP 404"),
        ({"message": "x" * 9999}, "HTTP 404: " + "x" * 199 + "…"),
    ],
)
def test_another_error_is_told_in_the_servers_words_and_not_repeated(api, body, told):
    api.good = lambda prompt: answer(404, body)
    assert one(made(api)) == Failed(told)
    assert len(api.bodies) == 1


def broken_off(prompt):
    status, headers, body = openai(picture(prompt))
    return status, {**headers, "Declared": len(body) + 1}, body


def half_an_image(prompt):
    return openai(picture(prompt)[:-40])


GARBAGE = {
    "not json": answer(body=b"<html>busy</html>", kind="text/html"),
    "a list": answer(body=[1]),
    "no data": answer(body={"data": []}),
    "data of another kind": answer(body={"data": {"0": 1}}),
    "not base64": answer(body={"data": [{"b64_json": "?!"}]}),
    "no image": openai(b"plain words"),
    "empty image": answer(body={"data": [{"b64_json": " "}]}),
    "half an image": half_an_image,
    "broken off": broken_off,
    "dropped": lambda prompt: None,
    "500": answer(500, {"error": "oops"}),
    "502": answer(502, b"<html>bad gateway</html>"),
    "408": answer(408),
    "an image where JSON is due": answer(body=b"\x89PNG", kind="image/png"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_asked_for_again(api, what):
    api.instead["a fox"] = [GARBAGE[what], GARBAGE[what]]
    generator = made(api)
    drawn = one(generator)
    assert image_of(drawn) == pixels(picture("a fox"))
    assert drawn.facts["tries"] == 3
    first, second = generator.caller.clock.waits
    assert 0.5 <= first <= 1.5
    assert 1 <= second <= 3


@pytest.mark.parametrize("what", GARBAGE)
def test_where_it_stays_garbage_that_image_alone_fails(api, what):
    api.instead["a fox"] = [GARBAGE[what]] * 9
    fox, owl = made(api).generate(items("a fox", "an owl"))
    assert isinstance(fox, Failed)
    assert fox.reason.endswith("(after 3 tries)")
    assert not fox.ends_run
    assert isinstance(owl, Drawn)
    assert api.asked == {"a fox": 3, "an owl": 1}


def test_the_pauses_follow_from_the_images_seed(api):
    api.good = lambda prompt: answer(500)
    waits = []
    for _ in range(2):
        generator = made(api, concurrency=1, retries=5, back_off=20)
        generator.generate(items("a", "b"))
        waits.append(generator.caller.clock.waits)
    assert waits[0] == waits[1]
    assert waits[0][:5] != waits[0][5:]
    assert max(waits[0]) <= 90


def test_an_image_that_has_no_one_meaning_fails_without_being_paid_again(api):
    see_through = io.BytesIO()
    Image.new("RGBA", (4, 4), (0, 0, 0, 7)).save(see_through, "PNG")
    api.good = lambda prompt: openai(see_through.getvalue())
    failed = one(made(api))
    assert "transparent in 16 of its 16 pixels" in failed.reason
    assert len(api.bodies) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_pause_that_is_asked_for_is_kept_by_all(api, status, form):
    asked = "100" if form == "seconds" else formatdate(time.time() + 100, usegmt=True)
    api.instead["a fox"] = [answer(status, Retry_After=asked)]
    generator = made(api, concurrency=1)
    fox, owl = generator.generate(items("a fox", "an owl"))
    assert isinstance(fox, Drawn)
    assert isinstance(owl, Drawn)
    assert sum(generator.caller.clock.waits) == pytest.approx(100, abs=2)
    hold = made(api)
    api.instead["a cat"] = [answer(status, Retry_After=asked)]
    hold.caller.retries = 0
    assert isinstance(one(hold, "a cat"), Failed)
    assert hold.caller.clock.waits == []
    assert isinstance(one(hold, "a dog"), Drawn)
    assert sum(hold.caller.clock.waits) == pytest.approx(100, abs=2)


def test_a_pause_of_an_hour_is_not_sat_out(api):
    api.good = lambda prompt: answer(429, {"error": "daily limit"}, Retry_After="3600")
    failed = one(made(api))
    assert failed.ends_run
    assert "HTTP 429: daily limit; the server asks for a pause of 3600 s" in failed.reason
    assert len(api.bodies) == 1


def test_the_rate_is_kept_by_retries_too(api):
    generator = made(api, per_minute=30, concurrency=3, back_off=0)
    times = []
    api.good = lambda prompt: times.append(generator.caller.clock.now()) or openai(picture(prompt))
    api.instead["c"] = [lambda prompt: times.append(generator.caller.clock.now()) or answer(500)]
    generator.generate(items(*"abc"))
    generator.generate(items(*"de"))
    assert len(times) == 6
    assert generator.caller.clock.now() == pytest.approx(10)
    assert generator.caller.requests == 6


def test_without_a_limit_nothing_is_waited_for(api):
    generator = made(api)
    generator.generate(items(*"abcdef"))
    assert generator.caller.clock.waits == []


def test_a_batch_is_asked_for_at_once_and_comes_back_in_order(api):
    together = threading.Barrier(3, timeout=20)
    api.good = lambda prompt: together.wait() is not None and openai(picture(prompt))
    texts = ["a", "b", "c", "d", "e", "f"]
    drawn = made(api, concurrency=3).generate(items(*texts))
    assert [image_of(d) for d in drawn] == [pixels(picture(t)) for t in texts]
    assert api.most_under_way == 3


def test_who_is_too_slow_is_given_up(api):
    done = threading.Event()
    api.instead["a fox"] = [lambda prompt: done.wait(20) and None]
    try:
        fox, owl = made(api, timeout=0.3, retries=0).generate(items("a fox", "an owl"))
    finally:
        done.set()
    assert fox == Failed(f"{api.url}/images/generations gave no whole answer within 0.3 s")
    assert isinstance(owl, Drawn)


def test_who_sends_a_byte_now_and_then_is_given_up():
    """Each byte comes in time, and the answer never."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def drip():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not done.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        generator = http(url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.4, retries=0)
        try:
            assert "no whole answer within 0.4 s" in one(generator).reason
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": {"message": f"Incorrect API key provided: {KEY[:8]}*****{KEY[-4:]}."}}),
        (403, {"error": {"message": f"{KEY} may not"}}),
        (402, {"error": "pay"}),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}),
        (400, {"error": {"code": "billing_hard_limit_reached", "message": "limit"}}),
    ],
)
def test_who_is_not_let_in_stops_at_once_and_keeps_what_was_paid(api, tmp_path, status, body):
    api.instead["c"] = [answer(status, body)]
    generator = made(api, concurrency=1)
    run = start(tmp_path / "run", generator, "abcdefghij")
    with pytest.raises(UserError) as ended:
        draw(run, generator)
    assert str(status) in str(ended.value)
    assert "\n" not in str(ended.value)
    assert KEY[:6] not in str(ended.value)
    assert KEY[-4:] not in str(ended.value)
    assert api.drawn() == ["a", "b", "c"]
    assert sorted(run.records()) == [("000", 0), ("001", 0)]
    assert KEY.encode() not in everything_in(tmp_path)
    summary = draw(run, made(api))
    assert (summary.drawn, summary.already) == (8, 2)
    assert api.asked == {**dict.fromkeys("abdefghij", 1), "c": 2}


def test_one_failure_costs_the_batch_mates_nothing(api, tmp_path):
    api.instead["b"] = [answer(500)] * 9
    api.instead["c"] = [answer(400, {"error": {"code": "moderation_blocked", "message": "no"}})]
    api.instead["d"] = [answer(418, {"error": f"a teapot for {KEY}"})]
    generator = made(api)
    run = start(tmp_path / "run", generator, "abcdef")
    summary = draw(run, generator, batch_size=6)
    assert (summary.drawn, summary.refused, summary.failed) == (3, 1, 2)
    records = run.records()
    assert [records[f"{n:03d}", 0].status for n in range(6)] == ["drawn", "failed", "refused", "failed"] + ["drawn"] * 2
    assert records["003", 0].reason == "HTTP 418: a teapot for [key]"
    assert records["003", 0].traceback is None
    assert api.asked == {"a": 1, "b": 3, "c": 1, "d": 1, "e": 1, "f": 1}
    api.instead.clear()
    assert draw(run, made(api)).drawn == 2
    assert api.asked == {"a": 1, "b": 4, "c": 1, "d": 2, "e": 1, "f": 1}
    assert KEY.encode() not in everything_in(tmp_path)


def test_a_key_that_a_server_sends_back_is_put_on_no_record(api, tmp_path):
    echo = f"{KEY} draws"
    usage = {KEY: 1, "total": 2}
    body = json.loads(openai(picture("a"), revised_prompt=echo)[2])
    api.instead["a"] = [answer(body={**body, "usage": usage})]
    api.instead["b"] = [answer(body={"refused": echo})]
    api.instead["c"] = [answer(404, {"error": {"message": echo}})]
    api.instead["d"] = [answer(302, Location=f"{api.url}/{KEY}")]
    generator = made(api, concurrency=1)
    run = start(tmp_path / "run", generator, "abcd")
    with pytest.raises(UserError, match=r"redirects to .*\[key\]"):
        draw(run, generator)
    assert run.records()["000", 0].prompt_used == "[key] draws"
    assert run.records()["001", 0].reason == "[key] draws"
    assert KEY.encode() not in everything_in(tmp_path)


def test_after_the_server_died_only_what_lacks_is_drawn(tmp_path):
    api = Api()
    api.instead["d"] = [lambda prompt: api.close()]
    generator = made(api, concurrency=1)
    run = start(tmp_path / "run", generator, "abcdef")
    with pytest.raises(UserError, match=r"cannot be reached .*the same command goes on"):
        draw(run, generator, batch_size=2)
    assert len(run.drawn()) == 3
    with Api(api.port) as again:
        assert draw(run, made(again)).drawn == 3
        assert again.drawn() == ["d", "e", "f"]


def test_an_address_where_nobody_ever_was_is_told_at_once(api, monkeypatch):
    api.close()
    generator = made(api)
    assert one(generator).ends_run
    assert (generator.caller.requests, generator.caller.clock.waits) == (1, [])
    for cause, told in (
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify failed"),
        (socket.gaierror(-2, "Name or service not known"), "cannot be reached .*Name or service not known"),
    ):
        generator = made(api)

        def raising(*_, cause=cause, **__):
            raise URLError(cause)

        monkeypatch.setattr(generator.caller._opener, "open", raising)
        failed = one(generator)
        assert failed.ends_run
        assert re.search(told, failed.reason)
    api.close = lambda: None


def test_seed_0_is_a_seed(api):
    api.good = lambda prompt: answer(body=picture(prompt), kind="image/png")
    (drawn,) = made(api, style="plain").generate([Item(Prompt("1", "a fox"), 0, 0)])
    assert api.bodies[0]["seed"] == drawn.facts["seed_sent"] == 0
    one(made(api, style="plain", seed_field=None))
    assert "seed" not in api.bodies[1]


def test_an_image_behind_an_address_is_fetched_without_the_key_and_never_paid_twice(api):
    with Api() as store:
        store.files["/a.png"] = [
            answer(404),
            answer(503),
            answer(302, Location="/b.png"),
            answer(302, Location="/b.png"),
        ]
        store.files["/b.png"] = [
            answer(body=b"half", kind="image/png"),
            answer(body=picture("a fox"), kind="image/png"),
        ]
        api.good = lambda prompt: answer(body={"data": [{"url": f"{store.url}/a.png?sig=s3cr3t"}]})
        drawn = one(made(api, retries=3))
        assert image_of(drawn) == pixels(picture("a fox"))
        assert api.asked == {"a fox": 1}
        assert all("authorization" not in headers for headers in store.headers)
        store.files.clear()
        failed = one(made(api, retries=1), "an owl")
        assert failed.reason == (f"the image could not be fetched from {store.url}/a.png: HTTP 404 (after 2 tries)")
        assert api.asked["an owl"] == 1


def test_an_address_on_the_same_host_gets_the_key(api):
    api.files["/out/1.png"] = [answer(body=picture("a fox"), kind="image/png")]
    api.good = lambda prompt: answer(body={"image": f"{api.url}/out/1.png"})
    assert isinstance(one(made(api, style="plain")), Drawn)
    assert api.headers[-1]["authorization"] == f"Bearer {KEY}"


def test_a_file_on_this_machine_is_no_answer(api, tmp_path):
    (tmp_path / "a.png").write_bytes(picture("a"))
    api.files["/a.png"] = [answer(302, Location=f"file://{tmp_path}/a.png")]
    api.good = lambda prompt: answer(body={"data": [{"url": f"{api.url}/a.png"}]})
    assert "no http address (file:)" in one(made(api)).reason


def test_a_redirect_takes_the_key_nowhere(api):
    with Api() as elsewhere:
        api.instead["a fox"] = [answer(307, Location=f"{elsewhere.url}/draw?x=1")]
        failed = one(made(api))
        assert failed.ends_run
        assert f"redirects to {elsewhere.url}/draw; give the address" in failed.reason
        assert elsewhere.headers == []
    api.instead["a fox"] = [answer(308, Location="/v2/images")]
    assert isinstance(one(made(api)), Drawn)
    assert api.paths[-1] == "/v2/images"
    api.instead["an owl"] = [answer(301, Location="/v2/images")]  # A browser would ask again with GET.
    assert one(made(api), "an owl").ends_run
    api.good = answer(307, Location="/round")
    assert "in a circle" in one(made(api)).reason


def test_an_interrupt_keeps_what_is_paid_and_sends_no_further_request(api, tmp_path, request):
    """Ctrl-C while the second of four requests is under way: its answer is waited for, and the same command goes on."""

    def interrupting(prompt):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)
        return openai(picture(prompt))

    api.instead["b"] = [interrupting]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # Tests in the background ignore it.
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    generator = made(api, concurrency=1)
    run = start(tmp_path / "run", generator, ["a", "b", "c", "d"])
    with pytest.raises(UserError, match="interrupted: what was answered is kept, and the same command goes on"):
        draw(run, generator)
    assert api.asked == {"a": 1, "b": 1}
    assert [record.status for record in run.records().values()] == ["drawn", "drawn"]
    assert generator.generate(items("later")) == [Failed(INTERRUPTED, ends_run=True)]
    assert draw(run, made(api)).drawn == 2
    assert api.asked == dict.fromkeys("abcd", 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"url": "https://me:hunter22@host/v1"}, "http.url holds a user or password before the @.*http.key_env"),
        ({"url": "https://host/v1?api_key=hunter22"}, "query field 'api_key'.*http.key_env"),
        ({"url": "https://host/v1?sig=hunter22"}, "query field 'sig'"),
        ({"url": f"https://host/{KEY}"}, "the key stands in an option"),
        ({"extra": json.dumps({"x": KEY})}, "the key stands in an option"),
        ({"extra": '{"api_key": "hunter22"}'}, "http.extra holds 'api_key'"),
        ({"key_env": "sk-hunter22"}, "must be the name of an environment variable"),
        ({"key_env": "NOT_SET_ANYWHERE"}, "environment variable that http.key_env names is not set"),
        ({"key_env": "TORN"}, "the environment variable TORN holds blanks"),
        ({"key_header": "a\nb"}, "must be a header's name"),
        ({"url": "host/v1"}, "must be an address"),
        ({"url": "ftp://host/v1"}, "must be an address"),
        ({"url": "http://host:99999/"}, "must be an address"),
        ({"url": "http://[host/"}, "must be an address"),
        ({"url": "http://host/a b"}, "must be an address"),
        ({"url": "http://host/#x"}, "has a # in it"),
        ({"extra": "{"}, "http.extra is not JSON"),
        ({"extra": "[1]"}, "must be a JSON object"),
        ({"extra": '{"n": 4}'}, "http.extra holds 'n', which is set for each request"),
        ({"size": "big"}, "http.size=big: allowed are WIDTHxHEIGHT"),
        ({"concurrency": 0}, "http.concurrency=0: allowed is 1 to 256"),
        ({"per_minute": -1.0}, "http.per_minute=-1: allowed is 0.001 or more"),
        ({"timeout": float("nan")}, "http.timeout=nan: allowed is"),
        ({"retries": -1}, "http.retries=-1: allowed is 0 to 100"),
        ({"cost": -0.5}, "http.cost=-0.5"),
        ({"seed_bits": 64}, "http.seed_bits=64: allowed is 1 to 63"),
        ({"style": "plain", "response_format": "url"}, "http.response_format is of style=openai"),
    ],
)
def test_what_is_typed_wrong_is_told_without_a_secret(monkeypatch, options, told):
    monkeypatch.setenv("TORN", "sk-1\nsk-2")
    with pytest.raises(UserError, match=told) as wrong:
        http(**{"url": "https://host/v1", "key_env": "PAINTER_KEY", **options})
    assert "hunter22" not in str(wrong.value)
    assert KEY not in str(wrong.value)


def test_fields_that_are_no_secrets_pass():
    http(url="https://host/v1?design=1&api-version=2", extra='{"max_tokens": 3, "keys": 1}')


def test_how_it_is_asked_is_no_part_of_the_system():
    factory = find("generators", "http").load()
    values = resolve("http", factory, {"url": "https://host/v1", "key_env": "PAINTER_KEY", "concurrency": "9"})
    assert values["concurrency"] == 9
    kept = on_record(factory, values)
    assert sorted(kept) == [
        "extra", "image_field", "model", "prompt_field", "response_format", "seed_bits", "seed_field", "size", "style", "url",
    ]  # fmt: skip


def test_a_short_key_is_a_placeholder_and_stands_in_ordinary_words(api, monkeypatch):
    monkeypatch.setenv("PAINTER_KEY", "none")
    api.good = lambda prompt: openai(picture(prompt), revised_prompt="a fox, and none beside it")
    assert one(made(api)).prompt_used == "a fox, and none beside it"


def test_from_the_command_line_to_a_run_and_on(api, tmp_path, monkeypatch, capsys):
    def drawbench(*arguments):
        monkeypatch.setattr(sys, "argv", ["drawbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    prompts, run = tmp_path / "prompts.txt", tmp_path / "run"
    prompts.write_text("a fox\nan owl\na cat\n")
    api.instead["an owl"] = [answer(500, {"error": f"oops {KEY}"})]
    api.instead["a cat"] = [answer(400, {"error": {"code": "moderation_blocked", "message": "no cats"}})]
    command = ["generate", "--generator", "http", "--prompts", prompts, "-o", run]
    options = {"url": api.url, "model": "painter-2", "key_env": "PAINTER_KEY", "cost": "0.5", "retries": "0"}
    settings = [part for name, value in options.items() for part in ("--set", f"http.{name}={value}")]
    code, out, err = drawbench(*command, *settings)
    assert code == 1
    assert "1 drawn, 1 refused, 1 FAILED" in out
    assert "sample 0: HTTP 500: oops [key]\n" in err
    assert "note: 3 requests to" in err
    assert "1 images cost 0.5" in err
    code, out, err = drawbench(*command, *settings, "--set", "http.concurrency=1")
    assert code == 0
    assert api.asked == {"a fox": 1, "an owl": 2, "a cat": 1}
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["system"]["options"]["url"] == api.url
    assert manifest["system"]["fingerprint"]["seed"] == "not sent: not reproducible"
    facts = [record.facts for record in Run.open(run).drawn()]
    assert [fact["cost"] for fact in facts] == [0.5, 0.5]
    assert KEY.encode() not in everything_in(tmp_path)
    assert KEY not in out + err
    monkeypatch.setenv("PAINTER_KEY", "wrong-key-altogether")
    api.good = lambda prompt: answer(401, {"error": {"message": "who are you?"}})
    prompts.write_text("a fox\nan owl\na cat\na dog\n")
    code, out, err = drawbench("generate", "--generator", "http", "--prompts", prompts, "-o", tmp_path / "b", *settings)
    lines = [line for line in err.splitlines() if line.startswith("drawbench:")]
    assert code == 2
    assert len(lines) == 1
    assert "refuses access (HTTP 401: who are you?); check the key that http.key_env names" in lines[0]
