"""The control group of a host: freeze it whole, limit its memory. Version 1, version 2 and both at once."""

from __future__ import annotations

from pathlib import Path

from .commands import wait_until

ROOT = Path("/sys/fs/cgroup")


class ControlGroup:
    """The groups of one name in every hierarchy that is needed."""

    def __init__(self, name: str) -> None:
        first_version = (ROOT / "memory").is_dir()
        self._freezer = (ROOT / "freezer" if first_version else ROOT) / name
        self._memory = (ROOT / "memory" if first_version else ROOT) / name
        self._first_version = first_version

    @property
    def folders(self) -> list[Path]:
        return sorted({self._freezer, self._memory})

    def make(self) -> None:
        if (
            not self._first_version
            and "memory" not in (ROOT / "cgroup.subtree_control").read_text().split()
        ):
            (ROOT / "cgroup.subtree_control").write_text("+memory")
        for folder in self.folders:
            folder.mkdir(exist_ok=True)

    def freeze(self, frozen: bool) -> None:
        """Stop every process of the host where it stands, or let them go on; returns when that is so."""
        if self._first_version:
            state, wanted = self._freezer / "freezer.state", "FROZEN" if frozen else "THAWED"
            state.write_text(wanted)
        else:
            (self._freezer / "cgroup.freeze").write_text("1" if frozen else "0")
            state, wanted = self._freezer / "cgroup.events", f"frozen {int(frozen)}"
        wait_until(lambda: wanted in state.read_text(), f"{state} to be {wanted}")

    def limit_memory(self, limit: int | None) -> None:
        """Let the host use `limit` bytes; the kernel ends a process that wants more. None: as much as there is."""
        if self._first_version:
            (self._memory / "memory.limit_in_bytes").write_text(str(-1 if limit is None else limit))
        else:
            (self._memory / "memory.max").write_text("max" if limit is None else str(limit))
            (self._memory / "memory.swap.max").write_text("0")

    def used_memory(self) -> int:
        """Return the bytes that the host holds now, its page cache included."""
        name = "memory.usage_in_bytes" if self._first_version else "memory.current"
        return int((self._memory / name).read_text())

    def remove(self) -> None:
        """Remove the groups; their processes must have been ended, and are waited for."""
        for folder in self.folders:
            if folder.exists():
                remove_group(folder)


def remove_group(folder: Path) -> None:
    """Remove one group as soon as its last process has ended."""
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), f"{folder} to be empty")
    folder.rmdir()
