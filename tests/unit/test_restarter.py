"""The restarter of a kernel manager: held while a kernel is to stay ended, itself again for the next one."""

from __future__ import annotations

from jupyter_client.ioloop.manager import AsyncIOLoopKernelManager
from jupyter_client.ioloop.restarter import AsyncIOLoopKernelRestarter
from jupyter_client.manager import KernelManager

from jupyter_cloudml_kernels.restarter import Restarter


def test_a_held_restarter_restarts_nothing_and_has_its_limit_back_for_the_next_start() -> None:
    manager = AsyncIOLoopKernelManager()
    manager._restarter = AsyncIOLoopKernelRestarter(kernel_manager=manager, restart_limit=7)
    restarter = Restarter(manager, lambda: None)
    assert restarter.hold() and not restarter.hold()
    assert manager._restarter.restart_limit == 0
    restarter.release()
    restarter.release()
    assert manager._restarter.restart_limit == 7
    assert restarter.hold()


def test_giving_up_is_heard_once() -> None:
    manager = AsyncIOLoopKernelManager()
    manager._restarter = AsyncIOLoopKernelRestarter(kernel_manager=manager)
    heard: list[bool] = []
    restarter = Restarter(manager, lambda: heard.append(True))
    restarter.listen()
    restarter.listen()
    manager._restarter._fire_callbacks("restart")
    assert heard == []
    manager._restarter._fire_callbacks("dead")
    assert heard == [True]


def test_a_manager_without_a_restarter_is_left_alone() -> None:
    restarter = Restarter(KernelManager(), lambda: None)
    restarter.listen()
    assert not restarter.hold()
    restarter.release()
