"""The tables of a study's database; the columns of ``judgements`` are the fields of `Judgement`."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, Index, Integer, MetaData, String, Table, UniqueConstraint

tables = MetaData()
raters = Table(
    "raters",
    tables,
    Column("id", String, primary_key=True),
    Column("token_sha256", String, unique=True),
    Column("identity", String),  # What the administrator knows them by; forgotten on request.
    Column("invited_at", String, nullable=False),
    Column("consented_at", String),
)
slots = Table(
    "slots",
    tables,
    Column("id", Integer, primary_key=True),
    Column("unit", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("rater", String),
    Column("leased_until", String),
    Column("finished_at", String),
    UniqueConstraint("unit", "number"),
    UniqueConstraint("unit", "rater"),
)
judgements = Table(
    "judgements",
    tables,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("study", String, nullable=False),
    Column("item", String, nullable=False),
    Column("rater", String, nullable=False),
    Column("question", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("shown", JSON, nullable=False),
    Column("position", Integer, nullable=False),
    Column("seconds", Float),
    Column("at", String, nullable=False),
    Column("key", String, nullable=False),
    Column("supersedes", Integer, unique=True),
    Column("repeat", Boolean, nullable=False),
    UniqueConstraint("key", "question"),
    sqlite_autoincrement=True,  # The id of a row that was deleted is never given again.
)
submissions = Table(
    "submissions",
    tables,
    Column("key", String, primary_key=True),
    Column("rater", String, nullable=False),
    Column("item", String, nullable=False),
    Column("repeat", Boolean, nullable=False),
    Column("answers", JSON, nullable=False),
    Column("at", String, nullable=False),
)
"""All that was taken in, what changed nothing too: by its key a submission that arrives again is known."""
Index(
    "first_answer",
    judgements.c.rater,
    judgements.c.item,
    judgements.c.question,
    judgements.c.repeat,
    unique=True,
    sqlite_where=judgements.c.supersedes.is_(None),
    postgresql_where=judgements.c.supersedes.is_(None),
)
