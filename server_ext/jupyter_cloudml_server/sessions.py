"""Jupyter Server's table of sessions, which says what notebook has what kernel, kept over restarts of the server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_cloudml_kernels.records import Slot

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

# As the session manager makes it, which does so at its first use.
_TABLE = "CREATE TABLE IF NOT EXISTS session (session_id, path, name, type, kernel_id)"


def keep(serverapp: ServerApp, slot: Slot) -> None:
    """Have the server keep its sessions in the slot, unless the user has said where. Before the session manager is made.

    Where there is no room for a table they are in memory, as ever.
    """
    config = serverapp.config.SessionManager
    if "database_filepath" in config:
        return
    _set_aside_if_broken(slot.database)
    try:
        with closing(sqlite3.connect(slot.database)) as connection:
            connection.execute(_TABLE)
    except sqlite3.Error as exc:
        serverapp.log.error("Notebooks will not find their kernels after this server: %s", exc)
    else:
        config.database_filepath = str(slot.database)


def notebooks(serverapp: ServerApp) -> dict[str, str]:
    """Return the notebooks' absolute paths by kernel: one may have been renamed since its kernel was started."""
    manager: Any = serverapp.session_manager
    manager.cursor.execute("SELECT kernel_id, path, name FROM session WHERE type='notebook'")
    return {
        row["kernel_id"]: manager.get_kernel_env(row["path"], row["name"])["JPY_SESSION_NAME"]
        for row in manager.cursor.fetchall()
    }


def purge(serverapp: ServerApp, slot: Slot, kernels: list[str]) -> None:
    """Delete the sessions of all kernels but these: such a row in front of a good one has a second kernel started."""
    manager: Any = serverapp.session_manager
    if manager.database_filepath == str(slot.database):
        marks = ",".join("?" * len(kernels))
        try:
            manager.cursor.execute(f"DELETE FROM session WHERE kernel_id NOT IN ({marks})", kernels)  # noqa: S608  only question marks
        except sqlite3.Error as exc:  # no room: the kernels matter more
            serverapp.log.error("Sessions of kernels that are gone are still there: %s", exc)


def has(serverapp: ServerApp, kernel_id: str) -> bool:
    """Say whether a session has this kernel."""
    cursor: Any = serverapp.session_manager.cursor
    cursor.execute("SELECT 1 FROM session WHERE kernel_id=?", (kernel_id,))
    return cursor.fetchone() is not None


def _set_aside_if_broken(database: Path) -> None:
    """A table that cannot be read would keep the server from starting: begin another one."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError:
        database.replace(database.with_suffix(".broken"))
