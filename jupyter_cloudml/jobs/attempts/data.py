"""Answers `dataset(…)` in the notebooks of runs where no Jupyter server does: by the process of the scheduler, with the credentials that it has."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...clock import SystemClock
from ...errors import CloudMLError
from ...machines.operations import Operations
from ...machines.service import Machines

if TYPE_CHECKING:
    from ...datasets.answering import Answering

log = logging.getLogger(__name__)


class DataOfRuns:
    """Use it in a scheduler of a process that has no Jupyter server: `attend` each machine that a run is on. Thread-safe.

    A Jupyter server that is connected as well answers its own kernels; of a run, the process that follows it comes first.
    """

    def __init__(self, home: Path, machines: Machines, allowed: Sequence[str]) -> None:
        """`allowed`: as in datasets.requests.check_allowed."""
        self._home, self._machines, self._allowed = home, machines, allowed
        self._operations = Operations()
        self._answering: Answering | None = None
        self._lock = threading.Lock()

    def attend(self, machine: str) -> None:
        """Have the questions of a machine answered from now on; said again, it costs nothing."""
        try:
            with self._lock:
                if self._answering is None:
                    self._answering = self._made()
            self._answering.attend(machine)
        except (
            CloudMLError
        ) as exc:  # it is stopped, or was taken out: its runs are seen to elsewhere
            log.info("the notebooks of %s are not heard: %s", machine, exc)
        except Exception:  # an edge: whatever is wrong with the data, the run itself is followed
            log.exception("the notebooks of %s are not heard", machine)

    def close(self) -> None:
        """Answer no more. What is not answered waits for whoever comes next."""
        if self._answering is not None:
            self._answering.close()
        self._operations.close()

    def _made(self) -> Answering:
        """Import it at its first use: what lists buckets is not needed by who only looks at jobs."""
        service = import_module("jupyter_cloudml.datasets.service")
        answering = import_module("jupyter_cloudml.datasets.answering")
        datasets = service.Datasets(self._home, self._machines)
        made: Answering = answering.Answering(
            self._machines, datasets, self._operations, SystemClock(), tuple(self._allowed)
        )
        return made
