"""Scores on disk: what a metric said of a run, with its protocol, and beside it the values of each image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.files import sha256_file, write_atomic
from drawbench.interfaces import Interval, MetricProtocol, Score
from drawbench.journal import Record
from drawbench.protocol import digest

SCHEMA_VERSION = 1


class ScoreFile(NamedTuple):
    """What one metric said of one run at one time."""

    metric: str
    """Name or alias."""
    main: str
    """The name of its main output."""
    protocol: MetricProtocol
    images_sha256: str
    """Of the images that were scored; another digest than the run's own means that they have changed since."""
    scores: Sequence[Score]
    notes: Sequence[str]
    verified: bool
    at: str
    path: Path
    table_sha256: str | None = None
    """Of the Parquet file with the per-image values; None: a set metric, which has none."""
    drawbench: str = __version__
    """What computed it: another version computes it anew."""
    left_out: Mapping[str, Sequence[float]] = {}
    """Of a set metric: output name → its values without each group of prompts, from which differences have their interval."""
    groups_sha256: str | None = None
    """Of the prompts of each group: two sets are paired where it is the same."""
    rescaled: Mapping[str, str] = {}
    """Output name → the output that it is times a constant."""

    def table(self) -> Any:
        """Returns the per-image values as a pandas DataFrame: prompt, sample, category, outputs, ``note_…``.

        Of a prompt metric it has a row for each prompt, and ``samples``, how many images that has, in place of ``sample``.
        """
        import pandas as pd

        if not self.is_whole():
            again = "delete it and score the run again"
            raise UserError(f"{self.path.with_suffix('.parquet')} is not the table that was written; {again}")
        return pd.read_parquet(self.path.with_suffix(".parquet"))

    def is_whole(self) -> bool:
        """Says whether the per-image values are there as they were written."""
        table = self.path.with_suffix(".parquet")
        return self.table_sha256 is None or (table.is_file() and sha256_file(table) == self.table_sha256)


def images_digest(records: Sequence[Record]) -> str:
    """Returns the digest of a set of images, in the order given: of their ids, samples and sha256."""
    return digest([[record.prompt, record.sample, record.sha256] for record in records])


def scores_path(run: Path, metric: str, protocol: MetricProtocol) -> Path:
    """Returns where a metric's scores lie; the per-image values lie beside it as ``.parquet``."""
    return run / "scores" / f"{metric}.{protocol.hash[:8]}.json"


def score_to_json(score: Score) -> dict[str, Any]:
    """Returns a score as JSON: an interval is an object, the protocol ``{"hash", "fields"}``."""
    row = {name: getattr(score, name) for name in Score.__dataclass_fields__}
    row["interval"] = score.interval._asdict() if score.interval else None
    row["protocol"] = score.protocol._asdict()
    return row


def score_from_json(row: Mapping[str, Any]) -> Score:
    """Reads what `score_to_json` wrote."""
    interval = Interval(**row["interval"]) if row["interval"] else None
    return Score(**{**row, "interval": interval, "protocol": MetricProtocol(**row["protocol"])})


def write_scores(file: ScoreFile) -> None:
    """Writes a metric's scores, where they are not what is there; the protocol is kept once for all of them."""
    scores = [score_to_json(score) | {"protocol": None} for score in file.scores]
    content = file._asdict() | {"protocol": file.protocol._asdict(), "scores": scores, "schema_version": SCHEMA_VERSION}
    del content["path"]
    data = (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    if not file.path.is_file() or file.path.read_bytes() != data:
        write_atomic(file.path, data)


def read_scores(path: Path) -> ScoreFile:
    """Reads one file of scores."""
    try:
        content = json.loads(path.read_text("utf-8"))
        protocol = MetricProtocol(**content["protocol"])
        scores = [score_from_json(row | {"protocol": content["protocol"]}) for row in content["scores"]]
        names = [name for name in ScoreFile._fields if name not in ("protocol", "scores", "path")]
        later: dict[str, Any] = {
            "left_out": {},
            "groups_sha256": None,
            "rescaled": {},
        }  # Files from before they were kept lack them.
        content = later | content
        return ScoreFile(**{name: content[name] for name in names}, protocol=protocol, scores=scores, path=path)
    except (ValueError, KeyError, TypeError) as error:
        what = f"{path} cannot be read ({type(error).__name__}: {error})"
        raise UserError(f"{what}; delete it and score the run again") from error
