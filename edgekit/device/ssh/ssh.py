"""The transport `ssh`: the OpenSSH client as a subprocess, with the user's own config, keys, agent and jump hosts.

One connection stays open, the master, and every command goes through it: a command then costs a third of a new
connection, and the master's own messages have the reason of a lost connection. Host keys are always checked.
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

from edgekit.device.shell import Shell, ShellResult
from edgekit.device.ssh import ssh_errors
from edgekit.errors import DeviceError, EnvironmentFault, UsageError

CONNECT_S = 10
"""Time limit of the TCP connection and the handshake, for each hop."""

LOGIN_S = 30
"""Time limit of the whole log-in, jump hosts and a slow agent included."""

CONFIG = "EDGEKIT_SSH_CONFIG"
"""Names a file to use in place of ~/.ssh/config, as `ssh -F` does: ssh itself ignores HOME, it finds the home folder in
the passwd file only."""

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
MASTER = f"echo {READY}; exec cat >/dev/null"
"""The master's command: it ends with its stdin, so with this process, however that ends."""

ADDRESS = re.compile(r"ssh://(?:(?P<user>[^@/:]+)@)?(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[^@/:\[\]]+)(?::(?P<port>\d+))?/?")


class Ssh(Shell):
    """A device behind an SSH server: `ssh://[user@]host[:port]`; host may be a name from the user's ssh config."""

    api = 2
    scheme = "ssh"

    def __init__(self, address: str) -> None:
        match = ADDRESS.fullmatch(address)
        if match is None or match["host"].startswith("-") or (match["user"] or "").startswith("-"):
            raise UsageError(
                f"'{address}' is not an SSH address.",
                hint="write ssh://[user@]host[:port]; keys and jump hosts go into ~/.ssh/config, passwords nowhere",
            )
        self.address = address
        self._host = match["host"].strip("[]")
        self._options = [*ENFORCED]
        if config := os.environ.get(CONFIG):
            self._options = ["-F", config, *self._options]
        if match["user"]:
            self._options += ["-l", match["user"]]
        if match["port"]:
            self._options += ["-p", match["port"]]
        self._folder: Path | None = None
        self._master: subprocess.Popen[bytes] | None = None

    def command(self, words: Sequence[str]) -> list[str]:
        folder = self._connected()
        return self._ssh(folder, "no", shlex.join(words))

    def lost(self, result: ShellResult) -> DeviceError:
        """Return the error in the master's last messages; where the master still runs, only this command was lost."""
        messages = result.stderr.decode(errors="replace")
        if self._master is not None and self._folder is not None:
            try:
                self._master.wait(2)
            except subprocess.TimeoutExpired:
                if result.returncode != 255 or not messages.strip():
                    return DeviceError(
                        f"a command on {self.address} was killed there before its exit code was known.",
                        hint="see whether the board ran out of memory: dmesg | tail, free -m",
                    )
            else:
                messages = self._log(self._folder) + messages
        self._disconnect()
        return ssh_errors.error_of(messages, self.address, self._host, during=True)

    def close(self) -> None:
        """End the connection; commands that still run on the device end by their own time limits."""
        self._disconnect()

    def _connected(self) -> Path:
        """Return the folder with the socket of a running master, starting one where there is none."""
        if self._master is not None and self._master.poll() is None and self._folder is not None:
            return self._folder
        self._disconnect()
        if shutil.which("ssh") is None:
            raise EnvironmentFault("`ssh` is not installed on this machine.", hint="apt-get install openssh-client")
        # A socket's path may have some 100 characters only, which a user's temporary folder can exceed.
        self._folder = folder = Path(tempfile.mkdtemp(prefix=f"edgekit-{os.getpid()}-", dir="/tmp"))
        with (folder / "log").open("wb") as log:
            self._master = subprocess.Popen(
                self._ssh(folder, "yes", f"/bin/sh -c {shlex.quote(MASTER)}"),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env=_environment(), start_new_session=True,
            )  # fmt: skip
        assert self._master.stdout is not None  # it is a pipe
        if not _becomes_ready(self._master.stdout):
            running = self._master.poll() is None
            messages = self._log(folder)
            self._disconnect()
            if running and not messages.strip():
                messages = f"log-in timed out after {LOGIN_S} s"
            raise ssh_errors.error_of(messages, self.address, self._host, during=False)
        return folder

    def _ssh(self, folder: Path, master: str, command: str) -> list[str]:
        control = ["-o", f"ControlMaster={master}", "-o", f"ControlPath={folder}/s", "-o", "ControlPersist=no"]
        return ["ssh", *self._options, *control, "--", self._host, command]

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
    """Return ssh's environment: its messages are parsed, so they must be in English."""
    return {**os.environ, "LC_ALL": "C"}


def _becomes_ready(stream: IO[bytes]) -> bool:
    """Wait for the master's line; return False at the end of the stream, or after LOGIN_S."""
    deadline, output = time.monotonic() + LOGIN_S, b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left_s := deadline - time.monotonic()) > 0:
            if selector.select(left_s):
                data = os.read(stream.fileno(), 4096)
                output += data
                if f"{READY}\n".encode() in output:
                    return True
                if not data:
                    return False
    return False
