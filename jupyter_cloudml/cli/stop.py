"""`jupyter cloudml stop --all`"""

from __future__ import annotations

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.client import Client


@click.command()
@click.option("all_", "--all", is_flag=True, required=True, help="Every process on every machine.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 600),
    default=20.0,
    show_default=True,
    help="Seconds to wait for machines to answer.",
)
@render.json_option
def stop(all_: bool, yes: bool, wait: float, as_json: bool) -> int:
    """End all processes on all machines that answer: kernels, commands, what waits to be used. Computers stay on."""
    if not all_:
        raise click.UsageError("--all says that every process on every machine is meant")
    if not yes:
        click.confirm("End every process on every machine?", abort=True, err=True)
    with Client() as client, render.Progress("stop", "ending all processes"):
        results = client.stop_all(wait_s=wait)
    if as_json:
        render.show_json({"machines": [result.to_dict() for result in results]})
    for result in results:
        if result.error is not None:
            render.say(f"{result.machine}: {result.error}")
        elif not as_json:
            noun = "process" if result.ended == 1 else "processes"
            click.echo(f"{result.machine}: {result.ended} {noun} ended")
    return FAILED if any(result.error for result in results) else 0
