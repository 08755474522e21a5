"""How much code goes to a machine without a question: no file over a limit, and not too much in all. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..errors import CloudMLError, UsageError
from .listing import Found

SIZE_LIMIT = 50 << 20  # bytes; larger files are asked about
MOST_BYTES, MOST_FILES = 1 << 30, 50_000
SETTING = "JUPYTER_CLOUDML_CODE_LIMIT"
GROWTH = 2  # what was accepted may become so many times as much before it is asked about again
NAMED = 5
SHARE = 0.8  # a folder that holds so much of the rest is told by the folders in it
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


class LargeFiles(CloudMLError):
    """Files over the limit that nobody has decided about; `details` has each path and size."""

    code = "large_files"
    status = 409


class LargeFolder(CloudMLError):
    """More bytes or files than go without a question; `details` has how many, and the largest folders."""

    code = "large_folder"
    status = 409


@dataclass(frozen=True)
class Amount:
    """Bytes and files."""

    bytes: int = MOST_BYTES
    files: int = MOST_FILES

    @classmethod
    def of(cls, found: Collection[Found]) -> Amount:
        """Count them."""
        return cls(sum(each.size for each in found), len(found))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Amount:
        """Read how many bytes go without a question, such as 500MB or 2GB. Raises UsageError."""
        text = environ.get(SETTING, "")
        if not text:
            return cls()
        size = re.fullmatch(r"(\d{1,12})(MB|GB|TB)", text.strip())
        if not size:
            raise UsageError(f"{SETTING}={text[:40]} is no size", hint="write it as 500MB or 2GB")
        return cls(int(size[1]) * UNITS[size[2]])

    def grown(self, accepted: Amount | None) -> Amount:
        """Return what goes without a question once so much was accepted."""
        if accepted is None:
            return self
        return Amount(
            max(self.bytes, accepted.bytes * GROWTH), max(self.files, accepted.files * GROWTH)
        )

    def holds(self, other: Amount) -> bool:
        """Whether that is no more."""
        return other.bytes <= self.bytes and other.files <= self.files


def check_files(
    found: Sequence[Found], limit: int, send: Collection[str], *, ask: bool
) -> list[Found]:
    """Return the files over the limit that nobody has decided about. Raises LargeFiles where these are asked about."""
    large = [each for each in found if each.size > limit and each.name not in send]
    if not large or not ask:
        return large
    shown = ", ".join(f"{each.name} ({_size(each.size)})" for each in large[:NAMED])
    more = f" and {len(large) - NAMED} more" if len(large) > NAMED else ""
    raise LargeFiles(
        f"over {_size(limit)}: {shown}{more}",
        hint="name each with --send or --leave, or have git ignore it",
        files=[each.to_dict() for each in large],
    )


def check_amount(found: Sequence[Found], most: Amount, send: Collection[str]) -> Amount:
    """Return how much it is, without the files that were decided about. Raises LargeFolder where it is more than goes without a question."""
    counted = [each for each in found if each.name not in send]
    amount = Amount.of(counted)
    if most.holds(amount):
        return amount
    folders = largest(counted)
    shown = ", ".join(f"{path} ({_told(inner)})" for path, inner in folders)
    raise LargeFolder(
        f"{_told(amount)} would be sent" + (f", most of it in {shown}" if shown else ""),
        hint="have git ignore what need not go (.gitignore), or say --yes",
        bytes=amount.bytes,
        files=amount.files,
        folders=[
            {"path": path, "bytes": inner.bytes, "files": inner.files} for path, inner in folders
        ],
    )


def largest(found: Collection[Found]) -> list[tuple[str, Amount]]:
    """Return the folders with the most bytes, or the most files where there are few bytes; inside the one that holds nearly everything."""
    rows = [(each.name.split("/"), each.size) for each in found]
    inside: list[str] = []
    while True:
        depth = len(inside)
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for parts, size in rows:
            if len(parts) > depth + 1:
                sizes[parts[depth]] += size
                counts[parts[depth]] += 1
        ranked = sizes if sizes.total() > MOST_BYTES else counts
        top = ranked.most_common(1)
        whole = sum(size for _, size in rows) if ranked is sizes else len(rows)
        if not top or top[0][1] < SHARE * whole:
            break
        inside.append(top[0][0])
        rows = [(parts, size) for parts, size in rows if parts[depth : depth + 1] == inside[-1:]]
    if not ranked and inside:
        return [("/".join(inside), Amount(sum(size for _, size in rows), len(rows)))]
    return [
        ("/".join([*inside, name]), Amount(sizes[name], counts[name]))
        for name, _ in ranked.most_common(NAMED)
    ]


def _told(amount: Amount) -> str:
    return f"{amount.files:,} files, {_size(amount.bytes)}"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GB" if count >= 1 << 30 else f"{count / 2**20:.0f} MB"
