"""A state change worth telling: written to the store with the change itself, then pushed to whoever watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jupyter_cloudml.errors import JSON

SCHEMA_BASE = "https://jupyter-cloudml"


@dataclass(frozen=True)
class Event:
    """One state change of one object.

    `noun` names the kind of object (machine, operation, kernel, executions), `data` is the body that goes to the browser,
    `seq` is the place in the store's event table (0: not stored).
    """

    noun: str
    name: str
    state: str
    version: int
    at_ms: int
    data: Mapping[str, JSON] = field(default_factory=dict)
    seq: int = 0

    @property
    def schema_id(self) -> str:
        """Return the id of the event's schema, as jupyter_events knows it."""
        return f"{SCHEMA_BASE}/{self.noun}/v1"
