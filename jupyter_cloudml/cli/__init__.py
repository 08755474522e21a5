"""`jupyter cloudml <noun> <verb>`: exit status 0 done, 1 failed, 2 usage, 130 interrupted.

One module for each noun, imported when it is called for: `--help` must not wait for SSH and SQL.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click

from jupyter_cloudml import __version__
from jupyter_cloudml.cli import render
from jupyter_cloudml.errors import Cancelled, CloudMLError, UsageError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
PROGRAM = "jupyter cloudml"

# name: (module, attribute, help); the help is repeated here so that the listing imports nothing.
COMMANDS = {
    "machine": ("machine", "machine", "Add, list, show, check, start, stop and remove machines."),
    "run": ("run", "run", "Run a command on a machine; its output and its exit code come here."),
    "kernel": ("kernel", "kernel", "List and stop kernels."),
    "code": ("code", "code", "Bring a folder of code to a machine, and changes back."),
    "data": ("data", "data", "Keep prefixes of S3 in folders of machines, and send results back."),
    "env": ("env", "env", "Build environments on machines from a lock; list, compare, remove."),
    "job": ("job", "job", "Run notebooks as jobs: now and by schedule; list, show, cancel, retry."),
    "scheduler": ("scheduler", "scheduler", "Run the jobs that are due, without Jupyter."),
    "stop": ("stop", "stop", "End all processes on all machines."),
    "doctor": ("doctor", "doctor", "Look at this installation and say what is wrong with it."),
}


class Nouns(click.Group):
    """The nouns, each imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a noun."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(import_module(f"jupyter_cloudml.cli.{module}"), attribute)
        return cast(click.Command, command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing the nouns."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help) for name, (_, _, help) in COMMANDS.items()])


@click.command(cls=Nouns, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option("-v", "--verbose", is_flag=True, help="Show what goes on, and where errors arise.")
@click.pass_context
def root(ctx: click.Context, verbose: bool) -> None:
    """Notebooks and commands on any machine you reach."""
    ctx.obj = verbose
    logger = logging.getLogger("jupyter_cloudml")
    if verbose:
        logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stderr)
        logger.setLevel(logging.DEBUG)
    else:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


def main() -> None:
    """Run the command line of this process and exit."""
    status = call(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def call(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; what went wrong stands on standard error."""
    verbose = "-v" in arguments[:1] or "--verbose" in arguments[:1]
    try:
        result = root.main(list(arguments), prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return USAGE if isinstance(exc, click.UsageError) else FAILED
    except (click.Abort, KeyboardInterrupt, Cancelled):
        click.echo("cancelled", err=True)
        return INTERRUPTED
    except CloudMLError as exc:
        show_error(exc)
        return USAGE if isinstance(exc, UsageError) else FAILED
    except BrokenPipeError:
        return FAILED
    except Exception as exc:  # noqa: BLE001  the edge of the process
        if verbose:
            traceback.print_exc()
        click.echo(f"Error: {type(exc).__name__}: {exc}", err=True)
        click.echo(f"this is a defect; `{PROGRAM} -v …` shows where", err=True)
        return FAILED
    return result if isinstance(result, int) else DONE


def show_error(error: CloudMLError) -> None:
    """Write an error, what to do about it, and what else is wrong to standard error."""
    render.say(f"Error: {error.message}")
    if error.hint:
        render.say(f"  → {error.hint}")
    problems = error.details.get("problems")
    for each in problems[1:] if isinstance(problems, list) else ():
        if isinstance(each, dict):  # the first is in the message
            render.say(f"       {each['field']} {each['cause']}")
            render.say(f"  → {each['remedy']}")
