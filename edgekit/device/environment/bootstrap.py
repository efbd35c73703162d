"""A private environment on a device, of packages that are pushed there: it needs no internet, no pip and no root.

Below edgekit's folder on the device:

    packages/DIGEST/    a package as pip unpacked it here; the digest is of its files, so it is sent once
    env/DIGEST/         an environment of such packages: pyvenv.cfg, bin/python, a .pth file (PEP 405, written by hand)

A package and an environment are complete or do not exist. The two environments that were used last are kept, with
their packages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit._record import digest_of, digest_of_file
from edgekit.bundle.bundle import Bundle
from edgekit.device import copy_errors
from edgekit.device.environment import wheels
from edgekit.device.environment.interpreter import Interpreter
from edgekit.device.facts import DeviceFacts
from edgekit.device.lock.device_lock import DeviceLock
from edgekit.errors import DeviceError, UnsupportedError
from edgekit.progress import Progress, Silent

INVENTORY = r"""
for name; do [ -d "packages/$name" ] && echo "$name"; done
command -v gzip >/dev/null && echo gzip
df -Pk . | { read -r _; read -r _ _ _ kb _; echo "free=$kb"; }
"""

CREATE = r"""
set -e
env=env/$1 python=$2 short=$3
shift 3
if [ ! -d "$env" ]; then
  part=$env.edgekit-part
  site=$part/lib/python$short/site-packages
  rm -rf -- "$part"
  mkdir -p -- "$part/bin" "$site"
  real=$("$python" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')
  ln -s -- "$real" "$part/bin/python"
  printf 'home = %s\ninclude-system-site-packages = false\n' "${real%/*}" >"$part/pyvenv.cfg"
  for name; do echo "$PWD/packages/$name"; done >"$site/edgekit.pth"
  mv -- "$part" "$env"
fi
touch -- "$env"
ls -t env | tail -n +3 | while IFS= read -r old; do rm -rf -- "env/$old"; done
for place in packages/*; do
  cat env/*/lib/*/site-packages/edgekit.pth | grep -qxF -e "$PWD/$place" || rm -rf -- "$place"
done
rm -rf wheels
echo "created $PWD/$env/bin/python"
"""
"""Creates the environment and removes those that were not used lately; an earlier edgekit kept them in `wheels`."""

SEND_S = 1800
"""Writing 100 MB to a slow memory card, and reading it back for its SHA-256, takes minutes."""

CREATE_S = 300
"""Removing old environments from such a card takes long too."""


@dataclass(frozen=True)
class Environment:
    """A private environment on a device."""

    python: str
    """Its absolute path there."""
    interpreter: Interpreter
    packages: Mapping[str, str]
    """Package to version."""
    notes: tuple[str, ...] = ()


def prepare(
    lock: DeviceLock,
    bundle: Bundle,
    facts: DeviceFacts,
    *,
    python: str = "",
    pins: Sequence[str] = (),
    progress: Progress | None = None,
) -> Environment:
    """Create the environment that `bundle` needs; only packages that the device lacks are sent.

    It is of the device's first Python that edgekit and the runtime have wheels for, or of the one at `python`. Raises
    UnsupportedError, with what helps, where there is none, DeviceError for a device that is lost or full.
    """
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="edgekit-packages-") as folder:
        with progress.step("resolving packages"):
            interpreter, resolved = _resolved(bundle, facts, python, pins)
            local = wheels.local(bundle, Path(folder))
        packages = {_digest(path): path for path in (*local, *resolved.folders)}
        _send(lock, packages, progress)
    env = digest_of([sorted(packages), interpreter.real, interpreter.version])[:16]
    words = ["/bin/sh", "-c", CREATE, "sh", env, interpreter.path, interpreter.short, *sorted(packages)]
    done = lock.step("environment", words, timeout_s=CREATE_S)
    answer = done.text.split(maxsplit=1)
    if done.returncode == 0 and answer[:1] == ["created"]:
        versions = dict(path.name.rsplit("-", 1) for path in packages.values())
        return Environment(answer[1].strip(), interpreter, versions, resolved.notes)
    raise DeviceError(
        f"the environment could not be created on {lock.transport.address}: {copy_errors.last_line(done)}.",
        hint="remove what is there with `edgekit devices clean`, and try again",
    )


def _send(lock: DeviceLock, packages: Mapping[str, Path], progress: Progress) -> None:
    """Send the packages that the device lacks. Raises DeviceError, before the first, where they do not fit."""
    words = lock.step("look", ["/bin/sh", "-c", INVENTORY, "sh", *packages], timeout_s=60).text.split()
    missing = sorted(set(packages) - set(words))
    free = next((word.removeprefix("free=") for word in words if word.startswith("free=")), "")
    need_kb = sum(_size_kb(packages[name]) for name in missing)
    if missing and free.isdigit() and int(free) < need_kb:
        raise copy_errors.no_space("the environment", lock.transport.address, need_kb, int(free))
    with progress.step("sending packages", len(missing)) as tick:
        for name in missing:
            lock.push_folder(packages[name], f"packages/{name}", timeout_s=SEND_S, packed="gzip" in words)
            tick(detail=packages[name].name)


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of([[path.relative_to(folder).as_posix(), digest_of_file(path)] for path in files])[:16]


def _size_kb(folder: Path) -> int:
    return sum(-(-path.stat().st_size // 1024) for path in folder.rglob("*") if path.is_file()) + 1024


def latest(lock: DeviceLock) -> str | None:
    """Return the Python of the environment that was used last; None where there is none."""
    script = 'for env in $(ls -t env 2>/dev/null); do echo "$PWD/env/$env/bin/python"; break; done'
    return lock.step("look", ["/bin/sh", "-c", script], timeout_s=60).text.strip() or None


def _resolved(
    bundle: Bundle, facts: DeviceFacts, python: str, pins: Sequence[str]
) -> tuple[Interpreter, wheels.Packages]:
    """Return the first Python of the device for which the bundle's packages exist, with those packages."""
    interpreters = [interpreter for interpreter in facts.pythons if not python or interpreter.path == python]
    if not interpreters:
        raise DeviceError(
            f"'{python}' on {facts.address} is not a Python." if python else f"{facts.address} has no Python 3.",
            hint="name one of the device with --python"
            if python
            else "install Python 3.10 or newer there: `apt install python3`",
        )
    first: UnsupportedError | None = None
    for interpreter in interpreters:
        try:
            return interpreter, wheels.resolve(bundle, interpreter, facts.host, pins=pins)
        except UnsupportedError as error:
            first = first or error  # the problem of the preferred Python is reported
    assert first is not None  # the loop ran, and ended without a result
    raise first
