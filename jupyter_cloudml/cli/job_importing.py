"""`jupyter cloudml job import`: jobs of other schedulers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from jupyter_cloudml.cli import DONE, FAILED, render
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import Conflict, NotFound, UsageError
from jupyter_cloudml.jobs import files
from jupyter_cloudml.jobs.definition import plan
from jupyter_cloudml.jobs.importers.crontab import read_crontab
from jupyter_cloudml.jobs.importers.importing import Imported
from jupyter_cloudml.jobs.importers.jupyter_scheduler import FILE, read_definitions

MOST_BYTES = 4 << 20
APPLY = click.option("--apply", is_flag=True, help="Make the jobs; else a file is printed.")
PROJECT = click.option("--project", default="", metavar="NAME", help="What the jobs belong to.")


@click.group("import")
def import_() -> None:
    """Print the file of jobs that stands for those of another scheduler, or make them with --apply.

    What makes no job is named with the cause, and the exit status is 1 then.
    """


@import_.command("jupyter-scheduler")
@click.argument("database", required=False, type=click.Path(path_type=Path), metavar="[DB]")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The root folder of its server: jobs run the notebooks there, not the copies that were made.",
)
@PROJECT
@APPLY
@render.json_option
def jupyter_scheduler(
    database: Path | None, root: Path | None, project: str, apply: bool, as_json: bool
) -> int:
    """Import the job definitions of jupyter-scheduler from its SQLite database DB."""
    if database is None:
        from jupyter_core.paths import jupyter_data_dir

        database = Path(jupyter_data_dir()) / FILE
    return _imported(read_definitions(database, root), project, apply, as_json)


@import_.command()
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--tz", metavar="ZONE", help="The zone of its computer; this one's if left out.")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path.home,
    help="The home folder that its commands begin in; yours if left out.",
)
@PROJECT
@APPLY
@render.json_option
def crontab(file: str, tz: str | None, home: Path, project: str, apply: bool, as_json: bool) -> int:
    """Import the lines of a crontab that run papermill: `crontab -l | jupyter cloudml job import crontab`."""
    name = "crontab" if file == "-" else file
    found = read_crontab(_text(file), name, home.absolute(), tz or local_zone())
    return _imported(found, project, apply, as_json)


def local_zone(etc: Path = Path("/etc")) -> str:
    """Return the name of this computer's time zone; UTC where nobody says it."""
    told = os.environ.get("TZ", "").removeprefix(":")
    if told and "/" in told and not told.startswith("/"):
        return told
    _, found, zone = os.path.realpath(etc / "localtime").partition("/zoneinfo/")
    if found:
        return zone
    try:
        return (etc / "timezone").read_text().strip() or "UTC"
    except OSError:
        return "UTC"


def _text(file: str) -> str:
    try:
        if file == "-":
            data = click.get_binary_stream("stdin").read(MOST_BYTES)
        else:
            with open(file, "rb") as stream:
                data = stream.read(MOST_BYTES)
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file {file}", code="no_file", hint="name a crontab") from exc
    except OSError as exc:
        raise UsageError(f"{file} cannot be read: {exc.strerror}", hint="name a crontab") from exc
    return data.decode(errors="replace")


def _refuse_others(changes: list[plan.Change]) -> None:
    """Raise Conflict where a job of such a name is there, and is another one: it would be lost."""
    others = [change.name for change in changes if change.kind == plan.CHANGE]
    if others:
        raise Conflict(
            f"there is another job named {', '.join(others[:5])}",
            code="exists",
            hint="print the file without --apply, change the names in it, and apply that",
        )


def _imported(found: Imported, project: str, apply: bool, as_json: bool) -> int:
    text = found.text(Path.cwd(), project)
    for each in (*found.refused, *found.notes):
        kind = "not imported: " if each in found.refused else ""
        render.say(f"{kind}{each.line()}")
    done = None
    if apply:
        source = files.source_of(text.encode(), "the imported file", Path.cwd())
        with Client() as client:
            _refuse_others(client.jobs.files.plan(source))
            done = client.jobs.files.apply(source)
    if as_json:
        render.show_json(
            {**found.to_dict(), **({} if done is None else {"applied": files.told(done)})}
        )
    elif done is None:
        click.echo(text, nl=False)
    else:
        for line in plan.words(done):
            click.echo(render.plain(line))
    return FAILED if found.refused else DONE
