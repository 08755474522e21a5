"""`jupyter cloudml code …`"""

from __future__ import annotations

from pathlib import Path

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.workspaces.service import CodeStatus
from jupyter_cloudml.workspaces.sync import Synced

ON = click.option(
    "--on", metavar="NAME", help="The machine; needed where the code is on none or on several."
)
FOLDER = click.argument(
    "folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
SEND = click.option(
    "--send", multiple=True, metavar="FILE", help="Send this file although it is large."
)
LEAVE = click.option("--leave", multiple=True, metavar="FILE", help="Leave this file here.")


@click.group()
def code() -> None:
    """Bring a folder of code to a machine, and back what was changed there."""


@code.command()
@FOLDER
@ON
@click.option(
    "--to",
    metavar="PATH",
    help="The folder there; the same place under your home where it is left out.",
)
@SEND
@LEAVE
@render.json_option
def sync(
    folder: Path,
    on: str | None,
    to: str | None,
    send: tuple[str, ...],
    leave: tuple[str, ...],
    as_json: bool,
) -> int:
    """Send the code in FOLDER (its repository, or itself) to a machine as it is: committed, changed and untracked, without what git ignores.

    What was changed on the machine is left alone and named. The exit status is 1 then.
    """
    with Client() as client, cancellable() as cancelled, render.Progress(str(folder), "sending"):
        done = client.code.sync(
            folder, on, machine_path=to, send=send, leave=leave, cancelled=cancelled
        )
    return _show(done, as_json)


@code.command()
@FOLDER
@ON
@click.option(
    "--take",
    multiple=True,
    metavar="FILE",
    help="Settle the conflict of this file as the machine has it.",
)
@click.option(
    "--keep", multiple=True, metavar="FILE", help="Settle the conflict of this file as it is here."
)
@SEND
@LEAVE
@render.json_option
def pull(
    folder: Path,
    on: str | None,
    take: tuple[str, ...],
    keep: tuple[str, ...],
    send: tuple[str, ...],
    leave: tuple[str, ...],
    as_json: bool,
) -> int:
    """Bring back what was made and changed on the machine, merged with what was changed here; then send the rest.

    A file that both sides have changed in the same lines stays as it is on both, and is named. The exit status is 1 then.
    """
    with Client() as client, cancellable() as cancelled, render.Progress(str(folder), "comparing"):
        for paths, side in ((take, "there"), (keep, "here")):
            if paths:
                client.code.take(folder, on, paths, side=side)
        done = client.code.sync(folder, on, pull=True, send=send, leave=leave, cancelled=cancelled)
    return _show(done, as_json)


@code.command()
@FOLDER
@ON
@render.json_option
def status(folder: Path, on: str | None, as_json: bool) -> int:
    """Compare the code in FOLDER with what its machines were sent; asks no machine."""
    with Client() as client:
        found = client.code.status(folder, on)
    if as_json:
        only = found[0].to_dict() if on or len(found) == 1 else None
        render.show_json(only or {"machines": [each.to_dict() for each in found]})
    else:
        render.table(
            ["machine", "folder there", "code", "synced", "conflicts"],
            [_cells(each) for each in found],
            "on no machine",
        )
        for each in found:
            _name_conflicts(sorted(each.applied.conflicts))
    return FAILED if any(each.applied.conflicts for each in found) else 0


@code.command()
@FOLDER
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many."
)
@render.json_option
def log(folder: Path, count: int, as_json: bool) -> None:
    """List the snapshots that were taken of FOLDER, the newest first."""
    with Client() as client:
        entries = client.code.log(folder, count)
    if as_json:
        render.show_json({"snapshots": entries})
        return
    rows = [
        [
            str(each["snapshot"])[:10],
            render.age(int(str(each["taken_ms"]))),
            str(each["base_commit"] or "")[:10],
            "changed" if each["dirty"] else "",
        ]
        for each in entries
    ]
    render.table(["snapshot", "taken", "of commit", ""], rows, "no snapshots")


def _cells(status: CodeStatus) -> list[str]:
    taken = status.snapshot
    where = (
        f"{taken.branch or 'HEAD'}@{taken.base_commit[:7]}" if taken.base_commit else "no commit"
    )
    changed = f" +{taken.changed} changed" if taken.changed else ""
    synced = render.age(status.applied.synced_ms) if status.applied.synced_ms else "never"
    state = synced if status.is_synced else f"{synced}, changed since"
    return [
        status.machine,
        status.machine_path,
        where + changed,
        state,
        str(len(status.applied.conflicts)),
    ]


def _show(done: Synced, as_json: bool) -> int:
    conflicts = sorted(done.applied.conflicts)
    if as_json:
        render.show_json(done.to_dict())
        return FAILED if conflicts else 0
    pulled = done.pulled
    if pulled.taken or pulled.deleted:
        click.echo(f"{_files(len(pulled.taken))} came back, {len(pulled.deleted)} deleted here")
    if done.sent or done.dropped:
        click.echo(f"{_files(done.sent)} sent, {done.dropped} deleted in {done.applied.folder}")
    elif not pulled.taken and not pulled.deleted and not conflicts:
        click.echo("nothing has changed")
    for path in pulled.large:
        click.echo(f"left on the machine for its size: {render.plain(path)} (take it with --send)")
    _name_conflicts(conflicts)
    return FAILED if conflicts else 0


def _files(count: int) -> str:
    return f"{count} file" if count == 1 else f"{count} files"


def _name_conflicts(conflicts: list[str]) -> None:
    for path in conflicts:
        click.echo(f"changed on both sides, left as it is: {render.plain(path)}", err=True)
    if conflicts:
        render.say(
            "settle each with `jupyter cloudml code pull --take FILE` (as there) or `--keep FILE` (as here)"
        )
