"""`jupyter cloudml kernel …`"""

from __future__ import annotations

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.client import Client, KernelRow, Unreached

ON = click.option("--on", metavar="NAME", help="Only on this machine.")


@click.group()
def kernel() -> None:
    """List and stop kernels."""


@kernel.command("list")
@ON
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    help="Seconds to wait for machines to answer.",
)
@render.json_option
def list_(on: str | None, wait: float, as_json: bool) -> int:
    """List the kernels on all machines that should run. The exit status is 1 when one did not answer."""
    unreached = Unreached()
    with Client() as client, render.Progress("kernels", "asking", lines=False):
        rows = client.kernels.list(on, wait_s=wait, unreached=unreached)
    away = unreached.errors
    if as_json:
        render.show_json(
            {
                "kernels": [row.to_dict() for row in rows],
                "unreached": {name: error.to_dict() for name, error in away.items()},
            }
        )
    else:
        columns = ["id", "machine", "state", "kernel", "since", "notebook"]
        render.table(columns, [_cells(row) for row in rows], "no kernels")
    for name, error in away.items():
        render.say(f"{name} was not asked: {error.message}")
    return FAILED if away else 0


def _cells(row: KernelRow) -> list[str]:
    state = row.state if row.state == "ended" else f"{row.state} {row.execution_state}".rstrip()
    cause = f": {row.cause}" if row.cause else ""
    spec = f"cloudml-{row.machine}" + (f"-{row.spec}" if row.spec else "")
    return [row.id, row.machine, state + cause, spec, render.age(row.since_ms), row.path]


@kernel.command()
@click.argument("id")
@ON
def stop(id: str, on: str | None) -> None:
    """End the kernel ID, or the one whose id begins with these four or more characters."""
    with Client() as client, render.Progress(id, "stopping"):
        row = client.kernels.stop(id, on=on)
    done = "had ended already" if row.state == "ended" else "is stopped"
    click.echo(f"kernel {row.id} on {row.machine} {done}")
