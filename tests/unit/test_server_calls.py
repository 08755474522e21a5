"""The event loop is never held up: calls run on threads, gauges are asked once, events keep their order and their rate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio
from jupyter_events import EventLogger

from jupyter_cloudml.errors import JSON, Busy, CloudMLError, LinkDown, NotFound
from jupyter_cloudml.events import Event
from jupyter_cloudml_server.calls import CallPool
from jupyter_cloudml_server.gauges import GaugesCache
from jupyter_cloudml_server.publisher import NOUNS, ExecutionNotifier, Publisher

SOON = 5.0


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds


async def reach(condition: Any, what: str) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.005)


# -- calls -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_blocking_call_leaves_the_loop_free() -> None:
    pool = CallPool("test", threads=1, waiting=1)
    release = threading.Event()
    call = asyncio.ensure_future(pool.run(release.wait, SOON))
    turns = 0
    for _ in range(100):
        await asyncio.sleep(0)
        turns += 1
    assert not call.done()
    release.set()
    assert await call is True
    pool.close()
    assert turns == 100


@pytest.mark.asyncio
async def test_call_raises_what_the_function_raises() -> None:
    pool = CallPool("test", threads=1, waiting=1)

    def fail() -> None:
        raise NotFound("no such thing")

    with pytest.raises(NotFound, match="no such thing"):
        await pool.run(fail)
    pool.close()


@pytest.mark.asyncio
async def test_full_pool_refuses_at_once_and_recovers() -> None:
    pool = CallPool("test", threads=1, waiting=2)
    release = threading.Event()
    calls = [asyncio.ensure_future(pool.run(release.wait, SOON)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as refused:
        await pool.run(int)
    assert refused.value.status == 503
    release.set()
    await asyncio.gather(*calls)
    assert await pool.run(int) == 0
    pool.close()


@pytest.mark.asyncio
async def test_place_of_an_abandoned_call_is_free_only_when_its_thread_is() -> None:
    pool = CallPool("test", threads=1, waiting=0)
    release, started = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(SOON)

    call = asyncio.ensure_future(pool.run(work))
    await reach(started.is_set, "the call's start")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(Busy):
        await pool.run(int)
    release.set()

    async def again() -> int:
        while True:
            try:
                return await pool.run(int)
            except Busy:
                await asyncio.sleep(0.005)

    assert await asyncio.wait_for(again(), SOON) == 0
    pool.close()


# -- gauges ----------------------------------------------------------------------------------------


class Agent:
    """Counts the questions, and answers or refuses each."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.Event()
        self.error: CloudMLError | None = None

    async def read(self, machine: str) -> Mapping[str, JSON]:
        self.asked.append(machine)
        number = len(self.asked)
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return {"number": number}


@pytest.mark.asyncio
async def test_many_pages_are_one_question() -> None:
    agent, clock = Agent(), ManualClock()
    cache = GaugesCache(agent.read, clock, keep_s=1.0)
    pages = [asyncio.ensure_future(cache.get("box")) for _ in range(50)]
    await reach(lambda: agent.asked, "the question")
    agent.answer.set()
    assert {page["number"] for page in await asyncio.gather(*pages)} == {1}
    clock.seconds = 0.9
    assert (await cache.get("box"))["number"] == 1
    clock.seconds = 1.1
    assert (await cache.get("box"))["number"] == 2
    assert agent.asked == ["box", "box"]
    await cache.close()


@pytest.mark.asyncio
async def test_machines_are_asked_separately() -> None:
    agent = Agent()
    agent.answer.set()
    cache = GaugesCache(agent.read, ManualClock())
    await asyncio.gather(cache.get("a"), cache.get("b"), cache.get("a"))
    assert sorted(agent.asked) == ["a", "b"]
    await cache.close()


@pytest.mark.asyncio
async def test_refusal_is_kept_as_long_as_an_answer() -> None:
    agent, clock = Agent(), ManualClock()
    agent.answer.set()
    agent.error = LinkDown("no link to box: no route")
    cache = GaugesCache(agent.read, clock, keep_s=1.0)
    for _ in range(3):
        with pytest.raises(LinkDown, match="no route"):
            await cache.get("box")
    assert len(agent.asked) == 1
    agent.error = None
    clock.seconds = 1.1
    assert (await cache.get("box"))["number"] == 2
    await cache.close()


@pytest.mark.asyncio
async def test_page_that_leaves_takes_nobodys_answer_away() -> None:
    agent = Agent()
    cache = GaugesCache(agent.read, ManualClock())
    first = asyncio.ensure_future(cache.get("box"))
    second = asyncio.ensure_future(cache.get("box"))
    await reach(lambda: agent.asked, "the question")
    first.cancel()
    agent.answer.set()
    assert (await second)["number"] == 1
    await cache.close()


@pytest.mark.asyncio
async def test_names_that_are_asked_once_do_not_pile_up() -> None:
    agent, clock = Agent(), ManualClock()
    agent.answer.set()
    cache = GaugesCache(agent.read, clock, keep_s=1.0)
    for number in range(100):
        await cache.get(f"m{number}")
        clock.seconds += 1.0
    assert len(cache._readings) <= 2
    await cache.close()


@pytest.mark.asyncio
async def test_close_ends_a_question_under_way() -> None:
    agent = Agent()
    cache = GaugesCache(agent.read, ManualClock())
    page = asyncio.ensure_future(cache.get("box"))
    await reach(lambda: agent.asked, "the question")
    await cache.close()
    with pytest.raises(asyncio.CancelledError):
        await page


# -- events ----------------------------------------------------------------------------------------


class Bus:
    """The server's event bus with somebody listening."""

    def __init__(self) -> None:
        self.logger = EventLogger()
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def listen(self) -> None:
        for noun in NOUNS:
            self.logger.add_listener(
                schema_id=f"https://jupyter-cloudml/{noun}/v1", listener=self._hear
            )

    async def _hear(self, logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
        self.heard.append(
            (schema_id, {key: value for key, value in data.items() if key[:2] != "__"})
        )


@pytest_asyncio.fixture
async def bus() -> Bus:
    return Bus()


@pytest_asyncio.fixture
async def publisher(bus: Bus) -> Publisher:
    made = Publisher(bus.logger, asyncio.get_running_loop())
    bus.listen()
    return made


def machine_event(version: int) -> Event:
    data: dict[str, JSON] = {"name": "box", "state": "running", "version": version}
    return Event("machine", "box", "running", version, 0, data)


@pytest.mark.asyncio
async def test_events_of_any_thread_come_in_order(bus: Bus, publisher: Publisher) -> None:
    def work() -> None:
        for version in range(1, 201):
            publisher.publish(machine_event(version))

    await asyncio.to_thread(work)
    await reach(lambda: len(bus.heard) == 200, "200 events")
    assert [data["version"] for _, data in bus.heard] == list(range(1, 201))
    assert {schema for schema, _ in bus.heard} == {"https://jupyter-cloudml/machine/v1"}


@pytest.mark.asyncio
async def test_closed_publisher_drops_events(bus: Bus, publisher: Publisher) -> None:
    publisher.publish(machine_event(1))
    await reach(lambda: bus.heard, "the first event")
    publisher.close()
    publisher.publish(machine_event(2))
    await asyncio.sleep(0.05)
    assert len(bus.heard) == 1


def test_event_after_the_loop_is_gone_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    publisher = Publisher(EventLogger(), loop)
    loop.close()
    publisher.publish(machine_event(1))


@pytest.mark.asyncio
async def test_executions_are_told_at_once_then_ten_times_a_second(
    bus: Bus, publisher: Publisher
) -> None:
    notifier = ExecutionNotifier(publisher, asyncio.get_running_loop(), 0.1)
    begun = time.monotonic()

    def chatter() -> int:
        seq = 0
        while time.monotonic() < begun + 0.55:
            seq += 1
            notifier.changed("k1", seq)
        return seq

    last = await asyncio.to_thread(chatter)
    assert last > 100
    await reach(lambda: bus.heard and bus.heard[-1][1]["seq"] == last, "the newest change")
    spent = time.monotonic() - begun
    assert 3 <= len(bus.heard) <= spent / 0.1 + 2
    sequence = [data["seq"] for _, data in bus.heard]
    assert sequence == sorted(sequence)


@pytest.mark.asyncio
async def test_quiet_kernel_costs_nothing(bus: Bus, publisher: Publisher) -> None:
    notifier = ExecutionNotifier(publisher, asyncio.get_running_loop(), 0.01)
    notifier.changed("k1", 1)
    notifier.changed("k2", 1)
    await reach(lambda: not notifier._unsent, "the interval to pass")
    assert sorted(data["kernel_id"] for _, data in bus.heard) == ["k1", "k2"]
    await asyncio.sleep(0.05)
    assert len(bus.heard) == 2
