"""FID-30K (Saharia et al. 2022, section 3 and table 1): whether a run is one of it, and where its protocol is not the paper's.

The paper says: 30,000 captions drawn at random from COCO's validation set, an image each at 256x256, no re-ranking, compared
with the full validation set. It does not say which list, year, crop, resize and Inception.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from drawbench.journal import Record
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.inception_weights import STATE_DICT, TORCHSCRIPT
from drawbench.metrics.named_reference import COCO_COUNT
from drawbench.metrics.reference import fields_of
from drawbench.store import Run

COUNT = 30_000
COCO_30K_PROMPTS = "c45995195f7ffa37ec4a1dfff132e65e3d43e87bf6fb13b25eef94a1ca7b684b"
"""Digest of the prompt set ``coco-30k``: a set of one's own may have its name."""

Verdict = Literal["same", "differs", "not said"]


class Row(NamedTuple):
    """One point of the protocol: the paper's, and this number's."""

    what: str
    paper: str
    here: str
    verdict: Verdict
    """``not said``: the paper leaves it open, so it may be another."""


def lacking(run: Run) -> list[str]:
    """Returns what a run lacks of FID-30K, in words; nothing where it is whole."""
    found = []
    plan, records = run.manifest.plan, run.records()
    planned = [(item.prompt.id, item.sample) for item in run.items()]
    name, prompts = run.manifest.prompt_set, len({prompt for prompt, _ in planned})
    if name not in ("coco", "coco-30k"):
        found.append(f"its prompts are {name}, not coco-30k or coco")
    elif name == "coco-30k" and run.manifest.prompt_set_sha256 != COCO_30K_PROMPTS:
        found.append("its prompts are called coco-30k and are another list")
    if prompts != COUNT:
        found.append(f"it has {prompts} prompts, not {COUNT}")
    if plan.samples != 1:
        found.append(f"it has {plan.samples} samples of a prompt, not one")
    states = Counter(records[key].status if key in records else "not drawn" for key in planned)
    if others := [f"{count} {state}" for state, count in sorted(states.items()) if state != "drawn"]:
        found.append(f"of its {len(planned)} images {', '.join(others)}")
    return found


def name_of(run: Run) -> str:
    """Returns what the number is called: FID-30K of a run that is one, else by its number of images."""
    return "fid-30k" if not lacking(run) else f"fid-{len(run.drawn())}"


def against_paper(run: Run, metric: FrechetDistance) -> list[Row]:
    """Returns the points of the protocol, each beside what the paper says of it."""
    records, fields = run.drawn(), fields_of(metric.network)
    drawn_at = {(record.width, record.height) for record in records}
    network = _of_network(fields, drawn_at == {(256, 256)})
    return [*_of_images(run, records), *_of_reference(metric, metric.reference.fields), *network]


def _of_images(run: Run, records: Sequence[Record]) -> Iterator[Row]:
    n, drawn = len(records), len({record.prompt for record in records})
    here = f"{n} images of {drawn} captions"
    yield Row("n", "30,000 images, one a caption", here, "same" if n == drawn == COUNT else "differs")
    digest = run.manifest.prompt_set_sha256[:12]
    lists = {
        "coco-30k": "the public list coco-30k, one caption an image",
        "coco": "one's own draw, one caption an image",
    }
    words = f"{lists.get(run.manifest.prompt_set, f'the set {run.manifest.prompt_set}')} ({digest})"
    own = run.manifest.prompt_set not in lists
    yield Row(
        "captions",
        "drawn at random from COCO's validation set; the list is not published",
        words,
        "differs" if own else "not said",
    )
    sizes = Counter(f"{record.width}x{record.height}" for record in records)
    shown = ", ".join(f"{size} ({count})" if len(sizes) > 1 else size for size, count in sizes.most_common(3))
    yield Row("images drawn at", "256x256", shown, "same" if set(sizes) == {"256x256"} else "differs")
    codecs = Counter(str(record.facts.get("source_codec", "PNG")) for record in records)
    lossy = sum(count for codec, count in codecs.items() if codec not in ("PNG", "BMP", "TIFF", "PPM"))
    kept = "PNG" if not lossy else f"PNG, of which {lossy} were {', '.join(c for c in codecs if c != 'PNG')} before"
    yield Row("codec of the images", "as drawn (not said otherwise)", kept, "differs" if lossy else "not said")
    lost = len(run.items()) - n
    yield Row(
        "left out", "none (no re-ranking, no filter)", str(lost) if lost else "none", "differs" if lost else "same"
    )


def _of_reference(metric: FrechetDistance, fields: Mapping[str, str]) -> Iterator[Row]:
    n, words = metric.reference.n, metric.reference.images
    whole = "unknown" if n is None else f"{n:,}"
    yield Row(
        "reference",
        f"the full validation set (year not said; COCO 2014 has {COCO_COUNT:,} photographs)",
        f"{whole} images: {words}",
        "not said" if n == COCO_COUNT else "differs",
    )
    before = fields.get("resize before", "not said by the statistics' file")
    yield Row(
        "photographs brought to 256x256", "not said (GLIDE: centre crop; older work: squeezed)", before, "not said"
    )


def _of_network(fields: Mapping[str, str], as_drawn: bool) -> Iterator[Row]:
    before = fields.get("resize before", "not said")
    judged: Verdict = "same" if as_drawn else "differs" if before == "none" else "not said"
    yield Row("images brought to 256x256", "drawn at that size", "drawn so" if as_drawn else before, judged)
    sha256 = fields.get("weights sha256", "")
    published = sha256 in (STATE_DICT, TORCHSCRIPT)
    words = f"{fields.get('network', 'not said')}, {'published' if published else 'NOT the published'} weights {sha256[:12]}"
    yield Row("Inception", "not said", words, "not said" if published else "differs")
    for key, what in (
        ("protocol", "protocol"),
        ("resize", "resize to 299x299"),
        ("input", "scaling"),
        ("dtype", "dtype"),
    ):
        yield Row(what, "not said", fields.get(key, "not said"), "not said")
