"""Images that were made elsewhere, as a system: decoded to PNG, with what they were on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.images import read_foreign
from drawbench.interfaces import Drawn, Item, Refused

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def folder(*, path: Path) -> Folder:
    """Reads ``NNN.png`` or ``NNN.jpg``, or ``NNN_S.png`` for sample S from 0.

    NNN is the prompt's id; where ids are words, it may be the prompt's number in its file, from 1.
    """
    if not path.is_dir():
        raise UserError(f"folder.path={path} is {'a file' if path.exists() else 'not there'}; give a folder of images")
    return Folder(path)


class Folder:
    """Finds each item's file by its name; what a file may be, and what becomes of it, says `read_foreign`."""

    pads = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(path.iterdir()):
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file():
                self.files[_key(file.stem)].append(file)
        if not self.files:
            raise UserError(
                f"folder.path={path} holds no images ({' '.join(_SUFFIXES)}); files are called NNN.png or NNN.jpg"
            )

    def fingerprint(self) -> Mapping[str, str]:
        """Nothing: each image's own sha256 is in the journal, and files may still be added to the folder."""
        return {}

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        return [self._read(item) for item in items]

    def remarks(self, items: Sequence[Item]) -> list[str]:
        """Says which images of the folder none of the run's items asks for."""
        wanted = {_key(name) for item in items for names in _names(item) for name in names}
        unused = [file.name for key, files in self.files.items() if key not in wanted for file in files]
        if not unused:
            return []
        first = f"{len(unused)} of the images in {self.path} belong to nothing in this run (the first: {unused[0]})"
        return [f"{first}; further samples NNN_S come in with --samples"]

    def _read(self, item: Item) -> Drawn:
        image, facts = read_foreign(file := self._find(item))
        return Drawn(image, facts={"source": file.name, **facts})

    def _find(self, item: Item) -> Path:
        for names in _names(item):
            near = [file for name in names for file in self.files.get(_key(name), [])]
            found = [file for file in near if file.stem in names] or near
            if len(found) > 1:
                raise UserError(
                    f"two images of prompt {item.prompt.id}: {' and '.join(f.name for f in found)}; keep one"
                )
            if found:
                return found[0]
        expected = " or ".join(f"{name}.png|jpg" for names in _names(item) for name in names)
        raise UserError(f"no image of prompt {item.prompt.id}, sample {item.sample}: {self.path} has no {expected}")

    def changed(self, item: Item, facts: Mapping[str, str | int | float]) -> str | None:
        """Says whether the file of an image that is in the run already is not the one that it came from."""
        try:
            file = self._find(item)
        except UserError:
            return None  # It may be gone: the run has its image.
        return (
            None if sha256_file(file) == facts.get("source_sha256") else f"{file} is not what {facts.get('source')} was"
        )


def _names(item: Item) -> list[list[str]]:
    """Returns the stems that an image's file may have: by its prompt's id, then by the number of a prompt whose id is a word."""
    own = [item.prompt.id]
    if not item.prompt.id.isdigit() and "line" in item.prompt.metadata:
        own.append(item.prompt.metadata["line"])
    return [[f"{name}_{item.sample}"] if item.sample else [name, f"{name}_{item.sample}"] for name in own]


def _key(stem: str) -> str:
    """Makes ``1``, ``001`` and ``00001`` one name, and ``1_0`` and ``001_00`` another."""
    return "_".join(part.lstrip("0") or "0" if part.isdigit() else part for part in stem.split("_"))
