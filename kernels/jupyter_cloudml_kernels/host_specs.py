"""What a host says of its own kernelspecs, cleaned. Pure.

It is not to be trusted: names pass an allow-list, texts are made plain and cut, and of its JSON only the fields named here are read.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_SPECS = 64  # offered for one machine
MAX_ARGV = 64
MAX_ENV = 64
MAX_ARGUMENT = 4096
MAX_TEXT = 80
SHARED_PREFIXES = ("/usr", "/usr/local")  # whose `python` may be any, or none

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LANGUAGE = re.compile(r"[A-Za-z0-9+#. _-]{1,40}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,100}")
_PYTHON = re.compile(r"python(3(\.\d+)?)?")


@dataclass(frozen=True)
class HostSpec:
    """One kernelspec of a host, cleaned: its folders and its Python filled in, so that `argv` runs there as it is."""

    name: str
    argv: tuple[str, ...]
    display_name: str
    language: str
    interrupt_mode: str = "signal"
    debugger: bool = False
    env: tuple[tuple[str, str], ...] = ()


def plain_text(value: object, fallback: str) -> str:
    """Return `value` as one line of at most 80 printable characters; `fallback` when nothing is left.

    Control, formatting (direction overrides), surrogate and private characters go, since the text is shown in menus and terminals.
    """
    if not isinstance(value, str):
        return fallback
    kept = "".join(
        " " if c.isspace() else c
        for c in value[:4096]
        if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    return " ".join(kept.split())[:MAX_TEXT].strip() or fallback


def parse_host_specs(raw: object) -> list[HostSpec]:
    """Return the usable kernelspecs of an agent's `specs` answer, at most 64, sorted by name.

    Left out: names outside the allow-list, specs without argv, and specs that another provisioner than the local one would start.
    """
    found: dict[str, HostSpec] = {}
    for item in raw if isinstance(raw, list) else ():
        spec = _parse(item)
        if spec is not None:
            found.setdefault(spec.name.lower(), spec)
        if len(found) == MAX_SPECS:
            break
    return [found[key] for key in sorted(found)]


def _parse(item: object) -> HostSpec | None:
    if not isinstance(item, Mapping):
        return None
    name, spec = item.get("name"), item.get("spec")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(spec, Mapping):
        return None
    metadata = spec.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    argv = _argv(spec.get("argv"))
    if not argv or not _starts_locally(metadata):
        return None
    language = spec.get("language")
    language = (
        language if isinstance(language, str) and _LANGUAGE.fullmatch(language) else "unknown"
    )
    shown = plain_text(spec.get("display_name"), name)
    environment = plain_text(item.get("environment"), "")
    return HostSpec(
        name=name,
        argv=_filled_in(argv, item.get("resource_dir")),
        display_name=f"{shown} [{environment}]" if environment else shown,
        language=language,
        interrupt_mode="message" if spec.get("interrupt_mode") == "message" else "signal",
        debugger=metadata.get("debugger") is True,
        env=_env(spec.get("env")),
    )


def _argv(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ARGV:
        return ()
    return tuple(value) if all(map(_is_argument, value)) else ()


def _env(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or len(value) > MAX_ENV:
        return ()
    good = {k: v for k, v in value.items() if isinstance(k, str) and _VARIABLE.fullmatch(k)}
    return tuple((name, text) for name, text in good.items() if _is_argument(text))


def _is_argument(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_ARGUMENT and "\0" not in value


def _filled_in(argv: tuple[str, ...], folder: object) -> tuple[str, ...]:
    """Put the host's folders in place of `{resource_dir}` and `{prefix}`, and its own Python for a plain `python` of an environment."""
    if not isinstance(folder, str) or not folder.startswith("/") or not _is_argument(folder):
        return argv
    prefix, found, _ = folder.partition("/share/jupyter/kernels/")
    known = {"{resource_dir}": folder, "{prefix}": prefix if found else "{prefix}"}
    filled = tuple(re.sub(r"\{resource_dir\}|\{prefix\}", lambda m: known[m[0]], a) for a in argv)
    own = found and prefix not in SHARED_PREFIXES and not prefix.endswith("/.local")
    if own and _PYTHON.fullmatch(filled[0]):
        return (f"{prefix}/bin/{filled[0]}", *filled[1:])
    return filled


def _starts_locally(metadata: Mapping[str, object]) -> bool:
    provisioner = metadata.get("kernel_provisioner")
    if provisioner is None:
        return True
    return (
        isinstance(provisioner, Mapping)
        and provisioner.get("provisioner_name") == "local-provisioner"
    )


def runs(spec: HostSpec, python: str) -> bool:
    """Say whether this kernelspec is nothing but the Python kernel of `python`, which the machine's own kernelspec starts anyway."""
    program = spec.argv[0]
    return (
        spec.language == "python"
        and program.startswith("/")
        and os.path.dirname(program) == os.path.dirname(python)
        and _PYTHON.fullmatch(os.path.basename(program)) is not None
    )


def own_spec(host_specs: Sequence[HostSpec], python: str) -> HostSpec:
    """Return the kernelspec of the machine itself: the Python with ipykernel that it was set up with. Its name is empty."""
    argv = (python or "python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    same = next((spec for spec in host_specs if runs(spec, python)), None)
    if same is None:
        return HostSpec("", argv, "Python", "python", debugger=True)
    return HostSpec(
        "", argv, "Python", "python", interrupt_mode=same.interrupt_mode, debugger=same.debugger
    )
