"""The verbs of the command line as Python: `from jupyter_cloudml import Client`.

    with Client() as client:
        client.machines.add("box-2", "ada@box-2")
        print(client.run(["nvidia-smi"], on="box-2").stdout.decode())

Works on the same installation as the server and the command line, with or without them running. Everything raises CloudMLError.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, cast

from jupyter_cloudml.client.kernels import GRACE_S, KernelRow, KernelVerbs
from jupyter_cloudml.client.machines import MachineVerbs, parse_address
from jupyter_cloudml.client.reach import Unreached
from jupyter_cloudml.client.stopping import Stopped, stop_all
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import AgentError, UsageError
from jupyter_cloudml.link.completed import Completed
from jupyter_cloudml.link.process import Ended, Output, RemoteProcess
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import Store
from jupyter_cloudml_kernels import specs

if TYPE_CHECKING:
    from jupyter_cloudml.client.jobs import JobVerbs
    from jupyter_cloudml.datasets.service import Datasets
    from jupyter_cloudml.environments.service import Environments
    from jupyter_cloudml.workspaces.service import Workspaces

__all__ = ["Client", "KernelRow", "Stopped", "Unreached", "parse_address"]


class Client:
    """The user's machines and what runs on them. Thread-safe; close it at the end, or use it in a `with`."""

    def __init__(self) -> None:
        config = Config.from_environ()
        self._store = Store.open(config)
        self.core = Machines(self._store, config.home, kernelspecs=specs, keep=False)
        self.machines = MachineVerbs(self.core)
        self.kernels = KernelVerbs(self.core)
        self._home = config.home

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @cached_property
    def code(self) -> Workspaces:
        """The folders of code on machines. Imported at its first use: it needs a POSIX system here."""
        return cast(
            "Workspaces",
            import_module("jupyter_cloudml.workspaces.service").Workspaces(self._home, self.core),
        )

    @cached_property
    def data(self) -> Datasets:
        """The S3 prefixes in folders of machines."""
        return cast(
            "Datasets",
            import_module("jupyter_cloudml.datasets.service").Datasets(self._home, self.core),
        )

    @cached_property
    def jobs(self) -> JobVerbs:
        """The jobs and their runs. Imported at its first use."""
        return cast(
            "JobVerbs",
            import_module("jupyter_cloudml.client.jobs").JobVerbs(
                self._store, self._home, self.core, lambda *where: self.code.sync(*where)
            ),
        )

    @cached_property
    def environments(self) -> Environments:
        """The environments on machines. Imported at its first use."""
        return cast(
            "Environments",
            import_module("jupyter_cloudml.environments.service").Environments(
                self._home, self.core
            ),
        )

    def close(self) -> None:
        """Let go of the machines; what runs there goes on."""
        self.core.close()
        self._store.close()

    # -- commands ---------------------------------------------------------------------------------

    def start(
        self,
        argv: Sequence[str],
        *,
        on: str,
        env: Mapping[str, str] = {},
        cwd: str | None = None,
        stdin: bool = False,
    ) -> RemoteProcess:
        """Start a command on a machine and return it, to be read as it goes. `cwd` is relative to the home folder there, which is meant by None."""
        if not argv or not argv[0]:
            raise UsageError("there is no command", hint="see: jupyter cloudml run --help")
        link = self.core.link(on)
        return RemoteProcess.start(
            link, argv, env=env, cwd=cwd, stdin=stdin, labels={"purpose": "run"}
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        on: str,
        input: bytes = b"",
        env: Mapping[str, str] = {},
        cwd: str | None = None,
        timeout: float | None = None,
    ) -> Completed:
        """Run a command on a machine to its end; its output comes complete, also through cuts of the network.

        `code` of the answer is the exit code, or 128 + n for signal n. Raises AgentError (`timeout`) after `timeout` seconds: the
        command is ended then.
        """
        process = self.start(argv, on=on, env=env, cwd=cwd, stdin=bool(input))
        if input:
            threading.Thread(target=_feed, args=(process, input), daemon=True).start()
        deadline = None if timeout is None else time.monotonic() + timeout
        out: dict[bool, list[bytes]] = {False: [], True: []}
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            said = process.read(left)
            if isinstance(said, Output):
                out[said.stderr].append(said.data)
            elif isinstance(said, Ended):
                process.forget()
                return Completed(said.status, b"".join(out[False]), b"".join(out[True]), said.exit)
            elif said is None and deadline is not None and time.monotonic() >= deadline:
                process.stop(0)
                raise AgentError(
                    f"{argv[0]} on {on} did not end within {timeout:g} s and was stopped",
                    code="timeout",
                    hint="give it more time",
                )

    def stop_all(self, *, wait_s: float = 20.0, grace_s: float = GRACE_S) -> list[Stopped]:
        """End every process on every machine that should run: asked first, after `grace_s` seconds by force."""
        return stop_all(self.core, wait_s, grace_s)


def _feed(process: RemoteProcess, data: bytes) -> None:
    for at in range(0, len(data), 1 << 20):
        while not process.write(data[at : at + (1 << 20)], 60.0):
            if process.link.state.phase == "closed":
                return
    process.close_stdin()
