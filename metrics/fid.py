"""FID: the Fréchet Inception distance of a run's images from a reference (Heusel et al. 2017), by protocol.

In float64 from the features themselves, which is exact also where there are fewer images than features, and the covariance
has no inverse: there the square root of a matrix product, as other implementations take it, loses digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from drawbench.devices import fastest_dtype
from drawbench.errors import UserError
from drawbench.metrics.drift import FrechetWithDrift
from drawbench.metrics.frechet_metric import FrechetDistance
from drawbench.metrics.guard import check_images
from drawbench.metrics.inception import FEATURES, SIZE
from drawbench.metrics.inception_weights import Weights, load_inception
from drawbench.metrics.reference import Reference, find_reference
from drawbench.metrics.resize import Crop, Filter, clean, legacy_pytorch, legacy_tensorflow, reduced
from drawbench.protocol import digest

Protocol = Literal["clean", "legacy_pytorch", "legacy_tensorflow"]
Before = Literal["none", "256"]
Precision = Literal["exact", "bf16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_CHUNK = 16
"""Images that are resized while a device other than the CPU works on those before; a CPU gains nothing from more at once."""


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
    ),
    "legacy_pytorch": Preparation(
        legacy_pytorch, 127.5, f"bilinear between pixel centres to {SIZE}x{SIZE}, no antialiasing, float32, not rounded"
    ),
    "legacy_tensorflow": Preparation(
        legacy_tensorflow, 128.0, f"TensorFlow 1's bilinear to {SIZE}x{SIZE}, no antialiasing, float32, not rounded"
    ),
}

_CROPS: Mapping[Crop, str] = {
    "center_crop": "centre crop to a square, Pillow {filter} with antialiasing to {size}x{size}, 8 bits",
    "squeeze": "no crop, squeezed by Pillow {filter} with antialiasing to {size}x{size}, 8 bits",
    "none": "no crop, Pillow {filter} with antialiasing to a shorter side of {size}, shape kept, 8 bits",
}


def fid(
    *,
    device: str = "cpu",
    dtype: str = "fp32",
    reference: str | None = None,
    protocol: Protocol = "clean",
    resize_before: Before = "none",
    crop: Crop = "center_crop",
    filter: Filter = "bicubic",  # noqa: A002  the option's name
    reference_crop: Crop | Literal["same"] = "same",
    reference_filter: Filter | Literal["same"] = "same",
    precision: Precision = "exact",
    interval: Literal["jackknife", "none"] = "jackknife",
    weights: Path | None = None,
    check: Literal["none", "clean-fid"] = "none",
) -> FrechetDistance:
    """FID from a folder of images, a run, or a statistics file (also one of clean-fid or pytorch-fid).

    ``protocol`` says how an image is brought to 299 x 299 and scaled, by clean-fid's names: ``clean`` is its default,
    ``legacy_pytorch`` what pytorch-fid does, ``legacy_tensorflow`` what the first FID did, and torch-fidelity does (torchmetrics
    does it with ``antialias=False`` only; its default is none of the three).

    ``resize_before=256`` is the step that FID-30K on COCO has before that, for images and reference alike: ``crop``
    (``center_crop``, ``squeeze``, or ``none``, which keeps the shape and makes the shorter side 256) and Pillow's ``filter``, in
    8 bits. ``reference_crop`` and ``reference_filter`` prepare the photographs of the reference otherwise than the images.

    ``precision=bf16`` runs the network in bf16, on a device that has units for it; what that moves is measured on some of
    the run's own images and given beside the number. ``interval=none`` leaves the jackknife out. ``weights`` is a file of
    Inception's weights of 2015-12-05: pytorch-fid's, torch-fidelity's (state dicts) or clean-fid's (TorchScript); without it they
    are looked for in ``$DRAWBENCH_CACHE/weights`` and where those packages keep them. ``check=clean-fid`` runs clean-fid in
    the same mode on the same files with the same weights and gives its numbers beside ours.

    Raises:
        AssetMissing: the weights are nowhere.
        UserError: no reference, weights that do not fit, statistics of another network, options that contradict each other.
    """
    if reference is None:
        raise UserError("fid needs a reference: --reference DIR|RUN|STATS.npz, images or statistics to compare with")
    nets = networks(
        "fid",
        weights,
        protocol,
        resize_before,
        crop,
        filter,
        reference_crop,
        reference_filter,
        precision,
        device=device,
        dtype=dtype,
    )
    dtype = nets.images.fields["dtype"]
    if check == "clean-fid" and dtype != "fp32":
        raise UserError(f"fid.check=clean-fid compares in fp32, and the precision is {dtype}; leave one of them out")
    if check == "clean-fid" and resize_before != "none":
        raise UserError(
            f"fid.check=clean-fid: clean-fid reads the files as they are, without fid.resize_before={resize_before}; leave one "
            "of them out"
        )
    found = find_reference(reference, nets.reference, "fid", FEATURES)
    fields, inception = nets.fields(found), nets.images.weights
    with_interval = interval == "jackknife"
    if check == "clean-fid":
        from drawbench.metrics.clean_fid_check import CheckedByCleanFid

        return CheckedByCleanFid(nets.images, fields, found, inception, device, protocol, with_interval=with_interval)
    if dtype == "fp32":
        return FrechetDistance("fid", nets.images, fields, found, with_interval=with_interval)

    def in_fp32() -> Sequence[InceptionFeatures]:
        exact = load_inception("fid", inception.file, device, torch.float32)
        return [network.with_weights(exact, "fp32") for network in (nets.images, nets.reference)]

    return FrechetWithDrift(
        "fid", nets.images, fields, found, nets.reference, in_fp32, dtype, with_interval=with_interval
    )


class Networks(NamedTuple):
    """Inception before images and before the photographs that they are compared with, which may be prepared otherwise."""

    images: InceptionFeatures
    reference: InceptionFeatures

    def fields(self, reference: Reference) -> Mapping[str, str]:
        """Returns all that can move the features on both sides; a foreign statistics file does not say its own."""
        before = self.reference.fields["resize before"] if reference.network else "not said by the statistics' file"
        return {**self.images.fields, "reference resize before": before}


def networks(
    owner: str,
    weights: Path | None,
    protocol: Protocol,
    resize_before: Before,
    crop: Crop,
    filter: Filter,  # noqa: A002  the option's name
    reference_crop: Crop | Literal["same"] = "same",
    reference_filter: Filter | Literal["same"] = "same",
    precision: Precision = "exact",
    *,
    device: str,
    dtype: str,
) -> Networks:
    """Returns fid's networks, loaded as ``owner``'s; with the same options they have the same keys, whoever asks.

    For the arguments see `fid`.
    """
    dtype = _checked_precision(owner, precision, dtype, device)
    if resize_before == "none":
        _refuse_idle(owner, crop=crop, filter=filter, reference_crop=reference_crop, reference_filter=reference_filter)
    loaded = load_inception(owner, weights, device, _DTYPES[dtype])
    images = InceptionFeatures(loaded, protocol, device, dtype, resize_before, crop=crop, filter=filter)
    photographs = InceptionFeatures(
        loaded,
        protocol,
        device,
        dtype,
        resize_before,
        crop=crop if reference_crop == "same" else reference_crop,
        filter=filter if reference_filter == "same" else reference_filter,
    )
    return Networks(images, photographs)


def _checked_precision(owner: str, precision: Precision, dtype: str, device: str) -> str:
    """Returns the dtype of the network, or says why it cannot be had."""
    if precision == "exact":
        return dtype
    if dtype == "fp16":
        raise UserError(f"{owner}.precision=bf16 and --dtype fp16 are two precisions; leave one of them out")
    if fastest_dtype(device) != "bf16":
        what = (
            "this CPU has no bf16 units (avx512_bf16, amx_bf16)" if device == "cpu" else f"{device} has no bf16 units"
        )
        raise UserError(
            f"{owner}.precision=bf16: {what}, and would take longer than the exact way, {owner}.precision=exact; leave it "
            "out, or score on another device"
        )
    return "bf16"


def _refuse_idle(owner: str, **given: str) -> None:
    """Refuses choices of the resize to 256 where there is none."""
    idle = {"crop": "center_crop", "filter": "bicubic", "reference_crop": "same", "reference_filter": "same"}
    for key, value in given.items():
        if value != idle[key]:
            raise UserError(
                f"{owner}.{key}={value} is a choice of the resize to 256 before the network's own, and there is none "
                f"({owner}.resize_before=none); add --set {owner}.resize_before=256, or leave {owner}.{key} out"
            )


class InceptionFeatures:
    """Inception with everything before it: a `Network` of pool3's 2048 features."""

    def __init__(
        self,
        weights: Weights,
        protocol: Protocol,
        device: str,
        dtype: str,
        resize_before: Before = "none",
        *,
        crop: Crop = "center_crop",
        filter: Filter = "bicubic",  # noqa: A002  the option's name
    ) -> None:
        self.weights, self._before = weights, resize_before
        self._prepare, self._device, self._dtype = _PREPARATIONS[protocol], device, _DTYPES[dtype]
        self._crop, self._filter, self._protocol = crop, filter, protocol
        middle = f"{self._prepare.middle:g}"
        before = "none" if resize_before == "none" else _CROPS[crop].format(filter=filter, size=resize_before)
        self.fields: Mapping[str, str] = {
            "protocol": protocol,
            "network": f"FID's Inception-v3 of 2015-12-05 ({weights.form})",
            "weights sha256": weights.sha256,
            "layer": f"pool3, {FEATURES} features",
            "resize before": before,
            "resize": self._prepare.words,
            "input": f"(x - {middle}) / {middle}",
            "dtype": dtype,
        }
        self.key = digest(self.fields)

    def with_weights(self, weights: Weights, dtype: str) -> InceptionFeatures:
        """Returns the same preparation before these weights, which are on the same device and of this dtype."""
        return InceptionFeatures(
            weights, self._protocol, self._device, dtype, self._before, crop=self._crop, filter=self._filter
        )

    def __call__(self, images: Tensor) -> Tensor:
        check_images("FID's Inception", images)
        # TensorFloat-32, which cuDNN takes by default, has 10 bits: features would depend on the device.
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            # A GPU still computes one part while the next is resized: nothing waits before the end.
            parts = [self.weights.network(self._inputs(part)) for part in images.split(_CHUNK)]
            return torch.cat(parts).float().cpu()

    def _inputs(self, images: Tensor) -> Tensor:
        middle = self._prepare.middle
        if self._before != "none":
            images = reduced(images, int(self._before), self._crop, self._filter)
        inputs = (self._prepare.resize(images, SIZE) - middle) / middle
        return inputs.to(self._device, self._dtype, memory_format=torch.channels_last)
