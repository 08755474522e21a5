"""Jobs of other schedulers: what can be imported is, and every place that cannot is named with its cause."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jupyter_cloudml.cli import call
from jupyter_cloudml.cli.job_importing import local_zone
from jupyter_cloudml.errors import NotFound, UsageError
from jupyter_cloudml.jobs.definition.job_file import parse
from jupyter_cloudml.jobs.importers.crontab import read_crontab
from jupyter_cloudml.jobs.importers.importing import Imported
from jupyter_cloudml.jobs.importers.jupyter_scheduler import expression, read_definitions

# Dumped from a database that jupyter-scheduler 2.12.1 has written, through its own Scheduler; only the ids and times were set.
DUMP = Path(__file__).parent / "data" / "jupyter_scheduler_2.12.sql"
NIGHTLY = "00000000-0000-4000-8000-000000000000"
LOST = "00000000-0000-4000-8000-000000000007"
HOME = Path("/home/ada")


def crontab(*lines: str, tz: str = "UTC", files: dict[str, str] | None = None) -> Imported:
    return read_crontab("\n".join(lines), "crontab", HOME, tz, (files or {}).__getitem__)


def only(line: str, **more: Any) -> dict[str, Any]:
    found = crontab(line, **more)
    assert found.refused == []
    return found.jobs[0].to_dict()


# --- crontab ---


def test_a_line_becomes_a_job() -> None:
    found = crontab(
        "# nightly",
        "SHELL=/bin/bash",
        "CRON_TZ = Europe/Prague",
        "30 2 * * 1-5 papermill ~/reports/digits.ipynb /tmp/out.ipynb -p alpha 0.5 -p n 3 -p on True -r zip 01234 -k python3",
    )
    assert found.refused == []
    assert [job.to_dict() for job in found.jobs] == [
        {
            "name": "digits",
            "notebook": "/home/ada/reports/digits.ipynb",
            "kernel": "python3",
            "parameters": {"alpha": 0.5, "n": 3, "on": True, "zip": "01234"},
            "triggers": [{"cron": "30 2 * * 1-5", "tz": "Europe/Prague"}],
        }
    ]
    assert [note.line() for note in found.notes] == [
        "crontab:4: it ran in /home/ada; a job runs in the folder of its notebook",
        "crontab:4: /tmp/out.ipynb is not written: each run keeps its own notebook",
    ]


@pytest.mark.parametrize(
    ("command", "notebook"),
    [
        ("papermill a.ipynb b.ipynb", "/home/ada/a.ipynb"),
        ("/opt/venv/bin/papermill $HOME/a.ipynb b.ipynb", "/home/ada/a.ipynb"),
        ("env LANG=C python3 -m papermill '/srv/a b.ipynb' b.ipynb", "/srv/a b.ipynb"),
        ("cd work && papermill a.ipynb b.ipynb", "/home/ada/work/a.ipynb"),
        ("cd ${HOME}/work ; papermill ../a.ipynb b.ipynb", "/home/ada/a.ipynb"),
        (r"papermill a.ipynb out-\%Y.ipynb --no-progress-bar >> /var/log/x 2>&1", "/home/ada/a.ipynb"),
        ("papermill --log-level INFO a.ipynb -", "/home/ada/a.ipynb"),
        ("papermill a.ipynb > /dev/null 2> err", "/home/ada/a.ipynb"),
    ],
)  # fmt: skip
def test_how_a_command_is_written(command: str, notebook: str) -> None:
    assert only(f"0 1 * * * {command}")["notebook"] == notebook


def test_parameters_come_from_texts_and_files_as_well() -> None:
    line = "@daily papermill a.ipynb b.ipynb -y '{a: [1, 2], on: yes}' -f ~/p.yaml --parameters b 2 -pc 3 --execution-timeout=60"
    found = crontab(line.replace("-pc 3", "-p c 3"), files={"/home/ada/p.yaml": "d: 0.5\na: 9\n"})
    (job,) = found.jobs
    assert job.parameters == {"a": 9, "on": "yes", "d": 0.5, "b": 2, "c": 3}
    assert job.cell_timeout_s == 60
    assert job.triggers[0].cron == "0 0 * * *"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("junk", "no five fields"),
        ("@reboot papermill a.ipynb b.ipynb", "@reboot is no time"),
        ("0 1 * * * /usr/bin/backup.sh", "runs /usr/bin/backup.sh, not papermill"),
        ("61 1 * * * papermill a.ipynb b.ipynb", "its minute is wrong"),
        ("0 0 30 2 * papermill a.ipynb b.ipynb", "never comes"),
        ("0 1 * * * papermill a.ipynb b.ipynb | tee x", "needs a shell"),
        ("0 1 * * * papermill a.ipynb b.ipynb && rm x", "needs a shell"),
        ("0 1 * * * papermill a.ipynb b.ipynb; papermill c.ipynb d.ipynb", "needs a shell"),
        ("0 1 * * * papermill a.ipynb $(date).ipynb", "a variable or a command"),
        ("0 1 * * * papermill $X/a.ipynb b.ipynb", "a variable or a command"),
        ("0 1 * * * papermill a.ipynb b%c", "standard input"),
        ("0 1 * * * papermill - b.ipynb", "from standard input"),
        ("0 1 * * * papermill", "from standard input"),
        ("0 1 * * * papermill s3://b/a.ipynb b.ipynb", "from s3://b/a.ipynb"),
        ("0 1 * * * papermill a.ipynb b.ipynb --engine dask", "the option --engine"),
        ("0 1 * * * papermill a.ipynb b.ipynb -p x", "without its value"),
        ("0 1 * * * papermill a.ipynb b.ipynb c", "the word c too many"),
        ("0 1 * * * papermill a.ipynb b.ipynb -y '[1]'", "no object"),
        ("0 1 * * * papermill a.ipynb b.ipynb -y '{a: [}'", "is no YAML"),
        ("0 1 * * * papermill a.ipynb b.ipynb --execution-timeout soon", "no number"),
        ("0 1 * * * papermill 'a.ipynb b.ipynb", "No closing quotation"),
        ("0 1 * * * papermill a.ipynb b.ipynb -p 'a b' 1", "cannot be 'a b'"),
    ],
)  # fmt: skip
def test_every_line_that_makes_no_job_is_named_with_its_cause(line: str, why: str) -> None:
    found = crontab("", line, "0 1 * * * papermill good.ipynb out.ipynb")
    (refusal,) = found.refused
    assert refusal.where == "crontab:2"
    assert why in refusal.text
    assert [job.name for job in found.jobs] == ["good"]
    assert f"crontab:2: {refusal.text}"[:60] in found.text(Path("/"))


def test_a_file_of_parameters_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = read_crontab("0 1 * * * papermill a.ipynb b.ipynb -f p.yaml", "c", tmp_path, "UTC")
    assert "p.yaml" in found.refused[0].text


def test_names_are_made_that_no_other_has() -> None:
    line = "0 1 * * * papermill 'my report.ipynb' b.ipynb"
    assert [job.name for job in crontab(line, line, line).jobs] == [
        "my-report",
        "my-report-2",
        "my-report-3",
    ]
    (job,) = crontab("0 1 * * * papermill schema.ipynb b.ipynb").jobs
    assert job.name == "schema-2", "one that a job can have"


def test_what_is_told_of_a_line_cannot_become_one_of_the_file() -> None:
    found = Imported()
    found.refuse("x:1", "evil\njobs: [{name: a, notebook: b}]" + "y" * 1000)
    assert parse(found.text(Path("/")), "f").jobs == ()


def test_the_zone_of_this_computer_is_that_of_its_crontab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    assert local_zone(tmp_path) == "UTC"
    (tmp_path / "timezone").write_text("Asia/Tokyo\n")
    assert local_zone(tmp_path) == "Asia/Tokyo"
    zone = tmp_path / "usr" / "zoneinfo" / "Europe" / "Prague"
    zone.parent.mkdir(parents=True)
    zone.touch()
    (tmp_path / "localtime").symlink_to(zone)
    assert local_zone(tmp_path) == "Europe/Prague"
    monkeypatch.setenv("TZ", ":America/Lima")
    assert local_zone(tmp_path) == "America/Lima"


# --- jupyter-scheduler ---


def notebook() -> str:
    cell: Any = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "source": "alpha = 0.1\nwhere = 'x'",
        "outputs": [],
        "execution_count": None,
    }
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database in its data folder, with the copies that were made of the notebooks."""
    folder = tmp_path / "data"
    folder.mkdir()
    path = folder / "scheduler.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
        rows = connection.execute(
            "SELECT job_definition_id, input_filename FROM job_definitions"
        ).fetchall()
    for definition, file in rows:
        if definition != LOST:
            (folder / "scheduler_staging_area" / definition).mkdir(parents=True)
            (folder / "scheduler_staging_area" / definition / file).write_text(notebook())
    return path


def test_definitions_become_jobs(database: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "reports").mkdir(parents=True)
    for name in ("digits", "weekly", "two words"):
        (root / "reports" / f"{name}.ipynb").write_text(notebook())
    found = read_definitions(database, root)
    digits = str(root / "reports" / "digits.ipynb")
    assert [job.to_dict() for job in found.jobs] == [
        {
            "name": "nightly-digits",
            "notebook": digits,
            "parameters": {"alpha": 0.5, "where": "here"},
            "triggers": [{"cron": "30 2 * * 1-5", "tz": "Europe/Prague"}],
        },
        {"name": "weekly", "notebook": str(root / "reports" / "weekly.ipynb"), "triggers": [{"cron": "0 0 * * 0"}]},
        {"name": "weekly-2", "notebook": digits, "triggers": [{"cron": "15 0 6 * * 0", "tz": "America/New_York"}]},
        {"name": "by-hand", "notebook": str(root / "reports" / "two words.ipynb")},
        {"name": "paused", "notebook": digits},
        {"name": "lost", "notebook": digits, "triggers": [{"cron": "1 1 * * *"}]},
    ]  # fmt: skip
    assert [each.where.partition(" ")[0] for each in found.refused] == ["hashed", "gone"]
    assert "its minute is wrong" in found.refused[0].text
    assert "Mars/Olympus" in found.refused[1].text
    assert [note.text for note in found.notes] == [
        "it is paused there, and imported without its times (0 * * * *)"
    ]


def test_without_the_notebooks_the_copies_are_run(database: Path, tmp_path: Path) -> None:
    found = read_definitions(database)
    copies = database.parent / "scheduler_staging_area"
    assert found.jobs[0].notebook == str(copies / NIGHTLY / "digits.ipynb")
    assert [each.where.partition(" ")[0] for each in found.refused] == ["hashed", "gone", "lost"]
    assert sum("--root" in note.text for note in found.notes) == 5
    for folder in ("a", "b"):
        (tmp_path / "root" / folder).mkdir(parents=True)
        (tmp_path / "root" / folder / "digits.ipynb").write_text(notebook() + folder)
    several = read_definitions(database, tmp_path / "root")
    assert several.jobs[0].notebook == found.jobs[0].notebook
    (tmp_path / "root" / "b" / "digits.ipynb").write_text(notebook())
    assert (
        read_definitions(database, tmp_path / "root").jobs[0].notebook.endswith("/b/digits.ipynb")
    )


def test_a_name_of_a_notebook_leads_nowhere_else(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE job_definitions SET input_filename = '../../secret.ipynb'")
        connection.execute("UPDATE job_definitions SET parameters = '{'")
        connection.commit()
    found = read_definitions(database)
    assert found.jobs == []
    assert len(found.refused) == 8


def test_an_older_database_with_fewer_columns_is_read(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        for column in ("packaged_files", "package_input_folder"):
            connection.execute(f"ALTER TABLE job_definitions DROP COLUMN {column}")
        connection.commit()
    assert len(read_definitions(database).jobs) == 5


def test_what_is_no_such_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_definitions(tmp_path / "none.sqlite")
    for data in (b"", b"no database at all, but long enough to be one" * 9):
        (tmp_path / "some.sqlite").write_bytes(data)
        with pytest.raises(UsageError) as caught:
            read_definitions(tmp_path / "some.sqlite")
        assert caught.value.code == "bad_database"


@pytest.mark.parametrize(
    ("there", "here"),
    [("0 6 * * 0", "0 6 * * 0"), ("0 6 * * 0 15", "15 0 6 * * 0"), ("@Daily", "0 0 * * *")],
)
def test_times_are_written_as_jobs_have_them(there: str, here: str) -> None:
    assert expression(there) == here


# --- the command line ---


def test_it_is_shown_first_and_made_when_it_is_asked_for(
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.ipynb").write_text(notebook())
    import_crontab = ["job", "import", "crontab", "--home", str(tmp_path), "--tz", "Asia/Tokyo"]

    def given(text: str) -> None:
        stream = io.TextIOWrapper(io.BytesIO(text.encode()))
        monkeypatch.setattr(sys, "stdin", stream)

    given("0 1 * * * papermill a.ipynb b.ipynb -p alpha 1\n")
    assert call([*import_crontab, "--project", "digits"]) == 0
    shown = capsys.readouterr().out
    (job,) = parse(shown, "f").jobs
    assert (job.name, job.notebook, job.project) == ("a", "a.ipynb", "digits")
    assert job.triggers[0].tz == "Asia/Tokyo"
    assert call(["job", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"] == []

    given("0 1 * * * papermill a.ipynb b.ipynb\nnonsense\n")
    assert call([*import_crontab, "--apply"]) == 1  # made, but for one line
    told = capsys.readouterr()
    assert "+ a" in told.out
    assert "not imported: crontab:2" in told.err
    given("0 2 * * * papermill a.ipynb b.ipynb\n")
    assert call([*import_crontab, "--apply"]) == 1  # another job has the name
    assert "another job named a" in capsys.readouterr().err

    assert call(["job", "import", "jupyter-scheduler", str(database), "--apply", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found["jobs"]) == len(found["applied"]["jobs"]) == 5
    assert len(found["refused"]) == 3
    assert call(["job", "import", "jupyter-scheduler", str(database), "--apply"]) == 1
    assert "0 to create, 0 to change, 0 to delete, 5 the same" in capsys.readouterr().out
    assert call(["job", "import", "crontab", str(tmp_path / "none")]) == 1
