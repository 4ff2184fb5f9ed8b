"""What the examination of a metric is made of: its values on pictures as a run would give them, and whether two are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawbench.interfaces import ImageMetric, Output, Prompt, PromptMetric, Scored, SetMetric
from drawbench.metrics.batches import by_size
from drawbench.metrics.conformance_images import Picture

Metric = ImageMetric | SetMetric | PromptMetric
State = Literal["ok", "BAD", "n.a."]
Values = Mapping[str, NDArray[np.float64]]
"""Output → (N,) of an image metric, (P,) of a prompt metric, (1,) of a set metric."""

NEAR = 1e-4
"""Relative: what another batch size may move in a float32 network. A value of one image that is off by more is another's."""


class OfSet(dict[str, NDArray[np.float64]]):
    """The values of a set metric, and the ``(N, D)`` features that they are of."""

    def __init__(self, found: Mapping[str, NDArray[np.float64]], features: NDArray[np.float32]) -> None:
        super().__init__(found)
        self.features = features


class Check(NamedTuple):
    """One invariant, and how the metric stands to it."""

    name: str
    state: State
    found: str
    """What was seen; of ``n.a.`` why it does not apply."""
    remedy: str = ""


class Subject(NamedTuple):
    """What is examined."""

    metric: Metric
    again: Metric
    """The same, made a second time."""
    references_itself: bool
    """The reference of a set metric is the set of test images."""
    shown: Sequence[Picture]


def values(metric: Metric, shown: Sequence[Picture], batch_size: int = 16, shards: int = 1) -> Values:
    """Returns what a metric makes of pictures, batched by size as a run's images are; in parts that are joined at the end."""
    features: NDArray[np.float32] | None = None
    found = {name: np.full(len(shown), np.nan) for name in metric.outputs}
    for shard in range(shards):
        at = list(range(len(shown)))[shard::shards]
        sizes = [(shown[index].pixels.shape[2], shown[index].pixels.shape[1]) for index in at]
        for part in by_size(sizes, batch_size):
            here = [at[index] for index in part]
            images = torch.from_numpy(np.stack([shown[index].pixels for index in here]))
            kept = images.clone()
            rows = metric.network(images).detach().float().cpu() if metric.network is not None else None
            if rows is not None:
                features = np.empty((len(shown), rows.shape[1]), np.float32) if features is None else features
                features[here] = rows.numpy()
            if isinstance(metric, ImageMetric):
                scored = metric.score(images, rows, [shown[index].prompt for index in here]).values
                _agree(metric, scored)
                for name, column in scored.items():
                    if np.shape(column) != (len(here),):
                        raise ValueError(
                            f"{name} has shape {np.shape(column)} for {len(here)} images: every image has one value"
                        )
                    found[name][here] = column
            if not torch.equal(images, kept):
                raise ValueError("it alters the images that it is given, which the next metric sees too")
    if isinstance(metric, SetMetric):
        assert features is not None  # noqa: S101  a set metric has a network
        whole = metric.compute(features)
        _agree(metric, whole)
        return OfSet({name: np.array([value], np.float64) for name, value in whole.items()}, features)
    if by_prompt(metric):
        return _by_prompt(metric, shown, features)
    return found


def by_prompt(metric: Metric) -> TypeGuard[PromptMetric]:
    """Says whether a metric has one value per prompt, of all its images."""
    return isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric)


class WithoutPixels:
    """An image metric as it is given the features of images and no pixels: what ``features_only`` lets a run do."""

    def __init__(self, metric: ImageMetric) -> None:
        self.outputs: Mapping[str, Output] = metric.outputs
        self.network, self._metric = metric.network, metric

    def protocol(self) -> Mapping[str, str]:
        return self._metric.protocol()

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        return self._metric.score(images.new_empty((len(images), 3, 0, 0)), features, prompts)


def _agree(metric: Metric, given: Iterable[str]) -> None:
    """Raises where values and outputs have different names; those that ``from_files`` adds are no values of ``compute``."""
    wrong = set(given) ^ metric.outputs.keys()
    if isinstance(metric, SetMetric) and hasattr(metric, "from_files"):
        wrong -= {name for name, output in metric.outputs.items() if not output.main}
    if wrong:
        raise ValueError(f"its values and its outputs disagree on {', '.join(sorted(wrong))}")


def _by_prompt(metric: PromptMetric, shown: Sequence[Picture], features: NDArray[np.float32] | None) -> Values:
    groups: dict[Prompt, list[int]] = {}
    for index, it in enumerate(shown):
        groups.setdefault(it.prompt, []).append(index)
    rows = []
    for prompt, at in groups.items():
        images = [] if features is not None else [shown[index].pixels.copy() for index in at]
        rows.append(metric.score_prompt(images, None if features is None else features[at], prompt))
        _agree(metric, rows[-1])
        if any((image != shown[index].pixels).any() for index, image in zip(at, images, strict=False)):
            raise ValueError("it alters the images that it is given, which the next metric sees too")
    return {name: np.array([row[name] for row in rows], np.float64) for name in metric.outputs}


def moved(name: str, base: Values, repeat: Callable[[], Values], how: str, remedy: str, near: float = NEAR) -> Check:
    """Returns whether a repetition gives the same values; ``how`` says what was done otherwise."""
    try:
        again = repeat()
    except Exception as error:  # noqa: BLE001
        return Check(name, "BAD", f"{how} it fails ({type(error).__name__}: {error})", remedy)
    for output, column in base.items():
        scale = max(1e-3, float(np.nanmax(np.abs(column), initial=0.0)))
        if (np.isnan(column) != np.isnan(again[output])).any():
            return Check(name, "BAD", f"{how}, {output} applies to other images", remedy)
        step = float(np.nanmax(np.abs(column - again[output]), initial=0.0))
        if step > near * scale:
            return Check(name, "BAD", f"{how}, {output} moves by {step:.3g} (it is at most {scale:.3g})", remedy)
    return Check(name, "ok", f"{how}, all values are the same" + (f" to {near:g}" if near else ""))


def features_of(metric: SetMetric, shown: Sequence[Picture]) -> NDArray[np.float32]:
    """Returns the ``(N, D)`` features of pictures of any sizes."""
    rows = [metric.network(torch.from_numpy(it.pixels[np.newaxis])).detach().float().cpu().numpy() for it in shown]
    return np.concatenate(rows)


def differs(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Says whether values are others, by more than rounding, or are there where they were not."""
    if (np.isnan(a) != np.isnan(b)).any():
        return True
    scale = max(1e-9, float(np.nanmax(np.abs(a), initial=0.0)))
    return float(np.nanmax(np.abs(a - b), initial=0.0)) > NEAR * scale
