"""A comparison as JSON: everything that is known, in flat lists."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from drawbench.reports.comparison import Comparison
from drawbench.reports.pairs import FLIPS, LEVEL, SEED, Contrast
from drawbench.reports.wording import about, methods, sentence, warnings
from drawbench.scores import score_to_json

SCHEMA_VERSION = 1


def render_json(comparison: Comparison) -> str:
    """Returns everything that is known, as JSON without NaN."""
    return json.dumps(_content(comparison), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _content(comparison: Comparison) -> dict[str, Any]:
    sections = comparison.sections
    scored = [(section, metric) for section in sections for metric in section.metrics]
    lost = [{"prompt_set": section.label, **asdict(it)} for section in sections for it in section.lost]
    return {
        "schema_version": SCHEMA_VERSION,
        "drawbench": comparison.drawbench,
        "created": comparison.created,
        "sentence": sentence(comparison),
        "about": about(comparison),
        "warnings": warnings(comparison),
        "systems": [asdict(system) | {"digest": system.digest} for system in comparison.systems],
        "prompt_sets": [
            {
                "label": section.label,
                "name": section.prompt_set,
                "sha256": section.sha256,
                "prompts": section.prompt_count,
                "categories": list(section.categories),
            }
            for section in sections
        ],
        "runs": [{"prompt_set": section.label, **asdict(run)} for section in sections for run in section.runs],
        "scores": [
            {"prompt_set": section.label, "label": metric.label, **score_to_json(score)}
            for section, metric in scored
            for file in metric.files.values()
            for score in file.scores
        ],
        "comparisons": [_contrast(comparison, contrast) for contrast in comparison.contrasts],
        "missing": [
            {"prompt_set": section.label, "system": run.system, "planned": run.planned, "drawn": run.drawn}
            | {"refused": run.refused, "failed": run.failed, "not_drawn": run.undrawn}
            for section in sections
            for run in section.runs
            if run.drawn < run.planned
        ],
        "refusals": [it for it in lost if it["status"] == "refused"],
        "failures": [it for it in lost if it["status"] == "failed"],
        "protocol_differences": [
            {"prompt_set": section.label, "metric": it.metric, "a": it.a, "b": it.b, "compared": not it.refused}
            | {"fields": {field: list(values) for field, values in it.fields.items()}}
            for section, metric in scored
            for it in metric.mismatches
        ],
        "protocols": [
            {"prompt_set": section.label, "metric": metric.metric, "label": metric.label, "system": system}
            | {"hash": file.protocol.hash, "fields": dict(file.protocol.fields), "verified": file.verified}
            | {"notes": list(file.notes), "at": file.at, "images_sha256": file.images_sha256}
            for section, metric in scored
            for system, file in metric.files.items()
        ],
        "stale": [
            {"prompt_set": section.label, "system": system, "metric": metric}
            for section in sections
            for system, metric in section.stale
        ],
        "skipped": dict(comparison.skipped),
        "studies": [
            {
                "label": study.label,
                "sentences": study.sentences(),
                "remarks": list(study.remarks),
                "analysis": study.analysis,
            }
            for study in comparison.studies
        ],
        "methods": {"level": LEVEL, "permutation_seed": SEED, "permutation_flips": FLIPS, "text": methods(comparison)},
    }


def _contrast(comparison: Comparison, contrast: Contrast) -> dict[str, Any]:
    subject = contrast.subject._asdict()
    labels = {section.sha256: section.label for section in comparison.sections}
    row = {name: getattr(contrast, name) for name in Contrast.__dataclass_fields__ if name != "subject"}
    row["interval"] = contrast.interval._asdict() if contrast.interval else None
    return subject | {"prompt_set": labels[contrast.subject.prompt_set]} | row
