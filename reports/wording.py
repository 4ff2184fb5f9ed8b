"""What a comparison amounts to, in words: one sentence, the warnings that go with it, and how the numbers were made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from drawbench.human_eval.findings import cautions
from drawbench.interfaces import Interval
from drawbench.reports.comparison import Comparison, RunFacts, Section
from drawbench.reports.digits import bounds, counted, decimals, least_decimals, listed, number
from drawbench.reports.metric_scores import SIZE_FIELD, identity, versions
from drawbench.reports.pairs import ALL_PAIRS_UP_TO, FLIPS, LEVEL, SEED, Contrast
from drawbench.reports.study import methods as study_methods
from drawbench.shapes.prompts import shapes

FEW_PROMPTS = 20
"""Below this many, an interval is wide and a test has little power."""
CLAUSES = 3
"""As many findings stand in the sentence; the rest is counted."""


def sentence(comparison: Comparison) -> str:
    """Returns which system is better, by how much, on what and on how many images; or that nobody can say."""
    if not any(section.metrics for section in comparison.sections):
        drawn = sum(run.drawn for section in comparison.sections for run in section.runs)
        return (
            f"There are {counted(drawn, 'image')} and no scores of them yet: "
            "give every run its scores with `drawbench score RUN --metric NAME`, then repeat the report."
        )
    said = []
    for section in comparison.sections:
        text = _compared(comparison, section) if len(section.runs) > 1 else _alone(section)
        said.append(f"on {_where(section)}, {text}")
    whole = "; ".join(said)
    return whole[0].upper() + whole[1:] + "."


def _where(section: Section) -> str:
    drawn = [run.drawn for run in section.runs]
    each = " each" if len(drawn) > 1 else ""
    images = (
        f"{counted(drawn[0], 'image')}{each}" if len(set(drawn)) == 1 else f"{listed(f'{n:,}' for n in drawn)} images"
    )
    samples = max(run.samples for run in section.runs)
    prompts = counted(max(run.planned for run in section.runs) // samples, "prompt")
    return f"the {prompts} of {section.label} ({images})"


def _alone(section: Section) -> str:
    parts = []
    for metric in section.metrics:
        for output in metric.outputs:
            for of_system in output.scores.values():
                score = of_system.get(None)
                if output.main and score is not None and score.value is not None:
                    places = decimals([score.interval], [score.value], least_decimals(output.kind))
                    text = f"{number(score.value, places)} {bounds(score.interval, places)}".strip()
                    parts.append(f"{text} in {metric.label}")
    more = f" (and {counted(len(parts) - CLAUSES, 'more metric')})" if len(parts) > CLAUSES else ""
    name = section.runs[0].system
    return f"{name} reaches {listed(parts[:CLAUSES])}{more}" if parts else f"{name} has no value yet"


def _compared(comparison: Comparison, section: Section) -> str:
    two = len(section.runs) == 2
    own = [
        c
        for c in comparison.contrasts
        if c.subject.prompt_set == section.sha256 and c.subject.main and c.category is None
    ]
    ranked = [c for c in own if c.subject.higher_is_better is not None]
    wins = [c for c in ranked if c.verdict == "better"]
    ties = [c for c in ranked if c.verdict == "not distinguishable"]
    if wins:
        opposed = two and len({c.better for c in wins}) > 1
        text = ("the metrics disagree: " if opposed else "") + _victories(wins, two)
        return text + (f"; {_ties(ties, len(ranked), two, wins=True)}" if ties else "")
    if ties:
        return _ties(ties, len(ranked), two, wins=False)
    different = [c for c in own if c.verdict == "differ"]
    if different:
        metrics = listed(dict.fromkeys(c.subject.metric for c in different))
        return f"{listed(section.systems)} differ in {metrics}, where neither more nor less is better"
    reasons = dict.fromkeys(f"{c.reason} ({c.subject.metric})" for c in own if c.reason)
    return (
        f"{listed(section.systems)} cannot be compared: {'; '.join(list(reasons)[:CLAUSES]) or 'they share no metric'}"
    )


def _victories(wins: Sequence[Contrast], two: bool) -> str:
    """Returns who won over whom: of two systems metric by metric, of more opponent by opponent."""
    clauses: dict[tuple[str, str], list[str]] = defaultdict(list)
    for contrast in wins[:CLAUSES]:
        winner, metric = contrast.better or "", _where_better(contrast)
        loser = contrast.b if winner == contrast.a else contrast.a
        if two:
            clauses[winner, f"than {loser}"].append(f"{_by_how_much(contrast)} in {metric}")
        else:
            clauses[winner, f"in {metric}"].append(f"than {loser} {_by_how_much(contrast)}")
    text = listed(f"{winner} is better {what} {listed(those)}" for (winner, what), those in clauses.items())
    more = len(wins) - CLAUSES
    return text + (f" ({counted(more, 'more difference')} in the table)" if more > 0 else "")


def _where_better(contrast: Contrast) -> str:
    return contrast.subject.metric + ("" if contrast.subject.higher_is_better else " (less is better)")


def _by_how_much(contrast: Contrast) -> str:
    value, interval = contrast.value or 0.0, contrast.interval
    if value < 0 and interval:
        interval = Interval(-interval.high, -interval.low, interval.method, interval.over, interval.level)
    places = decimals([interval], [value], least_decimals(contrast.subject.kind))
    return f"by {number(abs(value), places)} {bounds(interval, places)}".strip()


def _ties(ties: Sequence[Contrast], of: int, two: bool, wins: bool) -> str:
    metrics = listed(dict.fromkeys(c.subject.metric for c in ties), "or")
    if two:
        names = "the two" if wins else f"{ties[0].a} and {ties[0].b}"
        return f"{names} are not distinguishable in {metrics}"
    if len(ties) == of:
        return f"no two systems are distinguishable in {metrics}"
    return f"{len(ties)} of {of} comparisons are not distinguishable"


def about(comparison: Comparison) -> str:
    """Returns what must be known of what the systems were asked for, before any number is read; mostly nothing."""
    of_shapes = shapes().sha256
    if of_shapes not in {section.sha256 for section in comparison.sections}:
        return ""
    whole = all(section.sha256 == of_shapes for section in comparison.sections)
    return (
        f"{'This' if whole else 'The prompt set shapes'} is the shapes world: a few coloured shapes, whose pictures can be "
        "read back by rules. Its truth is known, so it shows what the numbers are worth; of photographs it says nothing. At "
        "full size the same is `drawbench run --generator imagen --checkpoint FOLDER --prompts drawbench -o DIR`: the 200 "
        "prompts of DrawBench, with a cascade of your own."
    )


def warnings(comparison: Comparison) -> list[str]:
    """Returns what a reader must know before believing a number, the worst first."""
    return [text for warn in (_sets, _protocols, _images, _scores, _studies, _few) for text in warn(comparison)]


def _sets(comparison: Comparison) -> Iterator[str]:
    labels = [section.label for section in comparison.sections if section.label != section.prompt_set]
    if labels:
        yield f"{listed(labels)} are different prompt sets of one name: their numbers must not be held against each other"


def _protocols(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        sizes: dict[str, list[str]] = defaultdict(list)
        for metric in section.metrics:
            held: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
            for field in dict.fromkeys(field for it in metric.mismatches for field in it.fields):
                for system, file in metric.files.items():
                    held[field][str(identity(file).get(field, "not set"))].append(system)
            if SIZE_FIELD in held:
                sizes[_who_has_what(held.pop(SIZE_FIELD))].append(metric.label)
            if held:
                fields = "; ".join(f"{field} is {_who_has_what(values)}" for field, values in held.items())
                yield f"{metric.label} on {section.label} is not compared across protocols: {fields}"
        for who, labels in sizes.items():
            yield (
                f"{listed(labels)} on {section.label}: the number of images is {who}; differences are over the prompts that "
                "both have"
            )


def _who_has_what(values: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{value} ({listed(systems)})" for value, systems in values.items())


def _images(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        for run in section.runs:
            if missing := missing_text(run):
                yield f"{run.system} on {section.label}: {missing} of {counted(run.planned, 'planned image')}"


def missing_text(run: RunFacts) -> str:
    """Returns how many images a run lacks and why; empty where it is complete."""
    parts = ((run.undrawn, "not drawn"), (run.failed, "failed"), (run.refused, "refused"))
    return ", ".join(f"{count:,} {what}" for count, what in parts if count)


def _scores(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        for system, metric in section.stale:
            yield (
                f"{system}: the scores of {metric} on {section.label} are older than the images; "
                f"repeat `drawbench score RUN --metric {metric}`"
            )
        for metrics in section.metrics:
            stale = {system for system, name in section.stale if name == metrics.metric}
            without = [system for system in section.systems if system not in metrics.files and system not in stale]
            if without and metrics.metric not in comparison.skipped:
                yield f"{metrics.label} on {section.label}: {listed(without)} was not scored by it"
    for name, reason in comparison.skipped.items():
        yield f"{name} was skipped: {reason}"
    by_version: dict[str, list[str]] = defaultdict(list)
    for section in comparison.sections:
        for metrics in section.metrics:
            if by := versions(metrics):
                by_version[_who_has_what(by)].append(f"{metrics.label} on {section.label}")
    for who, labels in by_version.items():
        yield f"{listed(labels)}: scored by drawbench {who}; score all again with one version"
    gone = [c for c in comparison.contrasts if c.reason and "per-image values" in c.reason and c.subject.main]
    yield from dict.fromkeys(f"{c.subject.metric}: {c.reason}" for c in gone)


def _studies(comparison: Comparison) -> Iterator[str]:
    for study in comparison.studies:
        yield from study.remarks
        yield from (f"the study {study.label}: {text}" for text in cautions(study.analysis))
        if flags := study.analysis["flags"]:
            yield f"the study {study.label}: {counted(len(flags), 'rater')} flagged and counted; its own analysis has both"


def _few(comparison: Comparison) -> Iterator[str]:
    for section in comparison.sections:
        few = {}
        for metric in section.metrics:
            for output in metric.outputs:
                counts = [of_system[None].n_prompts for of_system in output.scores.values() if None in of_system]
                if output.main and counts and output.kind != "set" and min(counts) < FEW_PROMPTS:
                    few[metric.label] = min(counts)
        if few:
            named = listed(f"{label} ({counted(count, 'prompt')})" for label, count in few.items())
            yield f"few prompts on {section.label}: {named}; the intervals are wide and only large differences can be seen"


def methods(comparison: Comparison) -> list[str]:
    """Returns how the numbers were made, a sentence or two for each choice."""
    told = dict.fromkeys(
        f"What {study.who} said. {text}" for study in comparison.studies for text in study_methods(study.analysis)
    )
    return [*_of_scores(comparison), *told]


def _of_scores(comparison: Comparison) -> list[str]:
    scores = [
        score
        for section in comparison.sections
        for metric in section.metrics
        for output in metric.outputs
        for of_system in output.scores.values()
        for score in of_system.values()
    ]
    kinds = dict.fromkeys((s.interval.method, s.interval.over, s.interval.level) for s in scores if s.interval)
    notes = [
        f"Intervals of values are {level:.0%} intervals over {over}: {method}. {_reading(over)}"
        for method, over, level in kinds
    ]
    tested = [c for c in comparison.contrasts if c.p is not None]
    if not tested:
        return notes
    of_difference = dict.fromkeys(c.interval.method for c in tested if c.interval)
    tests = dict.fromkeys(c.p_method for c in tested if c.p_method)
    paired = (
        "A difference A − B is paired: the samples of a prompt are averaged first, then the two systems are subtracted "
        f"prompt by prompt, on the prompts that both have. Its {LEVEL:.0%} interval: {listed(of_difference)}."
    )
    test = (
        f"p: a two-sided sign-flip permutation test on the prompts' differences ({listed(tests)}). All sign patterns are "
        f"tried where there are at most {FLIPS:,}, else {FLIPS:,} are drawn with seed {SEED}."
    )
    families = (
        "p is adjusted by Holm (1979) within families: the overall differences of the main outputs, over all metrics, "
        "pairs and prompt sets of the first table, are one; those of all other outputs are one; and for each output and "
        "pair, its categories are one. An output that is another one times a constant has that one's p, and counts once."
    )
    verdict = (
        f"A verdict asks for both: Holm's p below {1 - LEVEL:.2f} and an interval that excludes 0 (p alone, where the "
        "difference is the same on every prompt and has no interval). “Not distinguishable” does not mean equal: the "
        "interval says how large a difference may have gone unseen."
    )
    notes += [paired, test, families, verdict]
    if len(comparison.systems) > ALL_PAIRS_UP_TO:
        notes.append(
            f"With more than {ALL_PAIRS_UP_TO} systems, each is compared with the first, {comparison.systems[0].name}."
        )
    return notes


def _reading(over: str) -> str:
    if over == "prompts":
        return "They speak of other prompts of the same kind."
    if over == "samples":
        return "They speak of these very prompts, drawn with other seeds."
    return ""
