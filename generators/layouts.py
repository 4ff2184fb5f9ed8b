"""How people lay out the images of prompts: flat, as GenEval does, or as a table says. Each layout finds an item's file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from drawbench.errors import UserError
from drawbench.interfaces import Item
from drawbench.prompt_files import ID_COLUMNS, TEXT_COLUMNS, parse_table, read_utf8

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_FILE_COLUMNS = ("file", "filename", "path", "image")


class Layout(Protocol):
    """Where images lie."""

    def find(self, item: Item) -> Path:
        """Returns an item's file.

        Raises:
            UserError: there is none, or there is more than one.
        """
        ...

    def unused(self, items: Sequence[Item]) -> list[Path]:
        """Returns the images that none of the items asks for."""
        ...


def layout_of(path: Path) -> Layout:
    """Returns the layout that a folder has: flat where images lie in it, GenEval's where ``00000/samples`` does."""
    entries = sorted(path.iterdir())
    images = _images(entries)
    folders = [entry for entry in entries if entry.name.isdecimal() and (entry / "samples").is_dir()]
    if images and folders:
        raise UserError(
            f"folder.path={path} holds images ({images[0].name}, …) and folders as GenEval has them ({folders[0].name}, …); "
            "take one of the two elsewhere"
        )
    if folders:
        return GenEval(path, folders)
    if not images:
        raise UserError(
            f"folder.path={path} holds no images ({' '.join(SUFFIXES)}); files are called NNN.png or NNN.jpg, or lie as "
            "GenEval has them, in 00000/samples/0000.png, or are named by a table: --set NAME.mapping=FILE.csv"
        )
    return Flat(path, images)


class Flat:
    """``NNN.png``, or ``NNN_S.png`` for sample S from 0; NNN is the prompt's id, or its number where ids are words."""

    def __init__(self, path: Path, images: Sequence[Path]) -> None:
        self.path = path
        self.files: dict[str, list[Path]] = defaultdict(list)
        for file in images:
            self.files[_key(file.stem)].append(file)

    def find(self, item: Item) -> Path:
        for names in _names(item):
            near = [file for name in names for file in self.files.get(_key(name), [])]
            found = [file for file in near if file.stem in names] or near
            if found:
                return _only(item, found)
        expected = " or ".join(f"{name}.png|jpg" for names in _names(item) for name in names)
        raise _none(item, f"{self.path} has no {expected}")

    def unused(self, items: Sequence[Item]) -> list[Path]:
        wanted = {_key(name) for item in items for names in _names(item) for name in names}
        return [file for key, files in self.files.items() if key not in wanted for file in files]


class _Drawn(NamedTuple):
    """One prompt's folder in GenEval's layout."""

    path: Path
    id: str | None
    samples: dict[int, list[Path]]


class GenEval:
    """``00000/metadata.jsonl``, whose ``prompt`` says whose ``00000/samples/0000.png`` are; any number of digits is read.

    Where several folders have one text, an ``id`` in the metadata tells them apart, else the folder's number: the
    prompt's place in its file, from 0.
    """

    def __init__(self, path: Path, folders: Iterable[Path]) -> None:
        self.path = path
        self.folders: dict[str, list[_Drawn]] = defaultdict(list)
        for folder in folders:
            about = _metadata(folder)
            samples: dict[int, list[Path]] = defaultdict(list)
            for file in _images(sorted((folder / "samples").iterdir())):
                if not file.stem.isdecimal():
                    raise UserError(f"{file}: a sample is called by its number from 0, such as 0000.png")
                samples[int(file.stem)].append(file)
            own = str(about["id"]) if "id" in about else None
            self.folders[about["prompt"].strip()].append(_Drawn(folder, own, samples))

    def find(self, item: Item) -> Path:
        near = self._folders(item)
        if not near:
            others = self.folders.get(item.prompt.text.strip())
            but = f" and its id (its text alone has {others[0].path.name})" if others else ""
            raise _none(item, f"no metadata.jsonl in {self.path} has its text{but}")
        if len(near) > 1:
            named = " and ".join(drawn.path.name for drawn in near[:3])
            raise UserError(
                f"prompt {item.prompt.id}: the folders {named} of {self.path} have its text; write the prompt's id into each "
                'metadata.jsonl ("id": …)'
            )
        found = near[0].samples.get(item.sample, [])
        if not found:
            raise _none(item, f"{near[0].path / 'samples'} has no {item.sample:04d}.png")
        return _only(item, found)

    def unused(self, items: Sequence[Item]) -> list[Path]:
        wanted = {(drawn.path, item.sample) for item in items for drawn in self._folders(item)}
        every = (drawn for same in self.folders.values() for drawn in same)
        return sorted(
            file
            for drawn in every
            for sample, files in drawn.samples.items()
            if (drawn.path, sample) not in wanted
            for file in files
        )

    def _folders(self, item: Item) -> list[_Drawn]:
        same = self.folders.get(item.prompt.text.strip(), [])
        near = [d for d in same if d.id is None or _key(d.id) == _key(item.prompt.id)]
        line = _line(item) or item.prompt.id
        return [d for d in near if line.isdecimal() and int(d.path.name) == int(line) - 1] or near


class _Row(NamedTuple):
    """One line of a mapping."""

    number: int
    file: Path
    id: str | None
    text: str | None
    sample: int


class Table:
    """A CSV or TSV with a column ``file``, one of ``id`` and ``prompt`` (or both), and perhaps ``sample``, 0 where empty.

    Files are relative to the folder. Where a row has an id, its text must be that prompt's.
    """

    def __init__(self, path: Path, table: Path) -> None:
        self.table = table
        self.by_id: dict[str, list[_Row]] = defaultdict(list)
        self.by_text: dict[str, list[_Row]] = defaultdict(list)
        self.rows = _rows(path, table)
        for row in self.rows:
            if row.id is not None:
                self.by_id[_key(row.id)].append(row)
            elif row.text is not None:
                self.by_text[row.text].append(row)

    def find(self, item: Item) -> Path:
        found = self._of(item)
        if not found:
            raise _none(item, f"{self.table} has no row of it")
        if len(found) > 1:
            raise UserError(
                f"prompt {item.prompt.id}, sample {item.sample}: the rows {' and '.join(str(r.number) for r in found[:3])} of "
                f"{self.table} are all of it; keep one"
            )
        (row,) = found
        if row.text is not None and row.text != item.prompt.text.strip():
            raise UserError(
                f"{self.table}, row {row.number}: the id is that of prompt {item.prompt.id}, the text is another; mend the row"
            )
        if not row.file.is_file():
            raise _none(item, f"row {row.number} of {self.table} names {row.file}, which is not there")
        return row.file

    def unused(self, items: Sequence[Item]) -> list[Path]:
        wanted = {row.number for item in items for row in self._of(item)}
        return [row.file for row in self.rows if row.number not in wanted]

    def _of(self, item: Item) -> list[_Row]:
        by_id = [row for row in self.by_id.get(_key(item.prompt.id), []) if row.sample == item.sample]
        by_text = [row for row in self.by_text.get(item.prompt.text.strip(), []) if row.sample == item.sample]
        return [row for row in by_id if row.id == item.prompt.id] or by_id or by_text


def _rows(path: Path, table: Path) -> list[_Row]:
    header, lines = parse_table(table, read_utf8(table), "\t" if table.suffix.lower() == ".tsv" else ",", "file")
    names = [name.strip().lower() for name in header]

    def column(allowed: Sequence[str]) -> int | None:
        return next((names.index(name) for name in allowed if name in names), None)

    file, own, text, sample = (column(allowed) for allowed in (_FILE_COLUMNS, ID_COLUMNS, TEXT_COLUMNS, ("sample",)))
    if file is None or (own is None and text is None):
        raise UserError(
            f"{table} has the columns {', '.join(names)}; needed are file, and id or prompt (and sample, where there are several)"
        )
    rows = []
    for number, line in enumerate(lines, 1):
        row_id, row_text = (line[at].strip() or None if at is not None else None for at in (own, text))
        which = (line[sample].strip() if sample is not None else "") or "0"
        if not line[file].strip() or (row_id is None and row_text is None) or not which.isdecimal():
            raise UserError(
                f"{table}, row {number}: {', '.join(line)}; a row has a file, an id or a prompt, and for a sample its number "
                "from 0"
            )
        rows.append(_Row(number, path / line[file].strip(), row_id, row_text, int(which)))
    return rows


def _metadata(folder: Path) -> dict[str, Any]:
    file = folder / "metadata.jsonl"
    try:
        about: Any = json.loads(read_utf8(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not one JSON object: {error}") from error
    if not isinstance(about, dict) or not isinstance(about.get("prompt"), str):
        raise UserError(f'{file} does not say whose images these are; it is one JSON object: {{"prompt": "…"}}')
    return about


def _images(entries: Iterable[Path]) -> list[Path]:
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
    ]


def _only(item: Item, found: Sequence[Path]) -> Path:
    if len(found) > 1:
        raise UserError(f"two images of prompt {item.prompt.id}: {' and '.join(f.name for f in found)}; keep one")
    return found[0]


def _none(item: Item, why: str) -> UserError:
    return UserError(f"no image of prompt {item.prompt.id}, sample {item.sample}: {why}")


def _line(item: Item) -> str | None:
    """Returns the prompt's number in its file, from 1, where its id is another."""
    return item.prompt.metadata.get("line")


def _names(item: Item) -> list[list[str]]:
    """Returns the stems that a flat file may have: by its prompt's id, then by the number of a prompt whose id is a word."""
    own = [item.prompt.id]
    if not item.prompt.id.isdigit() and (line := _line(item)) is not None:
        own.append(line)
    return [[f"{name}_{item.sample}"] if item.sample else [name, f"{name}_{item.sample}"] for name in own]


def _key(stem: str) -> str:
    """Makes ``1``, ``001`` and ``00001`` one name, and ``1_0`` and ``001_00`` another."""
    return "_".join(part.lstrip("0") or "0" if part.isdigit() else part for part in stem.split("_"))
