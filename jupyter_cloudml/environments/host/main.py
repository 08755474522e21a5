"""Runs one verb; the exit status says whether it did what it was asked."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from .say import Failed, InUse, NoSpace, free_bytes, say


def stop(number: int, frame: object) -> NoReturn:
    """End as if the work had failed: everything is cleared away."""
    signal.signal(number, signal.SIG_IGN)
    raise Failed("it was called off")


def verb_named(verb: str) -> Callable[..., None]:
    """The function of a verb, `module.function`; only what the verb needs was sent."""
    module, _, function = verb.partition(".")
    found: Callable[..., None] = getattr(sys.modules[f"{__package__}.{module}"], function)
    return found


def main(verb: str) -> int:
    """Run it with the arguments that standard input brings."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    os.umask(0o077)
    try:
        verb_named(verb)(**json.loads(sys.stdin.buffer.readline()))
    except Failed as exc:
        say(failed=str(exc))
    except InUse as exc:
        say(in_use=exc.args[0])
    except NoSpace as exc:
        say(no_space=str(exc), free=free_bytes(str(exc)))
    else:
        return 0
    return 1
