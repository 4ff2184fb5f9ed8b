"""The differences between a sweep's points, paired prompt by prompt and tested together: one family, however it was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

from drawbench.reports.comparison import metric_contrasts
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, number, p_value, signed
from drawbench.reports.metric_scores import metrics_of
from drawbench.reports.pairs import FLIPS, LEVEL, SEED, Contrast, judged
from drawbench.reports.sweep_points import Scored, Sweep, of_curves, others


class Difference(NamedTuple):
    """One main output of two points, subtracted."""

    at: str
    """The first option's value, where curves are held against each other; else empty."""
    a: Scored
    b: Scored
    contrast: Contrast
    protocols: tuple[str, str]
    """The hashes of A's and B's."""


class Row(NamedTuple):
    """A difference as a table shows it."""

    at: str
    a: str
    b: str
    metric: str
    value: str
    interval: str
    p: str
    p_holm: str
    verdict: str


def differences_of(sweep: Sweep) -> list[Difference]:
    """Returns the differences in every main output between any two curves, at each value of the first option.

    With a single curve: between each point and the first that is scored. p is adjusted by Holm over all of them.
    """
    found = [difference for at, a, b in _pairs(sweep) for difference in _subtracted(at, a, b)]
    told = judged([it.contrast for it in found])  # All are main outputs over all prompts: to `judged` a single family.
    return [it._replace(contrast=contrast) for it, contrast in zip(found, told, strict=True)]


def _pairs(sweep: Sweep) -> Iterator[tuple[str, Scored, Scored]]:
    """Yields whom to subtract from whom: at which value, A, B. A point that has no image is in no pair."""
    key = next(iter(sweep.points[0].values))
    scored = [point for point in sweep.points if point.files]
    if single(sweep):
        for point in scored[1:]:
            yield "", point, scored[0]
        return
    for at in dict.fromkeys(point.values[key] for point in scored):
        for b, a in combinations([point for point in scored if point.values[key] == at], 2):
            yield at, a, b


def single(sweep: Sweep) -> bool:
    """Says whether all points lie on one curve."""
    return len(list(of_curves(sweep, next(iter(sweep.points[0].values))))) == 1


def _subtracted(at: str, a: Scored, b: Scored) -> Iterator[Difference]:
    prompt_set = a.run.prompt_set.sha256
    for metric in metrics_of({a.label: a.files, b.label: b.files}):
        if len(metric.files) == 2:
            of_main = replace(metric, outputs=[output for output in metric.outputs if output.main])
            hashes = (metric.files[a.label].protocol.hash, metric.files[b.label].protocol.hash)
            for contrast in metric_contrasts(prompt_set, [a.label, b.label], (), of_main):
                yield Difference(at, a, b, contrast, hashes)


def family(differences: Sequence[Difference]) -> int:
    """Returns how many were tested together."""
    return sum(it.contrast.p is not None for it in differences)


def limits(differences: Sequence[Difference]) -> str:
    """Returns that so many tests leave no sign-flip test a chance, where they do; else nothing."""
    tested = family(differences)
    least = tested / (FLIPS + 1)
    if least < 1 - LEVEL or not any((it.contrast.p_method or "").startswith("sign flips") for it in differences):
        return ""
    return (
        f"{tested:,} differences were tested together: the least p of {FLIPS:,} sign flips is then {p_value(least)} after "
        "Holm, so that no difference of a mean or rate can be told from chance; sweep fewer values"
    )


def design(sweep: Sweep, differences: Sequence[Difference]) -> str:
    """Returns what was subtracted from what, and over how many tests p was adjusted."""
    key = next(iter(sweep.points[0].values))
    if single(sweep):
        first = next((point.label for point in sweep.points if point.files), "")
        pairs = f"every point minus the first ({first})"
    else:
        pairs = f"every pair of curves at each value of {key}"
    return (
        f"{pairs[0].upper()}{pairs[1:]}, in the main output of each metric, paired prompt by prompt; p is adjusted by Holm "
        f"(1979) over all {counted(family(differences), 'comparison')} here, which are one family"
    )


def summary(differences: Sequence[Difference]) -> str:
    """Returns how many differences stand, in one line."""
    stand = sum(it.contrast.verdict in ("better", "differ") for it in differences)
    return f"differences: {stand} of {family(differences)} stand after Holm over all of them"


def rows(sweep: Sweep, differences: Sequence[Difference]) -> list[Row]:
    """Returns the table for people."""
    key = next(iter(sweep.points[0].values))
    found = []
    for it in differences:
        a, b = (others(point, key) if it.at else point.values[key] for point in (it.a, it.b))
        contrast = it.contrast
        subject = contrast.subject
        named = subject.metric if subject.output == subject.metric else f"{subject.metric} {subject.output}"
        arrow = {True: " ↑", False: " ↓", None: ""}[subject.higher_is_better]
        if contrast.value is None:
            found.append(Row(it.at, a, b, named + arrow, "–", "", "", "", f"not compared: {contrast.reason}"))
            continue
        places = decimals([contrast.interval], [contrast.value], least_decimals(subject.kind))
        verdict: str = contrast.verdict
        if contrast.verdict == "better":
            verdict = f"{a if contrast.better == it.a.label else b} is better"
        found.append(
            Row(
                it.at,
                a,
                b,
                named + arrow,
                signed(contrast.value, places) if contrast.value else number(0, places),
                bounds(contrast.interval, places),
                p_value(contrast.p),
                p_value(contrast.p_holm),
                f"{verdict}; {contrast.reason}" if contrast.reason else verdict,
            )
        )
    return found


def to_json(sweep: Sweep, differences: Sequence[Difference]) -> dict[str, Any]:
    """Returns the differences as plain data under ``comparisons``, and how they were made under ``comparisons_are``."""
    key = next(iter(sweep.points[0].values))
    listed = [
        {
            "at": {key: it.at} if it.at else {},
            "metric": it.contrast.subject.metric,
            "output": it.contrast.subject.output,
            "kind": it.contrast.subject.kind,
            "higher_is_better": it.contrast.subject.higher_is_better,
            "a": it.a.label,
            "b": it.b.label,
            "value": it.contrast.value,
            "interval": it.contrast.interval._asdict() if it.contrast.interval else None,
            "reason": it.contrast.reason,
            "n_prompts": it.contrast.n_prompts,
            "p": it.contrast.p,
            "p_method": it.contrast.p_method,
            "p_holm": it.contrast.p_holm,
            "verdict": it.contrast.verdict,
            "better": it.contrast.better,
            "protocol": {"a": it.protocols[0], "b": it.protocols[1]},
        }
        for it in differences
    ]
    are = {
        "design": design(sweep, differences),
        "tested_together": family(differences),
        "adjusted": "Holm 1979, over all that were tested together",
        "level": LEVEL,
        "flips": FLIPS,
        "seed": SEED,
    }
    return {"comparisons": listed, "comparisons_are": are}
