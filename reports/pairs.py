"""Is one system better than another? Paired differences prompt by prompt, families of tests, verdicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np

from drawbench.interfaces import Interval, Kind, Score
from drawbench.intervals import holm, jackknife_difference, paired_difference, prompt_means
from drawbench.scores import ScoreFile

Verdict = Literal["better", "differ", "not distinguishable", "not compared"]

LEVEL = 0.95
SEED = 0
"""Of the sign flips."""
FLIPS = 10_000
ALL_PAIRS_UP_TO = 4
"""Beyond this many systems, each is held against the first."""


class Subject(NamedTuple):
    """What a difference is a difference in."""

    prompt_set: str
    """The sha256 of the prompt set."""
    metric: str
    """The metric's label in this report."""
    output: str
    main: bool
    kind: Kind
    higher_is_better: bool | None
    rescales: str | None = None
    """The output that it is times a constant."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference a − b between two systems on the prompts that both have, and what follows from it."""

    subject: Subject
    a: str
    b: str
    category: str | None
    """None: over all prompts."""
    value: float | None = None
    interval: Interval | None = None
    reason: str | None = None
    """Why there is no difference, or no interval."""
    p: float | None = None
    p_method: str | None = None
    n_prompts: int = 0
    p_holm: float | None = None
    verdict: Verdict = "not compared"
    better: str | None = None
    """The better system, where the verdict is "better"."""


def pairs(systems: Sequence[str]) -> list[tuple[str, str]]:
    """Returns who is held against whom: all pairs, or each against the first where there are many."""
    if len(systems) <= ALL_PAIRS_UP_TO:
        return list(combinations(systems, 2))
    return [(systems[0], other) for other in systems[1:]]


def contrasts(subject: Subject, a: str, b: str, tables: Mapping[str, Any], categories: Sequence[str]) -> list[Contrast]:
    """Returns the differences over all prompts and within each category, from tables of per-image values; not yet judged."""
    found = []
    for category in (None, *categories):
        means = []
        for system in (a, b):
            table = tables[system]
            rows = table if category is None else table[table["category"] == category]
            means.append(prompt_means(rows[subject.output].to_numpy(dtype=float), rows["prompt"].tolist()))
        both = [prompt for prompt in means[0] if prompt in means[1]]
        if not both:
            if category is None:
                found.append(Contrast(subject, a, b, None, reason="no prompt has values of both systems"))
            continue
        first, second = ({prompt: own[prompt] for prompt in both} for own in means)
        it = paired_difference(first, second, subject.kind, level=LEVEL, seed=SEED, flips=FLIPS)
        found.append(
            Contrast(subject, a, b, category, it.value, it.interval, it.reason, it.p, it.p_method, it.n_prompts)
        )
    return found


def set_contrast(subject: Subject, a: str, b: str, files: Mapping[str, ScoreFile]) -> Contrast:
    """Returns the difference of two values of a set metric, from what was kept of both without each group of prompts.

    Where that cannot be paired, the difference stands alone, with the reason why it has no interval; not yet judged.
    """
    first, second = (files[system] for system in (a, b))
    rows = [_overall(file, subject.output) for file in (first, second)]
    if rows[0].value is None or rows[1].value is None:
        lacks = a if rows[0].value is None else b
        return Contrast(
            subject, a, b, None, reason=f"{lacks} has no value of it: {_overall(files[lacks], subject.output).reason}"
        )
    value, n_prompts = rows[0].value - rows[1].value, min(row.n_prompts for row in rows)
    parts = [np.array(file.left_out.get(subject.output, []), np.float64) for file in (first, second)]
    for system, part in zip((a, b), parts, strict=True):
        if len(part) < 2:
            why = (
                f"no interval of the difference: {system} has no values without each group of prompts (it was scored without "
                "an interval, or before they were kept)"
            )
            return Contrast(subject, a, b, None, value, reason=why, n_prompts=n_prompts)
    if first.groups_sha256 != second.groups_sha256:
        why = "no interval of the difference: the two are of other prompts, and their groups are no pairs"
        return Contrast(subject, a, b, None, value, reason=why, n_prompts=n_prompts)
    it = jackknife_difference(rows[0].value, rows[1].value, parts[0], parts[1], n_prompts=n_prompts, level=LEVEL)
    return Contrast(subject, a, b, None, it.value, it.interval, it.reason, it.p, it.p_method, it.n_prompts)


def _overall(file: ScoreFile, output: str) -> Score:
    return next(row for row in file.scores if row.output == output and row.category is None)


def judged(found: Sequence[Contrast]) -> list[Contrast]:
    """Returns the differences in their order, each with its p adjusted within its family (Holm 1979) and its verdict.

    Families: the overall differences of the main outputs, over all metrics, pairs and prompt sets (the headline table);
    the overall differences of all other outputs; and for each output and pair, its categories. An output that is another
    one times a constant is no further test: it is in no family, and has that one's adjusted p.
    """
    place = {_what(contrast, contrast.subject.output): index for index, contrast in enumerate(found)}
    same = {index: place.get(_what(it, it.subject.rescales)) for index, it in enumerate(found) if it.subject.rescales}
    families: dict[object, list[int]] = defaultdict(list)
    for index, contrast in enumerate(found):
        if same.get(index) is not None:
            continue
        subject = contrast.subject
        overall = "headline" if subject.main else "other outputs"
        families[overall if contrast.category is None else (subject, contrast.a, contrast.b)].append(index)
    result = list(found)
    for family in families.values():
        for index, p_holm in zip(family, holm([found[index].p for index in family]), strict=True):
            result[index] = _judge(replace(found[index], p_holm=p_holm))
    for index, other in same.items():
        if other is not None:
            result[index] = _judge(replace(found[index], p_holm=result[other].p_holm))
    return result


def _what(contrast: Contrast, output: str | None) -> tuple[object, ...]:
    """Names the difference of the same pair, prompts and metric in some output."""
    subject = contrast.subject
    return subject.prompt_set, subject.metric, output, contrast.a, contrast.b, contrast.category


def _judge(contrast: Contrast) -> Contrast:
    if contrast.value is None or contrast.p_holm is None:
        return contrast
    interval = contrast.interval  # None where every prompt differs by the same: then p alone decides.
    if contrast.p_holm >= 1 - LEVEL or (interval is not None and interval.low <= 0 <= interval.high):
        return replace(contrast, verdict="not distinguishable")
    if contrast.subject.higher_is_better is None:
        return replace(contrast, verdict="differ")
    a_wins = (contrast.value > 0) == contrast.subject.higher_is_better
    return replace(contrast, verdict="better", better=contrast.a if a_wins else contrast.b)
