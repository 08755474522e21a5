"""`jupyter cloudml machine …`"""

from __future__ import annotations

import shlex
import sys
from typing import ClassVar

import click

from jupyter_cloudml.cli import FAILED, PROGRAM, render
from jupyter_cloudml.cli.interrupt import cancellable
from jupyter_cloudml.client import Client
from jupyter_cloudml.errors import JSON, HostKeyUnknown, UsageError
from jupyter_cloudml.link.carrier import CarrierName
from jupyter_cloudml.machines.model import CheckStep, MachineView

WAIT = click.option(
    "--wait",
    type=click.FloatRange(0, 600),
    default=5.0,
    show_default=True,
    help="Seconds to wait for machines to answer; 0 asks none.",
)


@click.group()
def machine() -> None:
    """Add, list, show, change, check, start, stop and remove machines."""


PRICE = click.option(
    "--price",
    type=click.FloatRange(0, 10_000),
    metavar="AMOUNT",
    help="What an hour of it costs, in any currency; runs there tell their cost then.",
)


@machine.command()
@click.argument("name")
@click.option("--ssh", required=True, metavar="[USER@]HOST[:PORT]", help="Where it is reached.")
@click.option("--identity", metavar="FILE", help="The private key to sign in with.")
@click.option("--host-key", metavar="SHA256:…", help="Its host key; no question is asked then.")
@click.option(
    "--python",
    metavar="PATH",
    help="A Python with ipykernel there; without it one is found or made.",
)
@click.option(
    "--carrier",
    type=click.Choice(["auto", "openssh", "paramiko"]),
    default="auto",
    show_default=True,
    help="What carries the connection; auto is the system's ssh where there is one.",
)
@PRICE
def add(
    name: str,
    ssh: str,
    identity: str | None,
    host_key: str | None,
    python: str | None,
    carrier: CarrierName,
    price: float | None,
) -> None:
    """Add the machine NAME, which is reached over SSH, and its kernels.

    At the first contact the fingerprint of its host key is shown, to be compared with what its owner says.
    """
    options: dict[str, str | None] = {"identity": identity, "host_key": host_key, "python": python}
    with Client() as client:
        try:
            view = _add(client, name, ssh, options, carrier)
        except HostKeyUnknown as error:
            options["host_key"] = _confirmed(error, _command(name, ssh, options, carrier))
            view = _add(client, name, ssh, options, carrier)
        if price is not None:
            client.core.change(name, price_micros=round(price * 1e6))
    click.echo(f"{view.name} is ready: {render.hardware(view.info)}".rstrip(": "))


def _add(
    client: Client, name: str, ssh: str, options: dict[str, str | None], carrier: CarrierName
) -> MachineView:
    with cancellable() as cancelled, render.Progress(name) as progress:
        return client.machines.add(
            name,
            ssh,
            identity=options["identity"],
            host_key=options["host_key"],
            python=options["python"],
            carrier=carrier,
            progress=progress,
            cancelled=cancelled,
        )


def _confirmed(error: HostKeyUnknown, command: list[str]) -> str:
    """Ask a person whether that is the host, and return its fingerprint. Raises the error where there is nobody to ask."""
    fingerprint = str(error.details["fingerprint"])
    host, kind = error.details["host"], error.details["keytype"]
    if not sys.stdin.isatty():
        accept = shlex.join([*PROGRAM.split(), *command, "--host-key", fingerprint])
        error.hint = f"compare it with what the host's owner says, then: {accept}"
        raise error
    render.say(f"{host} is met for the first time. The fingerprint of its {kind} key is")
    render.say(f"  {fingerprint}")
    click.confirm("Is that the host?", abort=True, err=True)
    return fingerprint


def _command(
    name: str, ssh: str, options: dict[str, str | None], carrier: CarrierName
) -> list[str]:
    words = ["machine", "add", name, "--ssh", ssh]
    for option in ("identity", "python"):
        if value := options[option]:
            words += [f"--{option}", value]
    return words if carrier == "auto" else [*words, "--carrier", carrier]


@machine.command("list")
@WAIT
@render.json_option
def list_(wait: float, as_json: bool) -> None:
    """List the machines and the state of each."""
    with Client() as client, render.Progress("machines", "asking", lines=False):
        views = client.machines.list(wait)
    if as_json:
        render.show_json({"machines": [view.to_dict() for view in views]})
        return
    rows = [
        [view.name, _state(view), view.address, render.hardware(view.info), str(view.kernels)]
        for view in views
    ]
    render.table(["name", "state", "address", "hardware", "kernels"], rows, "no machines")


def _state(view: MachineView) -> str:
    cause = f": {view.status.cause}" if view.status.cause else ""
    return view.status.state.value + cause


@machine.command()
@click.argument("name")
@WAIT
@render.json_option
def show(name: str, wait: float, as_json: bool) -> None:
    """Show what is known of the machine NAME."""
    with Client() as client, render.Progress(name, "asking", lines=False):
        view = client.machines.get(name, wait)
    _show(view, as_json)


def _show(view: MachineView, as_json: bool) -> None:
    if as_json:
        render.show_json(view.to_dict())
        return
    idle = f"after {view.cull_idle_s} s" if view.cull_idle_s else "never"
    render.fields(
        [
            ("name", view.name),
            ("label", view.label),
            ("state", _state(view)),
            ("next", view.status.next_action or ""),
            ("address", view.address),
            ("carrier", view.carrier),
            ("host name", view.info.hostname),
            ("system", view.info.platform),
            ("hardware", render.hardware(view.info)),
            ("python", view.python or ""),
            ("kernels", str(view.kernels)),
            ("kept ready", f"{view.prewarm} kernels"),
            ("idle kernels end", idle),
        ]
    )


@machine.command()
@click.argument("name")
@click.option(
    "--stop-processes",
    is_flag=True,
    help="End all that its agent runs first; fails where it does not answer.",
)
def remove(name: str, stop_processes: bool) -> None:
    """Forget the machine NAME, its kernelspecs and its host key.

    It is refused while something runs there. A machine that does not answer is forgotten, and what runs there goes on.
    """
    with Client() as client, render.Progress(name, "removing"):
        client.machines.remove(name, stop_processes=stop_processes)
    click.echo(f"{name} is removed")


@machine.command()
@render.json_option
def suggest(as_json: bool) -> None:
    """List the hosts of your SSH configuration that could be added."""
    with Client() as client:
        found = client.machines.suggest()
    if as_json:
        render.show_json({"suggestions": [each.to_dict() for each in found]})
        return
    rows = [[each.name, each.host, each.user or "", each.source] for each in found]
    render.table(["name", "host", "user", "source"], rows, "your SSH configuration names no hosts")


@machine.command()
@click.argument("name")
@render.json_option
def check(name: str, as_json: bool) -> int:
    """Diagnose the machine NAME step by step, from its address to a kernel that answers."""
    steps = []
    with Client() as client, render.Progress(name, "checking", lines=False) as progress:
        for step in client.machines.check(name):
            steps.append(step)
            progress.pause()
            if not as_json:
                _show_step(step)
            progress.resume()
    if as_json:
        render.show_json({"machine": name, "steps": [step.to_dict() for step in steps]})
    return 0 if steps and all(step.ok for step in steps) else FAILED


def _show_step(step: CheckStep) -> None:
    mark = click.style("ok  " if step.ok else "FAIL", fg="green" if step.ok else "red")
    click.echo(f"{mark}  {render.plain(f'{step.step}: {step.detail}')}  ({step.ms} ms)")
    if step.hint and not step.ok:
        click.echo(f"      → {render.plain(step.hint)}")


class IdleTime(click.ParamType[int]):
    """Seconds, as `90s`, `30m`, `2h` or `1d`; 0 for `never`."""

    name = "time"
    units: ClassVar[dict[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Read it. Raises BadParameter."""
        text = str(value)
        if text == "never":
            return 0
        if not (text[:-1].isdecimal() and text[-1] in self.units):
            self.fail(f"{text!r} is no time: give 90s, 30m, 2h, 1d or never", param, ctx)
        return int(text[:-1]) * self.units[text[-1]]


@machine.command("set")
@click.argument("name")
@click.option("--label", metavar="TEXT", help="What it is called in JupyterLab.")
@click.option(
    "--cull-idle",
    type=IdleTime(),
    metavar="TIME|never",
    help="End its kernels after so long without work, as 30m or 2h; their variables are lost.",
)
@click.option("--prewarm", type=int, metavar="N", help="Keep N kernels started and waiting.")
@PRICE
@WAIT
@render.json_option
def set_(
    name: str,
    label: str | None,
    cull_idle: int | None,
    prewarm: int | None,
    price: float | None,
    wait: float,
    as_json: bool,
) -> None:
    """Change what the machine NAME is called, when its idle kernels end, how many are kept ready, or what it costs."""
    given: dict[str, JSON] = {"label": label, "prewarm": prewarm, "cull_idle_s": cull_idle}
    changes: dict[str, JSON] = {key: value for key, value in given.items() if value is not None}
    if price is not None:
        changes["price_micros"] = round(price * 1e6)
    if cull_idle == 0:
        changes["cull_idle_s"] = None
    if not changes:
        raise UsageError(
            "nothing is to be changed", hint="give --label, --cull-idle, --prewarm or --price"
        )
    with Client() as client, render.Progress(name, "asking", lines=False):
        view = client.machines.change(name, wait_s=wait, **changes)
    _show(view, as_json)


@machine.command()
@click.argument("name")
def start(name: str) -> None:
    """Connect to the machine NAME and prepare it."""
    with Client() as client, cancellable() as cancelled, render.Progress(name) as progress:
        view = client.machines.start(name, progress=progress, cancelled=cancelled)
    click.echo(f"{name} is {view.status.state.value}")


@machine.command()
@click.argument("name")
def stop(name: str) -> None:
    """End all processes of the agent on the machine NAME, then the agent. The computer stays on."""
    with Client() as client, cancellable() as cancelled, render.Progress(name) as progress:
        view = client.machines.stop(name, progress=progress, cancelled=cancelled)
    click.echo(f"{name} is {view.status.state.value}")
