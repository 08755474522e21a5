"""Where files lie, and the only ways to make private ones and to join names that came from elsewhere."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir

from .errors import CloudMLError, NoFolder, NoSpace, UsageError

# sun_path holds 108 bytes with its NUL on Linux, 104 on macOS; sockets in the folder get 20 for their own names.
_SOCKET_DIR_LIMIT = (104 if sys.platform == "darwin" else 108) - 1 - 20


def home() -> Path:
    """Return the project's own folder (`JUPYTER_CLOUDML_HOME`, else `<jupyter data dir>/cloudml`), made 0700."""
    given = os.environ.get("JUPYTER_CLOUDML_HOME")
    return private_dir(Path(given).expanduser() if given else Path(jupyter_data_dir(), "cloudml"))


def private_dir(path: Path) -> Path:
    """Make `path` a folder of this user alone (0700) and return it absolute.

    Raises NoFolder: `not_private` when it is a link or belongs to somebody else (under a shared temporary folder that is
    an attack, not an accident), `folder_unusable` when the system does not let it be made.
    """
    path = Path(os.path.abspath(path))
    try:
        return _made_private(path)
    except OSError as exc:
        raise unusable(path, exc) from exc


def _made_private(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass  # what it is, is looked at next
    info = path.stat() if path.parent.stat().st_mode & stat.S_ISVTX == 0 else path.lstat()
    if not stat.S_ISDIR(info.st_mode) or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
        raise NoFolder(
            f"{path} is not a folder of this user",
            code="not_private",
            hint="remove it, or set JUPYTER_CLOUDML_HOME to a folder of your own",
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        path.chmod(0o700)
    return path


ELSEWHERE = "see that it may be read and written, or set JUPYTER_CLOUDML_HOME to another folder"


def unusable(folder: Path, exc: OSError, hint: str = ELSEWHERE) -> CloudMLError:
    """Return why a folder cannot be used, with the remedy: NoSpace for a full disk or quota, else NoFolder with `hint`."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"no space left in {folder}", hint="free some space", path=str(folder))
    return NoFolder(f"the folder {folder} cannot be used: {exc.strerror or exc}", hint=hint)


def socket_dir(name: str) -> Path:
    """Return the 0700 folder for the sockets of `name`, with 20 bytes to spare for each socket's own name.

    It lies under `home()`; where that path is too long for AF_UNIX, under the temporary folder, the same on each call.
    """
    root = home()
    path = safe_join(root / "run", name)
    if len(os.fsencode(path)) <= _SOCKET_DIR_LIMIT:
        private_dir(root / "run")
        return private_dir(path)
    base = spare_home()
    path = safe_join(base, name)
    if len(os.fsencode(path)) > _SOCKET_DIR_LIMIT:
        path = base / hashlib.sha256(name.encode()).hexdigest()[:24]
    if len(os.fsencode(path)) > _SOCKET_DIR_LIMIT:
        raise NoFolder(
            f"{path} is too long for a socket ({_SOCKET_DIR_LIMIT} bytes)",
            code="path_too_long",
            hint="set TMPDIR to a shorter path",
        )
    return private_dir(path)


def spare_home() -> Path:
    """Return a 0700 folder with a short, plain path that stands in for `home()` where that path will not do."""
    owner = os.getuid() if hasattr(os, "getuid") else 0
    digest = hashlib.sha256(os.fsencode(home())).hexdigest()[:12]
    return private_dir(Path(tempfile.gettempdir(), f"cloudml-{owner}-{digest}"))


def safe_join(root: Path, *parts: str) -> Path:
    """Join names that came from elsewhere under `root`; a part may hold several names with `/` between.

    Raises UsageError (`bad_path`) for `..`, absolute parts, empty names, NUL and for links that lead out of `root`.
    """
    path = root
    for part in parts:
        for name in part.split("/"):
            if (
                name in ("", ".", "..")
                or "\0" in name
                or (os.name == "nt" and set(name) & set('\\:<>"|?*'))
            ):
                raise UsageError(
                    f"path {part[:80]!r} does not stay in its folder",
                    code="bad_path",
                    hint="give a plain relative path",
                )
            path = path / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"{str(path)[-80:]!r} leads out of {root}",
            code="bad_path",
            hint="replace the link by what it points to",
        )
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` with mode 0600: whole or not at all, also after a crash."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
