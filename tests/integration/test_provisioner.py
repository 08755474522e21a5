"""Kernels on machines under unmodified Jupyter clients: KernelManager, its asynchronous sister, nbclient, papermill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jupyter_kernel_test
import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import AsyncKernelManager, KernelManager
from nbclient import NotebookClient

from jupyter_cloudml.errors import Cancelled
from jupyter_cloudml.machines.service import Machines
from jupyter_cloudml_kernels import machine_kernel, provisioner

from .kernels import Talk, alive, own_machines, started, wait_for

LOCAL = "cloudml-local"


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with own_machines(tmp_path_factory.mktemp("provisioner")) as made:
        yield made


@pytest.fixture(scope="module")
def shared(here: Machines) -> Iterator[tuple[Any, Talk]]:
    """A kernel for the tests that leave it as it was."""
    with started() as both:
        yield both


@pytest.fixture
def kernel(shared: tuple[Any, Talk]) -> tuple[Any, Talk]:
    return shared


# -- what every kernel can -------------------------------------------------------------------------------------------------------


class TestProtocol(jupyter_kernel_test.KernelTests):  # type: ignore[misc]  # published untyped
    """The suite that kernels are tested with."""

    kernel_name = LOCAL
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples: ClassVar[list[dict[str, Any]]] = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples: ClassVar[list[str]] = ["1", "print('hello, world')"]
    incomplete_code_samples: ClassVar[list[str]] = ["print('''hello"]
    invalid_code_samples: ClassVar[list[str]] = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result: ClassVar[list[dict[str, str]]] = [{"code": "1+2+3", "result": "6"}]
    code_display_data: ClassVar[list[dict[str, str]]] = [
        {
            "code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))",
            "mime": "text/html",
        }
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


def test_stdin(kernel: tuple[Any, Talk]) -> None:
    _, talk = kernel
    msg_id = talk.client.execute("name = input('Name? ')", allow_stdin=True)
    question = talk.client.get_stdin_msg(timeout=20)
    assert question["content"] == {"prompt": "Name? ", "password": False}
    talk.client.input("Ada")
    assert talk.reply(msg_id)["content"]["status"] == "ok"
    assert talk.run("print(name)") == "Ada\n"


def test_interrupt_reaches_the_kernel_and_its_children(kernel: tuple[Any, Talk]) -> None:
    manager, talk = kernel
    msg_id = talk.client.execute("import subprocess; subprocess.run(['sleep', '60'])")
    wait_for(lambda: children_of(pid_of(manager)), "the child")
    manager.interrupt_kernel()
    assert talk.reply(msg_id, 20)["content"]["ename"] == "KeyboardInterrupt"
    talk.settle()
    wait_for(lambda: not children_of(pid_of(manager)), "the child's end")


def test_comms_and_widgets(kernel: tuple[Any, Talk]) -> None:
    _, talk = kernel
    talk.run("import ipywidgets; w = ipywidgets.IntSlider(value=3); ids = [w.comm.comm_id]")
    comm = json.loads(talk.run("import json; print(json.dumps(ids[0]))"))
    content = {
        "comm_id": comm,
        "data": {"method": "update", "state": {"value": 42}, "buffer_paths": []},
    }
    talk.client.shell_channel.send(talk.client.session.msg("comm_msg", content))
    assert talk.run("print(w.value)") == "42\n"
    msg_id = talk.client.execute("w.value = 7")
    (update,) = [m for m in talk.messages(msg_id) if m["msg_type"] == "comm_msg"]
    assert update["content"]["data"]["state"] == {"value": 7}


def test_twenty_megabytes_in_buffers_both_ways(kernel: tuple[Any, Talk]) -> None:
    _, talk = kernel
    talk.run(
        "import os, hashlib\n"
        "blob = os.urandom(20_000_000)\n"
        "got = []\n"
        "def target(comm, message):\n"
        "    comm.on_msg(lambda m: got.append(bytes(m['buffers'][0])))\n"
        "get_ipython().kernel.comm_manager.register_target('blobs', target)\n"
    )
    msg_id = talk.client.execute(
        "s = get_ipython().kernel.session\n"
        "s.send(get_ipython().kernel.iopub_socket, 'display_data', {'data': {}, 'metadata': {}}, "
        "parent=get_ipython().kernel.get_parent(), buffers=[blob, b'end'])"
    )
    (shown,) = [m for m in talk.messages(msg_id) if m["msg_type"] == "display_data"]
    blob = bytes(shown["buffers"][0])
    assert (len(blob), bytes(shown["buffers"][1])) == (20_000_000, b"end")

    session, channel = talk.client.session, talk.client.shell_channel
    channel.send(session.msg("comm_open", {"comm_id": "c1", "target_name": "blobs", "data": {}}))
    message = session.msg("comm_msg", {"comm_id": "c1", "data": {}})
    message["buffers"] = [blob]
    channel.send(message)
    assert talk.run("print(got == [blob])") == "True\n"


def test_the_debugger_answers_on_control(kernel: tuple[Any, Talk]) -> None:
    _, talk = kernel
    content = {
        "type": "request",
        "seq": 1,
        "command": "initialize",
        "arguments": {"clientID": "t", "adapterID": ""},
    }
    talk.client.control_channel.send(talk.client.session.msg("debug_request", content))
    reply = talk.client.get_control_msg(timeout=30)
    assert reply["msg_type"] == "debug_reply" and reply["content"]["success"] is True


def test_control_answers_while_a_cell_runs(kernel: tuple[Any, Talk]) -> None:
    manager, talk = kernel
    msg_id = talk.client.execute("import time\nprint(1)\nwhile True: time.sleep(0.01)")
    talk.begun(msg_id)
    talk.client.control_channel.send(talk.client.session.msg("kernel_info_request"))
    assert talk.client.get_control_msg(timeout=20)["msg_type"] == "kernel_info_reply"
    manager.interrupt_kernel()
    assert talk.reply(msg_id, 20)["content"]["status"] == "error"


def test_several_clients_of_one_kernel(kernel: tuple[Any, Talk]) -> None:
    manager, first = kernel
    second = Talk(manager)
    first.run("shared = 1")
    assert second.run("shared += 1; print(shared)") == "2\n"
    ids = [
        (talk, talk.client.execute(f"print({n})")) for n, talk in enumerate((first, second) * 10)
    ]
    for n, (talk, msg_id) in enumerate(ids):
        assert talk.reply(msg_id)["content"]["status"] == "ok"
        text = "".join(
            m["content"]["text"] for m in talk.messages(msg_id) if m["msg_type"] == "stream"
        )
        assert text == f"{n}\n"
    second.close()
    assert first.run("print(shared)") == "2\n"


def test_a_console_finds_it_by_its_connection_file(kernel: tuple[Any, Talk]) -> None:
    manager, talk = kernel
    talk.run("x = 'from the notebook'")
    console = BlockingKernelClient(connection_file=manager.connection_file)
    console.load_connection_file()
    console.start_channels()
    console.wait_for_ready(timeout=60)
    assert console.execute_interactive("assert x", timeout=30)["content"]["status"] == "ok"
    console.stop_channels()


# -- its life --------------------------------------------------------------------------------------------------------------------


def pid_of(manager: Any) -> int:
    link, process = manager.provisioner.kernel.link, manager.provisioner.kernel.record.process
    (row,) = [row for row in link.call("list") if row["id"] == process]
    return int(row["pid"])


def children_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if alive(int(child))]


def test_restart_keeps_sockets_and_key_and_ends_the_old_process() -> None:
    with started() as (manager, talk):
        other = Talk(manager)
        info, pid, kernel_id = manager.get_connection_info(), pid_of(manager), manager.kernel_id
        talk.run("x = 1")
        manager.restart_kernel()
        talk.client.wait_for_ready(timeout=60)
        assert talk.run("print('x' in globals())") == "False\n"
        # A client that knows nothing of the restart; ZMQ takes a moment to connect and subscribe it anew.
        wait_for(lambda: other.run("print(1)") == "1\n", "its output")
        assert (manager.get_connection_info(), manager.kernel_id) == (info, kernel_id)
        assert pid_of(manager) != pid and not alive(pid)
        other.close()


def rows_of(here: Machines) -> dict[str, Any]:
    return {row["id"]: row for row in here.link("local").call("list")}


def test_shutdown_leaves_no_process_and_no_file(here: Machines) -> None:
    with started() as (manager, talk):
        pid = pid_of(manager)
        child = int(
            talk.run(
                "import subprocess; p = subprocess.Popen(['setsid', 'sleep', '600']); print(p.pid)"
            )
        )
        sockets = Path(manager.ip).parent
        assert sockets.is_dir() and provisioner.find(manager.kernel_id) is not None
        talk.close()
        manager.shutdown_kernel(now=True)
        assert not manager.has_kernel and not manager.is_alive()
        assert not sockets.exists() and not Path(manager.connection_file).exists()
        wait_for(
            lambda: not alive(pid) and not alive(child),
            "the end of the kernel and of what it started",
        )
        process = manager.provisioner.kernel.record.process
        wait_for(lambda: process not in rows_of(here), "the agent's forgetting it")
        assert provisioner.find(manager.kernel_id) is None


def test_a_polite_shutdown_lets_the_kernel_tidy_up(tmp_path: Path) -> None:
    with started() as (manager, talk):
        talk.run(
            f"import atexit; atexit.register(lambda: open({str(tmp_path / 'tidy')!r}, 'w').close())"
        )
        talk.close()
        manager.shutdown_kernel()
    assert (tmp_path / "tidy").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kernel_that_is_killed_is_dead_and_why(number: int) -> None:
    with started() as (manager, _):
        assert manager.is_alive()
        os.kill(pid_of(manager), number)
        wait_for(lambda: not manager.is_alive(), "the word of its end")
        view = provisioner.find(manager.kernel_id)
        assert view is not None and (view.state, view.cause) == (
            "ended",
            f"ended by signal {number}",
        )
        assert asyncio.run(manager.provisioner.poll()) == -number
        manager.restart_kernel(now=True)
        restarted = Talk(manager)
        assert restarted.run("print('again')") == "again\n"
        restarted.close()


def test_a_kernel_that_exits_gives_its_code() -> None:
    with started() as (manager, talk):
        talk.client.execute("import os; os._exit(7)")
        wait_for(lambda: not manager.is_alive(), "the word of its end")
        assert asyncio.run(manager.provisioner.poll()) == 7


def test_a_killed_agent_is_no_dead_kernel(here: Machines) -> None:
    with started() as (manager, talk):
        talk.run("x = 41")
        link = here.link("local")
        drops = link.drops
        os.kill(link.info["pid"], signal.SIGKILL)
        wait_for(lambda: link.drops > drops, "the cut")
        seen = set()
        deadline = time.monotonic() + 20
        while link.state.phase != "up":
            assert manager.is_alive() and time.monotonic() < deadline
            seen.add(provisioner.live()[-1].state)
        assert talk.run("print(x + 1)") == "42\n"
        assert "ended" not in seen and manager.is_alive()


def test_a_kernel_of_an_agent_that_hangs_is_let_go_and_ended_later(
    here: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_kernel, "ASK_S", 0.5)
    agent = here.link("local").info["pid"]
    with started() as (manager, talk):
        pid = pid_of(manager)
        talk.close()
        os.kill(agent, signal.SIGSTOP)
        try:
            manager.shutdown_kernel(now=True)
            assert provisioner.find(manager.kernel_id) is None
            assert alive(pid)
        finally:
            os.kill(agent, signal.SIGCONT)
        wait_for(lambda: not alive(pid), "the end of the kernel", 40)


def test_the_folder_is_the_notebooks(tmp_path: Path) -> None:
    with started(cwd=str(tmp_path)) as (manager, talk):
        assert talk.run("import os; print(os.getcwd())") == f"{tmp_path}\n"
        (tmp_path / "data.csv").touch()
        assert manager.resolve_path("data.csv") == str(tmp_path / "data.csv")
        assert manager.resolve_path("nothing.csv") is None


def test_the_environment_is_that_of_a_local_kernel() -> None:
    env = {**os.environ, "JPY_SESSION_NAME": "/x/a.ipynb", "JPY_PARENT_PID": "1", "OWN": "é\n$x"}
    with started(env=env) as (manager, talk):
        seen = json.loads(talk.run("import os, json; print(json.dumps(dict(os.environ)))"))
        assert (seen["OWN"], seen["JPY_SESSION_NAME"]) == ("é\n$x", "/x/a.ipynb")
        assert "JPY_PARENT_PID" not in seen
        view = provisioner.find(manager.kernel_id)
        assert view is not None and view.path == "/x/a.ipynb"


def test_what_it_tells_of_itself_is_json_and_enough_to_take_over() -> None:
    with started() as (manager, talk):
        talk.run("x = 5")
        info = json.loads(json.dumps(asyncio.run(manager.provisioner.get_provisioner_info())))
        taken = KernelManager(kernel_name=LOCAL)
        taken.provisioner = provisioner.CloudMLProvisioner(
            kernel_spec=manager.kernel_spec, parent=taken
        )

        async def take_over() -> None:
            await taken.provisioner.load_provisioner_info(info)  # type: ignore[union-attr]
            await manager.provisioner.detach()
            await taken.provisioner.rejoin()  # type: ignore[union-attr]
            assert await taken.provisioner.settle(20)  # type: ignore[union-attr]
            taken.provisioner.confirm()  # type: ignore[union-attr]

        asyncio.run(take_over())
        taken.load_connection_info(taken.provisioner.connection_info)
        other = Talk(taken)
        assert other.run("print(x)") == "5\n" and taken.is_alive()
        other.close()
        taken.shutdown_kernel(now=True)


# -- starting ----------------------------------------------------------------------------------------------------------------------


def test_a_start_can_be_called_off(here: Machines) -> None:
    link = here.link("local")
    manager = KernelManager(kernel_name=LOCAL)
    errors: list[BaseException] = []

    def start() -> None:
        try:
            manager.start_kernel()
        except Cancelled as exc:
            errors.append(exc)

    before = {row["id"] for row in link.call("list")}
    os.kill(link.info["pid"], signal.SIGSTOP)  # a machine that takes its time
    try:
        thread = threading.Thread(target=start)
        thread.start()
        wait_for(lambda: provisioner.cancel_start(str(manager.kernel_id)), "the start")
        thread.join(10)
        assert not thread.is_alive() and [error.code for error in errors] == ["cancelled"]  # type: ignore[attr-defined]
        assert not provisioner.cancel_start(str(manager.kernel_id)), "it is called off already"
    finally:
        os.kill(link.info["pid"], signal.SIGCONT)

    def left() -> list[Any]:
        rows = link.call("list")
        return [r for r in rows if r["id"] not in before and r["state"] == "running"]

    wait_for(lambda: not left(), "the end of what the agent started all the same")


def test_a_kernel_that_cannot_be_started_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spec(tmp_path, "broken", {"argv": ["/no/such/program", "{connection_file}"]})
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(Exception, match=r"/no/such/program: No such file"):
        KernelManager(kernel_name="broken").start_kernel()


def test_an_unknown_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(tmp_path, "nowhere", {}, machine="box-9")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(Exception, match="box-9"):
        KernelManager(kernel_name="nowhere").start_kernel()


def write_spec(folder: Path, name: str, changes: dict[str, Any], machine: str = "local") -> None:
    spec = {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": name,
        "language": "python",
        "metadata": {
            "kernel_provisioner": {"provisioner_name": "cloudml", "config": {"machine": machine}}
        },
        **changes,
    }
    (folder / "kernels" / name).mkdir(parents=True)
    (folder / "kernels" / name / "kernel.json").write_text(json.dumps(spec))


def test_a_waiting_kernel_is_taken_with_folder_and_environment(
    here: Machines, tmp_path: Path
) -> None:
    here.change("local", prewarm=1)
    try:
        link = here.link("local")
        waiting = wait_for(
            lambda: [
                r["id"] for r in link.call("list") if r["warm"] and r["execution_state"] == "idle"
            ],
            "a waiting kernel",
        )
        with started(cwd=str(tmp_path), env={**os.environ, "OWN": "1"}) as (manager, talk):
            assert manager.provisioner.kernel.record.process == waiting[0]
            assert talk.run("import os; print(os.getcwd(), os.environ['OWN'])") == f"{tmp_path} 1\n"
            manager.restart_kernel()
            talk.client.wait_for_ready(timeout=60)
            assert talk.run("print(os.getcwd()) if 'os' in globals() else print('new')") == "new\n"
    finally:
        here.change("local", prewarm=0)


# -- other clients -------------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_asynchronous_kernel_manager() -> None:
    manager = AsyncKernelManager(kernel_name=LOCAL)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    reply = await client.execute_interactive(
        "assert 1 + 1 == 2", timeout=30, output_hook=lambda m: None
    )
    assert reply["content"]["status"] == "ok"
    await manager.restart_kernel()
    await client.wait_for_ready(timeout=60)
    await manager.interrupt_kernel()
    assert await manager.is_alive()
    client.stop_channels()
    await manager.shutdown_kernel()
    assert not await manager.is_alive()


def notebook(*cells: str) -> Any:
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
        metadata={"kernelspec": {"name": LOCAL, "display_name": LOCAL, "language": "python"}},
    )


def test_nbclient(here: Machines) -> None:
    before = set(rows_of(here))
    book = notebook("x = 20", "print(x + 1)", "x * 2")
    NotebookClient(book, kernel_name=LOCAL).execute()
    assert book.cells[1].outputs[0]["text"] == "21\n"
    assert book.cells[2].outputs[0]["data"]["text/plain"] == "40"
    wait_for(lambda: set(rows_of(here)) <= before, "its end")


def test_papermill(tmp_path: Path) -> None:
    nbformat.write(notebook("x = 20", "print(x + 1)"), tmp_path / "in.ipynb")
    argv = [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    assert nbformat.read(tmp_path / "out.ipynb", 4).cells[1].outputs[0]["text"] == "21\n"


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_a_kernel_without_a_server_ends_with_its_client(here: Machines, how: str) -> None:
    code = f"""
import os
from jupyter_cloudml_kernels import machine_kernel
machine_kernel.LOCAL_ORPHAN_S = 1.0
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name={LOCAL!r})
client.stop_channels()
print(manager.provisioner.kernel.record.process, flush=True)
if {how!r} == "kill":
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    process = done.stdout.strip()
    assert process, done.stderr[-3000:]
    link = here.link("local")
    wait_for(
        lambda: (
            not [r for r in link.call("list") if r["id"] == process and r["state"] == "running"]
        ),
        "the end of the kernel",
    )
