"""What the diagnosis of a machine says of this computer's own ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.link import openssh_config
from jupyter_cloudml.link.carrier import SSHTarget
from jupyter_cloudml.machines import check_ssh


def test_a_configuration_that_waits_for_something_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text('Match exec "sleep 5"\n  Port 2222\n')
    monkeypatch.setenv(openssh_config.CONFIG_VARIABLE, str(config))
    monkeypatch.setattr(check_ssh, "CONNECT_S", 0.5)
    with pytest.raises(UsageError, match="does not read its configuration"):
        check_ssh.effective_way(SSHTarget("box"))


def test_an_ssh_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="ssh does not start"):
        check_ssh.effective_way(SSHTarget("box", carrier="openssh"))


@pytest.mark.parametrize("carrier", ["openssh", "paramiko"])
def test_a_diagnosis_looks_where_the_connection_goes(
    carrier: Literal["openssh", "paramiko"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host box\n  HostName 10.0.0.5\n  Port 2222\n"
        "Host far\n  HostName inside\n  ProxyJump gate\n"
    )
    monkeypatch.setenv(openssh_config.CONFIG_VARIABLE, str(config))
    near = check_ssh.effective_way(SSHTarget("box", carrier=carrier))
    far = check_ssh.effective_way(SSHTarget("far", carrier=carrier))
    assert near == check_ssh.Way("10.0.0.5", 2222)
    assert far == check_ssh.Way("inside", 22, "gate")
