"""What the benchmarks of metrics share: turns, ratios to the best peer, and what they ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def in_turn(sides: Mapping[str, Callable[[], object]], turns: int, device: str = "cpu") -> dict[str, list[float]]:
    """Returns the seconds of every side's calls: one each in turn, after one that warms up and is not counted."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            seconds[name].append(timed(side, device))
    return seconds


def timed(side: Callable[[], object], device: str = "cpu") -> float:
    """Returns the seconds that a call takes, with what it left to a GPU."""
    synchronise(device)
    start = time.perf_counter()
    side()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def ratio(ours: Sequence[float], peers: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Returns how many times as fast ours is as the peer whose median is best, turn by turn."""
    best = min(peers, key=lambda name: statistics.median(peers[name]))
    return {**spread([theirs / own for own, theirs in zip(ours, peers[best], strict=True)]), "peer": best}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def hardware(device: str) -> dict[str, Any]:
    import torch

    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "cpu_flags": sorted({"avx2", "avx512f", "avx512_bf16", "amx_bf16"} & set(flags)),
    }


def versions(*packages: str) -> dict[str, str]:
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}
