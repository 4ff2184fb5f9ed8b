"""An image API on loopback whose misdeeds are set for each prompt, and which remembers what it was asked."""

import base64
import io
import json
import threading
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def picture(text, codec="PNG", mode="RGB"):
    """A picture that only this text has."""
    rng = np.random.default_rng(list(text.encode()))
    image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, codec, **({"lossless": True} if codec == "WEBP" else {}))
    return stream.getvalue()


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).tolist()


def answer(status=200, body=b"", kind="application/json", **headers):
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
    return status, {"Content-Type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}}, body


def openai(image, **more):
    return answer(body={"created": 1, "data": [{"b64_json": base64.b64encode(image).decode(), **more}]})


class Api:
    """Answers every prompt with its picture, but for those that have a list of other answers, one for each request."""

    def __init__(self, port=0):
        self.asked = Counter()
        self.bodies, self.headers, self.paths = [], [], []
        self.instead = defaultdict(list)
        self.files = {}
        self.good = lambda prompt: openai(picture(prompt))
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def drawn(self):
        return sorted(self.asked)

    def _handler(api):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                with api.lock:
                    api.under_way += 1
                    api.most_under_way = max(api.under_way, api.most_under_way)
                try:
                    body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                    with api.lock:
                        api.bodies.append(body)
                        api.headers.append({name.lower(): value for name, value in self.headers.items()})
                        api.paths.append(self.path)
                        api.asked[body["prompt"]] += 1
                        queue = api.instead[body["prompt"]]
                        what = queue.pop(0) if queue else api.good
                    made = what(body["prompt"]) if callable(what) else what
                finally:
                    with api.lock:
                        api.under_way -= 1
                if made is not None:
                    self.send(*made)

            def do_GET(self):
                with api.lock:
                    api.paths.append(self.path)
                    api.headers.append({name.lower(): value for name, value in self.headers.items()})
                    queue = api.files.get(self.path.partition("?")[0], [])
                    made = queue.pop(0) if len(queue) > 1 else (queue or [answer(404)])[0]
                self.send(*made)

            def send(self, status, headers, body):
                self.send_response(status)
                length = headers.pop("Declared", len(body)) if "Declared" in headers else len(body)
                for name, value in {**headers, "Content-Length": length}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass  # Who asked has gone.

            def log_message(self, *_):
                pass

        return Handler


class StoodClock:
    """A clock that moves only by being waited for."""

    def __init__(self):
        self.time, self.waits, self.lock = 0.0, [], threading.Lock()

    def now(self):
        return self.time

    def wait(self, seconds):
        with self.lock:
            self.waits.append(seconds)
            self.time += seconds

    def wake(self):
        pass
