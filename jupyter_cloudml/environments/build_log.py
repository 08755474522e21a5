"""All that a resolver and an installer say, in a file: what a page or terminal shows of it is the end."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import Cancelled, CloudMLError
from ..paths import private_dir
from .program import Tell

MAX_BYTES = 64 << 20


MAX_SHOWN = 1 << 20  # of its end


def place_of(home: Path, machine: str, name: str) -> Path:
    """Return where the log of the last build of an environment is."""
    return home / "environments" / "logs" / f"{machine}-{name}.log"


def read(path: Path) -> str:
    """Return a log, or the end of a long one; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - MAX_SHOWN))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


class LogFile:
    """Hears lines, writes them down and passes them on. The file of an earlier build is replaced by the first line; none, and it stays."""

    def __init__(self, path: Path, also: Tell) -> None:
        self.path, self._also = path, also
        self._file: IO[str] | None = None
        self._left = MAX_BYTES

    def __enter__(self) -> LogFile:
        return self

    def __call__(self, line: str) -> None:
        """Take a line."""
        self._also(line)
        if self._file is None:
            self._file = (private_dir(self.path.parent) / self.path.name).open("w")
        self._left -= len(line) + 1
        if self._left > 0:
            self._file.write(line + "\n")
            self._file.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        self._file.close()
        if isinstance(error, CloudMLError) and not isinstance(error, Cancelled):
            error.details["log"] = str(self.path)
            error.hint = f"{error.hint}; all that was said is in {self.path}".removeprefix("; ")
