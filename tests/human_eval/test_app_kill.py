"""kill -9 while raters submit, go back and reach their end: what one of them saw acknowledged is in the database, once."""

import json
import queue
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http.client import HTTPException

import pytest
from serving import App
from sqlalchemy import select

from drawbench.human_eval.assignment import showings
from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.store import Store
from drawbench.human_eval.tables import slots

AT_ONCE = 8
QUESTIONS = ("fidelity", "alignment")


@dataclass
class Rater:
    """What one rater has seen; it outlives the server."""

    number: int
    name: str
    token: str
    rng: random.Random
    answers: dict = field(default_factory=dict)
    """Item → the last answers that were acknowledged."""
    open: dict | None = None
    """Sent, and not acknowledged: it is sent again, under its key, by the next life."""
    keys: dict = field(default_factory=dict)
    """Key → what was acknowledged under it."""
    is_finished: bool = False


def go_on(app, rater):
    """Goes on until the end, or until the server is gone."""
    cookie = app.enter(rater.token)
    while True:
        if rater.open is None:
            _, view = app.state(cookie)
            if view["item"] is None:
                rater.is_finished = True
                return
            position = view["position"]
            if position and rater.rng.random() < 0.3:
                _, view = app.state(cookie, rater.rng.randrange(position))
            answers = {name: rater.rng.choice(["first", "indifferent", "second"]) for name in QUESTIONS}
            key = f"{rater.number}-{rater.rng.getrandbits(64):x}"
            told = {"position": view["position"], "item": view["item"]["id"], "answers": answers}
            rater.open = {**told, "seconds": 2.0, "key": key}
        for _ in range(2 if rater.rng.random() < 0.2 else 1):
            status, _, data = app.ask("POST", "/api/answer", rater.open, cookie)
            assert status == 200, data
            json.loads(data)
            rater.answers[rater.open["item"]] = rater.keys[rater.open["key"]] = rater.open["answers"]
        rater.open = None


def kill_while_submitting(study, times):
    store = Store(study)
    raters = [
        Rater(number, *store.invite(), random.Random(number))
        for number in range(len(study.units) * study.design.raters)
    ]
    store.close()
    wrong = []
    for life in range(times):
        app = App(study.path)
        waiting = queue.SimpleQueue()
        for rater in sorted(raters, key=lambda rater: (not rater.answers, rater.number)):
            if not rater.is_finished:
                waiting.put(rater)

        def work(app=app, waiting=waiting):
            try:
                while not waiting.empty():
                    go_on(app, waiting.get())
            except (OSError, HTTPException):  # The server is gone.
                return
            except Exception as error:  # noqa: BLE001  told by the test, whatever it is
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
        try:
            for thread in threads:
                thread.start()
            time.sleep(random.Random(life).uniform(0.5, 1.5))
        finally:
            app.kill()
        for thread in threads:
            thread.join()
    assert wrong == []
    return raters


def check(study, raters):
    store = Store(study)
    everything, current = store.judgements(all_rows=True), store.judgements()
    with store._engine.connect() as connection:
        places = {row["rater"]: row for row in connection.execute(select(slots)).mappings() if row["rater"]}
    store.close()
    stored = {(one.rater, one.item, one.question): one.answer for one in current}
    assert len(stored) == len(current)
    of_key = {(one.key, one.question): one.answer for one in everything}
    for rater in raters:
        in_flight = {rater.open["item"]: rater.open["answers"]} if rater.open else {}
        # Each acknowledged answer counts as it was given last; one in flight counts whole, or not at all.
        for item in rater.answers.keys() | in_flight.keys():
            found = {name: stored.get((rater.name, item, name)) for name in QUESTIONS}
            before = rater.answers.get(item, dict.fromkeys(QUESTIONS))
            assert found in (before, in_flight.get(item, before))
        for key, answers in rater.keys.items():
            assert all(of_key.get((key, name), answer) == answer for name, answer in answers.items())
        theirs = Counter(one.item for one in current if one.rater == rater.name)
        assert set(theirs.values()) <= {len(QUESTIONS)}
        assert theirs.keys() <= rater.answers.keys() | in_flight.keys()
        # A place is finished with the last of its answers, and never without one of them.
        if theirs:
            place = places[rater.name]
            assert (place["finished_at"] is not None) == (
                len(theirs) == len(showings(study, place["unit"], rater.name))
            )
            assert place["finished_at"] is not None or not rater.is_finished
    assert any(rater.is_finished for rater in raters)


@pytest.fixture
def study(runs, tmp_path):
    design = replace(DRAWBENCH, unit="batch", batch_size=3, raters=100)
    return create(tmp_path / "study", runs[:2], design, images_per_set=1)


def test_what_was_acknowledged_survives_kill_9(study):
    check(study, kill_while_submitting(study, 3))


@pytest.mark.long
def test_what_was_acknowledged_survives_fifty_times_kill_9(study):
    check(study, kill_while_submitting(study, 50))
