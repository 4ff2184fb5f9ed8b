"""What a user can put right: errors that are printed in one line, and the exit code that goes with each."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Says what is wrong, what was given, what is allowed and what to do next. Printed without a traceback; exit code 2."""

    exit_code = 2


class AssetMissing(UserError):
    """A named public asset (weights, a prompt list) that could not be found or fetched. Exit code 3."""

    exit_code = 3


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Returns ``"; did you mean 'noise'?"`` where something allowed is near to what was given, else an empty string."""
    near = get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
