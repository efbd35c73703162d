"""Make the environment of a checkout: `.venv` with the locked packages, edgekit and its plugins, installed editable.

`make setup` calls it with the system's Python, so it uses the standard library only. It needs no root: where the
distribution keeps pip in a package of its own, that is unpacked into a temporary folder. pip runs with the user's own
configuration.
A stamp keyed by what decides the environment lets the next call return at once. `--tests` adds what only tests read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "edgekit-setup.json"
LOG = VENV / "edgekit-setup.log"
LOCK = ROOT / "locks" / "build.txt"
TEST_LOCK = ROOT / "locks" / "test.txt"
OLDEST = (3, 10)
REPORT_EVERY_S = 10


class Failure(Exception):
    """What went wrong, and what to do next."""


def main() -> int:
    """Bring `.venv` up to date; 0 when it is, 3 (edgekit's code for a faulty environment) with one message when not."""
    try:
        setup()
        if "--tests" in sys.argv[1:]:
            setup_tests()
    except Failure as failure:
        print(f"setup: {failure}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("setup: interrupted; the next `make setup` goes on from here.", file=sys.stderr)
        return 130
    return 0


def setup() -> None:
    if sys.version_info < OLDEST:
        raise Failure(
            f"edgekit needs Python {OLDEST[0]}.{OLDEST[1]} or newer, {sys.executable} is {sys.version.split()[0]}.\n"
            "hint: make setup PYTHON=python3.11"
        )
    key = wanted()
    if STAMP.is_file() and json.loads(STAMP.read_text()).get("key") == key and PYTHON.exists():
        return
    started = time.monotonic()
    projects = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
    say(f"preparing {VENV} for Python {sys.version.split()[0]}")
    if not VENV.exists():
        say("the first time takes minutes and 2 GB, or 6 GB with torch's CUDA build (see CONTRIBUTING.md)")
    STAMP.unlink(missing_ok=True)
    make_venv()
    pip("installing the locked packages", "-r", str(LOCK))
    editable = [part for project in projects for part in ("-e", str(project))]
    # The build back end comes from the lock, so no second environment is fetched only to write four links.
    pip("installing edgekit and its plugins", "--no-deps", "--no-build-isolation", *editable)
    compile_bytecode()
    STAMP.write_text(json.dumps({"key": key}) + "\n")
    say(f"ready: {megabytes(VENV)} MB in {time.monotonic() - started:.0f} s")


def setup_tests() -> None:
    """Add what only tests use: models, and TensorRT for RTX. Without them tests skip, so a failure is told."""
    key = hashlib.sha256(TEST_LOCK.read_bytes()).hexdigest()
    stamp = json.loads(STAMP.read_text())
    if stamp.get("tests") == key:
        return
    try:
        # They name packages that would move the locked versions; only their files are wanted.
        pip("installing what only tests use", "--no-deps", "-r", str(TEST_LOCK))
    except Failure as failure:
        say(f"setup: {failure}\nthe tests that need these packages will skip.")
        return
    STAMP.write_text(json.dumps({**stamp, "tests": key}) + "\n")


def wanted() -> str:
    """Return a digest of all that decides the environment: Python, the place, the lock, and the projects' metadata."""
    digest = hashlib.sha256(f"{sys.version}\n{sys.base_prefix}\n{ROOT}\n".encode())
    for path in (Path(__file__), LOCK, ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_venv() -> None:
    """Create `.venv` with pip in it, unless one of this Python is there."""
    probe = "import sys, pip; print(*sys.version_info[:2], sys.base_prefix)"
    here = f"{sys.version_info[0]} {sys.version_info[1]} {sys.base_prefix}"
    if PYTHON.exists() and run([PYTHON, "-c", probe]).stdout.strip() == here:
        return
    if VENV.exists() or VENV.is_symlink():
        if not (VENV / "pyvenv.cfg").is_file():
            raise Failure(f"'{VENV}' is in the way: it is not a virtual environment.\nhint: move it away")
        shutil.rmtree(VENV)
    # Debian and Ubuntu ship venv with Python, but ensurepip only with python3-venv.
    if run([sys.executable, "-c", "import ensurepip"]).returncode == 0:
        result = run([sys.executable, "-m", "venv", VENV])
        if result.returncode == 0:
            return
        shutil.rmtree(VENV, ignore_errors=True)
    result = run([sys.executable, "-m", "venv", "--without-pip", VENV])
    if result.returncode != 0:
        raise Failure(f"python cannot make a virtual environment: {tail(result.stdout)}\n{apt_hint()}")
    with tempfile.TemporaryDirectory() as folder:
        wheel = pip_wheel(Path(folder))
        installed = run([PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel])
        if installed.returncode != 0:
            shutil.rmtree(VENV)
            raise Failure(f"pip does not install from '{wheel.name}': {tail(installed.stdout)}\n{apt_hint()}")


def pip_wheel(folder: Path) -> Path:
    """Return the pip wheel that the distribution ships: the installed one, or its package unpacked into `folder`."""
    for place in (Path("/usr/share/python-wheels"), unpacked(folder)):
        wheels = sorted(place.glob("pip-*.whl"))
        if wheels:
            return wheels[-1]
    shutil.rmtree(VENV)
    raise Failure(f"this Python comes without pip, and the package that holds it cannot be fetched.\n{apt_hint()}")


def unpacked(folder: Path) -> Path:
    """Download Debian's package of the pip wheel and unpack it below `folder`; no root, nothing installed."""
    wheels = folder / "root" / "usr" / "share" / "python-wheels"
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return wheels
    say("this Python comes without pip: fetching the distribution's package of it (python3-pip-whl, 2 MB)")
    # A fresh image has no package lists and only root may write the system's: then they are fetched aside.
    aside = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache", "-o", "Debug::NoLocking=1"]
    download = ["download", "python3-pip-whl"]
    if run(["apt-get", *download], cwd=folder).returncode != 0:
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        fetched = run(["apt-get", *aside, "update"], cwd=folder)
        fetched = run(["apt-get", *aside, *download], cwd=folder) if fetched.returncode == 0 else fetched
        if fetched.returncode != 0:
            say(f"apt-get says: {tail(fetched.stdout)}")
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", package, folder / "root"])
    return wheels


def apt_hint() -> str:
    return f"hint: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv (as root), then make setup"


def pip(what: str, *arguments: str) -> None:
    """Run `pip install` into `.venv`, its output in the log and a line of progress here every few seconds."""
    say(what)
    # PIP_USER in the user's configuration would point away from the environment, and fails there.
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_USER": "0", "PYTHONUNBUFFERED": "1"}
    command: list[str | Path] = [
        PYTHON,
        "-m",
        "pip",
        "install",
        "--progress-bar",
        "off",
        "--no-input",
        "--no-compile",
        *arguments,
    ]
    started = last = time.monotonic()
    count, size_mb, step = 0, 0.0, ""
    with LOG.open("a") as log:
        log.write(f"$ pip {' '.join(map(str, command[3:]))}\n")
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        assert process.stdout is not None  # it is a pipe
        try:
            for line in process.stdout:
                log.write(line)
                if line.startswith(("Collecting ", "Obtaining ", "Processing ")):
                    count += 1
                elif line.startswith("Installing collected packages"):
                    step = ", unpacking them"
                    last = 0.0
                size_mb += downloaded_mb(line)
                if time.monotonic() - last > REPORT_EVERY_S:
                    last = time.monotonic()
                    say(f"  {count} packages found, {size_mb:.0f} MB downloaded, {last - started:.0f} s{step}")
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        log_lines = [
            line
            for line in LOG.read_text(errors="replace").splitlines()
            if not line.startswith(("WARNING", "Ignoring "))
        ]
        shown = "\n".join(f"  {line}" for line in log_lines[-12:])
        raise Failure(
            f"pip failed with code {code} while {what}:\n{shown}\n"
            f"the whole log: {LOG}\nhint: check the network and pip's configuration (pip config list), then make setup"
        )


def compile_bytecode() -> None:
    """Compile the installed modules, but for their tests, and our own on all cores (pip uses one).

    Where Python may not write bytecode on import, each process would compile torch and transformers again: 8 seconds;
    edgekit itself takes half a second.
    """
    say("compiling the packages' modules")
    ours = [ROOT / "edgekit", *sorted(ROOT.glob("plugins/*/edgekit_*"))]
    # Packages ship templates that are no valid Python, so the exit code says nothing.
    run([PYTHON, "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", VENV / "lib", *ours])


def downloaded_mb(line: str) -> float:
    """Read the size from pip's line `Downloading NAME (12.3 MB)`."""
    match = re.match(r"\s*Downloading .*\(([\d.]+) (kB|MB|GB)\)", line)
    return float(match[1]) * {"kB": 1e-3, "MB": 1.0, "GB": 1e3}[match[2]] if match else 0.0


def megabytes(folder: Path) -> int:
    """Return the size of the files below a folder in MB."""
    total = 0
    for base, _, files in os.walk(folder):
        total += sum(os.lstat(os.path.join(base, file)).st_size for file in files)  # noqa: PTH118  # 60,000 files
    return round(total / 1e6)


def run(command: list[str | Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, both streams together in `stdout`."""
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def tail(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
