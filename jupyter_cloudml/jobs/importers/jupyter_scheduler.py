"""Definitions of jupyter-scheduler, read from its SQLite database (written with 2.12; older ones have fewer columns), as jobs."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from jupyter_cloudml.errors import JSON, CloudMLError, NotFound, UsageError
from jupyter_cloudml.jobs.importers.importing import ALIASES, Imported
from jupyter_cloudml.jobs.notebooks.notebook import parse
from jupyter_cloudml.jobs.notebooks.parameters import find, from_text

FILE = "scheduler.sqlite"
STAGING = "scheduler_staging_area"
MOST, MOST_LOOKED = 10_000, 200_000
_SKIPPED = {"node_modules", "__pycache__"}


def read_definitions(database: Path, root: Path | None = None) -> Imported:
    """Return the jobs of a database. It knows its copies of notebooks alone; below `root` the notebooks themselves are looked for.

    Raises NotFound, UsageError (`bad_database`).
    """
    if not database.is_file():
        raise NotFound(
            f"there is no {database}",
            code="no_file",
            hint=f"name {FILE}; it is in the folder `jupyter --data-dir` of its server",
        )
    places = {} if root is None else _notebooks(root)
    found = Imported()
    for row in _rows(database):
        where = f"{row.get('name') or 'no name'} ({row.get('job_definition_id')})"
        try:
            _job(found, where, row, database.absolute().parent / STAGING, places)
        except CloudMLError as exc:
            found.refuse(where, exc.message)
    return found


def _rows(database: Path) -> list[Mapping[str, object]]:
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM job_definitions ORDER BY create_time, job_definition_id LIMIT ?"
            return [dict(row) for row in connection.execute(query, (MOST,))]
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise UsageError(
            f"{database} is no database of jupyter-scheduler: {exc}",
            code="bad_database",
            hint=f"name its {FILE}",
        ) from exc


def _job(
    found: Imported,
    where: str,
    row: Mapping[str, object],
    staging: Path,
    places: Mapping[str, list[Path]],
) -> None:
    file = str(row.get("input_filename") or "")
    if not file or os.path.basename(file) != file or file in (".", ".."):
        raise UsageError(f"its notebook has the name {file!r}")
    copy = staging / os.path.basename(str(row.get("job_definition_id"))) / file
    notebook, notes = _notebook(file, copy, places)
    more: dict[str, JSON] = {}
    schedule = str(row.get("schedule") or "")
    if schedule and not row.get("active"):
        notes.append(f"it is paused there, and imported without its times ({schedule})")
    elif schedule:
        zone = str(row.get("timezone") or "UTC")
        trigger: dict[str, JSON] = {"cron": expression(schedule)}
        more["triggers"] = [trigger | ({} if zone == "UTC" else {"tz": zone})]
    if row.get("package_input_folder") and notebook == copy:
        notes.append("the folder of its notebook is the copy that was made of it")
    if row.get("email_notifications"):
        notes.append("its mails are not imported")
    more["parameters"] = _parameters(row.get("parameters"), notebook)
    name = str(row.get("name") or notebook.stem)
    if found.add(where, name, {"notebook": str(notebook), **more}):
        for text in notes:
            found.note(where, text)


def _notebook(file: str, copy: Path, places: Mapping[str, list[Path]]) -> tuple[Path, list[str]]:
    """Return what the job runs, and what is to be known of that. Raises UsageError where there is none."""
    there = places.get(file, [])
    same = [path for path in there if _same(path, copy)] if len(there) > 1 else there
    if len(same) == 1:
        return same[0], []
    if not copy.is_file():
        raise UsageError(f"neither {file} nor its copy {copy} can be found")
    if there:
        which = ", ".join(map(str, there[:3]))
        return copy, [f"there are several {file} ({which}): it runs the copy that was made"]
    return copy, [f"it runs the copy {copy}: name the server's root folder with --root"]


def _same(path: Path, copy: Path) -> bool:
    try:
        return path.read_bytes() == copy.read_bytes()
    except OSError:
        return False


def _notebooks(root: Path) -> dict[str, list[Path]]:
    """Return the notebooks below a folder by their names."""
    found: dict[str, list[Path]] = {}
    looked = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _SKIPPED)
        for file in sorted(files):
            if file.endswith(".ipynb"):
                found.setdefault(file, []).append(Path(os.path.abspath(folder)) / file)
        looked += len(files)
        if looked > MOST_LOOKED:
            break
    return found


def _parameters(text: object, notebook: Path) -> dict[str, JSON]:
    """Return the parameters, which are texts there, as the notebook declares them."""
    if not isinstance(text, str):
        return {}
    try:
        given = json.loads(text)
    except ValueError as exc:
        raise UsageError("its parameters are no JSON") from exc
    if not isinstance(given, dict) or not given:
        return {}
    try:
        declared = {
            each.name: each for each in find(parse(notebook.read_bytes(), notebook.name)) or ()
        }
    except OSError as exc:
        raise UsageError(f"{notebook} cannot be read: {exc.strerror}") from exc
    return {
        str(name): from_text(declared[name], value)
        if name in declared and isinstance(value, str)
        else value
        for name, value in given.items()
    }


def expression(schedule: str) -> str:
    """Return a schedule as jobs have it: there the seconds of six fields come last."""
    words = ALIASES.get(schedule.strip().lower(), schedule).split()
    return " ".join([words[5], *words[:5]] if len(words) == 6 else words)
