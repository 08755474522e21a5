"""`jupyter cloudml job …` and `scheduler`, on this computer and on a real host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from runs import notebook

from jupyter_cloudml import Client
from jupyter_cloudml.jobs.attempts import installation

from .repositories import git
from .test_cli import Home, home  # noqa: F401 - the fixture

# Each cell leaves a line each time that it runs; the second one waits to be let on.
COUNTED = [
    "import os, pathlib, time\nhere = pathlib.Path({folder!r})\n"
    "def mark(n):\n    with open(here / 'marks', 'a') as file: file.write(f'{{n}} {{os.getpid()}}\\n')\n"
    "mark(1)",
    "mark(2)\nprint('waits', flush=True)\nwhile not (here / 'go').exists(): time.sleep(0.02)",
    "mark(3)",
]


def put(folder: Path, name: str, *sources: str, tags: Any = ()) -> Path:
    path = folder / name
    path.write_text(json.dumps(notebook(*sources, tags=tags)))
    return path


def counted(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return put(folder, "counted.ipynb", *(s.format(folder=str(folder)) for s in COUNTED))


def marks(folder: Path) -> list[str]:
    file = folder / "marks"
    return file.read_text().splitlines() if file.exists() else []


def nobody_serves() -> bool:
    with Client() as client:
        return not client._store.servers.list()


def text_of(path: str) -> str:
    cells = json.loads(Path(path).read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


def test_a_notebook_runs_and_all_of_it_is_told(home: Home, tmp_path: Path) -> None:  # noqa: F811
    path = put(
        tmp_path,
        "digits.ipynb",
        "alpha = 0.1\nfail = False",
        "print('alpha is', alpha)",
        "assert not fail, 'as asked'",
        tags=[["parameters"]],
    )
    before = path.read_bytes()
    for wrong, status in (("alpha=much", 2), ("beta=1", 2), ("alpha", 2)):
        refused = home.run("job", "run", str(path), "-p", wrong, check=status)
        assert wrong.partition("=")[0] in refused.stderr and "→" in refused.stderr
    assert "there is no notebook" in home.run("job", "run", "./gone.ipynb", check=1).stderr
    assert "nobody" in home.run("job", "run", str(path), "--on", "nobody", check=1).stderr
    assert home.json("job", "runs") == {"runs": []}, "what is refused makes no run"

    done = home.json("job", "run", str(path), "-p", "alpha=2", "--wait")
    assert done["state"] == "succeeded" and set(done) == {"run", "state"}
    seen = home.json("job", "show", done["run"])
    assert [cell["status"] for cell in seen["cells"]] == ["ok"] * 4
    assert text_of(seen["executed_notebook"]) == "alpha is 2.0\n"
    assert "alpha is 2.0" in Path(seen["html"]).read_text()
    assert [each["state"] for each in seen["attempts"]] == ["succeeded"]
    assert seen["provenance"]["params"] == {"alpha": 2}
    assert path.read_bytes() == before

    failed = home.run("job", "run", str(path), "-p", "fail=true", "--follow", check=1)
    assert "alpha is 0.1" in failed.stdout and "AssertionError: as asked" in failed.stderr
    run = home.json("job", "runs")["runs"][0]["run"]
    seen = home.json("job", "show", run)
    assert (seen["state"], seen["cells"][-1]["status"]) == ("failed", "error")
    assert "AssertionError: as asked" in seen["reason"]
    path.write_text(json.dumps(notebook("print('another')")))
    again = json.loads(home.run("job", "retry", run, "--wait", "--json", check=1).stdout)
    assert again["state"] == "failed", "the notebook as it was runs again"
    assert home.json("job", "show", again["run"])["retry_of"] == run
    assert home.run("job", "logs", again["run"]).stdout == "alpha is 0.1\n"


def test_the_jobs_of_a_file_run_and_the_record_outlives_them(
    home: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    put(folder, "load.ipynb", "n = 1", "print('loaded', n)", tags=[["parameters"]])
    put(folder, "report.ipynb", "print('reported')")
    file = folder / "cloudml.yaml"
    file.write_text(
        "project: digits\njobs:\n"
        "  - {name: report, notebook: report.ipynb, triggers: [{after: load}]}\n"
        "  - {name: load, notebook: load.ipynb, parameters: {n: 7}}\n"
    )
    assert home.run("job", "diff", "-f", str(file), check=1).stdout.startswith("+ report")
    home.run("job", "apply", "-f", str(file))
    with Client() as client, client.jobs.serving():
        run = client.jobs.wait(client.jobs.run("load").id)
        (report,) = client.jobs.runs("report")  # made when the other ended
        assert client.jobs.wait(report.id).state == "succeeded", report.reason
    assert home.run("job", "logs", run.id).stdout == "loaded 7\n"
    file.write_text("project: digits\njobs: []\n")
    assert "- load" in home.run("job", "apply", "-f", str(file), "--prune").stdout
    assert home.json("job", "list")["jobs"] == []
    assert text_of(home.json("job", "show", report.id)["executed_notebook"]) == "reported\n"


def test_a_cell_of_a_shell_runs_as_a_job_with_the_cells_that_it_needs(
    home: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    lines = [
        "%load_ext jupyter_cloudml",
        "base = 20",
        "%%job --follow -p factor=2\nprint('got', base * factor)",
    ]
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for line in {lines!r}: shell.run_cell(line, store_history=True)\n"
    )
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "with an earlier cell for base" in done.stdout, done.stderr
    assert "got 40\n" in done.stdout and "succeeded" in done.stdout, done.stderr
    run = home.json("job", "runs")["runs"][0]["run"]
    seen = home.json("job", "show", run)
    assert seen["provenance"]["notebook"] == str(tmp_path / "cell.ipynb")


def test_a_killed_scheduler_is_followed_by_another_and_cells_run_once(
    home: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = tmp_path / "side"
    first = home.start("job", "run", str(counted(folder)), "--wait")
    wait_until(lambda: len(marks(folder)) == 2, "the second cell", 60)
    first.kill()
    first.communicate()
    second = home.start("scheduler", "--until-idle")
    third = home.start("scheduler")
    (folder / "go").touch()
    assert second.wait(60) == 0
    third.terminate()
    assert third.wait(60) == 0
    for each in (second, third):
        each.communicate()
    (run,) = home.json("job", "runs")["runs"]
    seen = home.json("job", "show", run["run"])
    assert (seen["state"], len(seen["attempts"])) == ("succeeded", 1)
    assert [line.split()[0] for line in marks(folder)] == ["1", "2", "3"]
    assert len({line.split()[1] for line in marks(folder)}) == 1
    assert text_of(seen["executed_notebook"]) == "waits\n"
    assert nobody_serves()


def test_a_run_is_left_to_a_scheduler_and_cancelled(home: Home, tmp_path: Path) -> None:  # noqa: F811
    folder = tmp_path / "side"
    path = counted(folder)
    made = home.json("job", "create", "nightly", str(path), "--cron", "0 3 * * *")
    assert made["next_due_ms"] and made["rev"] == 1
    assert (
        "never" in home.run("job", "create", "x", str(path), "--cron", "0 0 30 2 *", check=2).stderr
    )
    # What a run needs and does not find is named, and ends it.
    home.run("job", "create", "poor", str(path), "--secret", "TOKEN=env:NOT_SET_ANYWHERE")
    poor = home.run("job", "run", "poor", "--wait", check=1)
    assert "env:NOT_SET_ANYWHERE is not in the environment" in poor.stderr
    home.run("job", "pause", "nightly")
    assert home.json("job", "list")["jobs"][0]["paused"] is True
    home.run("job", "resume", "nightly")
    run = home.json("job", "run", "nightly")["run"]
    wait_until(lambda: len(marks(folder)) == 2, "a scheduler that was started for it", 60)
    pid = int(marks(folder)[1].split()[1])
    assert home.json("job", "cancel", run, "--wait")["state"] == "cancelled"
    assert not os.path.exists(f"/proc/{pid}")
    assert home.json("job", "show", run)["state"] == "cancelled"
    assert [each["run"] for each in home.json("job", "runs", "nightly")["runs"]] == [run]
    wait_until(nobody_serves, "the end of that scheduler", 60)


def test_a_failed_run_goes_on_at_its_failed_cell_in_the_kernel_that_was_kept(
    home: Home,  # noqa: F811
    tmp_path: Path,
) -> None:
    ready = tmp_path / "ready"
    path = put(
        tmp_path,
        "long.ipynb",
        f"import os\nprint('computed', flush=True)\nready = {str(ready)!r}\n_ = open('half', 'w').write('1')",
        "assert os.path.exists(ready), 'not yet'\nprint('went on')\n_ = open('half', 'a').write('2')",
    )
    made = {"name": "long", "notebook": str(path), "keep_on_failure": "10m", "code": "copy"}
    (tmp_path / "long.json").write_text(json.dumps(made))
    home.run("job", "create", "long", "-f", str(tmp_path / "long.json"))
    done = home.run("job", "run", "long", "--wait", "--json", check=1)
    run = json.loads(done.stdout)["run"]
    kept = home.json("job", "show", run)["kept"]
    assert kept["cell"] == 1 and kept["machine"] == "local"
    opened = home.json("job", "open", run)
    assert opened["command"].endswith(f"--existing {kept['connection_file']}")
    ready.touch()
    again = home.run("job", "retry", run, "--from-failed", "--wait", "--json")
    assert "it goes on at cell 2, in the kernel that was kept" in again.stderr
    seen = home.json("job", "show", json.loads(again.stdout)["run"])
    assert seen["resumed"] == {"of": kept["name"], "at": 1, "why": None}
    assert [cell["status"] for cell in seen["cells"]] == ["reused", "ok"]
    assert text_of(seen["executed_notebook"]) == "computed\nwent on\n"
    # Its folder was the kernel's.
    first = home.json("job", "show", run)["files"]
    both = [Path(each["folder"], "half").read_text() for each in (first, seen["files"])]
    assert both == ["1", "12"]
    # It has gone with the run that went on in it.
    assert home.json("job", "show", run)["kept"] is None
    assert "has left no kernel" in home.run("job", "release", run, check=1).stderr


def test_a_run_on_a_host_has_the_code_and_the_secrets(
    home: Home,  # noqa: F811
    host: Host,
    ssh_config: SSHConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The Python of these tests, which the hosts have as well: making one takes a minute.
    monkeypatch.setattr(installation, "python_for_runs", lambda *args: sys.executable)
    monkeypatch.setenv("TOKEN_OF_TEST", "hush-7")
    folder = tmp_path / "digits"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("data/\n")
    (folder / "helper.py").write_text("version = 1\n")
    path = put(
        folder,
        "job.ipynb",
        "import helper, os\nprint(os.getcwd(), helper.version, len(os.environ['TOKEN']))\n"
        "open('out.txt', 'w').write('made')\nos.path.exists('data/die') and os.kill(os.getppid(), 9)",
    )
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    secret = ("--secret", "TOKEN=env:TOKEN_OF_TEST")
    words = ("job", "create", "far", str(path), "--on", "box", "--code", "copy")
    made = home.json(*words, *secret)
    copies = "/home/ada/.cache/jupyter-cloudml/copies/runs"
    with Client() as client:
        queued = client.jobs.run("far")
        (folder / "helper.py").write_text("version = 2\n")  # of which it knows nothing
        with client.jobs.serving():
            assert client.jobs.wait(queued.id).state == "succeeded", client.jobs.show(queued.id)
            seen: dict[str, Any] = dict(client.jobs.show(queued.id))
            assert text_of(str(seen["executed_notebook"])) == f"{copies}/{queued.id}-1/digits 1 6\n"
            again, _ = client.jobs.retry(queued.id)
            assert client.jobs.wait(again.id).state == "succeeded"
            # Its folder is one that people work in, too; what git ignores there is in each copy. Its runner is killed.
            home.run("code", "sync", str(folder), "--on", "box")
            host.run(["sh", "-c", "mkdir -p ~/digits/data && touch ~/digits/data/die"])
            killed = client.jobs.wait(client.jobs.run("far").id)
        assert (killed.state, "process of the run ended" in (killed.reason or "")) == (
            "failed",
            True,
        )
    retried = home.json("job", "show", again.id)
    assert text_of(retried["executed_notebook"]) == f"{copies}/{again.id}-1/digits 1 6\n"
    assert retried["provenance"]["code"] == seen["provenance"]["code"]
    code = retried["provenance"]["code"]
    assert code["base_commit"] == git(folder, "rev-parse", "HEAD")
    assert (code["tree"], code["dirty"]) == (git(folder, "rev-parse", "HEAD^{tree}"), False)
    assert Path(retried["files"]["folder"], "out.txt").read_text() == "made"
    assert not (folder / "out.txt").exists() and made["definition"]["code"] == "copy"
    assert seen["provenance"]["machine"] == "box"
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or b"hush-7" not in file.read_bytes(), file
