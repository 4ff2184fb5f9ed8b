"""How many raters the app bears: browsers' own protocol, real images, think times of 3 to 6 seconds, on the same machine.

Each rater opens a personal link, the page's websocket (on which Streamlit runs the page's script), and then loads images and
sends answers as the item's script does. Measured is the time from an answer's sending to the next item's arrival. At the
end every acknowledged answer is looked for in the database: `lost` and `doubled` count what is not there once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.sync.client import connect

from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import Study
from drawbench.store import Run

THINK = (3.0, 6.0)


class Rater(threading.Thread):
    """One browser."""

    def __init__(self, port: int, token: str, number: int, until: float) -> None:
        super().__init__(daemon=True)
        self.port, self.token, self.number, self.until = port, token, number, until
        self.times: list[float] = []
        self.acknowledged: list[str] = []
        self.seen: set[str] = set()
        self.error: str | None = None

    def run(self) -> None:
        rng = random.Random(self.number)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            origin = f"http://127.0.0.1:{self.port}"
            _, headers, _ = ask(connection, "GET", f"/r/{self.token}")
            cookie = headers["set-cookie"].partition(";")[0]
            ask(connection, "POST", "/api/consent", cookie, origin, {})
            with connect(
                f"ws://127.0.0.1:{self.port}/_stcore/stream",
                origin=origin,  # type: ignore[arg-type]
                subprotocols=["streamlit"],  # type: ignore[list-item]
                additional_headers={"Cookie": cookie},
                max_size=None,
            ) as page:
                message = BackMsg()
                message.rerun_script.query_string = ""
                page.send(message.SerializeToString())
                threading.Thread(target=drain, args=(page,), daemon=True).start()
                self.work(connection, cookie, origin, rng)
        except Exception as error:  # noqa: BLE001  counted and told
            self.error = f"{type(error).__name__}: {error}"

    def work(self, connection: http.client.HTTPConnection, cookie: str, origin: str, rng: random.Random) -> None:
        _, _, data = ask(connection, "GET", "/api/state", cookie)
        view = json.loads(data)
        while time.monotonic() < self.until and view.get("item"):
            for name in [*(name for names in view["item"]["sets"] for name in names), *view["next"]]:
                if name not in self.seen:
                    status, _, image = ask(connection, "GET", f"/img/{name}", cookie)
                    if status != 200 or image[:4] != b"RIFF":
                        raise RuntimeError(f"an image came with status {status}")
                    self.seen.add(name)
            time.sleep(rng.uniform(*THINK))
            answers = {
                question["name"]: rng.choice(question["options"])["code"] for question in view["item"]["questions"]
            }
            key = f"{self.number}-{view['position']}-{rng.getrandbits(48):x}"
            body = {
                "position": view["position"],
                "item": view["item"]["id"],
                "answers": answers,
                "seconds": 4.0,
                "key": key,
            }
            sent = time.perf_counter()
            status, _, data = ask(connection, "POST", "/api/answer", cookie, origin, body)
            if status != 200:
                raise RuntimeError(f"an answer came back with status {status}: {data[:100]!r}")
            self.times.append(time.perf_counter() - sent)
            self.acknowledged.append(key)
            view = json.loads(data)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, cookie: str = "", origin: str = "", body: Any = None
) -> tuple[int, Any, bytes]:
    headers = {"Cookie": cookie, **({"Origin": origin, "Content-Type": "application/json"} if method == "POST" else {})}
    data = None if body is None else json.dumps(body)
    for attempt in (
        1,
        2,
    ):  # A server closes what was silent for long; a browser opens another connection and asks again.
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            connection.close()
            if attempt == 2:
                raise
    raise RuntimeError("not reached")


def drain(page: Any) -> None:
    try:
        for _ in page:
            pass
    except Exception:  # noqa: BLE001  the page was closed
        return


def start(study: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "drawbench", "rate", str(study), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(300):
        try:
            if ask(http.client.HTTPConnection("127.0.0.1", port), "GET", "/healthz")[0] == 200:
                return process, port
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the app did not start")


def measure(runs: list[Run], raters: int, seconds: float, images: int) -> dict[str, Any]:
    """Returns what so many raters at once met."""
    with TemporaryDirectory() as folder:
        design = replace(DRAWBENCH, unit="batch", batch_size=200, raters=raters)
        study = create(Path(folder) / "study", runs, design, images_per_set=images)
        store = Store(study)
        tokens = [store.invite()[1] for _ in range(raters)]
        store.close()
        process, port = start(study.path)
        try:
            began = time.monotonic()
            arriving = min(20.0, 0.1 * raters)
            people = [Rater(port, token, number, began + arriving + seconds) for number, token in enumerate(tokens)]
            for person in people:
                person.start()
                time.sleep(arriving / raters)
            for person in people:
                person.join()
        finally:
            process.terminate()
            process.wait()
        store = Store(Study.open(study.path))
        stored = Counter(one.key for one in store.judgements(all_rows=True) if one.question == "fidelity")
        store.close()
        acknowledged = [key for person in people for key in person.acknowledged]
        times = 1000 * np.array([moment for person in people for moment in person.times])
        return {
            "raters": raters,
            "answers": len(times),
            "median_ms": round(float(np.median(times)), 1),
            "p95_ms": round(float(np.percentile(times, 95)), 1),
            "max_ms": round(float(times.max()), 1),
            "lost": sum(stored[key] == 0 for key in acknowledged),
            "doubled": sum(count > 1 for count in stored.values()),
            "errors": [person.error for person in people if person.error][:3],
            "images": study.manifest["images"]["count"],
            "megabytes": round(sum(file.stat().st_size for file in (study.path / "images").iterdir()) / 2**20, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, type=Path, help="two runs whose images are shown")
    parser.add_argument("--raters", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--images-per-set", type=int, default=1)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    runs = [Run.open(path) for path in arguments.runs]
    found = []
    for raters in arguments.raters:
        found.append(measure(runs, raters, arguments.seconds, arguments.images_per_set))
        print(json.dumps(found[-1]), flush=True)
    import starlette
    import streamlit

    content = {
        **found[-1],
        "all": found,
        "think_seconds": THINK,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, shared by server and raters",
        "versions": {
            "python": platform.python_version(),
            "streamlit": streamlit.__version__,
            "starlette": starlette.__version__,
        },
    }
    arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
