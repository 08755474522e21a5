"""Both carriers pass one suite on a real host: bytes, causes of failure, silence, jump hosts, hostile names."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import operator
import os
import random
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from cloudbox.commands import wait_until
from cloudbox.faults import Host
from cloudbox.fixture import Box, SSHConfig
from cloudbox.image import Image

from jupyter_cloudml.errors import (
    AgentError,
    AuthRefused,
    Cancelled,
    CloudMLError,
    HostKeyChanged,
    HostKeyUnknown,
    Unreachable,
    UsageError,
)
from jupyter_cloudml.link import dial
from jupyter_cloudml.link.carrier import Carrier, CarrierName, SSHTarget, carrier_for
from jupyter_cloudml.link.command import RemoteCommand
from jupyter_cloudml.link.dial import open_carrier

CAT = RemoteCommand(["cat"])
NOTICED = 20.0  # seconds within which a silent host is noticed
WRONG = "SHA256:" + "A" * 43

Target = Callable[..., SSHTarget]


@pytest.fixture(params=["openssh", "paramiko"])
def carrier(request: pytest.FixtureRequest) -> CarrierName:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def target(carrier: CarrierName, tmp_path: Path) -> Target:
    def make(host: str, **fields: object) -> SSHTarget:
        return SSHTarget(host, carrier=carrier, known_hosts=tmp_path / "known_hosts", **fields)  # type: ignore[arg-type]

    return make


@pytest.fixture
def opened() -> Iterator[Callable[[SSHTarget, RemoteCommand], Carrier]]:
    """`open_carrier`, closed at the end, with nothing left behind."""
    carriers: list[Carrier] = []

    def make(target: SSHTarget, command: RemoteCommand = CAT) -> Carrier:
        carriers.append(open_carrier(target, command))
        return carriers[-1]

    yield make
    for carrier in carriers:
        carrier.close()


class Ended(Exception):
    """The stream is at its end; what came before is the argument."""


def pump(carrier: Carrier, send: bytes = b"", expect: int = 0, timeout: float = 30) -> bytes:
    """Send and receive at once, as a link does, until all is sent and `expect` bytes have come. Raises Ended."""
    deadline, received, waiting = time.monotonic() + timeout, bytearray(), memoryview(send)
    chunk = bytearray(1 << 18)
    with selectors.DefaultSelector() as selector:
        selector.register(carrier.fileno(), selectors.EVENT_READ)
        while waiting or len(received) < expect:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(received)} of {expect} bytes came, {len(waiting)} wait")
            try:
                while waiting:
                    waiting = waiting[
                        carrier.writev([waiting[:100_000], waiting[100_000:200_000]]) :
                    ]
            except BlockingIOError:
                pass
            try:
                count = carrier.readv([chunk])
                if count == 0:
                    raise Ended(bytes(received))
                received += chunk[:count]
            except BlockingIOError:
                selector.select(0.005 if waiting else 0.5)
    return bytes(received)


def until_end(carrier: Carrier, timeout: float = 30) -> bytes:
    """Receive to the end of the stream, however it comes."""
    try:
        pump(carrier, expect=1 << 62, timeout=timeout)
    except Ended as ended:
        return bytes(ended.args[0])
    except ConnectionError:
        return b""
    raise AssertionError("unreachable")


def test_ten_megabytes_both_ways_unchanged(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    data = random.Random(1).randbytes(10_000_000)
    channel = opened(target(ssh_config.add(host)))
    back = pump(channel, data, len(data), timeout=60)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


def test_the_command_arrives_word_by_word(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    words = ["", "a b", "'", "$(touch M)", "`touch M`", "\n", "é", "!", "\\"]
    channel = opened(
        target(ssh_config.add(host)),
        RemoteCommand(["printf", "%s|", *words], env={"A": "b"}, cwd="/tmp"),
    )
    assert until_end(channel).decode() == "|".join(words) + "|"
    assert channel.why() is None


def test_the_end_of_a_command_is_explained(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    where = target(ssh_config.add(host))
    channel = opened(where, RemoteCommand(["sh", "-c", "echo out; echo a reason >&2; exit 3"]))
    assert until_end(channel) == b"out\n"
    cause = channel.why()
    assert isinstance(cause, AgentError) and cause.code == "command_failed"
    assert cause.details["status"] == 3 and "a reason" in cause.message
    channel = opened(where, RemoteCommand(["/no/such/program"]))
    assert until_end(channel) == b""
    cause = channel.why()
    assert (
        cause is not None
        and cause.code == "command_not_found"
        and "/no/such/program" in cause.message
    )


def test_endless_standard_error_neither_blocks_nor_grows(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    command = RemoteCommand(
        ["sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' e >&2; echo done; exit 1"]
    )
    channel = opened(target(ssh_config.add(host)), command)
    assert until_end(channel) == b"done\n"
    cause = channel.why()
    assert cause is not None and len(str(cause.details)) < 10_000


def test_a_noisy_login_shell_only_comes_first(
    box: Box, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    host = box.host(Image(noisy_shell=True))
    out = until_end(opened(target(ssh_config.add(host)), RemoteCommand(["echo", "done"])))
    assert len(out) > 100_000 and out.endswith(b"done\n")
    box.destroy(host)


@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/usr/bin/zsh", "/usr/bin/tcsh", "/bin/dash"])
def test_any_login_shell_runs_the_command(
    shell: str, box: Box, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    host = box.host(Image(shell=shell))
    channel = opened(
        target(ssh_config.add(host)),
        RemoteCommand(["printf", "%s|", "it's !\n$A", "é"], env={"A": "b"}),
    )
    assert until_end(channel).decode() == "it's !\n$A|é|"
    box.destroy(host)


# -- host keys ------------------------------------------------------------------------------------------------------------


def attempts(host: Host) -> list[str]:
    """The lines of the host's log that tell of somebody signing in."""
    return re.findall(r".*(?:publickey|[Aa]uthenticat|Invalid user|Accepted).*", host.auth_log())


def test_an_unknown_host_is_asked_about_and_sees_no_sign_in(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    where = target(ssh_config.add(host, known=False))
    with pytest.raises(HostKeyUnknown) as asked:
        open_carrier(where, CAT)
    assert asked.value.details["fingerprint"] == host.fingerprint == dial.scan(where).fingerprint
    assert asked.value.details["keytype"] == "ssh-ed25519"
    assert attempts(host) == []
    confirmed = dataclasses.replace(where, host_key=host.fingerprint)
    assert pump(opened(confirmed), b"hello", 5) == b"hello"
    assert pump(opened(confirmed), b"again", 5) == b"again"


def test_a_wrong_fingerprint_is_refused_before_sign_in_even_where_the_host_is_known(
    host: Host, ssh_config: SSHConfig, target: Target
) -> None:
    for known in (False, True):
        alias = ssh_config.add(host, known=known)
        with pytest.raises(HostKeyChanged) as refused:
            open_carrier(target(alias, host_key=WRONG), CAT)
        assert refused.value.details["fingerprint"] == host.fingerprint
        assert refused.value.details["expected"] == WRONG
    assert attempts(host) == []


@pytest.mark.parametrize("pinned", [True, False])
def test_a_changed_key_is_a_hard_stop_before_sign_in(
    pinned: bool, host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    where = target(ssh_config.add(host), host_key=host.fingerprint if pinned else None)
    opened(where).close()
    host.change_host_key()
    before = len(attempts(host))
    with pytest.raises(HostKeyChanged):
        open_carrier(where, CAT)
    assert len(attempts(host)) == before


def test_another_host_under_the_same_address_is_refused_before_sign_in(
    box: Box, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    first = box.host()
    where = target(ssh_config.add(first), host_key=first.fingerprint)
    opened(where).close()
    first.power_off()
    second = box.host(address=first.address)
    with pytest.raises(HostKeyChanged):
        open_carrier(where, CAT)
    assert attempts(second) == []
    box.destroy(first)
    box.destroy(second)


def test_a_confirmed_host_keeps_its_key_when_its_address_changes(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    where = target(ssh_config.add(host, known=False), host_key=host.fingerprint)
    opened(where).close()
    host.move()
    ssh_config.add(host, known=False)
    assert pump(opened(where), b"x", 1) == b"x"


def test_the_fingerprint_of_any_key_of_the_host_will_do(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    host.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "/etc/ssh/second"], user="root")
    host.run(["sed", "-i", "1i HostKey /etc/ssh/second", "/etc/ssh/sshd_config"], user="root")
    host.stop_sshd()
    host.start_sshd()
    second = host.run(["ssh-keygen", "-lf", "/etc/ssh/second.pub"], user="root").split()[1]
    where = target(ssh_config.add(host, known=False), host_key=second)
    assert pump(opened(where), b"x", 1) == b"x"


# -- what keeps a connection from coming about ----------------------------------------------------------------------------


def test_each_cause_has_its_code_and_a_remedy(
    host: Host, ssh_config: SSHConfig, target: Target, tmp_path: Path
) -> None:
    alias = ssh_config.add(host)

    def cause(where: SSHTarget, timeout: float = 10) -> CloudMLError:
        before = time.monotonic()
        with pytest.raises(CloudMLError) as caught:
            open_carrier(where, CAT, timeout=timeout)
        assert time.monotonic() - before < timeout + 2
        assert caught.value.hint and str(where) in caught.value.message
        return caught.value

    assert cause(target("no-such-host.invalid")).code == "dns"
    assert cause(target(alias, port=2)).code == "refused"
    assert cause(target(alias, user="nobody")).code == "auth_refused"
    host.block("input")
    assert cause(target(alias), timeout=2).code == "timeout"
    host.block("input", on=False)
    host.freeze()
    assert cause(target(alias), timeout=2).code == "timeout"
    host.thaw()
    host.link(up=False)
    host.fabric.forget(host.address)
    assert cause(target(alias), timeout=10).code == "no_route"
    host.link(up=True)
    with socket.create_server((host.fabric.gateway, 0)) as babbler:

        def hang_up() -> None:
            babbler.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert cause(target(host.fabric.gateway, port=babbler.getsockname()[1])).code == "closed"
        thread.join()
    assert not (tmp_path / "known_hosts").exists()


def test_a_refused_key_says_what_to_do(
    host: Host, ssh_config: SSHConfig, target: Target, tmp_path: Path
) -> None:
    alias = ssh_config.add(host)
    with pytest.raises(UsageError, match="not a key file"):
        open_carrier(target(alias, identity=str(tmp_path / "absent")), CAT)
    host.run(["rm", "/home/ada/.ssh/authorized_keys"])
    with pytest.raises(AuthRefused, match="authorized_keys"):
        open_carrier(target(alias), CAT)


def test_it_can_be_called_off(host: Host, ssh_config: SSHConfig, target: Target) -> None:
    host.freeze()
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    before = time.monotonic()
    with pytest.raises(Cancelled):
        open_carrier(target(ssh_config.add(host)), CAT, cancelled=cancelled)
    assert time.monotonic() - before < 3
    host.thaw()


def test_opening_and_closing_leaves_no_process_thread_or_descriptor(
    host: Host, ssh_config: SSHConfig, target: Target
) -> None:
    where = target(ssh_config.add(host))

    def once() -> None:
        channel = open_carrier(where, CAT)
        pump(channel, b"x", 1)
        channel.close()
        channel.close()
        with pytest.raises(CloudMLError):
            open_carrier(dataclasses.replace(where, user="nobody"), CAT)

    def held() -> tuple[int, int, int]:
        this = psutil.Process()
        return this.num_fds(), threading.active_count(), len(this.children(recursive=True))

    once()
    settled = held()
    for _ in range(3):
        once()
    wait_until(lambda: all(map(operator.le, held(), settled)), "carriers to be gone")
    wait_until(lambda: not host.processes("ada"), "the host to notice")


# -- silence --------------------------------------------------------------------------------------------------------------


def until_noticed(channel: Carrier, talk: bytes) -> float:
    """Hold the channel as a link does, saying `talk` twice a second, and return the seconds until it is found dead."""
    before, chunk = time.monotonic(), bytearray(100)
    with selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        while time.monotonic() - before < NOTICED + 5:
            try:
                with contextlib.suppress(BlockingIOError):
                    if talk:
                        channel.writev([talk])
                with contextlib.suppress(BlockingIOError):
                    if channel.readv([chunk]) == 0:
                        break
            except ConnectionError:
                break
            selector.select(0.5)
    return time.monotonic() - before


FAULTS: dict[str, Callable[[Host], None]] = {
    "power": lambda host: host.power_off(),
    "freeze": lambda host: host.freeze(),
    "cable": lambda host: host.link(up=False),
    "one way": lambda host: host.block("output"),
}
TALK = {"idle": b"", "talking": b"small talk", "sending": bytes(1 << 20)}


def test_silence_is_noticed_in_time(
    box: Box, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    cases = list(itertools.product(FAULTS, TALK))
    hosts = {case: box.host() for case in cases}
    channels = {case: opened(target(ssh_config.add(hosts[case]))) for case in cases}
    with ThreadPoolExecutor(len(cases)) as pool:
        noticed = {}
        for case, channel in channels.items():
            assert pump(channel, b"x", 1) == b"x"
            FAULTS[case[0]](hosts[case])
            noticed[case] = pool.submit(until_noticed, channel, TALK[case[1]])
    late = {case: after.result() for case, after in noticed.items() if after.result() > NOTICED}
    assert late == {}
    for case, channel in channels.items():
        cause = channel.why()
        assert isinstance(cause, Unreachable) and cause.code in ("timeout", "closed"), case
        before = time.monotonic()
        channel.close()
        assert time.monotonic() - before < 5
        box.destroy(hosts[case])


def test_a_short_cut_is_survived(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    channel = opened(target(ssh_config.add(host)))
    pump(channel, b"x", 1)
    host.link(up=False)
    channel.writev([b"y"])
    with pytest.raises(TimeoutError):
        pump(channel, expect=1, timeout=4)
    host.link(up=True)
    assert pump(channel, expect=1, timeout=10) == b"y"


def test_a_polite_end_is_seen_at_once(
    box: Box, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    host = box.host()
    channel = opened(target(ssh_config.add(host)))
    pump(channel, b"x", 1)
    host.stop_sshd(sessions=True)
    assert until_end(channel, timeout=5) == b""
    cause = channel.why()
    assert cause is not None and cause.code == "closed"
    box.destroy(host)


# -- jump hosts and hostile names -----------------------------------------------------------------------------------------


def test_a_jump_host_is_passed_and_its_key_is_checked_too(
    box: Box, host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    gate, second = box.host(), box.host()
    host.run(["nft", f"add table inet t; add chain inet t c {{ type filter hook input priority 0; }}; "
                     f"add rule inet t c ip saddr {box.fabric.gateway} drop"], user="root")  # fmt: skip
    ssh_config.add(gate, "gate")
    ssh_config.add(second, "second")
    inner = ssh_config.add(host, "inner", extra="  ProxyJump second,gate")
    data = os.urandom(3_000_000)
    assert pump(opened(target(inner)), data, len(data), timeout=60) == data
    assert f"from {gate.address}" in host.auth_log() and f"from {second.address}" in gate.auth_log()

    ssh_config.add(host, "inner", known=False, extra="  ProxyJump second,gate")
    with pytest.raises(HostKeyUnknown) as asked:
        open_carrier(target(inner), CAT)
    assert asked.value.details["fingerprint"] == host.fingerprint
    pinned = target(inner, host_key=host.fingerprint)
    assert pump(opened(pinned), b"x", 1) == b"x"

    ssh_config.add(gate, "gate", known=False)
    with pytest.raises(Unreachable) as refused:
        open_carrier(pinned, CAT)
    assert refused.value.code == "jump_host_key_unknown"
    box.destroy(gate)
    box.destroy(second)


def test_a_proxy_command_is_passed(
    host: Host, ssh_config: SSHConfig, target: Target, opened: Callable[..., Carrier]
) -> None:
    relay = 'import os,socket,sys,threading; s=socket.create_connection((sys.argv[1],int(sys.argv[2]))); f=lambda:[os.write(1,b) for b in iter(lambda:s.recv(65536),b"")]; threading.Thread(target=f,daemon=True).start(); [s.sendall(b) for b in iter(lambda:os.read(0,65536),b"")]'  # fmt: skip
    alias = ssh_config.add(host, extra=f"  ProxyCommand python3 -c '{relay}' %h %p")
    assert pump(opened(target(alias)), b"x" * 100_000, 100_000) == b"x" * 100_000


HOSTILE = ["-oProxyCommand=touch M", "--upload-pack=touch M", "$(touch M)", "`touch M`", ";touch M", "x;touch M",
           "\n touch M", "x\ntouch M", "a b", "é", "x" * 1_000_000, "", "x|touch M", "x'y", "%n", "x\0"]  # fmt: skip


def test_hostile_names_reach_no_command(
    host: Host,
    ssh_config: SSHConfig,
    target: Target,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    alias = ssh_config.add(host)
    for name in HOSTILE:
        for fields in (
            {"host": name},
            {"host": alias, "user": name},
            {"host": alias, "host_key": name},
        ):
            with pytest.raises(UsageError) as refused:
                target(**fields)
            assert refused.value.status == 400 and len(str(refused.value)) < 500
        with pytest.raises((UsageError, ValueError)):
            open_carrier(target(alias, identity=name), CAT)
        with pytest.raises(UsageError):
            SSHTarget(alias, carrier=name, known_hosts=tmp_path / "k")  # type: ignore[arg-type]
    assert "M" not in os.listdir(tmp_path)
    assert host.run(["find", "/home", "/tmp", "-name", "M"], user="root") == ""
    assert attempts(host) == []


def test_openssh_is_the_carrier_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where = SSHTarget("x", known_hosts=tmp_path / "k")
    assert carrier_for(where) == "openssh"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert carrier_for(where) == "paramiko"
