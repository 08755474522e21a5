"""`jupyter cloudml job create|pause|resume|backfill`: jobs and when they run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from jupyter_cloudml.cli import render
from jupyter_cloudml.client import Client
from jupyter_cloudml.client.jobs import job_to_dict
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition.model import CODES
from jupyter_cloudml.jobs.definition.triggers import moment


@click.command()
@click.argument("name")
@click.argument("notebook", type=click.Path(path_type=Path), required=False)
@click.option("-f", "file", type=click.Path(exists=True, dir_okay=False), help="A JSON definition.")
@click.option("--on", metavar="NAME", help="The machine.")
@click.option("-p", "params", multiple=True, metavar="NAME=VALUE", help="Set a parameter.")
@click.option("--kernel", metavar="NAME", help="The machine's kernelspec, not the notebook's.")
@click.option("--env", "environment", metavar="NAME", help="An environment of the machine.")
@click.option(
    "--code",
    type=click.Choice(CODES),
    help="Run in a copy of the project as it is then (so in a repository), or in the folder itself.",
)
@click.option("--cron", help="Run at the times of this cron expression.")
@click.option(
    "--every",
    metavar="TIME",
    help="Run every 90s, 15m, 2h, 1d; with --git and --s3: look so often.",
)
@click.option("--at", metavar="DATE", help="Run once, as 2026-12-01T09:00.")
@click.option("--after", metavar="JOB", help="Run after each success of this job.")
@click.option("--git", metavar="URL", help="Run at each new commit of a repository, or a folder.")
@click.option("--ref", metavar="NAME", help="The branch or tag of --git; its HEAD if left out.")
@click.option("--s3", metavar="PREFIX", help="Run when objects under s3://… are new or changed.")
@click.option("--webhook", is_flag=True, help="Run when its webhook is called: see `job hook`.")
@click.option("--tz", metavar="ZONE", help="The time zone of --cron and --at; UTC if left out.")
@click.option(
    "--timeout", "timeout_s", type=int, metavar="SECONDS", help="End a run after so long."
)
@click.option("--retries", type=int, metavar="N", help="So many more attempts after a failure.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME=REF",
    help="Set a variable from env:NAME, keyring:SERVICE/NAME or file:PATH when a run starts.",
)
@render.json_option
def create(
    name: str,
    notebook: Path | None,
    file: str | None,
    params: tuple[str, ...],
    secrets: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Make the job NAME that runs NOTEBOOK, or change it; it keeps its runs."""
    _refuse_alone(options)
    with Client() as client:
        definition = _read(Path(file)) if file else {}
        definition |= {"name": name}
        if notebook is not None:
            definition["notebook"] = str(notebook)
        if params:
            typed = client.jobs.typed(_notebook_of(definition), params)
            definition["parameters"] = _within(definition, "parameters", typed)
        if secrets:
            given = dict(_pair(text) for text in secrets)
            definition["secrets"] = _within(definition, "secrets", given)
        made = client.jobs.create(_defined(definition, options), file=Path(file) if file else None)
        due = client.jobs.next_due_ms(made)
    if as_json:
        render.show_json(job_to_dict(made, due))
        return
    click.echo(
        f"{made.name}, revision {made.rev}" + (f", next {render.moment(due)}" if due else "")
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{file} cannot be read: {exc}", hint="give a JSON object") from exc
    if not isinstance(found, dict):
        raise UsageError(f"{file} is no definition of a job", hint="give a JSON object")
    return found


def _notebook_of(definition: Mapping[str, Any]) -> str:
    """Return the path of the notebook that parameters are for."""
    notebook = definition.get("notebook")
    if not isinstance(notebook, str) or not notebook:
        raise UsageError(
            "-p sets parameters of a notebook, and there is none", hint="name the notebook too"
        )
    return str(Path(notebook).expanduser().absolute())


def _within(definition: Mapping[str, Any], field: str, given: Mapping[str, Any]) -> Any:
    """Return a field of a file with what the options say of it; what is no object there is left, to be refused as that."""
    there = definition.get(field, {})
    return {**there, **given} if isinstance(there, dict) else there


def _refuse_alone(options: Mapping[str, Any]) -> None:
    """Refuse an option that means something only beside another one."""
    for option, kinds in {"tz": ("cron", "at"), "ref": ("git",)}.items():
        if options[option] is not None and all(options[kind] is None for kind in kinds):
            beside = " or ".join(f"--{kind}" for kind in kinds)
            raise UsageError(
                f"--{option} means nothing without {beside}", hint=f"add {beside}, or leave it out"
            )


def _defined(definition: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition with what the options say."""
    same = {name: name for name in ("kernel", "environment", "timeout_s", "code")}
    for option, field in {"on": "machine", **same}.items():
        if options[option] is not None:
            definition[field] = options[option]
    if options["retries"] is not None:
        definition["retry"] = _within(definition, "retry", {"count": options["retries"]})
    triggers = _triggers({name: value for name, value in options.items() if value is not None})
    if options["webhook"]:
        triggers.append({"webhook": True})
    if triggers:
        definition["triggers"] = triggers
    return definition


def _triggers(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the triggers that options name; some options belong to others."""
    beside = {"cron": ("tz",), "at": ("tz",), "git": ("ref", "every"), "s3": ("every",)}
    kinds = [kind for kind in ("cron", "at", "after", "git", "s3", "every") if kind in given]
    if "every" in kinds and ("git" in kinds or "s3" in kinds):
        kinds.remove("every")
    names = [(kind, *beside.get(kind, ())) for kind in kinds]
    return [{name: given[name] for name in each if name in given} for each in names]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


@click.command()
@click.argument("name", metavar="JOB")
def pause(name: str) -> None:
    """Skip the due times of a job from now on; each is a row that says so."""
    with Client() as client:
        client.jobs.pause(name)


@click.command()
@click.argument("name", metavar="JOB")
def resume(name: str) -> None:
    """Have a job run at its due times again."""
    with Client() as client:
        client.jobs.resume(name)


@click.command()
@click.argument("name", metavar="JOB")
@click.option("--from", "first", required=True, metavar="DATE", help="As 2026-12-01T09:00.")
@click.option("--until", "last", required=True, metavar="DATE", help="As 2026-12-01T09:00.")
@click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="Their time zone.")
@render.json_option
def backfill(name: str, first: str, last: str, tz: str, as_json: bool) -> None:
    """Run a job for each due time of a range; a time that had its run already gets no second one."""
    with Client() as client:
        found = client.jobs.backfill(name, moment(first, tz), moment(last, tz))
        told = [*client.jobs.told(found)]
        client.jobs.hand_over()
    if as_json:
        render.show_json({"runs": told})
    else:
        click.echo(f"{len(found)} runs")


@click.command()
@click.argument("name", metavar="JOB")
@click.option("--rotate", is_flag=True, help="Replace the token that there is.")
@render.json_option
def hook(name: str, rotate: bool, as_json: bool) -> None:
    """Make the token with which a webhook runs a job. It is shown once: only its digest is kept."""
    with Client() as client:
        token = client.jobs.hook_token(name, rotate=rotate)
        path = f"cloudml/api/v1/hooks/{client.jobs.get(name).name}"
    if as_json:
        render.show_json({"path": path, "token": token})
        return
    click.echo(token)
    render.say(f'curl -X POST -H "Authorization: Bearer $TOKEN" YOUR-JUPYTER-SERVER/{path}')
