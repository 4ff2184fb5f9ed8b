"""Progress of long work, on standard error: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress(total: int, *, unit: str, label: str, done: int = 0, shown: bool = True) -> tqdm[Any]:
    """Returns a bar with rate and time left. ``done`` counts towards the total but not towards the rate."""
    from tqdm import tqdm

    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=label,
        file=sys.stderr,
        mininterval=0.1 if live else 15.0,
        dynamic_ncols=live,
        unit_scale=False,
        smoothing=0.1,
        disable=not shown,
    )


def say(line: str) -> None:
    """Prints a line to standard error, above any bar that is drawn."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
