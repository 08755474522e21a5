"""Jupyter Server's table of sessions, which says what notebook has what kernel, kept over restarts of the server."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_cloudml_kernels.records import Slot

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp


def keep(serverapp: ServerApp, slot: Slot) -> None:
    """Have the server keep its sessions in the slot, unless the user has said where. Before the session manager is made."""
    config = serverapp.config.SessionManager
    if "database_filepath" not in config:
        _set_aside_if_broken(slot.database)
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
        manager.cursor.execute(f"DELETE FROM session WHERE kernel_id NOT IN ({marks})", kernels)  # noqa: S608  only question marks


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
