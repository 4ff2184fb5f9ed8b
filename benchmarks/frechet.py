"""Times the Fréchet distance against the square root of a product that other packages take, and its interval.

    python benchmarks/frechet.py [--d 2048] [--turns 3] [--n 2048 30000] --json FILE

``ratio`` is of a distance between two sets of moments, ours to the best of clean-fid's function and SciPy's ``sqrtm`` as it is;
``few`` the same from 200 features, ours from the features themselves. The data are squares of correlated Gaussians
with a falling spectrum, as features after a ReLU have it. ``jackknife`` has the seconds that 50 groups take at each n, and beside
them what decomposing anew takes for one group; ``accuracy`` compares the half-widths of both, where the latter is quick.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import hardware, in_turn, ratio, spread, versions
from scipy import linalg

import drawbench.metrics.frechet as ours
from drawbench.intervals import jackknife
from drawbench.torchvision_ops import declare_missing_ops

GROUPS = 50
FEW = 200


def features(seed: int, n: int, d: int, shift: float = 0.0, decay: float = 8.0) -> NDArray[np.float32]:
    """Returns ``(n, d)`` rows; any two seeds have the same mixing matrix."""
    deviations = np.exp(-decay * np.arange(d) / d / 2)
    mixing = np.random.default_rng(12345).normal(size=(d, d)).astype(np.float32) / np.sqrt(d)
    rows = np.random.default_rng(seed).standard_normal((n, d), np.float32) * deviations.astype(np.float32)
    return np.asarray(np.square(rows @ mixing + 0.3 + shift), np.float32)


def compare(d: int, turns: int) -> dict[str, Any]:
    """Times a distance from moments and one from few features."""
    declare_missing_ops()
    from cleanfid.fid import frechet_distance

    one, two = features(1, 2 * d, d), features(2, 2 * d, d, 0.1)
    few, others = features(3, FEW, d), features(4, FEW, d, 0.1)
    found: dict[str, Any] = {}
    for name, pair in (("moments", (one, two)), ("few", (few, others))):
        both = [ours.moments(part) for part in pair]
        theirs = (both[0].mean, both[0].covariance, both[1].mean, both[1].covariance)

        def own(name: str = name, pair: Any = pair, both: Any = both) -> float:
            return ours.frechet_moments(*both) if name == "moments" else ours.frechet_features(*pair)

        def root(both: Any = both) -> float:
            step = both[0].mean - both[1].mean
            shared = linalg.sqrtm(both[0].covariance @ both[1].covariance)
            return float(step @ step + sum(np.trace(part.covariance) for part in both) - 2 * np.trace(shared).real)

        def clean_fid(theirs: Any = theirs) -> float:
            return float(frechet_distance(*theirs))

        seconds = in_turn({"ours": own, "clean-fid": clean_fid, "sqrtm": root}, turns)
        mine = seconds.pop("ours")
        found[name] = {
            "ratio": ratio(mine, seconds),
            "ours": {"seconds": mine, "value": own()},
            "peers": {
                "clean-fid": {"seconds": seconds["clean-fid"], "value": clean_fid()},
                "sqrtm": {"seconds": seconds["sqrtm"], "value": root()},
            },
        }
        print(f"{name}, d = {d}: {found[name]['ratio']}", flush=True)
    return found


def time_jackknife(d: int, counts: list[int]) -> list[dict[str, float]]:
    """Times 50 groups left out of sets of these sizes, and one group by decomposing anew."""
    given, rows = ours.factored(features(5, 3 * d, d)), []
    for n in counts:
        images, groups = features(6, n, d, 0.1), np.arange(n) % GROUPS
        start = time.perf_counter()
        ours.without_groups(images, groups, given)
        took = time.perf_counter() - start
        start = time.perf_counter()
        ours.frechet(images[groups != 0], given)
        rows.append({"n": n, "seconds": took, "anew_one_group": time.perf_counter() - start})
        print(
            f"jackknife, d = {d}, n = {n}: {took:.1f} s; one group anew {rows[-1]['anew_one_group']:.1f} s", flush=True
        )
    return rows


def accuracy() -> list[dict[str, float]]:
    """Compares half-widths with those of leaving out exactly, where that is quick."""
    direct, found = ours._DIRECT, []
    for d in (64, 128, 256):
        for n in (d // 2, d, d + 6, 2 * d, 8 * d):
            for decay in (0.0, 8.0, 25.0):
                rows, given = features(7, n, d, 0.1, decay), ours.factored(features(8, 3 * d, d, 0.0, decay))
                groups, widths = np.arange(n) % GROUPS, []
                for limit in (10**9, 0):
                    ours._DIRECT = limit
                    left_out = ours.without_groups(rows, groups, given)
                    interval = jackknife(0.0, left_out, n=n, n_prompts=n).interval
                    widths.append(interval.high - interval.low if interval else float("nan"))
                found.append({"d": d, "n": n, "decay": decay, "half_width_ratio": widths[1] / widths[0]})
    ours._DIRECT = direct
    off = [abs(row["half_width_ratio"] - 1) for row in found]
    print(f"half-widths: off by at most {max(off):.1e} in {len(found)} cells", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="distances are computed there")
    parser.add_argument("--d", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--n", type=int, nargs="*", default=[1000, 2048, 5000, 30000])
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # Of sqrtm, at singular products.
    found = compare(given.d, given.turns)
    content = {
        **found["moments"],
        "few": found["few"],
        "jackknife": time_jackknife(given.d, given.n),
        "accuracy": (cells := accuracy()),
        "half_width_ratio": spread([row["half_width_ratio"] for row in cells]),
        "hardware": hardware("cpu"),
        "versions": versions("numpy", "scipy", "torch", "clean-fid"),
        "d": given.d,
        "turns": given.turns,
    }
    given.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
