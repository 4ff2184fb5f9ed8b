"""The differences between a sweep's points, paired prompt by prompt and tested together: one family, however it was looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

from drawbench.reports.comparison import metric_contrasts
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, listed, number, p_value, signed
from drawbench.reports.metric_scores import metrics_of
from drawbench.reports.pairs import FLIPS, LEVEL, SEED, Contrast, judged
from drawbench.reports.sweep_points import Scored, Sweep, of_curves

FLIPPED = "sign flips"
"""How the name of the test begins that has a least p."""


class Difference(NamedTuple):
    """One main output of two points that differ in a single option, subtracted."""

    key: str
    """The option in which they differ."""
    at: Mapping[str, str]
    """What they have in common: the values of the other options; empty where there is no other."""
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


class Group(NamedTuple):
    """The differences that are shown together; they are no family of their own."""

    title: str
    rows: Sequence[Row]


def differences_of(sweep: Sweep) -> list[Difference]:
    """Returns the differences in every main output between any two points that differ in exactly one option.

    p is adjusted by Holm over all of them. Which option is the first moves their order and nothing else: the same points may
    be looked at in any order of the options, and one must not be able to choose the order that says most. Those between
    curves come first, by the value of the first option, then those along each curve.
    """
    found = [difference for a, b in _pairs(sweep) for difference in _subtracted(a, b)]
    told = judged([it.contrast for it in found])  # All are main outputs over all prompts: to `judged` a single family.
    return [it._replace(contrast=contrast) for it, contrast in zip(found, told, strict=True)]


def _pairs(sweep: Sweep) -> Iterator[tuple[Scored, Scored]]:
    """Yields whom to subtract from whom: A, B. A point that has no image is in no pair."""
    first = next(iter(sweep.points[0].values))
    scored = [point for point in sweep.points if point.files]
    near = [(a, b) for b, a in combinations(scored, 2) if len(_apart(a, b)) == 1]
    for at in dict.fromkeys(point.values[first] for point in scored):
        yield from ((a, b) for a, b in near if a.values[first] == b.values[first] == at)
    for _, curve in of_curves(sweep, first):
        yield from ((a, b) for a, b in near if a in curve and b in curve)


def _apart(a: Scored, b: Scored) -> list[str]:
    return [key for key, value in a.values.items() if b.values[key] != value]


def single(sweep: Sweep) -> bool:
    """Says whether all points lie on one curve."""
    return len(list(of_curves(sweep, next(iter(sweep.points[0].values))))) == 1


def _subtracted(a: Scored, b: Scored) -> Iterator[Difference]:
    (key,) = _apart(a, b)
    at = {name: value for name, value in a.values.items() if name != key}
    prompt_set = a.run.prompt_set.sha256
    for metric in metrics_of({a.label: a.files, b.label: b.files}):
        if len(metric.files) == 2:
            of_main = replace(metric, outputs=[output for output in metric.outputs if output.main])
            hashes = (metric.files[a.label].protocol.hash, metric.files[b.label].protocol.hash)
            for contrast in metric_contrasts(prompt_set, [a.label, b.label], (), of_main):
                yield Difference(key, at, a, b, contrast, hashes)


def family(differences: Sequence[Difference]) -> int:
    """Returns how many were tested together."""
    return sum(it.contrast.p is not None for it in differences)


def limits(differences: Sequence[Difference]) -> str:
    """Returns that the tests are too many, or the prompts too few, for any sign-flip test to stand, where it is so; else nothing.

    Holm steps down: a test at the least p its flips can give is multiplied by the tests that are left when those with a
    smaller p are taken off, and cannot stand where one of those does not.
    """
    flipped = [it.contrast for it in differences if (it.contrast.p_method or "").startswith(FLIPPED)]
    if not flipped:
        return ""
    least = min(_holm_at(_least_p(it), differences) for it in flipped)
    if least < 1 - LEVEL:
        return ""
    few = any(_tried(it) <= FLIPS for it in flipped)
    advice = ["sweep fewer values"] * (family(differences) > 1) + ["give more prompts"] * few
    return (
        f"{counted(family(differences), 'difference')} {'were' if family(differences) > 1 else 'was'} tested together: the "
        f"least p that a test by sign flips can have is then {p_value(least)} after Holm, so that no difference of a mean or "
        f"rate can be told from chance; {listed(advice, 'or')}"
    )


def _tried(contrast: Contrast) -> int:
    """Returns in how many ways the signs of a difference can stand; all are tried where they are at most `FLIPS`."""
    return int(2**contrast.n_prompts)


def _least_p(contrast: Contrast) -> float:
    """Returns the least p of a test by sign flips: the given signs and their opposites, or the given among those drawn."""
    ways = _tried(contrast)
    return 2 / ways if ways <= FLIPS else 1 / (FLIPS + 1)


def _holm_at(p: float, differences: Sequence[Difference]) -> float:
    """Returns what p would be after Holm of a test among these that had this p, which none of its kind goes below."""
    before = [it.contrast for it in differences if it.contrast.p is not None and it.contrast.p < p]
    return max([min(1.0, (family(differences) - len(before)) * p), *(it.p_holm or 0.0 for it in before)])


def design(sweep: Sweep, differences: Sequence[Difference]) -> str:
    """Returns what was subtracted from what, and over how many tests p was adjusted."""
    if single(sweep):
        pairs = "Every pair of points"
    else:
        pairs = "Every pair of points that differ in exactly one option, at each value of the others"
    order = "" if single(sweep) else ", whatever the order of the options"
    return (
        f"{pairs}, in the main output of each metric, paired prompt by prompt; p is adjusted by Holm (1979) over all "
        f"{counted(family(differences), 'comparison')} here, which are one family{order}"
    )


def summary(differences: Sequence[Difference]) -> str:
    """Returns how many differences stand, in one line."""
    return f"differences: {_stand(differences)} of {family(differences)} stand after Holm over all of them"


def _stand(differences: Sequence[Difference]) -> int:
    return sum(it.contrast.verdict in ("better", "differ") for it in differences)


def groups(sweep: Sweep, differences: Sequence[Difference]) -> list[Group]:
    """Returns the tables for people: between the curves, then along them."""
    first = next(iter(sweep.points[0].values))
    between = [it for it in differences if it.key != first]
    along = [it for it in differences if it.key == first]
    named = [(f"Between curves, at each value of {first}", between), (f"Along {first}", along)]
    return [
        Group(f"{title}: {_stand(found)} of {family(found)} stand", [_row(it) for it in found])
        for title, found in named
        if found
    ]


def _row(it: Difference) -> Row:
    a, b = (point.values[it.key] if not it.at else f"{it.key}={point.values[it.key]}" for point in (it.a, it.b))
    at = ", ".join(f"{key}={value}" for key, value in it.at.items())
    contrast, subject = it.contrast, it.contrast.subject
    named = subject.metric if subject.output == subject.metric else f"{subject.metric} {subject.output}"
    named += {True: " ↑", False: " ↓", None: ""}[subject.higher_is_better]
    if contrast.value is None:
        return Row(at, a, b, named, "–", "", "", "", f"not compared: {contrast.reason}")
    places = decimals([contrast.interval], [contrast.value], least_decimals(subject.kind))
    verdict: str = contrast.verdict
    if contrast.verdict == "better":
        verdict = f"{a if contrast.better == it.a.label else b} is better"
    return Row(
        at,
        a,
        b,
        named,
        signed(contrast.value, places) if contrast.value else number(0, places),
        bounds(contrast.interval, places),
        p_value(contrast.p),
        p_value(contrast.p_holm),
        f"{verdict}; {contrast.reason}" if contrast.reason else verdict,
    )


def to_json(sweep: Sweep, differences: Sequence[Difference]) -> dict[str, Any]:
    """Returns the differences as plain data under ``comparisons``, and how they were made under ``comparisons_are``."""
    rows = [
        {
            "at": dict(it.at),
            "differ_in": it.key,
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
    return {"comparisons": rows, "comparisons_are": are}
