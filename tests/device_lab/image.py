"""Build the emulated board's disk from Debian packages, with the emulator and the SSH server for this machine.

Nothing is installed: a private configuration of apt downloads the packages of both architectures, and `dpkg -x` unpacks
them below the lab's folder, where the next run finds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

BOARD = """
libc6 libc-bin libstdc++6 libgcc-s1 libssl3 libffi8 libexpat1 liblzma5 libbz2-1.0 zlib1g libcrypt1 libuuid1 libsqlite3-0
python3.11-minimal libpython3.11-minimal libpython3.11-stdlib python3-minimal
dash bash coreutils libacl1 libattr1 libselinux1 libpcre2-8-0 libgmp10 tar gzip grep sed mawk findutils libtinfo6
procps libproc2-0 libncursesw6 libsystemd0 libcap2 libgcrypt20 libgpg-error0 liblz4-1 libzstd1
util-linux libcap-ng0 libudev1 libmount1 libblkid1 libsmartcols1
"""
"""The part of a minimal Debian 12 that edgekit, Python and the runtimes need."""

HOST = "qemu-user-static openssh-server libwrap0 libnsl2 libtirpc3"

LINKS = {"usr/bin/python3": "python3.11", "bin/sh": "dash", "usr/bin/awk": "mawk"}

KEPT_S = 14 * 86400
"""An image or a set of wheels that was not used for this long is removed."""

CONF = """
APT::Architecture "{host}";
APT::Architectures {{ "{host}"; "arm64"; }};
APT::Sandbox::User "root";
Dir::State::lists "{at}/lists";
Dir::State::status "{at}/status";
Dir::Cache "{at}/cache";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class Unavailable(Exception):
    """This machine cannot have a lab; the text is the reason."""


@dataclass(frozen=True)
class Image:
    """The unpacked packages."""

    board: Path
    """The root of the board's file system, aarch64."""
    host: Path
    """The emulator and the SSH server, for this machine."""

    @property
    def qemu(self) -> Path:
        return self.host / "usr/bin/qemu-aarch64-static"

    @property
    def sshd(self) -> Path:
        return self.host / "usr/sbin/sshd"


def folder() -> Path:
    """Return the lab's folder: $EDGEKIT_LAB_DIR, or below the user's cache."""
    variable = os.environ.get("EDGEKIT_LAB_DIR")
    return Path(variable) if variable else Path.home() / ".cache" / "edgekit-lab"


def image(at: Path) -> Image:
    """Return the image below `at`; it is built where it does not exist. Raises Unavailable."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    if release.get("VERSION_CODENAME") != "bookworm" or platform.machine() != "x86_64":
        raise Unavailable("it is built from the packages of Debian 12 (bookworm), on x86-64")
    for tool in ("apt-get", "dpkg", "ssh", "ssh-keygen", "unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            raise Unavailable(f"'{tool}' is not installed")
    recipe = "\n".join([BOARD, HOST, CONF, *LINKS, inspect.getsource(build)])
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    done = at / f"image-{key}"
    at.mkdir(parents=True, exist_ok=True)
    with locked(at / "lock"):
        for old in at.glob("*-*"):
            if time.time() - old.stat().st_mtime > KEPT_S:
                shutil.rmtree(old, ignore_errors=True)  # not at once: another checkout may use another image
        if not done.is_dir():
            build(at / "new")
            (at / "new").rename(done)
        os.utime(done)
    return Image(done / "board", done / "host")


def build(at: Path) -> None:
    shutil.rmtree(at, ignore_errors=True)
    apt, debs = at / "apt", at / "debs"
    for place in (apt / "lists/partial", apt / "cache/archives/partial", debs, at / "board", at / "host"):
        place.mkdir(parents=True)
    (apt / "status").touch()
    (apt / "apt.conf").write_text(CONF.format(host="amd64", at=apt))
    environment = {**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C"}
    run(["apt-get", "-q", "update"], environment, debs)
    wanted = [f"{name}:arm64" for name in BOARD.split()] + [f"{name}:amd64" for name in HOST.split()]
    run(["apt-get", "-q", "download", *wanted], environment, debs)
    for deb in sorted(debs.glob("*.deb")):
        run(
            ["dpkg", "-x", str(deb), str(at / ("board" if deb.name.endswith("_arm64.deb") else "host"))],
            environment,
            at,
        )
    for name, target in LINKS.items():
        link = at / "board" / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    for name in ("dev", "proc", "sys", "tmp", "run", "home/pi", "root"):
        (at / "board" / name).mkdir(parents=True, exist_ok=True)
    (at / "board/etc/passwd").write_text("pi:x:0:0:the user of the emulated board:/home/pi:/bin/sh\n")
    (at / "board/etc/group").write_text("pi:x:0:\n")
    (at / "board/etc/hostname").write_text("emulated\n")
    shutil.copy("/etc/os-release", at / "board/etc/os-release")
    for emulator in (at / "host/usr/bin").glob("qemu-*"):
        if emulator.name != "qemu-aarch64-static":
            emulator.unlink()  # 250 MB of other processors
    shutil.rmtree(apt)
    shutil.rmtree(debs)
    # The board's user is another one than this process's when that is root.
    for path in at.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))


TAGS = ("manylinux_2_35_aarch64", "manylinux_2_34_aarch64", "manylinux_2_31_aarch64", "manylinux_2_28_aarch64",
        "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")  # fmt: skip
"""The tags that the board's glibc, 2.36, can load; pip matches them literally, so a missing tag hides its wheels."""


def wheels(at: Path, requirements: Sequence[str]) -> Path:
    """Return a folder with the wheels of `requirements` for the board; it is downloaded where it does not exist."""
    key = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:12]
    done = at / f"wheels-{key}"
    with locked(at / "lock"):
        if not done.is_dir():
            new = at / "new-wheels"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            platforms = [word for tag in TAGS for word in ("--platform", tag)]
            run(
                [sys.executable, "-m", "pip", "download", "-q", "--dest", str(new), "--only-binary=:all:", *platforms,
                 "--python-version", "3.11", "--implementation", "cp", *requirements],
                dict(os.environ), at,
            )  # fmt: skip
            new.rename(done)
        os.utime(done)
    return done


def run(command: list[str], environment: dict[str, str], cwd: Path) -> None:
    try:
        done = subprocess.run(
            command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"`{' '.join(command[:3])}` took longer than 300 s") from error
    if done.returncode:
        last = done.stdout.strip().splitlines()[-3:]
        raise Unavailable(f"`{' '.join(command[:3])}` failed: {' | '.join(last)}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a lock file locked meanwhile: several test runs may share the folder."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
