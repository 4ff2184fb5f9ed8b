"""A metric of this suite as an ordinary `torchmetrics.Metric`: update, compute, reset, and states that merge.

The function that users call is `drawbench.metrics.torchmetric`; this module alone knows torchmetrics' base class.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NoReturn, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drawbench.errors import UserError, did_you_mean
from drawbench.interfaces import ImageMetric, Prompt, PromptMetric, SetMetric
from drawbench.intervals import estimate
from drawbench.metrics.guard import check_images
from drawbench.plugins import call, find
from drawbench.settings import convert, options, takes
from drawbench.torchvision_ops import declare_missing_ops

declare_missing_ops()  # torchmetrics imports torchvision where it is installed.

from torchmetrics import Metric  # noqa: E402


class TorchMetric(Metric):
    """A stateless metric with the states that torchmetrics merges: features of a set metric, values of the others.

    The states are lists of rows, joined (``dist_reduce_fx="cat"``): a Fréchet distance from the rows themselves is exact where
    sums are not, and means over prompts need to know which images are of one prompt. Where the metric is of prompts, these are
    kept whole: as bytes, since only tensors are gathered from other processes.
    """

    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]
    prompts: list[Tensor]
    written: list[Tensor]
    """Of a metric of prompts: each image's prompt as JSON, one after another; and how many bytes each is."""
    lengths: list[Tensor]

    def __init__(self, name: str, metric: ImageMetric | SetMetric | PromptMetric, recipe: tuple[Any, ...]) -> None:
        super().__init__()
        self.name, self.wrapped, self._recipe = name, metric, recipe
        for state in ("rows", "prompts", *(("written", "lengths") if _of_prompts(metric) else ())):
            self.add_state(state, [], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]  # torchmetrics lets no instance set it
        """Of the main output."""
        return next(output.higher_is_better for output in self.wrapped.outputs.values() if output.main)

    def update(self, images: Tensor, prompts: Sequence[str | Prompt] | None = None) -> None:
        """Takes ``(N, 3, H, W) uint8`` images, and the N texts that they were drawn for where the metric reads them.

        Raises:
            UserError: images of another type or shape, none, another number of prompts, or no prompts where the metric is
                of a prompt's images together.
        """
        check_images(self.name, images)
        if prompts is None and _of_prompts(self.wrapped):
            raise UserError(
                f"{self.name} has one value per prompt, of all its images, and no prompts are given: update(images, prompts)"
            )
        texts = _prompts(self.name, prompts, len(images))
        pixels = images.detach().cpu()
        network = self.wrapped.network
        features = None if network is None else network(pixels).detach().float().cpu()
        if features is not None and not torch.isfinite(features).all():
            raise UserError(f"{self.name}: the network gave features that are not finite")
        if isinstance(self.wrapped, ImageMetric):
            values = self.wrapped.score(pixels, features, texts).values
            rows = torch.from_numpy(np.stack([np.asarray(values[key], np.float64) for key in self.wrapped.outputs], 1))
            if rows.isinf().any():
                raise UserError(
                    f"{self.name} gave an infinite value; a value is finite, or NaN where it does not apply"
                )
        else:
            assert features is not None  # noqa: S101  `make` takes no other
            rows = features
        self.rows.append(rows.to(self.device))
        self.prompts.append(torch.tensor([_number(prompt) for prompt in texts], dtype=torch.int64, device=self.device))
        if _of_prompts(self.wrapped):
            lines = [_written(prompt) for prompt in texts]
            whole = np.frombuffer(b"".join(lines), np.uint8).copy()
            self.written.append(torch.from_numpy(whole).to(self.device))
            self.lengths.append(torch.tensor([len(line) for line in lines], dtype=torch.int64, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Returns output name → 0-dimensional float64 tensor; NaN where an output applies to no image.

        Outputs that a metric has of image files alone are not among them: there are no files here.

        Raises:
            UserError: fewer images than the metric needs.
        """
        rows, numbers = _joined(self.rows), _joined(self.prompts)
        least = max(1, getattr(self.wrapped, "least", 1))
        if rows is None or numbers is None or len(rows) < least:
            count = 0 if rows is None else len(rows)
            raise UserError(
                f"{self.name} has {count} images and needs at least {least}: call update(images) before compute()"
            )
        array = rows.cpu().numpy()
        if isinstance(self.wrapped, SetMetric):
            found = self.wrapped.compute(array)
        elif isinstance(self.wrapped, ImageMetric):
            found = _means(self.wrapped, array, numbers.tolist())
        else:
            found = _of_each(self.wrapped, array, numbers.tolist(), _read(self.written, self.lengths))
        return {
            key: torch.tensor(float(found[key]), dtype=torch.float64, device=self.device)
            for key in self.wrapped.outputs
            if key in found
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> TorchMetric:
        memo[id(self.wrapped)] = self.wrapped  # Stateless, and as large as its network: shared.
        twin = TorchMetric(self.name, self.wrapped, self._recipe)
        twin.__setstate__(deepcopy(self.__getstate__(), memo))
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__getstate__()
        state.pop("wrapped")  # It is made again from its options: a pickle holds no network.
        return make, self._recipe, state

    def __hash__(self) -> int:
        return id(self)  # torchmetrics' own hashes the states, which change.


def make(name: str, reference: str | None, device: str, dtype: str, given: Mapping[str, Any]) -> TorchMetric:
    """Builds a metric by its name and options, and wraps it; see `drawbench.metrics.torchmetric`."""
    plugin = find("metrics", name)
    factory = plugin.load()
    known = options(factory)
    values = {}
    for key, value in given.items():
        if key not in known:
            has = ", ".join(known) or "none"
            raise UserError(f"{name} has no option {key!r}{did_you_mean(key, known)} (it has: {has})")
        annotation = known[key].annotation
        values[key] = convert(f"{name}: {key}", value, annotation) if isinstance(value, str) else value
    if reference is not None and not takes(factory, "reference"):
        raise UserError(f"{name} takes no reference, and {reference!r} is given")
    standard: dict[str, Any] = {"device": device, "dtype": dtype}
    if reference is not None:
        standard["reference"] = str(reference)
    metric = call(plugin, values, **standard)
    if not isinstance(metric, ImageMetric | SetMetric | PromptMetric):
        raise UserError(
            f"{name} gave {type(metric).__name__}, which is no metric: it lacks outputs, protocol() or score()"
        )
    if hasattr(metric, "for_prompts"):
        raise UserError(f"{name} must know all prompts beforehand and is none for a training loop; score a run by it")
    if metric.network is None and not isinstance(metric, ImageMetric):
        raise UserError(f"{name} keeps whole images and is none for a training loop; score a run by it")
    return TorchMetric(name, metric, (name, reference, device, dtype, dict(given)))


class _Ungiven:
    """Stands for a prompt that was not given: who reads it is told, and who does not need it never notices."""

    def __init__(self, owner: str, number: int) -> None:
        self._owner, self._number = owner, number

    def __getattr__(self, field: str) -> NoReturn:
        if field.startswith("__"):
            raise AttributeError(field)
        raise UserError(f"{self._owner} reads the prompts, and none are given: update(images, prompts)")


def _prompts(owner: str, given: Sequence[str | Prompt] | None, count: int) -> list[Any]:
    if given is None:
        return [_Ungiven(owner, number) for number in range(count)]
    if isinstance(given, str) or len(given) != count:
        what = "one text" if isinstance(given, str) else f"{len(given)} prompts"
        raise UserError(f"{owner}: {what} for {count} images; give a list with one prompt for each image")
    for prompt in given:
        if not isinstance(prompt, str | Prompt):
            raise UserError(f"{owner}: a prompt is {type(prompt).__name__}; give texts, or Prompts")
    return [Prompt(str(_digest(it)), it) if isinstance(it, str) else it for it in given]


def _number(prompt: Any) -> int:
    """Returns what tells prompts apart in a tensor; -1 for one that was not given: such an image stands for itself."""
    return -1 if isinstance(prompt, _Ungiven) else _digest(f"{prompt.id}\n{prompt.text}")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _of_prompts(metric: ImageMetric | SetMetric | PromptMetric) -> TypeGuard[PromptMetric]:
    return isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric)


def _written(prompt: Prompt) -> bytes:
    return json.dumps([prompt.id, prompt.text, prompt.category, dict(prompt.metadata)]).encode()


def _read(written: Tensor | Sequence[Tensor], lengths: Tensor | Sequence[Tensor]) -> list[Prompt]:
    whole, counts = _joined(written), _joined(lengths)
    assert whole is not None and counts is not None  # noqa: S101, PT018  there is an image
    data, ends = whole.cpu().numpy().tobytes(), counts.cumsum(0).tolist()
    return [Prompt(*json.loads(data[first:end])) for first, end in zip([0, *ends], ends, strict=False)]


def _joined(parts: Tensor | Sequence[Tensor]) -> Tensor | None:
    """Returns a list state as one tensor; merging and synchronising may have joined it already."""
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(list(parts)) if len(parts) else None


def _means(metric: ImageMetric, rows: NDArray[np.float64], numbers: Sequence[int]) -> dict[str, float]:
    """Returns the mean of the prompt means of each output; images without a prompt are prompts of their own."""
    own = [f"image {index}" if number == -1 else str(number) for index, number in enumerate(numbers)]
    return _estimates(metric, {name: rows[:, index] for index, name in enumerate(metric.outputs)}, own)


def _of_each(
    metric: PromptMetric, rows: NDArray[np.float32], numbers: Sequence[int], prompts: Sequence[Prompt]
) -> dict[str, float]:
    """Returns the mean over prompts of each output, of ``(N, D)`` features and the N prompts of their images."""
    at: dict[int, list[int]] = {}
    for index, number in enumerate(numbers):
        at.setdefault(number, []).append(index)
    found = [metric.score_prompt([], rows[own], prompts[own[0]]) for own in at.values()]
    columns = {key: np.array([values[key] for values in found], np.float64) for key in metric.outputs}
    return _estimates(metric, columns, list(map(str, at)))


def _estimates(
    metric: ImageMetric | PromptMetric, columns: Mapping[str, NDArray[np.float64]], of: Sequence[str]
) -> dict[str, float]:
    means = {key: estimate(columns[key], of, output.kind).value for key, output in metric.outputs.items()}
    return {key: float("nan") if value is None else value for key, value in means.items()}
