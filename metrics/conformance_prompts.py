"""What a metric of a prompt's images must see: that they are several, that they differ, and their colours.

No image is better or worse than another here: only that a value moves, or does not, can be judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from drawbench.interfaces import PromptMetric
from drawbench.metrics.conformance_images import Picture, altered, noisy, swapped
from drawbench.metrics.conformance_values import Check, Values, differs, values


def two_and_two(shown: Sequence[Picture]) -> list[Picture]:
    """Returns the pictures as samples of half as many prompts; the last may stand alone."""
    return [it.with_prompt(shown[index - index % 2].prompt) for index, it in enumerate(shown)]


def turned_round(shown: Sequence[Picture]) -> list[Picture]:
    """Returns each prompt's samples in the other order, the prompts in their own."""
    return [it for group in _samples(shown) for it in reversed(group)]


def copied(shown: Sequence[Picture]) -> list[Picture]:
    """Returns as many copies of each prompt's first sample as it has samples."""
    return [group[0] for group in _samples(shown) for _ in group]


def seen_of_prompts(metric: PromptMetric, shown: Sequence[Picture], base: Values, blind: set[str]) -> Iterator[Check]:
    """Yields whether the metric tells a prompt's images from copies of one, and sees their colours and what spoils them."""
    same = values(metric, copied(shown))
    if not _moves(base, same):
        found = "as many copies of one image have the value of different images"
        yield Check("copies", "BAD", found, "it is of a prompt's images together: look at each one of them")
    else:
        yield Check("copies", "ok", "copies of one image have another value than different images")
    for name, change, what in (
        ("channel order", swapped, "red and blue exchanged"),
        ("noise", _noise_of_second, "one of two images noise"),
    ):
        if name in blind:
            yield Check(name, "n.a.", "declared: the metric does not look at it")
        elif not _moves(base, values(metric, altered(shown, change))):
            how = f'give it all three channels of every image, or declare insensitive_to = ("{name}",)'
            yield Check(name, "BAD", f"no value changes with {what}: it does not see it", how)
        else:
            yield Check(name, "ok", f"a value changes with {what}")
    yield Check("blur", "n.a.", "it tells the images of a prompt apart: none is better or worse")


def _noise_of_second(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    return noisy(1.0)(pixels, number) if number % 2 else pixels


def _moves(base: Values, other: Values) -> bool:
    return any(differs(base[name], other[name]) for name in base)


def _samples(shown: Sequence[Picture]) -> list[list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for it in shown:
        groups.setdefault(it.prompt.id, []).append(it)
    return list(groups.values())
