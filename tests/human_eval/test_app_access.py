"""The rating page for whoever uses it: by Tab alone, by a screen reader, on a phone, and with a break."""

import sqlite3
from dataclasses import replace

import pytest
from browsing import Rater, chromium
from serving import serving

from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.store import Store

ACTIVE = """() => {
    let active = document.activeElement;
    while (active.shadowRoot && active.shadowRoot.activeElement) active = active.shadowRoot.activeElement;
    const style = getComputedStyle(active), name = active.getAttribute("aria-label") || active.innerText;
    return {name: name.replace(/\\s+/g, " ").trim(), outline: style.outlineStyle, inRate: !!active.closest(".rate")};
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def served(runs, tmp_path_factory):
    """A study of one image a set, with places for all tests."""
    design = replace(DRAWBENCH, unit="batch", batch_size=6, raters=4)
    study = create(tmp_path_factory.mktemp("access") / "study", runs[:2], design, images_per_set=1)
    store = Store(study)
    raters = [store.invite() for _ in range(8)]
    store.close()
    with serving(study.path) as app:
        app.raters, app.opened = iter(raters), study
        yield app


@pytest.fixture
def rater(browser, served):
    name, token = next(served.raters)
    made = Rater(browser, served, token)
    made.name = name
    made.consent()
    yield made
    assert made.errors == []
    made.context.close()


def answer(rater, number, *keys):
    rater.wait_for(number)
    for key in (*(keys or ("1", "2")), "Enter"):
        rater.page.keyboard.press(key)


def lose_place(rater):
    """Another takes the place, as if the lease had run out."""
    database = sqlite3.connect(rater.app.study / "judgements.sqlite", timeout=30)
    with database:
        taken = database.execute("UPDATE slots SET rater = 'r-' || rater WHERE rater = ?", (rater.name,)).rowcount
    database.close()
    assert taken == 1


@pytest.mark.parametrize("way", ["pause", "back"])
def test_who_has_lost_their_place_goes_on_at_another(rater, way):
    answer(rater, 1)
    answer(rater, 2)
    rater.wait_for(3)
    if way == "pause":
        rater.page.get_by_role("button", name="Pause").click()
        lose_place(rater)
        rater.page.get_by_role("button", name="Go on").click()
    else:
        lose_place(rater)
        rater.page.keyboard.press("z")
    rater.page.get_by_text("your place was given to somebody else").wait_for()
    answer(rater, 1)
    rater.wait_for(2)


def test_a_pause_takes_no_time_and_loses_nothing(rater):
    rater.page.clock.install()
    rater.page.reload()
    rater.wait_for(1)
    rater.page.clock.fast_forward(20_000)
    rater.page.keyboard.press("3")
    rater.page.get_by_role("button", name="Pause").click()
    rater.page.clock.fast_forward(1_000_000)
    rater.page.get_by_role("button", name="Go on").click()
    rater.wait_for(1)
    assert "indifferent" not in (pressed := rater.page.locator("[aria-pressed=true]").inner_text())
    assert "set B" in pressed
    rater.page.clock.fast_forward(5_000)
    answer(rater, 1, "1")
    rater.wait_for(2)
    store = Store(rater.app.opened)
    seconds = {one.seconds for one in store.judgements(rater.name)}
    store.close()
    (seconds,) = seconds
    assert 25 <= seconds < 200


def tab(rater, times, key="Tab"):
    """Presses Tab; returns the controls that came by, each of which shows that it has the focus."""
    names = []
    for _ in range(times):
        rater.page.keyboard.press(key)
        active = rater.page.evaluate(ACTIVE)
        if active["inRate"]:
            assert active["outline"] != "none", active
            names.append(active["name"])
    return names


def test_every_control_is_reached_and_used_by_tab_alone(rater):
    answer(rater, 1)
    rater.wait_for(2)
    keys = rater.page.keyboard
    images = ["Image 1 of 1, Set A, enlarge", "Image 1 of 1, Set B, enlarge"]
    options = ["1 I prefer set A", "2 I am indifferent", "3 I prefer set B"] * 2
    assert tab(rater, 9) == [*images, *options, "Z Back"]  # Next cannot be pressed yet.
    assert tab(rater, 9, "Shift+Tab")[:8] == [*images, *options][::-1]

    # The large view closes by keyboard, and the image has the focus again.
    rater.page.evaluate(ACTIVE)
    keys.press("Tab")
    first = rater.page.evaluate(ACTIVE)["name"]
    assert first == images[0]
    for close in ("Enter", "Escape"):
        keys.press("Enter")
        assert rater.page.locator("dialog[open]").count() == 1
        assert rater.page.evaluate(ACTIVE)["name"] == "Close"
        keys.press(close)
        assert rater.page.locator("dialog[open]").count() == 0
        assert rater.page.evaluate(ACTIVE)["name"] == first

    # An answer is chosen by Enter or by Space, and on one that is chosen Enter goes on.
    assert tab(rater, 2)[-1] == options[0]
    keys.press("Space")
    assert tab(rater, 4)[-1] == options[4]
    keys.press("Enter")
    assert rater.page.locator("[aria-pressed=true]").all_inner_texts() == [options[0], options[4]]
    assert tab(rater, 3)[1:] == ["Z Back", "Enter Next"]
    keys.press("Enter")
    rater.wait_for(3)

    # From a new item Tab goes to its images; while paused it stays with the pause.
    assert tab(rater, 1) == images[:1]
    assert tab(rater, 1, "Shift+Tab") == ["Pause"]
    keys.press("Enter")
    assert rater.page.evaluate(ACTIVE)["name"] == "Go on"
    assert set(tab(rater, 4)) <= {"Go on"}
    rater.page.get_by_role("button", name="Go on").focus()
    keys.press("Enter")
    rater.wait_for(3)


def tree(rater):
    """What a screen reader is told: (role, name, properties)."""
    session = rater.context.new_cdp_session(rater.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", "").strip(),
            {one["name"]: one["value"].get("value") for one in node.get("properties", [])},
        )
        for node in nodes
        if not node["ignored"]
    ]


def test_a_screen_reader_is_told_the_item_the_choice_and_nothing_else(rater):
    answer(rater, 1)
    rater.wait_for(2)
    caption = rater.page.locator("[data-is=caption]").inner_text()
    said = rater.page.locator("[data-is=said]")
    assert said.get_attribute("aria-live") == "polite"
    assert said.inner_text() == f"{rater.page.locator('[data-is=progress]').inner_text()}. {caption}"
    rater.page.keyboard.press("3")
    questions = [question.text for question in DRAWBENCH.screens[0].questions]
    assert said.inner_text() == f"I prefer set B. {questions[1]}"
    told = tree(rater)
    assert [name for role, name, _ in told if role == "group" and name] == ["Images", *questions]
    pressed = [(name, of["pressed"]) for role, name, of in told if role == "button" and "pressed" in of]
    labels = ("1 I prefer set A", "2 I am indifferent", "3 I prefer set B")
    assert pressed == [
        *zip(labels, ("false", "false", "true"), strict=True),
        *zip(labels, ("false",) * 3, strict=True),
    ]
    assert {"Pause", "Back", "Next", "Image 1 of 1, Set A, enlarge"} <= {
        name for role, name, _ in told if role == "button"
    }
    assert not [name for role, name, _ in told if role in ("button", "img", "dialog") and not name]
    rater.page.locator(".thumb").first.click()
    told += tree(rater)
    assert ("image", "Image 1 of 1, Set A") in [(role.replace("img", "image"), name) for role, name, _ in told]
    everything = " ".join(name for _, name, _ in told)
    images = [name for item in rater.app.opened.items for side in item.sides for name in side.images]
    assert not [name for name in images if name.partition(".")[0] in everything]


def in_sight(rater, what):
    box = rater.page.locator(what).bounding_box()
    size = rater.page.viewport_size
    return (
        box["y"] >= 0
        and box["x"] >= 0
        and box["y"] + box["height"] <= size["height"]
        and box["x"] + box["width"] <= size["width"]
    )


EVERYTHING = ("[data-is=caption]", ".thumb >> nth=0", ".thumb >> nth=1", ".option >> nth=0", ".option >> nth=5")


def test_on_a_phone_one_item_is_in_sight_at_once(rater):
    rater.page.set_viewport_size({"width": 390, "height": 844})
    for number in range(1, 5):
        rater.wait_for(number)
        assert [what for what in (*EVERYTHING, "[data-is=next]") if not in_sight(rater, what)] == []
        assert rater.page.locator(".thumb img").first.bounding_box()["width"] > 160
        answer(rater, number)


def test_on_a_small_phone_the_caption_comes_first_after_each_item(rater):
    rater.page.set_viewport_size({"width": 360, "height": 300})
    for number in range(1, 4):
        rater.wait_for(number)
        assert in_sight(rater, "[data-is=caption]")
        for row in range(2):
            rater.page.locator(".question").nth(row).locator("button").first.click()
        rater.page.locator("[data-is=next]").scroll_into_view_if_needed()
        assert not in_sight(rater, "[data-is=caption]")
        rater.page.locator("[data-is=next]").click()
