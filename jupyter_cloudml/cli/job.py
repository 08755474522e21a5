"""`jupyter cloudml job …`"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from jupyter_cloudml.cli import DONE, FAILED, INTERRUPTED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.client.jobs import job_to_dict
from jupyter_cloudml.errors import JSON, NotFound, UsageError
from jupyter_cloudml.jobs.model import moment
from jupyter_cloudml.jobs.records import Record
from jupyter_cloudml.jobs.run_log import printed
from jupyter_cloudml.store.jobs_records import RunRecord

RUN = click.argument("run_id", metavar="RUN")
LIMIT = click.option(
    "-n", "limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)
FOLLOW = click.option("--follow", is_flag=True, help="Show what it prints until it is over.")


@click.group()
def job() -> None:
    """Run notebooks as jobs, now and by schedule, and look at their runs."""


@job.command()
@click.argument("what", metavar="NOTEBOOK|JOB")
@click.option("--on", metavar="NAME", help="The machine; this computer where it is left out.")
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--kernel", metavar="NAME", help="The machine's kernelspec, not the notebook's.")
@click.option("--env", "environment", metavar="NAME", help="An environment of the machine.")
@click.option("--wait", is_flag=True, help="Wait until it is over; the exit status says how.")
@FOLLOW
@render.json_option
def run(
    what: str,
    on: str | None,
    params: tuple[str, ...],
    kernel: str | None,
    environment: str | None,
    wait: bool,
    follow: bool,
    as_json: bool,
) -> int:
    """Run NOTEBOOK (a path with .ipynb or /) on a machine, or a job that was created.

    The notebook is kept as it is now, and that is what runs. With --wait or --follow the exit status is 0 where the run has succeeded, else 1;
    Ctrl-C stops waiting, and the run goes on. Without, the run is left to a scheduler; where none works, one is started that ends with the runs.
    """
    with Client() as client, cancellable() as stopped:
        jobs = client.jobs
        typed = jobs.typed(what, params)
        made = jobs.run(what, on=on, params=typed, kernel=kernel, environment=environment)
        if wait or follow:
            if not as_json:
                render.say(f"run {made.id}")
            with jobs.serving():
                made = _watch(client, made, stopped, follow, as_json)
        if jobs.hand_over():
            render.say("a scheduler was started; it ends with the runs")
    return _told(made, wait or follow, as_json)


def _watch(
    client: Client, made: RunRecord, stopped: threading.Event, follow: bool, as_json: bool
) -> RunRecord:
    told = made.reason

    def look() -> bool:
        nonlocal told
        now = client.jobs.find(made.id)
        if now.reason != told and now.ended_ms is None:
            told = now.reason
            if told:
                render.say(f"{now.state}: {told}")
        return stopped.is_set()

    if follow:
        for record in client.jobs.records(made.id, look):
            show_record(record, err=as_json)
    return client.jobs.wait(made.id, look)


def _told(made: RunRecord, waited: bool, as_json: bool) -> int:
    if as_json:
        render.show_json({"run": made.id, "state": made.state})
    elif not waited:
        click.echo(made.id)
    if not waited:
        return DONE
    if made.ended_ms is None:
        render.say(f"the run goes on: `jupyter cloudml job cancel {made.id}` ends it")
        return INTERRUPTED
    if not as_json:
        render.say(f"{made.state}{f': {made.reason}' if made.reason else ''}")
    return DONE if made.state == "succeeded" else FAILED


@job.command()
@click.argument("name")
@click.argument("notebook", type=click.Path(path_type=Path), required=False)
@click.option("-f", "file", type=click.Path(exists=True, dir_okay=False), help="A JSON definition.")
@click.option("--on", metavar="NAME", help="The machine.")
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--kernel", metavar="NAME", help="The machine's kernelspec, not the notebook's.")
@click.option("--env", "environment", metavar="NAME", help="An environment of the machine.")
@click.option("--cron", help="Run at the times of this cron expression.")
@click.option("--every", metavar="TIME", help="Run every 90s, 15m, 2h, 1d.")
@click.option("--at", metavar="DATE", help="Run once, as 2026-12-01T09:00.")
@click.option("--after", metavar="JOB", help="Run after each success of this job.")
@click.option("--tz", metavar="ZONE", help="The time zone of --cron and --at; UTC if left out.")
@click.option(
    "--timeout", "timeout_s", type=int, metavar="SECONDS", help="End a run after so long."
)
@click.option("--retries", type=int, metavar="N", help="So many more attempts after a failure.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=REF",
    help="Set a variable from env:NAME, keyring:SERVICE/NAME or file:PATH when a run starts.",
)
@render.json_option
def create(
    name: str,
    notebook: Path | None,
    file: str | None,
    params: tuple[str, ...],
    secrets: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Make the job NAME that runs NOTEBOOK, or change it; it keeps its runs."""
    with Client() as client:
        definition = _read(Path(file)) if file else {}
        definition |= {"name": name}
        if notebook is not None:
            definition["notebook"] = str(notebook)
        if params and notebook is not None:
            definition["parameters"] = client.jobs.typed(str(notebook.absolute()), params)
        if secrets:
            definition["secrets"] = dict(_pair(text) for text in secrets)
        made = client.jobs.create(_defined(definition, options))
        due = client.jobs.next_due_ms(made)
    if as_json:
        render.show_json(job_to_dict(made, due))
        return
    click.echo(f"{made.name}, revision {made.rev}" + (f", next {_time(due)}" if due else ""))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{file} cannot be read: {exc}", hint="give a JSON object") from exc
    if not isinstance(found, dict):
        raise UsageError(f"{file} is no definition of a job", hint="give a JSON object")
    return found


def _defined(definition: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition with what the options say."""
    names = {"on": "machine", "kernel": "kernel", "environment": "environment"}
    for option, field in {**names, "timeout_s": "timeout_s"}.items():
        if options[option] is not None:
            definition[field] = options[option]
    if options["retries"] is not None:
        definition["retry"] = {"count": options["retries"]}
    kinds = [kind for kind in ("cron", "every", "at", "after") if options[kind] is not None]
    zoned = {"tz": options["tz"]} if options["tz"] is not None else {}
    triggers = [
        {kind: options[kind], **(zoned if kind in ("cron", "at") else {})} for kind in kinds
    ]
    if triggers:
        definition["triggers"] = triggers
    return definition


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


@job.command("list")
@LIMIT
@click.option("--after", default="", metavar="NAME", help="Those after this name.")
@render.json_option
def list_(limit: int, after: str, as_json: bool) -> None:
    """List the jobs by name."""
    with Client() as client:
        found = [
            job_to_dict(each, client.jobs.next_due_ms(each))
            for each in client.jobs.list(after=after, limit=limit)
        ]
    if as_json:
        render.show_json({"jobs": found})
        return
    rows = [
        [
            str(each["name"]),
            str(each["definition"].get("machine", "local")),  # type: ignore[union-attr]
            "paused" if each["paused"] else _time(each["next_due_ms"]),
            str(each["definition"].get("notebook")),  # type: ignore[union-attr]
        ]
        for each in found
    ]
    render.table(["name", "machine", "next", "notebook"], rows, "no jobs")


@job.command()
@LIMIT
@click.argument("name", metavar="[JOB]", required=False)
@click.option("--before", metavar="RUN", help="Those older than this run.")
@render.json_option
def runs(name: str | None, before: str | None, limit: int, as_json: bool) -> None:
    """List the runs of a job, or all, the newest first."""
    with Client() as client:
        found = client.jobs.runs(name, before=before, limit=limit)
        told = [*client.jobs.told(found)]
    if as_json:
        render.show_json({"runs": told})
        return
    rows = [[each.id, each.state, _time(each.created_ms), each.reason or ""] for each in found]
    render.table(["run", "state", "asked for", "reason"], rows, "no runs")


@job.command()
@click.argument("what", metavar="RUN|JOB")
@render.json_option
def show(what: str, as_json: bool) -> None:
    """Show a run with its cells and where its notebook and page are, or the definition of a job."""
    with Client() as client:
        try:
            found = client.jobs.show(what)
        except NotFound as exc:
            if exc.code != "not_found":
                raise
            made = client.jobs.get(what)
            found = job_to_dict(made, client.jobs.next_due_ms(made))
            as_json = True
    if as_json:
        render.show_json(found)
        return
    render.fields(
        [(name, str(found[name] or "")) for name in ("run", "state", "reason")]
        + [("notebook", str(found["executed_notebook"] or "")), ("page", str(found["html"] or ""))]
    )
    cells: Any = found["cells"]
    rows = [[str(c["idx"] + 1), c["status"], _length(c)] for c in cells]
    render.table(["cell", "state", "seconds"], rows, "no cell has begun")


def _length(cell: Mapping[str, Any]) -> str:
    if cell["started_ms"] is None or cell["ended_ms"] is None:
        return ""
    return f"{(cell['ended_ms'] - cell['started_ms']) / 1000:.1f}"


@job.command()
@RUN
@FOLLOW
def logs(run_id: str, follow: bool) -> None:
    """Show what the cells of a run print."""
    with Client() as client, cancellable() as stopped:
        for record in client.jobs.records(run_id, stopped.is_set, follow=follow):
            show_record(record)


@job.command()
@RUN
@click.option("--wait", is_flag=True, help="Wait until it has ended.")
@render.json_option
def cancel(run_id: str, wait: bool, as_json: bool) -> int:
    """End a run. Its state is cancelled once its process is confirmed dead."""
    with Client() as client, cancellable() as stopped:
        found = client.jobs.cancel(run_id)
        serving: AbstractContextManager[object] = client.jobs.serving() if wait else nullcontext()
        with serving:
            if wait:
                found = client.jobs.wait(run_id, stopped.is_set)
        client.jobs.hand_over()
    if as_json:
        render.show_json({"run": found.id, "state": found.state})
    else:
        click.echo(found.state if found.ended_ms else "it is asked to end")
    return DONE if found.ended_ms or not wait else INTERRUPTED


@job.command()
@RUN
@click.option("--wait", is_flag=True, help="Wait until it is over; the exit status says how.")
@FOLLOW
@render.json_option
def retry(run_id: str, wait: bool, follow: bool, as_json: bool) -> int:
    """Run again what a run that is over ran: the same notebook and parameters, from its first cell."""
    with Client() as client, cancellable() as stopped:
        made = client.jobs.retry(run_id)
        if wait or follow:
            with client.jobs.serving():
                made = _watch(client, made, stopped, follow, as_json)
        client.jobs.hand_over()
    return _told(made, wait or follow, as_json)


@job.command()
@click.argument("name", metavar="JOB")
def pause(name: str) -> None:
    """Skip the due times of a job from now on; each is a row that says so."""
    with Client() as client:
        client.jobs.pause(name)


@job.command()
@click.argument("name", metavar="JOB")
def resume(name: str) -> None:
    """Have a job run at its due times again."""
    with Client() as client:
        client.jobs.resume(name)


@job.command()
@click.argument("name", metavar="JOB")
@click.option("--from", "first", required=True, metavar="DATE", help="As 2026-12-01T09:00.")
@click.option("--until", "last", required=True, metavar="DATE", help="As 2026-12-01T09:00.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Their time zone.")
@render.json_option
def backfill(name: str, first: str, last: str, tz: str, as_json: bool) -> None:
    """Run a job for each due time of a range; a time that had its run already gets no second one."""
    with Client() as client:
        found = client.jobs.backfill(name, moment(first, tz), moment(last, tz))
        told = [*client.jobs.told(found)]
        client.jobs.hand_over()
    if as_json:
        render.show_json({"runs": told})
    else:
        click.echo(f"{len(found)} runs")


def show_record(record: Record, err: bool = False) -> None:
    """Write what a cell prints; on standard error, what it is of."""
    kind = record["record"]
    if kind == "cell" and record["state"] == "started":
        render.say(f"-- cell {record['index'] + 1}")
    shown = printed(record)
    if shown is not None:
        click.echo(shown[1], nl=False, err=err or shown[0] == "stderr")
    sys.stdout.flush()


def _time(at_ms: JSON) -> str:
    from datetime import datetime, timezone

    if not isinstance(at_ms, int):
        return ""
    return (
        datetime.fromtimestamp(at_ms / 1000, timezone.utc)
        .astimezone()
        .strftime("%Y-%m-%d %H:%M:%S")
    )
