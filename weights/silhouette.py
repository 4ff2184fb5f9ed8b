"""Fits what the shapes world's checker names silhouettes by, to labels that were given by eye.

``silhouettes.parquet`` holds silhouettes of things that the shipped cascade drew, none of them in a picture by which the checker
is held against the eye: the masks of their boxes, their textures and holes, and what was said of them.

- ``thing``: 1,000 things shown alone, two thirds of them doubtful, to five pairs of eyes: one of the five shapes, or none.
- ``picture``: of pictures judged whole against their captions. In a right one each thing is what the caption says. In a wrong one
  in which nothing but a shape can be wrong, the thing that was likeliest to be at fault is none.

Those who labelled were vision-language models that looked at sheets, asked to judge as a careful person would.

With them go things drawn exactly, whose shape is known, and outlines that are none of the five. The weights that are there
before have no part in it: only silhouettes are read with them, not their names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from math import cos, pi, sin
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.optimize import minimize
from scipy.special import log_softmax

from drawbench.files import write_atomic
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.layout import arrange
from drawbench.shapes.reading import read
from drawbench.shapes.renderer import render
from drawbench.shapes.silhouette import NAMES, NONE, WEIGHTS, Silhouette, describe

TABLE = Path(__file__).with_name("silhouettes.parquet")
KNOWN = 0.15
"""The weight of a thing whose shape is known beside one that was labelled: they are easy, and many."""
PENALTY = 3.0
"""Of the sum of squared slopes, halved: scikit-learn's 1/C."""
LENIENT = 0.8
"""What the odds of "none" are multiplied with: who has read a caption sees its shape sooner than who has not."""
KNOWN_PATTERN = 1.0
"""Of one with a pattern: they are few, and so torn in what a network draws that most are called none."""
STRANGER = 0.5
"""Of an outline that is none of the five."""
SEED = 0

CARD = """# What the shapes world's checker names silhouettes by

A multinomial logistic regression of {features} features (`drawbench.shapes.silhouette.describe`) on five shapes and none.

Fitted to {eye:,} silhouettes of what the shipped cascade drew (`drawbench run --prompts shapes`, seeds 0, 77, 78 and 79),
labelled by eye (of vision-language models), and to {known:,} whose name is known. Of the first it names {named:.3f} as they
were labelled, of the others {right:.3f}. How far the whole checker agrees with the eye on other images: README.md, "The shapes
world".

Made by `OMP_NUM_THREADS=1 python weights/silhouette.py` in less than a minute. Licence: Apache-2.0, as the project.
"""

Labelled = tuple[Silhouette, str, float]
"""A silhouette, its name, and its weight."""


class Fit(NamedTuple):
    """A regression on standardised features."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    slope: NDArray[np.float64]
    """``(names, features)``."""
    bias: NDArray[np.float64]

    def named(self, features: NDArray[np.float64]) -> list[str]:
        """Returns the likeliest name of each row."""
        scores = self.bias + (features - self.mean) / self.scale @ self.slope.T
        return [NAMES[best] for best in scores.argmax(1)]


def labelled() -> Iterator[Labelled]:
    """Yields the table."""
    for row in pd.read_parquet(TABLE).to_dict("records"):
        bits = np.unpackbits(np.frombuffer(row["mask"], np.uint8))[: row["height"] * row["width"]]
        mask = bits.reshape(row["height"], row["width"]).astype(bool)
        yield Silhouette(mask, row["texture"], row["hollow"], row["pierced"]), row["label"], row["weight"]


def drawn(count: int, rng: Random) -> Iterator[Labelled]:
    """Yields the things of so many scenes of each category, every second picture blurred."""
    for category in CATEGORIES:
        for number in range(count):
            scene = arrange(CATEGORIES[category](rng).scene, rng)
            picture = render(scene, 64)
            if number % 2:
                picture = ndimage.gaussian_filter(picture, (1, 1, 0))
            for seen in read(picture).things:
                near = [
                    thing
                    for thing in scene.things
                    if thing.thing.colour == seen.colour and np.hypot(thing.x - seen.x, thing.y - seen.y) < 1.5
                ]
                if len(near) == 1 and near[0].thing.shape:
                    yield seen.silhouette, near[0].thing.shape, KNOWN if seen.texture == "plain" else KNOWN_PATTERN


def strangers(count: int, rng: Random) -> Iterator[Labelled]:
    """Yields outlines that are none of the five."""
    for _ in range(count):
        outline = rng.choice(OUTLINES)(rng)
        size, turn = rng.uniform(18, 50), rng.uniform(-0.15, 0.15)
        canvas = Image.new("L", (512, 512))
        corners = [
            (256 + 4 * size * (cos(turn) * x - sin(turn) * y), 256 + 4 * size * (sin(turn) * x + cos(turn) * y))
            for x, y in outline
        ]
        ImageDraw.Draw(canvas).polygon(corners, fill=255)
        soft = ndimage.gaussian_filter(
            np.asarray(canvas.resize((64, 64), Image.Resampling.BOX), float), rng.uniform(0.3, 1.3)
        )
        yield Silhouette(soft > 127, "plain", rng.random() < 0.1, rng.random() < 0.05), NONE, STRANGER


Outline = list[tuple[float, float]]


def _regular(corners: int, turn: float, inner: float = 1.0) -> Outline:
    count = 2 * corners if inner < 1 else corners
    reach = [inner if inner < 1 and number % 2 else 1.0 for number in range(count)]
    angles = [turn + 2 * pi * number / count for number in range(count)]
    return [(far * sin(angle), -far * cos(angle)) for far, angle in zip(reach, angles, strict=True)]


def _ellipse(width: float, height: float, start: float = 0.0, end: float = 2 * pi) -> Outline:
    return [(width * cos(angle), height * sin(angle)) for angle in np.linspace(start, end, 60)]


def _saltire(arm: float) -> Outline:
    plus = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)]
    whole = [*plus, *((-x, -y) for x, y in plus)]
    return [((x - y) * 0.7071, (x + y) * 0.7071) for x, y in whole]


OUTLINES: tuple[Callable[[Random], Outline], ...] = (
    lambda rng: _regular(4, 0),
    lambda rng: _saltire(rng.uniform(0.15, 0.45)),
    lambda rng: _ellipse(1, 1, 0, pi) if rng.random() < 0.5 else _ellipse(1, 1, pi, 2 * pi),
    lambda rng: _regular(3, pi),
    lambda rng: _regular(3, rng.choice((-1, 1)) * pi / 2),
    lambda rng: _regular(5, 0, 0.42),
    lambda rng: _regular(5, 0),
    lambda rng: _regular(6, rng.choice((0, pi / 6))),
    lambda rng: _ellipse(*rng.choice(((1, 0.6), (0.6, 1)))),
    lambda rng: [(-1, -0.55), (1, -0.55), (1, 0.55), (-1, 0.55)],
    lambda rng: [(-1, -1), (-0.2, -1), (-0.2, 0.2), (1, 0.2), (1, 1), (-1, 1)],
    lambda rng: [(-1, -0.8), (0.5, -0.8), (1, 0.8), (-0.5, 0.8)],
    lambda rng: [(-0.45, -0.8), (0.45, -0.8), (1, 0.8), (-1, 0.8)],
)
"""Diamond, saltire, half disc, triangles that point down or aside, star, penta- and hexagon, ellipse, bar, angle, rhomboid,
trapezium."""


def fit(features: NDArray[np.float64], labels: list[str], weights: NDArray[np.float64]) -> Fit:
    """Returns the multinomial logistic regression of least penalised loss; "none" is then made less likely by `LENIENT`."""
    mean, scale = features.mean(0), features.std(0)
    given = (features - mean) / scale
    truth = np.array([[name == label for name in NAMES] for label in labels], float)
    shape = len(NAMES), given.shape[1]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, bias = flat[: -len(NAMES)].reshape(shape), flat[-len(NAMES) :]
        logs = log_softmax(given @ slope.T + bias, axis=1)
        off = weights[:, None] * (np.exp(logs) - truth)
        value = -(weights[:, None] * truth * logs).sum() + PENALTY / 2 * (slope**2).sum()
        return float(value), np.concatenate([(off.T @ given + PENALTY * slope).ravel(), off.sum(0)])

    found = minimize(
        loss, np.zeros(shape[0] * shape[1] + len(NAMES)), jac=True, method="L-BFGS-B", options={"maxiter": 2000}
    )
    if not found.success:
        raise SystemExit(f"the fit did not end: {found.message}")
    bias = found.x[-len(NAMES) :].copy()
    bias[NAMES.index(NONE)] += np.log(LENIENT)
    return Fit(mean, scale, found.x[: -len(NAMES)].reshape(shape), bias)


def main() -> None:
    """Fits, says how well, and writes one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--scenes", type=int, default=100, help="drawn of each category")
    parser.add_argument("--strangers", type=int, default=700)
    arguments = parser.parse_args()
    rng = Random(SEED)
    rows = [*labelled()]
    count = len(rows)
    rows += [*drawn(arguments.scenes, rng), *strangers(arguments.strangers, rng)]
    described = [describe(silhouette) for silhouette, _, _ in rows]
    features = np.array([[*one.values()] for one in described])
    labels, weights = [label for _, label, _ in rows], np.array([weight for _, _, weight in rows])
    found = fit(features, labels, weights)
    named = found.named(features)
    same = np.array([name == label for name, label in zip(named, labels, strict=True)])
    for kind, part in (("labelled by eye", same[:count]), ("known", same[count:])):
        print(f"{kind}: {len(part)} silhouettes, {part.mean():.3f} named so")
    names = list(described[0])

    def by_feature(values: NDArray[np.float64]) -> dict[str, float]:
        return {name: round(float(value), 5) for name, value in zip(names, values, strict=True)}

    stored = {
        "mean": by_feature(found.mean),
        "scale": by_feature(found.scale),
        "slope": {name: by_feature(row) for name, row in zip(NAMES, found.slope, strict=True)},
        "bias": {name: round(float(value), 5) for name, value in zip(NAMES, found.bias, strict=True)},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(arguments.out, (json.dumps(stored, indent=1) + "\n").encode())
    card = CARD.format(
        features=len(names), eye=count, known=len(rows) - count, named=same[:count].mean(), right=same[count:].mean()
    )
    write_atomic(arguments.out.with_name("CARD.md"), card.encode())
    print(arguments.out)


if __name__ == "__main__":
    main()
