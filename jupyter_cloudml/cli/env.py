"""`jupyter cloudml env …`"""

from __future__ import annotations

from collections.abc import Sequence

import click

from jupyter_cloudml.cli import FAILED, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.environments import reference, sources
from jupyter_cloudml.environments.built import Built
from jupyter_cloudml.environments.comparison import Checked
from jupyter_cloudml.environments.drift import Difference
from jupyter_cloudml.environments.service import QUOTA
from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.machines.model import LOCAL

ON = click.option("--on", metavar="NAME", default=LOCAL, show_default=True, help="The machine.")


HERE = click.option(
    "--here", metavar="PYTHON", help="Another Python of this computer, in place of this very one."
)


@click.group()
def env() -> None:
    """Build environments on machines from a lock, list them, compare them with this Python."""


@env.command()
@click.argument("source", required=False)
@ON
@click.option("--name", metavar="N", help="What it is called there; after its source if left out.")
@click.option(
    "--same", is_flag=True, help="The packages of this very Python, in place of a SOURCE."
)
@HERE
@click.option(
    "--image", metavar="REF", help="A container image, run by the podman or docker there."
)
@click.option("--without", multiple=True, metavar="PACKAGE", help="Leave this package out.")
@click.option("--python", metavar="PATH", help="The Python there that it is made of.")
@click.option("--upgrade", is_flag=True, help="Resolve anew what is not pinned.")
@click.option(
    "--quota",
    metavar="GB",
    type=click.FloatRange(min=0),
    default=QUOTA / 1e9,
    show_default=True,
    help="What environments may take there; those not used for longest go first.",
)
@click.option("--log", "show_log", is_flag=True, help="Show what the resolver and installer say.")
@render.json_option
def build(
    source: str | None,
    on: str,
    name: str | None,
    same: bool,
    here: str | None,
    image: str | None,
    without: tuple[str, ...],
    python: str | None,
    upgrade: bool,
    quota: float,
    show_log: bool,
    as_json: bool,
) -> None:
    """Build an environment from SOURCE on a machine, once for each lock, and offer it as a kernel.

    SOURCE is requirements.txt, pyproject.toml (with uv.lock, as it is locked there), environment.yml, a folder with one of them, or
    image:cpu, image:gpu, image:dask. ipykernel is always in it. With --image the kernel runs in a container of that image; --upgrade pulls it anew.
    """
    if (source is not None) + same + (image is not None) != 1:
        raise UsageError(
            "give a SOURCE, --same or --image", hint="see: jupyter cloudml env build --help"
        )
    if source is not None:
        wanted = sources.find(source)
    elif image is not None:
        wanted = sources.container(image)
    else:
        wanted = sources.same(reference.of(here))
    title = f"{name or wanted.name} on {on}"
    with Client() as client, cancellable() as cancelled, render.Progress(title) as progress:
        done = client.environments.build(
            wanted,
            on,
            name=name,
            python=python,
            leave_out=without,
            upgrade=upgrade,
            quota=int(quota * 1e9),
            progress=progress.tell,
            log=render.say if show_log else lambda line: None,
            cancelled=cancelled,
        )
    _show_built(done, as_json)


@env.command("list")
@ON
@render.json_option
def list_(on: str, as_json: bool) -> None:
    """List the environments on a machine, the last used first."""
    with Client() as client:
        found = client.environments.list(on)
    if as_json:
        render.show_json({"machine": on, "environments": [each.to_dict() for each in found]})
        return
    rows = [
        [
            ", ".join(each.names) or each.key,
            each.python,
            str(each.packages or ""),
            render.size(each.bytes),
            render.age(each.used_ms),
            each.source or "ipykernel, made by itself",
            "in use" if each.in_use else "",
        ]
        for each in found
    ]
    columns = ["name", "python", "packages", "size", "used", "from", ""]
    render.table(columns, rows, f"no environments on {on}")


@env.command()
@ON
@click.option("--env", "name", metavar="N", help="The environment; else what kernels there run on.")
@HERE
@render.json_option
def check(on: str, name: str | None, here: str | None, as_json: bool) -> int:
    """Compare an environment on a machine with the Python that this command runs on.

    Another Python minor, and another version of ipykernel, cloudpickle, distributed or msgpack, is an error, and the exit status is 1.
    """
    with Client() as client:
        found = client.environments.check(on, name, reference.of(here))
    if as_json:
        render.show_json(found.to_dict())
    else:
        _show_checked(found)
    return FAILED if found.errors else 0


@env.command()
@click.argument("name")
@ON
def remove(name: str, on: str) -> None:
    """Delete the environment NAME (or its key) from a machine, unless something runs in it."""
    with Client() as client:
        client.environments.remove(on, name)
    click.echo(f"removed {name} from {on}")


def _show_built(done: Built, as_json: bool) -> None:
    if as_json:
        render.show_json(done.to_dict())
        return
    what = "built" if done.made else "was there already"
    packages = f", {done.packages} packages" if done.packages else ""
    click.echo(f"{done.name} on {done.machine}: {what}{packages}")
    click.echo(done.python_path)
    if done.evicted:
        click.echo(f"{len(done.evicted)} not used for long were deleted to keep to the quota")


def _show_checked(found: Checked) -> None:
    rows = [_cells(each) for each in found.differences]
    render.table(["", "package", "here", "there"], rows, "no differences")
    for each in found.changed:
        click.echo(
            f"changed by hand since it was built: {each.name} {each.here or 'not locked'} → {each.there or 'gone'}"
        )
    if found.errors:
        here = "" if found.against == reference.this() else f" --here {found.against.python}"
        render.say(f"make equal: jupyter cloudml env build --same{here} --on {found.machine}")


def _cells(each: Difference) -> Sequence[str]:
    level = "fail" if each.is_error else ""
    return [level, each.name, each.here or "–", each.there or "–"]
