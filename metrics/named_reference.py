"""References that have a name: statistics files in the cache, and COCO's validation photographs, which are checked.

``$DRAWBENCH_CACHE/references/<name>.<network's key>.npz``: one file for each network and way of preparing its input.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from drawbench.errors import UserError
from drawbench.store import Run
from drawbench.weights import cache_folder

COCO_VAL2014 = "coco-val2014"
COCO_COUNT = 40_504
"""Photographs of COCO's 2014 validation set."""
COCO_NAMES_SHA256: str | None = None
"""sha256 of the sorted file names joined by "\\n", once it is computed from the official list: the field ``file_name`` of
``images`` in instances_val2014.json, or the names in val2014.zip. None: no copy of that list was at hand, so count and form
of the names are checked, and every statistics file of this name says "unverified" and what its own digest is."""

_COCO_NAME = re.compile(r"COCO_val2014_([0-9]{12})\.jpg")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Checked(NamedTuple):
    """What is known of a set of photographs that is to have COCO's name."""

    words: str
    names_sha256: str


def check_name(name: str) -> None:
    """Refuses a name that cannot be a reference's."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"--name {name!r}: a reference's name has 1 to 63 of a-z, 0-9 and -, and begins with none of them"
        )


def is_name(given: str) -> bool:
    """Says whether ``--reference`` may be a name: nothing lies there, and it has a name's form."""
    return _NAME.fullmatch(given) is not None and not Path(given).exists()


def named_file(name: str, network: str) -> Path:
    """Returns where the statistics of a name lie, by the network's key."""
    return cache_folder() / "references" / f"{name}.{network[:16]}.npz"


def others_of(name: str, network: str) -> list[Path]:
    """Returns the statistics of the same name that were made with another network or preparation."""
    mine = named_file(name, network)
    return [file for file in sorted(mine.parent.glob(f"{name}.*.npz")) if file != mine]


def how_to_make(name: str) -> str:
    """Returns the command that makes a named reference."""
    return f"drawbench reference make DIR --name {name}, with the same --metric, --dtype and --set"


def check_coco(files: Sequence[Path]) -> Checked:
    """Holds file names against COCO's validation set of 2014.

    Raises:
        UserError: another number of files, names of another form, or another list where the official one is known.
    """
    names = sorted(file.name for file in files)
    if strange := [name for name in names if not _COCO_NAME.fullmatch(name)]:
        raise UserError(
            f"--name {COCO_VAL2014}: {len(strange)} of {len(names)} images are not called COCO_val2014_NNNNNNNNNNNN.jpg, the "
            f"first is {strange[0]}; give the folder that val2014.zip unpacks to"
        )
    if len(names) != COCO_COUNT or len(set(names)) != COCO_COUNT:
        raise UserError(
            f"--name {COCO_VAL2014}: {len(set(names))} photographs ({len(names)} files); the set has {COCO_COUNT}: give the "
            "folder that val2014.zip unpacks to, or another --name"
        )
    found = hashlib.sha256("\n".join(names).encode()).hexdigest()
    if COCO_NAMES_SHA256 is None:
        return Checked(
            f"COCO val2014, all {COCO_COUNT} photographs by their names' count and form (unverified: the digest of the official "
            "list is not known here)",
            found,
        )
    if found != COCO_NAMES_SHA256:
        raise UserError(
            f"--name {COCO_VAL2014}: the {COCO_COUNT} names are not those of the official list (sha256 {found[:16]}…, the "
            f"list's is {COCO_NAMES_SHA256[:16]}…); unpack val2014.zip again"
        )
    return Checked(f"COCO val2014, all {COCO_COUNT} photographs, names as in the official list", found)


def matched(files: Sequence[Path], run: Run) -> list[Path]:
    """Returns the photographs whose COCO image id is that of a prompt of which the run has an image.

    The id is the last 12 digits of a file's name (``COCO_val2014_000000000042.jpg``, ``000000000042.jpg``).

    Raises:
        UserError: prompts that are not COCO image ids, two files of one id, or prompts without a photograph.
    """
    wanted = sorted({record.prompt for record in run.drawn()})
    if not wanted or (strange := [prompt for prompt in wanted if not re.fullmatch(r"[0-9]{12}", prompt)]):
        what = f"its prompt {strange[0]!r} is none" if wanted else "it has no images"
        raise UserError(
            f"--matching {run.path}: photographs are matched by COCO's 12-digit image ids, and {what}; give a run of coco-30k "
            "or coco"
        )
    by_id: dict[str, Path] = {}
    for file in files:
        if found := re.search(r"(?<![0-9])([0-9]{12})$", file.stem):
            if found[1] in by_id:
                raise UserError(f"--matching {run.path}: {by_id[found[1]]} and {file} have one image id; keep one")
            by_id[found[1]] = file
    if lost := [prompt for prompt in wanted if prompt not in by_id]:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise UserError(
            f"--matching {run.path}: {len(lost)} of {len(wanted)} prompts have no photograph: {', '.join(lost[:5])}{more}; give "
            "the folder of all photographs"
        )
    return [by_id[prompt] for prompt in wanted]
