"""Programs that a machine is sent as text: their modules go under the names that they have here, and import each other as they do here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

PACKAGE = "jupyter_cloudml"
LOADER = """\
import json, sys, types
def made(name):
    if name not in sys.modules:
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = []
        outer, _, inner = name.rpartition(".")
        if outer:
            setattr(made(outer), inner, module)
    return sys.modules[name]
for name, text in json.loads(sys.stdin.buffer.read({length})):
    module = made(name)
    module.__package__ = name.rpartition(".")[0]
    exec(compile(text, name, "exec"), module.__dict__)
sys.exit(module.main())
"""


@dataclass(frozen=True)
class SentProgram:
    """A program of modules of this package (`datasets.onhost.main`), in the order in which they import each other; the last one has `main`."""

    modules: tuple[str, ...]

    @cached_property
    def source(self) -> bytes:
        """What its standard input has to begin with."""
        return json.dumps([[f"{PACKAGE}.{name}", _text(name)] for name in self.modules]).encode()

    @property
    def loader(self) -> str:
        """What `python -c` is given to run it."""
        return LOADER.format(length=len(self.source))


def _text(module: str) -> str:
    return files(PACKAGE).joinpath(f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
