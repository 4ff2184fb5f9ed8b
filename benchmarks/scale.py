"""Thirty thousand images: drawn undisturbed, drawn by four processes that are killed ten times, verified, scored, reported.

The generator is `noise`, drawn at 32² and enlarged to 256², so that the suite is measured and no model. What is checked: both
runs are whole, and every image has the same sha256. What is measured: images/s of each command, the scan before resuming, the
report's size, and the most memory of each command.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from drawbench.store import Run

KILLS, PROCESSES = 10, 4


def main() -> None:
    """Runs everything and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--prompts", default="coco-30k", help="as drawbench generate takes it")
    parser.add_argument("--store", choices=["png", "tar"], default="png")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("build/scale"))
    parser.add_argument("--score", default="", help="arguments of drawbench score, in one text, for a part of the run")
    parser.add_argument("--part", type=int, default=5_000, help="images of that part")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    draw = ["generate", "--generator", "noise", "--set", "noise.size=256", "--set", "noise.resolution=32"]
    draw += ["--prompts", given.prompts, "--batch-size", str(given.batch_size), "--store", given.store]
    calm, killed, part = given.out / "calm", given.out / "killed", given.out / "part"

    found: dict[str, Any] = {
        "prompts": given.prompts.partition("=")[0],
        "store": given.store,
        "batch_size": given.batch_size,
    }
    found["generate"] = timed([*draw, "-o", str(calm)])
    count = len(Run.open(calm).drawn())
    found["images"] = count
    found["generate"]["images_per_second"] = round(count / found["generate"]["seconds"], 1)
    found["kills"] = kill_again_and_again([*draw, "--processes", str(PROCESSES), "-o", str(killed)], killed, count)
    found["finish"] = timed([*draw, "-o", str(killed)])
    begun = time.perf_counter()
    lacking = Run.open(killed).lacking(Run.open(killed).items())
    found["scan_seconds"] = round(time.perf_counter() - begun, 2)
    found["complete_again"] = timed([*draw, "-o", str(killed)])
    for name, path in (("verify", calm), ("verify_killed", killed)):
        found[name] = timed(["verify", str(path)])
        found[name]["images_per_second"] = round(count / found[name]["seconds"], 1)
    hashes = [[(one.prompt, one.sample, one.sha256) for one in Run.open(path).drawn()] for path in (calm, killed)]
    found["lacking_at_the_end"] = len(lacking)
    found["same_bytes"] = hashes[0] == hashes[1]
    found["score"] = timed(["score", str(calm), "--metric", "image_stats"])
    found["score"]["images_per_second"] = round(count / found["score"]["seconds"], 1)
    report = given.out / "report.html"
    found["report"] = timed(["report", str(calm), "-o", str(report)])
    found["report"]["megabytes"] = round(report.stat().st_size / 1e6, 2)
    if given.score:
        timed([*draw, "--limit", str(given.part), "-o", str(part)])
        arguments = shlex.split(given.score)
        found["score_part"] = timed(["score", str(part), *arguments])
        found["score_part"] |= {"images": given.part, "arguments": [text for text in arguments if "/" not in text]}
    found["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores"
    found["versions"] = {"python": platform.python_version(), **{name: version(name) for name in ("torch", "pillow")}}
    given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def timed(arguments: list[str]) -> dict[str, Any]:
    """Runs a command; returns its seconds and the most memory that it or a child of its had."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "drawbench", *arguments], stderr=subprocess.PIPE, text=True)
    said = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"drawbench {' '.join(arguments)}: {said[-2000:]}")
    return {"seconds": round(time.perf_counter() - begun, 2), "most_memory_mib": round(most(usage))}


def most(usage: resource.struct_rusage) -> float:
    """Returns a process's largest resident size in MiB."""
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def kill_again_and_again(arguments: list[str], path: Path, count: int) -> dict[str, Any]:
    """Starts the command and kills it with all its processes, ten times, at moments spread over the whole run."""
    chance, after = random.Random(0), []
    for number in range(KILLS):
        goal = int(count * (number + chance.uniform(0.3, 0.9)) / (KILLS + 1))
        process = subprocess.Popen(
            [sys.executable, "-m", "drawbench", *arguments], stderr=subprocess.DEVNULL, start_new_session=True
        )
        while lines(path) < goal:
            if process.poll() is not None:
                raise SystemExit(f"drawbench {' '.join(arguments)} ended by itself before it was killed")
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        after.append(lines(path))
    return {"processes": PROCESSES, "kills": KILLS, "journal_lines_after_each": after}


def lines(path: Path) -> int:
    """Returns how many lines the journals have."""
    return sum(file.read_bytes().count(b"\n") for file in (path / "journal").glob("*.jsonl"))


if __name__ == "__main__":
    main()
