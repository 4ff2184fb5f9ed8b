"""Is quoted text drawn right? The image is read by OCR and compared with what the prompt quotes."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from drawbench.errors import AssetMissing, UserError
from drawbench.files import sha256_file
from drawbench.interfaces import Network, Output, Prompt, Scored
from drawbench.metrics.guard import check_images

if TYPE_CHECKING:
    from torch import Tensor

_FINE = 736
"""First look: the shorter side is brought up to this, the longer side down to it where text is looked for (see `Reader`)."""
_COARSE = 256
"""Second look: the longer side."""

_QUOTED = re.compile(
    r"""
      (?<!\w)"([^"]+)"                             # "…"; after a figure it means inches
    | “([^”]+)”                                    # “…”
    | (?<![\w'’])(?!(?<=\w[ ])['‘]n['’][ ]\w)      # rock 'n' roll opens nothing,
      ['‘](?=\S)(?!\d0s\b)                         # nor do "it's", "rock'n'roll" and the '90s
      ((?:[^'‘’]|(?<=\w)['’](?=\w)                 # an apostrophe between letters is part of the text,
        |(?<=\w[ ])['‘’]n['’](?=[ ]\w))+)          # and so is an 'n' between words
      (?<=\S)['’](?!\w)                            # ' before no letter, after no blank
    """,
    re.VERBOSE,
)


def text_rendering(*, min_confidence: float = 0.5) -> TextRendering:
    """Reads images with rapidocr (PP-OCR), whose models come in its wheel; lines under ``min_confidence`` are not read.

    Raises:
        AssetMissing: this rapidocr came without its models.
    """
    if not 0 <= min_confidence <= 1:
        raise UserError(f"text_rendering.min_confidence={min_confidence}: give a number from 0 to 1")
    return TextRendering(Reader(min_confidence))


def quoted(text: str) -> list[str]:
    """Returns the quoted strings of a prompt, in single or double, straight or curly quotes; apostrophes quote nothing."""
    found = ("".join(part or "" for part in match.groups()).strip() for match in _QUOTED.finditer(text))
    return [string for string in found if _compact(string)]


class TextRendering:
    """``exact`` and ``similarity``, with regard to capitals and without.

    For each quoted string the best of all candidates counts: every line that was read, and every run of lines joined in
    reading order, of two looks at the image. ``exact`` is 1 where all strings of the prompt are read to the letter;
    ``similarity`` is the mean over them of 1 - Levenshtein distance / length of the longer. Blanks are left out of both
    sides (the reader drops and inserts them between words); characters are compared in Unicode's form NFKC, curly quotes
    as straight ones. A prompt without quoted text has no value.
    """

    outputs: Mapping[str, Output] = {
        "exact": Output(higher_is_better=True, kind="rate", main=True),
        "exact_ignore_case": Output(higher_is_better=True, kind="rate"),
        "similarity": Output(higher_is_better=True, kind="mean"),
        "similarity_ignore_case": Output(higher_is_better=True, kind="mean"),
    }
    network: Network | None = None
    insensitive_to = ("channel order", "inversion")
    """Letters of any colour are letters."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def protocol(self) -> Mapping[str, str]:
        return {
            **self.reader.fields,
            "compared": "best of lines and of runs of lines joined; blanks left out; NFKC, straight quotes; Levenshtein",
        }

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        check_images("text_rendering", images)
        rows, read, wanted = [], [], []
        for image, prompt in zip(images, prompts, strict=True):
            strings = quoted(prompt.text)
            looks = self.reader.read(image.permute(1, 2, 0).numpy()) if strings else [[]]
            rows.append(compare(strings, *looks))
            alone = [compare(strings, lines).similarity for lines in looks]
            read.append(" / ".join(looks[int(np.argmax(alone))]))
            wanted.append(" / ".join(strings))
        values = {name: np.array([getattr(row, name) for row in rows], np.float64) for name in self.outputs}
        return Scored(values, {"text_wanted": wanted, "text_read": read})


class Comparison(NamedTuple):
    """What one image is worth; NaN where nothing is quoted."""

    exact: float
    exact_ignore_case: float
    similarity: float
    similarity_ignore_case: float


def compare(strings: Sequence[str], *looks: Sequence[str]) -> Comparison:
    """Compares quoted strings with the lines that were read, in one or more looks at an image."""
    from rapidfuzz.distance import Levenshtein

    if not strings:
        return Comparison(*[float("nan")] * 4)
    candidates = [run for lines in looks for run in _runs([_compact(line) for line in lines])] or [""]

    def best(string: str, among: Sequence[str]) -> float:
        return max(Levenshtein.normalized_similarity(string, candidate) for candidate in among)

    plain = [best(_compact(string), candidates) for string in strings]
    folded = [candidate.casefold() for candidate in candidates]
    caseless = [best(_compact(string).casefold(), folded) for string in strings]
    return Comparison(
        float(min(plain) == 1.0), float(min(caseless) == 1.0), float(np.mean(plain)), float(np.mean(caseless))
    )


def _compact(text: str) -> str:
    straight = text.translate(str.maketrans("‘’“”", "''\"\""))
    return "".join(unicodedata.normalize("NFKC", straight).split())


def _runs(lines: Sequence[str]) -> Iterator[str]:
    for first in range(len(lines)):
        for last in range(first, len(lines)):
            yield "".join(lines[first : last + 1])


class Reader:
    """rapidocr with one image at a time, so that no image's reading depends on another's.

    It looks twice, since letters that fill the image fall apart where small ones are found. Measured on 390 rendered texts
    of known content (7 fonts, 64 to 1024 pixels, plain, coloured and photographic backgrounds; none of them used to choose
    the sizes): read exactly 0.86 with the fine look alone, 0.90 with both.
    """

    def __init__(self, min_confidence: float) -> None:
        os.environ.setdefault(
            "ORT_DISABLE_TELEMETRY", "1"
        )  # onnxruntime keeps a device id in the home folder otherwise.
        from rapidocr import RapidOCR

        detection, recognition = _shipped("Det"), _shipped("Rec")
        self._engine: Any = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.text_score": min_confidence,
                "Global.use_cls": False,  # Text upside down is not text drawn right.
                "Det.model_path": str(detection),
                "Det.limit_type": "max",
                "Det.limit_side_len": _FINE,
                "Rec.model_path": str(recognition),
                "Rec.rec_batch_num": 1,  # Lines of one batch are padded alike, and padding moves a reading.
            }
        )
        self.fields: Mapping[str, str] = {
            "reader": f"rapidocr {version('rapidocr')}, onnxruntime {version('onnxruntime')}",
            "models": f"{detection.name} {sha256_file(detection)}, {recognition.name} {sha256_file(recognition)}",
            "resize": f"two looks: shorter side up to {_FINE}, and longer side to {_COARSE}; bicubic (Pillow)",
            "text looked for": f"longer side down to {_FINE}",
            "min confidence": str(min_confidence),
        }

    def read(self, image: NDArray[np.uint8]) -> list[list[str]]:
        """Returns the lines of an ``(H, W, 3) uint8`` RGB image in reading order, for each of the two looks."""
        return [
            self._look(image, max(1.0, _FINE / min(image.shape[:2]))),
            self._look(image, _COARSE / max(image.shape[:2])),
        ]

    def _look(self, image: NDArray[np.uint8], scale: float) -> list[str]:
        from PIL import Image

        height, width = image.shape[:2]
        if scale != 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        found = self._engine(np.ascontiguousarray(image[..., ::-1]))  # It takes arrays for BGR, as OpenCV has them.
        if found.txts is None or found.boxes is None:
            return []
        return [found.txts[index] for index in _reading_order(found.boxes)]


def _reading_order(boxes: Any) -> list[int]:
    """Returns boxes ``(N, 4, 2)`` from top to bottom, and from left to right where they are level to half a line."""
    rows: list[list[tuple[float, float, float, int]]] = []
    places = [(float(b[:, 1].mean()), float(b[:, 0].min()), float(np.ptp(b[:, 1])), i) for i, b in enumerate(boxes)]
    for middle, left, height, index in sorted(places):
        row = rows[-1] if rows else []
        level = bool(row) and abs(middle - np.mean([m for m, *_ in row])) < min(height, *(h for _, _, h, _ in row)) / 2
        if level:
            row.append((middle, left, height, index))
        else:
            rows.append([(middle, left, height, index)])
    return [index for row in rows for _, _, _, index in sorted(row, key=lambda place: place[1])]


def _shipped(task: Literal["Det", "Rec"]) -> Path:
    """Returns the model that rapidocr's own settings name. Others may lie beside it: rapidocr downloads into that folder."""
    import rapidocr
    from rapidocr.inference_engine.base import FileInfo, InferSession
    from rapidocr.utils.parse_parameters import ParseParams

    folder = Path(rapidocr.__file__).parent
    part = ParseParams.load(folder / "config.yaml")[task]
    info = FileInfo(part.engine_type, part.ocr_version, part.task_type, part.lang_type, part.model_type)
    published = InferSession.get_model_url(info)
    path = folder / "models" / Path(published["model_dir"]).name
    if not path.is_file() or sha256_file(path) != published["SHA256"]:
        raise AssetMissing(
            f"rapidocr {version('rapidocr')} has no sound {path.name} (10 to 21 MB, SHA-256 {published['SHA256']}) in "
            f"{path.parent}; install the wheel that carries it: pip install --force-reinstall 'rapidocr>=3.10'"
        )
    return path
