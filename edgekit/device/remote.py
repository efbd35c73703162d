"""edgekit on a device, called from here: a verb of its command line, and the report that comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit import __version__, catalog, errors
from edgekit.device import facts as probe
from edgekit.device import fault
from edgekit.device.environment import bootstrap
from edgekit.device.facts import Facts
from edgekit.device.lock.device_lock import Board
from edgekit.device.transport import Completed
from edgekit.errors import AccuracyFailure, DeviceError, EdgekitError, EnvironmentFault
from edgekit.progress import Progress
from edgekit.registry import KNOWN_PLUGINS
from edgekit.result.report import Report

CHECK = """
import importlib, json, sys
from importlib.metadata import version
from edgekit import registry
from edgekit.plugin import no_telemetry
no_telemetry()
for name in sys.argv[2].split():
    sys.modules.setdefault(name, None)
for name in sys.argv[3:]:
    try: importlib.import_module(name)
    except ImportError: pass
found = registry.backend(sys.argv[1]).probe().to_dict()
print(json.dumps({**found, "versions": {"edgekit": version("edgekit"), **found["versions"]}}))
"""
"""Imports a backend's runtime and asks what is there: one that dies on this processor dies here. Where it is missing or
does not import, the backend says why.
"""

STEP_S = 1800.0
"""What a step may take on a device where nothing else is said."""


@dataclass
class Remote:
    """edgekit, as a Python on a device has it."""

    board: Board
    facts: Facts
    python: str
    progress: Progress
    timeout_s: float = STEP_S
    packages: Mapping[str, str] | None = None
    """Versions there, as far as they are known before `check` asks for them."""

    def check(self, backend: str) -> tuple[str, ...]:
        """Ask the backend on the device what is there; give what should be said of it.

        Raises EnvironmentFault where edgekit or the plugin is missing, DeviceError where its runtime dies.
        """
        if self.packages is None:
            first = next((one for one in self.facts.pythons if one.path == self.python), None)
            self.packages = first.packages if first else {}
        runtime = catalog.runtime(backend)
        words = ["-c", CHECK, backend, " ".join(runtime.telemetry), *runtime.modules]
        done = self._run("check", words, "importing the runtime")
        found = _answer(done)
        if done.returncode or found is None:
            raise self._missing(backend, done)
        if not found["available"]:
            raise EnvironmentFault(
                f"'{backend}' does not work on {self._address}: {'; '.join(found['problems'])}.", hint=found["hint"]
            )
        self.packages = found["versions"]
        theirs = found["versions"]["edgekit"]
        return () if theirs == __version__ else (f"edgekit {theirs} on the device, {__version__} here",)

    def report(self, verb: str, words: Sequence[str], doing: str) -> Report:
        """Run a verb that gives a report, also one whose gate failed. Raises what the verb raised there."""
        found = self.call(verb, [*words, "--json"], doing)
        if found.get("error") and isinstance(found.get("report"), dict):
            return Report.from_dict(found["report"], f"the report of {self._address}")
        if found.get("error"):
            raise self._told(found)
        return Report.from_dict(found, f"the report of {self._address}")

    def call(self, verb: str, words: Sequence[str], doing: str) -> dict[str, Any]:
        """Run a verb and give the JSON that it printed, an error's included. Raises DeviceError for one that died."""
        done = self._run(verb, ["-m", "edgekit.cli", verb, *words], doing)
        found = _answer(done)
        if found is None:
            said = done.stderr.decode(errors="replace").strip()[-500:]
            raise DeviceError(
                f"`edgekit {verb}` on {self._address} left no answer (exit code {done.returncode}): {said}",
                hint="the two versions of edgekit may be too far apart: deploy with --bootstrap",
            )
        return found

    def keep(self, there: str, name: str) -> str:
        """Move a bundle to where it stays on the device, and give that path."""
        kept = self.board.path(f"kept/{name}")
        script = 'mkdir -p kept && rm -rf -- "$2" && mv -- "$1" "$2"'
        done = self.board.step("keep", ["/bin/sh", "-c", script, "sh", there, kept], timeout_s=120)
        if done.returncode:
            raise DeviceError(f"the bundle could not be kept on {self._address}: {_last(done.stderr.decode(), 1)}")
        return kept

    @property
    def _address(self) -> str:
        return self.board.transport.address

    def _run(self, name: str, words: Sequence[str], doing: str) -> Completed:
        # Temporary files stay in edgekit's folder; the device's own search path for modules does not count.
        scratch = self.board.path("tmp")
        script = 'mkdir -p "$1" && TMPDIR=$1 PYTHONPATH= PYTHONNOUSERSITE=1; export TMPDIR PYTHONPATH PYTHONNOUSERSITE'
        argv = ["/bin/sh", "-c", f'{script}; shift; exec "$@"', "sh", scratch, self.python, *words]
        with self.progress.step(doing) as tick:
            done = self.board.step(name, argv, timeout_s=self.timeout_s, on_line=lambda line: tick(0, line))
        if (killed := fault.died_of(done.returncode)) is not None:
            raise self._death(killed, doing, done.stderr.decode(errors="replace"))
        return done

    def _death(self, name: str, doing: str, said: str = "") -> DeviceError:
        """Say how a process on the device died, having asked the kernel whether it ran out of memory."""
        before = self.facts.oom_kills
        now = probe.read(self.board.transport).oom_kills if name == "SIGKILL" else before
        return fault.death(
            name, self.facts.host, self.packages or {}, doing,
            out_of_memory=before is not None and now is not None and now > before, said=_last(said),
        )  # fmt: skip

    def _told(self, found: Mapping[str, Any]) -> EdgekitError:
        """Make the error anew that edgekit raised on the device."""
        context = found.get("context") or {}
        if context.get("signal") in fault.SIGNALS:
            return self._death(context["signal"], "measuring")
        kind = getattr(errors, str(found["error"]), None)
        if not (isinstance(kind, type) and issubclass(kind, EdgekitError)):
            kind = DeviceError  # a bug there: its trace is on the device's stderr, which progress has shown
        made: EdgekitError = kind(f"on {self._address}: {found['message']}", hint=found.get("hint"))
        return made

    def _missing(self, backend: str, done: Completed) -> EnvironmentFault:
        said = done.stderr.decode(errors="replace")
        package = KNOWN_PLUGINS.get(backend, f"edgekit-{backend}")
        if "No module named 'edgekit'" in said:
            what = f"{self.python} on {self._address} has no edgekit."
        else:
            what = f"edgekit on {self._address} cannot use '{backend}': {_last(said, 1).strip() or 'it gave no reason'}"
        return EnvironmentFault(
            what, hint=f"deploy with --bootstrap, or install it there: {self.python} -m pip install {package}"
        )


def own_python(board: Board, facts: Facts, python: str = "") -> str:
    """Give the Python on the device that has edgekit: the one asked for, one of its own, or that of the private
    environment that an earlier deployment left.
    """
    if python:
        return python
    own = next((one.path for one in facts.pythons if "edgekit" in one.packages), None)
    found = own or bootstrap.latest(board)
    if found is None:
        raise EnvironmentFault(
            f"no Python on {facts.address} has edgekit.",
            hint="deploy with --bootstrap, which carries it there, or install it: pip install edgekit",
        )
    return found


def failed(report: Report) -> AccuracyFailure:
    """Give the error that a report with missed gates amounts to."""
    return AccuracyFailure(
        f"what runs on the device is not what the original gives: {'; '.join(report.failures)}.",
        hint="export again with another recipe, or report the processor and the runtime's version",
        report=report,
    )


def _answer(done: Completed) -> dict[str, Any] | None:
    try:
        found = json.loads(done.text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _last(said: str, count: int = 6) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-count:])
