"""Runs a metric, anyone's, through what must hold of every metric, and says in words what does not and what to do.

The images are made in code (`drawbench.metrics.conformance_images`). A metric may declare what it is blind to by an attribute
``insensitive_to``: any of ``channel order``, ``inversion``, ``noise``, ``blur``; and by ``sensitive_to = ("order",)`` that the
images' order moves it (it draws some of them by their place). That is then its author's word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from drawbench.interfaces import ImageMetric, Output, SetMetric
from drawbench.intervals import jackknife_difference, paired_difference
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
from drawbench.metrics.conformance_prompts import seen_of_prompts, turned_round, two_and_two
from drawbench.metrics.conformance_values import (
    NEAR,
    Check,
    Metric,
    OfSet,
    Subject,
    Values,
    WithoutPixels,
    by_prompt,
    differs,
    features_of,
    moved,
    values,
)
from drawbench.protocol import canonical_json

GROUPS = 12
"""Of images, for a jackknife of the difference of two sets."""


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
    if isinstance(subject.metric, SetMetric) and _least(subject.metric) > len(shown):
        lacks = f"it needs {_least(subject.metric)} images, and {len(shown)} are shown here: lower what asks for so many by --set"
        return [*checks, Check("values", "n.a.", lacks), *_refusals(subject)]
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
    if checks[-1].state == "n.a.":
        return [*checks, *_refusals(subject)]
    checks += [*_same(subject, base), *_refusals(subject), *_seen(subject, base)]
    return checks


def _ready(metric: Metric, shown: list[Picture]) -> Metric:
    if by_prompt(metric):
        shown[:] = two_and_two(shown)
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
    yield moved(
        "repeats", base, lambda: values(metric, shown), "scored twice", "seed what is drawn at random; " + how, 0.0
    )
    yield moved("made anew", base, lambda: values(subject.again, shown), "made and scored again", how, NEAR)
    yield moved("batch size", base, lambda: values(metric, shown, 3), "in batches of 3 instead of 16", how)
    yield _order(subject, base, how)
    yield moved("shard merge", base, lambda: values(metric, shown, shards=3), "in three parts that are joined", how)
    yield _features_only(subject, base)
    yield _leave_out(subject)


def _order(subject: Subject, base: Values, how: str) -> Check:
    metric, shown = subject.metric, subject.shown
    if _by_place(metric):
        return Check("order", "n.a.", "declared: the images' order moves it")
    how += ', or declare sensitive_to = ("order",)'
    if by_prompt(metric):
        return moved("order", base, lambda: values(metric, turned_round(shown)), "with a prompt's images reversed", how)
    order = np.random.default_rng(0).permutation(len(shown))

    def shuffled() -> Values:
        found = values(metric, [shown[index] for index in order])
        if isinstance(metric, SetMetric):
            return found
        return {name: column[np.argsort(order)] for name, column in found.items()}

    return moved("order", base, shuffled, "in another order", how)


def _by_place(metric: Metric) -> bool:
    return "order" in getattr(metric, "sensitive_to", ())


def _features_only(subject: Subject, base: Values) -> Check:
    metric, name = subject.metric, "features only"
    if not isinstance(metric, ImageMetric) or not getattr(metric, "features_only", False):
        return Check(name, "n.a.", "not declared: it is given whatever it takes")
    if metric.network is None:
        return Check(name, "n.a.", "it has no network, and is given its images whatever it declares")
    remedy = (
        "take features_only from it, or let score() read the features and nothing of the images but how many they are"
    )
    without = WithoutPixels(metric)
    return moved(name, base, lambda: values(without, subject.shown), "given images without pixels (N, 3, 0, 0)", remedy)


def _leave_out(subject: Subject) -> Check:
    metric = subject.metric
    if not isinstance(metric, SetMetric):
        return Check("without a group", "n.a.", "one value per image: its interval is not a jackknife's")
    if not getattr(metric, "with_interval", True):
        return Check("without a group", "n.a.", "it says that its interval is left out")
    if _by_place(metric):
        return Check(
            "without a group", "n.a.", "declared: it draws by place, and would draw others anew where some are gone"
        )
    groups = np.arange(len(subject.shown), dtype=np.int64) % 4
    stay = len(groups) - int(np.bincount(groups).max())
    if stay < _least(metric):
        few = f"it needs {_least(metric)} images, and {stay} stay: lower what asks for so many by --set"
        return Check("without a group", "n.a.", few)
    features = features_of(metric, subject.shown)
    parts = metric.leave_out(features, groups)
    for name in metric.compute(features):
        direct = np.array([metric.compute(features[groups != group])[name] for group in range(4)])
        if name not in parts:
            what = f"leave_out has no {name}, and compute has"
            return Check("without a group", "BAD", what, "leave_out(features, groups) gives every output of compute()")
        if np.shape(parts[name]) != (4,) or not np.allclose(
            parts[name], direct, rtol=1e-5, atol=1e-8 * np.abs(direct).max()
        ):
            what = f"{name} without each group is {parts[name]}, and {direct} computed anew"
            return Check("without a group", "BAD", what, "leave_out(features, groups) gives compute() of what stays")
    return Check("without a group", "ok", "leave_out gives what compute gives of the images that stay")


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
        if by_prompt(metric) and rows is None:
            twice = [images[0].numpy(), images[0].numpy()] if len(images) else []
            return np.array([float(value) for value in metric.score_prompt(twice, None, one.prompt).values()])
        assert rows is not None  # noqa: S101  only image metrics have none
        return np.asarray(rows.detach().float().cpu().numpy(), np.float64)

    right = given(image)
    told = "refuse what is not uint8: `from drawbench.metrics.guard import check_images`"
    if by_prompt(metric):
        told = "refuse an image whose dtype is not uint8, and give NaN where there is none"
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
        applies_not = (name == "NaN" or by_prompt(metric)) and np.isnan(found).all()
        if found.size == 0 or applies_not:
            yield Check(name, "ok", "gives no value")
        else:
            yield Check(name, "BAD", f"gives a value, {found.ravel()[:3]}, of what has none", told)
    yield _too_few(metric, subject.shown)


def _least(metric: SetMetric) -> int:
    return max(1, getattr(metric, "least", 1))


def _too_few(metric: Metric, shown: Sequence[Picture]) -> Check:
    if not isinstance(metric, SetMetric):
        return Check("too few images", "n.a.", "every image has its own value")
    least = _least(metric)
    if least > len(shown):
        return Check("too few images", "n.a.", f"it needs {least}, more than are shown here")
    features = features_of(metric, shown[:least])
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
    if by_prompt(metric):
        yield from seen_of_prompts(metric, shown, base, blind)
        return
    reads = False
    if isinstance(metric, ImageMetric):
        scenes = [it.prompt for it in shown if it.scene]
        turned = dict(zip((prompt.id for prompt in scenes), [*scenes[7:], *scenes[:7]], strict=True))
        others = [it.with_prompt(turned.get(it.prompt.id, it.prompt)) for it in shown]
        wrong = values(metric, others)
        reads = any(differs(base[name], wrong[name]) for name in base)
        yield _prompts(subject, base, wrong, reads)
    for name, change in (("channel order", swapped), ("inversion", inverted)):
        if name in blind:
            yield Check(name, "n.a.", "declared: the metric does not look at it")
            continue
        other = values(metric, altered(shown, change))
        if not any(differs(base[output], other[output]) for output in base):
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
            if output.higher_is_better is None or name not in base:  # Of files, not of features.
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
        if sign * (a - b) <= 1e-6 * max(abs(a), abs(b)) or _by_chance(subject.metric, name, one, other):
            return ""
        return f"{name} {a:.4g} against {b:.4g}"
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


def _by_chance(metric: SetMetric, name: str, one: Values, other: Values) -> bool:
    """Says whether two sets' values differ by no more than which images are in them: an unbiased estimate of 0 is often less.

    Where no group can be spared it is not known, and the difference stands.
    """
    assert isinstance(one, OfSet) and isinstance(other, OfSet)  # noqa: S101, PT018  so are the values of a set metric
    groups = np.arange(len(one.features), dtype=np.int64) % GROUPS
    if len(groups) - int(np.bincount(groups).max()) < _least(metric):
        return False
    first, second = (np.asarray(metric.leave_out(it.features, groups)[name], np.float64) for it in (one, other))
    found = jackknife_difference(float(one[name][0]), float(other[name][0]), first, second, len(groups))
    return found.p is not None and found.p > 0.05


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
