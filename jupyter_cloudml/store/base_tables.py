"""The tables of machines and of what has happened; times are UTC epoch ms. Those of jobs are in tables.py, which has these as well."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only when the type is INTEGER.
Serial = BigInteger().with_variant(Integer, "sqlite")

machine = Table(
    "machine",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("spec_json", Text, nullable=False),  # what the provider needs to find the machine
    Column("host_key", Text),  # SHA256:… as confirmed by a person
    Column("created_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),  # grows with every change; updates compare it
    Column("desired", Text, nullable=False),
    Column("cull_idle_s", Integer),
    Column("prewarm", Integer, nullable=False),
    Column("python", Text),
    Column("price_micros", BigInteger),  # of an hour, in millionths
)

event = Table(
    "event",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("noun", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("data_json", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index(None, "noun", "name", "id"),
    sqlite_autoincrement=True,  # numbers are never given twice, not even after old rows were dropped
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("result", Text, nullable=False),
    sqlite_autoincrement=True,
)
