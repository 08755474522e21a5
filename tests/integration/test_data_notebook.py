"""`dataset("s3://…")` in a notebook on a real host, where nothing of ours is installed and no key is: the folder, synced, through every fault."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from ast import literal_eval
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import runs
from buckets import Bucket
from cloudbox.commands import CommandFailed
from cloudbox.faults import Host
from cloudbox.fixture import Box, Identity
from faulty import Fault, proxy
from liveserver import places, thread_server

from benchmarks.s3 import S3
from jupyter_cloudml import Client
from jupyter_cloudml.clock import SystemClock
from jupyter_cloudml.config import NOTEBOOK_DATA
from jupyter_cloudml.datasets.answering import Answering
from jupyter_cloudml.datasets.service import Datasets
from jupyter_cloudml.jobs.attempts import installation
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines.operations import Operations
from jupyter_cloudml.machines.service import Machines

from .kernels import Talk, own_machines, started, wait_for
from .test_server_kernels import Page, notebook

pytestmark = pytest.mark.timeout(240)
ASK = """
import json
from jupyter_cloudml import DatasetError, dataset
try:
    got = dataset({source!r}, **{options!r})
    print("GOT" + json.dumps([str(got), sorted(str(p.relative_to(got)) for p in got.rglob("*") if p.is_file())]))
except DatasetError as exc:
    print("GOT" + json.dumps([exc.code, str(exc)]))
"""


@dataclass
class Place:
    """A host, a kernel there, and what answers it here."""

    machines: Machines
    home: Path
    host: Host
    manager: Any
    talk: Talk
    operations: list[Operations] = field(default_factory=list)

    @contextmanager
    def server(self, *allowed: str) -> Iterator[Operations]:
        """What a Jupyter server does about it, for a while."""
        operations = Operations()
        datasets = Datasets(self.home, self.machines)
        answering = Answering(
            self.machines, datasets, operations, SystemClock(), allowed or ("s3://",)
        )
        answering.attend("box")
        try:
            yield operations
        finally:
            answering.close()
            operations.close()
            for each in operations.list():
                assert each.ended.wait(60)

    def ask(self, source: str, **options: Any) -> Any:
        """What the call gives: the folder and its files, or code and text of its error."""
        return self.got(self.talk.run(ASK.format(source=source, options=options), 120))

    @staticmethod
    def got(text: str) -> Any:
        return json.loads(text.rpartition("GOT")[2].partition("\n")[0])


@pytest.fixture(scope="module")
def place(
    box: Box, s3: S3, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    host, home = box.host(), tmp_path_factory.mktemp("notebook-data")
    try:
        with own_machines(home) as machines:
            target = SSHTarget(
                host.address,
                user="ada",
                identity=str(identity.private),
                host_key=host.fingerprint,
            )
            machines.add_ssh("box", target)
            with started("cloudml-box") as (manager, talk):
                yield Place(machines, home, host, manager, talk)
    finally:
        box.destroy(host)


def test_a_notebook_gets_the_folder_as_the_bucket_is(
    place: Place, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put(**{"p/a": b"1", "p/sub/b.csv": b"22", "q/one": b"3"})
    with place.server() as operations:
        where = place.talk.run("import jupyter_cloudml; print(jupyter_cloudml.__file__)")
        assert "/.cache/jupyter-cloudml/" in where, "the host has our package: nothing is tried"
        folder, files = place.ask(bucket.url("p"))
        assert folder.startswith("/home/ada/data/") and folder.endswith(f"/{bucket.name}/p")
        assert files == ["a", "sub/b.csv"]
        bucket.client.delete_object(Bucket=bucket.name, Key="p/a")
        bucket.write("p/c", b"4")
        assert place.ask(bucket.url("p/")) == [folder, ["c", "sub/b.csv"]]
        assert place.ask(bucket.url("p"), folder="x y", include="*.csv") == [
            "/home/ada/x y",
            ["sub/b.csv"],
        ]
        single = place.talk.run(f"print(dataset({bucket.url('q/one')!r}, quiet=True).read_text())")
        assert single == "3\n"
        text = place.talk.run(f"dataset({bucket.url('q')!r}, size_only=True)")
        assert "1 were there" in text or text == "", text
        assert place.ask("s3://no-such-bucket-of-ours")[0] == "no_such_bucket"
        code, said = place.ask(bucket.url("p"), profile="nobody")
        assert (code, "aws configure" in said) == ("no_such_profile", True)
        assert place.ask(bucket.url("p"), include="*" * 5000)[0] == "usage"
        bucket.write("p/../evil", b"5")
        code, said = place.ask(bucket.url("p"))
        assert code == "files_failed" and "p/../evil" in said and "exclude=" in said
        kinds = {(each.kind, each.target) for each in operations.list()}
        assert kinds == {("sync-dataset", "box")}
        assert operations.list()[0].to_dict()["state"] == "done"
    with place.server(bucket.url("q")):
        assert place.ask(bucket.url("p"))[0] == "not_allowed"
        assert place.ask(bucket.url("q"))[1] == ["one"]


def test_an_interrupt_calls_it_off_and_two_that_ask_share_one(
    place: Place, bucket: Bucket, s3: S3
) -> None:
    bucket.put(**{"p/a": os.urandom(9), "p/b": os.urandom(9)})  # in no cache
    held = threading.Event()
    gateway = s3.hosts_url.split("//")[1].partition(":")[0]
    with proxy(s3.url, gateway) as slow, place.server() as operations:
        slow.rule = lambda method, target: Fault(hold=held) if "/b?" in target else None
        source, options = bucket.url("p"), {"endpoint_url": slow.url}
        both = place.talk.client.execute(
            "from concurrent.futures import ThreadPoolExecutor\n"
            f"both = ThreadPoolExecutor(2)\nasked = [both.submit(dataset, {source!r}, **{options!r}) for _ in '12']"
        )
        place.talk.reply(both)
        wait_for(lambda: slow.asked_for("/b"), "the file", 60)
        request = place.talk.client.execute(f"dataset({source!r}, **{options!r})")
        _until_printed(place.talk, request)
        place.manager.interrupt_kernel()
        assert place.talk.reply(request)["content"]["ename"] == "KeyboardInterrupt"
        assert [each.state.value for each in operations.list()] == ["running"]
        held.set()
        place.talk.settle()
        place.talk.run("assert len({each.result(60) for each in asked}) == 1")
        assert [each.state.value for each in operations.list()] == ["done"]

        held.clear()
        bucket.write("p/b", os.urandom(9))
        request = place.talk.client.execute(f"dataset({source!r}, **{options!r})")
        _until_printed(place.talk, request)
        place.manager.interrupt_kernel()
        assert place.talk.reply(request)["content"]["ename"] == "KeyboardInterrupt"
        wait_for(lambda: operations.list()[-1].state.value == "cancelled", "the end", 30)
        held.set()
        place.talk.settle()


def _until_printed(talk: Talk, request: str, text: str = "s3://") -> None:
    while True:
        message = talk.client.get_iopub_msg(timeout=60)
        ours = message["parent_header"].get("msg_id") == request
        if ours and text in message["content"].get("text", ""):
            return


def _kill_agent(place: Place) -> None:
    link = place.machines.link("box")
    drops = link.drops
    (agent,) = [p for p in place.host.processes("ada") if p.inner_pid == link.info["pid"]]
    os.kill(agent.pid, signal.SIGKILL)
    wait_for(lambda: link.drops > drops, "the end of the agent", 60)


def test_the_next_server_takes_up_what_the_last_one_left(
    place: Place, bucket: Bucket, s3: S3
) -> None:
    bucket.put(**{"p/a": os.urandom(9), "p/b": os.urandom(9)})  # in no cache
    held = threading.Event()
    gateway = s3.hosts_url.split("//")[1].partition(":")[0]
    with proxy(s3.url, gateway) as slow:
        slow.rule = lambda method, target: Fault(hold=held) if "/b?" in target else None
        source, options = bucket.url("p"), {"endpoint_url": slow.url}
        assert place.ask(source, timeout=0.1)[0] == "no_server"
        request = place.talk.client.execute(ASK.format(source=source, options=options))
        with place.server():
            wait_for(lambda: slow.asked_for("/b"), "the file", 60)
            _kill_agent(place)
        held.set()
        _until_printed(place.talk, request, "waiting for your Jupyter server")
        with place.server():
            text = ""
            for message in place.talk.messages(request, 120):
                text += message["content"].get("text", "")
            _, files = place.got(text)
            assert files == ["a", "b"]
            place.ask(source)
        # Nobody is there, and the folder is.
        bucket.write("p/c", b"3")
        warned = place.talk.run(ASK.format(source=source, options={}))
        assert "was not compared with S3" in warned and place.got(warned)[1] == ["a", "b"]
        with place.server():
            assert place.ask(source)[1] == ["a", "b", "c"]


def test_nobody_else_on_the_machine_can_ask(place: Place) -> None:
    path = place.talk.run("import os; print(os.environ['JUPYTER_CLOUDML_AGENT'], end='')")
    knock = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    argv = ["python3", "-I", "-S", "-c", knock]
    place.host.run(argv, user="ada")
    with pytest.raises(CommandFailed, match="PermissionError"):
        place.host.run(argv, user="other")


def test_a_server_answers_the_kernels_of_its_own_computer(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bucket: Bucket
) -> None:
    root = tmp_path_factory.mktemp("asked")
    bucket.put(**{"p/a": b"here"})
    code = f"""
import subprocess, sys
import jupyter_cloudml
assert jupyter_cloudml.__version__, "it is the installed one"
from jupyter_cloudml import dataset
got = [str(dataset({bucket.url("p")!r}))]
ask = "import jupyter_cloudml; assert not hasattr(jupyter_cloudml, 'Client'); print(jupyter_cloudml.dataset({bucket.url("p")!r}))"
got += subprocess.run([sys.executable, "-S", "-c", ask], capture_output=True, text=True).stdout.split()
open({str(tmp_path / "got")!r}, "w").write(repr(got))
"""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**places(root), "HOME": str(root)}.items():
            patch.setenv(name, value)
        with thread_server(root) as server:
            with notebook(server, "n.ipynb") as (kernel, _):
                page = Page(server, kernel)
                page.run(code, "cell")
                page.close()
            first, second = literal_eval((tmp_path / "got").read_text())
            assert first == second and Path(first, "a").read_bytes() == b"here"
            rows = server.get("operations")["operations"]
            assert [row["kind"] for row in rows].count("sync-dataset") == 2
            server.operation(server.api("POST", "machines/local/stop"))


def test_a_run_gets_its_data_from_its_scheduler_without_a_jupyter_server(
    place: Place, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The Python of these tests, which the hosts have as well: making one takes a minute.
    monkeypatch.setattr(installation, "python_for_runs", lambda *args: sys.executable)
    monkeypatch.setenv(NOTEBOOK_DATA, f"s3://elsewhere, {bucket.url('p')}")
    bucket.put(**{"p/a": b"1", "q/b": b"2"})
    path = tmp_path / "asks.ipynb"
    asked = [ASK.format(source=bucket.url(prefix), options={}) for prefix in "pq"]
    path.write_text(json.dumps(runs.notebook(*asked)))
    with Client() as client, client.jobs.serving():
        run = client.jobs.wait(client.jobs.run(str(path), on="box").id)
        shown = client.jobs.show(run.id)
    assert run.state == "succeeded", shown
    cells = json.loads(Path(str(shown["executed_notebook"])).read_text())["cells"]
    first, second = (place.got("".join(o["text"] for o in cell["outputs"])) for cell in cells)
    assert first[0].endswith(f"/{bucket.name}/p") and first[1] == ["a"]
    assert second[0] == "not_allowed" and NOTEBOOK_DATA in second[1]
    provenance: Any = shown["provenance"]
    assert [each["source"] for each in provenance["data"]] == [bucket.url("p")]
