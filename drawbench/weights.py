"""Where things are kept: the cache folder, and weight files in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drawbench.errors import AssetMissing, UserError


def cache_folder() -> Path:
    """Returns ``$DRAWBENCH_CACHE``, by default ``~/.cache/drawbench``. Holds ``weights/``, ``prompts/``, ``features/``."""
    return Path(os.environ.get("DRAWBENCH_CACHE") or "~/.cache/drawbench").expanduser()


def given_file(path: Path, what: str) -> Path:
    """Returns a file named by hand, or says that it is not there."""
    path = path.expanduser()
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not there"
        raise UserError(f"{what}: {path} is {kind}; give the path of a file")
    return path


def missing(what: str, *, size: str, place: Path, instead: str) -> AssetMissing:
    """Returns the error for a public file that is neither here nor to be fetched: its name, size, place, and the way round."""
    return AssetMissing(
        f"{what} ({size}): not on this machine and not to be fetched; put it at {place} "
        f"(the folder is set by DRAWBENCH_CACHE), or {instead}"
    )


@contextmanager
def hub_within_reach(seconds: float = 5.0) -> Iterator[None]:
    """Asks once whether the model hub answers; where not, its client looks in its cache only, without a minute of retries."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    if not before:
        try:
            urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=seconds).close()  # noqa: S310  the hub's own address
        except HTTPError:
            pass  # It answers.
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
