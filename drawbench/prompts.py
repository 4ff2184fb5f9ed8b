"""Prompt sets: DrawBench by its digests, files of one's own, and a part of a set."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from drawbench.download import Published, fetched
from drawbench.errors import UserError, did_you_mean
from drawbench.interfaces import Prompt, PromptSet
from drawbench.prompt_files import is_broken, parse_rows, read_rows

DRAWBENCH_COUNTS = {
    "Colors": 25,
    "Conflicting": 10,
    "Counting": 19,
    "DALL-E": 20,
    "Descriptions": 20,
    "Gary Marcus et al.": 10,
    "Misspellings": 10,
    "Positional": 20,
    "Rare Words": 7,
    "Reddit": 38,
    "Text": 21,
}
"""The 11 categories in file order, with their numbers of prompts (Saharia et al. 2022, table A.1; the published sheet)."""

DRAWBENCH_TEXTS_SHA256 = "4056f6f1125417b3964a1623200158d7de26ee5869d2be8661737297ddca0dd1"
"""Of the 200 prompts joined by a newline, surrounding blanks stripped."""
DRAWBENCH_LINES_SHA256 = "fd36006833d16fedf8ea21e81fc94ded3c53ddae829a8e359afb610960876d9c"
"""Of the 200 lines ``prompt<TAB>category`` joined by a newline, surrounding blanks stripped."""
DRAWBENCH_FILE = Published(
    "drawbench",
    "the published list of DrawBench's 200 prompts, which are other people's sentences and not part of this package",
    14_990,
    "none stated",
)
_LINE_DIGESTS = """
c93daf 0ed149 c6484a 2e0d31 aa37c9 bd9702 cba203 605719 9b9e9c 16e52c 1e7b83 3fecd9 fe278e e1ac6d 937ab5 da0c44 08c977
f60288 afe4db 3e54d9 0362b7 7ba810 2f159d b07f6a 86699d b11dfa efee3f 31d73f 7b44d4 cf1392 deaa72 0ba3e1 10498b 05bed3
d74728 c53b6b e4a59e 589d31 6c2abf 8d786b cbfeff 417b3c e45750 d471e0 071587 201d89 309fe3 a0b305 50c37a e73a79 a85594
783a65 b2e5f2 1299ce 27c99d 462704 994498 8f1103 70474a 97232f 9f3797 9e41b5 2d5e45 3609b8 7921df 5f5488 c6a6fd d5ba9e
708199 db608d 1420ff 1a34ee 689531 6cb0b1 65aafe 373da5 b876f8 2c60df bc0552 05a73d 8c705f de282b 842be1 1f411b 9d4c3b
da443c 35878e cf69df 41ac8d 438ca1 886a1e 65c795 b30e6b 1e6b2a 39e8b3 f75b1b ad2187 93913f 63a450 b29c4c 9366b1 cf6428
5f21a4 3ae720 039d45 eb87f7 384ee6 a68f4f cba65a 85ef3a b29cd7 7d69d3 2a3e8b 0f1910 ca3e5c 7ea195 df085b 3f5af4 e0ac32
6892d9 587e4f 580742 227337 b3cced 7e10a0 a3647f df8822 67a90a bb8f65 cc3156 50724b 310aa7 c4edfc e2359e 2155c7 0d6604
64f7b3 2a2c41 e6db81 64f6f0 c08698 63e0f3 9a0a3a d75dd8 20eeb7 b0ef74 38dc12 2ac30d 8d60a0 36bf78 35ca43 b28c87 c8e318
b136e8 df0f24 5d6972 c5a6ad 0b8b8e 986130 7cdc7d 9fe022 a04ea5 67e743 248d04 fa53a1 30f2f5 837188 35eb76 a96079 5b27a6
732464 d79e2d 152f01 48da9e d7360e 87552d ffe291 d14f39 d8f443 ccd4e6 1e9fcb 21e550 f1a8a7 eeec11 fd3dc9 32e3c9 2819c2
5fcafd bc4576 3f37a7 95b521 102b9e df6014 306eab 5c687d e4730b 707f02 e3bded 2d66de 28dbaa
"""
"""The first six hex digits of each prompt's sha256: they name the lines in which a file departs from the published list."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def make_prompt_set(name: str, prompts: Sequence[Prompt]) -> PromptSet:
    """Returns a set with its digest, after checking that ids name folders and are unique, and that no text is empty."""
    if not prompts:
        raise UserError(f"the prompt set {name!r} is empty; a set has at least one prompt")
    for number, prompt in enumerate(prompts, 1):
        if not _ID.fullmatch(prompt.id) or set(prompt.id) == {"."}:
            raise UserError(
                f"{name}: prompt {number} has the id {prompt.id!r}; an id becomes a folder's name and is made of 1 to 64 of "
                "A-Z a-z 0-9 . _ -"
            )
        if is_broken(prompt.text + (prompt.category or "")):
            raise UserError(
                f"{name}: prompt {number} (id {prompt.id}) holds half a character (a lone surrogate); mend it"
            )
        if not prompt.text.strip():
            raise UserError(f"{name}: prompt {number} (id {prompt.id}) has no text; delete the line or write its text")
    for what, ids in (("", [p.id for p in prompts]), (" but for capitals", [p.id.lower() for p in prompts])):
        twice = [prompt_id for prompt_id, count in Counter(ids).items() if count > 1]
        if twice:
            raise UserError(f"{name}: the id {twice[0]!r} stands there more than once{what}; ids must be unique")
    return PromptSet(name, tuple(prompts), prompts_sha256(prompts))


def prompts_sha256(prompts: Iterable[Prompt]) -> str:
    """Returns the digest of a set: sha256 of the compact JSON lines ``[id,text,category]`` joined by a newline."""
    lines = (json.dumps([p.id, p.text, p.category], ensure_ascii=False, separators=(",", ":")) for p in prompts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def drawbench(file: Path | None = None) -> PromptSet:
    """Returns the 200 prompts of DrawBench, verified against the published list: from a file, the cache, or a mirror.

    Raises:
        AssetMissing: no file is given, the cache has none, and none could be fetched.
    """
    file = file or fetched(DRAWBENCH_FILE, _fault)
    return _drawbench(file, read_rows(file))


def _drawbench(file: Path, rows: Sequence[Mapping[str, str]]) -> PromptSet:
    if wrong := _departure(rows):
        raise UserError(
            f"{file} is not DrawBench as published: {wrong}; to use it as a set of your own: --prompts {file}"
        )
    pairs = zip(_texts(rows), _drawbench_categories(), strict=True)
    prompts = [Prompt(f"{number:03d}", *pair) for number, pair in enumerate(pairs, 1)]
    lines = "\n".join(f"{prompt.text}\t{prompt.category}" for prompt in prompts)
    if hashlib.sha256(lines.encode()).hexdigest() != DRAWBENCH_LINES_SHA256:
        raise AssertionError("the categories of this package are not those of the published list")
    return make_prompt_set("drawbench", prompts)


def read_prompt_file(file: Path) -> tuple[PromptSet, list[str]]:
    """Reads a set of one's own from CSV, TSV, JSONL or plain text (one prompt a line); returns it and warnings.

    The text stands in a column ``prompt``, ``prompts``, ``text`` or ``caption``; ``id`` and ``category`` are optional,
    everything else is metadata. Without ids, a prompt's id is its zero-padded number in the file, from 1.
    The published DrawBench is known by its digest whatever its file is called, and is then the set ``drawbench``.
    """
    rows = read_rows(file)
    texts = _texts(rows)
    wrong = _departure(rows)
    warnings = []
    if not wrong:
        return _drawbench(file, rows), []
    if not _lines_that_differ(texts):  # Its texts, under categories of one's own.
        warnings.append(f"{file} is not DrawBench as published: {wrong}; it is used as a set of your own")
    elif len(texts) == 200 and len(_different_numbers(texts)) <= 10:
        warnings.append(
            f"{file} is nearly DrawBench but not as published: {wrong}. It is used as a set of your own; its "
            "numbers cannot stand beside those of DrawBench"
        )
    width = max(3, len(str(len(rows))))
    prompts = [
        Prompt(
            id=row.get("id", "").strip() or f"{number:0{width}d}",
            text=row["text"].strip(),
            category=row.get("category", "").strip() or None,
            metadata={
                **{key: value for key, value in row.items() if key not in ("id", "text", "category")},
                **({"line": str(number)} if row.get("id", "").strip() else {}),
            },
        )
        for number, row in enumerate(rows, 1)
    ]
    name = re.sub(r"[^\w.-]", "-", file.stem)[:64] or "prompts"
    return make_prompt_set(name if name.lower() != "drawbench" else "own-drawbench", prompts), warnings


def select(prompt_set: PromptSet, limit: str | None = None, categories: Sequence[str] = ()) -> list[Prompt]:
    """Returns part of a set, in file order.

    ``limit`` is a number of prompts (``20``) or a fraction (``0.1``, rounded up), taken round-robin over the categories
    in file order, so that a larger limit only adds.
    """
    prompts = list(prompt_set.prompts)
    if categories:
        wanted = {_category(prompt_set, name) for name in categories}
        prompts = [prompt for prompt in prompts if prompt.category in wanted]
    if limit is None:
        return prompts
    seen: Counter[str | None] = Counter()
    turns: list[int] = []
    for prompt in prompts:
        turns.append(seen[prompt.category])
        seen[prompt.category] += 1
    order = sorted(range(len(prompts)), key=lambda index: turns[index])  # Stable: file order within a turn.
    return [prompts[index] for index in sorted(order[: _limit(limit, len(prompts))])]


def _category(prompt_set: PromptSet, name: str) -> str:
    known = list(dict.fromkeys(p.category for p in prompt_set.prompts if p.category is not None))
    for category in known:
        if category.casefold() == name.strip().casefold():
            return category
    hint = did_you_mean(name, known)
    raise UserError(f"{prompt_set.name} has no category {name!r}{hint} (it has: {', '.join(known) or 'none'})")


def _limit(limit: str, total: int) -> int:
    try:
        number = float(limit)
        whole = int(limit) if number.is_integer() and "." not in limit else None
    except (ValueError, OverflowError):
        number, whole = math.nan, None
    if whole is not None and whole >= 1:
        return min(whole, total)
    if whole is None and 0 < number <= 1:
        return max(1, math.ceil(round(number * total, 9)))
    raise UserError(f"--limit {limit}: give a number of prompts (20) or a fraction of them (0.1)")


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _different_numbers(texts: Sequence[str]) -> list[int]:
    pairs = zip(texts, _LINE_DIGESTS.split(), strict=False)
    return [number for number, (text, known) in enumerate(pairs, 1) if _short_digest(text) != known]


def _lines_that_differ(texts: Sequence[str]) -> str:
    """Returns how 200 texts depart from the published list, in words; empty where they do not."""
    if hashlib.sha256("\n".join(texts).encode()).hexdigest() == DRAWBENCH_TEXTS_SHA256:
        return ""
    if len(texts) != 200:
        return f"it has {len(texts)} prompts, not 200"
    numbers = _different_numbers(texts)
    if len(numbers) > 20:
        return f"{len(numbers)} of its 200 prompts differ"
    known = " (the altered list that circulates)" if numbers == [154, 168] else ""
    many = len(numbers) > 1
    return f"line{'s' if many else ''} {' and '.join(map(str, numbers))} differ{'' if many else 's'}{known}"


def _departure(rows: Sequence[Mapping[str, str]]) -> str:
    """Returns how rows depart from the published list in texts or categories, in words; empty where they do not."""
    if wrong := _lines_that_differ(_texts(rows)):
        return wrong
    for number, (row, right) in enumerate(zip(rows, _drawbench_categories(), strict=True), 1):
        if (given := row.get("category", "").strip()) and given != right:
            return f"line {number} has category {given!r}, not {right!r}"
    return ""


def _fault(data: bytes) -> str:
    """Returns what is wrong with the content of a file that should be the published list, in words."""
    try:
        return _departure(parse_rows(DRAWBENCH_FILE.place, data.decode("utf-8-sig")))
    except (UserError, UnicodeDecodeError) as error:
        return f"it is no list of prompts ({error})"


def _texts(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [row["text"].strip() for row in rows]


def _drawbench_categories() -> list[str]:
    return [category for category, count in DRAWBENCH_COUNTS.items() for _ in range(count)]
