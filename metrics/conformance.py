"""Runs a metric, anyone's, through what must hold of every metric, and says in words what does not and what to do.

The images are made in code (`drawbench.metrics.conformance_images`). A metric may declare what it is blind to by an attribute
``insensitive_to``: any of ``channel order``, ``inversion``, ``noise``, ``blur``; that is then its author's word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from drawbench.interfaces import ImageMetric, Output, Prompt, PromptMetric, SetMetric
from drawbench.intervals import paired_difference
from drawbench.metrics.batches import by_size
from drawbench.metrics.conformance_images import (
    SIDE,
    Picture,
    altered,
    blurred,
    inverted,
    noisy,
    pictures,
    swapped,
)
from drawbench.protocol import canonical_json

Metric = ImageMetric | SetMetric | PromptMetric
State = Literal["ok", "BAD", "n.a."]
Values = Mapping[str, NDArray[np.float64]]
"""Output → (N,) of an image metric, (P,) of a prompt metric, (1,) of a set metric."""

NEAR = 1e-4
"""Relative: what another batch size may move in a float32 network. A value of one image that is off by more is another's."""


class Check(NamedTuple):
    """One invariant, and how the metric stands to it."""

    name: str
    state: State
    found: str
    """What was seen; of ``n.a.`` why it does not apply."""
    remedy: str = ""


class Subject(NamedTuple):
    """What is examined."""

    metric: Metric
    again: Metric
    """The same, made a second time."""
    references_itself: bool
    """The reference of a set metric is the set of test images."""
    shown: Sequence[Picture]


def examine(
    build: Callable[[str | None], Metric],
    *,
    reference: str | None,
    takes_reference: bool,
    folder: Path,
    side: int = SIDE,
) -> list[Check]:
    """Examines a metric that ``build(reference)`` makes, on scenes of ``side`` pixels.

    A metric that takes a reference is given the test images themselves, written into ``folder``, where the user gives none: their
    distance from themselves must then be the best.
    """
    shown = pictures(side)
    own = takes_reference and reference is None
    if own:
        _write(shown, folder)
        reference = str(folder)
    subject = Subject(_ready(build(reference), shown), _ready(build(reference), shown), own, shown)
    checks = [_outputs(subject.metric), _protocol(subject)]
    if checks[0].state == "BAD":
        return checks
    try:
        base = values(subject.metric, shown)
    except Exception as error:  # noqa: BLE001  whatever it is, this is where it is told
        what = f"{type(error).__name__}: {error}"
        return [
            *checks,
            Check("values", "BAD", f"it fails on ordinary images ({what})", "make it score uint8 (N, 3, H, W)"),
        ]
    checks.append(_values(subject, base))
    if checks[-1].state == "BAD":
        return checks
    checks += [*_same(subject, base), *_refusals(subject), *_seen(subject, base)]
    return checks


def values(metric: Metric, shown: Sequence[Picture], batch_size: int = 16, shards: int = 1) -> Values:
    """Returns what a metric makes of pictures, batched by size as a run's images are; in parts that are joined at the end."""
    features: NDArray[np.float32] | None = None
    found = {name: np.full(len(shown), np.nan) for name in metric.outputs}
    for shard in range(shards):
        at = list(range(len(shown)))[shard::shards]
        sizes = [(shown[index].pixels.shape[2], shown[index].pixels.shape[1]) for index in at]
        for part in by_size(sizes, batch_size):
            here = [at[index] for index in part]
            images = torch.from_numpy(np.stack([shown[index].pixels for index in here]))
            kept = images.clone()
            rows = metric.network(images).detach().float().cpu() if metric.network is not None else None
            if rows is not None:
                features = np.empty((len(shown), rows.shape[1]), np.float32) if features is None else features
                features[here] = rows.numpy()
            if isinstance(metric, ImageMetric):
                scored = metric.score(images, rows, [shown[index].prompt for index in here]).values
                if wrong := scored.keys() ^ metric.outputs.keys():
                    raise ValueError(f"its values and its outputs disagree on {', '.join(sorted(wrong))}")
                for name, column in scored.items():
                    if np.shape(column) != (len(here),):
                        raise ValueError(
                            f"{name} has shape {np.shape(column)} for {len(here)} images: every image has one value"
                        )
                    found[name][here] = column
            if not torch.equal(images, kept):
                raise ValueError("it alters the images that it is given, which the next metric sees too")
    if isinstance(metric, SetMetric):
        assert features is not None  # noqa: S101  a set metric has a network
        return {name: np.array([value], np.float64) for name, value in metric.compute(features).items()}
    if isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric):
        return _by_prompt(metric, shown, features)
    return found


def _by_prompt(metric: PromptMetric, shown: Sequence[Picture], features: NDArray[np.float32] | None) -> Values:
    groups: dict[Prompt, list[int]] = {}
    for index, it in enumerate(shown):
        groups.setdefault(it.prompt, []).append(index)
    rows = []
    for prompt, at in groups.items():
        images = [] if features is not None else [shown[index].pixels for index in at]
        rows.append(metric.score_prompt(images, None if features is None else features[at], prompt))
    return {name: np.array([row[name] for row in rows], np.float64) for name in metric.outputs}


def _ready(metric: Metric, shown: list[Picture]) -> Metric:
    if isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric):  # Samples of one prompt, two and two.
        shown[:] = [it.with_prompt(shown[index - index % 2].prompt) for index, it in enumerate(shown)]
    if hasattr(metric, "for_prompts"):
        ready: Metric = metric.for_prompts(list(dict.fromkeys(it.prompt for it in shown)))
        return ready
    return metric


def _write(shown: Sequence[Picture], folder: Path) -> None:
    import PIL.Image

    for number, it in enumerate(shown):
        PIL.Image.fromarray(it.pixels.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")


# What it declares


def _outputs(metric: Metric) -> Check:
    wrong = []
    kinds = {"set"} if isinstance(metric, SetMetric) else {"mean", "rate"}
    if [output.main for output in metric.outputs.values()].count(True) != 1:
        wrong.append("not exactly one output is main")
    for name, output in metric.outputs.items():
        if not isinstance(output, Output) or output.higher_is_better not in (True, False, None):
            wrong.append(f"{name} is no Output with a direction (True, False or None)")
        elif output.kind not in kinds:
            wrong.append(f"{name} has the kind {output.kind!r}, and is one of {', '.join(sorted(kinds))} here")
    named = ", ".join(metric.outputs)
    if wrong:
        return Check("outputs", "BAD", "; ".join(wrong), "declare Output(higher_is_better, kind, main) for each value")
    return Check("outputs", "ok", f"{named}; what is better is declared")


def _protocol(subject: Subject) -> Check:
    metric, again = subject.metric, subject.again
    fields, wrong = metric.protocol(), []
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in fields.items()):
        wrong.append("its fields are not all texts")
    else:
        canonical_json(dict(fields))
        if dict(fields) != dict(again.protocol()):
            different = [key for key in fields if fields[key] != again.protocol().get(key)]
            wrong.append(f"made twice it names itself differently ({', '.join(different)})")
    if metric.network is not None and again.network is not None:
        if metric.network.key != again.network.key:
            wrong.append("made twice its network has two keys: features would never be found again")
        told = " ".join(map(str, fields.values()))
        if metric.network.key not in told and not _has_digest(told):
            wrong.append("it has a network and names neither its key nor the sha256 of its weights")
    if wrong:
        return Check("protocol", "BAD", "; ".join(wrong), "let protocol() return every choice that can move the number")
    return Check("protocol", "ok", f"{len(fields)} fields, the same when made twice")


def _has_digest(text: str) -> bool:
    return any(len(word) == 64 and not set(word) - set("0123456789abcdef") for word in text.split())


def _values(subject: Subject, base: Values) -> Check:
    wrong = []
    for name, column in base.items():
        output = subject.metric.outputs[name]
        if np.isinf(column).any() or (output.kind == "set" and np.isnan(column).any()):
            wrong.append(f"{name} is not finite")
        elif output.kind == "rate" and ((column < 0) | (column > 1)).any():
            wrong.append(f"{name} is a rate and has values outside [0, 1]")
    if wrong:
        return Check("values", "BAD", "; ".join(wrong), "a value is finite, or NaN where it does not apply to an image")
    if all(np.isnan(column).all() for column in base.values()):
        return Check("values", "n.a.", "it applies to none of the test images: nothing that follows can be seen")
    return Check("values", "ok", "finite, or NaN where it does not apply")


# What must not move it


def _same(subject: Subject, base: Values) -> Iterator[Check]:
    metric, shown = subject.metric, subject.shown
    how = "a value must follow from its image and prompt alone: keep no counter, no state, no index of the run"
    yield _moved(
        "repeats", base, lambda: values(metric, shown), "scored twice", "seed what is drawn at random; " + how, 0.0
    )
    yield _moved("made anew", base, lambda: values(subject.again, shown), "made and scored again", how, NEAR)
    yield _moved("batch size", base, lambda: values(metric, shown, 3), "in batches of 3 instead of 16", how)
    by_prompt = isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric)
    order = np.arange(len(shown)) if by_prompt else np.random.default_rng(0).permutation(len(shown))

    def shuffled() -> Values:
        found = values(metric, [shown[index] for index in order])
        if isinstance(metric, SetMetric) or by_prompt:
            return found
        return {name: column[np.argsort(order)] for name, column in found.items()}

    if by_prompt:
        yield Check("order", "n.a.", "its images are given prompt by prompt")
    else:
        yield _moved("order", base, shuffled, "in another order", how)
    yield _moved("shard merge", base, lambda: values(metric, shown, shards=3), "in three parts that are joined", how)
    yield _leave_out(subject)


def _moved(name: str, base: Values, repeat: Callable[[], Values], how: str, remedy: str, near: float = NEAR) -> Check:
    try:
        again = repeat()
    except Exception as error:  # noqa: BLE001
        return Check(name, "BAD", f"{how} it fails ({type(error).__name__}: {error})", remedy)
    for output, column in base.items():
        scale = max(1e-3, float(np.nanmax(np.abs(column), initial=0.0)))
        if (np.isnan(column) != np.isnan(again[output])).any():
            return Check(name, "BAD", f"{how}, {output} applies to other images", remedy)
        step = float(np.nanmax(np.abs(column - again[output]), initial=0.0))
        if step > near * scale:
            return Check(name, "BAD", f"{how}, {output} moves by {step:.3g} (it is at most {scale:.3g})", remedy)
    return Check(name, "ok", f"{how}, all values are the same" + (f" to {near:g}" if near else ""))


def _leave_out(subject: Subject) -> Check:
    metric = subject.metric
    if not isinstance(metric, SetMetric):
        return Check("without a group", "n.a.", "one value per image: its interval is not a jackknife's")
    features = _features(metric, subject.shown)
    groups = np.arange(len(features), dtype=np.int64) % 4
    parts = metric.leave_out(features, groups)
    for name in metric.outputs:
        direct = np.array([metric.compute(features[groups != group])[name] for group in range(4)])
        if np.shape(parts[name]) != (4,) or not np.allclose(
            parts[name], direct, rtol=1e-5, atol=1e-8 * np.abs(direct).max()
        ):
            what = f"{name} without each group is {parts[name]}, and {direct} computed anew"
            return Check("without a group", "BAD", what, "leave_out(features, groups) gives compute() of what stays")
    return Check("without a group", "ok", "leave_out gives what compute gives of the images that stay")


def _features(metric: SetMetric, shown: Sequence[Picture]) -> NDArray[np.float32]:
    rows = [metric.network(torch.from_numpy(it.pixels[np.newaxis])).detach().float().cpu().numpy() for it in shown]
    return np.concatenate(rows)


# What it must not take


def _refusals(subject: Subject) -> Iterator[Check]:
    metric, one = subject.metric, subject.shown[0]
    image = torch.from_numpy(one.pixels[np.newaxis])

    def given(images: torch.Tensor) -> Any:
        rows = metric.network(images) if metric.network is not None else None
        prompts = [one.prompt] * len(images)
        if isinstance(metric, ImageMetric):
            scored = metric.score(images, rows, prompts).values
            return np.array([np.asarray(scored[name], np.float64) for name in metric.outputs])
        if isinstance(metric, PromptMetric) and rows is None:
            twice = [images[0].numpy(), images[0].numpy()] if len(images) else []
            return np.array([float(value) for value in metric.score_prompt(twice, None, one.prompt).values()])
        assert rows is not None  # noqa: S101  only image metrics have none
        return np.asarray(rows.detach().float().cpu().numpy(), np.float64)

    right = given(image)
    told = "refuse what is not uint8: `from drawbench.metrics.guard import check_images`"
    for name, images in (("float in [0, 1]", image.float() / 255), ("float in [0, 255]", image.float())):
        try:
            found = given(images)
        except Exception as error:  # noqa: BLE001  a refusal is what is wanted
            yield Check(name, "ok", f"refused ({type(error).__name__})")
            continue
        same = np.shape(found) == np.shape(right) and np.allclose(found, right, rtol=1e-3, atol=1e-6, equal_nan=True)
        if same:
            yield Check(name, "ok", "taken for the same image as in uint8")
        else:
            yield Check(name, "BAD", "taken in silence for another image than the same in uint8", told)
    for name, images in (("NaN", torch.full_like(image, 0, dtype=torch.float32) / 0), ("no image", image[:0])):
        try:
            found = given(images)
        except Exception as error:  # noqa: BLE001
            yield Check(name, "ok", f"refused ({type(error).__name__})")
            continue
        if found.size == 0 or (name == "NaN" and np.isnan(found).all()):
            yield Check(name, "ok", "gives no value")
        else:
            yield Check(name, "BAD", f"gives a value, {found.ravel()[:3]}, of what has none", told)
    yield _too_few(metric, subject.shown)


def _too_few(metric: Metric, shown: Sequence[Picture]) -> Check:
    if not isinstance(metric, SetMetric):
        return Check("too few images", "n.a.", "every image has its own value")
    least = max(1, getattr(metric, "least", 1))
    features = _features(metric, shown[:least])
    try:
        found = metric.compute(features)
    except Exception as error:  # noqa: BLE001
        what = f"it says that {least} images have a value, and fails on them ({type(error).__name__})"
        return Check("too few images", "BAD", what, "set the attribute `least` to the fewest images that have one")
    if not np.isfinite(list(found.values())).all():
        what = f"of {least} images, the fewest that it says have a value, it gives {dict(found)}"
        return Check("too few images", "BAD", what, "set the attribute `least` to the fewest images that have one")
    return Check("too few images", "ok", f"of {least}, the fewest that it says have a value, it is finite")


# What it must see


def _seen(subject: Subject, base: Values) -> Iterator[Check]:
    """Yields whether the metric sees what a person sees; better and worse are judged by its main output."""
    metric, shown = subject.metric, subject.shown
    blind = set(getattr(metric, "insensitive_to", ()))
    if isinstance(metric, PromptMetric) and not isinstance(metric, ImageMetric):
        yield Check("sees", "n.a.", "it tells the images of a prompt apart: none is better or worse")
        return
    reads = False
    if isinstance(metric, ImageMetric):
        scenes = [it.prompt for it in shown if it.scene]
        turned = dict(zip((prompt.id for prompt in scenes), [*scenes[7:], *scenes[:7]], strict=True))
        others = [it.with_prompt(turned.get(it.prompt.id, it.prompt)) for it in shown]
        wrong = values(metric, others)
        reads = any(_differs(base[name], wrong[name]) for name in base)
        yield _prompts(subject, base, wrong, reads)
    for name, change in (("channel order", swapped), ("inversion", inverted)):
        if name in blind:
            yield Check(name, "n.a.", "declared: the metric does not look at it")
            continue
        other = values(metric, altered(shown, change))
        if not any(_differs(base[output], other[output]) for output in base):
            how = "give it all three channels in the order of RGB, or declare insensitive_to = (" + f'"{name}",)'
            yield Check(name, "BAD", "no value changes: it does not see it", how)
        elif (reads or subject.references_itself) and (gain := _better(subject, other, base)):
            how = "it takes images for what they are not: look for BGR, for 255 - x, for a product that wraps around in uint8"
            yield Check(name, "BAD", f"the images score better when changed ({gain})", how)
        else:
            yield Check(name, "ok", "seen")
    if not subject.references_itself:
        why = "a value of one image: there is nothing to compare it with"
        if isinstance(metric, SetMetric):
            why = "the reference is not the test images (without --reference they are, where the metric takes one)"
        yield Check("identity", "n.a.", why)
    else:
        yield _identity(subject, base)
    for name, levels in (
        ("noise", [noisy(share) for share in (0.1, 0.4, 1.0)]),
        ("blur", [blurred(radius) for radius in (10, 40, 160)]),
    ):
        yield _worse(subject, base, name, [values(metric, altered(shown, level)) for level in levels], blind, reads)


def _prompts(subject: Subject, base: Values, wrong: Values, reads: bool) -> Check:
    if not reads:
        return Check("prompts", "n.a.", "it does not read them")
    if gain := _better(subject, wrong, base):
        how = "does every image meet its own prompt? prompts[i] belongs to images[i], in every batch"
        return Check("prompts", "BAD", f"images score better with other images' prompts ({gain})", how)
    return Check("prompts", "ok", "images with their own prompts score no worse than with others'")


def _identity(subject: Subject, base: Values) -> Check:
    how = "a set must be nearest to itself: do images and reference go through the same code?"
    for change, what in ((noisy(1.0), "noise"), (inverted, "negatives"), (blurred(40), "blurred images")):
        other = values(subject.metric, altered(subject.shown, change))
        for name, output in subject.metric.outputs.items():
            if output.higher_is_better is None:
                continue
            sign = 1.0 if output.higher_is_better else -1.0
            ahead = sign * (other[name][0] - base[name][0])
            if ahead > 1e-9 * max(1.0, abs(base[name][0])) or (output.main and what == "noise" and ahead == 0):
                return Check(
                    "identity",
                    "BAD",
                    f"{name} of the same images is {base[name][0]:.4g}, of {what} {other[name][0]:.4g}",
                    how,
                )
    main = _main(subject.metric)
    return Check("identity", "ok", f"{main} of the reference's own images is the best, {base[main][0]:.3g}")


def _worse(subject: Subject, base: Values, name: str, found: Sequence[Values], blind: set[str], reads: bool) -> Check:
    if name in blind:
        return Check(name, "n.a.", "declared: the metric does not look at it")
    main = _main(subject.metric)
    direction = subject.metric.outputs[main].higher_is_better
    if direction is None:
        return Check(name, "n.a.", f"neither more nor less {main} is better")
    if isinstance(subject.metric, SetMetric) and not subject.references_itself:
        return Check(name, "n.a.", "the reference is not the test images: more noise may come nearer to it")
    how = f"more {name} must not score better; a picture that goes wrong in the preprocessing shows here"
    for number, (less, more) in enumerate(zip([base, *found[:-1]], found, strict=True)):
        if gain := _better(subject, more, less):
            return Check(
                name, "BAD", f"step {number + 1} of {len(found)} scores better than the step before ({gain})", how
            )
    if (reads or subject.references_itself) and not _lead(subject, base, found[-1]) > 0:
        return Check(name, "BAD", f"the most {name} scores as well as none", how)
    return Check(
        name, "ok", "the more of it, the worse" if reads or subject.references_itself else "no more of it scores better"
    )


def _better(subject: Subject, one: Values, other: Values) -> str:
    """Returns in words by how much the main output of one is better, where that is more than chance; else nothing."""
    name = _main(subject.metric)
    output = subject.metric.outputs[name]
    if output.higher_is_better is None:
        return ""
    sign = 1.0 if output.higher_is_better else -1.0
    if isinstance(subject.metric, SetMetric):
        a, b = float(one[name][0]), float(other[name][0])
        return f"{name} {a:.4g} against {b:.4g}" if sign * (a - b) > 1e-6 * max(abs(a), abs(b)) else ""
    at = [
        i
        for i, it in enumerate(subject.shown)
        if it.scene and np.isfinite(one[name][i]) and np.isfinite(other[name][i])
    ]
    if not at:
        return ""
    sides = [{str(i): float(values[name][i]) for i in at} for values in (one, other)]
    found = paired_difference(sides[0], sides[1], "mean")
    if found.value is None or found.p is None or found.p > 0.05 or sign * found.value <= 0:
        return ""
    return f"{name} {sum(sides[0].values()) / len(at):.4g} against {sum(sides[1].values()) / len(at):.4g}"


def _lead(subject: Subject, one: Values, other: Values) -> float:
    """Returns by how much the main output of one is better, of few images too, where no test can say anything."""
    name = _main(subject.metric)
    sign = 1.0 if subject.metric.outputs[name].higher_is_better else -1.0
    if isinstance(subject.metric, SetMetric):
        return sign * float(one[name][0] - other[name][0])
    at = [index for index, it in enumerate(subject.shown) if it.scene]
    return sign * float(np.nansum(one[name][at] - other[name][at]))


def _main(metric: Metric) -> str:
    return next(name for name, output in metric.outputs.items() if output.main)


def _differs(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    if (np.isnan(a) != np.isnan(b)).any():
        return True
    scale = max(1e-9, float(np.nanmax(np.abs(a), initial=0.0)))
    return float(np.nanmax(np.abs(a - b), initial=0.0)) > NEAR * scale
