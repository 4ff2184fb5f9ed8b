"""kill -9 at any moment of `drawbench generate`, and the run that is finished after it."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from runs import image_bytes

from drawbench.store import Run
from drawbench.verify import verify

SLOW = """
import time
from drawbench.generators.noise import noise


class Slow:
    pads = False

    def __init__(self):
        self.noise = noise(size=64, resolution=64)

    def fingerprint(self):
        return {"slow": "1"}

    def generate(self, items):
        time.sleep(0.03)  # Twenty kills must not see the end: each lets some nine images through.
        return self.noise.generate(items)


def slow():
    return Slow()
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "prompts.txt").write_text("".join(f"Prompt number {n}.\n" for n in range(300)))

    def of(output):
        given = ["--generator", f"slow={tmp_path / 'slow.py'}:slow", "--prompts", str(tmp_path / "prompts.txt")]
        return [sys.executable, "-m", "drawbench", "generate", *given, "--batch-size", "3", "-o", str(output)]

    return of


def test_twenty_kills_and_the_bytes_are_those_of_an_undisturbed_run(tmp_path, command):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command(tmp_path / "calm"), check=True, capture_output=True, env=environment)
    calm = image_bytes(tmp_path / "calm")
    assert len(calm) == 300

    moments = random.Random(0)
    kills, drawn = 0, []
    while kills < 20:
        child = subprocess.Popen(
            command(tmp_path / "hard"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        before = drawn[-1] if drawn else 0
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            if count_images(tmp_path / "hard") >= before + 3:  # It is drawing: now, or a little later.
                time.sleep(moments.uniform(0, 0.03))
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, "it ended before it could be killed: make it slower"
        kills += 1
        drawn.append(count_images(tmp_path / "hard"))
    assert drawn == sorted(drawn), "no kill may cost an image that was there"
    finished = subprocess.run(command(tmp_path / "hard"), check=True, capture_output=True, text=True, env=environment)
    assert "were there" in finished.stdout
    assert image_bytes(tmp_path / "hard") == calm
    assert verify(Run.open(tmp_path / "hard")) == []


def count_images(path):
    return sum(1 for _ in (path / "images").glob("*/*.png"))
