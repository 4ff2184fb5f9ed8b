"""The plug-ins that measure, and the stream of images that feeds them. Importing this loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drawbench.metrics.as_torchmetric import TorchMetric

__all__ = ["torchmetric"]


def torchmetric(
    name: str, *, reference: str | None = None, device: str = "cpu", dtype: str = "fp32", **options: Any
) -> TorchMetric:
    """Returns a metric of this suite as a `torchmetrics.Metric`, for anyone's training loop.

    ``name`` is what ``--metric`` takes (``fid``, ``clip_score``, ``file.py:function``), ``options`` are what ``--set`` sets;
    ``device`` is where its own network runs, wherever the images come from::

        fid = drawbench.metrics.torchmetric("fid", reference="photographs/", weights="inception.pth")
        fid.update(images)              # (N, 3, H, W) uint8
        fid.update(images, prompts)     # a metric that reads the prompts: N texts
        fid.compute()                   # {"fid": tensor(17.3, dtype=torch.float64)}

    ``compute`` gives a dict of output name → 0-dimensional float64 tensor, whatever the metric: a mean is that of the prompt
    means, as in a run's scores; NaN where an output applies to no image. The states merge (``merge_state``, distributed
    training), and reset.

    Raises:
        UserError: no such metric or option; or what the metric itself raises.
    """
    from drawbench.metrics.as_torchmetric import make

    return make(name, reference, device, dtype, options)
