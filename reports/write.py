"""A report on disk, in HTML, Markdown or JSON by the name of the file; and in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.reports.as_json import render_json
from drawbench.reports.comparison import Comparison, compare
from drawbench.reports.human import read_study
from drawbench.reports.markdown import render_markdown
from drawbench.reports.page import render_html
from drawbench.reports.tables import arrow, headlines
from drawbench.reports.wording import about, sentence, warnings
from drawbench.store import Run

WIDEST = 40
"""Of a column in the terminal, in characters."""


def write_report(
    runs: Sequence[Run], out: Path, skipped: Mapping[str, str] = {}, studies: Sequence[Path] = ()
) -> Comparison:
    """Compares runs and writes the report; ``skipped`` names metrics that were not scored, and why; ``studies`` are folders.

    Raises:
        UserError: the name of ``out`` ends in something else than .html, .md or .json; or see `compare`.
    """
    renderers: Mapping[str, Callable[[Comparison], str]] = {
        ".html": lambda comparison: render_html(comparison, runs),
        ".md": render_markdown,
        ".json": render_json,
    }
    render = renderers.get(out.suffix.lower())
    if render is None:
        given = repr(out.suffix) if out.suffix else "a file without a suffix"
        raise UserError(f"{out}: a report is written as .html, .md or .json, not as {given}")
    comparison = compare(runs, skipped, [read_study(path, runs) for path in studies])
    write_atomic(out, render(comparison).encode())
    return comparison


def summary_lines(comparison: Comparison) -> list[str]:
    """Returns the sentence, the first table and the warnings; a line is as long as its columns need."""
    lines = [_printable(text) for text in (sentence(comparison), about(comparison)) if text]
    rows = _rows(comparison)
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines += ["", table[0], "  ".join("-" * width for width in widths), *table[1:]]
    for study in comparison.studies:
        lines += ["", _printable(study.title), *(f"  {_printable(text)}" for text in study.sentences())]
    said = [f"! {_printable(text)}" for text in warnings(comparison)]
    return lines + (["", *said] if said else [])


def _rows(comparison: Comparison) -> list[Sequence[str]]:
    names = [system.name for system in comparison.systems]
    several = len(comparison.sections) > 1
    difference = [f"{names[0]} − {names[1]}"] if len(names) == 2 else ["pair", "difference"]
    compared = [*difference, "p (Holm)", "verdict"] if len(names) > 1 else []
    rows = [[*(["prompts"] if several else []), "metric", *names, *compared, "n"]]
    for line in headlines(comparison):
        cells = [line.row.cells.get(name) for name in names]
        values = [f"{cell.value} {cell.interval}".strip() if cell else "not scored" for cell in cells]
        first = [
            *([line.section.label] if several else []),
            f"{line.metric.label} {line.output.name} {arrow(line.output)}".strip(),
            *values,
        ]
        if not line.row.differences:
            rows.append([*first, *[""] * len(compared), line.row.n])
        for number, it in enumerate(line.row.differences):
            shown = first if number == 0 else [""] * len(first)
            pair = [] if len(names) == 2 else [f"{it.a} − {it.b}"]
            rows.append([*shown, *pair, f"{it.value} {it.interval}".strip(), it.p, it.verdict, line.row.n])
    return [[_cut(_printable(text)) for text in row] for row in rows]


def _printable(text: str) -> str:
    """Returns a text without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
