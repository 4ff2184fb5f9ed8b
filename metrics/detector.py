"""Does an image show the number, colours and places that its prompt asks for? An open-vocabulary detector looks for the things.

What CLIP cannot judge, after GenEval (Ghosh et al. 2023): the prompts of DrawBench's Counting, Colors and Positional, and
others of their form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from drawbench.errors import UserError
from drawbench.interfaces import Network, Output, Prompt, Scored
from drawbench.metrics.colour_names import VERSION as COLOUR_NAMES
from drawbench.metrics.detector_prompts import VERSION as GRAMMAR
from drawbench.metrics.detector_prompts import Request, read_prompt
from drawbench.metrics.detector_rules import ASPECTS, Found, judge, kept, rules_protocol
from drawbench.metrics.open_vocabulary import THRESHOLDS, Detector, TransformersDetector

if TYPE_CHECKING:
    from torch import Tensor


def detector(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "google/owlv2-base-patch16-ensemble",
    threshold: float | None = None,
) -> DetectorVerdicts:
    """Judges with an OWLv2 or a Grounding DINO of transformers.

    ``model`` is a folder as ``save_pretrained`` writes it, or a name on the hub (looked for in the cache as
    ``weights/<name>/``, then by the hub's client). Boxes that score under ``threshold`` are not there: 0.2 for an OWLv2
    and 0.3 for a Grounding DINO unless given.

    Raises:
        AssetMissing: the model is not on this machine and cannot be fetched.
        UserError: a folder that holds no such model, or weights that do not fit it.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UserError(f"detector.threshold={threshold}: give a number from 0 to 1")
    if dtype not in ("fp32", "bf16", "fp16"):
        raise UserError(f"detector: dtype {dtype} is not offered; allowed are fp32, bf16 and fp16")
    found = TransformersDetector("detector", model, device, dtype)
    return DetectorVerdicts(found, THRESHOLDS[found.kind] if threshold is None else threshold)


class DetectorVerdicts:
    """``correct``: all that the prompt asks of number, colour and place. The others: one of the three each.

    A prompt that is not read, or asks for none of the three, has no value and its images are not looked at. What else it
    asks for, a size or a setting, is not judged, nor are things that nobody asked for.
    """

    outputs: Mapping[str, Output] = {
        "correct": Output(higher_is_better=True, kind="rate", main=True),
        **{name: Output(higher_is_better=True, kind="rate") for name in ASPECTS},
    }
    network: Network | None = None

    def __init__(self, detector: Detector, threshold: float) -> None:
        self.detector, self.threshold = detector, threshold

    def protocol(self) -> Mapping[str, str]:
        return {
            **self.detector.fields(),
            "threshold": str(self.threshold),
            "prompts read by": GRAMMAR,
            "colours": COLOUR_NAMES,
            **rules_protocol(),
        }

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        values = {name: np.full(len(prompts), np.nan) for name in self.outputs}
        notes = {name: [""] * len(prompts) for name in ("asked", "seen", "wrong", "not_judged")}
        for number, (image, prompt) in enumerate(zip(images, prompts, strict=True)):
            request = read_prompt(prompt)
            if not isinstance(request, Request):
                notes["not_judged"][number] = request
                continue
            pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
            found = kept(self.detector.detect(pixels, [thing.name for thing in request.things]), self.threshold)
            verdict = judge(request, found, pixels)
            values["correct"][number] = verdict.correct
            for name, right in verdict.attributes.items():
                if right is not None:
                    values[name][number] = right
            notes["asked"][number] = str(request)
            notes["seen"][number] = "; ".join(map(_said, found))
            notes["wrong"][number] = verdict.reason
            notes["not_judged"][number] = ", ".join(request.unjudged)
        return Scored(values, notes)

    def remarks(self, prompts: Sequence[Prompt]) -> list[str]:
        """Says which prompts are judged, how many are not, and why."""
        read = [read_prompt(prompt) for prompt in prompts]
        judged = Counter(p.category for p, one in zip(prompts, read, strict=True) if isinstance(one, Request))
        of = Counter(prompt.category for prompt in prompts)
        which = ", ".join(f"{name} {judged[name]} of {count}" for name, count in of.items() if name and judged[name])
        remarks = [f"judged are {sum(judged.values())} of {len(prompts)} prompts" + (f": {which}" if which else "")]
        reasons = Counter(one for one in read if isinstance(one, str))
        remarks += [f"{count} of {len(prompts)} prompts have no value: {reason}" for reason, count in reasons.items()]
        partly = sum(isinstance(one, Request) and bool(one.unjudged) for one in read)
        if partly:
            remarks.append(f"{partly} of {len(prompts)} prompts ask for a size or a setting too, which is not judged")
        return remarks


def _said(found: Found) -> str:
    left, top, right, bottom = (round(edge) for edge in found.box)
    return f"{found.name} {found.score:.2f} at {left},{top}-{right},{bottom}"
