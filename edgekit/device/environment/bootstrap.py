"""A private environment on a device, of packages that are pushed there: it takes no internet, no pip and no root.

Below edgekit's folder on the device:

    packages/DIGEST/    a package as pip unpacked it here; the digest is of its files, so it is sent once
    env/DIGEST/         an environment of such packages: pyvenv.cfg, bin/python, a .pth file (PEP 405, made by hand)

A package and an environment are whole or not there. The two environments that were used last are kept, with their
packages.
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
from edgekit.device.facts import Facts
from edgekit.device.lock.device_lock import Board
from edgekit.errors import DeviceError, UnsupportedError
from edgekit.progress import Progress, Silent

THERE = r"""
for name; do [ -d "packages/$name" ] && echo "$name"; done
command -v gzip >/dev/null && echo gzip
df -Pk . | { read -r _; read -r _ _ _ kb _; echo "free=$kb"; }
"""

LAY = r"""
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
echo "laid $PWD/$env/bin/python"
"""
"""Makes the environment and removes those that were not used lately; `wheels` is where an earlier edgekit kept them."""

SEND_S = 1800
"""Writing 100 MB to a slow memory card, and reading it back for its SHA-256, takes minutes."""

LAY_S = 300
"""Removing old environments from such a card takes a while too."""


@dataclass(frozen=True)
class Environment:
    """A private environment on a device."""

    python: str
    """Absolute path there."""
    interpreter: Interpreter
    packages: Mapping[str, str]
    """Versions of what is in it."""
    notes: tuple[str, ...] = ()


def prepare(
    board: Board,
    bundle: Bundle,
    facts: Facts,
    *,
    python: str = "",
    pins: Sequence[str] = (),
    progress: Progress | None = None,
) -> Environment:
    """Prepare the environment that `bundle` needs, sending what is not there.

    The first Python of the device that edgekit and the runtime have wheels for is taken, or the one at `python`. Raises
    UnsupportedError with the ways out where there is none, DeviceError for a device that is lost or full.
    """
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="edgekit-packages-") as folder:
        with progress.step("resolving packages"):
            interpreter, resolved = _resolved(bundle, facts, python, pins)
            ours = wheels.ours(bundle, Path(folder))
        packages = {_digest(place): place for place in (*ours, *resolved.places)}
        _send(board, packages, progress)
    env = digest_of([sorted(packages), interpreter.real, interpreter.version])[:16]
    words = ["/bin/sh", "-c", LAY, "sh", env, interpreter.path, interpreter.short, *sorted(packages)]
    done = board.step("environment", words, timeout_s=LAY_S)
    answer = done.text.split(maxsplit=1)
    if done.returncode == 0 and answer[:1] == ["laid"]:
        versions = dict(place.name.rsplit("-", 1) for place in packages.values())
        return Environment(answer[1].strip(), interpreter, versions, resolved.notes)
    raise DeviceError(
        f"the environment could not be made on {board.transport.address}: {copy_errors.last(done)}.",
        hint="remove what is there with `edgekit devices clean`, and try again",
    )


def _send(board: Board, packages: Mapping[str, Path], progress: Progress) -> None:
    """Send the packages that are not there. Raises DeviceError before the first where they do not fit."""
    there = board.step("look", ["/bin/sh", "-c", THERE, "sh", *packages], timeout_s=60).text.split()
    missing = sorted(set(packages) - set(there))
    free = next((word.removeprefix("free=") for word in there if word.startswith("free=")), "")
    need_kb = sum(_size_kb(packages[name]) for name in missing)
    if missing and free.isdigit() and int(free) < need_kb:
        raise copy_errors.too_small("the environment", board.transport.address, need_kb, int(free))
    with progress.step("sending packages", len(missing)) as tick:
        for name in missing:
            board.push_folder(packages[name], f"packages/{name}", timeout_s=SEND_S, packed="gzip" in there)
            tick(detail=packages[name].name)


def _digest(place: Path) -> str:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return digest_of([[path.relative_to(place).as_posix(), digest_of_file(path)] for path in files])[:16]


def _size_kb(place: Path) -> int:
    return sum(-(-path.stat().st_size // 1024) for path in place.rglob("*") if path.is_file()) + 1024


def latest(board: Board) -> str | None:
    """Give the Python of the environment that was used last, None where there is none."""
    script = 'for env in $(ls -t env 2>/dev/null); do echo "$PWD/env/$env/bin/python"; break; done'
    return board.step("look", ["/bin/sh", "-c", script], timeout_s=60).text.strip() or None


def _resolved(bundle: Bundle, facts: Facts, python: str, pins: Sequence[str]) -> tuple[Interpreter, wheels.Packages]:
    known = [one for one in facts.pythons if not python or one.path == python]
    if not known:
        raise DeviceError(
            f"there is no Python at '{python}' on {facts.address}." if python else f"{facts.address} has no Python 3.",
            hint="name one of the device with --python"
            if python
            else "install Python 3.10 or newer there: `apt install python3`",
        )
    fault: UnsupportedError | None = None
    for one in known:
        try:
            return one, wheels.resolve(bundle, one, facts.host, pins=pins)
        except UnsupportedError as error:
            fault = fault or error  # what is in the way of the device's own Python is told
    assert fault is not None  # the loop ran, and ended without a result
    raise fault
