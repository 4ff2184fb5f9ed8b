"""The app's pages, drawn by Streamlit: consent and instructions, the item, the end, and the administrator's view."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from drawbench.errors import UserError
from drawbench.human_eval.analysis import analyse
from drawbench.human_eval.app.example import example
from drawbench.human_eval.app.routes import ADMIN, RATER, Desk
from drawbench.human_eval.bars import stacked_bars
from drawbench.human_eval.design import Design
from drawbench.human_eval.findings import sentences
from drawbench.human_eval.session import Session

_desk: Desk | None = None
FOLDER = Path(__file__).parent


def use(desk: Desk) -> None:
    """Sets what the pages draw from; once per process, before the first page."""
    global _desk
    _desk = desk


def draw() -> None:
    """Draws the page that a browser is at."""
    desk = _desk
    if desk is None:
        raise RuntimeError("the pages are drawn by `drawbench rate`")
    st.set_page_config(page_title="Image study", layout="wide", initial_sidebar_state="collapsed")
    st.html("<style>.stMainBlockContainer{padding:1.2rem 1rem 1rem}header[data-testid=stHeader]{display:none}</style>")
    if "admin" in st.query_params:
        _admin(desk)
        return
    token = st.context.cookies.get(RATER)
    rater = desk.store.rater_of(token) if token else None
    if rater is None:
        _welcome(desk)
    elif not desk.store.has_consented(rater):
        _consent(desk, rater)
    else:
        _work(desk, rater)


def _welcome(desk: Desk) -> None:
    st.title("Image study")
    st.write("This study is open to people who were invited: open your personal link.")
    if desk.access_code is not None:
        st.link_button("I have an access code", "/join")


def _consent(desk: Desk, rater: str) -> None:
    design = desk.store.study.design
    questions = [question for screen in design.screens for question in screen.questions]
    st.title("Image study")
    st.write(
        f"{subject(design)} Taking part is voluntary; you can stop at any time by closing the page, and come back by your link."
    )
    st.write(
        "What is kept: your answers, how long each took, and when, under a pseudonym. You can have them removed: tell the people "
        f"who invited you this code: **{rater}**."
    )
    st.subheader("What to do")
    st.write(design.instructions)
    for question in questions:
        st.markdown(f"**{_plain(question.text)}**")
        st.markdown("   ".join(f"`{place}` {_plain(option.label)}" for place, option in enumerate(question.options, 1)))
    st.markdown("**An example**")
    st.html(example(design))
    st.write(
        "With the keyboard: the numbers answer, Enter goes on, Z goes back. A click on an image shows it large. Answers count "
        "only once all images are there."
    )
    st.button("I agree, and begin", type="primary", on_click=desk.store.consent, args=(rater,))


def subject(design: Design) -> str:
    """Returns what a study is about, told before consent: true of its design, and no hint of what is which."""
    if design.shows == "reference" or design.rates_reference:
        seen = "You will see images, some made by computers and some not, and answer questions about them."
    else:
        seen = "You will see images that computers made, and say what you think of them."
    # Of real and made images, and of controls, some answers are right.
    is_opinion = design.shows == "pair" and not design.controls
    return f"{seen} There is no right answer." if is_opinion else seen


def _work(desk: Desk, rater: str) -> None:
    session = Session(desk.store, rater)
    state = session.state()
    if state is None:
        st.title("Thank you")
        st.write("Every place in this study is taken already.")
        return
    if (code := session.code(state)) is not None:
        st.title("Done: thank you")
        st.write(f"You have answered all {len(state.order)} items. Your completion code:")
        st.code(code, language=None)
        return
    _component()(key="rate", data={}, on_finished_change=_again, on_left_change=_again)


def _again() -> None:
    """Nothing: that it was called draws the page anew."""


@cache
def _component() -> Any:
    html, css, js = ((FOLDER / f"rate.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component("drawbench_rate", html=html, css=css, js=js)


def _admin(desk: Desk) -> None:
    """Draws the administrator's view; the secret is checked at every drawing."""
    if not desk.is_admin(st.context.cookies.get(ADMIN)):
        st.title("Administrator")
        st.write("The secret is needed.")
        st.link_button("Enter it", "/admin")
        return

    study, store = desk.store.study, desk.store
    judgements = store.judgements()
    st.title(f"{study.design.name}: {', '.join(study.systems)}")
    screens = Counter(item.unit for item in study.items)
    done = Counter((study.by_id[one.item].unit) for one in judgements)
    questions = {unit: len(study.screen(items[0]).questions) for unit, items in study.units.items()}
    rows = [
        {
            "unit": unit,
            "items": count,
            "places": study.design.raters,
            **store.places(unit),
            "answers": done[unit],
            "of": count * study.design.raters * questions[unit],
        }
        for unit, count in screens.items()
    ]
    st.dataframe(rows, hide_index=True)
    per_rater = Counter(one.rater for one in judgements)
    st.write(f"{len(judgements)} answers by {len(per_rater)} raters.")
    for kind in ("csv", "parquet", "json"):
        st.link_button(f"Export {kind}", f"/api/admin/export.{kind}")
    try:
        analysis = analyse(study, judgements)
    except UserError as error:
        st.info(str(error))
        return
    for text in sentences(analysis):
        st.write(_plain(text))
    columns = {name: number for number, name in enumerate(study.systems)}
    rows_by_question: dict[str, list[Any]] = {}
    for row in analysis["preferences"]:
        rows_by_question.setdefault(f"{row['question']}: {row['a']} against {row['b']}", []).append(row)
    for title, of_pair in rows_by_question.items():
        st.subheader(_plain(title))
        st.image(_picture(str(stacked_bars(of_pair, columns))))
    if analysis["agreement"]:
        st.subheader("Agreement")
        names = ("task", "system", "question", "fleiss_kappa", "krippendorff_alpha", "level", "n", "reason")
        st.dataframe([{name: row[name] for name in names} for row in analysis["agreement"]], hide_index=True)
    if analysis["flags"]:
        st.subheader("Flagged")
        st.dataframe(
            [{"rater": flag["rater"], "why": "; ".join(flag["reasons"])} for flag in analysis["flags"]], hide_index=True
        )


_STYLE = """<style>svg { --s0: #0068a8; --s1: #c96a00; --s2: #00845f; --s3: #a2478a; --s4: #3e9bd0; --s5: #6b6459; --s6: #8a7a00;
--s7: #5c4fb0; --hair: #bbb; } text { font: 12px sans-serif; fill: #777; }
.whisker { stroke: #222; stroke-width: 1.4; fill: none; } .middle { stroke: #888; fill: none; }</style>"""


def _picture(svg: str) -> str:
    """Returns an inline SVG as one that stands alone."""
    head, close, rest = svg.partition(">")
    return head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg" width="720"', 1) + close + _STYLE + rest


def _plain(text: str) -> str:
    """Returns a text whose Markdown means nothing."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|$~:" else letter for letter in text)
