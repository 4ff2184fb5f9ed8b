"""One rater at work: where they are, what they see, and what becomes of an answer. Knows nothing of the web.

What leaves here for a browser is made in `view` alone: opaque names, captions and questions, and never a system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from drawbench.errors import UserError
from drawbench.human_eval.assignment import Showing, showings
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.store import Conflict, Place, Store, completion_code


class State(NamedTuple):
    """Where a rater is."""

    place: Place
    order: Sequence[Showing]
    position: int
    """Of the first showing that is not answered; the length of ``order`` where all are."""
    answers: Mapping[int, Mapping[str, str]]
    """Position → question → what counts now."""


class Session:
    """A rater's way through their unit; stateless, for all that counts is in the store."""

    def __init__(self, store: Store, rater: str) -> None:
        self.store, self.rater = store, rater

    def state(self) -> State | None:
        """Returns where the rater is, taking a place where they have none; None: every place is taken."""
        place = self.store.place(self.rater)
        if place is None:
            return None
        order = showings(self.store.study, place.unit, self.rater)
        position, answers = _progress(self.store, order, self.store.judgements(self.rater))
        if position == len(order) and not place.finished:  # Answers that came in by another way than `answer`.
            self.store.finish(self.rater, place.unit)
            place = place._replace(finished=True)
        return State(place, order, position, answers)

    def view(self, state: State, position: int | None = None) -> dict[str, Any]:
        """Returns what a browser is told: the showing at a position (default: the next), and the images of the one after."""
        at = state.position if position is None else position
        if not 0 <= at <= min(state.position, len(state.order)):
            raise Conflict(f"position {at} is not to be seen yet")
        told: dict[str, Any] = {
            "position": at,
            "done": state.position,
            "total": len(state.order),
            "item": None,
            "next": [],
        }
        if at == len(state.order):
            return told
        showing = state.order[at]
        screen = self.store.study.screen(showing.item)
        told["item"] = {
            "id": showing.item.id,
            "caption": showing.item.caption,
            "columns": screen.columns,
            "sides": list(screen.sides),
            "sets": [list(images) for images in showing.images],
            "questions": [
                {
                    "name": question.name,
                    "text": question.text.replace("{caption}", showing.item.caption),
                    "options": [{"code": option.code, "label": option.label} for option in question.options],
                }
                for question in screen.questions
            ],
            "answers": dict(state.answers.get(at, {})),
        }
        if at + 1 < len(state.order):
            told["next"] = [name for images in state.order[at + 1].images for name in images]
        return told

    def answer(self, position: int, item: str, answers: Mapping[str, str], seconds: float, key: str) -> str | None:
        """Keeps an answer; returns the completion code where all is answered now.

        Raises:
            Conflict: the position is not this item's, or lies ahead of what was answered; or see `Store.submit`.
            UserError: the answers do not fit the screen.
        """
        state = self.state()
        if state is None:
            raise Conflict("every place is taken")
        if not 0 <= position < len(state.order) or state.order[position].item.id != item:
            raise Conflict("this item is not at this place")
        if position > state.position:
            raise Conflict("an item before this one has no answer yet")
        if not 0 <= seconds < 86_400:
            raise UserError(f"seconds is {seconds}; allowed are 0 to a day")
        self.store.submit(self.rater, state.order[position], answers, seconds, key)
        answered = state.position + (position == state.position)
        return self.code(state._replace(position=answered))

    def code(self, state: State) -> str | None:
        """Returns the completion code of who has answered everything."""
        if state.position < len(state.order):
            return None
        return completion_code(self.store.study, self.rater, state.place.unit)


def _progress(
    store: Store, order: Sequence[Showing], judgements: Sequence[Judgement]
) -> tuple[int, dict[int, dict[str, str]]]:
    """Returns the first position without all its answers, and the answers by position."""
    given: dict[tuple[str, bool], dict[str, str]] = {}
    for one in judgements:
        given.setdefault((one.item, one.repeat), {})[one.question] = one.answer
    answers: dict[int, dict[str, str]] = {}
    first = len(order)
    for showing in order:
        of_showing = given.get((showing.item.id, showing.repeat), {})
        if of_showing:
            answers[showing.position] = of_showing
        if len(of_showing) < len(store.study.screen(showing.item).questions):
            first = min(first, showing.position)
    return first, answers
