"""The transport `ssh`: the OpenSSH client as a subprocess, with the user's own config, keys, agent and jump hosts.

One connection is held open, the master, and every command goes through it: a command then costs a third of a new
connection, and the master's own messages say why a connection was lost. Host keys are always checked.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgekit.device.shell import Shell, Spoken
from edgekit.device.ssh import ssh_errors
from edgekit.errors import DeviceError, EnvironmentFault, UsageError

CONNECT_S = 10
"""Limit of the TCP connection and the handshake, for each hop."""

LOGIN_S = 30
"""Limit of the whole log-in, jump hosts and a slow agent included."""

CONFIG = "EDGEKIT_SSH_CONFIG"
"""Names a file to use in place of ~/.ssh/config, as `ssh -F` does: ssh itself finds the home folder in the passwd file
only."""

# The first value of an option wins, so these stand before the user's config. With them a device that hangs or vanishes
# is noticed after 3 x 2 s; nothing asks for a password or a yes; no terminal, so that streams stay bytes.
ENFORCED = (
    "-T",
    *("-o", "BatchMode=yes"),
    *("-o", f"ConnectTimeout={CONNECT_S}"),
    *("-o", "ServerAliveInterval=2"),
    *("-o", "ServerAliveCountMax=3"),
    *("-o", "ForwardX11=no"),
    *("-o", "RemoteCommand=none"),
    *("-o", "LogLevel=INFO"),
)

READY = "edgekit-ready"
HOLD = f"echo {READY}; exec cat >/dev/null"
"""What the master runs: it ends with its stdin, so with this process, however that ends."""

ADDRESS = re.compile(r"ssh://(?:(?P<user>[^@/:]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@/:\[\]]+)(?::(?P<port>\d+))?/?")


class Ssh(Shell):
    """A device behind an SSH server: `ssh://[user@]host[:port]`, host may be a name from the user's ssh config."""

    api = 2
    scheme = "ssh"

    def __init__(self, address: str) -> None:
        found = ADDRESS.fullmatch(address)
        if found is None or found["host"].startswith("-") or (found["user"] or "").startswith("-"):
            raise UsageError(
                f"'{address}' is no SSH address.",
                hint="write ssh://[user@]host[:port]; keys and jump hosts go into ~/.ssh/config, passwords nowhere",
            )
        self.address = address
        self._host = found["host"].strip("[]")
        self._options = [*ENFORCED]
        if config := os.environ.get(CONFIG):
            self._options = ["-F", config, *self._options]
        if found["user"]:
            self._options += ["-l", found["user"]]
        if found["port"]:
            self._options += ["-p", found["port"]]
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def command(self, words: Sequence[str]) -> list[str]:
        folder = self._connected()
        return self._ssh(folder, "no", shlex.join(words))

    def lost(self, spoken: Spoken) -> DeviceError:
        """Tell from the master's last words why the connection ended; a master that lives lost this command alone."""
        said = spoken.stderr.decode(errors="replace")
        if self._master is not None and self._folder is not None:
            try:
                self._master.wait(2)
            except subprocess.TimeoutExpired:
                if spoken.returncode != 255 or not said.strip():
                    return DeviceError(
                        f"a command on {self.address} was killed there before it could tell how it ended.",
                        hint="see whether the board ran out of memory: dmesg | tail, free -m",
                    )
            else:
                said = self._log(self._folder) + said
        self._disconnect()
        return ssh_errors.tell(self.address, self._host, said, during=True)

    def close(self) -> None:
        """End the connection; commands that still run on the device end by their own time limits."""
        self._disconnect()

    def _connected(self) -> Path:
        """Give the folder with the socket of a living master, starting one where there is none."""
        if self._master is not None and self._master.poll() is None and self._folder is not None:
            return self._folder
        self._disconnect()
        if shutil.which("ssh") is None:
            raise EnvironmentFault("there is no `ssh` on this machine.", hint="apt-get install openssh-client")
        # A socket's path may have some 100 characters only, which a user's temporary folder can exceed.
        self._folder = folder = Path(tempfile.mkdtemp(prefix=f"edgekit-{os.getpid()}-", dir="/tmp"))
        with (folder / "log").open("wb") as log:
            self._master = subprocess.Popen(
                self._ssh(folder, "yes", f"/bin/sh -c {shlex.quote(HOLD)}"),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        assert self._master.stdout is not None  # it is a pipe
        if not _says_ready(self._master.stdout):
            alive = self._master.poll() is None
            said = self._log(folder)
            self._disconnect()
            if alive and not said.strip():
                said = f"log-in timed out after {LOGIN_S} s"
            raise ssh_errors.tell(self.address, self._host, said, during=False)
        return folder

    def _ssh(self, folder: Path, master: str, words: str) -> list[str]:
        own = ["-o", f"ControlMaster={master}", "-o", f"ControlPath={folder}/s", "-o", "ControlPersist=no"]
        return ["ssh", *self._options, *own, "--", self._host, words]

    def _log(self, folder: Path) -> str:
        return (folder / "log").read_text(errors="replace")

    def _disconnect(self) -> None:
        master, self._master = self._master, None
        folder, self._folder = self._folder, None
        if master is not None:
            assert master.stdin is not None and master.stdout is not None  # they are pipes
            master.stdin.close()
            try:
                master.wait(1)
            except subprocess.TimeoutExpired:  # a hung device never confirms
                master.kill()
                master.wait()
            master.stdout.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    """Give ssh's environment: its messages are read, so they must come in English."""
    return {**os.environ, "LC_ALL": "C"}


def _says_ready(stream: IO[bytes]) -> bool:
    """Wait for the master's line; False at the end of the stream, or when the time is over."""
    deadline, said = time.monotonic() + LOGIN_S, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if selector.select(left_s):
                data = os.read(stream.fileno(), 4096)
                said += data
                if f"{READY}\n".encode() in said:
                    return True
                if not data:
                    return False
    return False
