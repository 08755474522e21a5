"""What a machine is to whoever looks at it: its state, its address, what it has. Plain values, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from jupyter_cloudml.errors import JSON, CloudMLError, capitalized

LOCAL = "local"  # the machine that is always there: this computer
LOCAL_LABEL = "This machine"

_MAX_TEXT = 256
_MAX_GPUS = 64


class State(str, Enum):
    """What a machine is doing now."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    UNREACHABLE = "unreachable"
    STOPPING = "stopping"
    GONE = "gone"


class Desired(str, Enum):
    """What the user wants of a machine; kept in the store before anything is done about it."""

    RUNNING = "running"
    STOPPING = "stopping"  # asked to stop, not done yet: start-up goes on with it
    STOPPED = "stopped"
    ABSENT = "absent"  # asked to be removed, not done yet: start-up goes on with it


class Box(str, Enum):
    """What a provider says of the computer itself, apart from any link to it."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True)
class Step:
    """One named step of slow work: "2/4 signing in", since when (UTC ms)."""

    n: int
    of: int
    text: str
    since_ms: int

    def __str__(self) -> str:
        return f"{self.n}/{self.of} {self.text}"

    def to_dict(self) -> dict[str, JSON]:
        """Return the step as it goes over REST."""
        return {"n": self.n, "of": self.of, "text": self.text, "since_ms": self.since_ms}


Progress: TypeAlias = Callable[[Step], None]


def ignore_progress(step: Step) -> None:
    """Take a step and tell nobody."""


@dataclass(frozen=True)
class MachineInfo:
    """What a machine has, as its agent says: cores, bytes, GPUs by name."""

    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[Mapping[str, JSON], ...] = ()
    hostname: str = ""
    platform: str = ""

    @classmethod
    def from_hello(cls, info: Mapping[str, object]) -> MachineInfo:
        """Read an agent's hello; whatever is missing, of another type or too long there is left out."""
        gpus = info.get("gpus")
        return cls(
            cpus=_count(info.get("cpus")),
            memory_bytes=_count(info.get("memory_bytes")),
            gpus=tuple(map(_gpu, gpus[:_MAX_GPUS])) if isinstance(gpus, list) else (),
            hostname=_text(info.get("hostname")),
            platform=_text(info.get("platform")),
        )

    def to_dict(self) -> dict[str, JSON]:
        """Return the values as they go over REST."""
        return {
            "cpus": self.cpus,
            "memory_bytes": self.memory_bytes,
            "gpus": [dict(gpu) for gpu in self.gpus],
            "hostname": self.hostname,
            "platform": self.platform,
        }


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value < 1 << 63 else 0


def _text(value: object) -> str:
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _gpu(value: object) -> Mapping[str, JSON]:
    """Keep the name and the memory of a GPU; an agent may also send the bare name."""
    if not isinstance(value, Mapping):
        return {"name": _text(value), "memory_total": 0}
    return {"name": _text(value.get("name")), "memory_total": _count(value.get("memory_total"))}


@dataclass(frozen=True)
class Status:
    """A machine's state and what there is to say about it.

    `since_ms` is when it came into this state, `cause` why, `next_action` what the user can do.
    """

    state: State
    since_ms: int = 0
    step: Step | None = None
    cause: str | None = None
    next_action: str | None = None
    error: CloudMLError | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MachineView:
    """A machine as REST, the CLI and the events show it."""

    name: str
    provider: str
    label: str
    status: Status
    address: str
    carrier: str
    python: str | None
    info: MachineInfo
    kernels: int
    version: int
    cull_idle_s: int | None
    prewarm: int
    price_micros: int | None = None

    def to_dict(self) -> dict[str, JSON]:
        """Return the view as docs/architecture.md describes it."""
        status = self.status
        return {
            "name": self.name,
            "provider": self.provider,
            "label": self.label,
            "state": status.state.value,
            "step": status.step.to_dict() if status.step else None,
            "since_ms": status.since_ms,
            "cause": status.cause,
            "next_action": status.next_action,
            "error": status.error.to_dict() if status.error else None,
            "address": self.address,
            "carrier": self.carrier,
            "python": self.python,
            "info": self.info.to_dict(),
            "kernels": self.kernels,
            "version": self.version,
            "cull_idle_s": self.cull_idle_s,
            "prewarm": self.prewarm,
            "price_per_hour": None if self.price_micros is None else self.price_micros / 1e6,
        }


@dataclass(frozen=True)
class Suggestion:
    """A host of the user's SSH configuration that could be added; `source` is "file:line"."""

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    source: str = ""

    def to_dict(self) -> dict[str, JSON]:
        """Return the suggestion as it goes over REST."""
        return {
            "name": self.name,
            "host": self.host,
            "user": self.user,
            "port": self.port,
            "identity": self.identity,
            "source": self.source,
        }


@dataclass(frozen=True)
class CheckStep:
    """One step of a diagnosis and how long it took."""

    step: str
    ok: bool
    detail: str
    hint: str
    ms: int

    def to_dict(self) -> dict[str, JSON]:
        """Return the step as it goes over REST."""
        return {
            "step": self.step,
            "ok": self.ok,
            "detail": self.detail,
            "hint": capitalized(self.hint),
            "ms": self.ms,
        }
