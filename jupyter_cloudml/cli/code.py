"""`jupyter cloudml code …`"""

from __future__ import annotations

from pathlib import Path

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.workspaces.service import CodeStatus
from jupyter_cloudml.workspaces.snapshot import Snapshot
from jupyter_cloudml.workspaces.sync import Synced, files

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
YES = click.option("--yes", is_flag=True, help="Send it, however much it is.")


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
@YES
@render.json_option
def sync(
    folder: Path,
    on: str | None,
    to: str | None,
    send: tuple[str, ...],
    leave: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Send the code in FOLDER (its repository, or itself) to a machine as it is: committed, changed and untracked, without what git ignores.

    What was changed on the machine is left alone and named. The exit status is 1 then.
    """
    progress = render.Progress(str(folder))
    with Client() as client, cancellable() as cancelled, progress:
        done = client.code.sync(
            folder,
            on,
            machine_path=to,
            send=send,
            leave=leave,
            everything=yes,
            progress=progress,
            cancelled=cancelled,
        )
    return _show(done, as_json)


@code.command()
@click.argument("url")
@click.option(
    "--ref", help="A branch, tag or commit; the remote's own branch where it is left out."
)
@click.option("--on", metavar="NAME", required=True, help="The machine.")
@click.option("--to", metavar="PATH", help="The folder there; ~/REPOSITORY where it is left out.")
@SEND
@LEAVE
@YES
@render.json_option
def clone(
    url: str,
    ref: str | None,
    on: str,
    to: str | None,
    send: tuple[str, ...],
    leave: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Clone a Git URL on this computer, with your own git and credentials, and send the files to a machine; again: bring it up to date.

    URL is https://…, ssh://…, git@host:path or the path of a repository here. The machine gets no credentials and no history.
    """
    progress = render.Progress("code")
    with Client() as client, cancellable() as cancelled, progress:
        folder, done = client.code.clone(
            url,
            on,
            ref,
            machine_path=to,
            send=send,
            leave=leave,
            everything=yes,
            progress=progress,
            cancelled=cancelled,
        )
    for warning in done.warnings:
        render.say(f"warning: {render.plain(warning)}")
    if as_json:
        code = {"url": done.snapshot.url, "branch": done.snapshot.branch}
        commit = done.snapshot.base_commit
        render.show_json({**done.to_dict(), **code, "base_commit": commit, "folder": str(folder)})
        return FAILED if done.applied.conflicts else 0
    click.echo(f"{_which(done.snapshot)} is in {done.applied.folder} of {on}, and here in {folder}")
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
@YES
@render.json_option
def pull(
    folder: Path,
    on: str | None,
    take: tuple[str, ...],
    keep: tuple[str, ...],
    send: tuple[str, ...],
    leave: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Bring back what was made and changed on the machine, merged with what was changed here; then send the rest.

    A file that both sides have changed in the same lines stays as it is on both, and is named. The exit status is 1 then.
    """
    progress = render.Progress(str(folder))
    with Client() as client, cancellable() as cancelled, progress:
        for paths, side in ((take, "there"), (keep, "here")):
            if paths:
                client.code.take(folder, on, paths, side=side, cancelled=cancelled)
        done = client.code.sync(
            folder,
            on,
            pull=True,
            send=send,
            leave=leave,
            everything=yes,
            progress=progress,
            cancelled=cancelled,
        )
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
    where = _which(status.snapshot) if status.snapshot else ""
    synced = render.age(status.applied.synced_ms) if status.applied.synced_ms else "never"
    state = synced if status.is_synced else f"{synced}, changed since"
    return [
        status.machine,
        status.machine_path,
        where,
        state,
        str(len(status.applied.conflicts)),
    ]


def _which(taken: Snapshot) -> str:
    commit = taken.base_commit
    where = f"{taken.branch or 'HEAD'}@{commit[:7]}" if commit else "no commit"
    return f"{where} +{taken.changed} changed" if taken.changed else where


def _show(done: Synced, as_json: bool) -> int:
    conflicts = sorted(done.applied.conflicts)
    if as_json:
        render.show_json(done.to_dict())
        return FAILED if conflicts else 0
    pulled = done.pulled
    if pulled.taken or pulled.deleted:
        click.echo(f"{files(len(pulled.taken))} came back, {len(pulled.deleted)} deleted here")
    if done.sent or done.dropped:
        click.echo(f"{files(done.sent)} sent, {done.dropped} deleted in {done.applied.folder}")
    elif not pulled.taken and not pulled.deleted and not conflicts:
        click.echo("nothing has changed")
    for path in pulled.large:
        click.echo(f"left on the machine for its size: {render.plain(path)} (take it with --send)")
    _name_conflicts(conflicts)
    return FAILED if conflicts else 0


def _name_conflicts(conflicts: list[str]) -> None:
    for path in conflicts:
        click.echo(f"changed on both sides, left as it is: {render.plain(path)}", err=True)
    if conflicts:
        render.say(
            "settle each with `jupyter cloudml code pull --take FILE` (as there) or `--keep FILE` (as here)"
        )
