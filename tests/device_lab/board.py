"""An ARM64 board on this machine: QEMU runs its programs, and a real SSH server accepts its connections.

It shows which programs a board of that processor cannot run, and how edgekit behaves over SSH. It shows nothing about
speed, power or heat.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.device_lab.image import Image, Unavailable
from tests.device_lab.process import below, children, free_port, send, words

HERE = Path(__file__).parent

UID = 61234
"""The user of the board's processes when the tests run as root: root's SSH server needs its own users and folders."""

AS_USER = 'mount --bind "$1" /mnt && mount --bind "$2" /etc && shift 2 && exec "$@"'
"""Others cannot read root's cache, so the lab is mounted at /mnt, for the board's processes only. The folder /etc is
replaced as a whole: a mount on /etc/passwd alone ends when the machine renames a new file over its own, as `useradd`
does, and the board would then deny every log-in.
"""


@dataclass(frozen=True)
class Cpu:
    """A processor: QEMU's name of it, and the entry of each of its cores in the kernel's list."""

    name: str
    part: str
    features: str


A53 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
CPUS = {
    "cortex-a53": Cpu("cortex-a53", "0xd03", A53),
    "cortex-a72": Cpu("cortex-a72", "0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": Cpu("cortex-a76", "0xd0b", f"{A53} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
}
"""The words are the kernel's; the lists are constructed, not captured from boards."""

CORES = 2


class EmulatedBoard:
    """A board to switch on and off, and to break on purpose; edgekit connects to `address`.

    `home` is the path of its home folder on this machine. Its /tmp, of `tmp_kb`, is empty after a boot.
    """

    def __init__(
        self, lab: Path, run: Path, image: Image, cpu: str, *, name: str, tmp_kb: int = 65536, host: str = "127.0.0.1"
    ) -> None:
        self.cpu, self.image, self.name = CPUS[cpu], image, name
        self._lab, self._root = lab, os.getuid() == 0
        self._folder = run / name
        self._folder.mkdir()
        self._tmp_kb = tmp_kb
        self._sshd: subprocess.Popen[bytes] | None = None
        self._init: subprocess.Popen[bytes] | None = None
        self.user = "pi" if self._root else getpass.getuser()
        self.host = host
        self.network: tuple[str, ...] = ()
        self.port = free_port()
        self.home = self._folder / "home"
        self._write_files()

    @property
    def address(self) -> str:
        """Its name in the client's config, which has host, port, user and key."""
        return f"ssh://{self.name}"

    def __enter__(self) -> EmulatedBoard:
        try:
            self.boot()
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop_serving()
        self.power_off()
        shutil.rmtree(self._folder, ignore_errors=True)

    # Power

    def boot(self) -> None:
        """Switch the board on: a new boot_id, an empty /tmp, the same home."""
        (self._folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        places = [self._folder / "new", self.image.board, self._folder, self.image.qemu]
        script = ["sh", self._seen(self._folder / "boot.sh"), *map(self._seen, places), str(self._tmp_kb)]
        self._init = subprocess.Popen(
            self._as_user(["unshare", "-U", "--map-root-user", "-m", "--pid", "--fork", "--kill-child", *script]),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        assert self._init.stdout is not None  # it is a pipe
        line = self._init.stdout.readline().decode()
        if not line.startswith("booted"):
            rest = self._init.communicate(timeout=10)[0].decode()
            raise Unavailable(f"the emulated board does not boot: {(line + rest).strip()}")
        (self._folder / "init.pid").write_text(f"{children(self._init.pid)[0]}\n")

    def power_off(self) -> None:
        """Pull the plug: everything that runs on the board ends at once."""
        (self._folder / "init.pid").unlink(missing_ok=True)
        if self._init is not None:
            self._init.kill()
            self._init.wait()
            assert self._init.stdout is not None
            self._init.stdout.close()
            self._init = None

    def reboot(self) -> None:
        """Pull the plug and switch on again; connections are cut."""
        self.cut()
        self.power_off()
        self.boot()

    # The SSH server

    def serve(self) -> None:
        """Let the SSH server listen, and wait until it does."""
        log, config = (self._folder / "sshd.log").open("ab"), self._seen(self._folder / "sshd_config")
        self._sshd = subprocess.Popen(
            [*self.network, *self._as_user([self._seen(self.image.sshd), "-D", "-e", "-f", config])],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "LD_LIBRARY_PATH": self._seen(self.image.host / "usr/lib/x86_64-linux-gnu")},
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((self.host, self.port)) == 0:
                    return
            if self._sshd.poll() is not None or time.monotonic() > deadline:
                log_text = (self._folder / "sshd.log").read_text(errors="replace").strip()
                raise Unavailable(f"the SSH server of the lab does not start: {log_text}")
            time.sleep(0.02)

    def stop_serving(self) -> None:
        """Close the port: new connections are refused, and open ones are cut."""
        if self._sshd is not None:
            self.resume()
            self.cut()
            self._sshd.kill()
            self._sshd.wait()
            self._sshd = None

    def cut(self) -> None:
        """End every SSH session, as a crash of the server's processes would; the port stays open."""
        for pid in self._sessions():
            send(pid, signal.SIGKILL)

    def hang(self) -> None:
        """Stop the SSH server and its sessions: the port accepts connections, nothing answers."""
        assert self._sshd is not None
        for pid in (self._sshd.pid, *self._sessions()):
            send(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `hang`."""
        assert self._sshd is not None
        for pid in (*self._sessions(), self._sshd.pid):
            send(pid, signal.SIGCONT)

    def _sessions(self) -> list[int]:
        """Return the server's processes below the listening one, two for each session; not those on the board."""
        sessions, pending = [], [self._sshd.pid] if self._sshd is not None else []
        while pending:
            started = [pid for pid in children(pending.pop()) if words(pid).startswith("sshd")]
            sessions += started
            pending += started
        return sessions

    # What is on it

    def processes(self) -> list[str]:
        """Return what runs on the board, without its first process: `python3 -m edgekit ...`."""
        if self._init is None:
            return []
        first = children(self._init.pid)[0]
        lines = [words(pid).removeprefix(self._seen(self.image.qemu)).strip() for pid in below(first)]
        return sorted(line for line in lines if line and line != "sleep 3600")

    def replace(self, name: str, script: str) -> None:
        """Replace a program, such as `/usr/bin/cat`, by a shell script until the next boot."""
        file = self._folder / name.replace("/", "_")
        file.write_text(script)
        file.chmod(0o755)
        self._inside(["mount", "--bind", self._seen(file), self._seen(self._folder / "new") + name])

    def restore(self, name: str) -> None:
        """Undo `replace`."""
        self._inside(["umount", self._seen(self._folder / "new") + name])

    def _inside(self, command: Sequence[str]) -> None:
        """Run a command of this machine in the board's name spaces."""
        first = (self._folder / "init.pid").read_text().strip()
        subprocess.run(
            self._as_user(["nsenter", "--preserve-credentials", "-U", "-m", "-t", first, "--", *command]), check=True
        )

    # Its files

    def _write_files(self) -> None:
        folder = self._folder
        for name in ("new", "home", "client", "etc"):
            (folder / name).mkdir()
        for script in ("boot.sh", "login.sh"):
            shutil.copy(HERE / script, folder / script)
        (folder / "etc/passwd").write_text(f"pi:x:{UID}:{UID}::/:/bin/sh\nroot:x:0:0::/root:/bin/sh\n")
        (folder / "cpuinfo").write_text(
            "".join(
                f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {self.cpu.features}\nCPU implementer\t: 0x41\n"
                f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {self.cpu.part}\nCPU revision\t: 3\n\n"
                for core in range(CORES)
            )
        )
        cpus = folder / "sys/devices/system/cpu"
        cpus.mkdir(parents=True)
        for name in ("possible", "present", "online"):
            (cpus / name).write_text(f"0-{CORES - 1}\n")
        for core in range(CORES):
            (cpus / f"cpu{core}/topology").mkdir(parents=True)
        self.make_key("host_key")
        self.make_key("client/key")
        shutil.copy(folder / "client/key.pub", folder / "authorized_keys")
        login = f"/bin/sh {self._seen(folder / 'login.sh')} {self._seen(folder / 'init.pid')}"
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 0.0.0.0\nHostKey {self._seen(folder / 'host_key')}\nPidFile none\n"
            f"AuthorizedKeysFile {self._seen(folder / 'authorized_keys')}\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nMaxStartups 100\n"
            f"ForceCommand {login} {self._seen(folder / 'new')} {self.cpu.name}\n"
        )
        self.write_client()
        if self._root:
            subprocess.run(["chown", "-R", f"{UID}:{UID}", folder], check=True)
            subprocess.run(["chown", "-R", "0:0", folder / "client"], check=True)
        folder.chmod(0o755)

    def make_key(self, name: str) -> Path:
        """Create a new key pair in the board's folder, in place of an existing one."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path], check=True)
        if self._root and not name.startswith("client"):
            os.chown(path, UID, UID)
        return path

    def write_client(self, *, key: str = "client/key", known: bool = True, **more: str) -> None:
        """Write the client's config: which key to offer, whether the host's key is known, and further options."""
        host_key = (self._folder / "host_key.pub").read_text()
        names = f"[{self.host}]:{self.port}"
        (self._folder / "client/known_hosts").write_text(f"{names} {host_key}" if known else "")
        lines = {
            "HostName": self.host,
            "Port": self.port,
            "User": self.user,
            "IdentityFile": self._folder / key,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self._folder / "client/known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            **more,
        }
        text = "".join(f"  {name} {value}\n" for name, value in lines.items())
        (self._folder / "client/config").write_text(f"Host {self.name}\n{text}")

    def _seen(self, path: Path) -> str:
        """Return the path by which the board's processes open a file of the lab."""
        return str(Path("/mnt") / path.relative_to(self._lab)) if self._root else str(path)

    def _as_user(self, command: Sequence[str]) -> list[str]:
        """Return the command run as the board's user; it ends with this process, however that ends."""
        bound = ["setpriv", "--pdeathsig=KILL"]
        if not self._root:
            return [*bound, *command]
        as_user = [*bound, f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        mounts = [str(self._lab), str(self._folder / "etc")]
        return ["unshare", "-m", "sh", "-c", AS_USER, "sh", *mounts, *as_user, *command]
