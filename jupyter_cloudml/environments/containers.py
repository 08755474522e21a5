"""Kernels in an image of a container engine: the engine of the machine fetches it, and what starts its Python is an environment like any other."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

from ..errors import JSON, NoEnvironment, ProtocolError
from .program import InstallerFailed, Program
from .sources import Source

PULL_S = 3600.0
MAKE_S = 300.0


def image_of(work: Program, source: Source, pull: bool) -> str:
    """Return the identity of an image on the machine, fetched where it is not there or `pull`. Raises NoEnvironment (`no_engine`, `no_image`)."""
    try:
        told = work.run("image.find", {"ref": ref_of(source), "pull": pull}, PULL_S)
    except InstallerFailed as exc:
        raise NoEnvironment(
            exc.message,
            code="no_image",
            hint="is its name right, and may the machine fetch it? There: podman pull, or docker pull",
        ) from exc
    if told.get("no_engine"):
        raise NoEnvironment(
            f"{work.link.machine} has neither podman nor docker",
            code="no_engine",
            hint="install podman there (it needs no rights of root), or build an environment from a lock instead",
        )
    identity = told.get("image")
    if not isinstance(identity, str) or not identity or len(identity) > 200:
        raise ProtocolError(f"{work.link.machine} does not say which image that is")
    return identity


def ref_of(source: Source) -> str:
    """Return the name of the image as the engine takes it."""
    return source.text.removeprefix("container ")


def key(image: str, platform: str, gpu: str) -> str:
    """Return the name of the environment on a machine."""
    identity = json.dumps(["container", image, platform, gpu])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def make(work: Program, image: str, gpu: str, **named: JSON) -> dict[str, Any]:
    """Have the machine make the environment. Raises NoEnvironment with its reason (an image without ipykernel), NoSpace, Cancelled, LinkDown."""
    launcher = files("jupyter_cloudml.environments").joinpath("host/launcher.py").read_text()
    asked: dict[str, JSON] = {"image": image, "gpu": bool(gpu), "launcher": launcher, **named}
    try:
        return work.run("image.make", asked, MAKE_S)
    except InstallerFailed as exc:
        raise NoEnvironment(
            exc.message,
            code="no_ipykernel",
            hint="choose an image in which `python -m ipykernel` runs",
        ) from exc
