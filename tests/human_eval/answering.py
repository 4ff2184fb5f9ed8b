"""Raters for tests: simulated ones, who go through the store, and ones whose every answer is given."""

from random import Random

from drawbench.human_eval.assignment import showings
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.simulated_raters import simulate
from drawbench.human_eval.simulation import Population
from drawbench.human_eval.store import Store

PLAIN = Population()
FEW = "few raters: the interval is approximate"


def filled(study, strengths, population=PLAIN, seed=0):
    """The judgements of simulated raters."""
    store = Store(study)
    simulate(store, strengths, population, seed)
    judgements = store.judgements()
    store.close()
    return judgements


def answered(study, answer, raters=6, seconds=lambda showing: 3.0):
    """The judgements of raters who go through every unit; ``answer(showing, question, rng)`` gives an option's code."""
    rng = Random(7)
    judgements = []
    for unit in study.units:
        for _ in range(raters):
            rater = f"r{len(judgements):08d}"
            for showing in showings(study, unit, rater):
                taken = seconds(showing)
                for question in study.screen(showing.item).questions:
                    code = answer(showing, question.name, rng)
                    judgements.append(judged(study, showing, rater, question.name, code, taken, len(judgements)))
    return judgements


def judged(study, showing, rater, question, code, seconds, number):
    return Judgement(
        id=number,
        study=study.digest,
        item=showing.item.id,
        rater=rater,
        question=question,
        answer=code,
        shown=showing.shown,
        position=showing.position,
        seconds=seconds,
        at=f"2026-01-01T00:00:00.{number:09d}",
        key=f"k{number}",
        repeat=showing.repeat,
    )


def by_lot(showing, question, rng):
    return rng.choice(["first", "indifferent", "second"])


def liking(system, share=1.0):
    """Answers that prefer a system in so many cases, and else the other."""

    def answer(showing, question, rng):
        left = showing.shown[0] == system
        return "first" if left == (rng.random() < share) else "second"

    return answer
