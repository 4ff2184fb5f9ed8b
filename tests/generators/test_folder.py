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
