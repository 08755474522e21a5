"""Kernels that runs have left are opened once each; an opening that fails leaves nothing of it, and the kernel as it was."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jupyter_cloudml.errors import NotFound
from jupyter_cloudml_kernels import leftovers, provisioner, specs
from jupyter_cloudml_kernels.machine_kernel import MachineKernel
from jupyter_cloudml_kernels.records import KernelRecord
from jupyter_cloudml_server import debugging
from jupyter_cloudml_server.debugging import DebugKernels


class Pool:
    async def run(self, work: Any, *args: Any) -> Any:
        return work(*args)


class Manager(dict[str, Any]):
    """Kernels whose start never comes to an end."""

    async def start_kernel(self, kernel_id: str, **_: Any) -> None:
        ready: Future[None] = Future()
        ready.set_running_or_notify_cancel()
        self[kernel_id] = SimpleNamespace(ready=ready)

    def get_kernel(self, kernel_id: str) -> Any:
        return self[kernel_id]

    def remove_kernel(self, kernel_id: str) -> None:
        del self[kernel_id]


async def _path(path: str) -> str:
    return path


def server(root: Path) -> Any:
    return SimpleNamespace(
        kernel_manager=Manager(),
        session_manager=SimpleNamespace(get_kernel_env=lambda path, name: {}),
        contents_manager=SimpleNamespace(get_kernel_path=_path),
        root_folder=root,
    )


def opening(root: Path) -> Any:
    left = SimpleNamespace(machine="box", pid=5, connection_file="/f", until_ms=1)
    return SimpleNamespace(left=left, attempt=1, spec="", path=root / "a.ipynb", notebook={})


def test_an_opening_that_takes_too_long_is_called_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off: list[str] = []
    monkeypatch.setattr(debugging, "START_S", 0.01)
    monkeypatch.setattr(provisioner, "cancel_start", off.append)
    monkeypatch.setattr(specs, "named", lambda machine, spec: "python3")
    found = SimpleNamespace(look=lambda run: opening(tmp_path), holder=lambda opening: "p1")
    made = DebugKernels(cast(Any, found), local=cast(Any, Pool()), remote=cast(Any, Pool()))
    here = server(tmp_path)
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(made.open("r1", here))
    assert len(off) == 1 and not here.kernel_manager


def test_an_end_meanwhile_takes_no_lock_away_and_no_lock_stays(tmp_path: Path) -> None:
    looks: list[str] = []

    async def work() -> None:
        class Slow(Pool):
            async def run(self, work: Any, *args: Any) -> Any:
                if work == found.look:
                    looks.append(args[0])
                    await go_on.wait()
                return work(*args)

        def look(run_id: str) -> Any:
            raise NotFound("there is no run")

        go_on = asyncio.Event()
        found = SimpleNamespace(look=look, gone=lambda run, attempt: None)
        pool = cast(Any, Slow())
        made = DebugKernels(cast(Any, found), local=pool, remote=pool)
        first = asyncio.ensure_future(made.open("r1", server(tmp_path)))
        await asyncio.sleep(0)
        await made.changed(cast(Any, SimpleNamespace(run="r1", attempt=1, state="ended")))
        second = asyncio.ensure_future(made.open("r1", server(tmp_path)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert looks == ["r1"], "one at a time"
        go_on.set()
        ends = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(each) for each in ends] == [NotFound, NotFound] and len(looks) == 2
        kept.append(made)

    kept: list[DebugKernels] = []
    asyncio.run(work())
    gc.collect()  # what was raised has had the lock
    assert len(kept[0]._locks) == 0


def test_a_kernel_that_was_not_joined_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(leftovers, "end", lambda record, slot: ended.append(record.kernel_id))
    for joins in ("", '{"process": "p1"}'):
        record = KernelRecord("k" + joins[:1], "python3", "box", "start", "t", joins=joins)
        kernel = MachineKernel(record, None, "", lambda: None)
        kernel.link = cast(Any, object())
        kernel.clear_away(forget=True)
        assert kernel.ended.done()
    assert ended == ["k"]
