import json

import numpy as np
import pytest
from PIL import Image

from drawbench.errors import UserError
from drawbench.generators.folder import folder
from drawbench.interfaces import Item, Prompt


def item(prompt_id, sample=0):
    return Item(Prompt(prompt_id, "text"), sample, 0)


@pytest.fixture
def save(tmp_path):
    def save(name, shade=0):
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(tmp_path / name)

    return save


def shade(drawn):
    return int(np.asarray(drawn.image)[0, 0, 0])


@pytest.mark.parametrize("name", ["007.png", "7.png", "00007.png", "007_0.png", "7_0.PNG"])
def test_a_file_is_found_by_its_number_however_it_is_padded(tmp_path, save, name):
    save(name)
    (drawn,) = folder(path=tmp_path).generate([item("007")])
    assert drawn.facts["source"] == name


def test_the_exact_name_goes_before_a_padded_one(tmp_path, save):
    save("1.png", 1)
    save("01.png", 2)
    assert [shade(d) for d in folder(path=tmp_path).generate([item("1"), item("01")])] == [1, 2]


def test_ids_of_words_and_further_samples_are_found(tmp_path, save):
    for name, value in (("cat_on_mat.png", 1), ("cat_on_mat_1.png", 2), ("dog_0.png", 3), ("dog_1.png", 4)):
        save(name, value)
    items = [item("cat_on_mat"), item("cat_on_mat", 1), item("dog"), item("dog", 1)]
    assert [shade(d) for d in folder(path=tmp_path).generate(items)] == [1, 2, 3, 4]


def test_what_a_file_was_is_on_record(tmp_path, save):
    save("001.jpg")
    facts = folder(path=tmp_path).generate([item("001")])[0].facts
    assert facts["source"] == "001.jpg"
    assert facts["source_codec"] == "JPEG"
    assert len(facts["source_sha256"]) == 64


def test_a_missing_image_says_what_was_looked_for(tmp_path, save):
    save("001.png")
    with pytest.raises(UserError, match=r"no image of prompt 002, sample 0.*002\.png\|jpg or 002_0\.png\|jpg"):
        folder(path=tmp_path).generate([item("002")])
    with pytest.raises(UserError, match=r"sample 1: .*has no 001_1\.png\|jpg$"):
        folder(path=tmp_path).generate([item("001", 1)])


def test_two_images_of_one_prompt_are_not_chosen_between(tmp_path, save):
    save("001.png")
    save("001.jpg")
    with pytest.raises(UserError, match=r"two images of prompt 001: 001\.jpg and 001\.png"):
        folder(path=tmp_path).generate([item("001")])


def test_a_folder_that_is_none_or_holds_no_images_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        folder(path=tmp_path)
    with pytest.raises(UserError, match="is not there"):
        folder(path=tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        folder(path=tmp_path / "file")


def test_a_prompt_whose_id_is_a_word_may_go_by_its_number_in_the_file(tmp_path, save):
    save("001.png", 1)
    save("dog.png", 2)
    save("2.png", 3)
    cat, dog = (
        Item(Prompt(name, "text", metadata={"line": line}), 0, 0) for name, line in (("cat", "1"), ("dog", "2"))
    )
    assert [shade(d) for d in folder(path=tmp_path).generate([cat, dog])] == [1, 2]
    assert folder(path=tmp_path).remarks([cat, dog]) == []
    numbered = Item(Prompt("5", "text", metadata={"line": "1"}), 0, 0)
    with pytest.raises(UserError, match="no image of prompt 5"):
        folder(path=tmp_path).generate([numbered])


@pytest.mark.parametrize(
    ("one", "other"), [(item("cat", 1), item("cat_1")), (item("cat_1"), item("cat_01")), (item("7"), item("007"))]
)
def test_a_file_that_two_items_ask_for_is_refused_before_anything_is_read(tmp_path, save, one, other):
    save(f"{one.prompt.id}_1.png" if one.sample else f"{one.prompt.id}.png")
    said = rf"would be the image of both prompt {one.prompt.id}, sample {one.sample}, and prompt {other.prompt.id}, sample 0"
    with pytest.raises(UserError, match=said):
        folder(path=tmp_path).prepare([one, item("absent"), other])
    in_parts = folder(path=tmp_path)
    in_parts.generate([one])
    with pytest.raises(UserError, match=said):
        in_parts.generate([other])
    of_two_processes = folder(path=tmp_path)
    with pytest.raises(UserError, match=said):
        of_two_processes.remarks([one, other])
    facts = folder(path=tmp_path).generate([one])[0].facts
    after_a_stop = folder(path=tmp_path)
    after_a_stop.changed(one, facts)
    with pytest.raises(UserError, match=said):
        after_a_stop.prepare([other])


def test_a_file_may_serve_two_runs_one_after_the_other_and_two_rows_of_a_mapping(tmp_path, save):
    save("001.png")
    made = folder(path=tmp_path)
    for own in ("001", "1"):
        made.prepare([item(own)])
        made.generate([item(own)])
        assert made.remarks([item(own)]) == []
    (tmp_path / "map.csv").write_text("file,id\n001.png,a\n001.png,b\n")
    mapped = folder(path=tmp_path, mapping=tmp_path / "map.csv")
    mapped.prepare([item("a"), item("b")])
    assert len(mapped.generate([item("a"), item("b")])) == 2


def test_a_file_that_changed_since_it_came_in_is_told(tmp_path, save):
    save("001.png", 1)
    made = folder(path=tmp_path)
    facts = made.generate([item("001")])[0].facts
    assert made.changed(item("001"), facts) is None
    save("001.png", 9)
    assert "001.png is not what 001.png was" in made.changed(item("001"), facts)
    (tmp_path / "001.png").unlink()
    save("002.png")
    assert folder(path=tmp_path).changed(item("001"), facts) is None


def test_images_that_nothing_asks_for_are_told(tmp_path, save):
    for name in ("001.png", "001_1.png", "002.png"):
        save(name)
    made = folder(path=tmp_path)
    assert made.remarks([item("001"), item("001", 1), item("002")]) == []
    (remark,) = made.remarks([item("001")])
    assert remark.startswith("2 of the images")
    assert "001_1.png" in remark


def asked(prompt_id, text, sample=0, **metadata):
    return Item(Prompt(prompt_id, text, metadata=metadata), sample, 0)


@pytest.fixture
def geneval(tmp_path):
    """Makes one prompt's folder in GenEval's layout."""

    def geneval(number, text, files, **about):
        samples = tmp_path / number / "samples"
        samples.mkdir(parents=True)
        (samples.parent / "metadata.jsonl").write_text(json.dumps({"tag": "colors", "prompt": text, **about}))
        Image.new("RGB", (8, 8)).save(samples.parent / "grid.png")
        for name, value in files.items():
            Image.new("RGB", (8, 8), (value, 0, 0)).save(samples / name)

    return geneval


def test_genevals_folders_are_found_by_the_text_in_their_metadata(tmp_path, geneval):
    geneval("00000", "A cat.", {"0000.png": 1, "0001.png": 2})
    geneval("00001", "A dog.", {"00000.png": 3, "00001.jpg": 4})
    made = folder(path=tmp_path)
    items = [asked("dog", "A dog."), asked("cat", "A cat. ", 1), asked("cat", "A cat.")]
    drawn = made.generate(items)
    assert [shade(d) for d in drawn] == [3, 2, 1]
    assert [d.facts["source"] for d in drawn][:2] == ["00001/samples/00000.png", "00000/samples/0001.png"]
    (remark,) = made.remarks(items)
    assert remark.startswith("1 of the images")
    assert "00001/samples/00001.jpg" in remark


def test_genevals_folders_of_one_text_are_told_apart_by_id_or_by_their_number(tmp_path, geneval):
    for number, value in (("00000", 1), ("00001", 2), ("00002", 3)):
        geneval(number, "A cat.", {"0000.png": value})
    made = folder(path=tmp_path)
    items = [asked("003", "A cat."), asked("first", "A cat.", line="1")]
    assert [shade(d) for d in made.generate(items)] == [3, 1]
    with pytest.raises(
        UserError, match=r"the folders 00000 and 00001 and 00002 of .* have its text; write the prompt's id"
    ):
        made.generate([asked("x", "A cat.")])


def test_an_id_in_genevals_metadata_must_be_the_prompts(tmp_path, geneval):
    geneval("00000", "A cat.", {"0000.png": 1}, id="a")
    geneval("00001", "A cat.", {"0000.png": 2}, id="b")
    made = folder(path=tmp_path)
    assert [shade(d) for d in made.generate([asked("b", "A cat."), asked("a", "A cat.")])] == [2, 1]
    with pytest.raises(UserError, match=r"has its text and its id \(its text alone has 00000\)"):
        made.generate([asked("c", "A cat.")])


def test_what_genevals_layout_lacks_is_told(tmp_path, geneval):
    geneval("00000", "A cat.", {"0000.png": 1, "00000.png": 2, "0001.png": 3})
    made = folder(path=tmp_path)
    with pytest.raises(UserError, match=r"no image of prompt dog, sample 0: no metadata\.jsonl in .* has its text$"):
        made.generate([asked("dog", "A dog.")])
    with pytest.raises(UserError, match=r"no image of prompt cat, sample 7: .*samples has no 0007\.png"):
        made.generate([asked("cat", "A cat.", 7)])
    with pytest.raises(UserError, match=r"two images of prompt cat: 0000\.png and 00000\.png"):
        made.generate([asked("cat", "A cat.")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not one JSON object"),
        ('{"prompt": "A cat."}\n{"prompt": "A dog."}', "is not one JSON object"),
        ('["A cat."]', "does not say whose images these are"),
        ('{"tag": "colors"}', "does not say whose images these are"),
        (None, "metadata.jsonl: No such file"),
    ],
)
def test_metadata_that_names_no_prompt_is_refused(tmp_path, geneval, content, message):
    geneval("00000", "A cat.", {"0000.png": 1})
    file = tmp_path / "00000" / "metadata.jsonl"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        folder(path=tmp_path)


def test_a_sample_that_is_no_number_and_a_mixed_folder_are_refused(tmp_path, geneval, save):
    geneval("00000", "A cat.", {"best.png": 1})
    with pytest.raises(UserError, match=r"best\.png: a sample is called by its number"):
        folder(path=tmp_path)
    save("001.png")
    with pytest.raises(UserError, match=r"holds images \(001\.png, …\) and folders as GenEval has them \(00000, …\)"):
        folder(path=tmp_path)


@pytest.fixture
def table(tmp_path, save):
    """Writes a mapping beside three images and makes the generator of it."""
    (tmp_path / "sub").mkdir()
    for name, value in (("x.png", 1), ("y.png", 2), ("sub/z.jpg", 200)):
        save(name, value)

    def table(text, name="map.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        return folder(path=tmp_path, mapping=tmp_path / name)

    return table


def test_a_mapping_names_files_by_id_and_sample(table):
    made = table("File,Image_ID,sample\nx.png,7,\ny.png,007,1\nsub/z.jpg,cat,0\n")
    items = [asked("007", "A."), asked("007", "A.", 1), asked("cat", "B.")]
    drawn = made.generate(items)
    assert [shade(d) for d in drawn] == [1, 2, pytest.approx(200, abs=3)]
    assert drawn[2].facts["source"] == "sub/z.jpg"
    assert made.remarks(items) == []
    assert "2 of the images" in made.remarks(items[:1])[0]


def test_a_mapping_names_files_by_text(table):
    made = table('file\tprompt\nx.png\tA cat, black.\ny.png\t"A ""dog"""\n', "map.tsv")
    assert [shade(d) for d in made.generate([asked("1", 'A "dog"'), asked("2", "A cat, black.")])] == [2, 1]


def test_exact_ids_go_before_padded_ones_in_a_mapping(table):
    made = table("file,id\nx.png,1\ny.png,01\n")
    assert [shade(d) for d in made.generate([asked("01", "A."), asked("1", "A.")])] == [2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,id\nx.png,1\n", "no image of prompt 5, sample 0: .* has no row of it"),
        ("file,id\nx.png,5\ny.png,5\n", "prompt 5, sample 0: the rows 1 and 2 of .* are all of it; keep one"),
        ("file,prompt\nx.png,Five.\ny.png,Five.\n", "the rows 1 and 2 of"),
        ("file,id,prompt\nx.png,5,Six.\n", "row 1: the id is that of prompt 5, the text is another"),
        ("file,id\nnowhere.png,5\n", "row 1 of .* names .*nowhere.png, which is not there"),
    ],
)
def test_a_row_that_does_not_lead_to_one_image_is_told(table, text, message):
    with pytest.raises(UserError, match=message):
        table(text).generate([asked("5", "Five.")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line names the columns, one of them 'file'"),
        ("name,id\nx.png,1\n", "has the columns name, id; needed are file, and id or prompt"),
        ("file,sample\nx.png,1\n", "needed are file, and id or prompt"),
        ("file,id\nx.png\n", "row 1 has 1 fields, its header 2"),
        ("file,id\n,1\n", "row 1: , 1; a row has a file"),
        ("file,id\nx.png,\n", "a row has a file, an id or a prompt"),
        ("file,id,sample\nx.png,1,-1\n", "for a sample its number from 0"),
    ],
)
def test_a_mapping_of_another_form_is_refused(table, text, message):
    with pytest.raises(UserError, match=message):
        table(text)


def test_a_mapping_that_is_not_there_is_told(tmp_path, save):
    save("x.png")
    with pytest.raises(UserError, match=r"folder\.mapping: .*nowhere\.csv is not there"):
        folder(path=tmp_path, mapping=tmp_path / "nowhere.csv")
