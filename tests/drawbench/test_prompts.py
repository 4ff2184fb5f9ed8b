import hashlib
import json
from pathlib import Path

import pytest

from drawbench.errors import AssetMissing, UserError
from drawbench.interfaces import Prompt
from drawbench.prompts import DRAWBENCH_COUNTS, drawbench, make_prompt_set, prompts_sha256, read_prompt_file, select


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def made_up(counts: dict[str, int]):
    prompts = [Prompt(f"{c}{i}", f"{c} number {i}", c) for c, n in counts.items() for i in range(n)]
    return make_prompt_set("made-up", prompts)


def rows(csv_file: Path) -> list[str]:
    return csv_file.read_bytes().decode("utf-8-sig").splitlines()


def test_drawbench_is_known_by_its_digests_and_has_its_11_categories(drawbench_csv):
    found = drawbench(drawbench_csv)
    assert [p.id for p in found.prompts] == [f"{n:03d}" for n in range(1, 201)]
    counts = {c: sum(p.category == c for p in found.prompts) for c in DRAWBENCH_COUNTS}
    assert counts == DRAWBENCH_COUNTS
    assert sum(DRAWBENCH_COUNTS.values()) == 200
    assert len(DRAWBENCH_COUNTS) == 11


def test_the_sheets_own_form_of_drawbench_is_the_same_set(drawbench_csv, tmp_path):
    """Header 'Prompts', no BOM, CRLF, and the trailing blank that the sheet has behind one category."""
    lines = ["Prompts,Category", *rows(drawbench_csv)[1:]]
    text = "\r\n".join(lines).replace(",Gary Marcus et al.", ',"Gary Marcus et al. "')
    assert drawbench(write(tmp_path / "sheet.csv", text)).sha256 == drawbench(drawbench_csv).sha256


def test_a_bare_list_of_the_200_texts_is_drawbench_too(drawbench_csv, tmp_path):
    texts = [p.text for p in drawbench(drawbench_csv).prompts]
    assert drawbench(write(tmp_path / "list.txt", "\n".join(texts) + "\n")).sha256 == drawbench(drawbench_csv).sha256


def test_the_altered_list_is_refused_as_drawbench_and_its_lines_are_named(drawbench_csv, tmp_path):
    lines = rows(drawbench_csv)
    lines[154], lines[168] = "Something else entirely.,Reddit", "And another thing.,Reddit"
    altered = write(tmp_path / "altered.csv", "\n".join(lines))
    with pytest.raises(UserError, match=r"lines 154 and 168 differ \(the altered list that circulates\)"):
        drawbench(altered)
    own, warnings = read_prompt_file(altered)
    assert own.name == "altered"
    assert len(warnings) == 1
    assert "the altered list that circulates" in warnings[0]
    assert "lines 154 and 168" in warnings[0]


def test_a_spoiled_letter_is_found_and_its_line_is_named(drawbench_csv, tmp_path):
    spoiled = write(tmp_path / "spoiled.csv", drawbench_csv.read_bytes().decode("utf-8-sig").replace("ö", "Ã¶"))
    with pytest.raises(UserError, match="line 143 differs"):
        drawbench(spoiled)


def test_wrong_categories_are_refused(drawbench_csv, tmp_path):
    lines = rows(drawbench_csv)
    lines[1] = lines[1].replace(",Colors", ",Counting")
    with pytest.raises(UserError, match="line 1 has category 'Counting', not 'Colors'"):
        drawbench(write(tmp_path / "wrong.csv", "\n".join(lines)))


def test_its_texts_under_other_categories_are_a_set_of_ones_own(drawbench_csv, tmp_path):
    lines = [line.rpartition(",")[0] + ",Mine" for line in rows(drawbench_csv)[1:]]
    found, warnings = read_prompt_file(write(tmp_path / "mine.csv", "\n".join(["prompt,category", *lines])))
    assert (found.name, {p.category for p in found.prompts}) == ("mine", {"Mine"})
    assert "line 1 has category 'Mine'" in warnings[0]


def test_unusual_line_breaks_are_part_of_a_text(tmp_path):
    text = "a\u2028b\u0085c\x0cd"
    for name, content in (("a.txt", text), ("a.csv", f"prompt\n{text}\n"), ("a.jsonl", json.dumps({"prompt": text}))):
        found, _ = read_prompt_file(write(tmp_path / name, content))
        assert [p.text for p in found.prompts] == [text], name


def test_another_number_of_prompts_is_not_drawbench(drawbench_csv, tmp_path):
    with pytest.raises(UserError, match="it has 199 prompts, not 200"):
        drawbench(write(tmp_path / "short.csv", "\n".join(rows(drawbench_csv)[:-1])))


def test_a_bare_file_that_is_drawbench_is_the_set_drawbench(drawbench_csv):
    found, warnings = read_prompt_file(drawbench_csv)
    assert (found.name, warnings) == ("drawbench", [])


def test_drawbench_without_a_file_says_where_to_put_one(cache):
    with pytest.raises(AssetMissing) as caught:
        drawbench()
    assert str(cache / "prompts" / "drawbench.csv") in str(caught.value)
    assert caught.value.exit_code == 3


def test_drawbench_is_found_in_the_cache(drawbench_csv, cache):
    (cache / "prompts").mkdir()
    (cache / "prompts" / "drawbench.csv").write_bytes(drawbench_csv.read_bytes())
    assert len(drawbench().prompts) == 200


def test_the_digest_is_of_compact_json_lines():
    prompts = [Prompt("a", 'Ö, "quoted"', None), Prompt("b", "two", "Kind")]
    expected = '["a","Ö, \\"quoted\\"",null]\n["b","two","Kind"]'
    assert prompts_sha256(prompts) == hashlib.sha256(expected.encode()).hexdigest()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.csv", 'prompt,category,mood\n"One, two",Kind,glad\nThree,,\n'),
        ("own.tsv", "Caption\tCategory\tmood\nOne, two\tKind\tglad\nThree\t\t\n"),
        ("own.jsonl", '{"text": "One, two", "category": "Kind", "mood": "glad"}\n{"text": "Three"}\n'),
    ],
)
def test_ones_own_files_are_read_in_every_form(tmp_path, name, text):
    found, warnings = read_prompt_file(write(tmp_path / name, text))
    assert warnings == []
    assert [(p.id, p.text, p.category) for p in found.prompts] == [("001", "One, two", "Kind"), ("002", "Three", None)]
    assert found.prompts[0].metadata["mood"] == "glad"
    assert found.name == "own"


def test_plain_text_has_one_prompt_a_line(tmp_path):
    found, _ = read_prompt_file(write(tmp_path / "own.txt", "\ufeffOne\nTwo, and more\n\n"))
    assert [(p.id, p.text, p.category) for p in found.prompts] == [("001", "One", None), ("002", "Two, and more", None)]


def test_ids_of_the_file_are_kept(tmp_path):
    found, _ = read_prompt_file(write(tmp_path / "own.csv", "image_id,prompt\n000000000042,One\n7,Two\n"))
    assert [p.id for p in found.prompts] == ["000000000042", "7"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,prompt\n../x,One\n", "has the id '../x'"),
        ("a.csv", "id,prompt\n..,One\n", "has the id '..'"),
        ("a.csv", "id,prompt\nx,One\nx,Two\n", "the id 'x' stands there more than once"),
        ("a.csv", "id,prompt\nx,One\nX,Two\n", "more than once but for capitals"),
        ("a.csv", 'prompt\nOne\n" "\n', "prompt 2 is empty"),
        ("a.csv", "title\nOne\n", "the text must be in one of prompt, prompts, text, caption"),
        ("a.csv", "prompt,category\nOne, two,Kind\n", "row 1 has 3 fields, its header 2"),
        ("a.csv", "", "is empty"),
        ("a.csv", "prompt\n", "is empty; a set has at least one prompt"),
        ("a.csv", 'prompt\n"One', "line 2"),
        ("a.jsonl", '{"prompt": "One"\n', "line 1 is not JSON"),
        ("a.jsonl", '["One"]\n', "line 1 is not a JSON object"),
        ("a.jsonl", '{"prompt": 7}\n', "the text is 7, which is no string"),
        ("a.jsonl", '{"prompt": "\\ud800"}\n', "half a character"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.txt", "One\n\nTwo\n", "prompt 2 is empty"),
        ("a.xlsx", "One", "not from '.xlsx'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path, name, text, message):
    with pytest.raises(UserError) as caught:
        read_prompt_file(write(tmp_path / name, text))
    assert message in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes("Gr\xfcn".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 \\(byte 2\\)"):
        read_prompt_file(tmp_path / "a.txt")


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_prompt_file(tmp_path / "nowhere.csv")


def test_a_limit_goes_round_the_categories_and_widening_only_adds():
    found = made_up({"a": 5, "b": 2, "c": 1})
    assert [p.id for p in select(found, "4")] == ["a0", "a1", "b0", "c0"]
    chosen = [{p.id for p in select(found, str(n))} for n in range(1, 9)]
    assert all(small < large for small, large in zip(chosen, chosen[1:], strict=False))
    assert [p.id for p in select(found, "99")] == [p.id for p in found.prompts]


@pytest.mark.parametrize(("limit", "count"), [("0.1", 1), ("0.5", 4), ("1.0", 8), ("1", 1), ("0.3", 3)])
def test_a_limit_is_a_number_or_a_fraction(limit, count):
    assert len(select(made_up({"a": 5, "b": 2, "c": 1}), limit)) == count


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "0.0", "many", "nan", "inf", ""])
def test_a_limit_that_means_nothing_is_refused(limit):
    with pytest.raises(UserError, match="give a number of prompts"):
        select(made_up({"a": 2}), limit)


def test_categories_are_chosen_by_name_in_any_capitals():
    assert [p.id for p in select(made_up({"One": 1, "Two": 2}), categories=["two"])] == ["Two0", "Two1"]
    with pytest.raises(UserError, match="did you mean 'Two'"):
        select(made_up({"One": 1, "Two": 2}), categories=["Twoo"])


def test_a_set_survives_json(tmp_path):
    found = made_up({"a": 2})
    again = [
        Prompt(**json.loads(json.dumps({"id": p.id, "text": p.text, "category": p.category}))) for p in found.prompts
    ]
    assert prompts_sha256(again) == found.sha256
