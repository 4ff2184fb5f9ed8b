"""Images that were made elsewhere, as a system: decoded to PNG, with what they were on record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from drawbench.errors import UserError
from drawbench.images import read_foreign
from drawbench.interfaces import Drawn, Item, Refused

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def folder(*, path: Path) -> Folder:
    """Reads ``NNN.png`` or ``NNN.jpg`` (NNN = the prompt's id, or its line number), or ``NNN_S.png`` for sample S from 0."""
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
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."):
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
        wanted = {_key(f"{item.prompt.id}_{item.sample}") for item in items}
        wanted |= {_key(item.prompt.id) for item in items if not item.sample}
        unused = [file.name for key, files in self.files.items() if key not in wanted for file in files]
        if not unused:
            return []
        first = f"{len(unused)} of the images in {self.path} belong to nothing in this run (the first: {unused[0]})"
        return [f"{first}; further samples NNN_S come in with --samples"]

    def _read(self, item: Item) -> Drawn:
        numbered = f"{item.prompt.id}_{item.sample}"
        names = [numbered] if item.sample else [item.prompt.id, numbered]
        near = [file for name in names for file in self.files.get(_key(name), [])]
        found = [file for file in near if file.stem in names] or near
        if not found:
            expected = " or ".join(f"{name}.png|jpg" for name in names)
            raise UserError(f"no image of prompt {item.prompt.id}, sample {item.sample}: {self.path} has no {expected}")
        if len(found) > 1:
            raise UserError(f"two images of prompt {item.prompt.id}: {' and '.join(f.name for f in found)}; keep one")
        image, facts = read_foreign(found[0])
        return Drawn(image, facts={"source": found[0].name, **facts})


def _key(stem: str) -> str:
    """Makes ``1``, ``001`` and ``00001`` one name, and ``1_0`` and ``001_00`` another."""
    return "_".join(part.lstrip("0") or "0" if part.isdigit() else part for part in stem.split("_"))
