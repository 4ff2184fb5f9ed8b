"""COCO captions as prompt sets: the one public list of 30,000 that is known by its digest, and one's own draw."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from pathlib import Path
from typing import Any

from drawbench.download import Published, fetched
from drawbench.errors import UserError
from drawbench.interfaces import Prompt, PromptSet
from drawbench.progress import say
from drawbench.prompts import make_prompt_set
from drawbench.weights import cache_folder, missing

COCO_30K_SHA256 = "42c57b188c8f1f8a77cddfa11cde89e83fcbdd4dcd4fc6c840fb4e046d395383"
"""Of the file ``coco_30k.csv`` as it is published in the repository rohitgandikota/erasing."""

CAPTIONS = "captions_val2014.json"
"""The official captions of the 2014 validation images, among the annotations on cocodataset.org."""

_COCO_30K = Published("coco-30k", "the list coco-30k", 2_460_030, "captions: COCO consortium, CC BY 4.0")


def coco_30k(*, file: Path | None = None) -> PromptSet:
    """Returns 30,000 captions of COCO's 2014 validation images, one an image, as the public list coco_30k.csv has them.

    Ids are the 12-digit image ids, blanks around a caption are stripped, the list's own seeds are not used. 29,480 of
    the captions differ.
    """
    file = file or fetched(_COCO_30K, _fault)
    data = _read(file, "the list coco-30k")
    if wrong := _fault(data):
        raise UserError(f"{file} is not the list coco-30k: {wrong}; to use it as a set of your own: --prompts {file}")
    rows = csv.DictReader(io.StringIO(data.decode(), newline=""))
    return make_prompt_set("coco-30k", [Prompt(row["image_id"], row["prompt"].strip()) for row in rows])


def coco(*, n: int = 30_000, seed: int = 0, file: Path | None = None) -> PromptSet:
    """Draws n of the images in captions_val2014.json, each with the caption of its lowest annotation id.

    The draw is Python's ``random.Random(seed).sample`` of the image ids in rising order; the prompts stand in the order
    of the draw, so that --limit takes a random part. The official file's digest is not known here: what was read is on
    record with each prompt, and the set's own digest tells draws apart.
    """
    place = cache_folder() / "prompts" / CAPTIONS
    if file is None and not place.is_file():
        what = f"COCO's {CAPTIONS}, from the 2014 annotations on cocodataset.org"
        raise missing(what, size="some 30 MB", place=place, instead="name it: --prompts coco=FILE")
    file = file or place
    data = _read(file, CAPTIONS)
    captions = _first_captions(file, data)
    if not 1 <= n <= len(captions):
        raise UserError(f"--set coco.n={n}: {file} has {len(captions)} images with captions; give 1 to {len(captions)}")
    digest = hashlib.sha256(data).hexdigest()
    say(f"warning: {file} is taken as COCO's {CAPTIONS} unverified (sha256 {digest}); it is on record with each prompt")
    drawn = random.Random(seed).sample(sorted(captions), n)  # noqa: S311  a draw that can be repeated, no secret
    return make_prompt_set(
        "coco",
        [
            Prompt(
                f"{image:012d}",
                captions[image][1],
                metadata={"annotation_id": str(captions[image][0]), "captions_sha256": digest},
            )
            for image in drawn
        ],
    )


def _read(file: Path, what: str) -> bytes:
    try:
        return file.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}; give the path of {what}") from error


def _fault(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return "" if digest == COCO_30K_SHA256 else f"its sha256 is {digest[:12]}…, not {COCO_30K_SHA256[:12]}…"


def _first_captions(file: Path, data: bytes) -> dict[int, tuple[int, str]]:
    """Returns each image's lowest annotation id and its caption, surrounding blanks stripped."""
    first: dict[int, tuple[int, str]] = {}
    try:
        annotations: Any = json.loads(data)["annotations"]
        for row in annotations:
            image, annotation, caption = row["image_id"], row["id"], row["caption"]
            if not (isinstance(image, int) and isinstance(annotation, int) and isinstance(caption, str)):
                raise TypeError(f"image_id, id or caption of {row} is of the wrong type")
            if image not in first or annotation < first[image][0]:
                first[image] = annotation, caption.strip()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{file} is not COCO's captions ({type(error).__name__}: {error}); give {CAPTIONS}, which has a list "
            "'annotations' of image_id, id and caption"
        ) from error
    return first
