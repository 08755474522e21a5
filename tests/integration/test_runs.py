"""Runs of notebooks on the agent of this computer."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import postgres
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from runs import Following, Kept, kernel, notebook, run, work

from integration.links import CutLink, make_link, wait_for
from jupyter_cloudml.config import Config
from jupyter_cloudml.errors import AgentError
from jupyter_cloudml.jobs.attempts.attempt import Attempts
from jupyter_cloudml.jobs.attempts.compose import Composer
from jupyter_cloudml.jobs.attempts.machine_executor import MachineExecutor
from jupyter_cloudml.jobs.attempts.run_log import RunLog
from jupyter_cloudml.jobs.attempts.work import Resume, Work
from jupyter_cloudml.jobs.desk import Desk
from jupyter_cloudml.jobs.notebooks.notebook import executed
from jupyter_cloudml.jobs.notebooks.records import Cursor
from jupyter_cloudml.jobs.scheduler import runs_folder
from jupyter_cloudml.jobs.scheduling.engine import Engine
from jupyter_cloudml.jobs.scheduling.executor import Exit, NotStarted, Order, Phase
from jupyter_cloudml.jobs.scheduling.settings import Settings
from jupyter_cloudml.store import Store


@pytest.fixture(scope="module")
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutLink]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path_factory.mktemp("runs")))
        made = make_link("local")
        yield made
        made.close()
        last = make_link("local")
        last.call("shutdown", stop_processes=True, grace_s=0)
        last.close()


def test_cells_run_in_order_with_their_outputs(link: CutLink, attempts: Attempts) -> None:
    nb = work(
        "import os, sys\nprint('to', os.environ['CLOUDML_RUN_ID'], os.environ['CLOUDML_ATTEMPT'])\nprint('err', file=sys.stderr)",
        "from IPython.display import display\nh = display({'text/plain': 'a'}, raw=True, display_id=True)\n6 * 7",
        "h.update({'text/plain': 'b'}, raw=True)",
        "from IPython.display import clear_output\nprint('old'); clear_output(wait=True); print('new')",
        "1 / 0",
        "input()",
        run="r7",
        attempt=2,
        tags=[[], [], [], [], ["raises-exception"]],
    )
    outcome, kept = run(link, nb, attempts)
    assert (outcome.state, outcome.reason, outcome.cell) == ("failed", "cell_error", 5), outcome
    assert outcome.error is not None and outcome.error["ename"] == "StdinNotImplementedError"
    cells = executed(dict(nb.notebook), kept.records)["cells"]
    said = {o["name"]: o["text"] for o in cells[0]["outputs"]}
    assert said == {"stdout": "to r7 2\n", "stderr": "err\n"}
    assert [o["data"]["text/plain"] for o in cells[1]["outputs"]] == ["b", "42"]
    assert [o["text"] for o in cells[3]["outputs"]] == ["new\n"]
    assert cells[4]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert [c["execution_count"] for c in cells] == [1, 2, 3, 4, 5, 6]


def alive(mark: str) -> list[int]:
    """The processes whose command line has a word."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and mark.encode() in Path("/proc", name, "cmdline").read_bytes():
                found.append(int(name))
        except OSError:
            continue
    return found


def test_nothing_is_lost_or_doubled_by_cuts_and_another_reader(
    link: CutLink, attempts: Attempts
) -> None:
    printing = "import time\nfor i in range(150): print(cell, i, flush=True); time.sleep(0.002)"
    wanted = work(*(f"cell = {n}\n{printing}" for n in range(4)))
    following = Following(attempts.start(link, wanted))
    following.kept.wait("cell", index=0, state="started")
    link.cut()
    following.kept.wait("cell", index=1, state="started")
    following.halt.set()  # this reader dies here; what it has kept is what there is
    following.join(30)
    first = following.kept
    following.attempt.leave()
    other = make_link("local")
    try:
        found = attempts.find(other, wanted.token, first.cursor)
        assert found is not None
        second = Following(found)
        second.kept.wait("cell", index=2, state="done")
        other.cut()
        assert second.result().state == "succeeded"
        assert attempts.start(other, wanted).id == found.id  # said again, it is the same
        found.forget()
    finally:
        other.close()
    assert 0 < len(first.records) < 1000 and second.kept.cuts
    whole = Kept()
    whole.records = first.records + second.kept.records
    assert [r["record"] for r in whole.records].count("begun") == 1
    for n in range(4):
        assert whole.text(dict(wanted.notebook), n) == "".join(f"{n} {i}\n" for i in range(150))


def test_a_cancelled_run_leaves_nothing_behind(link: CutLink, attempts: Attempts) -> None:
    hidden = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.execve(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)', 'hidden-of-cancel'], {})\n"
        "    os._exit(0)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)"
    )
    following = Following(attempts.start(link, work(hidden)))
    following.kept.wait("output")
    wait_for(lambda: alive("hidden-of-cancel"), why="the hidden process")
    pid = following.kept.wait("kernel")["pid"]
    following.attempt.cancel()
    outcome = following.result()
    assert (outcome.state, outcome.reason) == ("cancelled", "cancelled"), outcome
    assert not alive("hidden-of-cancel")
    assert not os.path.exists(f"/proc/{pid}")
    following.attempt.forget()


def test_a_killed_runner_takes_its_kernel_along_and_is_named(
    link: CutLink, attempts: Attempts
) -> None:
    code = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'child-of-killed'], start_new_session=True)\nprint(1)\ntime.sleep(60)"
    following = Following(attempts.start(link, work(code)))
    following.kept.wait("output")
    pid = following.kept.wait("kernel")["pid"]
    os.kill(following.kept.wait("begun")["pid"], signal.SIGKILL)
    outcome = following.result()
    assert (outcome.state, outcome.reason, outcome.began) == ("failed", "runner_died", True)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), why="the end of the kernel")
    wait_for(lambda: not alive("child-of-killed"), why="the end of its child")
    following.attempt.forget()


def test_a_run_survives_the_kill_of_its_agent(link: CutLink, attempts: Attempts) -> None:
    code = "import time\nfor i in range(300): print(i, flush=True); time.sleep(0.005)"
    wanted = work(code)
    following = Following(attempts.start(link, wanted))
    following.kept.wait("output")
    drops = link.drops
    os.kill(link.info["pid"], signal.SIGKILL)
    outcome = following.result()
    assert outcome.state == "succeeded" and link.drops > drops
    assert following.kept.text(dict(wanted.notebook), 0) == "".join(f"{i}\n" for i in range(300))
    following.attempt.forget()


def test_a_dead_kernel_is_named_with_its_last_words(link: CutLink, attempts: Attempts) -> None:
    code = "import os\nprint('before', flush=True)\nos.write(2, b'segfault in module x\\n')\nos.kill(os.getpid(), 11)"
    outcome, kept = run(link, work(code), attempts)
    assert (outcome.reason, outcome.cell) == ("kernel_died", 0)
    # And not what ipykernel writes when it starts.
    assert outcome.message == "the kernel was ended by signal 11: segfault in module x"
    assert kept.wait("cell", state="done")["status"] == "lost"
    broken = {**kernel(), "argv": ["/nowhere/python", "{connection_file}"]}
    outcome, _ = run(link, work("1", kernel=broken), attempts)
    assert outcome.reason == "kernel_start" and "/nowhere/python" in outcome.message


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("cell_timeout_s", "cell_timeout"),
        pytest.param("timeout_s", "run_timeout", marks=pytest.mark.nightly),
    ],
)
def test_what_takes_too_long_is_interrupted_and_named(
    link: CutLink, attempts: Attempts, limit: str, reason: str
) -> None:
    code = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('interrupted'); raise"
    limits: dict[str, Any] = {limit: 1.5 if limit == "cell_timeout_s" else 15}
    wanted = work("1", code, "2", **limits)
    outcome, kept = run(link, wanted, attempts)
    assert (outcome.state, outcome.reason, outcome.cell) == ("timed_out", reason, 1), outcome
    assert kept.text(dict(wanted.notebook), 1) == "interrupted\n"


def test_too_much_output_is_cut_with_its_tail_kept(link: CutLink, attempts: Attempts) -> None:
    code = "line = 'x' * 99\nfor i in range(25_000): print(line)\nprint('the end')"
    wanted = work(code, "print('next')", output_limit=1 << 18)
    outcome, kept = run(link, wanted, attempts)
    text = kept.text(dict(wanted.notebook), 0)
    assert outcome.state == "succeeded"
    assert len(text) < 3 << 20 and text.endswith("the end\n") and "left out here: " in text
    assert "next\n" in kept.text(dict(wanted.notebook), 1)


def test_secrets_are_in_the_kernel_and_nowhere_else(
    link: CutLink, attempts: Attempts, tmp_path: Path
) -> None:
    looked = tmp_path / "looked"
    secret = "s3cr3t-0f-the-run"
    wanted = work(
        "import os\nprint(len(os.environ['TOKEN']))",
        f"import os, time\nwhile not os.path.exists({str(looked)!r}): time.sleep(0.02)",
        secrets={"TOKEN": secret},
    )
    following = Following(attempts.start(link, wanted))
    following.kept.wait("cell", index=1, state="started")
    assert not alive(secret)
    home = Path(os.environ["JUPYTER_CLOUDML_HOME"])
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files and not [path for path in files if secret.encode() in path.read_bytes()]
    looked.touch()
    assert following.result().state == "succeeded"
    assert secret not in repr(following.kept.records) + repr(wanted)
    following.attempt.forget()


def test_a_runner_that_waits_is_taken_with_its_kernel(link: CutLink, attempts: Attempts) -> None:
    private = {**kernel(), "env": {"OF_KERNELSPEC": "private-of-kernelspec"}}
    attempts.keep_ready(link, private, who="one", for_s=600)
    waiting = wait_for(
        lambda: [row for row in link.call("list") if row["warm"]], 60, why="a waiting runner"
    )[0]
    wait_for(lambda: [r for r in link.call("list") if r["warm"] and r["seq"]], 60)
    assert not alive("private-of-kernelspec")
    began = time.monotonic()
    code = "import os\nprint(os.getcwd(), os.environ['CLOUDML_RUN_ID'], os.environ['A'], os.environ['OF_KERNELSPEC'])"
    wanted = work(code, run="r9", env={"A": "b"}, cwd="/tmp", kernel=private)
    following = Following(attempts.start(link, wanted))
    following.kept.wait("output")
    print(f"first output after {time.monotonic() - began:.3f} s")
    assert following.result().state == "succeeded"
    assert following.attempt.id == waiting["id"]
    assert following.kept.text(dict(wanted.notebook), 0) == "/tmp r9 b private-of-kernelspec\n"
    attempts.keep_ready(link, private, who="two", for_s=1)
    attempts.keep_ready(link, private, 0, who="one")  # the other one wants it a little longer
    wait_for(
        lambda: not [row for row in link.call("list") if row["warm"] and row["state"] == "running"],
        30,
    )
    following.attempt.forget()


def test_a_name_that_was_settled_as_never_started_is_refused_for_good(
    link: CutLink, attempts: Attempts
) -> None:
    wanted = work("1")
    assert link.call("refuse", token=wanted.token) is None
    with pytest.raises(AgentError, match="nothing is to be started") as caught:
        attempts.start(link, wanted)
    assert caught.value.code == "refused"
    row = link.call("start", argv=["true"], token="t" * 16)
    assert link.call("refuse", token="t" * 16)["id"] == row["id"]


def ordered(*sources: str, attempt: int = 1) -> tuple[Order, Work]:
    """An order, and what is composed of it."""
    name = secrets.token_hex(8)
    order = Order(name, f"run-{name}", attempt, 1, "local", "nightly", {})
    return order, work(*sources, run=order.run_id, attempt=attempt)


def test_the_scheduler_runs_finds_again_and_settles_attempts(
    link: CutLink, attempts: Attempts, tmp_path: Path
) -> None:
    order, composed = ordered(
        "import os, time\nprint('begun', flush=True)\nwhile not os.path.exists(flag): time.sleep(0.05)",
    )
    flag = tmp_path / "flag"
    composed.notebook["cells"][0]["source"] = (
        f"flag = {str(flag)!r}\n" + composed.notebook["cells"][0]["source"]
    )
    changes = threading.Event()

    def executor() -> MachineExecutor:
        made = MachineExecutor(lambda name: link, lambda order, link: composed, tmp_path, attempts)
        made.subscribe(changes.set)
        return made

    def phase(of: MachineExecutor) -> Phase:
        return of.observe([order])[order.name].phase

    first = executor()
    first.start(order)
    first.start(order)
    wait_for(lambda: phase(first) is Phase.RUNNING, 60, "its running")
    first.close()  # this server ends; another one takes over
    second = executor()
    assert phase(second) is Phase.UNREACHABLE
    assert second.settle(order).phase is Phase.RUNNING
    flag.touch()
    wait_for(lambda: phase(second) is Phase.ENDED, 60, "its end")
    assert second.observe([order])[order.name].exit == Exit("succeeded")
    third = executor()  # after all was kept, and nothing forgotten
    wait_for(lambda: third.settle(order).phase is Phase.ENDED, 30, "the end, seen by a third")
    records = list(second.log_of(order.run_id, 1).read())
    kinds = [r["record"] for r in records]
    assert (kinds.count("begun"), kinds.count("ended")) == (1, 1)
    second.forget(order)
    fourth = executor()
    assert fourth.settle(order).phase is Phase.GONE  # its records are here: it ran
    never, _ = ordered("1")
    assert fourth.settle(never).phase is Phase.NEVER
    with pytest.raises(NotStarted, match="nothing is to be started"):
        fourth.start(never)
    for each in (second, third, fourth):
        each.close()


class Server:
    """A scheduler with a home of its own, on the database of all; `link` is to the machine of all."""

    def __init__(self, url: str, home: Path, link: CutLink, attempts: Attempts) -> None:
        self.store = Store.open(Config(home=home, database=url))
        folder = runs_folder(home)
        self.desk = Desk(self.store, home, lambda name: None, lambda code, machine: None)
        compose = Composer(self.store, home, self.desk.snapshots, lambda specs: [], folder)
        self.executor = MachineExecutor(
            lambda name: link,
            compose,
            folder,
            attempts,
            ended=self.desk.results.keep,
            shared=self.store.files,
        )
        settings = Settings(lease_s=1.5, heartbeat_s=0.3, poll_s=0.1)
        self.engine = Engine(self.store, self.executor, settings=settings)
        self.engine.start()
        self.works = True

    def die(self) -> None:
        """Say nothing more, not even goodbye."""
        self.store.servers.goodbye = lambda server_id: None  # type: ignore[method-assign]
        self.close()

    def close(self) -> None:
        if self.works:
            self.engine.stop()
            self.executor.close()
        self.works = False


def test_a_run_goes_on_with_a_server_of_another_home_and_both_show_all_of_it(
    link: CutLink, attempts: Attempts, tmp_path: Path, postgres_server: str
) -> None:
    flag = tmp_path / "flag"
    wait = f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.05)"
    path = tmp_path / "one" / "a.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(notebook("print('before')", wait, "print('after')")))
    with postgres.database(postgres_server, f"homes_{secrets.token_hex(4)}") as url:
        one = Server(url, tmp_path / "one", link, attempts)
        other = Server(url, tmp_path / "other", link, attempts)
        try:
            one.desk.create({"name": "soon", "notebook": str(path), "machine": "box-2"})
            run = one.desk.jobs.run("soon")
            results = one.desk.results, other.desk.results
            wait_for(
                lambda: all(b"before\n" in each.log_of(run.id, 1).printed() for each in results),
                60,
                "what it says, for both",
            )
            owner = {one.engine.id: one, other.engine.id: other}[
                str(one.store.runs.get(run.id).owner)
            ]
            assert "<pre>before\n" in one.desk.results.page(run.id).read_text()
            owner.die()
            flag.touch()
            wait_for(
                lambda: one.store.runs.get(run.id).ended_ms is not None, 60, "its end elsewhere"
            )
            assert one.store.runs.get(run.id).state == "succeeded"
            shown = [each.show(run.id, page=False) for each in results]
            made = [json.loads(Path(str(each["executed_notebook"])).read_bytes()) for each in shown]
            assert made[0] == made[1]
            texts = [cell["outputs"][0]["text"] for cell in made[0]["cells"] if cell["outputs"]]
            assert texts == ["before\n", "after\n"]
            assert "<pre>after\n" in one.desk.results.page(run.id).read_text(), (
                "not the page so far"
            )
            assert shown[0]["cells"] == shown[1]["cells"]
            assert len(one.store.runs.attempts(run.id)) == 1
        finally:
            for each in (one, other):
                each.close()
                each.store.close()


def test_a_record_that_was_half_written_is_written_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 1).open()
    log.append([{"record": "begun"}], Cursor(3, 7))
    log.close()
    with log.path.open("ab") as file:
        file.write(b'{"cursor":[4,0],"records":[{"rec')
    again = RunLog(tmp_path, 1).open()
    assert again.cursor == Cursor(3, 7)
    again.append([{"record": "ended"}], Cursor(4, 0))
    again.close()
    assert [r["record"] for r in again.read()] == ["begun", "ended"]


def test_the_kernel_of_a_failed_run_can_be_looked_at_and_gone_on_in(
    link: CutLink, attempts: Attempts, tmp_path: Path
) -> None:
    attempts.keep_ready(link, None)  # a runner that has all imported, and no kernel
    waiting = wait_for(lambda: [r for r in link.call("list") if r["warm"] and r["seq"]], 60)[0]
    nb = notebook("found = 41\nprint('once')", "print(1 / zero, os.environ['CLOUDML_RUN_ID'])")
    order = Order(secrets.token_hex(8), "r1", 1, 1, "local", "nightly", {})
    wanted = work(notebook=nb, run="r1", keep_on_failure_s=300, token=order.name)
    executor = MachineExecutor(lambda name: link, lambda *of: wanted, tmp_path, attempts)
    executor.start(order)
    attempts.keep_ready(link, None, 0)
    wait_for(lambda: executor.observe([order])[order.name].phase is Phase.ENDED, 60, why="its end")
    executor.forget(order)  # its end is in the store: it is not over for the machine
    row = next(r for r in link.call("list") if r["id"] == waiting["id"])
    assert row["state"] == "running" and row["until_ms"]
    records = list(executor.log_of("r1", 1).read())
    kept = records[-1]
    assert (kept["record"], kept["cell"]) == ("kept", 1)
    by_kind = {record["record"]: record for record in records}
    assert by_kind["ended"]["state"] == "failed" and by_kind["had"]["data"] == []
    assert f"nbclient=={version('nbclient')}" in by_kind["had"]["environment"]["packages"]
    client = BlockingKernelClient(connection_file=kept["connection_file"])
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        client.execute("import os\nzero = found - 40", reply=True, timeout=60)
    finally:
        client.stop_channels()

    # Another run goes on in it; it says how, has its own name, and is cancelled and settled as any.
    again = work(notebook=nb, run="r2", keep_on_failure_s=300, resume=Resume(order.name, 1))
    following = Following(attempts.start(link, again))
    outcome = following.result()
    assert (outcome.state, following.attempt.id) == ("succeeded", waiting["id"])
    told = following.kept.records
    assert told[0]["record"] == "begun" and told[0]["resumed_at"] == 1
    states = [(r["index"], r["state"], r.get("status")) for r in told if r["record"] == "cell"]
    assert states == [(0, "done", "reused"), (1, "started", None), (1, "done", "ok")]
    assert following.kept.text(nb, 1) == "1.0 r2\n" and following.kept.text(nb, 0) == ""
    following.attempt.forget()
    assert not attempts.release(link, order.name)

    # Where the kernel is gone, all cells run.
    outcome, told_now = run(link, work("print(1)", "2", resume=Resume(order.name, 1)), attempts)
    assert outcome.state == "succeeded" and told_now.records[0]["resumed_at"] is None
    assert told_now.wait("cell", index=0, state="done")["status"] == "ok"
    executor.close()


def test_a_kernel_that_was_left_ends_when_it_is_released(link: CutLink, attempts: Attempts) -> None:
    wanted = work("1 / 0", keep_on_failure_s=300)
    following = Following(attempts.start(link, wanted))
    outcome = following.result()
    assert outcome.kept is not None and outcome.reason == "cell_error"
    assert attempts.offer(following.attempt, wanted.token, outcome.kept.until_ms)
    pid = following.kept.wait("kernel")["pid"]
    assert attempts.release(link, wanted.token)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 30, "the end of the kernel")
    wait_for(
        lambda: following.attempt.id not in {r["id"] for r in link.call("list")}, 30, "forgotten"
    )
    assert not os.path.exists(outcome.kept.connection_file)
    # One whose time is over ends by itself, and nothing is left of it.
    short = work("1 / 0", keep_on_failure_s=0.2)
    last = Following(attempts.start(link, short))
    outcome = last.result()
    assert outcome.kept is not None
    assert not attempts.offer(last.attempt, short.token, outcome.kept.until_ms - 60_000)
    last.attempt.cancel()
    link.call("stop", id=last.attempt.id, grace_s=5)
