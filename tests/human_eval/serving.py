"""The rater app as a process of its own, and a browser's way of asking it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import urlencode


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class App:
    """A server on loopback, ended by its process id."""

    def __init__(self, study, *options):
        self.study, self.port = study, free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "drawbench", "rate", str(study), "--port", str(self.port), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(600):
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(self.process.stderr.read().decode()) from None
                time.sleep(0.1)
        raise RuntimeError("the app did not start")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body=None, cookie=None, origin="own", headers=None):
        """Returns (status, headers, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {})
        if cookie:
            sent["Cookie"] = cookie
        if origin is not None and method != "GET":
            sent["Origin"] = self.url if origin == "own" else origin
        if isinstance(body, dict):
            body, sent["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, dict(response.headers.items()), data

    def enter(self, token, consent=True):
        """Opens a personal link; returns the cookie."""
        status, headers, _ = self.ask("GET", f"/r/{token}")
        assert status == 303
        cookie = headers["set-cookie"].partition(";")[0]
        if consent:
            assert self.ask("POST", "/api/consent", {}, cookie)[0] == 200
        return cookie

    def state(self, cookie, position=None):
        query = "" if position is None else "?" + urlencode({"position": position})
        status, _, body = self.ask("GET", f"/api/state{query}", cookie=cookie)
        return status, json.loads(body)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(study, *options):
    app = App(study, *options)
    try:
        yield app
    finally:
        if app.process.poll() is None:
            app.process.terminate()
            try:
                app.process.wait(10)
            except subprocess.TimeoutExpired:
                app.kill()
