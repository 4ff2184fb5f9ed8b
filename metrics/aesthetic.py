"""LAION's aesthetic score: a linear head on CLIP's image embedding that learned people's ratings of 1 to 10 (Schuhmann 2022).

It judges an image alone, not whether it shows its text, and was taught on other pictures than models draw: a taste, not a
truth. Scores outside of 1 to 10 occur and are left as they are.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.interfaces import Output, Prompt, Scored
from drawbench.metrics.clip import ClipNetwork, load_clip
from drawbench.metrics.hf_clip import HF
from drawbench.weights import cache_folder, given_file, missing

if TYPE_CHECKING:
    from torch import Tensor


class Published(NamedTuple):
    """A head of github.com/LAION-AI/aesthetic-predictor (MIT), for embeddings of one of OpenAI's CLIPs."""

    file: str
    sha256: str
    model: str
    """As open_clip calls it."""
    hub: str
    """As the model hub calls it."""


HEADS = (
    Published(
        "sa_0_4_vit_b_16_linear.pth",
        "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
        "ViT-B-16",
        "openai/clip-vit-base-patch16",
    ),
    Published(
        "sa_0_4_vit_b_32_linear.pth",
        "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
        "ViT-B-32",
        "openai/clip-vit-base-patch32",
    ),
    Published(
        "sa_0_4_vit_l_14_linear.pth",
        "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
        "ViT-L-14",
        "openai/clip-vit-large-patch14",
    ),
)


def aesthetic(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    model: str = "ViT-L-14",
    tag: str | None = None,
    weights: Path | None = None,
    head: Path | None = None,
) -> Aesthetic:
    """Scores with LAION's linear head for the CLIP that ``model``, ``tag`` and ``weights`` name, as of clip_score.

    ``head`` is a file of one's own, or a published one; without it the published head of OpenAI's ViT-B-16, ViT-B-32 or
    ViT-L-14 is looked for in the cache, under its own name, and known by its digest.

    Raises:
        AssetMissing: the head, or CLIP's weights, are not on this machine.
        UserError: a head for another CLIP than the one that is named.
    """
    path = _head_file(model, tag, head)
    linear = read_head(path)
    network = load_clip("aesthetic", model, tag, weights, device, dtype)
    linear(network.encode_text([""]))  # Refuses another width now, and not after all images were read.
    return Aesthetic(network, linear, sha256_file(path))


class Head(NamedTuple):
    """A linear head, in float64."""

    weight: Tensor
    """``(D,)``"""
    bias: float

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Maps unit-length embeddings ``(N, D)`` to scores ``(N,)``."""
        if embeddings.shape[1] != len(self.weight):
            raise UserError(
                f"aesthetic.head is for embeddings of {len(self.weight)} values and the CLIP gives {embeddings.shape[1]}; "
                "give the head and the model that belong together (aesthetic.model=ViT-L-14 and sa_0_4_vit_l_14_linear.pth)"
            )
        scores: Tensor = embeddings.double() @ self.weight + self.bias
        return scores


class Aesthetic:
    """``aesthetic``: the head's output, higher is better liked."""

    outputs: Mapping[str, Output] = {"aesthetic": Output(higher_is_better=True, kind="mean", main=True)}

    features_only = True

    verified = False
    """Also on the CLIP that ships: a head is not a part of it, and what one's own is worth nobody tried here."""

    def __init__(self, clip: ClipNetwork, head: Head, sha256: str) -> None:
        self.network, self._head, self._sha256 = clip, head, sha256

    def protocol(self) -> Mapping[str, str]:
        return {**self.network.fields, "head sha256": self._sha256}

    def score(self, images: Tensor, features: Tensor | None, prompts: Sequence[Prompt]) -> Scored:
        assert features is not None  # noqa: S101  the stream gives a metric with a network its features
        return Scored({"aesthetic": self._head(features).numpy()})


def read_head(path: Path) -> Head:
    """Returns the head in a file: a state dict of one linear layer with one output."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UserError(
            f"aesthetic.head={path} is no file of weights: it cannot be read without running code"
        ) from error
    shapes = {key: tuple(value.shape) for key, value in state.items()} if isinstance(state, Mapping) else {}
    size = shapes.get("weight", (0, 0))[-1]
    if shapes != {"weight": (1, size), "bias": (1,)}:
        raise UserError(
            f"aesthetic.head={path} has {shapes or type(state).__name__}; needed: weight (1, D) and bias (1,)"
        )
    return Head(state["weight"][0].double(), float(state["bias"].double()))


def _head_file(model: str, tag: str | None, given: Path | None) -> Path:
    """Returns the head's file, or says which one is missing or belongs to another CLIP."""
    name = model.removeprefix(HF).replace("/", "-")
    fitting = [row for row in HEADS if name in (row.model, f"{row.model}-quickgelu", row.hub.replace("/", "-"))]
    if given is not None:
        path, known = given_file(given, "aesthetic.head"), {row.sha256: row for row in HEADS}
        row = known.get(sha256_file(path))
        named = model.startswith(HF) or not Path(model).expanduser().is_dir()  # A folder's name says nothing of it.
        if row is not None and named and row not in fitting:
            raise UserError(
                f"aesthetic.head={path} is the published head of {row.model}, not of {model}; give aesthetic.model={row.model}"
            )
        return path
    if not fitting or tag not in (None, "openai"):
        raise UserError(
            f"aesthetic.model={model}{f' with the tag {tag}' if tag else ''} has no published head (they are for OpenAI's "
            f"{', '.join(row.model for row in HEADS)}); give your own: --set aesthetic.head=FILE"
        )
    row, path = fitting[0], cache_folder() / "weights" / fitting[0].file
    if not path.is_file():
        raise missing(
            f"the aesthetic head {row.file} of github.com/LAION-AI/aesthetic-predictor",
            size="4 kB",
            place=path,
            instead="give a file: --set aesthetic.head=FILE",
        )
    if sha256_file(path) != row.sha256:
        raise UserError(f"{path} is not the published file (sha256 {row.sha256[:16]}…); fetch it again")
    return path
