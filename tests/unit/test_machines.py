"""Operations, and what can be said of machines without reaching one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import (
    JSON,
    Cancelled,
    CloudMLError,
    Conflict,
    NoFolder,
    NotFound,
    Unreachable,
    UsageError,
)
from jupyter_cloudml.events import Event
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines.model import Step
from jupyter_cloudml.machines.operations import KEPT, LOG_LINES, WAITING, Operation, Operations
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml.store import MachineRecord, Store, StoreError

STEP = Step(1, 2, "looking", 5)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def operations(events: list[Event]) -> Iterator[Operations]:
    made = Operations(events.append)
    yield made
    made.close()


class TestOperations:
    def test_one_that_ends_has_its_result_its_log_and_its_events(
        self, operations: Operations, events: list[Event]
    ) -> None:
        def work(operation: Operation) -> JSON:
            operation.progress(STEP)
            operation.log("found it")
            return {"name": "box-2"}

        operation = operations.start("add", "box-2", work, {"host": "box-2"})
        assert operation.ended.wait(5)
        assert operations.get(operation.id).to_dict() == {
            "id": operation.id,
            "kind": "add",
            "target": "box-2",
            "about": {"host": "box-2"},
            "state": "done",
            "step": STEP.to_dict(),
            "log": ["1/2 looking", "found it"],
            "result": {"name": "box-2"},
            "error": None,
        }
        assert [(e.noun, e.state, e.data["step"]) for e in events] == [
            ("operation", "running", None),
            ("operation", "running", STEP.to_dict()),
            ("operation", "done", STEP.to_dict()),
        ]
        assert [event.version for event in events] == [1, 2, 3]

    def test_an_error_is_kept_as_it_was_raised(self, operations: Operations) -> None:
        def work(operation: Operation) -> JSON:
            raise Unreachable("no route to box-7", code="no_route", hint="switch it on")

        operation = operations.start("start", "box-7", work)
        assert operation.ended.wait(5)
        error = operation.to_dict()["error"]
        assert operation.to_dict()["state"] == "failed"
        assert isinstance(error, dict)
        assert (error["code"], error["hint"]) == ("no_route", "Switch it on")

    def test_a_defect_is_no_secret_and_no_traceback_for_the_page(
        self, operations: Operations, caplog: pytest.LogCaptureFixture
    ) -> None:
        def work(operation: Operation) -> JSON:
            raise ZeroDivisionError("sesame")

        operation = operations.start("start", "box-7", work)
        assert operation.ended.wait(5)
        assert operation.error is not None
        assert operation.error.code == "internal"
        assert "sesame" not in str(operation.to_dict())
        assert "ZeroDivisionError" in caplog.text

    def test_one_that_is_called_off_ends_at_its_next_step(self, operations: Operations) -> None:
        began = threading.Event()

        def work(operation: Operation) -> JSON:
            began.set()
            assert operation.cancelled.wait(5)
            operation.progress(STEP)
            raise AssertionError("went on")

        operation = operations.start("add", "box-2", work)
        assert began.wait(5)
        operations.cancel(operation.id)
        assert operation.ended.wait(5)
        assert operation.to_dict()["state"] == "cancelled"
        assert isinstance(operation.error, Cancelled)
        assert operation.step is None

    def test_one_that_is_called_off_while_it_waits_never_begins(
        self, operations: Operations
    ) -> None:
        release, ran = threading.Event(), threading.Event()
        blocking = [
            operations.start("x", "y", lambda op: release.wait(10) or None) for _ in range(8)
        ]

        def work(operation: Operation) -> JSON:
            ran.set()
            return None

        waiting = operations.start("add", "box-2", work)
        operations.cancel(waiting.id)
        release.set()
        assert all(operation.ended.wait(5) for operation in [*blocking, waiting])
        assert waiting.to_dict()["state"] == "cancelled"
        assert not ran.is_set()

    def test_the_last_hundred_are_kept_and_none_that_runs_is_lost(
        self, operations: Operations
    ) -> None:
        release = threading.Event()
        first = operations.start("x", "y", lambda operation: release.wait(30) or None)
        for _ in range(KEPT + 20):
            assert operations.start("x", "y", lambda operation: None).ended.wait(5)
        assert len(operations.list()) == KEPT
        assert operations.get(first.id) is first
        with pytest.raises(NotFound):
            operations.get("no-such")
        release.set()

    def test_too_many_at_once_are_refused(self, operations: Operations) -> None:
        release = threading.Event()
        try:
            for _ in range(WAITING):
                operations.start("x", "y", lambda operation: release.wait(30) or None)
            with pytest.raises(CloudMLError) as caught:
                operations.start("x", "y", lambda operation: None)
            assert caught.value.code == "busy"
        finally:
            release.set()

    def test_the_log_is_bounded(self, operations: Operations) -> None:
        def work(operation: Operation) -> JSON:
            for number in range(LOG_LINES * 3):
                operation.log(f"{number} " + "x" * 5000)
            return None

        operation = operations.start("x", "y", work)
        assert operation.ended.wait(5)
        log = operation.to_dict()["log"]
        assert isinstance(log, list)
        assert len(log) == LOG_LINES
        assert max(len(str(line)) for line in log) <= 1000

    def test_one_that_cannot_be_told_of_is_done_and_ends_all_the_same(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(event: Event) -> None:
            raise RuntimeError("the event loop is closed")

        operations = Operations(fail)
        operation = operations.start("x", "y", lambda operation: 1)
        assert operation.ended.wait(5)
        assert operation.result == 1
        assert "the event loop is closed" in caplog.text
        operations.close()

    def test_closing_calls_all_off(self, operations: Operations) -> None:
        operation = operations.start("x", "y", lambda op: op.cancelled.wait(10))
        operations.close()
        assert operation.ended.wait(5)
        with pytest.raises(CloudMLError):
            operations.start("x", "y", lambda op: None)


class Kernelspecs:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def install(self, machine: str, label: str, host_specs: JSON, python: str) -> None:
        self.calls.append(("install", machine))

    def remove(self, machine: str) -> None:
        self.calls.append(("remove", machine))

    def reconcile(self, machines: Collection[str]) -> None:
        self.calls.append(("reconcile", sorted(machines)))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    made = Store.open(Config.from_environ())
    yield made
    made.close()


@pytest.fixture
def machines(store: Store, tmp_path: Path, events: list[Event]) -> Iterator[Machines]:
    made = Machines(store, tmp_path / "home", on_event=events.append, kernelspecs=Kernelspecs())
    yield made
    made.close()


def announce(record: MachineRecord) -> Event:
    return Event("machine", record.name, record.desired, record.version, 0)


def record(name: str, **more: object) -> MachineRecord:
    values: dict[str, object] = {
        "provider": "ssh",
        "label": name,
        "created_ms": 1,
        "desired": "running",
        "spec": {"host": name, "user": "ada", "port": 2222},
    }
    return MachineRecord(name=name, **(values | more))  # type: ignore[arg-type]


class TestMachines:
    def test_this_computer_is_there_from_the_first_start(self, machines: Machines) -> None:
        (local,) = machines.list()
        shown = local.to_dict()
        assert (shown["name"], shown["label"], shown["provider"]) == (
            "local",
            "This machine",
            "local",
        )
        assert (shown["state"], shown["cause"], shown["carrier"]) == (
            "stopped",
            "not connected",
            "unix",
        )

    def test_a_view_has_the_keys_of_the_contract(self, machines: Machines) -> None:
        assert set(machines.get("local").to_dict()) == {
            "name",
            "provider",
            "label",
            "state",
            "step",
            "since_ms",
            "cause",
            "next_action",
            "error",
            "address",
            "carrier",
            "python",
            "info",
            "kernels",
            "version",
            "cull_idle_s",
            "price_per_hour",
            "prewarm",
        }

    def test_the_list_begins_with_this_computer_and_waits_for_none(
        self, machines: Machines, store: Store
    ) -> None:
        for name in ("zeta", "alpha"):
            store.machines.insert(record(name), announce)
        views = machines.list()
        assert [view.name for view in views] == ["local", "alpha", "zeta"]
        assert views[1].address == "ada@alpha:2222"

    def test_a_machine_of_a_provider_that_is_not_installed_hurts_no_other(
        self, machines: Machines, store: Store
    ) -> None:
        store.machines.insert(record("cloud", provider="nimbus"), announce)
        local, cloud = machines.list()
        assert local.status.state.value == "stopped"
        assert cloud.status.state.value == "unreachable"
        assert "nimbus" in str(cloud.status.cause)
        with pytest.raises(NotFound, match="nimbus"):
            machines.link("cloud")

    def test_a_record_that_was_tampered_with_reaches_no_command(
        self, machines: Machines, store: Store, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"
        spec: dict[str, JSON] = {"host": f"-oProxyCommand=touch {mark}"}
        store.machines.insert(record("odd", spec=spec), announce)
        assert machines.get("odd").status.state.value == "unreachable"
        with pytest.raises(UsageError):
            machines.link("odd")
        with pytest.raises(UsageError):
            machines.start("odd")
        assert not mark.exists()

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "-oProxyCommand=x",
            "$(touch m)",
            "`touch m`",
            "a b",
            "é",
            "a\nb",
            "x" * 64,
            "x" * 1_000_000,
            "../up",
            "local",
            "suggestions",
            "schema",
            "host-key",
        ],
    )
    def test_names_that_are_none_are_refused(self, machines: Machines, name: str) -> None:
        with pytest.raises(UsageError) as caught:
            machines.add_ssh(name, SSHTarget("127.0.0.1"))
        assert caught.value.code == "bad_name"
        assert len(str(caught.value)) < 500

    def test_a_name_is_taken_in_any_case_of_letters(self, machines: Machines, store: Store) -> None:
        store.machines.insert(record("Box"), announce)
        with pytest.raises(Conflict, match="Box"):
            machines.add_ssh("bOX", SSHTarget("127.0.0.1"))

    def test_what_is_not_there_is_said_so(self, machines: Machines) -> None:
        acts: list[Callable[[str], object]] = [
            machines.get,
            machines.link,
            machines.start,
            machines.stop,
            machines.retry,
            machines.remove,
            machines.check,
            machines.processes,
        ]
        for act in acts:
            with pytest.raises(NotFound, match="nowhere"):
                act("nowhere")

    def test_this_computer_cannot_be_removed(self, machines: Machines) -> None:
        with pytest.raises(UsageError, match="cannot be removed"):
            machines.remove("local")
        assert [view.name for view in machines.list()] == ["local"]

    def test_label_and_policies_can_be_changed(
        self, machines: Machines, events: list[Event]
    ) -> None:
        view = machines.change("local", label="My laptop", cull_idle_s=600, prewarm=1)
        assert (view.label, view.cull_idle_s, view.prewarm) == ("My laptop", 600, 1)
        assert machines.change("local", cull_idle_s=None).cull_idle_s is None
        assert [event.data["version"] for event in events] == [2, 3]
        assert events[-1].schema_id == "https://jupyter-cloudml/machine/v1"

    @pytest.mark.parametrize(
        "changes",
        [
            {"label": ""},
            {"label": "x" * 101},
            {"label": "a\nb"},
            {"label": 7},
            {"cull_idle_s": 0},
            {"cull_idle_s": "60"},
            {"cull_idle_s": True},
            {"cull_idle_s": 10**12},
            {"prewarm": -1},
            {"prewarm": 5},
            {"prewarm": None},
            {"name": "other"},
            {"host_key": "SHA256:x"},
            {"desired": "absent"},
        ],
    )
    def test_other_changes_are_refused(self, machines: Machines, changes: dict[str, JSON]) -> None:
        with pytest.raises(UsageError) as caught:
            machines.change("local", **changes)
        assert caught.value.hint
        assert machines.get("local").version == 1

    def test_a_stopped_machine_is_not_connected_to_by_the_way(
        self, machines: Machines, store: Store
    ) -> None:
        store.machines.insert(record("box", desired="stopped"), announce)
        for act in (machines.link, machines.retry, machines.processes):
            with pytest.raises(Conflict) as caught:
                act("box")
            assert caught.value.code == "stopped"
        assert machines.stop("box").status.state.value == "stopped", "done already is done"

    def test_who_did_what_is_written_down(self, machines: Machines, store: Store) -> None:
        with pytest.raises(UsageError):
            machines.add_ssh("local", SSHTarget("127.0.0.1"))
        with pytest.raises(NotFound):
            machines.remove("nowhere")
        rows = [(row.what, row.target, row.result) for row in store.audit.newest()]
        assert rows == [
            ("machine.remove", "nowhere", "not_found"),
            ("machine.add", "local", "bad_name"),
        ]
        assert store.audit.newest()[0].who

    def test_what_was_to_be_removed_when_the_process_died_is_removed_at_the_next_start(
        self, machines: Machines, store: Store, events: list[Event]
    ) -> None:
        store.machines.insert(record("half", desired="absent"), announce)
        assert machines.get("half").status.state.value == "stopping"
        machines.connect_all()
        wait_until(lambda: any(event.data.get("removed") for event in events))
        assert [view.name for view in machines.list()] == ["local"]
        machines.stop("local")

    def test_machines_are_looked_after_also_where_kernelspecs_cannot_be_written(
        self, store: Store, tmp_path: Path, events: list[Event], caplog: pytest.LogCaptureFixture
    ) -> None:
        class ReadOnly(Kernelspecs):
            def reconcile(self, machines: Collection[str]) -> None:
                raise NoFolder("the folder kernels cannot be used: Read-only file system")

        made = Machines(store, tmp_path / "home", on_event=events.append, kernelspecs=ReadOnly())
        store.machines.insert(record("half", desired="absent"), announce)
        made.connect_all()
        wait_until(lambda: any(event.data.get("removed") for event in events))
        assert "Read-only file system" in caplog.text
        made.stop("local")
        made.close()

    def test_the_state_is_told_even_when_it_cannot_be_kept(
        self,
        machines: Machines,
        store: Store,
        events: list[Event],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        machines.change("local", label="before")

        def full(*args: object) -> None:
            raise StoreError("no space left", code="store_full")

        monkeypatch.setattr(store.machines, "touch", full)
        machines.link("local")
        wait_until(lambda: bool(events) and events[-1].state == "running")
        versions = [event.version for event in events]
        assert versions == sorted(set(versions)), "each is newer than the one before"
        monkeypatch.undo()
        machines.stop("local")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(seconds * 100)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError(f"it did not come about within {seconds} s")
