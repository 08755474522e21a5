"""One host: namespaces, a disk of its own, an sshd, two users."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cgroup import ControlGroup
from .commands import CommandFailed, sh, start_time
from .fabric import PREFIX, Fabric
from .image import USERS, Image, lay_out

BOOT = Path(__file__).with_name("boot.sh").read_text()
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class HostProcess:
    """A process of a host as seen from outside: `pid` is this computer's number for it, `inner_pid` the host's."""

    pid: int
    inner_pid: int
    uid: int
    argv: tuple[str, ...]


class Machine:
    """A host at `address` that `ada` (uid 7000) and `other` (uid 7001) may enter with the authorized keys.

    It runs when made. Whoever makes it destroys it.
    """

    def __init__(
        self,
        fabric: Fabric,
        folder: Path,
        authorized: Sequence[str],
        shared: Sequence[str],
        image: Image,
        address: str | None = None,
    ) -> None:
        number = fabric.number()
        self.fabric, self.image, self.folder = fabric, image, folder / str(number)
        self.name = f"host-{number}"
        self.address = address or fabric.address(number)
        self.netns = f"{PREFIX}-{fabric.id}-{number}"
        self.veth = f"{PREFIX}{fabric.id}v{number}"
        self.cgroup = ControlGroup(self.netns)
        self._shared = shared if image.share else ()
        self._process: subprocess.Popen[str] | None = None
        self._life: int | None = None
        self._pid = 0
        self.disk = self.folder / "disk"
        for path in (self.disk, self.folder / "root"):
            path.mkdir(parents=True)
        sh("mount", "-t", "tmpfs", "-o", f"size={image.disk},mode=755", "cloudbox", self.disk)
        (self.disk / "upper").mkdir()
        (self.disk / "work").mkdir()
        lay_out(self.disk / "upper", image, self.name, self.address, authorized, self._shared)
        self.power_on()

    @property
    def host_key(self) -> str:
        """The public key it shows, as `TYPE BASE64`."""
        text = (self.disk / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])

    @property
    def fingerprint(self) -> str:
        """The SHA256 fingerprint of that key, as ssh prints it."""
        return sh(
            "ssh-keygen", "-l", "-f", self.disk / "upper/etc/ssh/ssh_host_ed25519_key.pub"
        ).split()[1]

    @property
    def root(self) -> Path:
        """Its file system as seen from here. Links in it lead into this computer's: use it for plain paths."""
        return Path(f"/proc/{self._pid}/root")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def power_on(self, timeout: float = 20) -> None:
        """Start it; returns when sshd listens. What is on its disk is kept."""
        self._plug_in()
        self.cgroup.make()
        life, self._life = os.pipe()
        variables = {
            "PATH": PATH,
            "DISK": str(self.disk),
            "NEW_ROOT": str(self.folder / "root"),
            "HOST_NAME": self.name,
            "SHARE": ":".join(self._shared),
            "START_SSHD": "1" if self.image.sshd else "",
            "LIFE": str(life),
        }
        # The first shell enters the control groups, so that no process of the host is ever outside.
        enter = "".join(f"echo $$ > {folder}/cgroup.procs; " for folder in self.cgroup.folders)
        unshare = (
            f"exec nsenter --net=/run/netns/{self.netns} unshare --mount --pid --uts --ipc --cgroup --fork "
            '--kill-child=SIGKILL --propagation private /bin/bash -c "$0"'
        )
        with open(self.folder / "boot.log", "a") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", enter + unshare, BOOT],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(life,),
                text=True,
                bufsize=1,
                start_new_session=True,
            )
        os.close(life)
        self._await_boot(time.monotonic() + timeout)

    def _plug_in(self) -> None:
        sh("ip", "netns", "add", self.netns)
        sh(
            "ip",
            "link",
            "add",
            self.veth,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            self.netns,
        )
        sh("ip", "link", "set", self.veth, "master", self.fabric.bridge, "up")
        sh(
            "ip",
            "-n",
            self.netns,
            "-b",
            "-",
            stdin=f"addr add {self.address}/16 dev eth0\nlink set eth0 up\n",
        )
        self.fabric.forget(self.address)

    def _await_boot(self, deadline: float) -> None:
        assert self._process is not None and self._process.stdout is not None
        out = self._process.stdout
        poll = select.poll()
        poll.register(out, select.POLLIN)
        while True:
            ready = poll.poll(1000 * max(0.0, deadline - time.monotonic()))
            line = out.readline() if ready else ""
            if line.startswith("pid "):
                self._pid = int(line.split()[1])
                (self.folder / "pid").write_text(f"{self._pid} {start_time(self._pid)}")
            elif line == "ready\n":
                return
            else:
                log = (self.folder / "boot.log").read_text()[-2000:]
                self.power_off()
                raise CommandFailed(f"{self.name} does not boot: {log}")

    def power_off(self, *, fin: bool = False) -> None:
        """Pull the plug. Without `fin` the cable goes first: the other end hears nothing at all.

        With it the host's network still says goodbye for its sockets, as when only its processes are ended.
        """
        if not fin:
            sh("ip", "link", "set", self.veth, "down", check=False)
        if self._process is not None:
            for folder in self.cgroup.folders:
                if folder.exists():
                    self.cgroup.freeze(False)
            if self._pid and self._process.poll() is None:
                os.kill(self._pid, signal.SIGKILL)
            assert self._process.stdout is not None and self._life is not None
            os.close(self._life)
            self._process.stdout.close()
            self._process.wait(10)
            self._process, self._life, self._pid = None, None, 0
        sh("ip", "netns", "del", self.netns, check=False)
        sh("ip", "link", "del", self.veth, check=False)
        self.cgroup.remove()

    def destroy(self) -> None:
        """Power it off and throw its disk away."""
        self.power_off()
        sh("umount", "-l", self.disk)
        sh("rm", "-rf", "--one-file-system", self.folder)

    def argv(
        self, argv: Sequence[str], user: str = "ada", env: Mapping[str, str] = {}
    ) -> list[str]:
        """Return the command, to be run on this computer, that runs `argv` on the host as `user`."""
        uid = 0 if user == "root" else USERS[user]
        home = "/root" if user == "root" else f"/home/{user}"
        variables = {
            "PATH": PATH,
            "HOME": home,
            "USER": user,
            "LOGNAME": user,
            "SHELL": self.image.shell,
            "LANG": "C.UTF-8",
            **env,
        }
        enter = [
            "nsenter",
            "-t",
            str(self._pid),
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--cgroup",
            f"--wdns={home}",
        ]
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        return [
            *enter,
            "--",
            *become,
            "env",
            "-i",
            *(f"{k}={v}" for k, v in variables.items()),
            *argv,
        ]

    def run(
        self,
        argv: Sequence[str],
        user: str = "ada",
        *,
        stdin: str = "",
        check: bool = True,
        timeout: float = 30,
        env: Mapping[str, str] = {},
    ) -> str:
        """Run a command on the host, not through ssh, and return what it printed. Raises CommandFailed.

        It is outside the host's control groups: a frozen host still answers here.
        """
        return sh(*self.argv(argv, user, env), stdin=stdin, check=check, timeout=timeout)

    def auth_log(self) -> str:
        """Return everything that sshd has logged."""
        return (self.root / "var/log/sshd.log").read_text()

    def processes(self, user: str | None = None) -> list[HostProcess]:
        """Return the host's processes, those of `user` alone if one is named."""
        namespace = os.readlink(f"/proc/{self._pid}/ns/pid")
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(entry / "ns/pid") != namespace:
                    continue
                status = dict(
                    line.split(":\t", 1)
                    for line in (entry / "status").read_text().splitlines()
                    if ":\t" in line
                )
                argv = tuple(
                    (entry / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
                )
            except OSError:
                continue  # it ended meanwhile
            uid = int(status["Uid"].split()[1])
            if user is None or uid == USERS.get(user, 0):
                found.append(
                    HostProcess(int(entry.name), int(status["NSpid"].split()[1]), uid, argv)
                )
        return found
