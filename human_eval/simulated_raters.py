"""Raters who do not exist: they go through a study as people do, with preferences that are known.

They fill a demo and prove the way from the screen to the number; what the intervals are worth is proven by `simulation`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import insert

from drawbench.errors import UserError
from drawbench.human_eval.assignment import Showing
from drawbench.human_eval.conduct import SIMULATED, is_simulated
from drawbench.human_eval.design import Question
from drawbench.human_eval.flags import right_answer
from drawbench.human_eval.session import Session
from drawbench.human_eval.simulation import Population
from drawbench.human_eval.store import Store
from drawbench.human_eval.tables import raters
from drawbench.journal import now
from drawbench.progress import progress


class Person(NamedTuple):
    """One simulated rater."""

    kind: str
    """diligent, random, indifferent or first: the lazy ones answer without a look."""
    leaning: Mapping[str, float]
    """To each system, over what it deserves."""
    side: float
    """Favour for the side shown first."""


def simulate(
    store: Store, strengths: Mapping[str, float], population: Population, seed: int = 0, most: int | None = None
) -> int:
    """Fills a study's places (or the first ``most``) with simulated raters; returns how many raters took part.

    ``strengths`` are in units of a judgement's chance: of 1 and 0 the first is preferred in 69 of 100 decided cases where
    ``population.indifference`` is 0.

    Raises:
        UserError: a system without a strength, or one that the study does not have; people have answered already.
    """
    study = store.study
    if people := {one.rater for one in store.judgements(all_rows=True) if not is_simulated(one.rater)}:
        raise UserError(
            f"{study.path} has answers of people ({len(people)}), and simulated ones do not go beside them; "
            "make a study of its own for them: drawbench study create"
        )
    if unknown := sorted(strengths.keys() ^ set(study.systems)):
        raise UserError(f"strengths are needed of {', '.join(study.systems)}; wrong or missing: {', '.join(unknown)}")
    rng = np.random.default_rng(seed)
    prompts = sorted({item.prompt for item in study.items})
    pull = {
        (prompt, name): rng.normal(0, population.prompt_sd / np.sqrt(2)) for prompt in prompts for name in study.systems
    }
    total = study.design.raters * len(study.units)
    count = 0
    with progress(min(total, most or total), unit=" raters", label="simulate") as bar:
        while most is None or count < most:
            rater = _enrolled(store)
            session = Session(store, rater)
            state = session.state()
            if state is None:
                break
            person = _person(study.systems, population, rng)
            for showing in state.order:
                answers = {
                    question.name: _answer(
                        question,
                        showing,
                        right_answer(study, showing.item, question.name),
                        *(person, strengths, pull, population, rng),
                    )
                    for question in study.screen(showing.item).questions
                }
                seconds = float(rng.lognormal(1.5, 0.4)) if person.kind == "diligent" else float(rng.uniform(0.2, 0.6))
                session.answer(showing.position, showing.item.id, answers, seconds, f"{rater}-{showing.position}")
            count += 1
            bar.update()
    return count


def _enrolled(store: Store) -> str:
    """Returns a new rater whose pseudonym says, here and in every export, that they do not exist; nobody gets their link."""
    rater = f"{SIMULATED}{secrets.token_hex(5)}"
    row = {"id": rater, "token_sha256": secrets.token_hex(32), "identity": "simulated", "invited_at": now()}
    with store._writing() as connection:
        connection.execute(insert(raters).values(row))
    return rater


def _person(systems: Sequence[str], population: Population, rng: np.random.Generator) -> Person:
    shares = (population.at_random, population.always_indifferent, population.always_first)
    kind = rng.choice(["random", "indifferent", "first", "diligent"], p=[*shares, 1 - sum(shares)])
    leaning = {name: rng.normal(0, population.rater_sd / np.sqrt(2)) for name in systems}
    return Person(str(kind), leaning, population.side_bias + rng.normal(0, population.side_sd))


def _answer(
    question: Question,
    showing: Showing,
    right: str | None,
    person: Person,
    strengths: Mapping[str, float],
    pull: Mapping[tuple[str, str], float],
    population: Population,
    rng: np.random.Generator,
) -> str:
    """Returns the code of an option: of a pair by the difference of what both sides are worth, of a scale by the worth.

    ``right`` is what is right of a control.
    """
    codes = [option.code for option in question.options]
    if person.kind == "random":
        return str(rng.choice(codes))
    if person.kind == "first":
        return codes[0]
    neither = [code for code in codes if code not in ("first", "second")]
    if person.kind == "indifferent" and (neither or len(showing.sides) < 2):
        return neither[len(neither) // 2] if len(showing.sides) == 2 else codes[len(codes) // 2]

    def worth(system: str) -> float:
        if system not in strengths:
            return -9.0  # Spoilt, for a control.
        return strengths[system] + person.leaning[system] + pull[showing.item.prompt, system]

    if len(showing.sides) == 1:
        value = -9.0 if right is not None else worth(showing.sides[0].system) + rng.normal()
        ordered = sorted(question.options, key=lambda option: option.value if option.value is not None else 0.0)
        cuts = np.linspace(-1.5, 1.5, len(ordered) - 1)
        return ordered[int(np.searchsorted(cuts, value))].code
    difference = worth(showing.sides[0].system) - worth(showing.sides[1].system) + person.side + rng.normal()
    if neither and abs(difference) < population.indifference:
        return neither[0]
    return "first" if difference > 0 else "second"
