import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from drawbench.errors import UserError
from drawbench.weights import cache_folder, given_file, hub_within_reach


class NotFound(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_error(404)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    made = HTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_the_cache_is_where_the_variable_says(monkeypatch):
    monkeypatch.setenv("DRAWBENCH_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("DRAWBENCH_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "drawbench"


def test_a_file_given_by_hand_must_be_one(tmp_path):
    with pytest.raises(UserError, match="a.bin is not there; give the path of a file"):
        given_file(tmp_path / "a.bin", "weights")
    with pytest.raises(UserError, match="is a folder"):
        given_file(tmp_path, "weights")


def test_a_hub_that_answers_is_asked_and_one_that_does_not_is_not(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server)
    with hub_within_reach():
        assert not constants.HF_HUB_OFFLINE, "an answer of any kind is an answer"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RuntimeError), hub_within_reach():
        assert constants.HF_HUB_OFFLINE
        raise RuntimeError
    assert not constants.HF_HUB_OFFLINE, "it is only for the time of one download"
