"""Two raters at once in a real browser: one with the keyboard, one with the mouse, and all that can happen to them."""

from collections import Counter
from dataclasses import replace

import pytest
from browsing import Rater, chromium
from making_studies import make_run
from serving import serving

from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.store import Store


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture
def served(tmp_path):
    """A study of two systems whose names no program would say by chance."""
    design = replace(DRAWBENCH, unit="batch", batch_size=6, raters=2)
    runs = [make_run(tmp_path / name, name, rate) for name, rate in (("aardvark", 0.0), ("zebra", 0.5))]
    study = create(tmp_path / "study", runs, design, images_per_set=2)
    store = Store(study)
    tokens = [store.invite()[1] for _ in range(3)]
    store.close()
    with serving(study.path) as app:
        app.tokens, app.opened = tokens, study
        yield app


def answers(app):
    store = Store(app.opened)
    found, everything = store.judgements(), store.judgements(all_rows=True)
    store.close()
    return found, everything


def test_two_raters_go_through_a_study_by_keyboard_and_by_mouse(browser, served):
    keys, mouse = (Rater(browser, served, token) for token in served.tokens[:2])
    for rater in (keys, mouse):
        rater.consent()

    # Keyboard: 1 and 3 answer the two questions, Enter goes on.
    for number in range(1, 3):
        keys.wait_for(number)
        for key in ("1", "3", "Enter"):
            keys.page.keyboard.press(key)
        # A second press at once answers nothing that has not been seen.
        for key in ("1", "3", "Enter"):
            keys.page.keyboard.press(key)
    keys.wait_for(3)
    assert len(answers(served)[0]) == 4

    # Mouse: a double click on the way, and the large view.
    mouse.page.locator(".thumb").first.click()
    assert mouse.page.locator("dialog[open] img").is_visible()
    mouse.page.keyboard.press("1")  # Behind the large view nothing is answered.
    mouse.page.locator("dialog").click()
    assert mouse.page.locator("[aria-pressed=true]").count() == 0
    for row in range(2):
        mouse.page.locator(".question").nth(row).locator("button").nth(1).click()
    mouse.page.locator("[data-is=next]").dblclick()
    mouse.wait_for(2)
    assert len(answers(served)[0]) == 6

    # Back: the old answer is there, and a new one takes its place.
    keys.page.keyboard.press("z")
    keys.wait_for(2)
    assert keys.page.locator("[aria-pressed=true]").count() == 2
    for key in ("2", "Enter"):
        keys.page.keyboard.press(key)
    keys.wait_for(3)
    found, everything = answers(served)
    assert (len(found), len(everything)) == (6, 7)  # One of its two questions had another answer.

    # A reload in the middle, and the browser's own back button.
    keys.page.reload()
    keys.wait_for(3)
    keys.page.goto("about:blank")
    keys.page.go_back()
    keys.wait_for(3)

    # A lost connection: the answer is kept and sent again.
    keys.context.set_offline(True)
    for key in ("1", "1", "Enter"):
        keys.page.keyboard.press(key)
    keys.page.get_by_text("Your answer is kept and sent again").wait_for()
    assert len(answers(served)[0]) == 6
    keys.context.set_offline(False)
    keys.wait_for(4)
    assert len(answers(served)[0]) == 8

    assert "Set A" in keys.page.locator(".rate").inner_text()
    for number in range(4, 7):
        keys.wait_for(number)
        if number == 5:  # A look at the large view by the mouse; then Enter is not the image's.
            keys.page.locator(".thumb").first.click()
            keys.page.locator("dialog").click()
        for key in ("3", "2", "Enter"):
            keys.page.keyboard.press(key)
    for number in range(2, 7):
        mouse.wait_for(number)
        for row in range(2):
            mouse.page.locator(".question").nth(row).locator("button").nth(2).click()
        mouse.page.locator("[data-is=next]").click()
    codes = {keys.code(), mouse.code()}
    assert len(codes) == 2

    found, _ = answers(served)
    assert list(Counter(one.rater for one in found).values()) == [12, 12]
    assert len({(one.rater, one.item, one.question) for one in found}) == 24
    for rater in (keys, mouse):
        text = b"".join(rater.received)
        assert len(text) > 10_000
        for name in (*served.opened.systems, *served.opened.manifest["runs"].values(), "shapes_truth"):
            assert name.encode() not in text
        assert rater.errors == []
        rater.context.close()


def test_both_sets_and_all_answers_are_in_sight_without_scrolling(browser, served):
    rater = Rater(browser, served, served.tokens[2])
    rater.consent()
    for what in (".thumb >> nth=0", ".thumb >> nth=3", ".option >> nth=0", ".option >> nth=5", "[data-is=next]"):
        box = rater.page.locator(what).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 768, what
    widths = [rater.page.locator(".thumb img").nth(number).bounding_box()["width"] for number in range(4)]
    assert max(widths) - min(widths) < 1
    rater.page.set_viewport_size({"width": 390, "height": 844})
    assert rater.page.evaluate("document.documentElement.scrollWidth") <= 390
    rater.context.close()


def test_captions_are_text_whatever_they_hold(browser, runs, tmp_path):
    """A study's captions come from prompts, which come from anywhere."""
    import json

    from drawbench.human_eval.study import Study, study_digest

    study = create(tmp_path / "study", runs[:2], replace(DRAWBENCH, raters=1), images_per_set=1)
    evil = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script> {caption} **b**"
    lines = [json.loads(line) | {"caption": evil} for line in (study.path / "items.jsonl").read_text().splitlines()]
    (study.path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((study.path / "study.json").read_text())
    items = [replace(item, caption=evil) for item in study.items]
    manifest["digest"] = study_digest(manifest, items)
    (study.path / "study.json").write_text(json.dumps(manifest))
    store = Store(Study.open(study.path))
    _, token = store.invite()
    store.close()
    with serving(study.path) as app:
        rater = Rater(browser, app, token)
        rater.consent()
        assert rater.page.locator("[data-is=caption]").inner_text() == evil
        assert "taken" not in rater.page.title()
        rater.context.close()
