"""Where judgements are kept: one database per study, appended to and never changed.

SQLite in write-ahead mode with full sync, one writer at a time; another database's URL works too, for nothing here is
SQLite's own but its pragmas. A submission has a key: the same key again is the same submission, whatever was lost between.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, create_engine, event, func, insert, or_, select, update
from sqlalchemy.exc import DatabaseError

from drawbench.errors import UserError
from drawbench.human_eval.assignment import Showing, showings
from drawbench.human_eval.judgement import Judgement
from drawbench.human_eval.study import Study
from drawbench.human_eval.tables import judgements, raters, slots, submissions, tables

LEASE = timedelta(minutes=30)
"""A rater who answers nothing for so long gives their place back."""


class Place(NamedTuple):
    """A unit that a rater has taken."""

    unit: str
    number: int
    finished: bool


class Conflict(Exception):
    """A submission that does not fit what is stored: another answer under a new key for what is answered, or a lost place."""


class Store:
    """The database of one study."""

    def __init__(self, study: Study, url: str | None = None) -> None:
        self.study = study
        self._lock = threading.Lock()
        self._engine = create_engine(url or f"sqlite:///{study.path / 'judgements.sqlite'}")
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _set_up_sqlite)
        try:
            tables.create_all(self._engine)
        except DatabaseError as error:
            raise UserError(
                f"the judgements of {study.path} cannot be read ({error.orig}); restore judgements.sqlite from a copy"
            ) from error
        with self._writing() as connection:
            there = set(map(tuple, connection.execute(select(slots.c.unit, slots.c.number))))
            wanted = [(unit, number) for number in range(study.design.raters) for unit in study.units]
            new = [{"unit": unit, "number": number} for unit, number in wanted if (unit, number) not in there]
            if new:
                connection.execute(insert(slots), new)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Gives the one connection that may write: SQLite is unfair to many."""
        with self._lock, self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def close(self) -> None:
        """Lets the database go."""
        self._engine.dispose()

    # Raters

    def invite(self, identity: str | None = None) -> tuple[str, str]:
        """Returns a new rater's pseudonym and token; of the token only its hash is kept, so it is told once."""
        token = secrets.token_urlsafe(24)
        with self._writing() as connection:
            while True:
                rater = f"r{secrets.randbelow(10**8):08d}"
                if connection.execute(select(raters.c.id).where(raters.c.id == rater)).first() is None:
                    break
            row = {"id": rater, "token_sha256": _sha256(token), "identity": identity, "invited_at": _now()}
            connection.execute(insert(raters).values(row))
        return rater, token

    def rater_of(self, token: str) -> str | None:
        """Returns whose token this is, or None."""
        with self._engine.connect() as connection:
            return connection.execute(select(raters.c.id).where(raters.c.token_sha256 == _sha256(token))).scalar()

    def consent(self, rater: str) -> None:
        """Notes that a rater has agreed to take part; the first time counts."""
        with self._writing() as connection:
            agreed = update(raters).where(raters.c.id == rater, raters.c.consented_at.is_(None))
            connection.execute(agreed.values(consented_at=_now()))

    def has_consented(self, rater: str) -> bool:
        """Says whether a rater has agreed to take part."""
        with self._engine.connect() as connection:
            return connection.execute(select(raters.c.consented_at).where(raters.c.id == rater)).scalar() is not None

    def forget(self, rater: str, *, answers_too: bool = False) -> int:
        """Removes who a rater is, so that nobody can come back as them; with ``answers_too`` also what they answered.

        Returns how many judgements were removed. Their places become free where the answers go.
        """
        with self._writing() as connection:
            gone = update(raters).where(raters.c.id == rater).values(identity=None, token_sha256=None)
            if not connection.execute(gone).rowcount:
                raise UserError(f"{self.study.path} has no rater {rater!r}; `drawbench study export` names them")
            if not answers_too:
                return 0
            free = update(slots).where(slots.c.rater == rater)
            connection.execute(free.values(rater=None, leased_until=None, finished_at=None))
            connection.execute(submissions.delete().where(submissions.c.rater == rater))
            return connection.execute(judgements.delete().where(judgements.c.rater == rater)).rowcount

    # Places

    def place(self, rater: str, most: int = 1) -> Place | None:
        """Returns the unit that a rater is at, taking a free one where they have none unfinished; None: nothing is left.

        A place whose lease has run out is free again. ``most`` is how many units one rater may take.
        """
        with self._engine.connect() as connection:  # Mostly nothing changes; then nothing is written.
            mine = connection.execute(select(slots).where(slots.c.rater == rater, slots.c.finished_at.is_(None)))
            row = mine.mappings().first()
            if row is not None and row["leased_until"] > _text(datetime.now(UTC) + LEASE / 2):
                return Place(row["unit"], row["number"], False)
        while True:
            now = datetime.now(UTC)
            with self._writing() as connection:
                # One rater's takings come one after another; where one writer holds all there is nothing to lock.
                connection.execute(select(raters.c.id).where(raters.c.id == rater).with_for_update())
                own = (
                    connection.execute(select(slots).where(slots.c.rater == rater).order_by(slots.c.id))
                    .mappings()
                    .all()
                )
                row = next((row for row in own if row["finished_at"] is None), None)
                if row is None and len(own) < most:
                    row = self._free(connection, [row["unit"] for row in own], now)
                if row is None:
                    return Place(own[-1]["unit"], own[-1]["number"], True) if own else None
                # Another process may have been quicker since it was read: then there was nothing to take.
                taken = update(slots).where(
                    slots.c.id == row["id"], slots.c.finished_at.is_(None), _takeable(rater, now)
                )
                if connection.execute(taken.values(rater=rater, leased_until=_text(now + LEASE))).rowcount:
                    return Place(row["unit"], row["number"], False)

    def _free(self, connection: Connection, had: Sequence[str], now: datetime) -> RowMapping | None:
        """Returns a place of the unit that fewest have taken."""
        held = func.count().filter(slots.c.rater.is_not(None)).over(partition_by=slots.c.unit)
        rows = connection.execute(select(slots, held.label("held"))).mappings().all()
        open_now = [
            row
            for row in rows
            if row["finished_at"] is None
            and row["unit"] not in had
            and (row["rater"] is None or row["leased_until"] < _text(now))
        ]
        return min(
            open_now, key=lambda row: (row["rater"] is not None, row["held"], row["number"], row["id"]), default=None
        )

    def units(self, rater: str) -> list[str]:
        """Returns the units that a rater has taken and not lost, finished or not; takes none."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(slots.c.unit).where(slots.c.rater == rater)).scalars())

    def places(self, unit: str) -> dict[str, int]:
        """Returns how many places of a unit are taken by somebody at work, and finished."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(slots).where(slots.c.unit == unit)).mappings().all()
        now = _text(datetime.now(UTC))
        at_work = sum(
            row["finished_at"] is None and row["rater"] is not None and row["leased_until"] >= now for row in rows
        )
        return {"at work": at_work, "finished": sum(row["finished_at"] is not None for row in rows)}

    def finish(self, rater: str, unit: str) -> str:
        """Notes that a rater has answered a whole unit, and returns their completion code."""
        with self._writing() as connection:
            _finish(connection, rater, unit)
        return completion_code(self.study, rater, unit)

    # Judgements

    def submit(
        self, rater: str, showing: Showing, answers: Mapping[str, str], seconds: float, key: str
    ) -> list[Judgement]:
        """Keeps the answers of one screen and returns those of its answers that count now.

        The same key again is the same submission, and changes nothing. An answer that differs from one that counts
        supersedes it; one that does not is no judgement, so that a look back leaves the time of the first as it was. With the
        last answer of a unit its place is finished.

        Raises:
            Conflict: the key was used for something else, or the place was given to another.
            UserError: a question or an answer that the screen does not have.
        """
        item, repeat, unit = showing.item.id, showing.repeat, showing.item.unit
        screen = self.study.screen(showing.item)
        codes = {question.name: {option.code for option in question.options} for question in screen.questions}
        if answers.keys() != codes.keys() or any(answer not in codes[name] for name, answer in answers.items()):
            raise UserError(f"the answers {dict(answers)!r} do not fit the questions {', '.join(codes)}")
        submission = {"key": key, "rater": rater, "item": item, "repeat": repeat, "answers": dict(answers)}
        of_showing = (judgements.c.rater == rater, judgements.c.item == item, judgements.c.repeat == repeat)
        with self._writing() as connection:
            taken = connection.execute(select(submissions).where(submissions.c.key == key)).mappings().first()
            if taken is not None:
                if submission.items() <= taken.items():
                    return _counting(connection, *of_showing)
                raise Conflict("this key was used for another answer")
            own = update(slots).where(slots.c.rater == rater, slots.c.unit == unit)
            if not connection.execute(own.values(leased_until=_text(datetime.now(UTC) + LEASE))).rowcount:
                raise Conflict("this place was given to somebody else")
            current = {one.question: one for one in _counting(connection, *of_showing)}
            fields = {
                "study": self.study.digest,
                "item": item,
                "rater": rater,
                "shown": list(showing.shown),
                "position": showing.position,
                "seconds": seconds,
                "at": _now(),
                "key": key,
                "repeat": repeat,
            }
            rows = [
                fields
                | {"question": name, "answer": answer, "supersedes": current[name].id if name in current else None}
                for name, answer in answers.items()
                if name not in current or current[name].answer != answer
            ]
            connection.execute(insert(submissions).values(**submission, at=fields["at"]))
            if rows:
                connection.execute(insert(judgements), rows)
            # Together with the last answer, or not at all: who has seen their code must never lose their place.
            if self._is_complete(connection, rater, unit):
                _finish(connection, rater, unit)
            return _counting(connection, *of_showing)

    def _is_complete(self, connection: Connection, rater: str, unit: str) -> bool:
        """Says whether every question of a unit has an answer; each has one row that supersedes nothing."""
        asked = sum(len(self.study.screen(showing.item).questions) for showing in showings(self.study, unit, rater))
        of_unit = judgements.c.item.in_([item.id for item in self.study.units[unit]])
        first = (judgements.c.rater == rater, judgements.c.supersedes.is_(None), of_unit)
        return connection.execute(select(func.count()).select_from(judgements).where(*first)).scalar() == asked

    def load(self, rows: Sequence[Judgement]) -> None:
        """Keeps judgements that were made elsewhere, as they are, with raters of their names."""
        with self._writing() as connection:
            for rater in dict.fromkeys(one.rater for one in rows):
                connection.execute(insert(raters).values(id=rater, invited_at=_now()))
            connection.execute(insert(judgements), [asdict(one) | {"shown": list(one.shown)} for one in rows])

    def judgements(self, rater: str | None = None, *, all_rows: bool = False) -> list[Judgement]:
        """Returns the judgements that count, in the order of their coming; with ``all_rows`` also those superseded."""
        query = select(judgements).order_by(judgements.c.id)
        if rater is not None:
            query = query.where(judgements.c.rater == rater)
        with self._engine.connect() as connection:
            found = _read(connection.execute(query).mappings().all())
        superseded = {one.supersedes for one in found}
        return found if all_rows else [one for one in found if one.id not in superseded]


def completion_code(study: Study, rater: str, unit: str) -> str:
    """Returns what a rater shows to be paid; who does not know the study's secret cannot make one."""
    return hashlib.sha256(f"{study.manifest['secret']}/done/{rater}/{unit}".encode()).hexdigest()[:10].upper()


def _takeable(rater: str, now: datetime) -> ColumnElement[bool]:
    return or_(slots.c.rater.is_(None), slots.c.rater == rater, slots.c.leased_until < _text(now))


def _finish(connection: Connection, rater: str, unit: str) -> None:
    done = update(slots).where(slots.c.rater == rater, slots.c.unit == unit, slots.c.finished_at.is_(None))
    connection.execute(done.values(finished_at=_now(), leased_until=None))


def _counting(connection: Connection, *which: ColumnElement[bool]) -> list[Judgement]:
    """Returns the judgements that nothing supersedes; whatever supersedes one must be among ``which``."""
    query = select(judgements).where(*which).order_by(judgements.c.id)
    found = _read(connection.execute(query).mappings().all())
    superseded = {one.supersedes for one in found}
    return [one for one in found if one.id not in superseded]


def _read(rows: Sequence[RowMapping]) -> list[Judgement]:
    return [Judgement(**{**row, "shown": tuple(row["shown"])}) for row in rows]


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # Transactions begin where we say so.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
