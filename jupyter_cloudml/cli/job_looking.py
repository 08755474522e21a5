"""`jupyter cloudml job list|runs|show`: what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from jupyter_cloudml.cli import render
from jupyter_cloudml.client import Client
from jupyter_cloudml.client.jobs import job_to_dict
from jupyter_cloudml.errors import NotFound

LIMIT = click.option(
    "-n", "limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many."
)


@click.command("list")
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
            "paused" if each["paused"] else render.moment(each["next_due_ms"]),
            str(each["definition"].get("notebook")),  # type: ignore[union-attr]
        ]
        for each in found
    ]
    render.table(["name", "machine", "next", "notebook"], rows, "no jobs")


@click.command()
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
    rows = [
        [each.id, each.state, render.moment(each.created_ms), each.reason or ""] for each in found
    ]
    render.table(["run", "state", "asked for", "reason"], rows, "no runs")


@click.command()
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
            found, as_json = client.jobs.about(what), True
    if as_json:
        render.show_json(found)
        return
    files: Any = found["files"]
    render.fields(
        [(name, str(found[name] or "")) for name in ("run", "state", "reason")]
        + [("notebook", str(found["executed_notebook"] or "")), ("page", str(found["html"] or ""))]
        + ([("files", str(files["folder"]))] if files else [])
        + ([("retry", f"--from-failed: {found['from_failed']}")] if found["from_failed"] else [])
    )
    children: Any = found["children"]
    if children:
        rows = [
            [each["run"], each["state"], _pairs(each["parameters"]), _pairs(each["result"] or {})]
            for each in children
        ]
        render.table(["run", "state", "parameters", "result"], rows, "")
        return
    cells: Any = found["cells"]
    rows = [[str(c["idx"] + 1), c["status"], _length(c)] for c in cells]
    render.table(["cell", "state", "seconds"], rows, "no cell has begun")


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={str(value)[:30]}" for name, value in values.items())


def _length(cell: Mapping[str, Any]) -> str:
    if cell["started_ms"] is None or cell["ended_ms"] is None:
        return ""
    return f"{(cell['ended_ms'] - cell['started_ms']) / 1000:.1f}"
