"""The kernel of a failed run, left to whoever wants to look, and to a run that goes on in it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

from .ends import Stop, ended
from .kernel import KernelProcess
from .records import Records, now_ms
from .run import Run
from .spec import JSON
from .starting import begun

MARGIN_S = (
    10.0  # beyond the time that is told, so that nobody is given a kernel that is about to end
)
LONGEST_S = 24 * 3600.0  # of one look; and of a clock that is set meanwhile
UNTIL = "until"
CONNECT_S = 60.0
PIECE = 1 << 20


async def runs(run: Run | None, records: Records) -> None:
    """Do a run, and those that go on in its kernel."""
    while run is not None:
        try:
            await run.whole()
            spec = await keep(run, records) if run.keeps else None
            following = None if spec is None else await go_on(spec, run, records)
        finally:
            records.flush()
        if following is None:
            run.kernel.remove()
        run = following


async def keep(run: Run, records: Records) -> JSON | None:
    """Wait until its time is over, its kernel ends or somebody ends this: None; or until a run comes that goes on in it."""
    seconds = float(run.spec["keep_on_failure_s"])
    until = now_ms() + int(1000 * seconds)
    file, pid = run.kernel.file, run.kernel.pid
    records.say("kept", connection_file=file, pid=pid, until_ms=until, cell=run.cell)
    records.flush()
    loop = asyncio.get_running_loop()
    gone = asyncio.ensure_future(run.kernel.end())
    came: asyncio.Future[JSON | None] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, gone.cancel)
    _hear(loop, came)
    both: set[asyncio.Future[Any]] = {gone, came}
    try:
        while seconds > 0:
            pause = min(seconds, LONGEST_S) + MARGIN_S
            if (await asyncio.wait(both, timeout=pause, return_when=asyncio.FIRST_COMPLETED))[0]:
                break
            seconds = (more_time(run.kernel.folder, until) - now_ms()) / 1000
    finally:
        loop.remove_reader(0)
        gone.cancel()
    return came.result() if came.done() and run.kernel.code is None else None


def more_time(folder: str, until: int) -> int:
    """Until when (UTC ms) it is kept: somebody may have asked for more time meanwhile, by a file beside the kernel's."""
    try:
        with open(os.path.join(folder, UNTIL)) as file:
            return max(until, int(file.read()))
    except (OSError, ValueError):
        return until


def _hear(loop: asyncio.AbstractEventLoop, came: asyncio.Future[JSON | None]) -> None:
    """Have the next line of standard input; without a thread, which could not be ended."""
    pieces: list[bytes] = []

    def read() -> None:
        try:
            piece = os.read(0, PIECE)
        except BlockingIOError:
            return
        pieces.append(piece)
        if not piece:
            loop.remove_reader(0)
        elif piece.endswith(b"\n") and not came.done():
            loop.remove_reader(0)
            came.set_result(json.loads(b"".join(pieces)))

    os.set_blocking(0, False)
    loop.add_reader(0, read)


async def go_on(spec: JSON, before: Run, records: Records) -> Run | None:
    """The run that goes on in this kernel; None, and its end is said, where the kernel does not answer."""
    from nbclient.exceptions import DeadKernelError

    from .execution import connect

    kernel: KernelProcess = before.kernel
    begun(spec, records, resumed_at=int(spec["resume"]["at"]))
    try:
        client, info = await connect(kernel, CONNECT_S)
    except (DeadKernelError, TimeoutError) as exc:
        stop = Stop("failed", "kernel_start", f"the kernel that was kept does not answer: {exc}")
        records.say("ended", **ended(stop, None, kernel.peak()), at_ms=now_ms())
        return None
    run = Run(spec, records, kernel, (client, info), resumed_at=int(spec["resume"]["at"]))
    run.copy = before.copy
    return run
