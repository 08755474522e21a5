"""`jupyter cloudml job pool list|set|remove`: how many runs go on at once."""

from __future__ import annotations

import click

from jupyter_cloudml.cli import render
from jupyter_cloudml.client import Client
from jupyter_cloudml.jobs.pools import MOST, pool_to_dict


@click.group()
def pool() -> None:
    """Look at pools and set their caps: how many of the runs that share one go on at once.

    A job names its pool in its definition; machine:NAME is the pool of all runs of a machine.
    """


@pool.command("list")
@render.json_option
def list_(as_json: bool) -> None:
    """List the pools, with what runs and waits."""
    with Client() as client:
        found = client.jobs.pools.all()
    if as_json:
        render.show_json({"pools": [pool_to_dict(each) for each in found]})
        return
    rows = [
        [each.name, _number(each.cap, "no cap"), str(each.running), _number(each.waiting, "")]
        for each in found
    ]
    render.table(["pool", "cap", "running", "waiting"], rows, "no pools")


@pool.command("set")
@click.argument("name", metavar="POOL")
@click.argument("cap", type=click.IntRange(0, MOST), metavar="CAP")
@render.json_option
def set_(name: str, cap: int, as_json: bool) -> None:
    """Let no more than CAP runs of a pool go on at once; 0 lets none begin. What goes on already goes on."""
    with Client() as client:
        found = client.jobs.pools.set(name, cap)
    if as_json:
        render.show_json(pool_to_dict(found))


@pool.command()
@click.argument("name", metavar="POOL")
def remove(name: str) -> None:
    """Take the cap of a pool away."""
    with Client() as client:
        client.jobs.pools.remove(name)


def _number(value: int | None, none: str) -> str:
    return none if value is None else str(value)
