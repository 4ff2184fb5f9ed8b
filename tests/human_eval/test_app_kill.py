"""kill -9 while raters submit: what one of them saw acknowledged is in the database, once."""

import json
import random
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from serving import App

from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.store import Store

RATERS = 8


def one_rater(app, token, acknowledged, number, seed):
    """Submits until the server is gone; a submission without an answer is sent again by the next life, under its key."""
    rng = random.Random(seed)
    try:
        cookie = app.enter(token)
        status, view = app.state(cookie)
        while status == 200 and view["item"]:
            position = view["position"]
            if position and rng.random() < 0.6:  # Goes back, so that a short study never ends.
                status, view = app.state(cookie, rng.randrange(position))
                if status != 200:
                    return
            key = f"{number}-{rng.getrandbits(64):x}"
            answers = {name: rng.choice(["first", "indifferent", "second"]) for name in ("fidelity", "alignment")}
            body = {
                "position": view["position"],
                "item": view["item"]["id"],
                "answers": answers,
                "seconds": 2.0,
                "key": key,
            }
            for _ in range(2 if rng.random() < 0.2 else 1):
                status, _, data = app.ask("POST", "/api/answer", body, cookie)
                if status == 200:
                    acknowledged.append(key)
            view = json.loads(data)
    except OSError:
        return


def kill_while_submitting(study, times):
    store = Store(study)
    tokens = [store.invite()[1] for _ in range(RATERS)]
    store.close()
    acknowledged = []
    for life in range(times):
        app = App(study.path)
        try:
            threads = [
                threading.Thread(
                    target=one_rater, args=(app, token, acknowledged, f"{life}-{number}", f"{life}/{number}")
                )
                for number, token in enumerate(tokens)
            ]
            for thread in threads:
                thread.start()
            time.sleep(random.Random(life).uniform(0.3, 1.2))
        finally:
            app.kill()
        for thread in threads:
            thread.join()
    return acknowledged


def check(study, acknowledged):
    store = Store(study)
    everything, current = store.judgements(all_rows=True), store.judgements()
    store.close()
    stored = Counter((one.key, one.question) for one in everything)
    assert acknowledged
    assert {(key, question) for key in acknowledged for question in ("fidelity", "alignment")} <= stored.keys()
    assert set(stored.values()) == {1}
    assert len({(one.rater, one.item, one.question) for one in current}) == len(current)


@pytest.fixture
def study(runs, tmp_path):
    design = replace(DRAWBENCH, unit="batch", batch_size=22, raters=RATERS)
    return create(tmp_path / "study", runs[:2], design, images_per_set=1)


def test_what_was_acknowledged_survives_kill_9(study):
    check(study, kill_while_submitting(study, 3))


@pytest.mark.long
def test_what_was_acknowledged_survives_fifty_times_kill_9(study):
    check(study, kill_while_submitting(study, 50))
