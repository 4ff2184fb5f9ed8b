"""What is to be measured of a run and is not known yet, metric by metric, and the measuring of it, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drawbench import __version__
from drawbench.errors import UserError
from drawbench.executors.shard import WHOLE, Shard
from drawbench.interfaces import ImageMetric, Network, PromptMetric, SetMetric
from drawbench.journal import Record
from drawbench.metrics.batches import sizes_of
from drawbench.metrics.features import Features, made_by
from drawbench.metrics.scoring import Loaded, by_prompt, checked, fields_of
from drawbench.metrics.unfinished import Row, Unfinished
from drawbench.protocol import digest
from drawbench.store import Run

if TYPE_CHECKING:
    from torch import Tensor


class Work:
    """What some metrics need of a run, or of a part of its prompts."""

    def __init__(self, run: Run, records: Sequence[Record], metrics: Sequence[Loaded], part: Shard = WHOLE) -> None:
        self.run, self.records, self.metrics = run, records, metrics
        self.errors: dict[str, Exception] = {}
        """By alias: why a metric was given up."""
        self._prompts = by_prompt(records)
        self._part = part.of(list(self._prompts))
        self.mine = [index for prompt in self._part for index in self._prompts[prompt]]
        """The part's positions in the run."""
        self._unfinished = {
            loaded.alias: Unfinished(run.path, value_protocol(run, loaded), loaded.metric.outputs)
            for loaded in metrics
            if not isinstance(loaded.metric, SetMetric)
        }
        self._lack = {loaded.alias: self._lacking(loaded) for loaded in metrics}
        """Positions without a value; of a set metric all, for it wants their features, or none where there are too few."""
        self._wanted: dict[str, set[int]] = {}
        """Network, as `_network` names it → positions whose features somebody wants."""
        self._features: dict[str, Features] = {}
        images = [str(record.sha256) for record in records]
        for loaded in metrics:
            if loaded.metric.network is not None:
                key = _network(loaded)
                self._wanted.setdefault(key, set()).update(self._lack[loaded.alias])
                if key not in self._features:
                    self._features[key] = Features(loaded.metric.network.key, images, loaded.identity)
        together, self.mixed = self._together()
        """Prompts whose images are wanted together and are of several sizes: they are read in a pass of their own."""
        alone = {index for loaded in metrics if _sees_images(loaded) for index in self._lack[loaded.alias]}
        for key, wanted in self._wanted.items():
            alone.update(self._features[key].lacking(sorted(wanted)))
        self.to_see = sorted(alone | together)
        """The positions whose images must be read, but for the mixed prompts."""
        valued = {index for loaded in metrics if loaded.alias in self._unfinished for index in self._lack[loaded.alias]}
        self.to_do = sorted(valued | alone)
        """The positions of which anything is to be computed."""
        self._waiting: dict[str, dict[int, NDArray[np.uint8]]] = {}
        """Images of prompts that have not all been seen, by position."""

    @property
    def living(self) -> list[Loaded]:
        """The metrics that did not fail."""
        return [loaded for loaded in self.metrics if loaded.alias not in self.errors]

    @property
    def from_features(self) -> list[int]:
        """The positions of which an image metric wants the features and not the image."""
        at_rest = [loaded for loaded in self.metrics if isinstance(loaded.metric, ImageMetric)]
        return sorted({i for loaded in at_rest if not _sees_images(loaded) for i in self._lack[loaded.alias]})

    def see(self, positions: Sequence[int], images: Tensor) -> None:
        """Makes of a batch ``(N, 3, H, W) uint8`` of one size whatever is wanted of it."""
        networks = {_network(it): it.metric.network for it in self.living if it.metric.network is not None}
        for key, network in networks.items():
            at, part = _chosen(positions, images, self._wanted[key])
            if at:
                self._see_features(key, network, at, part)
        for loaded in self.living:
            if _sees_images(loaded):
                at, part = _chosen(positions, images, self._lack[loaded.alias])
                if at:
                    self._score_images(loaded, at, part)
        self._gather(positions, images)

    def look_up(self, positions: Sequence[int]) -> None:
        """Scores images by the metrics for which their features are enough."""
        import torch

        for loaded in self.living:
            if isinstance(loaded.metric, ImageMetric) and not _sees_images(loaded):
                at = [index for index in positions if index in self._lack[loaded.alias]]
                if at:
                    self._score_images(loaded, at, torch.empty((len(at), 3, 0, 0), dtype=torch.uint8))

    def see_prompt(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> None:
        """Scores a prompt by the metrics that want its images ``(3, H, W)`` together."""
        for loaded in self.living:
            if _sees_prompts(loaded) and self._prompts[prompt][0] in self._lack[loaded.alias]:
                self._score_prompt(loaded, prompt, images)

    def prompts_from_features(self) -> None:
        """Scores prompts by the metrics that want the features of their images together."""
        for loaded in self.living:
            if isinstance(loaded.metric, PromptMetric) and not _sees_prompts(loaded):
                for prompt in self._part:
                    if loaded.alias not in self.errors and self._prompts[prompt][0] in self._lack[loaded.alias]:
                        self._score_prompt(loaded, prompt, [])

    def features(self, loaded: Loaded) -> NDArray[np.float32]:
        """Returns the features ``(N, D)`` of all images by a metric's network, all of which are known; none of too few images."""
        if isinstance(loaded.metric, SetMetric) and not has_enough(loaded.metric, self.records):
            return np.empty((0, 0), np.float32)
        return self._features[_network(loaded)].array

    def positions(self, prompt: str) -> list[int]:
        """Returns where a prompt's images stand in the run, by sample."""
        return self._prompts[prompt]

    def rows(self, loaded: Loaded) -> list[Row]:
        """Returns the values of a metric, all of which are known: by image, or by prompt."""
        keys = self._keys(loaded)
        known = self._unfinished[loaded.alias].rows
        if isinstance(loaded.metric, PromptMetric):
            return [known[keys[positions[0]]] for positions in self._prompts.values()]
        return [known[key] for key in keys]

    def close(self) -> None:
        """Keeps the features that were computed."""
        for features in self._features.values():
            features.close()

    def give_up(self, loaded: Loaded, error: Exception) -> None:
        """Notes why a metric has no scores; it is told when the other metrics are done and on disk."""
        self.errors[loaded.alias] = _of_metric(loaded, error)

    def summary(self) -> str:
        """Returns what was computed and what was known, in words."""
        read = len(self.to_see) + sum(len(self._prompts[prompt]) for prompt in self.mixed)
        said = [f"{read} of {len(self.mine)} images were read"]
        for key, features in self._features.items():
            if not self._wanted[key]:
                continue
            users = [loaded.alias for loaded in self.metrics if loaded.metric.network and _network(loaded) == key]
            wanted = len({features.images[index] for index in self._wanted[key]})
            lacking = len(features.lacking(sorted(self._wanted[key])))
            kept = wanted - features.computed - lacking
            what = f"features for {', '.join(users)}: {features.computed} computed, {kept} from the cache"
            said.append(what + (f", {lacking} not computed" if lacking else ""))
        for alias, unfinished in self._unfinished.items():
            if unfinished.found:
                said.append(f"{alias} went on from {unfinished.found} values that were kept")
        return "; ".join(said)

    def _lacking(self, loaded: Loaded) -> set[int]:
        if isinstance(loaded.metric, SetMetric):
            return set(self.mine) if has_enough(loaded.metric, self.records) else set()
        known, keys = self._unfinished[loaded.alias].rows, self._keys(loaded)
        return {index for index in self.mine if keys[index] not in known}

    def _keys(self, loaded: Loaded) -> list[str]:
        return self._prompt_keys if isinstance(loaded.metric, PromptMetric) else self._image_keys

    @cached_property
    def _image_keys(self) -> list[str]:
        """By position: what a value is of, an image and the prompt that it is held against."""
        return [digest([record.sha256, asdict(self.run.prompts[record.prompt])]) for record in self.records]

    @cached_property
    def _prompt_keys(self) -> list[str]:
        """By position: what a value is of, a prompt and all its images."""
        keys = [""] * len(self.records)
        for prompt, positions in self._prompts.items():
            key = digest([[self.records[index].sha256 for index in positions], asdict(self.run.prompts[prompt])])
            for index in positions:
                keys[index] = key
        return keys

    def _together(self) -> tuple[set[int], list[str]]:
        """Returns the positions of prompts whose images are wanted together, and apart those of several sizes.

        Images of one size come in their order, so that few prompts wait for their last one. Of several sizes too many would.
        """
        users = [loaded for loaded in self.metrics if _sees_prompts(loaded)]
        lacking = {index for loaded in users for index in self._lack[loaded.alias]}
        sizes = sizes_of(self.records)
        together: set[int] = set()
        mixed = []
        for prompt in self._part:
            positions = self._prompts[prompt]
            if positions[0] in lacking and len({sizes[index] for index in positions}) == 1:
                together.update(positions)
            elif positions[0] in lacking:
                mixed.append(prompt)
        return together, mixed

    def _gather(self, positions: Sequence[int], images: Tensor) -> None:
        if not any(map(_sees_prompts, self.living)):
            return
        for number, index in enumerate(positions):
            prompt = self.records[index].prompt
            if prompt in self.mixed:
                continue
            so_far = self._waiting.setdefault(prompt, {})
            so_far[index] = images[number].numpy()
            if len(so_far) == len(self._prompts[prompt]):  # They may come in another order than their own.
                self.see_prompt(prompt, [so_far[own] for own in self._prompts[prompt]])
                del self._waiting[prompt]

    def _see_features(self, key: str, network: Network, at: Sequence[int], images: Tensor) -> None:
        """Asks a network; where it fails, every metric on it is given up, and the others go on."""
        try:
            self._features[key].of(at, images, network)
        except Exception as error:  # noqa: BLE001  told when the other metrics are done and on disk
            for loaded in self.living:
                if loaded.metric.network is not None and _network(loaded) == key:
                    named = type(error)(f"metric {loaded.alias}: {error}") if isinstance(error, UserError) else error
                    self.give_up(loaded, named)

    def _score_images(self, loaded: Loaded, at: Sequence[int], images: Tensor) -> None:
        import torch

        prompts = [self.run.prompts[self.records[index].prompt] for index in at]

        def score() -> list[Row]:
            metric: Any = loaded.metric
            features = torch.from_numpy(self._features[_network(loaded)].rows(at)) if metric.network else None
            scored = metric.score(images, features, prompts)
            return checked(loaded, scored.values, scored.notes, len(at))

        self._keep(loaded, [self._image_keys[index] for index in at], score)

    def _score_prompt(self, loaded: Loaded, prompt: str, images: Sequence[NDArray[np.uint8]]) -> None:
        positions = self._prompts[prompt]

        def score() -> list[Row]:
            metric: Any = loaded.metric
            features = self._features[_network(loaded)].rows(positions) if metric.network else None
            values = metric.score_prompt(images, features, self.run.prompts[prompt])
            return checked(loaded, {name: np.array([value]) for name, value in values.items()}, {}, 1)

        self._keep(loaded, [self._prompt_keys[positions[0]]], score)

    def _keep(self, loaded: Loaded, keys: Sequence[str], score: Callable[[], list[Row]]) -> None:
        try:
            self._unfinished[loaded.alias].add(dict(zip(keys, score(), strict=True)))
        except Exception as error:  # noqa: BLE001  told when the other metrics are done and on disk
            self.give_up(loaded, error)


def value_protocol(run: Run, loaded: Loaded) -> str:
    """Returns the digest of all that moves a single value: what is kept of a metric under it is taken up."""
    return digest({**fields_of(run, loaded), "drawbench": __version__})


def _network(loaded: Loaded) -> str:
    """Names the network of a metric that has one: other code may give another network the same key."""
    return made_by(loaded.metric.network.key, loaded.identity) if loaded.metric.network is not None else ""


def _sees_images(loaded: Loaded) -> bool:
    """Says whether an image metric is to be given images: features are enough where it says so."""
    metric = loaded.metric
    return isinstance(metric, ImageMetric) and not (metric.network and getattr(metric, "features_only", False))


def _sees_prompts(loaded: Loaded) -> bool:
    return isinstance(loaded.metric, PromptMetric) and loaded.metric.network is None


def _chosen(positions: Sequence[int], images: Tensor, wanted: set[int]) -> tuple[list[int], Tensor]:
    at = [number for number, index in enumerate(positions) if index in wanted]
    return [positions[number] for number in at], images if len(at) == len(positions) else images[at]


def _of_metric(loaded: Loaded, error: Exception) -> Exception:
    """Names the metric in an error that is not for the user to put right, keeping its cause."""
    if isinstance(error, UserError):
        return error
    named = RuntimeError(f"metric {loaded.alias} failed: {type(error).__name__}: {error}")
    named.__cause__ = error
    return named


def has_enough(metric: SetMetric, records: Sequence[Record]) -> bool:
    """Says whether a set metric has a value of so many images: else no feature is computed for it."""
    return len(records) >= int(getattr(metric, "least", 1))
