"""Jobs over REST: defined, run, looked at while they go on, and kept by the server's own scheduler."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from liveserver import ProcessServer, Reply, leave_nothing, start_server, wait_for
from runs import notebook

from jupyter_cloudml.config import Config
from jupyter_cloudml.jobs.authors import user_name
from jupyter_cloudml.jobs.scheduler import PROGRAM
from jupyter_cloudml.jobs.service import Jobs
from jupyter_cloudml.store import Store

from .kernels import alive
from .test_jobs_cli import counted, marks
from .test_server_kernels import Page, connected, text_of

RUN_S = 90.0


@dataclass
class Site:
    """A server that can be killed, and the next one of the same installation."""

    root: Path
    server: ProcessServer

    def put(self, name: str, *sources: str, **more: Any) -> Path:
        """A notebook in the root folder of the server."""
        path = self.root / "notebooks" / f"{name}.ipynb"
        path.write_text(json.dumps(notebook(*sources, **more)))
        return path

    def restart(self, *, kill: bool) -> None:
        self.server.stop(kill=kill)
        self.server = start_server(self.root)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("jobs")
    made = Site(root, start_server(root))
    try:
        yield made
        made.server.operation(made.server.api("POST", "machines/local/stop"), 90)
    finally:
        made.server.stop()
        leave_nothing(root)


@pytest.fixture
def name() -> str:
    return f"job-{secrets.token_hex(4)}"


def ended(server: ProcessServer, run_id: str) -> Any:
    def over() -> Any:
        found = server.get(f"runs/{run_id}")
        return found if found["ended_ms"] is not None else None

    return wait_for(over, RUN_S, f"the end of run {run_id}")


def made(reply: Reply, status: int = 201) -> Any:
    assert reply.status == status, reply.body
    return reply.json()


def test_a_notebook_runs_and_all_of_it_is_shown(site: Site, name: str) -> None:
    server = site.server
    site.put(
        name,
        "alpha: int = 1  # how much",
        "print('alpha is', alpha)\n_ = open('made by it.txt', 'w').write('<b>')",
        tags=[["parameters"]],
    )
    asked = server.get(f"jobs/parameters?path={name}.ipynb")
    assert asked["language"] == "python" and asked["parameters"] == [
        {"name": "alpha", "kind": "int", "default": 1, "optional": False, "help": "how much"}
    ]
    body = {"path": f"{name}.ipynb", "name": name, "parameters": {"alpha": 2}, "token": name}
    body["code"] = "copy"
    wrong = server.api("POST", "runs", {**body, "parameters": {"beta": 1}})
    assert (wrong.status, wrong.code) == (400, "bad_parameter")
    assert server.get(f"runs?job={name}")["runs"] == [], "what is refused makes no run"

    run = made(server.api("POST", "runs", body))
    again = made(server.api("POST", "runs", body))
    assert again["id"] == run["id"], "said twice with one token, it runs once"
    assert (run["job"], run["machine"], run["trigger"]) == (name, "local", "now")
    seen = ended(server, run["id"])
    assert (seen["state"], seen["reason"]) == ("succeeded", None)
    assert [cell["status"] for cell in seen["cells"]] == ["ok"] * 3

    first = server.get(f"runs/{run['id']}/records?limit=1")
    rest = server.get(f"runs/{run['id']}/records?limit=2000&since={first['next']}")
    done = server.get(f"runs/{run['id']}/records?since={rest['next']}")
    kinds = [record["record"] for record in [*first["records"], *rest["records"]]]
    assert kinds[0] == "begun" and kinds[-3:] == ["ended", "had", "files"]
    assert (done["records"], done["over"], done["attempt"]) == ([], True, 1)
    assert server.api("GET", f"runs/{run['id']}/records?since=7").status == 400

    given = server.get(f"runs/{run['id']}/sources")["cells"]
    assert [cell["outputs"] for cell in given] == [[], [], []] and "alpha = 2" in given[1]["source"]
    assert server.api("GET", f"runs/{run['id']}/sources?attempt=2").code == "no_results"
    cells = server.api("GET", f"runs/{run['id']}/notebook").json()["cells"]
    assert cells[2]["outputs"][0]["text"] == "alpha is 2\n"
    assert server.api("GET", f"runs/{run['id']}/log").body == b"alpha is 2\n"
    assert [row["path"] for row in seen["files"]["files"]] == ["made by it.txt"]
    written = server.api("GET", f"runs/{run['id']}/file?path=made%20by%20it.txt")
    assert (written.status, written.body) == (200, b"<b>")
    assert written.headers["Content-Disposition"] == 'attachment; filename="made_by_it.txt"'
    for odd in ("..%2F1.ipynb", "gone", "%00", "x" * 3000):
        assert server.api("GET", f"runs/{run['id']}/file?path={odd}").code == "no_results", odd
    page = server.api("GET", f"runs/{run['id']}/html")
    assert b"alpha is 2" in page.body and page.headers["Content-Security-Policy"] == "sandbox"
    assert page.headers["Content-Disposition"].startswith("attachment")
    shown = server.get(f"runs/{run['id']}")
    assert shown["html"].endswith("/1.html")
    assert [(each["kind"], each["attempt"]) for each in shown["artifacts"]] == [
        ("html", 1),
        ("notebook", 1),
    ]
    size = len(server.api("GET", f"runs/{run['id']}/notebook?attempt=1").body)
    assert shown["artifacts"][1]["bytes"] == size
    assert [each["cost"] for each in shown["attempts"]] == [None]

    swept = {**body, "parameters": {}, "token": "s", "sweep": {"alpha": [1, 2]}}
    sweep = made(server.api("POST", "runs", swept))
    other = made(server.api("POST", f"jobs/{name}/run", {"sweep": [{"alpha": 3}]}))
    assert [sweep["sweep_count"], other["sweep_count"]] == [2, 1]
    assert server.api("POST", "runs", {**swept, "token": "t", "sweep": {"alpha": 1}}).status == 400
    for each in (sweep, other):
        assert server.api("POST", f"runs/{each['id']}/cancel").status == 200

    cell = notebook("print('only this')")
    other = made(
        server.api("POST", "runs", {**body, "content": cell, "token": "b", "parameters": {}})
    )
    retried = made(server.api("POST", f"runs/{run['id']}/retry", {"from_failed": True}), 200)
    assert "all cells run: " in str(retried["how"])
    released = made(server.api("POST", f"runs/{run['id']}/release"), 200)
    assert released == {"released": False}
    assert retried["parent_run_id"] == run["id"]
    assert server.api("POST", f"runs/{retried['id']}/cancel").status == 200
    assert ended(server, other["id"])["state"] == "succeeded"
    assert server.api("GET", f"runs/{other['id']}/log").body == b"only this\n"
    assert ended(server, retried["id"])["state"] in ("cancelled", "succeeded")
    job = server.get(f"jobs/{name}")
    assert (len(job["strip"]), job["path"]) == (5, f"{name}.ipynb")


def test_a_job_is_made_changed_paged_paused_filled_and_deleted(site: Site, name: str) -> None:
    server, path = site.server, site.put(name, "1")
    definition = {"name": name, "notebook": f"{name}.ipynb", "triggers": [{"every": "1d"}]}
    job = made(server.api("POST", "jobs", {"definition": definition}))
    assert job["definition"]["notebook"] == str(path)
    assert job["next_due_ms"] > job["next_due_ms"] - 86_400_000 > 0
    same = made(server.api("POST", "jobs", {"definition": job["definition"]}), 200)
    assert same["rev"] == 1
    changed = {**definition, "priority": 5}
    assert made(server.api("POST", "jobs", {"definition": changed}), 200)["rev"] == 2
    for rev in (0, 1):
        stale = server.api("POST", "jobs", {"definition": definition, "rev": rev})
        assert (stale.status, stale.code) == (409, "changed")
        assert stale.json()["details"] == {"name": name, "rev": 2}
    assert made(server.api("POST", "jobs", {"definition": changed, "rev": 2}), 200)["rev"] == 2
    told = server.get(f"jobs/{name}")["revisions"]
    assert [(each["rev"], each["author"]) for each in told] == [(2, user_name()), (1, user_name())]
    assert told[0]["changes"] == [{"field": "priority", "old": None, "new": 5}]
    bad = server.api("POST", "jobs", {"definition": {**definition, "overlap": "maybe"}})
    assert bad.status == 400 and bad.json()["details"]["problems"][0]["field"] == "overlap"
    assert server.api("POST", "runs", {"path": f"{name}.ipynb", "name": name}).status == 409

    found = server.get(f"jobs?q={name.upper()}")
    assert [each["name"] for each in found["jobs"]] == [name] and found["next"] is None
    before = server.get(f"jobs?limit=1&after={name[:-1]}")
    assert before["jobs"][0]["name"] == name
    assert made(server.api("POST", f"jobs/{name}/pause"), 200)["paused"] is True
    assert made(server.api("POST", f"jobs/{name}/resume"), 200)["paused"] is False

    day = 86_400_000
    range_ms = {"from_ms": day, "until_ms": 3 * day}
    asked = made(server.api("POST", f"jobs/{name}/backfill", {**range_ms, "dry_run": True}))
    assert asked == {"runs": [], "due": 3, "ran": 0, "first_ms": day, "last_ms": 3 * day}
    assert server.get(f"runs?job={name}")["runs"] == [], "a dry run makes none"
    filled = server.api("POST", f"jobs/{name}/backfill", range_ms)
    again = made(server.api("POST", f"jobs/{name}/backfill", {**range_ms, "dry_run": True}))
    assert (again["due"], again["ran"]) == (3, 3)
    assert [run["due_ms"] for run in made(filled)["runs"]] == [day, 2 * day, 3 * day]
    page = server.get(f"runs?job={name}&limit=2")
    rest = server.get(f"runs?job={name}&limit=2&before={page['next']}")
    assert [run["due_ms"] for run in page["runs"] + rest["runs"]] == [3 * day, 2 * day, day]
    assert server.api("GET", "runs?state=odd").status == 400
    assert sum(server.get(f"runs?job={name}&counts=true")["counts"].values()) == 3
    kinds = server.get(f"jobs?q={name}&counts=true")["counts"]
    assert (kinds["all"], kinds["paused"]) == (1, 0)
    assert server.get(f"jobs?q={name}&only=paused")["jobs"] == []
    assert server.api("GET", "jobs?only=odd").status == 400
    counts = server.get("runs/summary")
    assert {"job": name, "due_ms": job["next_due_ms"]} in counts["next"]

    assert server.api("DELETE", f"jobs/{name}").status == 204
    assert server.api("GET", f"jobs/{name}").status == 404
    for run in page["runs"] + rest["runs"]:
        assert ended(server, run["id"])["state"] in ("cancelled", "succeeded")


def test_a_trigger_is_told_in_words_or_refused_by_field(site: Site) -> None:
    server = site.server
    told = made(server.api("POST", "jobs/preview", {"trigger": {"cron": "30 2 * * *"}}), 200)
    assert "2:30" in told["words"] and len(told["next_ms"]) == 5
    for trigger in ({"cron": "61 * * * *"}, {"cron": "0 0 31 2 *"}, {"tz": "Mars/North"}, {}):
        refused = server.api("POST", "jobs/preview", {"trigger": trigger})
        assert refused.code == "bad_trigger" and refused.json()["details"]["problems"]
    assert server.get("jobs/schema")["properties"]["triggers"]


def test_selected_cells_become_a_notebook_with_what_they_need(site: Site) -> None:
    server = site.server
    content = notebook("a = 1", "b = 2", "print(a)")
    found = made(server.api("POST", "jobs/selection", {"content": content, "cells": [2]}), 200)
    assert (found["cells"], found["needed"]) == ([0, 2], [{"index": 0, "names": ["a"]}])
    assert [cell["source"] for cell in found["content"]["cells"]] == ["a = 1", "print(a)"]
    none = server.api("POST", "jobs/selection", {"content": content, "cells": [7]})
    assert (none.status, none.code) == (400, "no_cells")
    wrong = server.api("POST", "jobs/selection", {"content": {"cells": 1}, "cells": [0]})
    assert (wrong.status, wrong.code) == (400, "bad_notebook")


def test_runs_that_a_job_keeps_no_more_are_looked_for_and_deleted(site: Site, name: str) -> None:
    server = site.server
    site.put(name, "1")
    definition = {"name": name, "notebook": f"{name}.ipynb", "keep_runs": 1}
    made(server.api("POST", "jobs", {"definition": definition}))
    asked = [
        server.operation(server.api("POST", "runs/prune", {"dry_run": dry}))
        for dry in (True, False)
    ]
    assert [each["state"] for each in asked] == ["done", "done"], asked
    assert asked[0]["result"]["runs"].get(name, 0) == 0, "runs of the last two hours stay"


def test_a_webhook_runs_its_job_and_opens_nothing_else(site: Site, name: str) -> None:
    server = site.server
    site.put(name, "alpha: int = 1", "print('alpha is', alpha)", tags=[["parameters"]])
    definition = {"name": name, "notebook": f"{name}.ipynb", "triggers": [{"webhook": True}]}
    made(server.api("POST", "jobs", {"definition": definition}))
    hook = made(server.api("POST", f"jobs/{name}/hook"))
    assert server.api("POST", f"jobs/{name}/hook").status == 409
    assert server.get(f"jobs/{name}/hook") == {"path": hook["path"], "has_token": True}
    assert hook["path"].endswith(f"/cloudml/api/v1/hooks/{name}")

    def call(token: str, job: str = name, **more: Any) -> Reply:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return server.api("POST", f"hooks/{job}", headers=headers, **more)

    strangers = [call("cml_wrong"), call(server.token), call(hook["token"], "nobody")]
    assert {(reply.status, reply.body) for reply in strangers} == {(401, strangers[0].body)}
    assert call(hook["token"], body={"parameters": {"beta": 1}}).status == 400
    key = {"Idempotency-Key": "delivery-1"}
    run = made(call(hook["token"], body={"parameters": {"alpha": 2}}, headers=key), 202)
    again = made(call(hook["token"], body={"ref": "refs/heads/main"}, headers=key), 202)
    assert again["id"] == run["id"]
    own = {"Authorization": f"Bearer {hook['token']}"}
    for verb, path in (("GET", f"runs/{run['id']}"), ("POST", f"jobs/{name}/run")):
        assert server.api(verb, path, headers=own).status == 403
    assert ended(server, run["id"])["state"] == "succeeded"
    assert server.api("GET", f"runs/{run['id']}/log").body == b"alpha is 2\n"
    assert server.get(f"runs?job={name}")["runs"][0]["trigger"] == "webhook"
    assert hook["token"] not in server.log.read_text(), "no token is in the log"
    new = made(server.api("POST", f"jobs/{name}/hook", {"rotate": True}))
    assert call(hook["token"]).status == 401
    assert server.api("POST", f"jobs/{name}/pause").status == 200
    empty = made(call(new["token"], raw=b"", headers={"Content-Type": None}), 202)
    assert (empty["state"], empty["reason"]) == ("skipped", "the job is paused")


def test_pages_follow_a_run_that_outlives_its_server_and_what_others_do(
    site: Site, name: str
) -> None:
    folder = site.root / "notebooks" / name
    path = counted(folder)
    body = {"path": f"{name}/{path.name}"}
    with site.server.events() as events:
        run = made(site.server.api("POST", "runs", body))["id"]
        told = events.until(lambda e: e["noun"] == "run" and e["state"] == "running", 60)
        assert (told["id"], told["attempts"]) == (run, 1)
        assert told["job"].startswith("counted-")
        site.server.get(f"runs/{run}/records")
        events.until(lambda e: e == {"noun": "run-records", "id": run})
        wait_for(lambda: len(marks(folder)) == 2, 60, "the second cell")
    assert site.server.get("status")["scheduler"] == {"state": "working", "cause": None}
    assert [each["id"] for each in site.server.get("runs/summary")["running"]] == [run]

    site.restart(kill=True)
    with site.server.events() as events:
        (folder / "go").touch()
        told = events.until(lambda e: e["noun"] == "run" and e["state"] == "succeeded", 60)
        assert (told["id"], told["attempts"]) == (run, 1)
        store = Store.open(Config(home=site.root / "cloudml"))
        try:
            wanted = {"name": name, "notebook": str(path)}
            Jobs(store).apply(wanted)  # as another process does
            told = events.until(lambda e: e["noun"] == "job")
            assert (told["name"], told["rev"], told["deleted"]) == (name, 1, False)
        finally:
            store.close()
    seen = site.server.get(f"runs/{run}")
    assert [cell["status"] for cell in seen["cells"]] == ["ok"] * 3
    assert [line.split()[0] for line in marks(folder)] == ["1", "2", "3"], "each cell runs once"
    assert len({line.split()[1] for line in marks(folder)}) == 1


def test_a_scheduler_beside_the_server_shares_the_work_until_one_is_killed(
    site: Site, name: str
) -> None:
    folder = site.root / "notebooks" / name
    folder.mkdir()
    path = folder / "often.ipynb"
    mark = f"import os\nwith open({str(folder / 'marks')!r}, 'a') as file: print(os.environ['CLOUDML_RUN_ID'], 1, file=file)"
    path.write_text(json.dumps(notebook(mark)))
    environ = {**os.environ, "JUPYTER_CLOUDML_HOME": str(site.root / "cloudml")}
    argv = [sys.executable, "-c", PROGRAM, "scheduler", "--no-warm"]
    beside = subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True)
    server = site.server
    try:
        assert beside.stderr is not None and "works" in beside.stderr.readline()
        job = {"name": name, "notebook": str(path), "overlap": "allow", "missed": "all"}
        made(server.api("POST", "jobs", {"definition": {**job, "triggers": [{"every": "2s"}]}}))
        wait_for(lambda: len(marks(folder)) >= 2, RUN_S, "what is due")
    finally:
        beside.kill()
        beside.communicate()
    before = len(marks(folder))
    wait_for(lambda: len(marks(folder)) >= before + 2, RUN_S, "what is due, by the other one")
    server.api("POST", f"jobs/{name}/pause")

    def all_over() -> list[Any] | None:
        found = server.get(f"runs?job={name}&limit=200")["runs"]
        return found if all(run["ended_ms"] is not None for run in found) else None

    runs = wait_for(all_over, RUN_S, "the ends of all")
    ran = [run for run in runs if run["state"] != "skipped"]
    assert {run["state"] for run in ran} == {"succeeded"}
    assert Counter(line.split()[0] for line in marks(folder)) == Counter(run["id"] for run in ran)
    due = sorted(run["due_ms"] for run in ran)
    assert due == list(range(due[0], due[-1] + 1, 2000)), "each due time once, and none left out"


def test_a_pool_without_room_holds_a_run_up(site: Site, name: str) -> None:
    server = site.server
    pool = f"pools/{name}"
    assert server.api("PUT", pool, {"cap": 0}).json()["cap"] == 0
    path = site.put(name, "print(1)")
    definition = {"name": name, "notebook": str(path), "pool": name}
    made(server.api("POST", "jobs", {"definition": definition}))
    run = made(server.api("POST", f"jobs/{name}/run", {}))
    row = {"name": name, "cap": 0, "running": 0, "waiting": 1}
    assert row in server.get("pools")["pools"]
    assert server.get(f"runs/{run['id']}")["state"] == "queued"
    assert server.api("DELETE", pool).status == 204
    assert ended(server, run["id"])["state"] == "succeeded"
    assert server.api("DELETE", pool).status == 404
    assert server.api("PUT", "pools/a%20b", {"cap": 1}).status == 400
    assert server.api("PUT", pool, {"cap": -1}).status == 400


def test_the_kernel_of_a_failed_run_is_opened_kept_found_again_and_ended_once(
    site: Site, name: str
) -> None:
    server = site.server
    shows = (
        "print('out')\nfrom IPython.display import HTML, display\ndisplay(HTML('<i>it</i>'))\n1 / 0"
    )
    path = site.put(name, "there = 41", shows, "print('never')")
    hostile = json.loads(path.read_text())  # it would have itself signed when the copy is saved
    for cell in hostile["cells"]:
        cell["metadata"]["trusted"] = True
    path.write_text(json.dumps(hostile))
    definition = {"name": name, "notebook": f"{name}.ipynb", "keep_on_failure": "10m"}
    made(server.api("POST", "jobs", {"definition": definition}))
    run = made(server.api("POST", f"jobs/{name}/run"))["id"]
    early = server.api("POST", f"runs/{run}/kernel")
    assert (early.status, early.code) == (404, "no_kernel"), early.body
    seen = ended(server, run)
    assert seen["state"] == "failed" and "goes on at cell 2" in seen["from_failed"]
    pid = seen["kept"]["pid"]

    with ThreadPoolExecutor(2) as two_pages:
        asked = two_pages.map(lambda _: server.api("POST", f"runs/{run}/kernel"), range(2))
        opened, same = (made(reply, 200) for reply in asked)
    assert opened == same and opened["path"] == f"debug-{name}.ipynb"
    kernel_id, file = opened["kernel_id"], path.with_name(opened["path"])
    row = connected(server, kernel_id)
    assert (row["run"], row["path"]) == (run, opened["path"])
    copy = server.request("GET", f"api/contents/{file.name}").json()["content"]
    assert copy["cells"][1]["outputs"][0]["text"] == "out\n"
    assert copy["metadata"]["kernelspec"]["name"] == "cloudml-local"
    assert not any(cell["metadata"].get("trusted") for cell in copy["cells"])
    with closing(Page(server, kernel_id)) as page:
        page.run("import os; print(there + 1, os.getpid())", "cell-1")
        record = server.get(f"kernels/{kernel_id}/executions")["executions"]
        assert text_of(record[0]) == f"42 {pid}\n"

    until = server.get(f"runs/{run}")["kept"]["until_ms"]
    assert server.api("POST", f"runs/{run}/keep", {"for": "2d"}).status == 400
    longer = made(server.api("POST", f"runs/{run}/keep", {"for": "1h"}), 200)["kept"]
    assert longer["until_ms"] > until + 2_000_000
    shorter = made(server.api("POST", f"runs/{run}/keep", {"for": "1m"}), 200)["kept"]
    assert shorter["until_ms"] == longer["until_ms"], "it is never kept shorter"

    site.restart(kill=True)
    server = site.server
    connected(server, kernel_id)
    again = made(server.api("POST", f"runs/{run}/kernel"), 200)
    assert (again["kernel_id"], again["path"]) == (kernel_id, file.name)
    with closing(Page(server, kernel_id)) as page:
        page.run("print(there)", "cell-2")
    assert alive(pid)
    assert server.request("DELETE", f"api/kernels/{kernel_id}", timeout=60).status == 204
    wait_for(lambda: not alive(pid), 30, "the end of the kernel")
    wait_for(lambda: server.get(f"runs/{run}")["kept"] is None, 10, "it to be noted")
    assert server.api("POST", f"runs/{run}/kernel").code == "no_kernel"
    assert "is not there any more" in server.get(f"runs/{run}")["from_failed"]
    assert server.api("POST", "runs/nobody/kernel").status == 404
