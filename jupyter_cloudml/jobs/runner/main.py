"""One attempt of one run: reads what to run from standard input, runs it, and says all of it on standard output.

The kernel is started before nbclient is imported, which takes about as long as a kernel takes to start.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from .copy import remove_all
from .keeping import runs
from .kernel import PR_SET_CHILD_SUBREAPER, end_all, prctl
from .records import Records
from .run import Run
from .spec import read_spec
from .starting import begun, try_to_start
from .warm import warm

WARM = "CLOUDML_WARM_KERNEL"  # its kernelspec may have something private, so it is no argument
ENDED, NO_SPEC = 0, 2  # exit codes: all was said; nothing was run


def cold(records: Records) -> int:
    """Run what comes."""
    spec = read_spec()
    if spec is None:
        return NO_SPEC
    begun(spec, records)
    kernel = try_to_start(spec, records)
    if kernel is None:
        return ENDED
    from . import execution  # noqa: F401 - while the kernel starts

    run = Run(spec, records, kernel)
    try:
        asyncio.run(runs(run, records))
    finally:
        run.kernel.remove()
    return ENDED


def main(argv: list[str]) -> int:
    """Run one notebook. `--warm`: have the kernel ready first that the environment names; `null`: all but a kernel."""
    os.umask(0o022)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    records = Records(os.dup(1))
    os.dup2(2, 1)  # what prints by mistake is no record
    # Where Jupyter Server is installed too, nbformat's validator would build a parser of IRIs, which no notebook has: a second.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        if argv[:1] == ["--warm"]:
            return asyncio.run(warm(json.loads(os.environ.pop(WARM, "null")), records))
        return cold(records)
    finally:
        records.later = None
        records.flush()
        end_all()
        remove_all()
