"""Judgements in and out: our own export, and the ratings of others.

An import makes a study without images, whose items and judgements are those of the files; it is analysed like any other.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drawbench.errors import UserError
from drawbench.files import write_atomic
from drawbench.human_eval.design import Design, Option, Question, Screen, design_from
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.store import Store
from drawbench.human_eval.study import OTHERS, SCHEMA_VERSION, Item, Side, Study, study_digest
from drawbench.journal import now
from drawbench.protocol import canonical_json

if TYPE_CHECKING:
    import pandas as pd

EXPORT_VERSION = 1
ALTERED = frozenset({154, 168})
"""Lines of DrawBench whose prompts were changed before they were drawn for the verdicts of GPT-4V."""


_ITS_OWN = ("schema_version", "created", "design", "systems", "secret", "digest")
"""What a study of an import has of its own; the rest of an export's record stays as it is."""


class Rating(NamedTuple):
    """One answer of somebody else's, about one system's image."""

    task: str
    prompt: str
    system: str
    rater: str
    question: str
    answer: str


def table(study: Study, judgements: Sequence[Judgement]) -> pd.DataFrame:
    """Returns judgements with what their items are: one row each, the systems by name."""
    import pandas as pd

    rows = []
    for one in judgements:
        item = study.by_id[one.item]
        row = asdict(one) | {"shown": " | ".join(one.shown)}
        about = {"unit": item.unit, "prompt": item.prompt, "category": item.category}
        # A column of one type: of a control of single sets, the questions with their answers as JSON.
        told = item.control if isinstance(item.control, str | None) else canonical_json(item.control)
        about |= {"control": told}
        winner = (
            dict(zip(("first", "second"), one.shown, strict=False)).get(one.answer) if len(one.shown) == 2 else None
        )
        rows.append({**row, **about, "no_people": item.no_people, "preferred": winner})
    about_items = ["unit", "prompt", "category", "control", "no_people", "preferred"]
    return pd.DataFrame(rows, columns=[*(field.name for field in fields(Judgement)), *about_items])


def export(study: Study, judgements: Sequence[Judgement], out: Path) -> None:
    """Writes judgements as CSV or Parquet (`table`), or as JSON, which can be imported again."""
    suffix = out.suffix.lower()
    if suffix == ".json":
        content = {
            "format": EXPORT_VERSION,
            "study": {name: value for name, value in study.manifest.items() if name != "secret"},
            "items": [asdict(item) for item in study.items],
            "judgements": [asdict(one) for one in judgements],
        }
        write_atomic(out, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
    elif suffix in (".csv", ".parquet"):
        frame = table(study, judgements)
        data = frame.to_csv(index=False).encode() if suffix == ".csv" else frame.to_parquet(None, index=False)
        write_atomic(out, data)
    else:
        raise UserError(f"{out}: an export is written as .csv, .parquet or .json")


def import_ratings(source: Path, kind: str, out: Path) -> Study:
    """Makes a study of somebody's ratings; ``kind``: drawbench (our JSON export), imagenhub or gpt4v."""
    readers: Mapping[str, Callable[[Path], tuple[Design, list[Rating]]]] = {"imagenhub": _imagenhub, "gpt4v": _gpt4v}
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; an import makes a study in a folder of its own")
    if kind == "drawbench":
        return _import_export(source, out)
    if kind not in readers:
        raise UserError(f"--format {kind!r}: allowed are drawbench, {', '.join(readers)}")
    design, ratings = readers[kind](source)
    if not ratings:
        raise UserError(f"{source} holds no ratings")
    items: dict[tuple[str, str, str], Item] = {}
    for one in ratings:
        key = (one.task, one.prompt, one.system)
        if key not in items:
            identity = hashlib.sha256("/".join(key).encode()).hexdigest()[:16]
            items[key] = Item(identity, one.task, 0, one.prompt, None, "", (Side(one.system, ()),))
    systems = list(dict.fromkeys(one.system for one in ratings))
    study = _write(out, design, systems, list(items.values()), {"format": kind, "imported": f"{kind}, {source.name}"})
    at = now()
    judgements = [
        Judgement(
            id=number,
            study=study.digest,
            item=items[one.task, one.prompt, one.system].id,
            rater=one.rater,
            question=one.question,
            answer=one.answer,
            shown=(one.system,),
            position=0,
            seconds=None,
            at=at,
            key=f"import-{number}",
        )
        for number, one in enumerate(ratings, 1)
    ]
    _keep(study, judgements)
    return study


def _write(out: Path, design: Design, systems: Sequence[str], items: Sequence[Item], more: Mapping[str, Any]) -> Study:
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "created": now(),
        "design": asdict(design),
        "systems": list(systems),
        "secret": "",
        **more,
    }
    manifest["digest"] = study_digest(manifest, items)
    write_atomic(out / "items.jsonl", "".join(canonical_json(asdict(item)) + "\n" for item in items).encode())
    write_atomic(out / "study.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    return Study.open(out)


def _keep(study: Study, judgements: Sequence[Judgement]) -> None:
    store = Store(study)
    try:
        store.load(judgements)
    finally:
        store.close()


def _import_export(source: Path, out: Path) -> Study:
    try:
        content = json.loads(source.read_text("utf-8"))
        if content["format"] != EXPORT_VERSION:
            raise ValueError(f"its format is {content['format']!r}, this version reads {EXPORT_VERSION}")
        sides = [tuple(Side(s["system"], tuple(s["images"])) for s in row["sides"]) for row in content["items"]]
        items = [Item(**(row | {"sides": own})) for row, own in zip(content["items"], sides, strict=True)]
        design = design_from(content["study"]["design"], f"{source}: design")
        judgements = [Judgement(**(row | {"shown": tuple(row["shown"])})) for row in content["judgements"]]
        systems = content["study"]["systems"]
        kept = {name: value for name, value in content["study"].items() if name not in _ITS_OWN}
        before = str(content["study"].get("imported", "")).partition(",")[0]
        kind = content["study"].get("format") or (before if before in OTHERS else None)
        origin = {**kept, "format": kind, "imported": f"export of the study {content['study']['digest']}"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source} is not an export of a study as JSON ({type(error).__name__}: {error})") from error
    study = _write(out, design, systems, items, origin)
    _keep(study, judgements)
    return study


def _scale(name: str, source: str, questions: Mapping[str, str], options: Sequence[Option]) -> Design:
    asked = tuple(Question(question, text, tuple(options)) for question, text in questions.items())
    return Design(name, source, "single", (Screen(asked, shows_caption=True),), "", raters=1, least_seconds=0.0)


def _imagenhub(folder: Path) -> tuple[Design, list[Rating]]:
    """Reads ``<task>_rater<n>.tsv``: a row per image, a column per system, each cell ``[SC, PQ]`` in 0, 0.5, 1."""
    files = sorted(folder.glob("*_rater*.tsv"))
    if not files:
        raise UserError(f"{folder} has no <task>_rater<n>.tsv")
    options = [Option(f"{value:g}", f"{value:g}", value) for value in (0.0, 0.5, 1.0)]
    questions = {"SC": "Semantic consistency", "PQ": "Perceptual quality"}
    design = _scale("imagenhub", "Ku et al. 2024, ImagenHub: three raters for each image", questions, options)
    return design, [rating for file in files for rating in _tsv(file, list(questions))]


def _tsv(file: Path, questions: Sequence[str]) -> Iterator[Rating]:
    task, _, rater = file.stem.rpartition("_")
    with open(file, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            uid = row.pop("uid")
            for system, cell in row.items():
                try:
                    values = [float(value) for value in json.loads(cell)]
                    if len(values) != len(questions) or not set(values) <= {0.0, 0.5, 1.0}:
                        raise ValueError("two of 0, 0.5 and 1 are needed")
                except (ValueError, TypeError) as error:
                    raise UserError(f"{file}: {uid}, {system}: {cell!r} is no rating ({error})") from error
                for question, value in zip(questions, values, strict=True):
                    yield Rating(task, uid, system, rater, question, f"{value:g}")


def _gpt4v(folder: Path) -> tuple[Design, list[Rating]]:
    """Reads verdicts ``{".../PROMPT_SAMPLE.png": {"correct": …}}``, a file for each system.

    Some files number the prompts from 0 and some from 1; here line 1 is 001, as everywhere. The prompts that were altered
    are a task of their own.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"{folder} has no <system>.json")
    options = [Option("yes", "Correct", 1.0), Option("no", "Incorrect", 0.0)]
    source = "openai/dalle3-eval-samples: verdicts of GPT-4V, no person, on four images for each prompt"
    design = _scale("gpt4v", source, {"correct": "Does the image show what the caption says?"}, options)
    ratings = []
    for file in files:
        verdicts = json.loads(file.read_text("utf-8"))
        found = {name: re.search(r"(\d+)_(\d+)\.png$", name) for name in verdicts}
        if lost := [
            name for name, match in found.items() if match is None or type(verdicts[name].get("correct")) is not bool
        ]:
            raise UserError(f"{file}: {lost[0]!r} is no verdict on an image PROMPT_SAMPLE.png")
        numbers = {name: (int(match[1]), int(match[2])) for name, match in found.items() if match}
        from_zero = min(number for number, _ in numbers.values()) == 0
        for name, (number, sample) in sorted(numbers.items(), key=lambda pair: pair[1]):
            line = number + from_zero
            task = "altered prompts" if line in ALTERED else "drawbench"
            answer = "yes" if verdicts[name]["correct"] else "no"
            ratings.append(Rating(task, f"{line:03d}/{sample}", file.stem, "gpt-4v", "correct", answer))
    return design, ratings
