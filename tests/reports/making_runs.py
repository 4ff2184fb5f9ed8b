"""Small runs with known scores, made as the rest of the suite makes them."""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image

from drawbench.interfaces import Output, Prompt, PromptSet, Score
from drawbench.intervals import estimate
from drawbench.journal import Journal, Record, now
from drawbench.prompts import make_prompt_set
from drawbench.protocol import make_protocol
from drawbench.scores import ScoreFile, images_digest, scores_path, write_scores
from drawbench.store import Manifest, Plan, Run, System, image_seed

Value = Callable[[Prompt, int], float]

FAITHFUL = {"share": Output(higher_is_better=True, kind="mean", main=True)}


def prompts(count: int = 24, categories: Sequence[str] = ("red", "blue"), name: str = "toys") -> PromptSet:
    """As many prompts, the categories one after the other in equal parts."""
    part = -(-count // len(categories)) if categories else count
    texts = [
        (f"{i:03d}", f"toy number {i}", categories[(i - 1) // part] if categories else None)
        for i in range(1, count + 1)
    ]
    return make_prompt_set(name, [Prompt(*text) for text in texts])


def png(colour: tuple[int, int, int], size: int = 16) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (size, size), colour).save(stream, "PNG")
    return stream.getvalue()


def noise(bits: np.random.Generator, size: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(bits.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def make_run(
    path: Path,
    prompt_set: PromptSet,
    name: str = "alpha",
    *,
    samples: int = 1,
    options: Mapping[str, Any] = {},
    image: Callable[[Prompt, int], bytes] = lambda prompt, sample: png((200, 30, 30)),
    skip: Sequence[str] = (),
    refuse: Mapping[str, str] = {},
    fail: Mapping[str, str] = {},
) -> Run:
    """A run of every prompt but those of the ids in ``skip``; ``refuse`` and ``fail`` say why by id."""
    system = System(name, "toy", dict(options), {"toy.bin": hashlib.sha256(name.encode()).hexdigest()})
    plan = Plan(None, samples)
    manifest = Manifest(
        system,
        prompt_set.name,
        prompt_set.sha256,
        len(prompt_set.prompts),
        0,
        "fp32",
        plan,
        4,
        "2024-05-01T00:00:00+00:00",
    )
    run = Run.start(path, manifest, prompt_set)
    draw(run, image, skip, refuse, fail)
    return run


def draw(
    run: Run,
    image: Callable[[Prompt, int], bytes],
    skip: Sequence[str] = (),
    refuse: Mapping[str, str] = {},
    fail: Mapping[str, str] = {},
) -> None:
    """Writes the images of a run and journals them, without waiting for the disk."""
    lines = []
    for prompt, sample, seed in run.items():
        if prompt.id in skip:
            continue
        if reason := refuse.get(prompt.id) or fail.get(prompt.id):
            status = "refused" if prompt.id in refuse else "failed"
            lines.append(Record(prompt.id, sample, status, seed, now(), reason=reason))
            continue
        data = image(prompt, sample)
        file = run.image_path(prompt.id, sample)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        lines.append(
            Record(prompt.id, sample, "drawn", seed, now(), sha256=sha256, bytes=len(data), width=16, height=16)
        )
    with Journal(run.path) as journal:
        for record in lines:
            journal.write(record)


def redraw(run: Run, prompt_id: str) -> None:
    """Draws one image again, otherwise: scores from before are stale."""
    data = png((1, 2, 3))
    run.image_path(prompt_id, 0).write_bytes(data)
    with Journal(run.path) as journal:
        seed = image_seed(run.manifest.seed, prompt_id, 0)
        journal.write(Record(prompt_id, 0, "drawn", seed, now(), sha256=hashlib.sha256(data).hexdigest()))


def score(
    run: Run,
    metric: str,
    values: Mapping[str, Value],
    outputs: Mapping[str, Output] = FAITHFUL,
    *,
    fields: Mapping[str, Any] = {},
    notes: Mapping[str, Callable[[Prompt], str]] = {},
    remarks: Sequence[str] = (),
    verified: bool = True,
    table: bool = True,
) -> ScoreFile:
    """Scores a run: one function of (prompt, sample) for each output."""
    records = run.drawn()
    about = [run.prompts[record.prompt] for record in records]
    columns = {
        name: np.array([value(p, r.sample) for p, r in zip(about, records, strict=True)], float)
        for name, value in values.items()
    }
    protocol = make_protocol({"metric": metric, "prompts": run.prompt_set.sha256, "n": str(len(records)), **fields})
    scores: list[Score] = []
    for name, output in outputs.items():
        for category in (None, *dict.fromkeys(prompt.category for prompt in about if prompt.category)):
            if output.kind == "set" and category is not None:
                continue
            at = [i for i, prompt in enumerate(about) if category in (None, prompt.category)]
            ids = [records[i].prompt for i in at]
            found = estimate(columns[name][at], ids, "mean" if output.kind == "set" else output.kind)
            for shown in (None, name) if output.main else (name,):
                row = (run.path.name, run.manifest.system.name, metric, shown, category, *found)
                scores.append(Score(*row, output.higher_is_better, output.kind, protocol))
    main = next(name for name, output in outputs.items() if output.main)
    file = ScoreFile(
        metric,
        main,
        protocol,
        images_digest(records),
        scores,
        remarks,
        verified,
        now(),
        scores_path(run.path, metric, protocol),
        rescaled={name: output.rescales for name, output in outputs.items() if output.rescales},
    )
    write_scores(file)
    if table and any(output.kind != "set" for output in outputs.values()):
        known = {"prompt": [r.prompt for r in records], "sample": [r.sample for r in records]}
        said = {f"note_{name}": [note(prompt) for prompt in about] for name, note in notes.items()}
        own = {"category": [prompt.category for prompt in about]}
        pd.DataFrame({**known, **own, **columns, **said}).to_parquet(file.path.with_suffix(".parquet"), index=False)
    return file
