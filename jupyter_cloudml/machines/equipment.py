"""What a machine is given when its link comes up: its policies, a kernel kept ready, and its kernelspecs here."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from concurrent.futures import wait
from typing import Any, Protocol, TypeAlias

from jupyter_cloudml.errors import JSON, LinkDown
from jupyter_cloudml.link.link import Link
from jupyter_cloudml.machines.model import LOCAL
from jupyter_cloudml.store import MachineRecord

MAX_PREWARM = 4  # what an agent keeps ready of one key
ASK_S = 15.0
LOOK_S = 0.1  # how often a wait looks at the link
SPECS_S = 120.0  # reads many files, perhaps from a slow disk

Equipment: TypeAlias = tuple[object, ...]


class Kernelspecs(Protocol):
    """The kernelspec folders of machines in the user's Jupyter data folder."""

    def install(self, machine: str, label: str, host_specs: JSON, python: str) -> object:
        """Write the kernelspecs of a machine and delete those that it has no more; `host_specs` as the agent tells them."""

    def remove(self, machine: str) -> object:
        """Delete the kernelspecs of a machine."""

    def reconcile(self, machines: Collection[str]) -> object:
        """Delete the kernelspecs of all machines but these."""


class NoKernelspecs:
    """For a process that has no use for kernelspecs."""

    def install(self, machine: str, label: str, host_specs: JSON, python: str) -> None:
        """Do nothing."""

    def remove(self, machine: str) -> None:
        """Do nothing."""

    def reconcile(self, machines: Collection[str]) -> None:
        """Do nothing."""


def prewarm_key(python: str) -> str:
    """Return the key under which kernels of a Python are kept ready; a start with the same key takes one."""
    return f"python:{python}"


def python_of(machine: MachineRecord) -> str | None:
    """Return the Python with ipykernel of a machine; for this computer the one at hand, whichever it was before."""
    return sys.executable if machine.provider == LOCAL else machine.python


def wanted_by(link: Link, machine: MachineRecord) -> Equipment:
    """Return what an agent that was given its equipment now has been given: another agent, or a change by anybody, and it is due again."""
    return (
        link.info.get("epoch"),
        machine.cull_idle_s,
        machine.prewarm,
        python_of(machine),
        machine.label,
    )


def send_policies(link: Link, machine: MachineRecord) -> None:
    """Tell the agent when to end idle kernels and how many to keep ready. Raises LinkDown, AgentError."""
    ask_while_up(link, "policy", ASK_S, cull_idle_s=machine.cull_idle_s)
    python = python_of(machine)
    if python is not None:
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        count = machine.prewarm
        wanted = {
            "key": prewarm_key(python),
            "argv": argv,
            "env": {},
            "count": count,
            "others": count,
        }
        ask_while_up(link, "prewarm", ASK_S, **wanted)


def forget_python(link: Link, machine: MachineRecord) -> None:
    """Keep no kernel of the machine's Python ready any more: it is about to get another."""
    if machine.python is not None:
        ask_while_up(link, "prewarm", ASK_S, key=prewarm_key(machine.python), count=0)


def host_specs(link: Link) -> JSON:
    """Ask for the kernelspecs of the host. Raises LinkDown, AgentError."""
    answer = ask_while_up(link, "specs", SPECS_S, pythons=False)
    return answer.get("specs") if isinstance(answer, dict) else None


def ask_while_up(link: Link, method: str, timeout: float, **params: Any) -> Any:
    """Ask the agent as `link.call` does, but do not outwait a cut: it is all asked again when the link is back."""
    future = link.submit(method, params)
    deadline = time.monotonic() + timeout
    while not wait([future], LOOK_S).done:
        if link.state.phase != "up" or time.monotonic() > deadline:
            future.cancel()
            why = "did not answer in time" if link.state.phase == "up" else "is out of reach"
            raise LinkDown(f"{link.machine} {why}", hint="it is asked again by itself")
    return future.result()
