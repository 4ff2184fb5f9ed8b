"""The same prompts drawn by each system, side by side: the first sample of each, whatever it looks like."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import PIL.Image

from drawbench.interfaces import Prompt, PromptSet
from drawbench.journal import Record
from drawbench.prompts import select
from drawbench.reports.comparison import Comparison, Section
from drawbench.reports.digits import plain
from drawbench.store import Place, Run

MOST_PROMPTS = 200
MOST_IMAGES = 4_000
"""In a report; many systems show fewer prompts."""
MOST_BASE64 = 14_000_000
"""Characters of all images together: the page stays under 20 MB."""
LADDER = (
    *((512, 85), (512, 75), (448, 75), (384, 75), (384, 65), (320, 70), (256, 70), (256, 55), (192, 60)),
    *((128, 60), (96, 50), (64, 40), (48, 30)),
)
"""(longest side, JPEG quality), the best first."""
TRIED = 24
"""Images on which a rung of the ladder is tried first."""
SAMPLE = 0
LONGEST_TEXT = 600


class Picture(NamedTuple):
    """One system's image of a prompt."""

    system: str
    data: str | None
    """JPEG in base64; None where there is no image."""
    why: str
    """Why there is no image."""
    values: Sequence[tuple[str, str]]
    """Metric → this image's value of its main output."""
    notes: Sequence[tuple[str, str]]
    """What a metric noted: what was read, why it failed."""


class Gallery(NamedTuple):
    """Images of one prompt set."""

    systems: Sequence[str]
    rows: Sequence[tuple[Prompt, Sequence[Picture]]]
    total: int
    """Prompts that any of the runs planned; the rows are taken from them round-robin over the categories."""
    side: int
    """The longest side of an image, in pixels."""
    quality: int


class _Shown(NamedTuple):
    place: Place | None
    why: str


def galleries(comparison: Comparison, runs: Sequence[Run]) -> list[Gallery]:
    """Returns each section's images; all of them together stay within `MOST_BASE64` characters."""
    of_section = [
        {r.manifest.system.name: r for r in runs if r.prompt_set.sha256 == s.sha256} for s in comparison.sections
    ]
    most = max(1, min(MOST_PROMPTS, MOST_IMAGES // max(1, sum(map(len, of_section)))))
    planned = [_planned(list(own.values())) for own in of_section]
    chosen = [select(part, str(most)) for part in planned]
    places = [
        {name: _places(run, prompts) for name, run in own.items()}
        for own, prompts in zip(of_section, chosen, strict=True)
    ]
    files = [shown.place for own in places for column in own.values() for shown in column if shown.place is not None]
    encoded, side, quality = _encode(files)
    found = []
    for section, own, part, prompts in zip(comparison.sections, places, planned, chosen, strict=True):
        facts = _facts(section, {prompt.id for prompt in prompts})
        rows = []
        for index, prompt in enumerate(prompts):
            pictures = [_picture(name, own[name][index], encoded, facts.get((name, prompt.id))) for name in own]
            rows.append((prompt, pictures))
        found.append(Gallery(list(own), rows, len(part.prompts), side, quality))
    return found


def _planned(runs: Sequence[Run]) -> PromptSet:
    ids = {item.prompt.id for run in runs for item in run.items() if item.sample == SAMPLE}
    whole = runs[0].prompt_set
    return PromptSet(whole.name, [prompt for prompt in whole.prompts if prompt.id in ids], whole.sha256)


def _places(run: Run, prompts: Sequence[Prompt]) -> list[_Shown]:
    records = run.records()
    planned = {item.prompt.id for item in run.items()}
    return [_shown(run, records.get((prompt.id, SAMPLE)), prompt.id in planned) for prompt in prompts]


def _shown(run: Run, record: Record | None, planned: bool) -> _Shown:
    if not planned:
        return _Shown(None, "not planned")
    if record is None:
        return _Shown(None, "not drawn")
    if record.status != "drawn":
        return _Shown(None, f"{record.status}: {shortened(record.reason or 'no reason was given')}")
    place = run.place(record)
    return _Shown(place, "") if place.is_there() else _Shown(None, "drawn, but the file is gone")


def _picture(system: str, shown: _Shown, encoded: Mapping[Place, str | None], facts: _Facts | None) -> Picture:
    data = encoded[shown.place] if shown.place is not None else None
    why = shown.why or ("" if data else "drawn, but the file cannot be read")
    return Picture(system, data, why, *(facts or _Facts([], [])))


class _Facts(NamedTuple):
    values: list[tuple[str, str]]
    notes: list[tuple[str, str]]


def _facts(section: Section, prompts: set[str]) -> dict[tuple[str, str], _Facts]:
    """Returns what the metrics said of each image, by system and prompt."""
    facts: dict[tuple[str, str], _Facts] = {}
    for metric in section.metrics:
        mains = [output.name for output in metric.outputs if output.main]
        for system, file in metric.files.items():
            if not file.path.with_suffix(".parquet").is_file():
                continue
            table = file.table()
            of_sample = (
                table["sample"] == SAMPLE if "sample" in table else True
            )  # Else one value for all of a prompt's.
            shown = table[table["prompt"].isin(prompts) & of_sample]
            for row in shown.to_dict("records"):
                own = facts.setdefault((system, row["prompt"]), _Facts([], []))
                values = [row[name] for name in mains if name in row]
                own.values.extend((metric.label, plain(value)) for value in values if value == value)  # Not NaN.
                notes = [(key.removeprefix("note_"), row[key]) for key in row if key.startswith("note_")]
                own.notes.extend((name, shortened(text)) for name, text in notes if isinstance(text, str) and text)
    return facts


def shortened(text: str) -> str:
    """Returns a text that somebody else wrote, cut where it is very long."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"


def _encode(files: Sequence[Place]) -> tuple[dict[Place, str | None], int, int]:
    """Returns all images on the best rung of the ladder that they fit on: what a few of them take is tried first."""
    few = files[:: max(1, len(files) // TRIED)]
    rungs = list(LADDER)
    with ThreadPoolExecutor() as pool:
        while len(rungs) > 1:
            side, quality = rungs.pop(0)
            for part in (few, files):
                encoded = dict(zip(part, pool.map(lambda file: _jpeg(file, side, quality), part), strict=True))  # noqa: B023  drained at once
                size = sum(len(data) for data in encoded.values() if data)
                if size * len(files) > MOST_BASE64 * len(part):
                    break
            else:
                return encoded, side, quality
        side, quality = rungs[0]
        return dict(zip(files, pool.map(lambda file: _jpeg(file, side, quality), files), strict=True)), side, quality


def _jpeg(place: Place, side: int, quality: int) -> str | None:
    stream = io.BytesIO()
    try:
        with PIL.Image.open(io.BytesIO(place.read())) as image:
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, PIL.Image.DecompressionBombError):  # Pillow's words for a damaged PNG.
        return None
    rgb.thumbnail((side, side), PIL.Image.Resampling.LANCZOS)
    rgb.save(stream, "JPEG", quality=quality, optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
