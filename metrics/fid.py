"""FID: the Fréchet Inception distance of a run's images from a reference (Heusel et al. 2017), as clean-fid defines it.

In float64 from the features themselves, which is exact also where there are fewer images than features, and the covariance
has no inverse: there the square root of a matrix product, as other implementations take it, loses digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from drawbench.errors import UserError
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.guard import check_images
from drawbench.metrics.inception import FEATURES, SIZE
from drawbench.metrics.inception_weights import Weights, load_inception
from drawbench.metrics.reference import find_reference
from drawbench.metrics.resize import centred, clean
from drawbench.protocol import digest

Protocol = Literal["clean"]
Before = Literal["none", "256"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Preparation(NamedTuple):
    """How images become what Inception takes: where FID implementations differ."""

    resize: Callable[[Tensor, int], Tensor]
    """Maps ``(N, 3, H, W) uint8`` and a size to float32 in [0, 255]."""
    middle: float
    """The value that becomes 0; 0 becomes -1."""
    words: str


_PREPARATIONS: Mapping[Protocol, Preparation] = {
    "clean": Preparation(
        clean, 128.0, f"Pillow bicubic with antialiasing to {SIZE}x{SIZE}, float32 by channel, clipped, not rounded"
    )
}

_BEFORE: Mapping[Before, str] = {
    "none": "none",
    "256": "centre crop to a square, Pillow bicubic with antialiasing to 256x256, 8 bits",
}


def fid(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    reference: str | None = None,
    protocol: Protocol = "clean",
    resize_before: Before = "none",
    weights: Path | None = None,
    check: Literal["none", "clean-fid"] = "none",
) -> FrechetDistance:
    """FID from a folder of images, a run, or a statistics file (also one of clean-fid or pytorch-fid).

    ``protocol`` says how an image is brought to 299 x 299 and scaled: ``clean`` as clean-fid does by default.
    ``resize_before=256`` is the step that FID-30K on COCO has before that, for images and reference alike: the square in the
    middle of each, brought to 256 x 256 (Pillow bicubic with antialiasing, 8 bits). ``weights`` is a file of Inception's
    weights of 2015-12-05: pytorch-fid's, torch-fidelity's (state dicts) or clean-fid's (TorchScript); without it they are
    looked for in ``$DRAWBENCH_CACHE/weights`` and where those packages keep them. ``check=clean-fid`` runs clean-fid on the
    same files with the same weights and gives its numbers beside ours.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, weights that do not fit, statistics of another network.
    """
    if reference is None:
        raise UserError("fid needs a reference: --reference DIR|RUN|STATS.npz, images or statistics to compare with")
    if check == "clean-fid" and dtype != "fp32":
        raise UserError(f"fid.check=clean-fid compares in fp32, and dtype is {dtype}; leave one of them out")
    if check == "clean-fid" and resize_before != "none":
        raise UserError(
            f"fid.check=clean-fid: clean-fid reads the files as they are, without fid.resize_before={resize_before}; leave one "
            "of them out"
        )
    inception = load_inception("fid", weights, device, _DTYPES[dtype])
    network = InceptionFeatures(inception, protocol, device, dtype, resize_before)
    found = find_reference(reference, network, "fid", FEATURES)
    if check == "none":
        return FrechetDistance("fid", network, network.fields, found)
    from drawbench.metrics.clean_fid_check import CheckedByCleanFid

    return CheckedByCleanFid(network, network.fields, found, network.weights, device)


class InceptionFeatures:
    """Inception with everything before it: a `Network` of pool3's 2048 features."""

    def __init__(
        self, weights: Weights, protocol: Protocol, device: str, dtype: str, resize_before: Before = "none"
    ) -> None:
        self.weights, self._before = weights, resize_before
        self._prepare, self._device, self._dtype = _PREPARATIONS[protocol], device, _DTYPES[dtype]
        middle = f"{self._prepare.middle:g}"
        self.fields: Mapping[str, str] = {
            "protocol": protocol,
            "network": f"FID's Inception-v3 of 2015-12-05 ({weights.form})",
            "weights sha256": weights.sha256,
            "layer": f"pool3, {FEATURES} features",
            "resize before": _BEFORE[resize_before],
            "resize": self._prepare.words,
            "input": f"(x - {middle}) / {middle}",
            "dtype": dtype,
        }
        self.key = digest(self.fields)

    def __call__(self, images: Tensor) -> Tensor:
        check_images("FID's Inception", images)
        middle = self._prepare.middle
        if self._before != "none":
            images = centred(images, int(self._before))
        inputs = (self._prepare.resize(images, SIZE) - middle) / middle
        # TensorFloat-32, which cuDNN takes by default, has 10 bits: features would depend on the device.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.weights.network(inputs.to(self._device, self._dtype)).float().cpu()
