"""Jobs as files: what is wrong is told with its line, nothing in a text does harm, and applying is all or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from databases import empty, hurry

from jupyter_cloudml.cli import call
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import CloudMLError, Conflict, NotFound, UsageError
from jupyter_cloudml.jobs.definition import job_file, plan, yaml_text
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.files import JobFiles, Source, read, source_of
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store
from jupyter_cloudml.store.jobs.applying import Author

ROOT = Path(__file__).resolve().parents[2]
TWO = """\
project: digits
jobs:
  - name: report
    notebook: report.ipynb
    triggers:
      - after: load
        on: always
  - name: load
    notebook: load.ipynb
    parameters: {alpha: 0.5, since: 2026-01-01, answer: yes}
    triggers:
      - cron: 30 2 * * 1-5
        tz: Europe/Prague
"""


def wrong(text: str) -> dict[str, Any]:
    with pytest.raises(UsageError) as caught:
        job_file.parse(text, "cloudml.yaml")
    assert caught.value.code == "bad_file"
    assert caught.value.message.startswith("cloudml.yaml:")
    assert caught.value.hint
    return {**caught.value.details, "message": caught.value.message}


# --- the text ---


def test_words_are_those_that_editors_see() -> None:
    text = "on: yes\nno: off\na: 0o17\nb: 12:30\nc: 2026-12-01T09:00:00\nd: 0777\ne: true\nf: ~\ng: -1.5e3\nh: !!str 5\n1: 2\n"
    assert yaml_text.read(text, "f").value == {
        "on": "yes",
        "no": "off",
        "a": "0o17",
        "b": "12:30",
        "c": "2026-12-01T09:00:00",
        "d": 777,
        "e": True,
        "f": None,
        "g": -1500.0,
        "h": "5",
        "1": 2,
    }


@pytest.mark.parametrize(
    "value",
    ["", "yes", "on", "1e3", "1", "0x1f", "null", "~", " a", "a: b", "# c", "a\nb", "é\u2028", "- x", "*a", "2026-01-01", "=", "<<", "'", '"', "1_000", "12:30:00", ".5", "!x", "%", "@", "\t"],
)  # fmt: skip
def test_a_text_that_is_written_is_read_back(value: str) -> None:
    document: Any = {
        "a": value,
        "b": [value, {value or "k": value}],
        "n": [1, 2.5, True, None, 1e20],
    }
    text = yaml_text.write(document)
    assert yaml_text.read(text, "f").value == document
    if "\u2028" not in value:
        assert yaml.safe_load(text)["a"] == value  # by others as well


def test_anchors_and_merges_are_read() -> None:
    node = yaml_text.read("- &a {x: 1, y: 2}\n- <<: *a\n  y: 3\n- <<: [*a, {z: 4}]\n- *a\n", "f")
    assert node.value == [
        {"x": 1, "y": 2},
        {"x": 1, "y": 3},
        {"x": 1, "y": 2, "z": 4},
        {"x": 1, "y": 2},
    ]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        (BOMB, 5, "more than 50000 values"),
        ("[" * 100_000, 1, "deeper than"),
        ("- " * 100_000 + "x", 1, "deeper than"),
        ("\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60))]), 40, "deeper"),
        ("a: &a [*a]", 1, "within or before it"),
        ("a: 1\na: 2", 2, "has 'a' twice"),
        ("a: [1", 1, "is no YAML"),
        ("a: b: c", 1, "is no YAML"),
        ("a: !!python/object:os.system x", 1, "the tag"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("? [a]\n: b", 1, "as a name"),
        ("&a x: 1\n*a : 2", 2, "an alias as a name"),
        ("<<: 1", 1, "merges what is no object"),
        ("a: \x01", 1, "is no YAML"),
        ("x" * (yaml_text.MOST_BYTES + 1), 1, "longer than 1 MB"),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_what_a_text_cannot_do(text: str, line: int, cause: str) -> None:
    found = wrong(text)
    assert cause in found["message"]
    assert found["line"] == line or cause == "is no YAML"


# --- the file ---


def test_a_file_is_read() -> None:
    found = job_file.parse(TWO, "f")
    assert [job.name for job in found.jobs] == ["report", "load"]
    assert {job.project for job in found.jobs} == {"digits"}
    assert found.jobs[0].triggers[0].on == "always"
    assert found.jobs[1].parameters == {"alpha": 0.5, "since": "2026-01-01", "answer": "yes"}


def test_every_problem_has_its_line_field_cause_and_remedy() -> None:
    text = TWO.replace("on: always", "on: often").replace("30 2 * * 1-5", "61 2 * * *")
    text = text.replace("    notebook: load.ipynb\n", "") + "    colour: red\n"
    problems = {each["field"]: each for each in wrong(text)["problems"]}
    assert {field: each["line"] for field, each in problems.items()} == {
        "jobs[0].triggers[0].on": 7,
        "jobs[1].notebook": 8,
        "jobs[1].triggers[0].cron": 11,
        "jobs[1].colour": 13,
    }
    assert all(each["cause"] and each["remedy"] for each in problems.values())


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "it"),
        ("[]", "it"),
        ("jobs: 5", "jobs"),
        ("project: a", "jobs"),
        ("jobs: [{name: a, notebook: b.ipynb, project: c}]", "jobs[0].project"),
        ("jobs: [{name: a, notebook: b.ipynb}, {name: a, notebook: b.ipynb}]", "jobs[1].name"),
        ("jobs: [{name: a, notebook: b.ipynb, max_running: 2}]", "jobs[0].max_running"),
        ("jobs: [{name: <b>, notebook: b.ipynb}]", "jobs[0].name"),
        ("jobs: [{name: a, notebook: b.ipynb, secrets: {'a b': 'env:X'}}]", "a name in jobs[0].secrets"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_jobs(text: str, field: str) -> None:
    assert wrong(text)["problems"][0]["field"] == field


def test_the_schema_is_published_and_says_the_same() -> None:
    published = json.loads((ROOT / "docs" / "cloudml.schema.json").read_text())
    assert published == json.loads(json.dumps(job_file.schema())), (
        "jupyter cloudml job schema > docs/cloudml.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(yaml_text.read(TWO, "f").value, published)
    for bad in ("jobs: 5", "jobs: [{name: a}]", "colour: red\njobs: []"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml_text.read(bad, "f").value, published)


# --- the plan ---


def test_a_plan_says_each_field_that_differs() -> None:
    old: Any = {
        "name": "a",
        "timeout_s": 5,
        "triggers": [{"cron": "1 1 * * *"}],
        "parameters": {"x": 1},
    }
    new: Any = {
        "name": "a",
        "parameters": {"x": True},
        "triggers": [{"cron": "2 1 * * *"}, {"every": "1h"}],
    }
    (change,) = plan.plan([new], {"a": old}, [])
    assert {(each.path, json.dumps(each.old), json.dumps(each.new)) for each in change.fields} == {
        ("timeout_s", "5", "null"),
        ("triggers[0].cron", '"1 1 * * *"', '"2 1 * * *"'),
        ("triggers[1]", "null", '{"every": "1h"}'),
        ("parameters.x", "1", "true"),
    }
    lines = list(plan.words([change, *plan.plan([old], {"a": old}, ["z"])]))
    assert lines[0] == "~ a"
    assert '    triggers[0].cron: "1 1 * * *" → "2 1 * * *"' in lines
    assert lines[-2:] == ["- z", "0 to create, 1 to change, 1 to delete, 1 the same"]
    assert plan.differs([change])
    assert not plan.differs(plan.plan([old], {"a": dict(old)}, []))


# --- against jobs ---


class World:
    """A store, and a folder with notebooks."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.jobs = Jobs(store)
        self.files = JobFiles(store, self.jobs, self.known)
        for name in ("load", "report"):
            (folder / f"{name}.ipynb").write_text("{}")

    def known(self, name: str) -> None:
        if name != "local":
            raise NotFound(f"there is no machine {name}", hint="add it")

    def source(self, text: str) -> Source:
        return source_of(text.encode(), "cloudml.yaml", self.folder)

    def apply(self, text: str, **how: bool) -> dict[str, str]:
        return {each.name: each.kind for each in self.files.apply(self.source(text), **how)}

    def names(self) -> list[str]:
        return [job.name for job in self.store.jobs.page()]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store.open(Config(home=tmp_path_factory.mktemp("files"), database=None))
    hurry(store)
    yield store
    store.close()


@pytest.fixture
def world(opened: Store, tmp_path: Path) -> World:
    empty(opened)
    return World(opened, tmp_path)


def test_jobs_of_a_file_run_after_each_other_in_any_order_and_the_same_again_changes_nothing(
    world: World,
) -> None:
    assert world.apply(TWO) == {"report": "create", "load": "create"}
    report, load = world.store.jobs.get("report"), world.store.jobs.get("load")
    (trigger,) = world.store.jobs.triggers(report.id)
    assert trigger.up_job_id == load.id
    assert load.spec["notebook"] == str(world.folder / "load.ipynb")
    assert load.project == "digits"
    assert world.apply(TWO) == {"report": "same", "load": "same"}
    assert world.apply(TWO.replace("0.5", "1")) == {"report": "same", "load": "change"}
    assert world.apply(TWO.replace("0.5", "1.0"))["load"] == "change"  # a parameter of another type
    assert world.store.jobs.get("load").rev == 3


def test_all_is_applied_or_nothing(world: World) -> None:
    world.apply(TWO)
    circle = TWO.replace("0.5", "9").replace(
        "- cron: 30 2 * * 1-5\n        tz: Europe/Prague", "- after: report"
    )
    with pytest.raises(UsageError) as caught:
        world.apply(circle)
    assert caught.value.code == "circle"
    assert world.store.jobs.get("load").rev == 1


def test_what_is_named_has_to_be_there(world: World) -> None:
    text = (
        TWO.replace("report.ipynb", "gone.ipynb").replace("after: load", "after: lost")
        + "    machine: box\n"
    )
    with pytest.raises(UsageError) as caught:
        world.apply(text)
    told: Any = caught.value.details["problems"]
    assert [(each["field"], each["line"]) for each in told] == [
        ("report.notebook", 3),
        ("report.triggers[0].after", 3),
        ("load.machine", 8),
    ]
    assert world.names() == []


def test_prune_deletes_only_what_the_project_had_before(world: World) -> None:
    world.apply(TWO)
    world.apply(
        TWO.replace("digits", "other")
        .replace("load", "load2")
        .replace("report\n", "report2\n")
        .replace("load2.ipynb", "load.ipynb")
    )
    world.jobs.apply({"name": "mine", "notebook": "x.ipynb"})
    assert world.apply("project: digits\njobs: [{name: solo, notebook: load.ipynb}]") == {
        "solo": "create"
    }
    assert "load" in world.names()
    changes = world.files.plan(world.source("project: digits\njobs: []"), prune=True)
    assert sorted(each.name for each in changes) == ["load", "report", "solo"]
    assert world.apply("project: digits\njobs: []", prune=True) == dict.fromkeys(
        ["load", "report", "solo"], "delete"
    )
    assert world.names() == ["load2", "mine", "report2"]
    with pytest.raises(UsageError) as caught:
        world.apply("jobs: []", prune=True)
    assert caught.value.code == "no_project"
    assert world.names() == ["load2", "mine", "report2"]


def test_nothing_is_left_to_run_after_a_job_that_was_pruned(world: World) -> None:
    world.apply(TWO)
    world.jobs.apply({"name": "mine", "notebook": "x.ipynb", "triggers": [{"after": "load"}]})
    with pytest.raises(Conflict) as caught:
        world.apply("project: digits\njobs: []", prune=True)
    assert "mine runs after load" in caught.value.message
    assert world.names() == ["load", "mine", "report"]
    only = TWO[: TWO.index("  - name: load")]
    with pytest.raises(UsageError, match="names load, which is no job"):
        world.apply(only, prune=True)
    assert world.apply(only) == {"report": "same"}


def test_a_job_of_another_project_is_left_to_that(world: World) -> None:
    world.apply(TWO)
    with pytest.raises(UsageError, match="is a job of the project digits already"):
        world.apply(TWO.replace("digits", "other"))
    definition = JobSpec.from_dict({"name": "load", "notebook": "x", "project": "other"})
    with pytest.raises(Conflict) as caught:  # it came between the look and the writing
        world.jobs.apply_file([definition], Author())
    assert caught.value.code == "other_project"


def test_a_repository_that_is_a_folder_is_that_of_the_file(world: World) -> None:
    text = "jobs: [{name: a, notebook: load.ipynb, triggers: [{git: .}, {git: 'https://x.org/a.git'}]}]"
    (job,) = world.source(text).file.jobs
    assert [each.git for each in job.triggers] == [str(world.folder), "https://x.org/a.git"]


def test_a_job_of_no_project_is_taken_in(world: World) -> None:
    world.jobs.apply({"name": "load", "notebook": str(world.folder / "load.ipynb")})
    assert world.apply(TWO)["load"] == "change"
    assert world.store.jobs.get("load").project == "digits"


def test_what_is_exported_is_applied_without_a_change(world: World) -> None:
    world.apply(TWO)
    text = world.files.export([], world.folder)
    assert set(world.apply(text, prune=True).values()) == {"same"}
    assert "notebook: load.ipynb" in text
    elsewhere = source_of(world.files.export(["load"], Path("/")).encode(), "f", Path("/"))
    assert [each.kind for each in world.files.plan(elsewhere)] == ["same"]
    world.jobs.apply({"name": "mine", "notebook": "/x.ipynb"})
    with pytest.raises(UsageError) as caught:
        world.files.export([], world.folder)
    assert caught.value.code == "several_projects"
    assert world.files.export([], world.folder, "digits") == text


def test_the_author_and_the_commit_are_on_record(world: World) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=world.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    path = world.folder / "cloudml.yaml"
    path.write_text(TWO)
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    source = read(path)
    assert source.author.git_commit == git("rev-parse", "HEAD")
    assert source.author.name
    path.write_text(TWO.replace("0.5", "0.6"))
    assert read(path).author.git_commit == f"{git('rev-parse', 'HEAD')}-dirty"
    world.files.apply(source)
    job = world.store.jobs.get("load")
    assert world.store.jobs.author(job.id, 1) == source.author


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, data in (
        (tmp_path / "none.yaml", None),
        (tmp_path / "latin.yaml", b"a: \xe9"),
        (tmp_path, None),
    ):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(CloudMLError) as caught:
            read(path)
        assert str(path) in caught.value.message


# --- the command line ---


def test_the_exit_status_tells_a_pipeline_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("load", "report"):
        (tmp_path / f"{name}.ipynb").write_text("{}")
    Path("cloudml.yaml").write_text(TWO)
    assert call(["job", "diff"]) == 1
    assert "+ report" in capsys.readouterr().out
    assert call(["job", "apply", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["job"], each["change"]) for each in told["jobs"]] == [
        ("report", "create"),
        ("load", "create"),
    ]
    assert call(["job", "diff"]) == 0
    Path("cloudml.yaml").write_text(TWO.replace("30 2 * * 1-5", "never"))
    capsys.readouterr()
    assert call(["job", "diff"]) == 2
    assert call(["job", "apply"]) == 2
    assert "cloudml.yaml:12: jobs[1].triggers[0].cron" in capsys.readouterr().err
    assert call(["job", "diff", "-f", "none.yaml"]) == 2
    assert call(["job", "export", "-f", "out.yaml"]) == 0
    assert call(["job", "diff", "-f", "out.yaml", "--prune"]) == 0
    assert call(["job", "export", "-f", "out.yaml"]) == 2
    assert call(["job", "export", "-f", "out.yaml", "--force"]) == 0
    capsys.readouterr()
    assert call(["job", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(job_file.schema()))
    assert sys.platform == "win32" or (tmp_path / "out.yaml").stat().st_mode & 0o777 == 0o600
