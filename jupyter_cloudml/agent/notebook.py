"""What a notebook imports: ``from jupyter_cloudml import dataset``. Standard library alone, for it runs in any kernel, where nothing of ours is installed.

The kernel has no key. It asks the agent of its machine (asks.py), and the user's Jupyter server syncs.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import select
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, TextIO

from .sockets import ASKED_AT

JSON = dict[str, Any]
PATIENCE_S = 3.0  # for a server to take the question up, where the folder is there already
BACK_S = 30.0  # for an agent that is being replaced
LIMIT = 60_000  # bytes of a question
MARK = "JUPYTER_CLOUDML_PROCESS"  # as in process.py
# Where the agent is, of a Python that no agent has started; the installed package knows it.
agent_here: Callable[[], str] | None = None


class DatasetError(Exception):
    """A dataset could not be had. ``code`` is stable; ``folder`` is where the rest of it is, if anything came."""

    def __init__(self, message: str, code: str, hint: str = "", folder: str | None = None) -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.code, self.hint, self.folder = code, hint, folder


def dataset(
    source: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    size_only: bool = False,
    endpoint_url: str | None = None,
    profile: str | None = None,
    region: str | None = None,
    timeout: float | None = None,
    quiet: bool = False,
) -> Path:
    """Return the folder on this machine that holds what is below ``s3://bucket/prefix`` now; the path of the file where that is one object.

    Only what has changed is fetched, and what is gone there is deleted, if a sync had brought it and nobody has written to it. ``folder`` is relative to
    the home folder; by default it is ``data/[service/]bucket/prefix``. The user's Jupyter server does it, with the credentials there. Where none is
    connected, a folder that an earlier call has filled is returned with a warning; else one is waited for, at most ``timeout`` seconds.

    Raises DatasetError, ValueError for what cannot be meant, KeyboardInterrupt; an interrupt calls the transfer off.
    """
    what: JSON = {
        "method": "dataset",
        "source": str(source),
        "folder": None if folder is None else os.fspath(folder),
        "include": [include] if isinstance(include, str) else [str(each) for each in include],
        "exclude": [exclude] if isinstance(exclude, str) else [str(each) for each in exclude],
        "size_only": bool(size_only),
        "endpoint_url": endpoint_url,
        "profile": profile,
        "region": region,
    }
    if not what["source"].startswith("s3://"):
        raise ValueError(f"{source!r} is not an address of S3: write s3://BUCKET/PREFIX")
    record = _Record(what)
    # In a cell standard error is red; of a script standard output is its result.
    out = sys.stdout if "ipykernel" in sys.modules else sys.stderr
    line = _Line(None if quiet else out)
    try:
        done = _ask(what, record, line, timeout)
    finally:
        line.end()
    if done is None:
        line.warn(
            f"{source} was not compared with S3, for no Jupyter server is connected to this machine: this is what was there at {record.when}"
        )
        return record.path
    failed = done.get("failed") or []
    if failed:
        names = "; ".join(f"{each['name']} ({each['why']})" for each in failed[:5])
        count = max(len(failed), int(done.get("failed_count") or 0))
        raise DatasetError(
            f"{count} files of {source} did not come: {names}",
            "files_failed",
            "exclude= leaves files out",
            str(done["folder"]),
        )
    path = Path(done["folder"], done.get("name") or "")
    record.write(path)
    _note(done)
    return path


def _note(done: JSON) -> None:
    """Let whoever runs this notebook as a job know which data it had."""
    file = os.environ.get("CLOUDML_RUN_DATA")
    if not file:
        return
    names = ("source", "folder", "state", "total_files", "total_bytes")
    line = json.dumps({name: done.get(name) for name in names})
    try:
        with open(file, "a", encoding="utf-8") as noted:
            noted.write(f"{line}\n")
    except OSError:
        return  # the run goes on without that note


def _ask(what: JSON, record: _Record, line: _Line, timeout: float | None) -> JSON | None:
    """Return what the server says in the end; None where there is none and the folder is there."""
    began = time.monotonic()
    conversation = _Conversation(what)
    try:
        while True:
            said = conversation.hear(0.5)
            if said is not None and "done" in said:
                line.done(said["done"])
                return dict(said["done"])
            if said is not None and "error" in said:
                error = said["error"]
                raise DatasetError(
                    str(error.get("message")), str(error.get("code")), str(error.get("hint") or "")
                )
            if said is not None and "progress" in said:
                began = time.monotonic()
                line.show(f"{what['source']}: {said['progress']}")
            waited = time.monotonic() - began
            if conversation.waits and waited > PATIENCE_S and record.is_there:
                return None
            if conversation.waits and timeout is not None and waited > timeout:
                raise DatasetError(
                    f"no Jupyter server has taken up the request for {what['source']} within {timeout:.0f} s",
                    "no_server",
                    "open JupyterLab with this machine, then run the cell again",
                )
            if conversation.waits and waited > 1:
                line.show(
                    f"{what['source']}: waiting for your Jupyter server, which has the keys ({waited:.0f} s)"
                )
    finally:
        conversation.close()


class _Conversation:
    """A question to the agent, asked again where another agent takes over."""

    def __init__(self, what: JSON) -> None:
        words = {**what, "id": secrets.token_hex(16), "process": os.environ.get(MARK, "")}
        self._line = json.dumps(words).encode() + b"\n"
        if len(self._line) > LIMIT:
            raise ValueError("include and exclude are too long")
        self.waits = True
        self._rest = b""
        self._sock: socket.socket | None = None
        self._lost = time.monotonic()
        self._connect()

    def _connect(self) -> None:
        path, patience = os.environ.get(ASKED_AT), BACK_S
        if not path and agent_here is not None:
            path, patience = agent_here(), 0.0
        if not path:
            raise DatasetError(
                "this Python was not started by jupyter-cloudml",
                "no_agent",
                "use dataset() in a notebook whose kernel runs on a machine, or `jupyter cloudml data sync`",
            )
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            sock.sendall(b"q" + self._line)
        except OSError as exc:
            sock.close()
            if time.monotonic() - self._lost >= patience:
                raise DatasetError(
                    f"the agent of this machine does not answer ({exc.strerror})",
                    "no_agent",
                    "have JupyterLab connected to this machine, then run this again",
                ) from exc
            return
        self._sock, self._rest, self.waits = sock, b"", True

    def hear(self, timeout: float) -> JSON | None:
        """Return what comes within some time."""
        if b"\n" not in self._rest:
            self._read(timeout)
        line, end, rest = self._rest.partition(b"\n")
        if not end:
            return None
        self._rest = rest
        said = json.loads(line)
        self.waits = bool(said.get("waiting"))
        return dict(said)

    def _read(self, timeout: float) -> None:
        if self._sock is None:
            time.sleep(min(timeout, 0.2))
            self._connect()
            return
        poll = select.poll()  # select() cannot take descriptors over 1024
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return
        try:
            data = self._sock.recv(1 << 16)
        except OSError:
            data = b""
        self._rest += data
        if not data:
            self._sock.close()
            self._sock, self._lost, self.waits = None, time.monotonic(), True

    def close(self) -> None:
        """Take the question back."""
        if self._sock is not None:
            self._sock.close()


class _Record:
    """What an earlier call with the same words has returned."""

    def __init__(self, what: JSON) -> None:
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]
        place = Path(os.path.expanduser("~"), ".cache", "jupyter-cloudml", "asked")
        self._file = place / f"{digest}.json"
        self.path, self.when = Path(), ""
        try:
            said = json.loads(self._file.read_text())
            self.path, self.when = Path(said["path"]), str(said["when"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    @property
    def is_there(self) -> bool:
        """Whether that can be returned again."""
        return bool(self.when) and self.path.exists()

    def write(self, path: Path) -> None:
        """Remember a folder; where that cannot be written, the next call has to ask."""
        when = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        scratch = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            scratch.write_text(json.dumps({"path": str(path), "when": when}))
            scratch.replace(self._file)
        except OSError:
            return


class _Line:
    """One line of output, written over and over."""

    def __init__(self, out: TextIO | None) -> None:
        self._out, self._width, self._at = out, 0, 0.0

    def show(self, text: str) -> None:
        """Show it instead of what is there; at most twice a second."""
        if self._out is not None and time.monotonic() - self._at >= 0.5:
            self._at = time.monotonic()
            self._write(text)

    def _write(self, text: str) -> None:
        if self._out is not None:
            self._out.write("\r" + text.ljust(self._width))
            self._out.flush()
            self._width = len(text)

    def done(self, done: JSON) -> None:
        """Say what came, where that took long or was anything."""
        came, same = int(done.get("files") or 0), int(done.get("same") or 0)
        came += int(done.get("cached") or 0)
        if came or self._width:
            self._write(
                f"{done.get('source')}: {came} files came, {same} were there, in {float(done.get('seconds') or 0):.1f} s"
            )

    def warn(self, text: str) -> None:
        """Say what the reader has to know, also where the rest is quiet."""
        sys.stderr.write(text + "\n")

    def end(self) -> None:
        """Go to the next line."""
        if self._out is not None and self._width:
            self._out.write("\n")
            self._out.flush()
