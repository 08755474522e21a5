"""`code clone` from real remotes, over https with a password, over ssh and from a folder: exact, updated, deaf, and no credential leaves."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import SSHConfig
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jupyter_cloudml.errors import AuthRefused, Cancelled, Conflict, NotFound, UsageError
from jupyter_cloudml.workspaces.clone import Clone
from jupyter_cloudml.workspaces.git import GitError
from jupyter_cloudml.workspaces.progress import Steps
from jupyter_cloudml.workspaces.source import Source, check_ref

from .repositories import git
from .test_cli import Home, home  # noqa: F401 - the fixture


@dataclass
class Remote:
    """A bare repository that is served, and a working copy to change it from."""

    bare: Path
    work: Path

    def commit(self, message: str, **files: str | None) -> str:
        for name, text in files.items():
            path = self.work / name.replace("__", "/").replace("_py", ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-qm", message)
        git(self.work, "push", "-q", "origin", "HEAD")
        return git(self.work, "rev-parse", "HEAD")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    bare, work = tmp_path / "srv" / "digits.git", tmp_path / "work"
    bare.mkdir(parents=True)
    git(bare, "init", "-q", "--bare")
    git(bare, "config", "http.receivepack", "false")
    git(tmp_path, "clone", "-q", str(bare), "work")
    made = Remote(bare, work)
    made.commit("First", model_py="one\ntwo\nthree\nfour\nfive\n", pkg__a_py="a\n")
    return made


def clone(folder: Path, source: str, ref: str | None = None) -> str:
    return Clone(folder, Source.parse(source), Steps(of=4)).update(ref)


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


# -- what may be cloned --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url", "name", "protocol"),
    [
        ("https://h.example/a/b.git", "https://h.example/a/b.git", "b", "https"),
        ("https://ada:s3%40t@h.example:8443/a/b", "https://h.example:8443/a/b", "b", "https"),
        ("https://t0ken@h.example/b", "https://h.example/b", "b", "https"),
        ("ssh://git@h.example:22/a/b.git", "ssh://git@h.example:22/a/b.git", "b", "ssh"),
        ("ssh://git:pw@h.example/b", "ssh://git@h.example/b", "b", "ssh"),
        ("git@h.example:a/b.git", "git@h.example:a/b.git", "b", "ssh"),
        ("h.example:b c$(x)", "h.example:b c$(x)", "b_c__x_", "ssh"),
    ],
)
def test_a_url_is_taken_apart(text: str, url: str, name: str, protocol: str) -> None:
    source = Source.parse(text)
    assert (source.url, source.name, source.protocol) == (url, name, protocol)
    assert "s3" not in repr(source)


def test_user_and_password_are_kept_apart_from_the_url() -> None:
    source = Source.parse("https://ada:s3%40t@h.example/b")
    assert (source.user, source.password) == ("ada", "s3@t")


@pytest.mark.parametrize(
    "text",
    [
        "ext::sh -c touch% M",
        "EXT::sh",
        "foo::https://h.example/b",
        "--upload-pack=touch M",
        "-oProxyCommand=touch M",
        "http://h.example/b",
        "git://h.example/b",
        "ftp://h.example/b",
        "ssh://-oProxyCommand=touch M/b",
        "ssh://-l@h.example/b",
        "ssh://h.example/-b",
        "-oProxyCommand=x@h.example:b",
        "h.example:--upload-pack=x",
        "https://a%0Ab:c@h.example/b",
        "https://h.example/b\nc",
        "https:///b",
        "https://h.example/",
        "https://h.example:x/b",
        "file://elsewhere/b",
        "",
    ],
)
def test_what_git_would_run_something_for_is_refused(text: str) -> None:
    with pytest.raises((UsageError, NotFound)) as caught:
        Source.parse(text)
    assert caught.value.code in ("bad_url", "not_found")
    assert "touch" not in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    ["-x", "--upload-pack=x", "a..b", "a b", "a:b", "a@{1}", "a\n", "x" * 300, "a//b", ""],
)
def test_what_is_no_ref_is_refused(ref: str) -> None:
    with pytest.raises(UsageError):
        check_ref(ref)


# -- branches, tags, commits -----------------------------------------------------------------------------


def test_a_branch_a_tag_and_a_commit(tmp_path: Path, remote: Remote) -> None:
    first = git(remote.work, "rev-parse", "HEAD")
    git(remote.work, "tag", "-am", "One", "v1")
    git(remote.work, "push", "-q", "origin", "v1")
    second = remote.commit("Second", model_py="new\n", pkg__a_py=None)
    git(remote.work, "checkout", "-q", "-b", "feature/x")
    third = remote.commit("Third", extra_py="x\n")
    there = tmp_path / "clone"
    url = f"file://{remote.bare}"
    for ref, commit, branch in (
        (None, second, "main"),
        ("v1", first, "HEAD"),
        ("feature/x", third, "feature/x"),
        (second, second, "HEAD"),
        (first[:9], first, "HEAD"),
        ("main", second, "main"),
    ):
        assert clone(there, url, ref) == commit, ref
        assert git(there, "rev-parse", "HEAD") == commit
        assert git(there, "rev-parse", "--abbrev-ref", "HEAD") == branch
        assert git(there, "status", "--porcelain") == ""
    assert files(there) == {"model.py": "new\n"}
    assert git(there, "config", "remote.origin.url") == str(remote.bare)
    for unknown in ("nowhere", "0" * 40, "beef"):
        with pytest.raises(NotFound):
            clone(there, url, unknown)
    assert files(there) == {"model.py": "new\n"}


def test_a_clone_takes_no_history_until_it_needs_it(tmp_path: Path, remote: Remote) -> None:
    first = git(remote.work, "rev-parse", "HEAD")
    second = remote.commit("Second", model_py="new\n")
    there = tmp_path / "clone"
    clone(there, str(remote.bare))
    assert git(there, "rev-list", "--count", "HEAD") == "1"
    assert clone(there, str(remote.bare), first[:8]) == first
    assert clone(there, str(remote.bare), "main") == second
    assert git(there, "rev-list", "--count", "HEAD") == "2", "and does not throw it away again"


def test_an_update_keeps_what_was_changed_here(tmp_path: Path, remote: Remote) -> None:
    there = tmp_path / "clone"
    clone(there, str(remote.bare))
    (there / "model.py").write_text("one\ntwo\nthree\nfour\nFIVE\n")
    (there / "model.py").chmod(0o755)
    (there / "results.json").write_text("{}")
    remote.commit("Second", model_py="ONE\ntwo\nthree\nfour\nfive\n", pkg__a_py=None, new_py="n\n")
    clone(there, str(remote.bare))
    merged = "ONE\ntwo\nthree\nfour\nFIVE\n"
    assert files(there) == {"model.py": merged, "results.json": "{}", "new.py": "n\n"}
    assert os.access(there / "model.py", os.X_OK)

    commit = git(there, "rev-parse", "HEAD")
    before = files(there)
    remote.commit("Third", model_py="clash\n", other_py="o\n", results_json="x")
    with pytest.raises(Conflict, match=r"model\.py") as caught:
        clone(there, str(remote.bare))
    assert caught.value.code == "local_changes"
    assert (files(there), git(there, "rev-parse", "HEAD")) == (before, commit), (
        "nothing was written"
    )
    git(there, "commit", "-qam", "Mine")
    with pytest.raises(Conflict, match="commits of its own"):
        clone(there, str(remote.bare))


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, remote: Remote) -> None:
    config = (remote.work / ".git" / "config").read_text()
    with pytest.raises(Conflict, match="is there already"):
        clone(remote.work, str(remote.bare))
    assert (remote.work / ".git" / "config").read_text() == config
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    with pytest.raises(Conflict):
        clone(tmp_path / "mine", str(remote.bare))
    assert files(tmp_path / "mine") == {"x": "x"} and not (tmp_path / "mine" / ".git").exists()


@pytest.mark.parametrize("stage", ["fetch", "update-ref", "write", "read-tree", "symbolic-ref"])
def test_a_clone_that_is_killed_is_finished_by_the_next(
    tmp_path: Path, remote: Remote, stage: str
) -> None:
    there = tmp_path / "clone"
    clone(there, str(remote.bare))
    commit = remote.commit("Second", model_py="new\n", pkg__a_py=None, b_py="b\n", c_py="c\n")
    script = f"""
import os, signal, sys
from pathlib import Path
from jupyter_cloudml.workspaces import clone, local, users_git
from jupyter_cloudml.workspaces.progress import Steps
from jupyter_cloudml.workspaces.source import Source
def killing(cls, name, when):
    real = getattr(cls, name)
    def act(self, *words, **more):
        done = real(self, *words, **more)
        if when(words):
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(cls, name, act)
stage = {stage!r}
killing(clone.Git, "run", lambda words: words[0] == stage)
killing(users_git.UsersGit, "run", lambda words: words[0] == stage)
killing(local.LocalFolder, "write", lambda words: stage == "write")
clone.Clone(Path(sys.argv[1]), Source.parse(sys.argv[2]), Steps(of=4)).update(None)
"""
    done = subprocess.run([sys.executable, "-c", script, str(there), str(remote.bare)], check=False)
    assert done.returncode == -signal.SIGKILL
    (there / ".git" / "index.lock").touch()
    assert clone(there, str(remote.bare)) == commit
    assert files(there) == {"model.py": "new\n", "b.py": "b\n", "c.py": "c\n"}
    assert git(there, "status", "--porcelain") == ""


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_fetch_that_is_called_off_ends_all_of_git(tmp_path: Path, remote: Remote) -> None:
    stuck = tmp_path / "stuck.sh"
    stuck.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    stuck.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\tsshCommand = {stuck}\n")
    cancelled = threading.Event()
    steps = Steps(lambda step: None, cancelled, of=4)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            Clone(tmp_path / "clone", Source.parse("git@h.example:b.git"), steps).update(None)
        except Cancelled as exc:
            caught.append(exc)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        thread = threading.Thread(target=work)
        thread.start()
        started = tmp_path / "pid"
        wait_until(lambda: started.exists() and started.read_text() != "", "git", 30)
        cancelled.set()
        thread.join(30)
    assert len(caught) == 1
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(pid), "the end of what git had started")


# -- strangers' repositories -----------------------------------------------------------------------------


def test_nothing_in_a_cloned_repository_runs(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    config = tmp_path / "gitconfig"
    command = f"touch {mark}"
    config.write_text(
        f'[filter "evil"]\n\tsmudge = {command}; cat\n\tclean = {command}; cat\n\trequired = true\n'
        f'[diff "evil"]\n\tcommand = {command}\n[merge "evil"]\n\tdriver = {command}\n'
        f"[core]\n\tfsmonitor = {command}\n\thooksPath = {tmp_path}/hooks\n"
        '[submodule]\n\trecurse = true\n[protocol "ext"]\n\tallow = always\n'
    )
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "post-merge", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\n{command}\n")
        (hooks / name).chmod(0o755)
    (remote.work / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (remote.work / ".gitmodules").write_text(
        f'[submodule "m"]\n\tpath = m\n\turl = ext::sh -c "{command}"\n\tupdate = !{command}\n'
        f'[submodule "n"]\n\tpath = n\n\turl = --upload-pack={command}\n'
    )
    blob = git(remote.work, "rev-parse", "HEAD")
    git(remote.work, "update-index", "--add", "--cacheinfo", f"160000,{blob},m")
    (remote.work / "out").symlink_to("/etc")
    remote.commit("Evil", model_py="m\n")
    shutil.copytree(hooks, remote.bare / "hooks", dirs_exist_ok=True)
    mark.unlink(missing_ok=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    there = tmp_path / "clone"
    clone(there, str(remote.bare))
    clone(there, str(remote.bare))
    assert not mark.exists()
    assert (there / "model.py").read_text() == "m\n" and (there / "out").is_symlink()
    # The control: the user's own git does run them.
    argv = ["git", "-C", str(there), "checkout", "-f", "-q", "HEAD", "--"]
    subprocess.run(argv, check=False)
    assert mark.exists()


@pytest.mark.parametrize("path", [".git/hooks/post-checkout", "../out", "a/.GIT/config"])
def test_a_tree_that_leads_out_of_its_folder_writes_nothing(
    tmp_path: Path, remote: Remote, path: str
) -> None:
    mode, name = "100755", git(remote.work, "hash-object", "-w", "model.py")
    for part in reversed(path.split("/")):
        words = ["hash-object", "-w", "-t", "tree", "--literally", "--stdin"]
        argv = ["git", *words]  # nosemgrep: git-argv-without-dashes
        row = f"{mode} {part}\0".encode() + bytes.fromhex(name)
        told = subprocess.run(argv, input=row, cwd=remote.work, capture_output=True, check=True)
        mode, name = "40000", told.stdout.decode().strip()
    commit = git(remote.work, "commit-tree", "-m", "Evil", name)
    git(remote.work, "push", "-q", "origin", f"{commit}:refs/heads/evil")
    there = tmp_path / "clone"
    with pytest.raises(GitError, match="not written"):
        clone(there, str(remote.bare), "evil")
    assert files(there) == {} and not (tmp_path / "out").exists()
    assert not (there / ".git/hooks/post-checkout").exists()


# -- credentials -----------------------------------------------------------------------------------------


@dataclass
class GitHub:
    """A Git server over https that asks for a password."""

    url: str
    certificate: Path
    password: str = field(default_factory=lambda: f"canary-{secrets.token_hex(12)}")


@pytest.fixture
def github(tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """The user's own configuration has git trust its certificate."""
    made = GitHub("", tmp_path / "server.pem")
    config = tmp_path / "gitconfig"
    config.write_text(f"[http]\n\tsslCAInfo = {made.certificate}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    expected = "Basic " + base64.b64encode(f"ada:{made.password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != expected:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if "/info/lfs/" in self.path:
                self._lfs()
                return
            parts = urlsplit(self.path)
            env = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(remote.bare.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            argv = ["git", "http-backend"]  # nosemgrep: git-argv-without-dashes
            told = subprocess.run(argv, input=body, env=env, capture_output=True, check=True).stdout
            head, _, content = told.partition(b"\r\n\r\n")
            lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(lines.pop("Status", "200").split()[0]))
            for name, value in {**lines, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def _lfs(self) -> None:
            """Answer as a server of Git LFS does: what there is of a batch, and a content."""
            content, kind = b"", "application/octet-stream"
            if self.path.endswith("/objects/batch"):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                top = f"{made.url}/info/lfs/objects"
                for each in asked["objects"]:
                    each["actions"] = {"download": {"href": f"{top}/{each['oid']}"}}
                content = json.dumps({"transfer": "basic", "objects": asked["objects"]}).encode()
                kind = "application/vnd.git-lfs+json"
            else:
                oid = self.path.rpartition("/")[2]
                content = (remote.bare / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    certify(made.certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    made.url = f"https://127.0.0.1:{server.server_port}/digits.git"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certify(path: Path) -> None:
    """Write a key and a certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))


def found_in(folder: Path, canary: str) -> list[str]:
    """The files below a folder that hold a text."""
    places = ["home", "tmp", "var/tmp", "var/log", "root", "run", "dev/shm"]
    roots = [str(folder / place) for place in places if (folder / place).is_dir()]
    # What is mounted there from this computer, Python, is not the host's disk.
    grep = ["find", *(roots or [str(folder)]), "-xdev", "-type", "f", "-exec"]
    grep += ["grep", "-laF", "-e", canary, "--", "{}", "+"]
    done = subprocess.run(grep, capture_output=True, check=False, timeout=60)
    return done.stdout.decode(errors="replace").splitlines()


def test_no_credential_of_a_url_reaches_the_machine_or_stays_here(
    home: Home,  # noqa: F811
    remote: Remote,
    github: GitHub,
    host: Host,
    ssh_config: SSHConfig,
    tmp_path: Path,
) -> None:
    home.run("machine", "add", "box", "--ssh", ssh_config.add(host))
    (host.root / "usr/bin/git").unlink(missing_ok=True)

    refused = home.run("code", "clone", github.url, "--on", "box", check=1)
    assert "does not let you in" in refused.stderr and "credential helper" in refused.stderr

    # In the URL.
    url = github.url.replace("https://", f"https://ada:{github.password}@")
    first = home.json("code", "clone", url, "--on", "box", "--ref", "main")
    assert (first["url"], first["branch"]) == (github.url, "main")
    assert first["machine_path"] == "/home/ada/digits"
    there = host.root / "home/ada/digits"
    assert files(there) == {"model.py": "one\ntwo\nthree\nfour\nfive\n", "pkg/a.py": "a\n"}
    assert found_in(tmp_path / "home", github.password) == []

    # From a helper, which is told nothing new.
    told = tmp_path / "told"
    helper = tmp_path / "helper.sh"
    helper.write_text(
        f"#!/bin/sh\necho $1 >> {told}\ntest $1 = get && echo username=ada && echo password={github.password}\n"
    )
    helper.chmod(0o755)
    with (tmp_path / "gitconfig").open("a") as file:
        file.write(f"[credential]\n\thelper = {helper}\n")
    remote.commit("Second", model_py="two\n")
    again = home.json("code", "clone", github.url, "--on", "box")
    assert (there / "model.py").read_text() == "two\n" and "get" in told.read_text()
    assert (again["sent"], again["folder"]) == (1, first["folder"])
    status = home.json("code", "status", first["folder"])
    assert (status["url"], status["branch"], status["synced"]) == (github.url, "main", True)

    control = host.root / "home/ada/control"
    control.write_text(github.password)
    assert found_in(host.root, github.password) == [str(control)], "the search does find it"
    control.unlink()
    for canary in (github.password, base64.b64encode(f"ada:{github.password}".encode()).decode()):
        assert found_in(host.root, canary) == []
        assert found_in(tmp_path / "home", canary) == []
        for process in host.processes():
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            assert canary not in " ".join(process.argv) and canary.encode() not in environ
    assert not list((host.root / "home/ada").rglob(".git*"))


def test_a_wrong_password_is_refused_and_not_repeated(tmp_path: Path, github: GitHub) -> None:
    with pytest.raises(AuthRefused) as caught:
        clone(tmp_path / "clone", github.url.replace("https://", "https://ada:wrong-canary@"))
    assert "wrong-canary" not in str(caught.value.to_dict())


def test_a_clone_over_ssh_uses_the_users_own_command(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command stands in for ssh: it runs what git asks of the far side."""
    command = tmp_path / "ssh.sh"
    command.write_text('#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec sh -c "$1"\n')
    command.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(command))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    there = tmp_path / "clone"
    assert clone(there, f"git@h.example:{remote.bare}") == git(remote.work, "rev-parse", "HEAD")
    assert git(there, "config", "remote.origin.url") == f"git@h.example:{remote.bare}"
