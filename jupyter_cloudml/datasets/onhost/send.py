"""Sends the files of a folder by signed addresses: large ones in parts, each checked by the service against its MD5."""

from __future__ import annotations

import base64
import os
import queue
import re
import ssl
import stat
import threading
from typing import Any

from ...onhost.folder import Failed, InTheWay
from .book import Book, now
from .folder import SCRATCH, Folder, digest, matches
from .holding import FolderLock
from .talk import JSON, Again, Choice, Stopped, Talk, tries
from .wire import Wire, why_insecure

LOOK_S = 0.1
AHEAD = 64  # files whose addresses are asked for before they are needed
RENEWALS = 5
CHANGES = 3
THREADS = 8


class Outgoing:
    """One file that is to be sent."""

    def __init__(self, number: int, path: str, status: os.stat_result) -> None:
        self.number, self.path, self.size = number, path, status.st_size
        self.stamp = stamp(status)
        self.urls: list[str] = []
        self.part_size = self.sent = 0
        self.etags: list[str] = []
        self.left = 0
        self.round = 0
        self.asked = False
        self.renewals = self.changes = 0
        self.parked: list[int] = []
        self.lock = threading.Lock()


def stamp(status: os.stat_result) -> tuple[int, int, int]:
    """What tells that a file was written to since."""
    return status.st_size, status.st_mtime_ns, status.st_ino


def _flaw(path: str) -> str:
    """Say why a file cannot be an object that comes back under its name; "" where it can."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return "its name holds a line end" if "\n" in path or "\r" in path else ""


class Sender:
    """One sync of a prefix. The other end has the keys, and says what is there; `put` asks it for addresses, `sent` has it finish an object."""

    def __init__(self, talk: Talk, book: Book, args: JSON) -> None:
        self.talk, self.book, self.args = talk, book, args
        self.choice = Choice(*args["choice"])
        try:
            self.folder = Folder(args["folder"], make=False)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise Failed("no_folder", f"there is no folder {args['folder']}") from exc
        self.lock = FolderLock(book.place, f"{self.folder.path}\0up", args["installation"])
        self.dataset = book.dataset(self.folder.path, args["source"], True)
        self.there: dict[str, tuple[int, int, str]] = {}
        self.files: dict[int, Outgoing] = {}
        self.waiting: list[Outgoing] = []
        self.rows: list[tuple[Any, ...]] = []
        self.would: list[list[Any]] = []
        self.settled = self.asked_for = 0
        self.tasks: queue.SimpleQueue[tuple[Outgoing, int, int] | None] = queue.SimpleQueue()
        ca = args.get("ca")
        self._context = ssl.create_default_context(cadata=ca) if ca else None
        self._lock = threading.Lock()

    def run(self) -> JSON:
        """Do it, and say what came of it. Raises Failed."""
        self.talk.say(folder=self.folder.path)
        while self._hear():
            pass
        self._compare()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        total = len(self.waiting)
        while self.settled < total and not self.talk.stop.is_set():
            under_way = self.asked_for - self.settled
            if self.waiting and under_way < AHEAD // 2:
                batch, self.waiting = self.waiting[:AHEAD], self.waiting[AHEAD:]
                self.asked_for += len(batch)
                self.talk.say(put=[[each.number, each.path, each.size] for each in batch])
            self._hear()
            self._write_down()
            self.talk.tell()
        self._write_down()
        if self.talk.fatal:
            raise Failed(*self.talk.fatal)
        self._forget_gone()
        files, size = self.book.synced(self.dataset, now())
        extra = sorted(number for number, _, _ in self.there.values())
        return {
            **self.talk.counts(),
            "extra": extra if self.args["delete"] else [],
            "would": self.would,
            "total_files": files,
            "total_bytes": size,
        }

    def _hear(self) -> bool:
        """Take what the other end says; False once it has told all that is there."""
        try:
            said = self.talk.heard.get(timeout=LOOK_S)
        except queue.Empty:
            return True
        if said is None:
            raise Failed("cut_off", "the other end has gone")
        for number, path, size, etag in said.get("list", ()):
            if self.choice.has(path):
                self.there[path] = (number, size, etag)
        for number, part_size, urls in said.get("urls", ()):
            if number in self.files:
                self._begin(self.files[number], part_size, urls)
        if "stored" in said and said["stored"][0] in self.files:
            self._stored(*said["stored"])
        if "fail" in said and said["fail"][0] in self.files:
            self._fail(self.files[said["fail"][0]], *said["fail"][1:])
        return "listed" not in said

    # -- what is to be sent --------------------------------------------------------------------------

    def _compare(self) -> None:
        known = self.book.known(self.dataset, "", "\U0010ffff")
        for number, (path, status) in enumerate(sorted(self.folder.files())):
            if not self.choice.has(path) or f"/{SCRATCH}/" in path:
                continue
            listed = self.there.pop(path, None)
            why = _flaw(path)
            if why:
                self.talk.error(repr(path), "bad_name", why)
                continue
            same_size = listed is not None and listed[1] == status.st_size
            if listed and same_size and self._is_same(path, status, listed[2], known.get(path)):
                self.talk.count(same=1)
                continue
            if self.args["preview"]:
                self.talk.count(would_send=1, wanted_bytes=status.st_size)
                if len(self.would) < 1000:
                    self.would.append(["send", path, status.st_size])
                continue
            each = Outgoing(number, path, status)
            self.files[number] = each
            self.waiting.append(each)
            self.talk.count(wanted=1, wanted_bytes=each.size)
            self.talk.tell()

    def _is_same(
        self, path: str, status: os.stat_result, etag: str, entry: tuple[Any, ...] | None
    ) -> bool:
        mode = self.args["compare"]
        if mode == "size":
            return True
        sent = bool(entry) and entry is not None and entry[:4] == (etag, *stamp(status))
        if sent and mode == "etag":
            return True
        try:
            fd = self.folder.open(path)
        except (InTheWay, OSError):
            return False
        try:
            found = matches(fd, status.st_size, etag)
        finally:
            os.close(fd)
        if found:
            self.rows.append((path, etag, *stamp(status), ""))
        return sent if found is None else found

    # -- sending -------------------------------------------------------------------------------------

    def _begin(self, each: Outgoing, part_size: int, urls: list[str]) -> None:
        with each.lock:
            each.urls, each.asked = urls, False
            parked, each.parked = each.parked, []
            if not each.part_size:
                each.part_size = part_size
                each.etags, each.left = [""] * len(urls), len(urls)
                parked = list(range(len(urls)))
        for number in parked:
            self.tasks.put((each, each.round, number))

    def _work(self) -> None:
        wire = Wire(self._context, float(self.args["silent_s"]))
        while (task := self.tasks.get()) is not None:
            each, turn, number = task
            if self.talk.stop.is_set() or each.round != turn:
                continue
            try:
                self._part(each, turn, number, wire)
            except Stopped:
                continue
            except Again as exc:
                if exc.reached:
                    self._fail(each, "unavailable", str(exc))
                else:
                    self.talk.give_up("endpoint_unreachable", str(exc))
            except (InTheWay, Failed) as exc:
                self._fail(each, getattr(exc, "code", "in_the_way"), str(exc))
            except ssl.SSLError as exc:
                self.talk.give_up(*why_insecure(exc))
            except OSError as exc:
                self._fail(each, "os_error", exc.strerror or str(exc))
            except BaseException as exc:  # noqa: BLE001 - the edge of a thread
                self.talk.give_up("defect", f"{type(exc).__name__}: {exc}")

    def _part(self, each: Outgoing, turn: int, number: int, wire: Wire) -> None:
        first = number * each.part_size
        size = min(each.part_size, each.size - first)
        fd = self.folder.open(each.path)
        with open(fd, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Failed("os_error", "it is no file any more")

            def attempt() -> str | None:
                md5 = base64.b64encode(digest(fd, first, size).digest()).decode()
                file.seek(first)
                url = each.urls[number]
                reply = wire.ask("PUT", url, {"Content-MD5": md5}, file, size)
                text = reply.text()
                if reply.status == 200:
                    return reply.headers.get("etag", "").strip('"')
                self._refused(each, turn, number, url, reply.status, text)
                return None

            etag = tries(self.talk, attempt, wire)
            if etag is None:
                return
            now_is = stamp(os.fstat(fd))  # each part by itself: another file may have its name now
            with each.lock:
                if each.round != turn:
                    return
                self.talk.count(bytes=size)
                each.sent += size
                each.etags[number] = etag
                each.left -= 1
                if each.left and now_is == each.stamp:
                    return
            self._sent(each, turn, now_is)

    def _refused(
        self, each: Outgoing, turn: int, number: int, url: str, status: int, text: str
    ) -> None:
        code = (re.findall(r"<Code>([^<]{1,100})</Code>", text) or [""])[0]
        if status >= 500 or status == 429 or code in ("BadDigest", "RequestTimeout"):
            raise Again(f"the service answers {status} {code}")
        with each.lock:
            if each.round != turn:
                return
            if each.urls[number] != url:
                self.tasks.put((each, turn, number))
                return
            if status == 403 and each.renewals < RENEWALS:
                each.parked.append(number)
                if not each.asked:
                    each.asked, each.renewals = True, each.renewals + 1
                    self.talk.say(again=each.number, said=text[:2000])
                return
        raise Failed("refused", f"the service answers {status} {code}")

    def _sent(self, each: Outgoing, turn: int, now_is: tuple[int, int, int]) -> None:
        if now_is == each.stamp:
            self.talk.say(sent=each.number, etags=each.etags)
            return
        with each.lock:
            if each.round != turn:
                return
            each.round += 1
            each.changes += 1
            if each.changes > CHANGES:
                raise Failed("changing", "it is being written to while it is sent")
            self.talk.count(bytes=-each.sent)
            each.size, each.stamp, each.part_size, each.sent = now_is[0], now_is, 0, 0
        self.talk.say(put=[[each.number, each.path, each.size]])

    def _stored(self, number: int, etag: str) -> None:
        each = self.files.pop(number)
        self.rows.append((each.path, etag, *each.stamp, ""))
        self.talk.count(files=1)
        self._settle()

    def _fail(self, each: Outgoing, code: str, why: str) -> None:
        with each.lock:
            each.round += 1
        if self.files.pop(each.number, None) is None:
            return
        self.talk.error(each.path, code, why)
        self.talk.say(abandoned=each.number)
        self._settle()

    def _settle(self) -> None:
        with self._lock:
            self.settled += 1

    def _write_down(self) -> None:
        rows, self.rows = self.rows, []
        if rows:
            self.book.note(self.dataset, rows)

    def _forget_gone(self) -> None:
        """Forget files that are no more."""
        known = self.book.known(self.dataset, "", "\U0010ffff")
        self.book.forget(self.dataset, [path for path in known if self.folder.look(path) is None])
