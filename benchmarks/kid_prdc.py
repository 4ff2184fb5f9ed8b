"""Times KID and precision and recall against torch-fidelity's functions, in turn, on the same features.

    python benchmarks/kid_prdc.py [--images N] [--features D] [--subsets S] [--turns N] [--only kid|prdc] --json FILE

kid: torch-fidelity takes its own default, the mean over S random subsets of 1,000 images (at most), and knows no other way; ours
is asked for the same under ``same_subsets``, and under ``ratio`` for KID of all images, each pair once, which is what our metric
gives unless told otherwise, and the number that the subsets estimate. Of n images a set that is n²·2 inner products against
S·2·1000²: ours gains below 10,000 images, and pays for its exactness above.
prdc: ours gives density and coverage beside precision and recall, and decides every pair as in float64; torch-fidelity's own
default holds whole matrices of distances. ``with_interval`` is ours with the values without each of 50 groups, to one number of
theirs.

Features are made, not read: max(0, normal), with the decaying spectrum that images have. Both use all threads of the process.
``ratio`` is seconds of the peer over ours, turn by turn; the lesser of the two metrics' is the top-level one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WAYS = ("kid", "prdc")
SUBSET, GROUPS = 1000, 50
Side = Callable[[], dict[str, float]]
Features = NDArray[np.float32]


def features(n: int, d: int, scale: float, seed: int) -> Features:
    mixing = np.random.default_rng(0).normal(size=(d, d)) * (np.arange(1, d + 1) ** -0.7)[:, None]
    rows = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return np.maximum(rows @ (0.1 * scale * mixing).astype(np.float32) + 0.3, 0).astype(np.float32)


def kid_sides(x: Features, y: Features, subsets: int) -> dict[str, Side]:
    from torch_fidelity.metric_kid import kid_features_to_metric

    from drawbench.metrics.kid import KernelDistance, SubsetKernelDistance

    size = min(SUBSET, len(x))
    reference: Any = None
    network: Any = None

    def theirs() -> dict[str, float]:
        tensors = torch.from_numpy(x), torch.from_numpy(y)
        found = kid_features_to_metric(*tensors, kid_subsets=subsets, kid_subset_size=size, verbose=False)
        return dict(found)

    return {
        "ours": lambda: dict(KernelDistance(network, {}, reference, y).compute(x)),
        "same_subsets": lambda: dict(SubsetKernelDistance(network, {}, reference, y, subsets, size, 0).compute(x)),
        "torch-fidelity": theirs,
    }


def prdc_sides(x: Features, y: Features, _subsets: int) -> dict[str, Side]:
    from torch_fidelity.metric_prc import prc_features_to_metric

    from drawbench.metrics.prdc import PrecisionRecall

    reference: Any = None
    network: Any = None
    groups = np.arange(len(x)) * GROUPS // len(x)

    def theirs() -> dict[str, float]:
        given = {"prc_neighborhood": 3, "prc_batch_size": 10_000, "save_cpu_ram": False, "verbose": False}
        return dict(prc_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), **given))

    def with_interval() -> dict[str, float]:
        metric = PrecisionRecall(network, {}, reference, y, 3, 5)
        metric.leave_out(x, groups)
        return dict(metric.compute(x))

    return {
        "ours": lambda: dict(PrecisionRecall(network, {}, reference, y, 3, 5).compute(x)),
        "with_interval": with_interval,
        "torch-fidelity": theirs,
    }


SIDES: dict[str, Callable[[Features, Features, int], dict[str, Side]]] = {"kid": kid_sides, "prdc": prdc_sides}


def compare(way: str, n: int, d: int, subsets: int, turns: int) -> dict[str, Any]:
    """Takes turns, after a first of half the images at most, in which libraries start."""
    x, y = features(n, d, 1.0, 1), features(n, d, 1.1, 2)
    few = min(n // 2, 1500)
    for side in SIDES[way](x[:few], y[:few], 1).values():
        side()
    sides = SIDES[way](x, y, subsets)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for _ in range(turns):
        for name, side in sides.items():
            start = time.perf_counter()
            values[name] = side()
            seconds[name].append(time.perf_counter() - start)
    peer = seconds["torch-fidelity"]
    ratios = {
        name: spread([their / our for our, their in zip(seconds[name], peer, strict=True)])
        for name in sides
        if name != "torch-fidelity"
    }
    for name, ratio in ratios.items():
        print(f"{way}, {name}: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})", flush=True)
    return {
        "ratio": ratios["ours"],
        "further_ratios": {name: ratio for name, ratio in ratios.items() if name != "ours"},
        "ours": {name: {"seconds": seconds[name], "values": values[name]} for name in ratios},
        "peers": {"torch-fidelity": {"seconds": peer, "values": values["torch-fidelity"]}},
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def hardware() -> dict[str, Any]:
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    return {
        "device": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "cpu_flags": sorted({"avx2", "avx512f"} & set(flags)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="both compute on the CPU, from features")
    parser.add_argument("--images", type=int, default=5000, help="in either set")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--subsets", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=WAYS)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    from drawbench.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    try:
        importlib.metadata.version("torch-fidelity")
    except importlib.metadata.PackageNotFoundError:
        print("torch-fidelity is not installed: pip install torch-fidelity==0.4.0", file=sys.stderr)
        sys.exit(2)
    ways = (given.only,) if given.only else WAYS
    found = {way: compare(way, given.images, given.features, given.subsets, given.turns) for way in ways}
    least = min(found.values(), key=lambda part: float(part["ratio"]["median"]))
    content = {
        "ratio": least["ratio"],
        "ours": {way: part["ours"] for way, part in found.items()},
        "peers": {way: part["peers"] for way, part in found.items()},
        "ratio_by_metric": {way: part["ratio"] for way, part in found.items()},
        "further_ratios": {way: part["further_ratios"] for way, part in found.items()},
        "hardware": hardware(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "numpy", "torch-fidelity")},
        },
        **{name: getattr(given, name) for name in ("images", "features", "subsets", "turns")},
    }
    given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
