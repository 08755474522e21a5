"""A project's code: its first way to a machine, one line that changed, and nothing new, each beside what a person would type."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import candidates as field
from benchmarks.candidates import LOCAL, OPENSSH, Candidate
from benchmarks.figures import Figure, Row
from benchmarks.lag import line
from benchmarks.session import NoAnswer
from benchmarks.sshd import SSHServer
from jupyter_cloudml.workspaces.service import Workspaces
from jupyter_cloudml_kernels.machines import current

RTT_S, BITS_S = 0.050, 50e6
FAR = "far"
ALONE = "-o ControlMaster=no -o ControlPath=none"
KEPT = "`tar \\| ssh`, connection open"
WORDS = """
self return import def class for in if not None result value index data frame array key async await
"""


@dataclass(frozen=True)
class Amount:
    """How much is measured: rounds, files and commits of the repository, its size in kB."""

    rounds: int = 5
    files: int = 500
    commits: int = 6000
    kilobytes: int = 11_000


def measure(folder: Path, candidates: list[Candidate], amount: Amount) -> list[Row]:
    """Measure over the loopback and over a line with a round trip of 50 ms and 50 Mbit/s. Raises NoAnswer."""
    over_ssh = next((each for each in candidates if each.name == OPENSSH), None)
    if over_ssh is None or over_ssh.server is None:
        return []
    if shutil.which("rsync") is None:
        raise NoAnswer("rsync is missing: install rsync")
    folder.mkdir()
    project = folder / "project"
    make_repository(project, amount)
    server = over_ssh.server
    with line(server.port, RTT_S, BITS_S) as port:
        field.add_machine(FAR, server, port, OPENSSH)
        near, far = Shell(folder, server, "near", server.port), Shell(folder, server, "far", port)
        try:
            return Bench(folder, project, server.home, amount).rows(near, far)
        finally:
            near.close()
            far.close()


class Bench:
    """One project, and a machine near and far on the same computer."""

    def __init__(self, folder: Path, project: Path, home: Path, amount: Amount) -> None:
        self._folder, self._project, self._home, self._amount = folder, project, home, amount
        self._fresh = iter(range(10_000))

    def rows(self, near: Shell, far: Shell) -> list[Row]:
        """Measure everything."""
        amount = self._amount
        what = f"code, {amount.files:,} files of {amount.kilobytes / 1000:.0f} MB, {amount.commits:,} commits"
        for machine in (OPENSSH, FAR):
            current().link(machine)  # is open from now on, as it is where a kernel runs
        ours, typed, open_already = self._in_turn(
            partial(self._first, OPENSSH),
            partial(self._tar, near, fresh=True),
            partial(self._tar, near),
        )
        rows = [
            _row(f"{what}: first", "≤ 1.3 × `tar \\| ssh`", 1.3, ours, typed, "`tar \\| ssh`"),
            _row("first, beside a connection kept open", "", None, ours, open_already, KEPT),
        ]
        ours, tar = self._in_turn(partial(self._first, FAR), partial(self._tar, far))
        rows.append(_row("first, long line", "≤ 1.3 × `tar \\| ssh`", 1.3, ours, tar, KEPT))
        code = Workspaces(self._folder / "kept", current())
        place, mirror = str(self._home / "kept"), str(self._home / "mirror")
        code.sync(self._project, FAR, machine_path=place)
        self._rsync(far, mirror)
        ours, rsync = self._in_turn(
            lambda: self._changed(lambda: code.sync(self._project, FAR, machine_path=place).sent),
            lambda: self._changed(lambda: self._rsync(far, mirror)),
        )
        rows.append(_row("one line changed, long line", "≤ rsync", 1.0, ours, rsync, "rsync -az"))
        unchanged = [self._unchanged(code, place) for _ in range(amount.rounds)]
        nothing = Row("nothing new, no network", "s", "≤ 0.05 s", digits=3, tool="")
        nothing.bounds = {OPENSSH: lambda ours, _: ours <= 0.05}
        nothing.figures = {OPENSSH: Figure.of(unchanged)}
        return [*rows, nothing]

    def _in_turn(self, *measured: Callable[[], float]) -> list[list[float]]:
        taken: list[list[float]] = [[] for _ in measured]
        for turn in range(self._amount.rounds):
            order = list(zip(measured, taken, strict=True))
            for measure, samples in order if turn % 2 else reversed(order):
                samples.append(measure())
        return taken

    def _first(self, machine: str) -> float:
        """Sync as from a computer that has never synced, to a folder that is not there; the link is up, as tar's connection is."""
        number = next(self._fresh)
        code = Workspaces(self._folder / f"state-{number}", current())
        place = self._home / f"first-{number}"
        began = time.monotonic()
        sent = code.sync(self._project, machine, machine_path=str(place)).sent
        took = time.monotonic() - began
        if sent != self._amount.files:
            raise NoAnswer(f"{sent} files were sent")
        shutil.rmtree(place)
        return took

    def _tar(self, shell: Shell, *, fresh: bool = False) -> float:
        place = self._home / f"tar-{next(self._fresh)}"
        began = time.monotonic()
        shell.tar(self._project, place, fresh=fresh)
        took = time.monotonic() - began
        shutil.rmtree(place)
        return took

    def _rsync(self, shell: Shell, place: str) -> int:
        shell.rsync(self._project, place)
        return 1

    def _changed(self, sync: Callable[[], int]) -> float:
        """Change one line of one file, and sync."""
        file = self._project / "package/module_7.py"
        text = file.read_text().splitlines()
        text[3] = f"x = {next(self._fresh)}"
        file.write_text("\n".join(text) + "\n")
        began = time.monotonic()
        sent = sync()
        took = time.monotonic() - began
        if sent != 1:
            raise NoAnswer(f"{sent} files were sent")
        return took

    def _unchanged(self, code: Workspaces, place: str) -> float:
        code.sync(self._project, FAR, machine_path=place)
        began = time.monotonic()
        sent = code.sync(self._project, FAR, machine_path=place).sent
        if sent:
            raise NoAnswer("something was sent")
        return time.monotonic() - began


class Shell:
    """What a person has: ssh, also with one connection that is kept open."""

    def __init__(self, folder: Path, server: SSHServer, name: str, port: int) -> None:
        self._config = folder / f"ssh-{name}"
        known = folder / f"known-{name}"
        known.write_text(server.known_host.replace(f":{server.port} ", f":{port} "))
        lines = [
            "Host there",
            f"HostName {server.address}",
            f"Port {port}",
            f"User {server.user}",
            f"IdentityFile {server.identity}",
            "IdentitiesOnly yes",
            f"UserKnownHostsFile {known}",
            "BatchMode yes",
            "ControlMaster auto",
            "ControlPersist 10m",
            f"ControlPath {server.folder}/mux-{name}",
        ]
        self._config.write_text("\n".join(lines) + "\n")
        self._ssh = f"ssh -F {self._config}"
        _run(f"{self._ssh} there true")

    def tar(self, source: Path, target: Path, *, fresh: bool = False) -> None:
        """Send a folder without its .git; `fresh`: by a connection of its own, as who types it without a ControlMaster."""
        unpack = f"mkdir {target} && tar -C {target} -xf -"
        ssh = f"{self._ssh} {ALONE}" if fresh else self._ssh
        _run(f"tar -C {source} --exclude .git -cf - . | {ssh} there '{unpack}'")

    def rsync(self, source: Path, target: str) -> None:
        """Make a folder there the same, without .git."""
        _run(f"rsync -az --delete --exclude .git -e '{self._ssh}' {source}/ there:{target}/")

    def close(self) -> None:
        """End the connection."""
        _run(f"{self._ssh} -O exit there")


def _run(command: str) -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise NoAnswer(f"{command.split()[0]} failed: {done.stderr[-500:]}")


def make_repository(folder: Path, amount: Amount) -> None:
    """Make a repository of that shape; what is in its files compresses about as well as Python does."""
    folder.mkdir()
    stream = b"".join(_history(amount))
    steps: list[tuple[list[str], bytes]] = [
        (["git", "init", "--quiet", "-b", "main", "--", "."], b""),
        (["git", "fast-import", "--quiet"], stream),  # nosemgrep: git-argv-without-dashes
        (["git", "checkout", "--quiet", "--force", "main", "--"], b""),
    ]
    for argv, said in steps:
        done = subprocess.run(argv, input=said, capture_output=True, cwd=folder, timeout=120)
        if done.returncode:
            raise NoAnswer(f"git {argv[1]} failed: {done.stderr.decode()[-500:]}")


def _history(amount: Amount) -> Iterator[bytes]:
    """A first commit with all files, then one small change after the other."""
    chance = random.Random(0)
    size = amount.kilobytes * 1000 // amount.files
    modules = [f"package/module_{n}.py" for n in range(amount.files - 1)]
    yield _commit(0, [(name, _text(chance, size)) for name in modules])
    for number in range(1, amount.commits):
        yield _commit(number, [("CHANGES.md", _text(chance, 200))])


def _commit(number: int, files: list[tuple[str, str]]) -> bytes:
    lines = [
        "commit refs/heads/main",
        f"committer A <a@example.org> {1_700_000_000 + number} +0000",
    ]
    parts = ["\n".join([*lines, "data 1", "x", ""])]
    parts += [f"M 100644 inline {path}\ndata {len(text)}\n{text}\n" for path, text in files]
    return "".join(parts).encode()


def _text(chance: random.Random, size: int) -> str:
    words = WORDS.split()
    lines: list[str] = []
    length = 0
    while length < size:
        words = [chance.choice(words) for _ in range(6)] + [f"v{chance.randrange(5000)}"]
        lines.append("    " * chance.randrange(3) + " ".join(words))
        length += len(lines[-1]) + 1
    return "\n".join(lines)[: size - 1] + "\n"


def _row(
    title: str, promise: str, times: float | None, ours: list[float], theirs: list[float], tool: str
) -> Row:
    row = Row(title, "s", promise, tool=tool)
    if times is not None:
        row.bounds = {OPENSSH: lambda mine, other: mine <= times * other}
    row.figures = {LOCAL: Figure.of(theirs), OPENSSH: Figure.of(ours)}
    return row
