"""`jupyter cloudml data …`"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.datasets.address import is_address
from jupyter_cloudml.datasets.endpoint import Asked
from jupyter_cloudml.datasets.globs import Choice
from jupyter_cloudml.datasets.progress import text
from jupyter_cloudml.datasets.service import Cache
from jupyter_cloudml.datasets.sync import Done, Options
from jupyter_cloudml.errors import UsageError

ON = click.option(
    "--on", metavar="NAME", default="local", show_default=True, help="The machine of the folder."
)
DATASET = click.argument("dataset", metavar="FOLDER|S3://…")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", re.IGNORECASE)


@click.group()
def data() -> None:
    """Keep prefixes of S3 in folders of machines, and send results back. No key goes to a machine."""


@data.command()
@click.argument("source")
@click.argument("target")
@ON
@click.option("--include", multiple=True, metavar="GLOB", help="Only these files; may be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these; may be repeated.")
@click.option(
    "--delete", is_flag=True, help="Delete what an earlier sync brought and is gone at the source."
)
@click.option("--preview", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--size-only", is_flag=True, help="Take a file of the same size for the same.")
@click.option("--checksum", is_flag=True, help="Read the files there to compare their content.")
@click.option("--no-cache", is_flag=True, help="Keep nothing in the machine's cache.")
@click.option("--endpoint-url", metavar="URL", help="Another S3 service than AWS.")
@click.option("--profile", metavar="NAME", help="A profile of ~/.aws.")
@click.option("--region", metavar="NAME", help="The region of the bucket.")
@render.json_option
def sync(
    source: str,
    target: str,
    on: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    delete: bool,
    preview: bool,
    size_only: bool,
    checksum: bool,
    no_cache: bool,
    endpoint_url: str | None,
    profile: str | None,
    region: str | None,
    as_json: bool,
) -> int:
    """Bring what lies under s3://BUCKET/PREFIX to a folder of a machine, or a folder there to S3.

    Only what has changed is fetched. A file is there whole or not at all. The exit status is 1 where some files could not be had; they are named.
    """
    if size_only and checksum:
        raise UsageError("--size-only and --checksum exclude each other")
    options = Options(
        Choice(include, exclude),
        "size" if size_only else "checksum" if checksum else "etag",
        delete,
        preview,
        not no_cache,
    )
    if on == "local":  # a relative folder is meant from here, not from the home folder
        source, target = (p if is_address(p) else os.path.abspath(Path(p).expanduser()) for p in (source, target))  # fmt: skip
    asked = Asked(endpoint_url, profile, region)
    bar = render.Progress(source, "listing")
    with Client() as client, cancellable() as cancelled, bar:
        done = client.data.sync(
            source,
            target,
            on,
            asked=asked,
            options=options,
            progress=lambda now: bar.tell("syncing: " + text(now)),
            cancelled=cancelled,
        )
    return _show(done, as_json)


@data.command("list")
@ON
@render.json_option
def list_(on: str, as_json: bool) -> None:
    """List the datasets of a machine, and how full its cache is."""
    with Client() as client:
        _show_cache(client.data.list(on), as_json)


@data.command()
@DATASET
@ON
@render.json_option
def pin(dataset: str, on: str, as_json: bool) -> None:
    """Keep what a dataset has in the cache, however much else comes."""
    with Client() as client:
        _show_cache(client.data.pin(on, dataset), as_json)


@data.command()
@DATASET
@ON
@render.json_option
def unpin(dataset: str, on: str, as_json: bool) -> None:
    """Let a dataset's part of the cache go when room is needed."""
    with Client() as client:
        _show_cache(client.data.pin(on, dataset, False), as_json)


@data.command()
@click.argument("dataset", metavar="[FOLDER|S3://…]", required=False)
@ON
@render.json_option
def evict(dataset: str | None, on: str, as_json: bool) -> None:
    """Drop what is not pinned from the cache: of one dataset, or of all. The files in folders stay."""
    with Client() as client:
        cache = client.data.evict(on, dataset)
    if as_json:
        count, size = cache.evicted
        render.show_json({**cache.to_dict(), "evicted": {"objects": count, "bytes": size}})
    else:
        click.echo(f"{cache.evicted[0]} objects dropped, {render.size(cache.evicted[1])}")


@data.command()
@click.argument("size")
@ON
@render.json_option
def quota(size: str, on: str, as_json: bool) -> None:
    """Let the cache of a machine hold SIZE at most (such as 50GB)."""
    found = SIZE.fullmatch(size.strip())
    if not found:
        raise UsageError(f"{size!r:.40} is no size", hint="write it as 500MB or 50GB")
    power = " KMGT".index(found[2].upper() or " ")
    with Client() as client:
        _show_cache(client.data.set_quota(on, int(float(found[1]) * 1000**power)), as_json)


def _show_cache(cache: Cache, as_json: bool) -> None:
    if as_json:
        render.show_json(cache.to_dict())
        return
    rows = [
        [
            each.folder if not each.upward else each.source,
            each.source if not each.upward else each.folder,
            str(each.files),
            render.size(each.bytes),
            render.age(each.synced_ms) if each.synced_ms else "never",
            "pinned" if each.pinned else "" if each.there else "folder is gone",
        ]
        for each in cache.datasets
    ]
    render.table(["to", "from", "files", "size", "synced", ""], rows, "no datasets")
    click.echo(f"cache: {render.size(cache.used)} of {render.size(cache.quota)}")


def _show(done: Done, as_json: bool) -> int:
    shown = done.to_dict()
    failed = int(str(shown["failed_count"]))
    if as_json:
        render.show_json(shown)
        return FAILED if failed else 0
    for action, path, size in done.would:
        click.echo(f"{action:6} {render.plain(path)} ({render.size(size)})")
    more = sum(done.counts.get(f"would_{a}", 0) for a in ("fetch", "send", "delete"))
    if more > len(done.would):
        click.echo(f"… and {more - len(done.would)} more")
    for path in done.kept:
        click.echo(f"kept, for it was changed there: {render.plain(path)}")
    for name, code, why in done.failed:
        render.say(f"{code}: {name}: {why}")
    if failed > len(done.failed):
        render.say(f"… and {failed - len(done.failed)} more")
    click.echo(_summary(done))
    return FAILED if failed else 0


def _summary(done: Done) -> str:
    counts = done.counts
    parts = [f"{counts.get('files', 0)} files came", f"{counts.get('same', 0)} were there"]
    if counts.get("cached"):
        parts[0] += f" ({counts['cached']} from the cache)"
    if counts.get("deleted"):
        parts.append(f"{counts['deleted']} deleted")
    if counts.get("failed"):
        parts.append(f"{counts['failed']} could not be had")
    rate = counts.get("bytes", 0) / done.seconds if done.seconds else 0
    size = render.size(counts.get("bytes", 0))
    return f"{', '.join(parts)}; {size} in {done.seconds:.1f} s, {render.size(int(rate))}/s; {done.folder}"
