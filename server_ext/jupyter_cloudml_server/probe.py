"""Asking a kernel whether it is busy, without waiting for it to be done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BUSY_AFTER_S = 1.0  # a shell that is silent for so long while control has answered is busy
SILENT_S = 5.0  # with a kernel that answers control on the same thread, both are silent then


@dataclass(frozen=True)
class Found:
    """`info` is the content of kernel_info_reply, {} when nobody answered."""

    info: dict[str, Any]
    busy: bool


async def probe(km: Any) -> Found:
    """Ask for kernel_info on control, which answers while a cell runs, and on shell, which does not."""
    loop = asyncio.get_running_loop()
    answers: dict[str, asyncio.Future[dict[str, Any]]] = {
        channel: loop.create_future() for channel in ("shell", "control")
    }
    streams = {"shell": km.connect_shell(), "control": km.connect_control()}
    try:
        for channel, stream in streams.items():
            stream.on_recv(_receiver(km, answers[channel]))
            km.session.send(stream, "kernel_info_request")
        shell, control = answers["shell"], answers["control"]
        await asyncio.wait(answers.values(), timeout=SILENT_S, return_when=asyncio.FIRST_COMPLETED)
        if control.done() and not shell.done():
            await asyncio.wait({shell}, timeout=BUSY_AFTER_S)
        first = next((f for f in (shell, control) if f.done()), None)
        return Found(first.result() if first is not None else {}, not shell.done())
    finally:
        for stream in streams.values():
            stream.close()


def _receiver(km: Any, answer: asyncio.Future[dict[str, Any]]) -> Callable[[list[bytes]], None]:
    def on_recv(parts: list[bytes]) -> None:
        _, parts = km.session.feed_identities(parts)
        message = km.session.deserialize(parts)
        if not answer.done() and message["msg_type"] == "kernel_info_reply":
            answer.set_result(message["content"])

    return on_recv
