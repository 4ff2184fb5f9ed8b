"""The designs of the papers, each with its source, and those of one's own. The wording is ours, its sense the paper's."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path

from drawbench.errors import UserError, did_you_mean
from drawbench.human_eval.design import Design, Option, Question, Screen, design_from


def _either(tie: str, first: str = "I prefer set A", second: str = "I prefer set B") -> tuple[Option, ...]:
    code = tie.removeprefix("I am ").lower().replace(" ", "_")
    return (Option("first", first, 1.0), Option(code, tie, 0.5), Option("second", second, 0.0))


_NOT_SURE = _either("Not sure", "The left one", "The right one")
_LIKERT = ("1, very poor", "2, poor", "3, fair", "4, good", "5, very good")

DRAWBENCH = Design(
    name="drawbench",
    source="Saharia et al. 2022, section 4.3 and appendix C: 25 raters for each of the 11 categories, nobody filtered",
    shows="pair",
    screens=(
        Screen(
            (
                Question("fidelity", "Which set of images has the higher quality?", _either("I am indifferent")),
                Question(
                    "alignment", "Which set of images shows better what the caption says?", _either("I am indifferent")
                ),
            ),
            shows_caption=True,
            images_per_set=8,
            columns=4,
            sides=("Set A", "Set B"),
        ),
    ),
    instructions="You see a caption and two sets of images made for it, A and B. Look at all images of both sets before you "
    "answer. Quality: how good the images are as images, whatever the caption. Caption: how well they show what it says.",
    unit="category",
)
COCO_FIDELITY = Design(
    name="coco-fidelity",
    source="Saharia et al. 2022, section 3 and table 2: 73 ratings of each image, raters with 80 % of the controls right",
    shows="reference",
    screens=(
        Screen(
            (
                Question(
                    "fidelity",
                    "Which image is more photorealistic, that is, looks more real?",
                    (Option("first", "The left one", 1.0), Option("second", "The right one", 0.0)),
                ),
            ),
            shows_caption=False,
        ),
    ),
    instructions="You see two images. Choose the one that looks more like a real photograph.",
    raters=73,
    controls=5,
    pass_rate=0.8,
)
COCO_ALIGNMENT = Design(
    name="coco-alignment",
    source="Saharia et al. 2022, section 3 and table 2: 51 ratings of each image; yes, somewhat and no count 100, 50 and 0",
    shows="single",
    screens=(
        Screen(
            (
                Question(
                    "alignment",
                    "Does the caption describe the image accurately?",
                    (Option("yes", "Yes", 100.0), Option("somewhat", "Somewhat", 50.0), Option("no", "No", 0.0)),
                ),
            ),
            shows_caption=True,
        ),
    ),
    instructions="You see an image and a caption. Say whether the caption describes the image.",
    raters=51,
    controls=5,
    pass_rate=0.8,
    rates_reference=True,
)
DALLE2 = Design(
    name="dalle2",
    source="Ramesh et al. 2022, section 5.2: pairs of images for photorealism and caption similarity, 4x4 grids for diversity",
    shows="pair",
    screens=(
        Screen((Question("photorealism", "Which image is more photorealistic?", _NOT_SURE),), shows_caption=False),
        Screen(
            (Question("caption_similarity", "Which image fits the caption better?", _NOT_SURE),), shows_caption=True
        ),
        Screen(
            (Question("diversity", "Which set of images is more diverse?", _NOT_SURE),),
            shows_caption=True,
            images_per_set=16,
            columns=4,
        ),
    ),
    instructions="You see two images, or two sets of images. If you cannot decide, say so: “not sure” is an answer too.",
    raters=1,
)
SINGLE = Design(
    name="single",
    source="absolute category rating on five grades (ITU-T P.910), one set at a time",
    shows="single",
    screens=(
        Screen(
            (
                Question(
                    "fidelity",
                    "How good is the image, whatever the caption?",
                    tuple(Option(text[0], text, float(text[0])) for text in _LIKERT),
                ),
                Question(
                    "alignment",
                    "How well does it show what the caption says?",
                    tuple(Option(text[0], text, float(text[0])) for text in _LIKERT),
                    controlled=True,
                ),
            ),
            shows_caption=True,
        ),
    ),
    instructions="You see a caption and an image made for it. Grade the image, and how well it shows the caption.",
    raters=3,
)
DESIGNS: Mapping[str, Design] = {one.name: one for one in (DRAWBENCH, COCO_FIDELITY, COCO_ALIGNMENT, DALLE2, SINGLE)}


def find_design(name: str) -> Design:
    """Returns a design by its name, or from a TOML file."""
    if name in DESIGNS:
        return DESIGNS[name]
    path = Path(name).expanduser()
    if path.suffix == ".toml" or path.is_file():
        return read_design(path)
    raise UserError(
        f"no design is called {name!r}{did_you_mean(name, DESIGNS)} (there are: {', '.join(DESIGNS)}; or a TOML file)"
    )


def read_design(path: Path) -> Design:
    """Reads a design whose fields are those of `Design`, as TOML; ``base`` names one whose fields it takes where it is silent.

    Raises:
        UserError: not TOML, an unknown or missing field, a wrong type, or a design that cannot be.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give the TOML file of a design") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    base = content.pop("base", None)
    if base is not None and base not in DESIGNS:
        raise UserError(f"{path}: base is {base!r}; allowed are {', '.join(DESIGNS)}")
    known = (
        {} if base is None else {field.name: getattr(DESIGNS[base], field.name) for field in dataclasses.fields(Design)}
    )
    design = design_from({**known, "name": path.stem, **content}, str(path))
    return design
