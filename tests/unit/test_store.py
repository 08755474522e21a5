"""The store keeps its promises on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from disks import small_disk
from sqlalchemy import text

from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError, Conflict, NotFound, UsageError
from jupyter_cloudml.events import Event
from jupyter_cloudml.store import MachineRecord, Store, StoreError, engine, migrations, tables
from jupyter_cloudml.store import events as store_events


def box(name: str = "box-2", **more: object) -> MachineRecord:
    values: dict[str, object] = {
        "provider": "ssh",
        "label": name,
        "created_ms": 1,
        "desired": "running",
    }
    return MachineRecord(name=name, **(values | more))  # type: ignore[arg-type]


def told(record: MachineRecord) -> Event:
    return Event(
        "machine",
        record.name,
        record.desired,
        record.version,
        7,
        {"name": record.name, "version": record.version},
    )


class TestMachines:
    def test_what_is_kept_is_what_comes_back(self, store: Store) -> None:
        record = box(
            spec={"host": "café.example", "port": 22, "deep": {"list": [1, None, True, "é\n\"'"]}},
            host_key="SHA256:x",
            cull_idle_s=3600,
            prewarm=2,
            python="/opt/python",
        )
        change = store.machines.insert(record, told)
        assert store.machines.get("box-2") == record == change.record
        assert store.machines.list() == [record]

    def test_a_name_is_given_once(self, store: Store) -> None:
        store.machines.insert(box(), told)
        with pytest.raises(Conflict) as caught:
            store.machines.insert(box(label="another"), told)
        assert caught.value.code == "exists"
        assert store.machines.get("box-2").label == "box-2"
        assert store.events.last_seq() == 1, "the refused insertion wrote an event"

    def test_a_missing_machine_is_named(self, store: Store) -> None:
        acts: list[Callable[[], object]] = [
            lambda: store.machines.get("nowhere"),
            lambda: store.machines.update(box("nowhere"), told, label="x"),
            lambda: store.machines.touch("nowhere", told),
            lambda: store.machines.delete(box("nowhere"), told),
        ]
        for act in acts:
            with pytest.raises(NotFound, match="nowhere"):
                act()

    def test_a_change_needs_the_version_it_saw(self, store: Store) -> None:
        first = store.machines.insert(box(), told).record
        second = store.machines.update(first, told, desired="stopped").record
        assert second.version == first.version + 1
        acts: list[Callable[[], object]] = [
            lambda: store.machines.update(first, told, label="late"),
            lambda: store.machines.delete(first, told),
        ]
        for act in acts:
            with pytest.raises(Conflict) as caught:
                act()
            assert caught.value.code == "stale"
        assert store.machines.get("box-2") == second

    def test_of_many_writers_with_one_version_one_wins(self, store: Store) -> None:
        first = store.machines.insert(box(), told).record

        def attempt(number: int) -> bool:
            try:
                store.machines.update(first, told, label=f"writer {number}")
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(attempt, range(16))) == 1
        assert store.machines.get("box-2").version == 2

    def test_live_changes_from_many_threads_get_a_version_each(self, store: Store) -> None:
        store.machines.insert(box(), told)
        with ThreadPoolExecutor(8) as pool:
            versions = [
                change.record.version
                for change in pool.map(lambda _: store.machines.touch("box-2", told), range(40))
            ]
        assert sorted(versions) == list(range(2, 42))

    def test_a_deleted_machine_can_come_again(self, store: Store) -> None:
        record = store.machines.insert(box(), told).record
        assert store.machines.delete(record, told).record.version == 2
        assert store.machines.list() == []
        store.machines.insert(box(), told)


class TestEvents:
    def test_each_change_has_its_event_and_no_other(self, store: Store) -> None:
        record = store.machines.insert(box(), told).record
        record = store.machines.update(record, told, desired="stopped").record
        store.machines.delete(record, told)
        events = store.events.since(0)
        assert [(event.state, event.version) for event in events] == [
            ("running", 1),
            ("stopped", 2),
            ("stopped", 3),
        ]
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        assert events[1].data == {"name": "box-2", "version": 2}
        assert store.events.since(events[1].seq) == events[2:]

    def test_a_change_whose_event_fails_is_undone(self, store: Store) -> None:
        record = store.machines.insert(box(), told).record

        def fails(_record: MachineRecord) -> Event:
            raise ZeroDivisionError

        acts: list[Callable[[], object]] = [
            lambda: store.machines.update(record, fails, label="half"),
            lambda: store.machines.delete(record, fails),
            lambda: store.machines.insert(box("other"), fails),
        ]
        for act in acts:
            with pytest.raises(ZeroDivisionError):
                act()
        assert store.machines.list() == [record]

    def test_old_events_go_and_numbers_are_not_given_again(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_events, "EVENTS_KEPT", 20)
        monkeypatch.setattr(store_events, "_TRIM_EVERY", 10)
        last = 0
        for number in range(60):
            last = store.events.append(Event("machine", "box-2", "running", number, 0)).seq
        kept = store.events.since(0)
        assert 20 <= len(kept) <= 30
        assert kept[-1].seq == last == store.events.last_seq() == 60
        store.database.write(lambda connection: connection.execute(tables.event.delete()))
        assert store.events.append(Event("machine", "box-2", "running", 1, 0)).seq == 61

    def test_the_audit_trail_is_kept_in_order(self, store: Store) -> None:
        store.audit.record("ada", "machine.add", "box-2", "done")
        store.audit.record("ada", "machine.remove", "box-2", "in_use")
        rows = store.audit.newest()
        assert [(row.what, row.result) for row in rows] == [
            ("machine.remove", "in_use"),
            ("machine.add", "done"),
        ]
        assert rows[0].at_ms > 1_600_000_000_000


class TestOpening:
    def test_the_migrations_make_the_tables_that_the_code_uses(self, store: Store) -> None:
        def differences(connection: object) -> list[object]:
            context = MigrationContext.configure(connection, opts={"compare_type": True})  # type: ignore[arg-type]
            return list(compare_metadata(context, tables.metadata))

        assert store.database.read(differences) == []

    def test_head_is_the_newest_migration(self) -> None:
        scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
        assert scripts.get_current_head() == migrations.HEAD

    def test_opening_again_changes_nothing(self, config: Config, store: Store) -> None:
        store.machines.insert(box(), told)
        again = Store.open(config)
        assert again.machines.list() == store.machines.list()
        again.close()

    def test_many_processes_opening_a_new_database_agree(self, config: Config) -> None:
        code = (
            "import sys; from pathlib import Path; from jupyter_cloudml.config import Config; from jupyter_cloudml.store import Store\n"
            "Store.open(Config(Path(sys.argv[1]), sys.argv[2] or None)).events.last_seq()"
        )
        argv = [sys.executable, "-c", code, str(config.home), config.database or ""]
        racing = [subprocess.Popen(argv, stderr=subprocess.PIPE) for _ in range(4)]
        failures = [process.communicate(timeout=60)[1] for process in racing]
        assert [process.returncode for process in racing] == [0, 0, 0, 0], failures

    def test_a_failed_migration_leaves_nothing(
        self, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from alembic import op

        def fails(*_args: object, **_more: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(op, "create_index", fails)
            with pytest.raises(ZeroDivisionError):
                Store.open(config)
        store = Store.open(config)
        assert store.machines.list() == []
        store.close()

    def test_a_newer_database_is_left_alone(self, config: Config, store: Store) -> None:
        store.machines.insert(box(), told)
        set_version = text("UPDATE alembic_version SET version_num = '9999'")
        store.database.write(lambda connection: connection.execute(set_version))
        with pytest.raises(StoreError) as caught:
            Store.open(config)
        assert caught.value.code == "store_newer"
        assert len(store.machines.list()) == 1

    @pytest.mark.parametrize(
        "url", ["mysql://host/name", "nonsense", "sqlite://", "sqlite:///:memory:"]
    )
    def test_other_databases_are_refused(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(UsageError, match="JUPYTER_CLOUDML_DB"):
            Store.open(Config(home=tmp_path, database=url))

    def test_the_environment_names_home_and_database(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "here"))
        monkeypatch.setenv("JUPYTER_CLOUDML_DB", "postgresql://somewhere/name")
        assert Config.from_environ() == Config(tmp_path / "here", "postgresql://somewhere/name")
        monkeypatch.delenv("JUPYTER_CLOUDML_DB")
        assert Config.from_environ().database is None
        assert Config.from_environ().database_file == tmp_path / "here" / "cloudml.db"


class TestPostgres:
    def test_an_absent_server_is_named_without_the_password(self, tmp_path: Path) -> None:
        url = f"postgresql://ada:sesame@/name?host={tmp_path}"
        with pytest.raises(StoreError) as caught:
            Store.open(Config(home=tmp_path, database=url))
        assert caught.value.code == "store_unavailable"
        assert "sesame" not in str(caught.value)
        assert "ada" in str(caught.value)

    def test_a_lost_connection_is_made_anew(self, postgres_server: str, tmp_path: Path) -> None:
        with postgres.database(postgres_server, "own") as url:
            store = Store.open(Config(home=tmp_path, database=url))
            store.machines.insert(box(), told)
            with psycopg.connect(postgres_server, autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jupyter-cloudml'"
                )
            assert store.machines.get("box-2") == box()
            store.close()

    def test_a_held_lock_is_waited_for_and_then_named(
        self, postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "BUSY_MS", 100)
        monkeypatch.setattr(engine, "BUSY_TOTAL_S", 0.3)
        with postgres.database(postgres_server, "own") as url:
            store = Store.open(Config(home=tmp_path, database=url))
            store.machines.insert(box(), told)
            with psycopg.connect(url) as other:
                other.execute("SELECT * FROM machine FOR UPDATE")
                with pytest.raises(StoreError) as caught:
                    store.machines.touch("box-2", told)
            assert caught.value.code == "store_busy"
            assert store.machines.touch("box-2", told).record.version == 2
            store.close()


class TestSQLite:
    def test_the_file_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        umask = os.umask(0)
        try:
            store = Store.open(Config(home=tmp_path))
            store.machines.insert(box(), told)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        finally:
            os.umask(umask)
        assert modes.pop("cloudml.db") == 0o600
        assert set(modes.values()) == {0o600}, modes
        store.close()

    def test_a_writer_waits_for_another(self, tmp_path: Path) -> None:
        store = Store.open(Config(home=tmp_path))
        store.machines.insert(box(), told)
        other = sqlite3.connect(
            tmp_path / "cloudml.db", isolation_level=None, check_same_thread=False
        )
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
        release.start()
        assert store.machines.touch("box-2", told).record.version == 2
        release.join()
        other.close()
        store.close()

    def test_a_reader_does_not_wait_for_a_writer(self, tmp_path: Path) -> None:
        store = Store.open(Config(home=tmp_path))
        store.machines.insert(box(), told)
        other = sqlite3.connect(tmp_path / "cloudml.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE machine SET label = 'not yet'")
        started = time.monotonic()
        assert store.machines.get("box-2").label == "box-2"
        assert time.monotonic() - started < 1
        other.close()
        store.close()

    def test_a_lock_that_stays_is_an_error_within_the_bound(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "BUSY_MS", 100)
        monkeypatch.setattr(engine, "BUSY_TOTAL_S", 0.4)
        store = Store.open(Config(home=tmp_path))
        other = sqlite3.connect(tmp_path / "cloudml.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreError, match="locked") as caught:
            store.machines.insert(box(), told)
        assert 0.4 <= time.monotonic() - started < 3
        assert (caught.value.code, caught.value.status) == ("store_busy", 503)
        other.close()
        store.close()

    @pytest.mark.parametrize("spoil", ["header", "page", "text"])
    def test_a_damaged_file_is_refused_and_kept_aside(self, tmp_path: Path, spoil: str) -> None:
        store = Store.open(Config(home=tmp_path))
        for number in range(200):
            store.machines.insert(box(f"box-{number}"), told)
        store.close()
        path = tmp_path / "cloudml.db"
        content = bytearray(path.read_bytes())
        if spoil == "header":
            content[0:16] = b"\xff" * 16
        elif spoil == "page":
            content[4096 * 3 : 4096 * 4] = b"\xa5" * 4096
        else:
            content[:] = b"these are not the bytes of a database\n" * 400
        path.write_bytes(content)
        with pytest.raises(StoreError) as caught:
            Store.open(Config(home=tmp_path))
        assert caught.value.code == "store_corrupt"
        aside = next(tmp_path.glob("cloudml.db.damaged-*"))
        assert aside.name in str(caught.value)
        assert aside.read_bytes() == content, "the damaged file was written to"
        fresh = Store.open(Config(home=tmp_path))
        assert fresh.machines.list() == []
        fresh.close()

    def test_a_full_disk_is_said_so_and_loses_nothing(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        with small_disk(disk, "1m"):
            store = Store.open(Config(home=disk))
            acknowledged: list[str] = []

            def fill() -> None:
                for number in range(2000):
                    record = box(f"box-{number:04}", label="x" * 4000)
                    acknowledged.append(store.machines.insert(record, told).record.name)

            with pytest.raises(StoreError, match="no space left") as caught:
                fill()
            assert caught.value.code == "store_full"
            assert "bytes free" in caught.value.message
            assert [record.name for record in store.machines.list()] == acknowledged, (
                "reading goes on, nothing is lost"
            )
            subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
            store.machines.insert(box(), told)
            store.close()

    def test_a_disk_that_is_full_at_the_start_is_said_so(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        with small_disk(disk, "1m"):
            store = Store.open(Config(home=disk))
            store.machines.insert(box("box"), told)
            store.close()
            with contextlib.suppress(OSError), open(disk / "ballast", "wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
            with pytest.raises(StoreError, match="no space left") as caught:
                Store.open(Config(home=disk)).machines.list()
            assert caught.value.code == "store_full"
            (disk / "ballast").unlink()
            store = Store.open(Config(home=disk))
            assert [record.name for record in store.machines.list()] == ["box"]
            store.close()

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="nowhere"):
            Store.open(Config(home=tmp_path / "nowhere"))

    def test_acknowledged_rows_survive_sigkill(self, tmp_path: Path) -> None:
        code = (
            "import sys\nfrom pathlib import Path\n"
            "from jupyter_cloudml.config import Config\nfrom jupyter_cloudml.events import Event\n"
            "from jupyter_cloudml.store import Store\n"
            "store = Store.open(Config(Path(sys.argv[1])))\n"
            "while True: print(store.events.append(Event('machine', 'x', 'running', 1, 0)).seq, flush=True)"
        )
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        last = 0
        for line in itertools.islice(writer.stdout, 100):
            last = int(line)
        writer.kill()
        writer.communicate(timeout=10)
        store = Store.open(Config(home=tmp_path))
        assert store.events.last_seq() >= last == 100
        store.close()


def test_errors_of_the_store_are_errors_of_the_project() -> None:
    assert issubclass(StoreError, CloudMLError)


def test_a_store_whose_connections_are_all_in_use_is_busy(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TOTAL_S", 0.2)
    database = engine.open_database(config)
    held = [database.engine.connect() for _ in range(15)]
    with pytest.raises(StoreError, match="in use") as caught:
        database.read(lambda connection: connection.execute(text("select 1")).scalar())
    assert caught.value.code == "store_busy"
    for connection in held:
        connection.close()
    database.close()
