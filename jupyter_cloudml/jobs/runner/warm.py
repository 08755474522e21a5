"""A runner that waits for its run, with a kernel ready or with all but that."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Any

from .copy import remove_all
from .keeping import runs
from .kernel import KernelProcess, end_all
from .records import Records
from .run import Run
from .spec import HOME, JSON, read_spec, suits
from .starting import begun, placed, try_to_start

ENDED, NO_KERNEL = 0, 3  # exit codes: all was said; nothing was run


def wait_without(records: Records) -> Run | None:
    """Have all imported until there is something to run; None when that does not come whole."""
    from . import execution  # noqa: F401

    records.say("waiting", pid=os.getpid())
    gc.collect()
    gc.freeze()
    spec = read_spec()
    if spec is None:
        return None
    begun(spec, records)
    kernel = try_to_start(spec, records)
    return None if kernel is None else Run(spec, records, kernel)


async def wait_with(waiting: JSON, records: Records) -> Run | None:
    """Have a kernel ready until there is something to run; None when either ends before."""
    from nbclient.exceptions import DeadKernelError

    from . import execution

    loop = asyncio.get_running_loop()
    kernel = KernelProcess(waiting, {}, HOME)
    loop.add_signal_handler(signal.SIGTERM, leave, kernel)
    kernel.watch(loop)
    try:
        client, info = await execution.connect(kernel, 60)
    except (DeadKernelError, TimeoutError):
        return None
    records.say("waiting", pid=os.getpid())
    gc.collect()
    gc.freeze()
    read = loop.run_in_executor(None, read_spec)
    gone = asyncio.ensure_future(kernel.end())
    both: set[asyncio.Future[Any]] = {read, gone}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    spec = read.result() if read.done() else None
    if spec is None:
        leave(kernel)
        return None
    begun(spec, records)
    if kernel.code is None and suits(kernel.spec, spec):
        if not placed(spec, records):
            client.stop_channels()
            leave(kernel, ENDED)
        return Run(spec, records, kernel, (client, info))
    kernel.kill()
    client.stop_channels()
    kernel.remove()
    started = try_to_start(spec, records)
    return None if started is None else Run(spec, records, started)


def leave(kernel: KernelProcess, code: int = NO_KERNEL) -> None:
    """End at once, with the kernel that waits: a thread may still read."""
    kernel.remove()
    end_all()
    remove_all()
    os._exit(code)


async def warm(waiting: JSON | None, records: Records) -> int:
    """Wait for a run, with a kernel of this kind or without one, then do it; return the exit code."""
    if waiting is None:
        run = wait_without(records)
    else:
        run = await wait_with(waiting, records)
    if run is None:
        return NO_KERNEL
    try:
        await runs(run, records)
    finally:
        run.kernel.remove()
    return 0
