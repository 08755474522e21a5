"""A diagnosis of a machine, step by step, from its name to an answer of a kernel on it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_cloudml.clock import Clock
from jupyter_cloudml.environments import probe
from jupyter_cloudml.errors import CloudMLError, Conflict
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.link.question import evaluate
from jupyter_cloudml.machines.check_ssh import Finding, SSHCheck, printable
from jupyter_cloudml.machines.equipment import python_of
from jupyter_cloudml.machines.links import SharedLink
from jupyter_cloudml.machines.model import CheckStep
from jupyter_cloudml.machines.providers.base import Provider
from jupyter_cloudml.machines.providers.ssh import SSHProvider
from jupyter_cloudml.store import MachineRecord

AGENT_S = 60.0
KERNEL_S = 90.0
END_S = 20.0
SKEW_MS = 5_000


def check(machine: MachineRecord, provider: Provider, clock: Clock) -> Iterator[CheckStep]:
    """Yield the steps as they are done; the last is either the kernel's answer or what stands in its way."""
    timed = Timed(clock)
    if isinstance(provider, SSHProvider):
        ssh = SSHCheck(provider.target(machine))
        try:
            for name, look in ssh.steps():
                yield timed.step(name, look)
                if timed.fatal:
                    return
        finally:
            ssh.close()
    agent = AgentCheck(machine, provider, clock)
    try:
        for name, look in agent.steps():
            yield timed.step(name, look)
            if timed.fatal:
                return
    finally:
        agent.close()


class Timed:
    """Takes steps: the time each needs, and its errors as findings."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.fatal = False

    def step(self, name: str, look: Callable[[], Finding]) -> CheckStep:
        """Take one step."""
        began = self._clock.monotonic()
        try:
            finding = look()
        except CloudMLError as exc:
            finding = Finding(False, exc.message, exc.hint, fatal=True)
        self.fatal = finding.fatal
        ms = round((self._clock.monotonic() - began) * 1000)
        return CheckStep(name, finding.ok, finding.detail, finding.hint, ms)


class AgentCheck:
    """The steps beyond the connection, over a link of their own: the shared one may be the one that is in trouble."""

    def __init__(self, machine: MachineRecord, provider: Provider, clock: Clock) -> None:
        self._machine = machine
        self._clock = clock
        self._asked_ms = 0
        self._python = ""
        connect = provider.connect(machine, lambda text: None)
        self._shared = SharedLink(machine.name, connect, lambda: None)

    def steps(self) -> list[tuple[str, Callable[[], Finding]]]:
        """Return the steps in order."""
        return [
            ("the agent starts", self._agent),
            ("the clocks agree", self._clocks),
            ("ipykernel is there", self._ipykernel),
            ("a kernel starts and computes", self._kernel),
        ]

    def close(self) -> None:
        """Let go of the machine."""
        self._shared.leave()
        self._shared.link.close()

    @property
    def _link(self) -> Link:
        return self._shared.link

    def _agent(self) -> Finding:
        self._asked_ms = self._clock.now_ms()
        self._shared.wait(AGENT_S, threading.Event())
        info = self._link.info
        python = f"Python {_text(info.get('python_version'))} ({_text(info.get('python'))})"
        return Finding(
            True, f"process {_text(info.get('pid'))} on {_text(info.get('hostname'))}, {python}"
        )

    def _clocks(self) -> Finding:
        now, theirs = self._clock.now_ms(), self._link.info.get("now_ms")
        if type(theirs) is not int:
            return Finding(False, "the agent does not tell its time")
        # It read its clock between our question and its answer.
        skew = max(self._asked_ms - theirs, theirs - now, 0)
        if skew <= SKEW_MS:
            return Finding(True, f"within {max(skew, now - self._asked_ms) / 1000:.1f} s")
        ahead = "ahead" if theirs > now else "behind"
        return Finding(
            False,
            f"the machine's clock is {skew / 1000:.0f} s {ahead}",
            "set it (timedatectl set-ntp true); file times and certificates depend on it",
        )

    def _ipykernel(self) -> Finding:
        wanted = python_of(self._machine)
        if wanted is None:
            choice = probe.choose(probe.find(self._link))
            if not choice.ready:
                return Finding(
                    False,
                    "no Python there has ipykernel yet",
                    f"an environment with it is made by: jupyter cloudml machine start {self._machine.name}",
                    fatal=True,
                )
            wanted = choice.python.path
        asked = ["-c", "import ipykernel; print(ipykernel.__version__)"]
        done = self._link.run([wanted, *asked], timeout=AGENT_S)
        if done.code != 0:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            return Finding(
                False,
                f"{wanted} has no ipykernel that works: {_text(' '.join(said))}",
                f"have it made anew: jupyter cloudml machine start {self._machine.name}",
                fatal=True,
            )
        self._python = wanted
        version = done.stdout.decode("utf-8", "replace").strip()
        return Finding(True, f"ipykernel {_text(version)} in {wanted}")

    def _kernel(self) -> Finding:
        row = self._link.call(
            "start",
            KERNEL_S,
            kind="kernel",
            argv=[self._python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            env={},
            cwd="~",
            labels={"purpose": "check"},
            token=uuid.uuid4().hex,
        )
        try:
            answer = evaluate(self._link, row, "1 + 1", KERNEL_S)
        finally:
            self._end(row)
        if answer != "2":
            return Finding(False, f"1 + 1 gives {_text(answer)}")
        return Finding(True, "1 + 1 gives 2")

    def _end(self, row: dict[str, Any]) -> None:
        """End the kernel of the check, and have the agent forget it."""
        self._link.call("stop", AGENT_S, id=row["id"], grace_s=1)
        deadline = self._clock.monotonic() + END_S
        while True:
            try:
                self._link.call("forget", AGENT_S, id=row["id"])
                return
            except Conflict:  # it has not ended yet
                if self._clock.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def _text(value: object) -> str:
    return printable(str(value))
