"""The features of FID for other metrics: with the same options they have the same key, and are computed once for all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from drawbench.metrics.fid import Before, InceptionFeatures, Protocol
from drawbench.metrics.inception_weights import load_inception

_DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pool3(
    owner: str, weights: Path | None, protocol: Protocol, resize_before: Before, *, device: str, dtype: str
) -> InceptionFeatures:
    """Returns fid's network, loaded as ``owner``'s; for the arguments see `drawbench.metrics.fid.fid`."""
    loaded = load_inception(owner, weights, device, _DTYPES[dtype])
    return InceptionFeatures(loaded, protocol, device, dtype, resize_before)
