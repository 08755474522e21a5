"""`jupyter cloudml job …`"""

from __future__ import annotations

import click

from jupyter_cloudml.cli.job_defining import backfill, create, hook, pause, resume
from jupyter_cloudml.cli.job_files import apply, diff, export, schema
from jupyter_cloudml.cli.job_importing import import_
from jupyter_cloudml.cli.job_keeping import delete, prune
from jupyter_cloudml.cli.job_looking import list_, runs, show
from jupyter_cloudml.cli.job_pools import pool
from jupyter_cloudml.cli.job_running import cancel, keep, logs, open_, release, retry, run


@click.group()
def job() -> None:
    """Run notebooks as jobs, now and by schedule, and look at their runs."""


_VERBS = (
    *(run, create, list_, runs, show, logs, cancel, retry, open_, keep, release),
    *(pause, resume, backfill, hook, apply, diff, export, schema, delete, prune, import_, pool),
)
for _verb in _VERBS:
    job.add_command(_verb)
