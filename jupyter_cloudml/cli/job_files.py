"""`jupyter cloudml job apply|diff|export|schema`: jobs as files."""

from __future__ import annotations

from pathlib import Path

import click

from jupyter_cloudml.cli import DONE, FAILED, USAGE, render, show_error
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import CloudMLError, NoFolder, UsageError
from jupyter_cloudml.jobs import files
from jupyter_cloudml.jobs.definition import job_file, model, plan
from jupyter_cloudml.jobs.definition.yaml_text import MOST_BYTES
from jupyter_cloudml.jobs.files import Source
from jupyter_cloudml.jobs.notebooks.snapshots import write

FILE = click.option(
    "-f",
    "file",
    default=job_file.NAME,
    show_default=True,
    metavar="FILE",
    help="The file; - is standard input.",
)
PRUNE = click.option(
    "--prune", is_flag=True, help="Delete the jobs of the file's project that it has not."
)


@click.command()
@FILE
@PRUNE
@render.json_option
def apply(file: str, prune: bool, as_json: bool) -> int:
    """Make the jobs that FILE defines, and change those that differ: all of them, or none where something is wrong.

    Exit status: 0 done (also where there was nothing to do), 1 refused, 2 the file is wrong.
    """
    try:
        with Client() as client:
            done = client.jobs.files.apply(_source(file), prune=prune)
    except UsageError as exc:
        return _refused(exc)
    _show(done, as_json)
    return DONE


@click.command()
@FILE
@PRUNE
@render.json_option
def diff(file: str, prune: bool, as_json: bool) -> int:
    """Say what `apply` would change, and change nothing.

    Exit status: 0 nothing, 1 something, 2 the file is wrong, or it cannot be told.
    """
    try:
        with Client() as client:
            changes = client.jobs.files.plan(_source(file), prune=prune)
    except CloudMLError as exc:
        return _refused(exc)
    _show(changes, as_json)
    return FAILED if plan.differs(changes) else DONE


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("-f", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
@click.option("--project", metavar="NAME", help="The jobs of this project.")
@click.option("--force", is_flag=True, help="Replace the file.")
def export(names: tuple[str, ...], file: Path | None, project: str | None, force: bool) -> None:
    """Write jobs as a file: these, or all. `apply` of that file changes nothing."""
    folder = Path.cwd() if file is None else file.absolute().parent
    with Client() as client:
        text = client.jobs.files.export(names, folder, project)
    if file is None:
        click.echo(text, nl=False)
        return
    if file.exists() and not force:
        raise UsageError(f"there is a file {file}", code="exists", hint="replace it with --force")
    try:
        write(file.absolute(), text.encode())
    except OSError as exc:
        raise NoFolder(
            f"{file} cannot be written: {exc.strerror}", code="no_file", hint="name another file"
        ) from exc
    render.say(f"wrote {file}")


@click.command()
@click.option("--definition", is_flag=True, help="That of one job, as `create -f` takes it.")
def schema(definition: bool) -> None:
    """Print the JSON schema of a file of jobs, for editors."""
    render.show_json(model.schema() if definition else job_file.schema())


def _source(file: str) -> Source:
    if file != "-":
        return files.read(Path(file))
    data = click.get_binary_stream("stdin").read(MOST_BYTES + 1)
    return files.source_of(data, "standard input", Path.cwd())


def _show(changes: list[plan.Change], as_json: bool) -> None:
    if as_json:
        render.show_json(files.told(changes))
        return
    for line in plan.words(changes):
        click.echo(render.plain(line))


def _refused(exc: CloudMLError) -> int:
    problems = exc.details.get("problems")
    if not isinstance(problems, list):
        show_error(exc)
        return USAGE
    for each in problems:
        if isinstance(each, dict):
            where = f"{exc.details.get('file')}:{each['line']}"
            render.say(f"{where}: {each['field']} {each['cause']}")
            render.say(f"  → {each['remedy']}")
    return USAGE
