"""Images that were made elsewhere, as a system: decoded to PNG, with what they were on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drawbench.errors import UserError
from drawbench.files import sha256_file
from drawbench.generators.layouts import Layout, Table, layout_of
from drawbench.images import read_foreign
from drawbench.interfaces import Drawn, Item, Refused
from drawbench.weights import given_file


def folder(*, path: Path, mapping: Path | None = None) -> Folder:
    """Reads ``NNN.png`` or ``NNN.jpg``, or ``NNN_S.png`` for sample S from 0; or the layout of GenEval; or by a mapping.

    NNN is the prompt's id; where ids are words, it may be the prompt's number in its file, from 1. GenEval's folders,
    00000/metadata.jsonl and 00000/samples/0000.png, are known by themselves. A mapping is a CSV or TSV with the columns
    file (relative to the path), id or prompt, and sample where there are several.
    """
    if not path.is_dir():
        raise UserError(f"folder.path={path} is {'a file' if path.exists() else 'not there'}; give a folder of images")
    if mapping is not None:
        return Folder(path, Table(path, given_file(mapping, "folder.mapping")))
    return Folder(path, layout_of(path))


class Folder:
    """Takes each item's file from a layout; what a file may be, and what becomes of it, says `read_foreign`."""

    pads = False

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._owners: dict[Path, str] = {}
        """Whose a file is, in the run that is drawn now."""

    def fingerprint(self) -> Mapping[str, str]:
        """Nothing: each image's own sha256 is in the journal, and files may still be added to the folder."""
        return {}

    def prepare(self, items: Sequence[Item]) -> None:
        """Raises an error where two of the items ask for one file, before any is read."""
        for item in items:
            self._find(item)

    def generate(self, items: Sequence[Item]) -> Sequence[Drawn | Refused]:
        return [self._read(item) for item in items]

    def remarks(self, items: Sequence[Item]) -> list[str]:
        """Says which images of the folder none of the run's items asks for; of which two do, is an error."""
        self.prepare(items)  # Other processes may have read some of them.
        self._owners.clear()
        unused = self.layout.unused(items)
        if not unused:
            return []
        name = self._name(unused[0])
        first = f"{len(unused)} of the images in {self.path} belong to nothing in this run (the first: {name})"
        return [f"{first}; further samples come in with --samples"]

    def _read(self, item: Item) -> Drawn:
        image, facts = read_foreign(file := self._owned(item, self.layout.find(item)))
        return Drawn(image, facts={"source": self._name(file), **facts})

    def _name(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if file.is_relative_to(self.path) else file.name

    def changed(self, item: Item, facts: Mapping[str, str | int | float]) -> str | None:
        """Says whether the file of an image that is in the run already is not the one that it came from."""
        file = self._find(item)
        if file is None:
            return None  # It may be gone: the run has its image.
        return (
            None if sha256_file(file) == facts.get("source_sha256") else f"{file} is not what {facts.get('source')} was"
        )

    def _find(self, item: Item) -> Path | None:
        try:
            file = self.layout.find(item)
        except UserError:
            return None
        return self._owned(item, file)

    def _owned(self, item: Item, file: Path) -> Path:
        """Returns the file, where it is no other item's. A mapping may give it to several: it says so itself."""
        own = f"prompt {item.prompt.id}, sample {item.sample}"
        if not isinstance(self.layout, Table) and (owner := self._owners.setdefault(file, own)) != own:
            raise UserError(
                f"{file} would be the image of both {owner}, and {own}; say whose it is with a table: "
                "--set NAME.mapping=FILE.csv"
            )
        return file
