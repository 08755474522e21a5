"""`jupyter cloudml job delete|prune`: jobs that are no more, and runs that are kept no more."""

from __future__ import annotations

import click

from jupyter_cloudml.cli import DONE, FAILED, render
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import Conflict


@click.command()
@click.argument("name", metavar="JOB")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a job. Its runs that wait or go on are ended; their record stays, and another job may have the name."""
    with Client() as client:
        going_on = client.jobs.going_on(name)
        if not yes:
            ends = f" {going_on} of its runs are not over and would be ended." if going_on else ""
            click.confirm(f"Delete the job {name}?{ends}", abort=True, err=True)
        client.jobs.delete(name)
        client.jobs.hand_over()


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@render.json_option
def prune(dry_run: bool, as_json: bool) -> int:
    """Delete the runs that their jobs keep no more (keep_runs, keep_days), as a scheduler does every hour.

    Runs that go on, runs of the last two hours and the last success of each job stay.
    """
    with Client() as client, render.Progress("prune", "looking for old runs"):
        done = client.jobs.prune(dry_run=dry_run)
    if done is None:
        raise Conflict("a scheduler is at it just now", code="busy", hint="try again later")
    if as_json:
        render.show_json(done.to_dict())
    else:
        rows = [[name, str(count)] for name, count in sorted(done.runs.items()) if count]
        render.table(["job", "runs"], rows, "no run is old enough")
        if rows:
            click.echo(f"{render.size(done.bytes)}{' would be' if dry_run else ''} freed")
    for folder in done.failed:
        render.say(f"{folder} cannot be deleted: see that it is yours")
    return FAILED if done.failed else DONE
