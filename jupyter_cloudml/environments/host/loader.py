"""Makes modules of the texts that are sent behind this one (`SOURCES`, in the order in which they import each other)."""

import sys
import types

SOURCES: "list[tuple[str, str]]" = []  # said anew, below this text


def load() -> types.ModuleType:
    """Return the last module."""
    package = types.ModuleType("cloudml_environments")
    package.__path__ = []
    sys.modules[package.__name__] = module = package
    for name, text in SOURCES:
        module = types.ModuleType(f"{package.__name__}.{name}")
        module.__package__ = package.__name__
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(text, f"{name}.py", "exec"), module.__dict__)  # noqa: S102 - our own text
    return module
