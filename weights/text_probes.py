"""How much of a caption's meaning a frozen text encoder holds: linear probes, and where rare words lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from drawbench.generators.imagen.text_encoder import TextEncoder, TextEncoderConfig
from drawbench.shapes.data import is_held_out_caption
from drawbench.shapes.grammar import CATEGORIES
from drawbench.shapes.phrases import RARE_COLOURS, RARE_SHAPES
from drawbench.shapes.sampling import Captioned
from drawbench.shapes.scene import SIDES, Scene

Label = Callable[[Scene], str | None]
NAMED = frozenset(CATEGORIES) - {"Rare Words", "Descriptions", "Misspellings"}
"""Categories whose captions name colours and shapes by their plain names."""


class Example(NamedTuple):
    """A caption with its scene, and its category."""

    category: str
    captioned: Captioned


class Probe(NamedTuple):
    """A question about a scene, and of which categories the probe is fitted and tested."""

    question: str
    label: Label
    fitted: frozenset[str] = frozenset(CATEGORIES)
    tested: frozenset[str] = frozenset(CATEGORIES)


def _only(scene: Scene, what: str) -> str | None:
    if len(scene.things) != 1 or scene.word:
        return None
    value: str | None = getattr(scene.things[0], what)
    return value


def _side(scene: Scene) -> str | None:
    return scene.relations[0].place if len(scene.relations) == 1 and scene.relations[0].place in SIDES else None


def _of_the_circle(scene: Scene) -> str | None:
    circles = [thing for thing in scene.things if thing.shape == "circle"]
    return circles[0].colour if len(circles) == 1 and len(scene.things) > 1 else None


PROBES = (
    Probe("colour of the only thing", lambda scene: _only(scene, "colour")),
    Probe("shape of the only thing", lambda scene: _only(scene, "shape")),
    Probe("number of things", lambda scene: str(len(scene.things)) if scene.things and not scene.word else None),
    Probe("word on the sign", lambda scene: scene.word),
    Probe("side on which one thing is of another", _side),
    Probe("colour of the circle beside other things", _of_the_circle),
    *(
        Probe(
            f"{what}, fitted on plain names, {category.lower()}",
            lambda scene, what=what: _only(scene, what),  # type: ignore[misc]
            NAMED,
            frozenset({category}),
        )
        for what in ("colour", "shape")
        for category in ("Rare Words", "Descriptions", "Misspellings")
    ),
)


def figures(trained: Path, untrained: Path, fitting: int = 3300, testing: int = 2200) -> list[str]:
    """Returns the rows of a table: what linear probes read from either encoder, and where either has rare words."""
    fit, test = _examples("fit", fitting, held_out=False), _examples("test", testing, held_out=True)
    intro = (
        "Linear probes on the frozen embeddings, averaged over a caption's tokens, fitted on captions that the language "
        "model may have seen and tested on captions that it has not."
    )
    rows = [
        intro,
        "",
        "| question | n | trained | random weights | most frequent answer |",
        "|---|---|---|---|---|",
    ]
    encoders = [_encoder(folder) for folder in (trained, untrained)]
    means = [(_means(encoder, fit), _means(encoder, test)) for encoder in encoders]
    for probe in PROBES:
        known, asked = _labels(fit, probe.label, probe.fitted), _labels(test, probe.label, probe.tested)
        right = [_accuracy(known, on_fit, asked, on_test) for on_fit, on_test in means]
        most = max(Counter(asked.values()).values()) / len(asked)
        rows.append(f"| {probe.question} | {len(asked)} | {right[0]:.3f} | {right[1]:.3f} | {most:.3f} |")
    known, asked = (_labels(examples, _of_the_circle, NAMED) for examples in (fit, test))
    of_circles = [
        _accuracy(known, _at_word(encoder, fit, known), asked, _at_word(encoder, test, asked)) for encoder in encoders
    ]
    most = max(Counter(asked.values()).values()) / len(asked)
    rows.append(
        f"| colour of the circle beside other things, read at the word “circle” | {len(asked)} | {of_circles[0]:.3f} "
        f"| {of_circles[1]:.3f} | {most:.3f} |"
    )
    colours, shapes = ([_nearest(encoder, *words) for encoder in encoders] for words in (_COLOURS, _SHAPES))
    for what, near, of in (("colours", colours, _COLOURS), ("shapes", shapes, _SHAPES)):
        rows.append(
            f"| rare words of {what} nearest to their plain word | {near[0].n} | {near[0].right:.3f} | {near[1].right:.3f} "
            f"| {1 / len(of[0]):.3f} |"
        )
    return rows


_COLOURS = RARE_COLOURS, "A {} circle and a {} ring.", "A {} square on a dark background."
_SHAPES = RARE_SHAPES, "A red {} and a blue {}.", "A green {} on a dark background."


class _Near(NamedTuple):
    right: float
    n: int


def _nearest(encoder: TextEncoder, rare: Mapping[str, Sequence[str]], *frames: str) -> _Near:
    """Returns how many rare words have their plain word as the nearest one, by the cosine about the plain words' mean."""

    def vector(word: str) -> Tensor:
        parts = []
        for frame in frames:
            text = frame.format(word, word)
            embeddings = encoder([text]).embeddings[0]
            start = len(text[: text.index(word)].encode())
            parts.append(embeddings[start : start + len(word.encode())].mean(0))
        return torch.stack(parts).mean(0)

    plain = torch.stack([vector(word) for word in rare])
    middle = plain.mean(0)
    right = [
        int(torch.cosine_similarity(vector(word) - middle, plain - middle, dim=-1).argmax()) == number
        for number, words in enumerate(rare.values())
        for word in words
    ]
    return _Near(sum(right) / len(right), len(right))


def _encoder(folder: Path) -> TextEncoder:
    return TextEncoder(TextEncoderConfig(name=str(folder), dtype="fp32"), batch_size=64)


def _examples(name: str, count: int, *, held_out: bool) -> list[Example]:
    """Returns examples of every category in turn."""
    rng = Random(f"probes/{name}")
    found: list[Example] = []
    while len(found) < count:
        category = tuple(CATEGORIES)[len(found) % len(CATEGORIES)]
        captioned = CATEGORIES[category](rng)
        if is_held_out_caption(captioned.caption) == held_out:
            found.append(Example(category, captioned))
    return found


def _means(encoder: TextEncoder, examples: Sequence[Example]) -> Tensor:
    parts: list[Tensor] = []
    order = sorted(range(len(examples)), key=lambda at: len(examples[at].captioned.caption))
    for first in range(0, len(order), 64):
        encoded = encoder.padded([examples[at].captioned.caption for at in order[first : first + 64]])
        parts.extend(one.embeddings.mean(0) for one in encoded)
    return torch.stack(parts)[torch.tensor(order).argsort()]


def _at_word(
    encoder: TextEncoder, examples: Sequence[Example], places: Mapping[int, str], word: str = "circle"
) -> Tensor:
    """Returns the mean embedding of a word's letters, ``(N, D)``; zero in the rows that are not asked for."""
    rows = torch.zeros(len(examples), encoder.dim)
    for at in places:
        caption = examples[at].captioned.caption.lower()
        start = len(caption[: caption.index(word)].encode())
        (encoded,) = encoder.padded([examples[at].captioned.caption])
        rows[at] = encoded.embeddings[start : start + len(word)].mean(0)
    return rows


def _labels(examples: Sequence[Example], label: Label, categories: frozenset[str]) -> dict[int, str]:
    """Returns the answers by the examples' places."""
    answers = {at: label(one.captioned.scene) for at, one in enumerate(examples) if one.category in categories}
    return {at: answer for at, answer in answers.items() if answer is not None}


def _accuracy(known: Mapping[int, str], on_fit: Tensor, asked: Mapping[int, str], on_test: Tensor) -> float:
    """Fits a multinomial logistic regression with a small ridge, and returns the share of right answers."""
    classes = sorted(set(known.values()))
    inputs, target = on_fit[list(known)], torch.tensor([classes.index(answer) for answer in known.values()])
    mean, std = inputs.mean(0), inputs.std(0) + 1e-6
    inputs = (inputs - mean) / std
    weight = torch.zeros(inputs.shape[1] + 1, len(classes), requires_grad=True)
    solver = torch.optim.LBFGS([weight], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        logits = inputs @ weight[:-1] + weight[-1]
        loss = torch.nn.functional.cross_entropy(logits, target) + 1e-4 * weight[:-1].square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    with torch.no_grad():
        guess = (((on_test[list(asked)] - mean) / std) @ weight[:-1] + weight[-1]).argmax(-1)
    right: list[bool] = [classes[at] == answer for at, answer in zip(guess.tolist(), asked.values(), strict=True)]
    return sum(right) / len(right)
