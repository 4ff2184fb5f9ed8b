"""Which figures of a sweep are drawn: one quantity against another, as asked for or as papers have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from drawbench.errors import UserError, did_you_mean
from drawbench.interfaces import Output, Score
from drawbench.metrics.stream import Loaded

DISTANCES = ("fid", "fd")


class Quantity(NamedTuple):
    """What an axis shows: an output of a metric, or a swept option."""

    metric: str | None
    """None: an option."""
    name: str
    """Of the output, or the option's key."""
    arrow: str
    """Which direction is better, where one is."""

    @property
    def label(self) -> str:
        """What the axis is called; an output that has its metric's name is not named twice."""
        names = [self.name] if self.metric in (None, self.name) else [str(self.metric), self.name]
        return " ".join([*names, *([self.arrow] if self.arrow else [])])


class Plot(NamedTuple):
    """One quantity against another."""

    x: Quantity
    y: Quantity


def find_plots(given: Sequence[str], metrics: Sequence[Loaded], swept: Mapping[str, Sequence[str]]) -> list[Plot]:
    """Returns the figures that were asked for: ``x=OUTPUT,y=OUTPUT`` each.

    By default the Fréchet distance against the CLIP score, as far as both are scored; then every metric's main output
    against the first swept option.

    Raises:
        UserError: a text that is no plot, or names what is not scored or swept.
    """
    if given:
        return [_read_plot(text, metrics, swept) for text in given]
    mains = {
        it.alias: Quantity(it.alias, name, arrow_of(o))
        for it in metrics
        for name, o in it.metric.outputs.items()
        if o.main
    }
    gained = [mains[it.alias] for it in metrics if it.name == "clip_score"][:1]
    lost = [mains[it.alias] for it in metrics if it.name in DISTANCES][:1]
    first = Quantity(None, next(iter(swept)), "")
    return [*(Plot(x, y) for x in gained for y in lost), *(Plot(first, main) for main in mains.values())]


def _read_plot(text: str, metrics: Sequence[Loaded], swept: Mapping[str, Sequence[str]]) -> Plot:
    x, comma, y = text.partition(",")
    if not comma or not x.startswith("x=") or not y.startswith("y="):
        raise UserError(f"--plot {text}: write x=OUTPUT,y=OUTPUT, for example --plot x=clip_score,y=fd")
    known = {key: Quantity(None, key, "") for key in swept}
    for it in metrics:
        for name, output in it.metric.outputs.items():
            quantity = Quantity(it.alias, name, arrow_of(output))
            known |= {f"{it.alias}.{name}": quantity, **({it.alias: quantity} if output.main else {})}
    for name in (x[2:], y[2:]):
        if name not in known:
            raise UserError(
                f"--plot {text}: nothing here is called {name!r}{did_you_mean(name, known)} (here are: {', '.join(known)})"
            )
    if known[y[2:]].metric is None:
        raise UserError(f"--plot {text}: {y[2:]} is swept, and has no value of its own; y is what a metric gave")
    return Plot(known[x[2:]], known[y[2:]])


def arrow_of(output: Output | Score) -> str:
    """Returns the direction that is better, as an arrow; empty where neither is."""
    return {True: "↑", False: "↓", None: ""}[output.higher_is_better]
