"""The features of FID for other metrics: with the same options they have the same key, and are computed once for all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from drawbench.metrics.fid import Before, InceptionFeatures, Protocol, refuse_idle
from drawbench.metrics.inception_weights import load_inception
from drawbench.metrics.resize import Crop, Filter

_DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pool3(
    owner: str,
    weights: Path | None,
    protocol: Protocol,
    resize_before: Before,
    crop: Crop,
    filter: Filter,  # noqa: A002  the option's name
    *,
    device: str,
    dtype: str,
) -> InceptionFeatures:
    """Returns fid's network, loaded as ``owner``'s; for the arguments see `drawbench.metrics.fid.fid`."""
    if resize_before == "none":
        refuse_idle(owner, crop=crop, filter=filter)
    loaded = load_inception(owner, weights, device, _DTYPES[dtype])
    return InceptionFeatures(loaded, protocol, device, dtype, resize_before, crop=crop, filter=filter)
