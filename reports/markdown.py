"""A comparison as GitHub-flavoured Markdown: for a README, an issue, a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from drawbench.reports.comparison import Comparison, Section
from drawbench.reports.digits import counted, listed
from drawbench.reports.gallery import shortened
from drawbench.reports.human import HumanStudy
from drawbench.reports.metric_scores import MetricScores
from drawbench.reports.page import MOST_LOST, fact
from drawbench.reports.study import passed_tables, preference_tables
from drawbench.reports.tables import Cell, Difference, Row, arrow, category_rows, direction, headlines
from drawbench.reports.wording import about, methods, missing_text, sentence, warnings


def render_markdown(comparison: Comparison) -> str:
    """Returns the report without images."""
    parts = [
        f"# {escaped(sentence(comparison))}",
        escaped(about(comparison)),
        "\n".join(f"- ⚠️ **{escaped(shortened(text))}**" for text in warnings(comparison)),
        _headline(comparison),
        *(part for study in comparison.studies for part in _study(study)),
        *(part for section in comparison.sections for part in _section(comparison, section)),
        _runs(comparison),
        *(_lost(section) for section in comparison.sections),
        _protocols(comparison),
        "## Methods\n\n" + "\n".join(f"- {escaped(text)}" for text in methods(comparison)),
        _footer(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """Returns a text of somebody else's as text in Markdown: no HTML, no table cell, no emphasis, no link, one line."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*|#~@]|\](?=[(\[]))", lambda found: f"&#{ord(found[0])};", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", "&#95;", text)
    return re.sub(r"\s+", " ", text.replace("://", "&#58;//")).strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Returns a table; the last ``numbers`` columns are set to the right."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in ([*map(escaped, head)], rule, *([*map(escaped, r)] for r in rows))
    )


def _headline(comparison: Comparison) -> str:
    names = [system.name for system in comparison.systems]
    rows = []
    for line in headlines(comparison):
        metric = f"{line.metric.label} {line.output.name} {arrow(line.output)}".strip()
        where = [line.section.label] if len(comparison.sections) > 1 else []
        values = [_cell(line.row.cells.get(name)) for name in names]
        if len(names) < 2:
            rows.append([*where, metric, *values, line.row.n])
            continue
        for index, it in enumerate(line.row.differences or [None]):
            shown = [metric, *values] if index == 0 else ["", *[""] * len(names)]
            rows.append([*where, *shown, *(_difference(it) if it else [""] * 5), line.row.n])
    if not rows:
        return ""
    where = ["Prompts"] if len(comparison.sections) > 1 else []
    pair = ["Pair", "Difference", "p (Holm)", "Verdict", "Categories that differ"] if len(names) > 1 else []
    return _table([*where, "Metric", *names, *pair, "n"], rows, 1)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "not scored"
    return " ".join(part for part in (cell.value, cell.interval, f"({cell.reason})" if cell.reason else "") if part)


def _difference(it: Difference) -> list[str]:
    categories = "; ".join(f"{better}: {names}" for better, names in it.categories)
    reason = f"({it.reason})" if it.reason else ""
    value = " ".join(part for part in (it.value, it.interval, reason) if part)
    return [f"{it.a} − {it.b}", value, it.p, it.verdict, categories]


def _study(study: HumanStudy) -> list[str]:
    said = "\n".join(f"- {escaped(text)}" for text in study.sentences())
    tables = [*preference_tables(study.analysis, "###"), *passed_tables(study.analysis, "###")]
    return [f"## {escaped(f'What {study.who} said: {study.title}')}", said, *tables]


def _section(comparison: Comparison, section: Section) -> Iterator[str]:
    for metric in section.metrics:
        on = f" on {section.label}" if len(comparison.sections) > 1 else ""
        yield f"## {escaped(metric.label + on)}"
        notes = dict.fromkeys(note for file in metric.files.values() for note in file.notes)
        yield "\n".join(f"- {escaped(shortened(note))}" for note in notes)
        for output in metric.outputs:
            rows = category_rows(comparison, section, metric, output)
            yield f"**{escaped(output.name)}** ({direction(output)})"
            yield _categories(rows, list(output.scores))


def _categories(rows: Sequence[Row], systems: Sequence[str]) -> str:
    pairs = [(it.a, it.b) for it in rows[0].differences if it.value]
    head = ["Category", *systems, *(f"{a} − {b}, p (Holm)" for a, b in pairs), "n"]
    lines = []
    for row in rows:
        by_pair = {(it.a, it.b): it for it in row.differences}
        differences = [by_pair.get(pair) for pair in pairs]
        texts = [f"{it.value} {it.interval}, {it.p}" if it else "" for it in differences]
        lines.append([row.name, *(_cell(row.cells.get(system)) for system in systems), *texts, row.n])
    return _table(head, lines, 1)


def _runs(comparison: Comparison) -> str:
    rows = [
        [run.system, section.label, f"{run.planned:,}", f"{run.drawn:,}", missing_text(run) or "none", str(run.seed)]
        for section in comparison.sections
        for run in section.runs
    ]
    return "## Runs\n\n" + _table(["System", "Prompts", "Planned", "Drawn", "Missing", "Seed"], rows, 0)


def _lost(section: Section) -> str:
    if not section.lost:
        return ""
    rows = [
        [it.status, it.system, f"{it.prompt}/{it.sample}", it.category or "", shortened(it.text), shortened(it.reason)]
        for it in sorted(section.lost, key=lambda it: it.status, reverse=True)[:MOST_LOST]
    ]
    more = (
        f"\n\n{counted(len(section.lost) - MOST_LOST, 'more image')} in the JSON report."
        if len(section.lost) > MOST_LOST
        else ""
    )
    head = ["", "System", "Image", "Category", "Text", "Reason"]
    return f"## Refused and failed on {escaped(section.label)}\n\n{_table(head, rows, 0)}{more}"


def _protocols(comparison: Comparison) -> str:
    parts = [_protocol(section, metric) for section in comparison.sections for metric in section.metrics]
    return "## Protocols\n\n" + "\n\n".join(parts) if parts else ""


def _protocol(section: Section, metric: MetricScores) -> str:
    differing = {field for it in metric.mismatches for field in it.fields}
    fields = sorted({field for file in metric.files.values() for field in file.protocol.fields})
    rows = [
        [
            f"⚠️ {field}" if field in differing else field,
            *(fact(f.protocol.fields.get(field)) for f in metric.files.values()),
        ]
        for field in fields
    ]
    rows.append(["hash", *(file.protocol.hash[:12] for file in metric.files.values())])
    marks = ["" if file.verified else "unverified on published weights" for file in metric.files.values()]
    if any(marks):
        rows.append(["published weights", *marks])
    title = f"{metric.label} on {section.label}"
    table = _table(["Field", *metric.files], rows, 0)
    return f"<details><summary>{escaped(title)}</summary>\n\n{table}\n\n</details>"


def _footer(comparison: Comparison) -> str:
    sets = listed(f"{section.label} (sha256 {section.sha256[:12]})" for section in comparison.sections)
    made = comparison.created[:16].replace("T", " ")
    return f"Made by drawbench {comparison.drawbench} on {made} UTC; prompts: {escaped(sets)}."
