"""The link to one machine: one byte stream to its agent, made again for as long as it is wanted.

A thread of its own and one selector carry everything; nothing of asyncio is on the way of a message. Opening a carrier blocks, so that is
done on a helper thread, and the link goes on answering its local clients meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from ..agent import protocol
from ..agent.loop import Loop
from ..agent.protocol import HELLO, RELEASE, RPC, VERSION, Record
from ..clock import SystemClock
from ..errors import AgentError, CloudMLError, LinkDown, ProtocolError, Unreachable
from .agent_stream import AgentStream
from .attachment import Attachment, Sink
from .attachments import Attachments
from .bootstrap import Connect, Opened, agent_archive
from .call_queue import CallQueue
from .calls import Calls
from .completed import Completed, run_command
from .state import LinkState, is_final, pause_before

HELLO_LIMIT = 20.0  # seconds from the carrier's opening to the agent's hello


class Link:
    """See Link.open, call, attach, run. ``connect`` opens the carrier (bootstrap.local_connect, bootstrap.ssh_connect)."""

    def __init__(
        self,
        name: str,
        connect: Connect,
        on_state: Callable[[LinkState], None] = lambda state: None,
    ) -> None:
        self._thread = threading.Thread(target=self._run, name=f"cloudml-link-{name}", daemon=True)
        self.machine, self.connect, self.on_state = name, connect, on_state
        self.info: dict[str, Any] = {}
        self.client = uuid.uuid4().hex
        self.loop = Loop()
        self.drops = 0
        self._nonsense = 0  # tries in a row that ended in what the protocol does not allow
        self._clock = SystemClock()
        self._state = LinkState("connecting", self._clock.now_ms())
        self._changed = threading.Condition()
        self._calls = Calls(name)
        self._attachments = Attachments(self.loop, self._ask)
        self._stream: AgentStream | None = None
        self._cancel = threading.Event()
        self._closing = False
        self._connecting = False
        self._soon = CallQueue(self.loop)

    # -- from any thread ------------------------------------------------------------------------------------------------------------
    @property
    def state(self) -> LinkState:
        """What the link is doing now."""
        return self._state

    def open(self, timeout: float = 60.0) -> None:
        """Start the link and wait until it is up. Raises the cause (CloudMLError) when the first try fails for good."""
        self.start()
        self.wait_up(timeout)

    def start(self) -> None:
        """Start the link without waiting for it; nothing happens when it is started already."""
        with self._changed:
            if self._thread.ident is None and not self._closing:
                self._thread.start()
                self.call_soon(self._try)

    def wait_up(self, timeout: float) -> None:
        """Wait until the link is up. Raises its error once somebody has to act, and the last cause when time is over."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._state.phase != "up":
                if self._state.phase == "closed" or is_final(self._state.error):
                    raise self._state.error or LinkDown(f"the link to {self.machine} is closed")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._state.error or LinkDown(
                        f"{self.machine} could not be reached within {timeout:.0f} s"
                    )
                self._changed.wait(left)

    def call_soon(self, what: Callable[[], None]) -> None:
        """Have ``what`` called on the link's thread."""
        self._soon.put(what)

    def submit(self, method: str, params: dict[str, Any]) -> Future[Any]:
        """Ask the agent; the future gets its answer, AgentError or LinkDown."""
        future: Future[Any] = Future()
        if self._closing or not self._thread.is_alive():
            future.set_exception(LinkDown(f"the link to {self.machine} is closed"))
            return future
        self.call_soon(lambda: self._ask(method, params, future))
        return future

    def call(self, method: str, timeout: float = 30.0, **params: Any) -> Any:
        """Ask the agent and wait. Raises AgentError, LinkDown (the cause in it) or TimeoutError."""
        future = self.submit(method, params)
        try:
            return future.result(timeout)
        except FutureTimeout:
            future.cancel()
            raise self._too_late(method, timeout) from None

    async def acall(self, method: str, timeout: float = 30.0, **params: Any) -> Any:
        """As call, from asyncio."""
        future = self.submit(method, params)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except asyncio.TimeoutError:
            raise self._too_late(method, timeout) from None

    def _too_late(self, method: str, timeout: float) -> CloudMLError:
        if self._state.phase != "up":
            cause = self._state.error
            return LinkDown(
                f"no link to {self.machine}: {cause.message if cause else 'still connecting'}",
                hint=cause.hint if cause else "",
            )
        return AgentError(
            f"the agent of {self.machine} did not answer {method!r} within {timeout:.0f} s",
            code="timeout",
        )

    def attach(self, process: str, since: int, sink: Sink) -> Attachment:
        """Have what a process says from ``since`` on handed to ``sink``; after a cut it goes on by itself."""
        attachment = Attachment(self, process, since, sink)
        self.call_soon(lambda: self._attachments.add(attachment, self._state.phase == "up"))
        return attachment

    def run(
        self,
        argv: list[str],
        *,
        input: bytes = b"",
        env: dict[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a command to its end and return its output (at most 16 MB). Raises AgentError, TimeoutError."""
        return run_command(self, argv, input, env or {}, cwd, timeout)

    def retry_now(self) -> None:
        """Do not wait for the next try."""
        self.call_soon(self._try)

    def close(self, timeout: float = 5.0) -> None:
        """Let go of the machine; its processes live on."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            started = self._thread.ident is not None
        self._cancel.set()
        if not started:
            self._end()
            return
        self.call_soon(self._close)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    # -- the thread -------------------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        """The thread: an error of one handler ends the stream, never the link."""
        while self.loop.running:
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - the thread's edge: one who is told of the loss has failed
                traceback.print_exc()
        self._end()

    def _turn(self) -> None:
        try:
            self.loop.once()
        except ProtocolError as exc:
            self._lost(exc)
        except protocol.ProtocolError as exc:
            self._lost(
                ProtocolError(
                    f"{self.machine} sent {exc}", hint="is the agent there another version?"
                )
            )
        except Exception as exc:  # noqa: BLE001 - the thread's edge: kernels must not die of it
            traceback.print_exc()
            self._lost(LinkDown(f"the link to {self.machine} failed: {exc!r}"))

    def _end(self) -> None:
        self._set("closed", None)
        self._soon.close()
        self.loop.close()

    def _set(
        self,
        phase: Any,
        error: CloudMLError | None,
        attempt: int = 0,
        retry_in: float | None = None,
    ) -> None:
        now = self._clock.now_ms()
        since = self._state.since_ms if self._state.phase == phase else now
        state = LinkState(
            phase, since, error, attempt, None if retry_in is None else now + int(retry_in * 1000)
        )
        with self._changed:
            self._state = state
            self._changed.notify_all()
        try:
            self.on_state(state)
        except Exception:  # noqa: BLE001 - another's code: the link goes on all the same
            traceback.print_exc()

    # -- connecting --------------------------------------------------------------------------------------------------------------------
    def _try(self) -> None:
        if self._closing or self._connecting or self._stream is not None:
            return
        self._connecting = True
        if self._state.phase != "connecting" or self._state.error is None:
            self._set("connecting", self._state.error, self._state.attempt)
        threading.Thread(
            target=self._connect, name=f"{self._thread.name}-connect", daemon=True
        ).start()

    def _connect(self) -> None:
        try:
            opened = self.connect(self._cancel)
        except CloudMLError as exc:
            error = exc
        except OSError as exc:
            error = Unreachable(f"{self.machine}: {exc}")
        except Exception as exc:  # noqa: BLE001 - the thread's edge: the link is to try again
            traceback.print_exc()
            error = LinkDown(f"connecting to {self.machine} failed: {exc!r}")
        else:
            self.call_soon(lambda: self._begin(opened))
            if self._closing:  # the link's thread may have ended without having taken it
                self._thread.join()
                opened.carrier.close()
            return
        self.call_soon(lambda: self._failed(error))

    def _failed(self, error: CloudMLError) -> None:
        self._connecting = False
        attempt = self._state.attempt + 1
        if self._closing:
            return
        if is_final(error):
            self._set("down", error, attempt)
            self._calls.fail(error)
            return
        pause = pause_before(attempt)
        self._set("down", error, attempt, pause)
        self.loop.after(pause, self._try)

    def _begin(self, opened: Opened) -> None:
        self._connecting = False
        if self._closing:
            opened.carrier.close()
            return
        stream = AgentStream(self.machine, self.loop, opened, self._take, self._lost)
        self._stream = stream
        self.loop.after(HELLO_LIMIT, lambda: self._hello_late(stream))
        stream.begin()

    def _hello_late(self, stream: AgentStream) -> None:
        if self._stream is stream and self._state.phase != "up":
            self._lost(Unreachable(f"the agent of {self.machine} does not speak", code="timeout"))

    def _lost(self, error: CloudMLError | None) -> None:
        """The stream has ended: everybody is told, and it is made again."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        stream.release()
        was_up = self._state.phase == "up"
        sound = was_up and not isinstance(
            error, ProtocolError
        )  # one that talks nonsense is not asked at once
        attempt = 1 if sound else self._nonsense + 1 if was_up else self._state.attempt + 1
        self._nonsense = 0 if sound else attempt
        pause = pause_before(attempt)
        if not self._closing:
            cause = error or LinkDown(f"the connection to {self.machine} broke off")
            self._set("down", cause, attempt, pause)
            self.loop.after(pause, self._try)
        self.drops += was_up
        threading.Thread(
            target=self._bury, args=(stream.opened, error), name=f"{self._thread.name}-end"
        ).start()
        self._attachments.down()

    def _bury(self, opened: Opened, error: CloudMLError | None) -> None:
        """End the carrier, which may take seconds, and learn why it had ended."""
        cause = error or opened.carrier.why()
        opened.carrier.close()
        if cause is not None and not self._closing:
            self.call_soon(lambda: self._learn(cause))

    def _learn(self, cause: CloudMLError) -> None:
        state = self._state
        if state.phase == "down" and state.attempt == 1:
            self._set("down", cause, 1, pause_before(1))

    def _close(self) -> None:
        self._calls.fail(None)
        self._lost(None)
        self.loop.running = False

    # -- the stream -----------------------------------------------------------------------------
    def write(self, *records: bytes) -> None:
        """Send records if there is a stream. On the link's thread."""
        if self._stream is not None:
            self._stream.write(*records)

    def _take(self, records: Iterable[Record]) -> None:
        for record in records:
            stream = self._stream
            if stream is None:
                return
            if not self._attachments.take(record) and record.channel in (HELLO, RPC):
                message = stream.message(record)
                if message is not None:
                    self._on_message(record.channel, message)
        self._attachments.taken()

    def _on_message(self, channel: int, message: dict[str, Any]) -> None:
        if channel == HELLO:
            if message.get("version") != VERSION:
                raise ProtocolError(
                    f"the agent of {self.machine} speaks version {str(message.get('version'))[:20]}, this end {VERSION}",
                    hint="use the same version of jupyter-cloudml on every computer that works with this machine",
                )
            self.info = message
            self.write(*protocol.pack_json(HELLO, {"client": self.client, "version": VERSION}))
            self._set("up", None)
            self.write(*self._calls.again())
            self._attachments.up()
            if int(message.get("release", RELEASE)) < RELEASE:
                self._upgrade()
        elif "detached" in message:
            self._attachments.taken_over(str(message["detached"]))
        else:
            self._calls.answer(message)

    def _upgrade(self) -> None:
        """The agent there is older than this release: have it go on as this one."""
        if self._stream is not None:
            opened, digest = self._stream.opened, agent_archive()[0]
            params = {"package": opened.package, "module": opened.module, "digest": digest}
            self._ask("upgrade", params, Future())

    # -- processes ------------------------------------------------------------------------------------------------------------------------------
    def _ask(self, method: str, params: dict[str, Any], future: Future[Any]) -> None:
        closed = LinkDown(f"the link to {self.machine} is closed")
        refusal: CloudMLError | None = closed if self._closing else None
        if self._stream is None and is_final(self._state.error):
            refusal = refusal or self._state.error
        if refusal is not None:
            if future.set_running_or_notify_cancel():
                future.set_exception(refusal)
            return
        records = self._calls.ask(method, params, future)
        if self._state.phase == "up":
            self.write(*records)

    def forget(self, attachment: Attachment) -> None:
        """Hear no more of a process. From any thread."""

        def now() -> None:
            if self._attachments.drop(attachment) and self._state.phase == "up":
                self._ask("detach", {"id": attachment.process}, Future())

        self.call_soon(now)
