"""Public files that are no part of this package: from the cache, else by one download that is accepted by its content only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from drawbench import __version__
from drawbench.files import write_atomic
from drawbench.progress import progress, say
from drawbench.weights import cache_folder, missing

_RAW = "https://raw.githubusercontent.com"

MIRRORS: dict[str, tuple[str, ...]] = {
    "drawbench": (
        f"{_RAW}/kennymckormick/DrawBench-Glance/fd4117bc76a78a1519d1b061144efca9cd131270/imagen.csv",
        f"{_RAW}/brianfitzgerald/smolmodels/efd010832ef12dcf49af5a8446f1febd28a8cb11/data/drawbench.csv",
        "https://docs.google.com/spreadsheets/d/1y7nAbmR4FREi6npB1u-Bo3GFdwdOPYJc617rBOxIRHY/gviz/tq?tqx=out:csv",
    ),
    "coco-30k": (
        f"{_RAW}/rohitgandikota/erasing/3d10dd1b2df4ec4e74edcadac4200c7401585138/data/coco_30k.csv",
        f"{_RAW}/rohitgandikota/erasing/HEAD/data/coco_30k.csv",
    ),
}
"""Where a prompt set's file is published, in the order in which the places are tried."""

SILENCE_S = 15.0
"""A server that cannot be connected to, or says nothing more, for so long is given up."""
WHOLE_S = 300.0
"""So long one download may take in all: a server that drips is given up too."""


@dataclass(frozen=True, slots=True)
class Published:
    """A public file of prompts."""

    name: str
    """Of its prompt set: it is ``prompts/<name>.csv`` in the cache."""
    what: str
    bytes: int
    licence: str

    @property
    def place(self) -> Path:
        """Where it lies in the cache."""
        return cache_folder() / "prompts" / f"{self.name}.csv"


def is_offline() -> bool:
    """Says whether the environment forbids a download: DRAWBENCH_OFFLINE, or the model hub's HF_HUB_OFFLINE."""
    return any(
        os.environ.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("DRAWBENCH_OFFLINE", "HF_HUB_OFFLINE")
    )


def fetched(published: Published, fault: Callable[[bytes], str]) -> Path:
    """Returns a file's place in the cache, after one download where it is not there; two processes download it once.

    ``fault`` says in words what is wrong with a file's content, or nothing; only what it finds no fault with is kept, and
    beside it a note of where it came from. What is in the cache already is not asked about here.

    Raises:
        AssetMissing: no mirror has it, or no download is allowed; why each mirror was passed over is on standard error.
    """
    from filelock import FileLock

    place = published.place
    if place.is_file():
        return place
    if not is_offline():
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if place.is_file() or _from_a_mirror(published, fault):
                return place
    size = f"{published.bytes / 1e6:.1f} MB" if published.bytes > 1e6 else f"{published.bytes / 1e3:.0f} kB"
    raise missing(published.what, size=size, place=place, instead=f"name it: --prompts {published.name}=FILE")


def _from_a_mirror(published: Published, fault: Callable[[bytes], str]) -> bool:
    for url in MIRRORS[published.name]:
        try:
            data = _get(url, published)
            wrong = fault(data)
        except HTTPError as error:
            error.close()
            wrong = f"HTTP {error.code} {error.reason}"
        except URLError as error:
            wrong = str(error.reason)
        except (OSError, HTTPException) as error:
            wrong = f"{error}" or type(error).__name__
        if not wrong:
            origin = {"url": url, "sha256": sha256(data).hexdigest(), "licence": published.licence}
            write_atomic(published.place.with_suffix(".origin.json"), (json.dumps(origin, indent=2) + "\n").encode())
            write_atomic(published.place, data)
            return True
        say(f"{published.name}: not from {url}: {' '.join(wrong.split())}")
    return False


def _get(url: str, published: Published) -> bytes:
    request = Request(url, headers={"User-Agent": f"drawbench/{__version__}"})  # noqa: S310  an address of the table above
    end = time.monotonic() + WHOLE_S
    limit = 2 * published.bytes + 2**20
    data = bytearray()
    with urlopen(request, timeout=SILENCE_S) as response:  # noqa: S310
        length = (response.headers.get("Content-Length") or "0").strip()
        if not (length.isascii() and length.isdecimal()):
            raise OSError(f"its Content-Length is no number: {length[:40]}")
        told = int(length)
        with progress(told or published.bytes, unit=" bytes", label=f"fetching {published.name}") as bar:
            while part := response.read1(2**16):  # One receipt at a time, so that the clock is looked at.
                data += part
                bar.update(len(part))
                if len(data) > limit:
                    raise OSError(f"it sends more than {limit} bytes; the file has {published.bytes}")
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {WHOLE_S:.0f} s")
    if len(data) < told:
        raise OSError(f"it broke off after {len(data)} of {told} bytes")
    return bytes(data)
