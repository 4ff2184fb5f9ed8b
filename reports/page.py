"""A comparison as one self-contained HTML file: the answer first, then every number, then the images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from drawbench.human_eval.analysis import by_question
from drawbench.reports.comparison import Comparison, Section
from drawbench.reports.digits import counted, listed
from drawbench.reports.gallery import galleries, shortened
from drawbench.reports.human import HumanStudy
from drawbench.reports.interval_plot import interval_plot, marker
from drawbench.reports.metric_scores import MetricScores, OutputScores
from drawbench.reports.study import environment_for_pages
from drawbench.reports.tables import Row, arrow, category_rows, direction, headlines, protocol_warning
from drawbench.reports.wording import about, methods, missing_text, sentence, warnings
from drawbench.store import Run

MOST_LOST = 500
"""Refusals and failures listed for each prompt set; the rest is counted."""


class OutputView(NamedTuple):
    """One output as it is shown: its table and its plot."""

    output: OutputScores
    rows: Sequence[Row]
    plot: Markup


class MetricView(NamedTuple):
    """One metric as it is shown."""

    metric: MetricScores
    outputs: Sequence[OutputView]


def render_html(comparison: Comparison, runs: Sequence[Run]) -> str:
    """Returns the page; the runs are those of the comparison, and give the images."""
    environment = environment_for_pages()
    columns = {system.name: number for number, system in enumerate(comparison.systems)}
    environment.filters |= {"counted": counted, "shortened": shortened, "fact": fact}
    environment.globals |= {"arrow": arrow, "direction": direction, "missing_text": missing_text, "swatch": swatch}
    return environment.get_template("report.html").render(
        comparison=comparison,
        columns=columns,
        sentence=sentence(comparison),
        about=about(comparison),
        warnings=warnings(comparison),
        methods=methods(comparison),
        headlines=headlines(comparison),
        protocol_warning=protocol_warning,
        metrics=[
            [_view(comparison, section, metric, columns) for metric in section.metrics]
            for section in comparison.sections
        ],
        who=listed(dict.fromkeys(study.who for study in comparison.studies)),
        judged=[
            (
                study,
                by_question(study.analysis, "preferences"),
                by_question(study.analysis, "ranking"),
                _columns(columns, study),
            )
            for study in comparison.studies
        ],
        galleries=galleries(comparison, runs),
        most_lost=MOST_LOST,
    )


def _columns(columns: dict[str, int], study: HumanStudy) -> dict[str, int]:
    """Returns the report's columns, and further ones for systems that only people have judged."""
    strangers = [name for name in study.analysis["systems"] if name not in columns]
    return columns | {name: len(columns) + number for number, name in enumerate(strangers)}


def _view(comparison: Comparison, section: Section, metric: MetricScores, columns: dict[str, int]) -> MetricView:
    views = []
    for output in metric.outputs:
        title = f"{metric.label}, {output.name}, on {section.label}: values with intervals; the table has the numbers"
        rows = category_rows(comparison, section, metric, output)
        views.append(OutputView(output, rows, interval_plot(section, output, title, columns)))
    return MetricView(metric, views)


def swatch(column: int) -> Markup:
    """Returns a system's mark for a legend or a table's head."""
    return Markup('<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true">{}</svg>').format(marker(column, 6, 6))


def fact(value: Any) -> str:
    """Returns a field of a protocol or an option as text."""
    if isinstance(value, str):
        return value
    return "not set" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
