"""`jupyter cloudml scheduler`"""

from __future__ import annotations

import click

from jupyter_cloudml.cli import render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client

LOOK_S = 0.5


@click.command()
@click.option("--until-idle", is_flag=True, help="End once no run waits or goes on.")
@click.option(
    "--warm/--no-warm",
    default=None,
    help="Have machines that were used lately keep a started kernel for the next run; not with --until-idle.",
)
def scheduler(until_idle: bool, warm: bool | None) -> None:
    """Run jobs when they are due, until SIGTERM or Ctrl-C. Several may run; what one leaves, another goes on with.

    Ending it ends no run: the runs go on on their machines, and the next scheduler has their results.
    """
    with Client() as client, cancellable() as ended:
        with client.jobs.serving(keep_ready=not until_idle if warm is None else warm) as made:
            render.say(f"scheduler {made.engine.id} works")
            while not ended.wait(LOOK_S):
                if until_idle and client.jobs.is_idle():
                    break
        if ended.is_set():
            render.say("the scheduler has ended; runs go on")
        elif (
            client.jobs.hand_over()
        ):  # whoever made a run just now saw this scheduler and started none
            render.say("runs were asked for meanwhile: another scheduler works for them")
