"""`jupyter cloudml job run|logs|cancel|retry|release|keep|open`: runs, and waiting for them."""

from __future__ import annotations

import shlex
import sys
import threading
from contextlib import AbstractContextManager, nullcontext

import click

from jupyter_cloudml.cli import DONE, FAILED, INTERRUPTED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.attempts.run_log import printed
from jupyter_cloudml.jobs.definition.model import CODES, kept_for
from jupyter_cloudml.jobs.notebooks.records import Record
from jupyter_cloudml.store.jobs.records import RunRecord

LOOK_S = 1.0
RUN = click.argument("run_id", metavar="RUN")
FOLLOW = click.option("--follow", is_flag=True, help="Show what it prints until it is over.")


@click.command()
@click.argument("what", metavar="NOTEBOOK|JOB")
@click.option("--on", metavar="NAME", help="The machine; this computer where it is left out.")
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--kernel", metavar="NAME", help="The machine's kernelspec, not the notebook's.")
@click.option("--env", "environment", metavar="NAME", help="An environment of the machine.")
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="NAME=VALUE,…",
    help="Run it with each of these values; several: each with each.",
)
@click.option("--at-once", type=click.IntRange(1, 1000), help="So many runs of a sweep at a time.")
@click.option(
    "--code",
    type=click.Choice(CODES),
    help="Run in a copy of the project as it is now (so in a repository), or in the folder itself.",
)
@click.option("--if-new", is_flag=True, help="Only if its Git ref or S3 prefix has something new.")
@click.option("--wait", is_flag=True, help="Wait until it is over; the exit status says how.")
@FOLLOW
@render.json_option
def run(
    what: str,
    on: str | None,
    params: tuple[str, ...],
    kernel: str | None,
    environment: str | None,
    sweeps: tuple[str, ...],
    at_once: int | None,
    code: str | None,
    if_new: bool,
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
        if if_new:
            if on or params or kernel or environment or sweeps or at_once or code:
                raise UsageError("--if-new runs a job as it is", hint="leave the others out")
            made = jobs.look(what)[0]
        else:
            typed = jobs.typed(what, params)
            made = jobs.run(
                what,
                on=on,
                params=typed,
                kernel=kernel,
                environment=environment,
                sweep=jobs.typed_lists(what, sweeps) or None,
                at_once=at_once,
                code=code,
            )
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
    return DONE if made.state in ("succeeded", "skipped") else FAILED


@click.command()
@RUN
@FOLLOW
def logs(run_id: str, follow: bool) -> None:
    """Show what the cells of a run print."""
    with Client() as client, cancellable() as stopped:
        for record in client.jobs.records(run_id, stopped.is_set, follow=follow):
            show_record(record)


@click.command()
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


@click.command()
@RUN
@click.option("--on", metavar="NAME", help="Another machine than that of the run.")
@click.option(
    "--from-failed", is_flag=True, help="Go on at the cell that failed, where its kernel was kept."
)
@click.option("--wait", is_flag=True, help="Wait until it is over; the exit status says how.")
@FOLLOW
@render.json_option
def retry(
    run_id: str, on: str | None, from_failed: bool, wait: bool, follow: bool, as_json: bool
) -> int:
    """Run again what a run that is over ran: the same notebook and parameters, from its first cell.

    With --from-failed it goes on in the kernel that `keep_on_failure` has kept, at the cell that failed; where there is none, from its first
    cell. It says which, and why.
    """
    with Client() as client, cancellable() as stopped:
        made, how = client.jobs.retry(run_id, on=on, from_failed=from_failed)
        if from_failed:
            render.say(how)
        if wait or follow:
            with client.jobs.serving():
                made = _watch(client, made, stopped, follow, as_json)
        client.jobs.hand_over()
    return _told(made, wait or follow, as_json)


@click.command()
@RUN
def release(run_id: str) -> int:
    """End the kernel that a failed run has left (`keep_on_failure`)."""
    with Client() as client:
        ended = client.jobs.release(run_id)
    render.say("it has ended" if ended else "the run has left no kernel")
    return DONE if ended else FAILED


@click.command()
@RUN
@click.option(
    "--for", "text", metavar="TIME", help="As 30m or 2h, from now on; else as its definition says."
)
@render.json_option
def keep(run_id: str, text: str | None, as_json: bool) -> None:
    """Have the kernel that a failed run has left kept longer (`keep_on_failure`)."""
    seconds = None if text is None else float(kept_for(text))
    with Client() as client:
        left = client.jobs.keep_longer(run_id, seconds)
    if as_json:
        render.show_json(left.to_dict())
    else:
        render.say(f"it is kept until {render.moment(left.until_ms)}")


@click.command("open")
@RUN
@render.json_option
def open_(run_id: str, as_json: bool) -> int:
    """Say how to look into the kernel that a failed run has left (`keep_on_failure`).

    That of another machine is brought here until Ctrl-C.
    """
    with Client() as client, cancellable() as stopped, client.jobs.opened(run_id) as (left, file):
        command = f"jupyter console --existing {shlex.quote(file)}"
        if as_json:
            render.show_json({**left.to_dict(), "connection_file": file, "command": command})
            sys.stdout.flush()
        else:
            click.echo(command)
            render.say(
                f"it is kept until {render.moment(left.until_ms)}; "
                f"for longer: jupyter cloudml job keep {run_id}"
            )
        if left.connection_file != file:
            render.say("it is brought here until Ctrl-C")
            while not stopped.wait(LOOK_S) and client.jobs.kept(run_id) is not None:
                pass
    return DONE


def show_record(record: Record, err: bool = False) -> None:
    """Write what a cell prints; on standard error, what it is of."""
    kind = record["record"]
    if kind == "cell" and record["state"] == "started":
        render.say(f"-- cell {record['index'] + 1}")
    shown = printed(record)
    if shown is not None:
        click.echo(shown[1], nl=False, err=err or shown[0] == "stderr")
    sys.stdout.flush()
