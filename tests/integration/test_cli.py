"""The command line as a person and as a script use it: on this computer and on real hosts."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from liveserver import thread_server

from jupyter_cloudml import Client
from jupyter_cloudml.cli import call
from jupyter_cloudml.paths import socket_dir

PROGRAM = str(Path(sys.executable).with_name("jupyter-cloudml"))
LIMIT_S = 90.0


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Home:
    """An installation of its own, and the command line on it: in this process, or as a program where signals and pipes matter."""

    folder: Path
    captured: pytest.CaptureFixture[str]

    @property
    def kernels(self) -> Path:
        return self.folder / "data" / "kernels"

    def run(self, *arguments: str, check: int | None = 0) -> Done:
        self.captured.readouterr()
        status = call(arguments)
        done = Done(status, *self.captured.readouterr())
        assert check in (None, status), done
        return done

    def program(self, *arguments: str, input: str = "", check: int = 0) -> Done:
        done = subprocess.run(
            [PROGRAM, *arguments], input=input, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == check, done
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def names(self) -> list[str]:
        return [each["name"] for each in self.json("machine", "list", "--wait", "0")["machines"]]


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Home]:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    yield Home(tmp_path, capfd)
    with Client() as client:
        link = client.core.link("local")
        link.call("shutdown", stop_processes=True, grace_s=0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def on_local(*argv: str) -> list[str]:
    return ["run", "--on", "local", "--", *argv]


def read_until(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """Read standard output until `text` comes; the process's own time limit is the test's."""
    assert process.stdout is not None
    seen = b""
    while text not in seen:
        data = os.read(process.stdout.fileno(), 65536)
        assert data, seen
        seen += data
    return seen


# -- run -----------------------------------------------------------------------------------------


def test_run_keeps_the_streams_apart_and_passes_the_exit_code_on(home: Home) -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = home.program(*on_local(*python(code)), check=7)
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_run_passes_folder_variables_and_odd_arguments_on_as_they_are(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "ä b")
    folder = tmp_path / "a b"
    folder.mkdir()
    odd = ["$(touch M)", "`touch M`", ";touch M", "a\nb", "é", "--on", "-h", ""]
    code = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['A'], os.environ['FROM_HERE']]))"
    options = ["--cwd", str(folder), "--env", "A=$HOME=1", "--env", "FROM_HERE"]
    done = home.run("run", "--on", "local", *options, "--", *python(code), *odd)
    assert json.loads(done.stdout) == [odd, str(folder), "$HOME=1", "ä b"]
    assert list(folder.iterdir()) == []


def test_run_sends_input_and_its_end(home: Home) -> None:
    data = "".join(f"{n}\n" for n in range(400_000))
    done = home.program(*on_local("sha256sum"), input=data)
    assert done.stdout.split()[0] == hashlib.sha256(data.encode()).hexdigest()


def test_run_shows_output_at_once_and_ctrl_c_interrupts(home: Home) -> None:
    code = (
        "import sys, time\n"
        "try:\n  print('begun', flush=True); time.sleep(60)\n"
        "except KeyboardInterrupt:\n  print('interrupted'); sys.exit(3)"
    )
    process = home.start(*on_local(*python(code)))
    read_until(process, b"begun\n")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert (out, process.returncode) == (b"interrupted\n", 3)


def test_a_command_that_ignores_ctrl_c_is_ended_by_the_second(home: Home) -> None:
    code = (
        "import os, signal, time\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda *a: os.write(1, b'no'))\n"
        "os.write(1, b'%d\\n' % os.getpid())\n"
        "while True: time.sleep(60)"
    )
    process = home.start(*on_local(*python(code)))
    pid = int(read_until(process, b"\n"))
    process.send_signal(signal.SIGINT)
    read_until(process, b"no")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGKILL
    wait_until(lambda: not psutil.pid_exists(pid), "the end of the command")


def test_ctrl_c_reaches_a_command_whose_output_nobody_reads_now(home: Home) -> None:
    process = home.start(*on_local("sh", "-c", "echo $$; exec yes"))
    pid = int(read_until(process, b"\n").split()[0])
    before = 0

    def stuck() -> bool:
        nonlocal before
        before, written = psutil.Process(pid).io_counters().write_chars, before
        return before == written > 30_000_000

    wait_until(stuck, "a command that waits for its reader")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: not psutil.pid_exists(pid), "the end of the command")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)  # of two that come at once a process sees one
    try:
        assert process.wait(LIMIT_S) == 130  # although there is more to write
    finally:
        process.kill()
        process.communicate()


def test_a_signal_is_told_as_a_shell_tells_it(home: Home) -> None:
    home.run(*on_local("sh", "-c", "kill -TERM $$"), check=128 + signal.SIGTERM)


def test_a_command_whose_reader_has_gone_ends(home: Home) -> None:
    script = f"{shlex.join([PROGRAM, *on_local('yes')])} | head -n 2; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    assert done.stdout == f"y\ny\n{128 + signal.SIGPIPE}\n"
    assert "Traceback" not in done.stderr
    with Client() as client:
        rows: Any = client.core.processes("local")
        assert [row for row in rows if row["state"] == "running"] == []


def test_what_cannot_be_started_is_named(home: Home) -> None:
    done = home.run(*on_local("/no/such/program"), check=1)
    assert "Error: " in done.stderr
    assert "/no/such/program" in done.stderr
    assert "box-9" in home.run("run", "--on", "box-9", "--", "true", check=1).stderr


# -- kernels and the end of everything -----------------------------------------------------------


def start_kernel(client: Client, kernel_id: str) -> None:
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    labels = {"kernel_id": kernel_id, "spec": "", "path": "/x/a.ipynb"}
    client.core.link("local").call(
        "start", kind="kernel", argv=argv, env={}, cwd="~", labels=labels, token=kernel_id
    )


def test_kernels_are_listed_and_stopped_by_the_beginning_of_their_id(home: Home) -> None:
    assert home.json("kernel", "list") == {"kernels": [], "unreached": {}}
    with Client() as client:
        for kernel_id in ("aaaa-1111", "bbbb-2222"):
            start_kernel(client, kernel_id)
    rows = {row["id"]: row for row in home.json("kernel", "list", "--on", "local")["kernels"]}
    assert set(rows) == {"aaaa-1111", "bbbb-2222"}
    assert (rows["aaaa-1111"]["state"], rows["aaaa-1111"]["path"]) == ("detached", "/x/a.ipynb")
    assert "cloudml-local" in home.run("kernel", "list").stdout
    assert "aaaa-1111" in home.run("kernel", "stop", "aaaa").stdout
    states = {row["id"]: row["state"] for row in home.json("kernel", "list")["kernels"]}
    assert states == {"aaaa-1111": "ended", "bbbb-2222": "detached"}
    assert "had ended already" in home.run("kernel", "stop", "aaaa-1111").stdout
    assert "no kernel 'cccc'" in home.run("kernel", "stop", "cccc", check=1).stderr


def test_a_kernel_of_a_server_that_is_stopped_here_is_not_started_again(
    home: Home, tmp_path: Path
) -> None:
    fast = {"KernelRestarter": {"time_to_dead": 0.2}}
    with thread_server(tmp_path, fast) as server:
        kernel = server.request("POST", "api/kernels", {"name": "cloudml-local"}).json()["id"]

        def running() -> list[Any]:
            rows = home.json("kernel", "list")["kernels"]
            return [(row["id"], row["machine"]) for row in rows if row["state"] == "connected"]

        wait_until(lambda: running() == [(kernel, "local")], "the kernel", 30)
        home.run("kernel", "stop", kernel[:8])

        def gone() -> bool:
            return server.request("GET", f"api/kernels/{kernel}").status == 404

        wait_until(gone, "the server to give the kernel up", 30)
        assert running() == []
        assert list((tmp_path / "home/servers").glob("*/*/k/*.json")) == []


def test_stop_all_asks_first_and_then_ends_everything(home: Home) -> None:
    with Client() as client:
        start_kernel(client, "cccc-3333")
        client.start(["sleep", "600"], on="local")
        client.core.change("local", prewarm=1)
        link = client.core.link("local")
        key, argv = f"python:{sys.executable}", ["sleep", "600"]
        link.call("prewarm", key=key, argv=argv, env={}, count=1)
    # click's prompt ends with a space on standard output where standard input is no terminal.
    assert home.program("stop", "--all", check=130).stdout.strip() == ""
    assert home.program("stop", "--all", input="n\n", check=130).stdout.strip() == ""
    with Client() as client:
        rows: Any = client.core.processes("local")
        assert sum(row["state"] == "running" for row in rows) == 3
    done = home.run("stop", "--all", "--yes", "--json")
    (result,) = json.loads(done.stdout)["machines"]
    assert (result["machine"], result["error"]) == ("local", None)
    assert result["ended"] >= 2
    with Client() as client:
        rows = client.core.processes("local")
        assert [row for row in rows if row["state"] == "running"] == []


# -- doctor --------------------------------------------------------------------------------------


def findings(home: Home) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(home.run("doctor", "--json", check=None).stdout)[
        "checks"
    ]
    return found


def finding(found: list[dict[str, str]], name: str) -> dict[str, str]:
    return next(each for each in found if each["name"] == name)


def test_doctor_finds_nothing_wrong_here(home: Home) -> None:
    found = findings(home)
    assert [each for each in found if each["state"] != "ok"] == []
    assert {each["name"] for each in found} >= {
        "versions",
        "database",
        "server extension",
        "Lab extension",
        "ssh",
    }
    assert "ok    ssh: OpenSSH" in home.run("doctor").stdout


def test_doctor_names_what_is_wrong_and_the_remedy(home: Home, tmp_path: Path) -> None:
    home.run("machine", "list", "--wait", "0")
    folder = tmp_path / "home"
    stale = socket_dir("agent")  # not below the home where that is too long for sockets
    folder.chmod(0o755)
    (folder / "cloudml.db").write_bytes(b"not a database" * 1000)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stale / "ctl"))
    (tmp_path / "config").mkdir()
    switched_off = {"ServerApp": {"jpserver_extensions": {"jupyter_cloudml_server": False}}}
    config = tmp_path / "config/jupyter_server_config.json"
    config.write_text(json.dumps(switched_off))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "config"))
        found = findings(home)
        home.run("doctor", check=1)
    assert "open to others (755)" in finding(found, "home folder")["detail"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, state in (("database", "fail"), ("server extension", "fail"), ("sockets", "warn")):
        assert finding(found, name)["state"] == state
        assert finding(found, name)["hint"]
    assert "jupyter server extension enable" in finding(found, "server extension")["hint"]
    assert str(stale / "ctl") in finding(found, "sockets")["detail"]
    for file in (folder).glob("cloudml.db*"):
        file.unlink()
    (stale / "ctl").unlink()


def test_doctor_finds_kernelspecs_of_machines_that_are_no_more(home: Home) -> None:
    from jupyter_cloudml_kernels import specs

    specs.install("box-9", "box-9", [])
    found = finding(findings(home), "kernelspecs")
    assert (found["state"], "cloudml-box-9" in found["detail"]) == ("warn", True)
    assert found["hint"] == "jupyter kernelspec remove cloudml-box-9"


# -- machines ------------------------------------------------------------------------------------


def test_the_first_contact_gives_the_fingerprint_and_the_command_that_accepts_it(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    alias = ssh_config.add(host, known=False)
    refused = home.run("machine", "add", "box-2", "--ssh", alias, check=1)
    assert host.fingerprint in refused.stderr
    assert "Accepted" not in host.auth_log()
    assert home.names() == ["local"]
    command = refused.stderr.split("then: ")[1].strip()
    words = shlex.split(command)
    assert words[:2] == ["jupyter", "cloudml"]
    done = home.run(*words[2:])
    assert "box-2 is ready: " in done.stdout
    assert "box-2: 4/4 preparing Python" in done.stderr

    listed = home.json("machine", "list")["machines"]
    assert [(each["name"], each["state"]) for each in listed] == [
        ("local", "running"),
        ("box-2", "running"),
    ]
    shown = home.json("machine", "show", "box-2")
    assert shown["info"]["hostname"] == host.name
    assert host.name in home.run("machine", "show", "box-2").stdout
    spec = json.loads((home.kernels / "cloudml-box-2/kernel.json").read_text())
    assert spec["display_name"] == "Python on box-2"
    assert spec["metadata"]["kernel_provisioner"]["config"]["machine"] == "box-2"
    assert (
        "there is a machine named"
        in home.run("machine", "add", "box-2", "--ssh", alias, check=1).stderr
    )

    checked = home.json("machine", "check", "box-2")
    assert checked["steps"][-1]["step"] == "a kernel starts and computes"
    assert all(step["ok"] for step in checked["steps"])

    changed = home.json("machine", "set", "box-2", "--label", "Box", "--cull-idle", "2h")
    assert (changed["label"], changed["cull_idle_s"], changed["prewarm"]) == ("Box", 7200, 0)
    home.run("machine", "set", "box-2", "--cull-idle", "never")
    assert home.json("machine", "show", "box-2")["cull_idle_s"] is None
    assert "--prewarm" in home.run("machine", "set", "box-2", check=2).stderr

    home.run("machine", "stop", "box-2")
    assert home.json("machine", "show", "box-2")["state"] == "stopped"
    assert "start it" in home.run("run", "--on", "box-2", "--", "true", check=1).stderr
    home.run("machine", "start", "box-2")

    process = home.start("run", "--on", "box-2", "--", "sh", "-c", "echo up; exec sleep 600")
    read_until(process, b"up\n")
    assert "--stop-processes" in home.run("machine", "remove", "box-2", check=1).stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 128 + signal.SIGINT
    home.run("machine", "remove", "box-2")
    assert home.names() == ["local"]
    assert not (home.kernels / "cloudml-box-2").exists()
    assert home.run("machine", "show", "box-2", check=1).stderr.startswith("Error: ")


def test_a_person_is_asked_at_the_first_contact(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    alias = ssh_config.add(host, known=False)
    for answer, status in (("n", 130), ("y", 0)):
        terminal = pexpect.spawn(
            PROGRAM, ["machine", "add", "box-2", "--ssh", alias], timeout=LIMIT_S, encoding="utf-8"
        )
        terminal.expect_exact(host.fingerprint)
        terminal.expect_exact("Is that the host?")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == status, terminal.before
    assert home.names() == ["local", "box-2"]


def test_a_wrong_host_key_is_refused_before_anything_is_said(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    alias = ssh_config.add(host, known=False)
    wrong = "SHA256:" + "A" * 43
    done = home.run("machine", "add", "box-2", "--ssh", alias, "--host-key", wrong, check=1)
    assert host.fingerprint in done.stderr
    log = host.auth_log()
    assert "Accepted" not in log
    assert "Failed publickey" not in log
    assert home.names() == ["local"]
    home.run("machine", "add", "box-2", "--ssh", alias, "--host-key", host.fingerprint)
    assert home.names() == ["local", "box-2"]


def test_what_goes_wrong_is_told_with_a_remedy_and_leaves_nothing(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    stranger = ssh_config.add(host, "stranger", user="nobody-there")
    cases = [
        (["--ssh", stranger], "stranger"),
        (["--ssh", "no-such-host.invalid"], "no-such-host.invalid"),
        (["--ssh", ssh_config.add(host), "--python", "/no/python"], "/no/python"),
    ]
    for options, says in cases:
        done = home.run("machine", "add", "box-2", *options, check=1)
        assert says in done.stderr
        assert "→" in done.stderr
    assert home.names() == ["local"]
    assert not home.kernels.exists() or not any(home.kernels.iterdir())


def test_an_add_that_is_interrupted_leaves_nothing(
    home: Home, box: Box, ssh_config: SSHConfig
) -> None:
    host = box.host()
    alias = ssh_config.add(host)
    host.freeze()
    process = home.start("machine", "add", "box-2", "--ssh", alias)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert home.names() == ["local"]
    box.destroy(host)


def test_hosts_of_the_configuration_are_suggested(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    alias = ssh_config.add(host, "lab-gpu")
    (suggestion,) = home.json("machine", "suggest")["suggestions"]
    assert (suggestion["name"], suggestion["host"], suggestion["user"]) == ("lab-gpu", alias, "ada")
    assert "lab-gpu" in home.run("machine", "suggest").stdout


def test_output_over_ssh_is_complete_and_once_through_cuts(
    home: Home, host: Host, ssh_config: SSHConfig
) -> None:
    home.run("machine", "add", "box-2", "--ssh", ssh_config.add(host))
    lines = 20_000
    code = f"import sys, time\nfor i in range({lines}):\n  print(i)\n  if i % 200 == 0: sys.stdout.flush(); time.sleep(.02)"
    process = home.start("run", "--on", "box-2", "--", "python3", "-c", code)
    cuts = 0

    def cut() -> None:
        nonlocal cuts
        while process.poll() is None and cuts < 4:
            carriers = [
                child
                for child in psutil.Process(process.pid).children(recursive=True)
                if child.name() == "ssh"
            ]
            for child in carriers:
                child.kill()
            cuts += bool(carriers)
            time.sleep(0.4)  # the pace of the cuts, not a wait for anything

    cutter = threading.Thread(target=cut)
    assert process.stdout is not None
    first = os.read(
        process.stdout.fileno(), 1 << 16
    )  # communicate() skips what readline() has read ahead
    cutter.start()
    out, err = process.communicate(timeout=LIMIT_S)
    cutter.join()
    assert process.returncode == 0, err
    assert (first + out).split() == [b"%d" % i for i in range(lines)]
    assert err == b""
    assert cuts >= 2


# -- hostile input (T1) --------------------------------------------------------------------------

HOSTILE = [
    "-oProxyCommand=touch M",
    "--upload-pack=touch M",
    "$(touch M)",
    "`touch M`",
    ";touch M",
    "\n touch M",
    "a b",
    "é",
    "x" * (1 << 20),
]


def marks(folders: list[Path]) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("M") if path.is_file()]


def test_hostile_words_in_any_field_run_nothing_anywhere(
    home: Home, host: Host, ssh_config: SSHConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: no argv of a program holds a word of a megabyte."""
    monkeypatch.chdir(tmp_path)
    alias = ssh_config.add(host)
    key = "SHA256:" + "A" * 43
    for word in HOSTILE:
        add = ["machine", "add"]
        lines = [
            [*add, "--ssh", alias, "--", word],
            [*add, "box-2", f"--ssh={word}"],
            [*add, "box-2", f"--ssh={word}@{alias}"],
            [*add, "box-2", f"--ssh={alias}:{word}"],
            [*add, "box-2", "--ssh", alias, f"--host-key={word}"],
            [*add, "box-2", "--ssh", alias, f"--host-key={key}{word}"],
            ["run", f"--on={word}", "--", "true"],
            ["machine", "check", "--", word],
            ["machine", "show", "--", word],
            ["machine", "start", "--", word],
            ["machine", "remove", "--", word],
            ["kernel", "stop", f"--on={word}", "abcd"],
        ]
        for line in lines:
            assert call(line) in (1, 2), line
    assert home.names() == ["local"]
    assert marks([tmp_path, host.root / "home", host.root / "tmp"]) == []


def test_hostile_words_that_are_allowed_are_taken_literally(
    home: Home, host: Host, ssh_config: SSHConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths may hold anything, and so may arguments and variables of a command."""
    monkeypatch.chdir(tmp_path)
    alias = ssh_config.add(host)
    for word in HOSTILE:
        for option in ("--python", "--identity"):
            assert call(["machine", "add", "bad", "--ssh", alias, f"{option}={word}"]) in (1, 2)
    assert home.names() == ["local"]
    home.run("machine", "add", "box-2", "--ssh", alias)
    code = "import os, sys; sys.stdout.write(sys.argv[1] + os.environ['W'])"
    for word in HOSTILE[:-1]:
        options = ["--on", "box-2", f"--cwd={word}", "--env", f"W={word}"]
        refused = home.run("run", *options, "--", "true", check=1).stderr
        assert "no folder to work in" in refused
        (host.root / "home/ada" / word).mkdir(parents=True)
        done = home.run("run", *options, "--", "python3", "-c", code, word)
        assert done.stdout == word + word
        home.run("run", "--on", "box-2", "--", word, check=1)
    home.run("run", "--on", "box-2", "--env", "A;touch M=1", "--", "true", check=None)
    assert marks([tmp_path, host.root / "home", host.root / "tmp"]) == []
