"""What each choice of an FID moves, as HTML, Markdown, JSON, or lines for the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import floor, log10
from pathlib import Path
from typing import NamedTuple

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.metrics.explain_fid import Choice, Explanation
from drawbench.reports.digits import bounds, counted, decimals, number, signed
from drawbench.reports.explain_plot import Move, plot
from drawbench.reports.markdown import escaped
from drawbench.reports.study import environment_for_pages

SCHEMA_VERSION = 1

MEANINGS = {
    "protocol": "How an image is brought to Inception's 299x299 and scaled.",
    "pre-step": "What is done to images and reference before that, as FID-30K's 256x256.",
    "filter": "With which filter the step before brings them to 256x256.",
    "codec": "Whether the generated images were kept as PNG or as JPEG.",
    "dtype": "The network's arithmetic.",
    "n": "How many images: the distance is too large at small n, so numbers of different n are not compared.",
}


class Line(NamedTuple):
    """A choice as it is shown."""

    choice: Choice
    value: str
    delta: str
    bounds: str
    relative: str


def write_explanation(explanation: Explanation, out: Path) -> None:
    """Writes it by the suffix of ``out``.

    Raises:
        UserError: the name ends in something else than .html, .md or .json.
    """
    write_atomic(out, renderer(out)(explanation).encode())


def renderer(out: Path) -> Callable[[Explanation], str]:
    """Returns what renders a file of this name."""
    known = {".html": render_html, ".md": render_markdown, ".json": render_json}
    if out.suffix.lower() not in known:
        given = repr(out.suffix) if out.suffix else "a file without a suffix"
        raise UserError(f"{out}: an explanation is written as .html, .md or .json, not as {given}")
    return known[out.suffix.lower()]


def title(explanation: Explanation) -> str:
    """Returns the number, and what moves it most, other than n."""
    places = _places(explanation)
    said = f"FID {number(explanation.value, places)} of {counted(explanation.n, 'image')} of {explanation.system}"
    largest = max((it for it in explanation.choices if it.axis != "n"), key=lambda it: abs(it.delta), default=None)
    if largest is None:
        return f"{said}"
    line = _line(largest, places)
    by = f"{line.delta} {line.bounds}".strip()
    return f"{said}: {largest.axis} {largest.name} moves it most, by {by} ({line.relative})"


def lines(explanation: Explanation) -> dict[str, list[Line]]:
    """Returns the choices as they are shown, by axis."""
    places, found = _places(explanation), dict[str, list[Line]]()
    for choice in explanation.choices:
        found.setdefault(choice.axis, []).append(_line(choice, places))
    return found


def standard(explanation: Explanation) -> str:
    """Returns the number that all others are held against, with its interval or the reason why there is none."""
    places = _places(explanation)
    value, interval = number(explanation.value, places), explanation.interval
    sure = f"{bounds(interval, places)} ({interval.method})" if interval else f"({explanation.reason})"
    of = f"{counted(explanation.n, 'image')} of {counted(explanation.n_prompts, 'prompt')} of {explanation.prompt_set}"
    return f"The standard: FID {value} {sure}, of {of}, from {explanation.reference_n or 'an unknown number of'} reference images"


def methods() -> list[str]:
    """Returns how the numbers were made."""
    text = """
        Each choice is made alone: everything else is the standard's. Unless its words say otherwise it is made on images and
        reference alike; the codec on the generated images, which are PNG in a run.

        “Images only” is easily done by mistake, where statistics were computed in another way than the images: it gives a number
        all the same.

        A difference's interval is a jackknife over groups of prompts of both numbers at once: both see the same images, so it is
        narrower than the intervals of the two numbers. Of n it is no interval: it spans the draws.

        Moves do not add up: two choices together may move more or less than both apart.
    """
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def render_json(explanation: Explanation) -> str:
    """Returns everything that is known, as JSON without NaN."""
    content = {"schema_version": SCHEMA_VERSION, "title": title(explanation), **asdict(explanation)}
    content["interval"] = explanation.interval._asdict() if explanation.interval else None
    content["skipped"] = [skipped._asdict() for skipped in explanation.skipped]
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def render_markdown(explanation: Explanation) -> str:
    """Returns the table, for an issue or a README."""
    parts = [f"# {escaped(title(explanation))}", escaped(standard(explanation) + ".")]
    parts += ["\n".join(f"- ⚠️ {escaped(remark)}" for remark in explanation.remarks)] if explanation.remarks else []
    head = ["choice", "FID", "moved by", "low, high", "relative", "n", "what it is"]
    for axis, rows in lines(explanation).items():
        cells = [
            [row.choice.name, row.value, row.delta, row.bounds, row.relative, str(row.choice.n), row.choice.words]
            for row in rows
        ]
        parts += [f"## {axis}", MEANINGS.get(axis, ""), _table(head, cells)]
    if explanation.skipped:
        said = [f"- {escaped(f'{axis}, {name}: {reason}')}" for axis, name, reason in explanation.skipped]
        parts += ["## Not tried", "\n".join(said)]
    fields = [[key, value] for key, value in protocol(explanation).items()]
    parts += ["## The standard's protocol", _table(["field", "value"], fields)]
    parts += ["## Methods", "\n".join(f"- {escaped(text)}" for text in methods())]
    return "\n\n".join(part for part in parts if part) + "\n"


def render_html(explanation: Explanation) -> str:
    """Returns one self-contained page."""
    environment = environment_for_pages()
    environment.filters |= {"counted": counted}
    return environment.get_template("explain.html").render(
        explanation=explanation,
        title=title(explanation),
        standard=standard(explanation),
        axes=lines(explanation),
        meanings=MEANINGS,
        protocol=protocol(explanation),
        plot=plot(_moves(explanation)),
        methods=methods(),
    )


def summary_lines(explanation: Explanation) -> list[str]:
    """Returns the table for the terminal."""
    rows = [["choice", "FID", "moved by", "low, high", "relative", "n"]]
    for axis, group in lines(explanation).items():
        rows += [
            [f"{axis}: {row.choice.name}", row.value, row.delta, row.bounds, row.relative, str(row.choice.n)]
            for row in group
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    told = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    without = [f"not tried: {axis}, {name}: {reason}" for axis, name, reason in explanation.skipped]
    return [title(explanation), standard(explanation), "", *told, *without, *(f"! {it}" for it in explanation.remarks)]


def protocol(explanation: Explanation) -> Mapping[str, str]:
    """Returns what the standard is."""
    reference = f"{explanation.reference_n or 'an unknown number of'} images, {explanation.reference}"
    return {**explanation.fields, "reference": reference, "reference sha256": explanation.reference_sha256}


def _places(explanation: Explanation) -> int:
    return min(6, decimals([explanation.interval], [explanation.value]))


def _line(choice: Choice, places: int) -> Line:
    """Returns a choice with the digits that its own spread supports."""
    width = (choice.high - choice.low) / 2 if choice.low is not None and choice.high is not None else 0.0
    own = max(places, 1 - _order(width)) if width > 0 else max(places, 2 - _order(abs(choice.delta)))
    ends = ""
    if choice.low is not None and choice.high is not None:
        ends = f"[{signed(choice.low, own)}, {signed(choice.high, own)}]"
    relative = "" if choice.relative is None else f"{signed(100 * choice.relative, _percent(choice.relative))} %"
    return Line(choice, number(choice.value, places), signed(choice.delta, own), ends, relative)


def _order(value: float) -> int:
    return floor(log10(value)) if value > 0 else 0


def _percent(relative: float) -> int:
    return max(0, min(5, 1 - _order(100 * abs(relative)))) if relative else 0


def _moves(explanation: Explanation) -> list[list[Move]]:
    return [
        [
            Move(
                f"{axis}: {row.choice.name}",
                f"{row.delta} ({row.relative})",
                row.choice.delta,
                row.choice.low,
                row.choice.high,
            )
            for row in rows
        ]
        for axis, rows in lines(explanation).items()
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[*map(escaped, head)], ["---"] * len(head), *([*map(escaped, row)] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
