"""Downloads, from a server on the loopback address that does what servers do."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from drawbench import download
from drawbench.cli.options import load_prompts
from drawbench.download import Published, fetched, is_offline
from drawbench.errors import AssetMissing
from drawbench.prompts import drawbench

GOOD = b"prompt\n" + b"One line of many.\n" * 5000
BAD = GOOD.replace(b"many", b"some")
LIST = Published("made-up", "the made-up list", len(GOOD), "none: it is ours")


def fault(data):
    return "" if data == GOOD else f"its sha256 is {hashlib.sha256(data).hexdigest()[:8]}"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path; every request is remembered by the server."""

    def do_GET(self):
        self.server.asked.append(self.path)
        getattr(self, self.path.strip("/"))()

    def send(self, data, length=None):
        self.send_response(200)
        if length != 0:
            self.send_header("Content-Length", str(length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def good(self):
        self.send(GOOD)

    def slow(self):
        time.sleep(0.5)  # Long enough for a second process to come to the lock.
        self.send(GOOD)

    def untold(self):
        self.send(GOOD, length=0)

    def wrong(self):
        self.send(BAD)

    def truncated(self):
        self.send(GOOD[:1000], length=len(GOOD))

    def endless(self):
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(bytes(2**16))
        except OSError:
            pass  # The client hung up.

    def misdeclared(self):
        self.send_response(200)
        self.send_header("Content-Length", "10, ten")
        self.end_headers()
        self.wfile.write(GOOD)

    def hanging(self):
        self.server.released.wait(30)

    def halfway(self):
        self.send(GOOD[:1000], length=len(GOOD))
        self.server.released.wait(30)

    def dripping(self):
        self.send(b"", length=len(GOOD))
        while not self.server.released.wait(0.02):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def absent(self):
        self.send_error(404)

    def broken(self):
        self.wfile.write(b"this is no HTTP\r\n\r\n")

    def moved(self):
        self.send_response(302)
        self.send_header("Location", "/good")
        self.end_headers()

    def circling(self):
        self.send_response(302)
        self.send_header("Location", "/circling")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "DRAWBENCH_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "SILENCE_S", 2.0)  # A loaded machine answers later than an idle one.
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.released = [], threading.Event()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.released.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def mirrors(server, monkeypatch):
    """Makes these paths of the server the mirrors of the list."""

    def mirrors(*paths, name="made-up"):
        urls = tuple(p if "://" in p else f"http://127.0.0.1:{server.server_port}/{p}" for p in paths)
        monkeypatch.setitem(download.MIRRORS, name, urls)
        return urls

    return mirrors


def refused_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def kept(cache):
    """The files that a download left, but for the lock."""
    return sorted(file.name for file in (cache / "prompts").glob("*") if file.suffix != ".lock")


def told(capsys):
    """The lines on standard error that are no progress bar."""
    lines = [line for part in capsys.readouterr().err.split("\n") for line in part.split("\r")]
    return [line.strip() for line in lines if line.strip() and "fetching" not in line]


@pytest.mark.parametrize("path", ["good", "untold", "moved"])
def test_good_bytes_are_kept_with_their_origin(mirrors, cache, path, capsys):
    (url,) = mirrors(path)
    assert fetched(LIST, fault) == cache / "prompts" / "made-up.csv"
    assert (cache / "prompts" / "made-up.csv").read_bytes() == GOOD
    assert kept(cache) == ["made-up.csv", "made-up.origin.json"]
    origin = json.loads((cache / "prompts" / "made-up.origin.json").read_text())
    assert origin == {"url": url, "sha256": hashlib.sha256(GOOD).hexdigest(), "licence": "none: it is ours"}
    assert told(capsys) == []


def test_what_is_in_the_cache_is_not_fetched_again(mirrors, server):
    mirrors("good")
    fetched(LIST, fault)
    fetched(LIST, fault)
    assert server.asked == ["/good"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("wrong", f"its sha256 is {hashlib.sha256(BAD).hexdigest()[:8]}"),
        ("truncated", f"it broke off after 1000 of {len(GOOD)} bytes"),
        ("endless", f"it sends more than {2 * len(GOOD) + 2**20} bytes; the file has {len(GOOD)}"),
        ("misdeclared", "its Content-Length is no number: 10, ten"),
        ("hanging", "timed out"),
        ("halfway", "timed out"),
        ("absent", "HTTP 404 Not Found"),
        ("broken", "this is no HTTP"),
        ("circling", "HTTP 302"),
    ],
)
def test_a_mirror_that_fails_is_told_in_one_line_and_the_next_one_serves(mirrors, cache, capsys, path, reason):
    failing, _ = mirrors(path, "good")
    assert fetched(LIST, fault).read_bytes() == GOOD
    (line,) = told(capsys)
    assert line.startswith(f"made-up: not from {failing}: ")
    assert reason in line


def test_a_server_that_drips_is_given_up_after_the_whole_time(mirrors, monkeypatch, capsys):
    monkeypatch.setattr(download, "WHOLE_S", 0.3)
    mirrors("dripping")
    with pytest.raises(AssetMissing):
        fetched(LIST, fault)
    assert "not done after 0 s" in told(capsys)[0]


def test_where_no_mirror_serves_nothing_is_kept_and_the_way_round_is_told(mirrors, cache, capsys):
    mirrors("wrong", "absent", f"http://127.0.0.1:{refused_port()}/list")
    with pytest.raises(AssetMissing) as caught:
        fetched(LIST, fault)
    message = str(caught.value)
    assert caught.value.exit_code == 3
    assert message.startswith("the made-up list (90 kB): not on this machine")
    assert str(cache / "prompts" / "made-up.csv") in message
    assert message.endswith("or name it: --prompts made-up=FILE")
    lines = told(capsys)
    assert len(lines) == 3
    assert "refused" in lines[2]
    assert kept(cache) == []


@pytest.mark.parametrize("variable", ["DRAWBENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_nothing_is_made(mirrors, server, cache, monkeypatch, capsys, variable):
    mirrors("good")
    monkeypatch.setenv(variable, "1")
    with pytest.raises(AssetMissing):
        fetched(LIST, fault)
    assert (server.asked, told(capsys), kept(cache)) == ([], [], [])
    monkeypatch.setenv(variable, "0")
    assert not is_offline()


def test_two_processes_at_once_make_one_download(mirrors, server, cache, tmp_path):
    (url,) = mirrors("slow")
    code = (
        "import sys\nfrom drawbench import download\n"
        f"download.MIRRORS['made-up'] = ({url!r},)\n"
        f"made = download.Published('made-up', 'the made-up list', {len(GOOD)}, 'ours')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"print(download.fetched(made, lambda data: '' if len(data) == {len(GOOD)} else 'short'))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-1, text=True, env=environment)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, str(cache / "prompts" / "made-up.csv")), err
    assert server.asked == ["/slow"]


def test_drawbench_by_name_comes_from_a_mirror_in_either_form_and_not_altered(
    drawbench_csv, mirrors, monkeypatch, cache, capsys
):
    published = drawbench_csv.read_bytes()
    altered = published.replace(b"kitten", b"cat", 1)
    monkeypatch.setattr(Handler, "altered", lambda self: self.send(altered), raising=False)
    monkeypatch.setattr(Handler, "page", lambda self: self.send(b"<html>\xff</html>"), raising=False)
    monkeypatch.setattr(Handler, "published", lambda self: self.send(published), raising=False)
    mirrors("page", "altered", "published", name="drawbench")
    found = load_prompts("drawbench")
    assert found.sha256 == drawbench(drawbench_csv).sha256
    page, other = told(capsys)
    assert "it is no list of prompts" in page
    assert "line" in other
    assert "differ" in other
    assert (cache / "prompts" / "drawbench.csv").read_bytes() == published


def test_coco_30k_by_name_comes_from_a_mirror(shared, mirrors, monkeypatch):
    published = (shared / "coco" / "coco_30k.csv").read_bytes()
    monkeypatch.setattr(Handler, "published", lambda self: self.send(published), raising=False)
    mirrors("wrong", "published", name="coco-30k")
    assert len(load_prompts("coco-30k").prompts) == 30_000


def test_every_mirror_is_an_address_over_tls():
    assert all(url.startswith("https://") for urls in download.MIRRORS.values() for url in urls)
