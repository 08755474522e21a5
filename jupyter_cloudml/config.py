"""What the environment says about where things are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_cloudml.paths import home as default_home

DATABASE_NAME = "cloudml.db"


@dataclass(frozen=True)
class Config:
    """The folder of this installation and the database it writes to.

    `database` is a SQLAlchemy URL; None means SQLite in `home`. It can hold a password: never log it.
    """

    home: Path
    database: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read JUPYTER_CLOUDML_HOME and JUPYTER_CLOUDML_DB."""
        values = os.environ if environ is None else environ
        return cls(home=default_home(), database=values.get("JUPYTER_CLOUDML_DB") or None)

    @property
    def database_file(self) -> Path:
        """Return the SQLite file that is used when no URL is given."""
        return self.home / DATABASE_NAME
