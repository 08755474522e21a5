"""Brings a database to the tables of this version: once, under a lock, all or nothing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from jupyter_cloudml.store.engine import Database, StoreError

HEAD = "0003"  # the newest file in versions/
_LOCK = 0x636C6F75646D6C  # "cloudml": the advisory lock of PostgreSQL


def upgrade(database: Database) -> None:
    """Make or change the tables if they are not those of this version.

    Raises StoreError: store_newer when a newer version of the program has changed them, store_busy when another process
    holds the lock for too long.
    """
    if database.read(_revision) != HEAD:
        database.write(lambda connection: _upgrade(connection, database.name))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, name: str) -> None:
    from alembic import command  # slow to import, and needed once per version
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"the database {name} was written by a newer version of jupyter-cloudml (revision {found})",
            code="store_newer",
            hint="install that version again, or name another database in JUPYTER_CLOUDML_DB",
        )
    command.upgrade(settings, HEAD)
