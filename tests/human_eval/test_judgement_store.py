"""The store: places, leases, answers that arrive twice, changes of mind, and raters who are forgotten."""

import sqlite3
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import event, select
from sqlalchemy.dialects import postgresql

from drawbench.errors import UserError
from drawbench.human_eval import store as store_module
from drawbench.human_eval.assignment import showings
from drawbench.human_eval.designs import DRAWBENCH
from drawbench.human_eval.session import Session
from drawbench.human_eval.store import Conflict, Store, completion_code
from drawbench.human_eval.tables import slots, submissions

BOTH = {"fidelity": "first", "alignment": "second"}


@pytest.fixture
def study(make_study):
    return make_study(replace(DRAWBENCH, raters=2), images_per_set=1)


@pytest.fixture
def store(study):
    made = Store(study)
    yield made
    made.close()


def begin(store, identity=None):
    rater, _ = store.invite(identity)
    place = store.place(rater)
    return rater, showings(store.study, place.unit, rater)


def test_a_token_leads_to_its_rater_and_is_not_kept(store):
    rater, token = store.invite("ann@example.org")
    assert store.rater_of(token) == rater
    assert store.rater_of(token + "x") is None
    raw = b"".join(file.read_bytes() for file in store.study.path.glob("judgements.sqlite*"))
    assert token.encode() not in raw


def test_an_answer_is_stored_with_all_that_an_analysis_needs(store):
    rater, (showing, *_) = begin(store)
    store.submit(rater, showing, BOTH, 2.5, "k1")
    first, second = store.judgements()
    assert (first.question, first.answer, second.question, second.answer) == (
        "fidelity",
        "first",
        "alignment",
        "second",
    )
    assert (first.item, first.rater, first.shown, first.seconds) == (showing.item.id, rater, showing.shown, 2.5)
    assert first.study == store.study.digest


def test_the_same_submission_twice_is_one_judgement(store):
    rater, (showing, *_) = begin(store)
    once = store.submit(rater, showing, BOTH, 2.5, "k1")
    assert store.submit(rater, showing, BOTH, 2.5, "k1") == once
    assert len(store.judgements()) == 2


def test_a_key_that_was_used_for_something_else_is_a_conflict(store):
    rater, (showing, other, *_) = begin(store)
    store.submit(rater, showing, BOTH, 2.5, "k1")
    for place, answers in ((showing, {**BOTH, "fidelity": "second"}), (other, BOTH)):
        with pytest.raises(Conflict):
            store.submit(rater, place, answers, 2.5, "k1")
    assert len(store.judgements()) == 2


def test_a_change_of_mind_is_a_new_row_that_names_the_old_one(store):
    rater, (showing, *_) = begin(store)
    first, _ = store.submit(rater, showing, BOTH, 2.5, "k1")
    _, changed = store.submit(rater, showing, {**BOTH, "fidelity": "indifferent"}, 1.5, "k2")
    assert (changed.supersedes, changed.seconds) == (first.id, 1.5)
    assert {one.question: one.answer for one in store.judgements()} == {**BOTH, "fidelity": "indifferent"}
    assert [one.question for one in store.judgements(all_rows=True)] == ["fidelity", "alignment", "fidelity"]
    _, third = store.submit(rater, showing, BOTH, 1.5, "k3")
    assert third.supersedes == changed.id


def test_a_look_back_that_changes_nothing_leaves_the_first_answer_and_its_time(store):
    rater, (showing, *_) = begin(store)
    once = store.submit(rater, showing, BOTH, 30.0, "k1")
    assert store.submit(rater, showing, BOTH, 0.5, "k2") == once
    assert store.judgements(all_rows=True) == once
    assert [one.seconds for one in once] == [30.0, 30.0]


def test_a_submission_that_changed_nothing_and_arrives_again_late_changes_nothing_then_either(store):
    rater, (showing, *_) = begin(store)
    store.submit(rater, showing, BOTH, 30.0, "k1")
    store.submit(rater, showing, BOTH, 0.5, "k2")
    changed = store.submit(rater, showing, {**BOTH, "fidelity": "indifferent"}, 9.0, "k3")
    assert store.submit(rater, showing, BOTH, 0.5, "k2") == changed
    with pytest.raises(Conflict):
        store.submit(rater, showing, {**BOTH, "alignment": "first"}, 0.5, "k2")
    assert store.judgements() == changed


@pytest.mark.parametrize(
    "answers", [{}, {"fidelity": "first"}, {**BOTH, "taste": "first"}, {**BOTH, "fidelity": "maybe"}]
)
def test_answers_that_do_not_fit_the_screen_are_refused(store, answers):
    rater, (showing, *_) = begin(store)
    with pytest.raises(UserError, match="do not fit the questions fidelity, alignment"):
        store.submit(rater, showing, answers, 1.0, "k")
    assert store.judgements() == []


def test_every_unit_gets_its_quota_and_no_more(store):
    raters = [store.invite()[0] for _ in range(30)]
    places = [store.place(rater) for rater in raters]
    taken = Counter(place.unit for place in places if place)
    assert set(taken.values()) == {2}
    assert len(taken) == 11
    assert [place is None for place in places].count(True) == 8


def at_once(*jobs):
    """Runs all jobs at the same moment; returns what they return."""
    gate, results = threading.Barrier(len(jobs)), [None] * len(jobs)

    def run(number):
        gate.wait()
        results[number] = jobs[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def held(store):
    """Who holds which place, as the database has it."""
    with store._engine.connect() as connection:
        rows = connection.execute(select(slots).where(slots.c.rater.is_not(None))).mappings().all()
    return {row["rater"]: (row["unit"], row["number"]) for row in rows}


def test_raters_at_the_same_moment_in_two_processes_never_take_one_place(store):
    raters = [store.invite()[0] for _ in range(26)]
    other = Store(store.study)
    taken = at_once(*(partial((store, other)[number % 2].place, rater) for number, rater in enumerate(raters)))
    other.close()
    told = {rater: place[:2] for rater, place in zip(raters, taken, strict=True) if place is not None}
    assert len(told) == len(set(told.values())) == 22
    assert held(store) == told


def test_one_rater_in_many_windows_takes_one_place(store):
    rater, _ = store.invite()
    assert len(set(at_once(*[partial(store.place, rater)] * 8))) == 1
    assert len(held(store)) == 1


def test_a_place_that_another_took_since_it_was_read_is_not_taken_again(store, monkeypatch):
    """As in a database that lets others write between a reading and a writing."""
    (quick, _), (slow, _) = store.invite(), store.invite()
    with store._engine.connect() as connection:
        stale = store._free(connection, [], datetime.now(UTC))
    first = store.place(quick)
    assert (first.unit, first.number) == (stale["unit"], stale["number"])
    really, read = store._free, [stale]
    monkeypatch.setattr(store, "_free", lambda *given: read.pop() if read else really(*given))
    second = store.place(slow)
    assert not read
    assert held(store) == {quick: first[:2], slow: second[:2]}
    assert first[:2] != second[:2]


def test_takings_of_one_rater_wait_for_each_other_where_a_database_has_row_locks(store):
    said = []
    event.listen(store._engine, "before_execute", lambda _, clause, *__: said.append(clause))
    store.place(store.invite()[0])
    in_postgresql = [str(one.compile(dialect=postgresql.dialect())) for one in said]
    lock = next(number for number, text in enumerate(in_postgresql) if text.endswith("FOR UPDATE"))
    assert lock < next(number for number, text in enumerate(in_postgresql) if text.startswith("UPDATE slots"))


def test_who_comes_back_is_where_they_were(store):
    rater, (showing, *_) = begin(store)
    place = store.place(rater)
    store.submit(rater, showing, BOTH, 2.0, "k1")
    assert store.place(rater) == place
    assert showings(store.study, place.unit, rater)[0] == showing


def test_a_place_whose_lease_has_run_out_is_given_to_another(store, monkeypatch):
    late, rest = begin(store)
    lost = store.place(late)[:2]
    others = [begin(store)[0] for _ in range(21)]
    waiting, _ = store.invite()
    assert store.place(waiting) is None
    with monkeypatch.context() as later:
        later.setattr(store_module, "LEASE", timedelta(seconds=-1))
        store.submit(late, rest[0], BOTH, 1.0, "k-last")  # With this the lease of one place alone is over.
    assert store.place(waiting)[:2] == lost
    assert set(held(store)) == {waiting, *others}
    with pytest.raises(Conflict, match="given to somebody else"):
        store.submit(late, rest[0], BOTH, 1.0, "k-late")
    assert store.units(late) == []


def test_a_finished_unit_is_finished_and_its_code_cannot_be_guessed(store):
    rater, all_showings = begin(store)
    unit = store.place(rater).unit
    for number, showing in enumerate(all_showings):
        store.submit(rater, showing, BOTH, 2.0, f"k{number}")
    code = store.finish(rater, unit)
    assert code == store.finish(rater, unit) == completion_code(store.study, rater, unit)
    assert store.place(rater).finished
    assert len(code) == 10
    assert code != completion_code(store.study, "r00000001", unit)


def test_the_last_answer_finishes_the_place_in_its_own_transaction(store):
    rater, all_showings = begin(store)
    place = store.place(rater)
    for number, showing in enumerate(all_showings):
        assert store.places(place.unit) == {"at work": 1, "finished": 0}
        store.submit(rater, showing, BOTH, 2.0, f"k{number}")
    assert store.places(place.unit) == {"at work": 0, "finished": 1}
    assert store.place(rater) == place._replace(finished=True)


def test_who_has_answered_everything_is_finished_even_where_nobody_noted_it(store, monkeypatch):
    rater, all_showings = begin(store)
    unit = store.place(rater).unit
    with monkeypatch.context() as before:
        before.setattr(store_module, "_finish", lambda *_: None)
        for number, showing in enumerate(all_showings):
            store.submit(rater, showing, BOTH, 2.0, f"k{number}")
    assert store.places(unit)["finished"] == 0
    session = Session(store, rater)
    assert session.state().place.finished
    assert session.code(session.state()) == completion_code(store.study, rater, unit)
    assert store.places(unit)["finished"] == 1


def test_a_forgotten_rater_has_no_name_and_no_way_back_but_their_answers_count(store):
    rater, (showing, *_) = begin(store, "ann@example.org")
    store.submit(rater, showing, BOTH, 2.0, "k")
    assert store.forget(rater) == 0
    assert len(store.judgements()) == 2
    store.close()
    assert b"ann@example" not in b"".join(file.read_bytes() for file in store.study.path.glob("judgements.sqlite*"))


def test_a_rater_can_be_forgotten_with_all_they_said(store):
    rater, (showing, *_) = begin(store)
    store.submit(rater, showing, BOTH, 2.0, "k")
    assert store.forget(rater, answers_too=True) == 2
    assert store.judgements() == []
    with store._engine.connect() as connection:
        assert connection.execute(select(submissions)).all() == []
    with pytest.raises(UserError, match="has no rater 'r1'"):
        store.forget("r1")


def test_sides_are_dealt_evenly_and_differently_to_each_rater(make_study):
    study = make_study(images_per_set=1)
    (unit,) = {item.unit for item in study.items if item.category == "Colors"}
    left = [tuple(showing.sides[0].system for showing in showings(study, unit, f"r{n}")) for n in range(40)]
    assert {Counter(systems)["right"] for systems in left} == {len(study.units[unit]) // 2}
    assert len({tuple(s.item.id for s in showings(study, unit, f"r{n}")) for n in range(40)}) > 1


def test_second_looks_come_later_with_their_sides_exchanged(make_study):
    study = make_study(replace(DRAWBENCH, unit="batch", batch_size=22, repeats=3), images_per_set=1)
    for rater in ("r1", "r2", "r3"):
        order = showings(study, "batch 1", rater)
        assert [showing.position for showing in order] == list(range(25))
        for second in (showing for showing in order if showing.repeat):
            first = next(s for s in order if s.item.id == second.item.id and not s.repeat)
            assert second.position > first.position
            assert second.shown == first.shown[::-1]


def test_the_database_is_in_the_safe_mode(store):
    with store._engine.connect() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2]
    assert sqlite3.connect(store.study.path / "judgements.sqlite").execute("PRAGMA integrity_check").fetchone() == (
        "ok",
    )
