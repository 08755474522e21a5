"""The carrier without an `ssh` finds the same way through the user's configuration as ssh does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from jupyter_cloudml.errors import CloudMLError, UsageError
from jupyter_cloudml.link import openssh_config, ssh_route
from jupyter_cloudml.link.carrier import SSHTarget

CONFIG = """\
Include {folder}/extra/*.conf
Host box
  HostName 10.0.0.5
  Port 2222
  User ada
  IdentityFile ~/keys/one
  IdentityFile ~/keys/two
  ProxyJump grace@gate:22022,[fe80::1]:2200
  Include {folder}/inner.conf
  IdentityAgent none
Host *.example.org
  UserKnownHostsFile ~/a "~/b c"
  HostKeyAlias shared
  IdentitiesOnly yes
Host none
  ProxyJump none
  ProxyCommand nc %h %p
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/1.conf").write_text("Host included\n  HostName 10.0.0.9\n")
    (tmp_path / "inner.conf").write_text("ForwardAgent yes\n")
    (tmp_path / "config").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.setenv(openssh_config.CONFIG_VARIABLE, str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "config"


def target(host: str, **fields: object) -> SSHTarget:
    return SSHTarget(host, **fields)  # type: ignore[arg-type]


def test_a_host_is_looked_up(config: Path, tmp_path: Path) -> None:
    route = ssh_route.find(target("box"))
    assert (route.host, route.port, route.user, route.name) == (
        "10.0.0.5",
        2222,
        "ada",
        "[10.0.0.5]:2222",
    )
    assert route.identities == (tmp_path / "keys/one", tmp_path / "keys/two")
    assert not route.agent and not route.agent_only_these
    assert [(hop.user, hop.host, hop.port) for hop in route.jumps] == [
        ("grace", "gate", 22022),
        (None, "fe80::1", 2200),
    ]


def test_what_is_given_outranks_what_is_configured(config: Path, tmp_path: Path) -> None:
    route = ssh_route.find(target("box", user="eve", port=22, identity="~/other"))
    assert (route.port, route.user, route.name) == (22, "eve", "10.0.0.5")
    assert route.identities == (tmp_path / "other",) and route.agent_only_these


def test_files_aliases_and_commands(config: Path, tmp_path: Path) -> None:
    route = ssh_route.find(target("x.example.org"))
    assert route.name == "shared" and route.agent and route.agent_only_these
    assert route.known_hosts[:2] == (tmp_path / "a", tmp_path / "b c")
    route = ssh_route.find(target("none"))
    assert route.jumps == () and route.proxy_command == "nc none 22"
    assert ssh_route.find(target("included")).host == "10.0.0.9"


def test_ssh_itself_agrees(config: Path) -> None:
    for host in ("box", "included", "plain"):
        shown = subprocess.run(
            ["ssh", "-G", "-F", config, "--", host],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
        said = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
        route = ssh_route.find(target(host))
        assert (route.host, str(route.port), route.user) == (
            said["hostname"],
            said["port"],
            said["user"],
        )


@pytest.mark.parametrize(
    "text",
    ["Include {config}", "Host", "Host x\n  ProxyJump $(touch M)"],
)
def test_a_configuration_that_cannot_be_followed_is_named(text: str, config: Path) -> None:
    config.write_text(text.format(config=config))
    with pytest.raises(UsageError):
        ssh_route.find(target("x"))


def test_what_match_exec_would_run_is_not_run(config: Path, tmp_path: Path) -> None:
    config.write_text(f'Match host x exec "touch {tmp_path}/M"\n  Port 1\nHost x\n  Port 2\n')
    assert ssh_route.find(target("x")).port == 2
    assert not (tmp_path / "M").exists()


def test_our_configuration_comes_first_and_the_users_next(config: Path, tmp_path: Path) -> None:
    config.write_text(
        "Host box\n  StrictHostKeyChecking no\n  ForwardAgent yes\n  Port 2222\n  Ciphers aes256-ctr\n"
    )
    where = target("box", known_hosts=tmp_path / "known hosts 100%")
    words = openssh_config.argv(where, "true", 5)
    shown = subprocess.run(
        [*words[:1], "-G", *words[1:]], capture_output=True, text=True, check=True, timeout=10
    )
    said = dict(line.split(" ", 1) for line in shown.stdout.splitlines() if " " in line)
    assert (
        said["stricthostkeychecking"] in ("true", "yes")
        and said["forwardagent"] == "no"
        and said["batchmode"] == "yes"
    )
    assert said["port"] == "2222" and said["ciphers"] == "aes256-ctr"
    assert int(said["serveraliveinterval"]) * (int(said["serveralivecountmax"]) + 1) == 15
    assert said["globalknownhostsfile"].startswith(str(tmp_path / "known hosts 100%"))
    assert words[-3:] == ["--", "box", "true"]


def test_the_configuration_lies_where_jump_hosts_can_be_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_CLOUDML_HOME", str(tmp_path / "a strange' home"))
    assert " " not in str(openssh_config.write(target("box")))
    with pytest.raises(CloudMLError) as refused:
        openssh_config.quoted(Path('a"b'))
    assert refused.value.code == "bad_path"
