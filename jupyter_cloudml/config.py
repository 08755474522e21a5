"""What the environment says about where things are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_cloudml.paths import home as default_home

DATABASE_NAME = "cloudml.db"
NOTEBOOK_DATA = "JUPYTER_CLOUDML_NOTEBOOK_DATA"


@dataclass(frozen=True)
class Config:
    """The folder of this installation and the database it writes to.

    `database` is a SQLAlchemy URL; None means SQLite in `home`. It can hold a password: never log it. `notebook_data` is what dataset() in
    notebooks may ask for.
    """

    home: Path
    database: str | None = None
    notebook_data: tuple[str, ...] = ("s3://",)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read JUPYTER_CLOUDML_HOME, JUPYTER_CLOUDML_DB and JUPYTER_CLOUDML_NOTEBOOK_DATA."""
        values = os.environ if environ is None else environ
        prefixes = values.get(NOTEBOOK_DATA, "s3://").split(",")
        return cls(
            home=default_home(),
            database=values.get("JUPYTER_CLOUDML_DB") or None,
            notebook_data=tuple(each.strip() for each in prefixes if each.strip()),
        )

    @property
    def database_file(self) -> Path:
        """Return the SQLite file that is used when no URL is given."""
        return self.home / DATABASE_NAME
