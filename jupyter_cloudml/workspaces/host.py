"""What runs ON a machine to keep a folder of code there: standard library only, Python >= 3.9, and no git.

It is sent as text, so it imports nothing of this project. Standard input brings one line of JSON, the arguments, then the contents of files as one
zlib stream, one after another. Standard output is one line of JSON, the answer, then for `get` contents in the same form.

  apply    bring the folder from one tree to another: what was changed on the machine since is left alone and named
  changes  name what differs from the tree that was applied last
  get      send files

A blob is named as git names it (SHA-1 of its size and bytes). What is written is written beside its place and renamed: no file is ever half there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from typing import IO, Any

JSON = dict[str, Any]
# What is known of a file: mode ("100644", "100755", "120000"), blob, size, mtime in ns, inode.
Entry = list[Any]
PIECE = 1 << 18
RACY_NS = 20_000_000  # a file as young as its entry is read again: its clock may not have moved on
PATIENCE_S = 2.0  # with a program that has the lock
LISTED = 100_000  # changes that are told
SCRATCH = ".cloudml-new"  # in the folder itself, so that renames stay on one disk
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Failed(Exception):
    """It cannot go on; `code` and the text are for the other end."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


# -- files, never through a link ---------------------------------------------------------------------


class Tree:
    """A folder whose files are reached from its descriptor, part by part: no link leads out of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def above(self, path: str, make: bool = False) -> int | None:
        """A descriptor of the folder that a file is in; None where there is none. Raises NotADirectoryError for a link or file on the way."""
        fd = os.dup(self.fd)
        for part in path.split("/")[:-1]:
            try:
                if make:
                    try:
                        os.mkdir(part, dir_fd=fd)
                    except FileExistsError:
                        pass
                inner = os.open(part, FOLDER, dir_fd=fd)
            except FileNotFoundError:
                os.close(fd)
                return None
            except OSError as exc:
                os.close(fd)
                if exc.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise NotADirectoryError(errno.ENOTDIR, "not a folder", path) from exc
                raise
            os.close(fd)
            fd = inner
        return fd

    def look(self, path: str) -> os.stat_result | None:
        """The status of a file itself; None where nothing is."""
        try:
            fd = self.above(path)
        except NotADirectoryError:
            return None
        if fd is None:
            return None
        try:
            return os.stat(path.rpartition("/")[2], dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        finally:
            os.close(fd)

    def read(self, path: str) -> tuple[str, bytes] | None:
        """Mode and content of a file or link; None where neither is."""
        try:
            fd = self.above(path)
        except NotADirectoryError:
            return None
        if fd is None:
            return None
        name = path.rpartition("/")[2]
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                return "120000", os.fsencode(os.readlink(name, dir_fd=fd))
            if not stat.S_ISREG(status.st_mode):
                return None
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(name, flags, dir_fd=fd), "rb") as file:
                return mode_of(status), file.read()
        except FileNotFoundError:
            return None
        finally:
            os.close(fd)

    def place(self, scratch: str, path: str) -> None:
        """Rename a file from the scratch folder to its place."""
        fd = self.above(path, make=True)
        assert fd is not None  # noqa: S101 - made just now
        try:
            os.replace(
                f"{SCRATCH}/{scratch}", path.rpartition("/")[2], src_dir_fd=self.fd, dst_dir_fd=fd
            )
        finally:
            os.close(fd)

    def delete(self, path: str) -> None:
        """Delete a file, and the folders that it leaves empty."""
        parts = path.split("/")
        for depth in range(len(parts), 0, -1):
            part = "/".join(parts[:depth])
            fd = self.above(part)
            if fd is None:
                continue
            try:
                if depth == len(parts):
                    os.unlink(parts[depth - 1], dir_fd=fd)
                else:
                    os.rmdir(parts[depth - 1], dir_fd=fd)
            except FileNotFoundError:
                pass
            except OSError as exc:
                if exc.errno in (errno.ENOTEMPTY, errno.EEXIST):
                    return
                raise
            finally:
                os.close(fd)

    def walk(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every file and link below, but those of a repository."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with os.scandir(os.path.join(self.path, folder)) as found:
                for each in found:
                    path = folder + each.name
                    if each.name == ".git" or path == SCRATCH:
                        continue
                    if each.is_dir(follow_symlinks=False):
                        waiting.append(path + "/")
                    elif each.is_symlink() or each.is_file(follow_symlinks=False):
                        yield path, each.stat(follow_symlinks=False)


def mode_of(status: os.stat_result) -> str:
    """The mode as git keeps it."""
    if stat.S_ISLNK(status.st_mode):
        return "120000"
    return "100755" if status.st_mode & 0o100 else "100644"


def stamp(status: os.stat_result) -> list[int]:
    """What tells that a file was written since."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def blob_of(data: bytes) -> str:
    """The name of a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def good_path(path: Any) -> bool:
    """Whether a path stays in its folder and out of a repository's own files."""
    if not isinstance(path, str) or not path or "\0" in path:
        return False
    return all(
        part not in ("", ".", "..", SCRATCH) and part.lower() != ".git" for part in path.split("/")
    )


# -- what was applied last ---------------------------------------------------------------------------


class State:
    """What the machine knows of one workspace; under its lock until the program ends."""

    def __init__(self, workspace: str, folder: str) -> None:
        if not workspace.isalnum():
            raise Failed("bad_name", f"{workspace!r} is no workspace")
        home = os.path.expanduser("~")
        self.place = os.path.join(home, ".cache", "jupyter-cloudml", "code", workspace)
        mask = os.umask(0o077)
        os.makedirs(self.place, exist_ok=True)
        os.umask(mask)
        self.lock = open(os.path.join(self.place, "lock"), "a+")  # noqa: SIM115 - until the end
        hold(self.lock)
        self.folder = os.path.join(home, os.path.expanduser(folder))
        self.tree: str | None = None
        self.files: dict[str, Entry] = {}
        self.at_ns = 0
        try:
            with open(os.path.join(self.place, "state.json")) as file:
                kept = json.load(file)
        except (FileNotFoundError, ValueError):
            return
        if kept["folder"] == self.folder and os.path.isdir(self.folder):
            self.tree, self.files, self.at_ns = kept["tree"], kept["files"], kept["at_ns"]

    def open(self) -> Tree:
        """The folder, made where it is missing; what an earlier program left unfinished is taken away."""
        os.makedirs(self.folder, exist_ok=True)
        tree = Tree(self.folder)
        shutil.rmtree(os.path.join(self.folder, SCRATCH), ignore_errors=True)
        return tree

    def keep(self) -> None:
        """Write it down."""
        path = os.path.join(self.place, "state.json")
        with open(path + ".new", "w") as file:
            kept = {
                "folder": self.folder,
                "tree": self.tree,
                "files": self.files,
                "at_ns": self.at_ns,
            }
            json.dump(kept, file)
        os.replace(path + ".new", path)

    def is_same(self, tree: Tree, path: str, mode: str, blob: str) -> bool:
        """Whether a file has this content."""
        status = tree.look(path)
        if status is None:
            return False
        entry = self.files.get(path)
        if entry and entry[2:] == stamp(status) and status.st_mtime_ns + RACY_NS < self.at_ns:
            return [mode, blob] == [mode_of(status), entry[1]]
        found = tree.read(path)
        return found is not None and (found[0], blob_of(found[1])) == (mode, blob)

    def note(self, tree: Tree, path: str, mode: str, blob: str) -> None:
        """Remember a file as it is now."""
        status = tree.look(path)
        if status is not None:
            self.files[path] = [mode, blob, *stamp(status)]


def hold(lock: IO[str]) -> None:
    """Take the lock.

    A workspace has one client, which calls one program at a time: one that still has the lock after a while waits for a client that was killed,
    and is ended. It had written nothing yet; else it would have come to its end.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not taken(lock):
        if time.monotonic() > deadline:
            lock.seek(0)
            pid = lock.read()
            if pid.isdigit() and not taken(lock):
                os.kill(int(pid), signal.SIGKILL)
            fcntl.flock(lock, fcntl.LOCK_EX)
            break
        time.sleep(0.02)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()


def taken(lock: IO[str]) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# -- verbs -------------------------------------------------------------------------------------------


def apply(args: JSON, source: IO[bytes]) -> JSON:
    """Bring the folder from `base` to `tree`: `put` [[path, mode, blob, size, base mode, base blob]], `drop` [[path, mode, blob]].

    A file that is neither as it was in the base nor as it is to be was changed here: it stays, and is among the `conflicts`.
    """
    state = State(args["workspace"], args["folder"])
    if state.tree != args["base"]:
        return {"base": state.tree, "exists": os.path.isdir(state.folder)}
    for path, *_ in [*args["put"], *args["drop"]]:
        if not good_path(path):
            raise Failed("bad_path", f"{path!r:.200} may not be written")
    tree = state.open()
    os.mkdir(SCRATCH, 0o700, dir_fd=tree.fd)
    try:
        received(tree, args["put"], source)
        conflicts = [
            path for path, mode, blob in args["drop"] if not dropped(state, tree, path, mode, blob)
        ]
        conflicts += [
            put[0] for n, put in enumerate(args["put"]) if not placed(state, tree, str(n), put)
        ]
    finally:
        shutil.rmtree(os.path.join(tree.path, SCRATCH), ignore_errors=True)
    state.tree, state.at_ns = args["tree"], now_ns(state)
    state.keep()
    return {"conflicts": conflicts, "folder": state.folder}


def now_ns(state: State) -> int:
    """The time as the disk tells it."""
    path = os.path.join(state.place, "clock")
    with open(path, "w") as file:
        file.write("x")
    return os.stat(path).st_mtime_ns


def received(tree: Tree, put: list[list[Any]], source: IO[bytes]) -> None:
    """Write what comes into the scratch folder, each file checked."""
    unpack, rest = zlib.decompressobj(), b""
    for number, (path, mode, blob, size, *_) in enumerate(put):
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        target = os.path.join(tree.path, SCRATCH, str(number))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        left, link = size, b""
        with open(os.open(target, flags, 0o777 if mode == "100755" else 0o666), "wb") as file:
            while left:
                if not rest:
                    data = source.read1(PIECE)  # type: ignore[attr-defined]
                    if not data:
                        raise Failed("cut_off", "the other end stopped sending")
                    rest = unpack.decompress(data)
                    continue
                piece, rest = rest[:left], rest[left:]
                left -= len(piece)
                digest.update(piece)
                if mode == "120000":
                    link += piece
                else:
                    file.write(piece)
        if digest.hexdigest() != blob:
            raise Failed("damaged", f"{path!r:.200} did not come as it was sent")
        if mode == "120000":
            os.unlink(target)
            os.symlink(os.fsdecode(link), target)


def dropped(state: State, tree: Tree, path: str, mode: str, blob: str) -> bool:
    """Delete a file that is as it was; True also where it is gone already."""
    if tree.look(path) is not None:
        if not state.is_same(tree, path, mode, blob):
            return False
        tree.delete(path)
    state.files.pop(path, None)
    return True


def placed(state: State, tree: Tree, scratch: str, put: list[Any]) -> bool:
    """Put a file in its place where that is as it was."""
    path, mode, blob, _, base_mode, base_blob = put
    there = tree.look(path)
    if there is not None and state.is_same(tree, path, mode, blob):
        state.note(tree, path, mode, blob)
        return True
    untouched = (
        there is None if base_blob is None else state.is_same(tree, path, base_mode, base_blob)
    )
    if not untouched or (there is not None and stat.S_ISDIR(there.st_mode)):
        return False
    try:
        tree.place(scratch, path)
    except (NotADirectoryError, IsADirectoryError):
        return False  # a file or link where a folder has to be
    state.note(tree, path, mode, blob)
    return True


def changes(args: JSON) -> JSON:
    """Name the files that are not as they were applied: `changed` (new ones too) and `gone`."""
    state = State(args["workspace"], args["folder"])
    if state.tree is None:
        return {"tree": None, "changed": [], "gone": [], "more": False}
    tree = state.open()
    changed, seen = [], set()
    for path, status in tree.walk():
        seen.add(path)
        entry = state.files.get(path)
        if not good_path(path) or (entry and state.is_same(tree, path, entry[0], entry[1])):
            continue
        changed.append([path, mode_of(status), status.st_size])
        if len(changed) > LISTED:
            break
    gone = [] if len(changed) > LISTED else sorted(set(state.files) - seen)
    return {
        "tree": state.tree,
        "changed": sorted(changed)[:LISTED],
        "gone": gone,
        "more": len(changed) > LISTED,
    }


def get(args: JSON, target: IO[bytes]) -> JSON:
    """Send files: the answer has [path, mode, blob, size] of those that are there, their contents follow."""
    state = State(args["workspace"], args["folder"])
    tree = state.open()
    found = []
    for path in args["paths"]:
        read = tree.read(path) if good_path(path) else None
        if read is not None:
            found.append((path, *read))
    answer = {"files": [[path, mode, blob_of(data), len(data)] for path, mode, data in found]}
    target.write(json.dumps(answer).encode() + b"\n")
    pack = zlib.compressobj(1)
    for _, _, data in found:
        target.write(pack.compress(data))
    target.write(pack.flush())
    return {}


def main() -> int:
    """Do what the command line names."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    args = json.loads(source.readline())
    verb = sys.argv[1]
    try:
        answer = (
            apply(args, source)
            if verb == "apply"
            else changes(args)
            if verb == "changes"
            else get(args, target)
        )
    except Failed as exc:
        answer = {"failed": exc.code, "message": str(exc)}
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        answer = {
            "failed": "no_space" if full else "os_error",
            "message": ": ".join(str(each) for each in (exc.filename, exc.strerror) if each),
        }
    if answer:
        target.write(json.dumps(answer).encode() + b"\n")
    target.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
