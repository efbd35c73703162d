"""A private environment on a device, of wheels that are pushed there: it takes no internet, no pip and no root.

Below edgekit's folder on the device:

    wheels/DIGEST/      a wheel, unpacked; the digest is of the wheel, so one that is there is never sent again
    env/DIGEST/         an environment of such wheels: pyvenv.cfg, bin/python, a .pth file (PEP 405, made by hand)

An environment is whole or not there. The two that were used last are kept, with their wheels.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit._record import digest_of, digest_of_file
from edgekit._requirement import normal
from edgekit.bundle.bundle import Bundle
from edgekit.device.environment import wheels
from edgekit.device.environment.interpreter import Interpreter
from edgekit.device.facts import Facts
from edgekit.device.lock.device_lock import Board
from edgekit.errors import DeviceError, UnsupportedError
from edgekit.progress import Progress, Silent

LAY = r"""
import os, shutil, sys, zipfile

def lay(folder, env, need, *names):
    os.chdir(folder)
    os.makedirs("env", exist_ok=True)
    missing = [name for name in names if not os.path.isdir("wheels/" + name)]
    free = shutil.disk_usage(".").free
    if missing and free < int(need):
        print("full", free)
        return
    for name in missing:
        part, wheel = "wheels/" + name + ".edgekit-part", "wheels/" + name + ".whl"
        shutil.rmtree(part, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part)
        for data in [entry for entry in os.listdir(part) if entry.endswith(".data")]:
            for kind in ("purelib", "platlib"):
                if os.path.isdir(os.path.join(part, data, kind)):
                    shutil.copytree(os.path.join(part, data, kind), part, dirs_exist_ok=True)
        os.rename(part, "wheels/" + name)
        os.remove(wheel)
    here = os.path.join("env", env)
    if not os.path.isdir(here):
        part = here + ".edgekit-part"
        shutil.rmtree(part, ignore_errors=True)
        site = os.path.join(part, "lib", "python%d.%d" % sys.version_info[:2], "site-packages")
        os.makedirs(site)
        os.makedirs(os.path.join(part, "bin"))
        real = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
        os.symlink(real, os.path.join(part, "bin", "python"))
        with open(os.path.join(part, "pyvenv.cfg"), "w") as file:
            file.write("home = %s\ninclude-system-site-packages = false\n" % os.path.dirname(real))
        with open(os.path.join(site, "edgekit.pth"), "w") as file:
            file.writelines(os.path.join(folder, "wheels", name) + "\n" for name in names)
        os.rename(part, here)
    os.utime(here)
    used = sorted(os.scandir("env"), key=lambda entry: -entry.stat().st_mtime)
    for old in used[2:]:
        shutil.rmtree(old.path, ignore_errors=True)
    kept = set()
    for one in used[:2]:
        for top, _, files in os.walk(one.path):
            if "edgekit.pth" in files:
                with open(os.path.join(top, "edgekit.pth")) as file:
                    kept.update(os.path.basename(line.strip()) for line in file)
    for entry in os.scandir("wheels"):
        if entry.name not in kept:
            shutil.rmtree(entry.path, ignore_errors=True) if entry.is_dir() else os.remove(entry.path)
    print("laid", os.path.join(folder, here, "bin", "python"))

lay(*sys.argv[1:])
"""
"""Unpacks what was pushed and makes the environment; it runs in the device's own Python, 3.10 or newer."""

THERE = 'cd wheels 2>/dev/null || exit 0; for name; do [ -d "$name" ] && echo "$name"; done; exit 0'

UNPACK_S = 900
"""Unpacking 120 MB on a slow memory card takes minutes."""


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
    with tempfile.TemporaryDirectory(prefix="edgekit-wheels-") as folder:
        with progress.step("resolving wheels"):
            interpreter, found = _resolved(bundle, facts, python, pins)
            ours = wheels.ours(bundle, Path(folder))
        names = {digest_of_file(path)[:16]: path for path in (*ours, *found.paths)}
        asked = board.step("look", ["/bin/sh", "-c", THERE, "sh", *names], timeout_s=60)
        missing = sorted(set(names) - set(asked.text.split()))
        with progress.step("sending wheels", len(missing)) as tick:
            for name in missing:
                board.push(names[name], f"wheels/{name}.whl")
                tick(detail=names[name].name)
        need = sum(_unpacked(names[name]) for name in missing) + (16 << 20)
        env = digest_of([sorted(names), interpreter.real, interpreter.version])[:16]
        words = [interpreter.path, "-c", LAY, board.folder, env, str(need), *sorted(names)]
        with progress.step("unpacking"):
            done = board.step("unpack", words, timeout_s=UNPACK_S)
    answer = done.text.split(maxsplit=1)
    if done.returncode == 0 and answer[:1] == ["laid"]:
        packages = dict((normal(path.name.split("-")[0]), path.name.split("-")[1]) for path in names.values())
        return Environment(answer[1].strip(), interpreter, packages, found.notes)
    address = board.transport.address
    if answer[:1] == ["full"]:
        raise DeviceError(
            f"the environment needs {need / 1e6:.0f} MB on {address}, where {int(answer[1]) / 1e6:.0f} MB are free.",
            hint="free some space on the device, or set EDGEKIT_DEVICE_DIR to a folder on a larger disk there",
        )
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    raise DeviceError(
        f"the wheels could not be unpacked on {address}: {said or f'exit code {done.returncode}'}.",
        hint="remove what is there with `edgekit devices clean`, and try again",
    )


def latest(board: Board) -> str | None:
    """Give the Python of the environment that was used last, None where there is none."""
    script = 'for env in $(ls -t env 2>/dev/null); do echo "$PWD/env/$env/bin/python"; break; done'
    return board.step("look", ["/bin/sh", "-c", script], timeout_s=60).text.strip() or None


def _resolved(bundle: Bundle, facts: Facts, python: str, pins: Sequence[str]) -> tuple[Interpreter, wheels.Wheels]:
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


def _unpacked(wheel: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        return sum(entry.file_size for entry in archive.infolist())
