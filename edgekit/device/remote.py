"""Run edgekit's command line on a device, and read the report that it prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit import __version__, catalog
from edgekit.device import facts as device_facts
from edgekit.device import fault
from edgekit.device.environment import bootstrap
from edgekit.device.facts import DeviceFacts
from edgekit.device.lock.device_lock import DeviceLock
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
probe = registry.backend(sys.argv[1]).probe().to_dict()
print(json.dumps({**probe, "versions": {"edgekit": version("edgekit"), **probe["versions"]}}))
"""
"""Imports a backend's runtime and probes it: one that dies on this processor dies here. Where it is missing or does not
import, the backend's probe has the reason.
"""

STEP_S = 1800.0
"""The time limit of a step on a device, by default."""


@dataclass
class Remote:
    """The edgekit of one Python on a device."""

    lock: DeviceLock
    facts: DeviceFacts
    python: str
    progress: Progress
    timeout_s: float = STEP_S
    packages: Mapping[str, str] | None = None
    """Versions there, as far as they are known before `check` asks for them."""

    def check(self, backend: str) -> tuple[str, ...]:
        """Probe the backend on the device, and return notes on it.

        Raises EnvironmentFault where edgekit or the plugin is missing, DeviceError where its runtime dies.
        """
        if self.packages is None:
            interpreter = next((python for python in self.facts.pythons if python.path == self.python), None)
            self.packages = interpreter.packages if interpreter else {}
        runtime = catalog.runtime(backend)
        words = ["-c", CHECK, backend, " ".join(runtime.telemetry), *runtime.modules]
        done = self._run("check", words, "importing the runtime")
        probe = _json_of(done)
        if done.returncode or probe is None:
            raise self._missing(backend, done)
        if not probe["available"]:
            raise EnvironmentFault(
                f"'{backend}' does not work on {self._address}: {'; '.join(probe['problems'])}.", hint=probe["hint"]
            )
        self.packages = probe["versions"]
        version = probe["versions"]["edgekit"]
        return () if version == __version__ else (f"edgekit {version} on the device, {__version__} here",)

    def report(self, verb: str, words: Sequence[str], doing: str) -> Report:
        """Run a verb and return its report, also one whose gate failed. Raises the error that the verb raised there."""
        answer = self.call(verb, [*words, "--json"], doing)
        if answer.get("error") and isinstance(answer.get("report"), dict):
            return Report.from_dict(answer["report"], f"the report of {self._address}")
        if answer.get("error"):
            raise self._error_of(answer)
        return Report.from_dict(answer, f"the report of {self._address}")

    def call(self, verb: str, words: Sequence[str], doing: str) -> dict[str, Any]:
        """Run a verb and return the JSON that it printed, an error's included.

        Raises DeviceError when the process died or printed something else.
        """
        done = self._run(verb, ["-m", "edgekit.cli", verb, *words], doing)
        answer = _json_of(done)
        if answer is None:
            stderr = done.stderr.decode(errors="replace").strip()[-500:]
            raise DeviceError(
                f"`edgekit {verb}` on {self._address} printed no answer (exit code {done.returncode}): {stderr}",
                hint="the two versions of edgekit may be too far apart: deploy with --bootstrap",
            )
        return answer

    def keep(self, path: str, name: str) -> str:
        """Move a bundle on the device from `path` to where it stays, and return that path."""
        kept = self.lock.path(f"kept/{name}")
        script = 'mkdir -p kept && rm -rf -- "$2" && mv -- "$1" "$2"'
        done = self.lock.step("keep", ["/bin/sh", "-c", script, "sh", path, kept], timeout_s=120)
        if done.returncode:
            raise DeviceError(
                f"the bundle could not be kept on {self._address}: {_last_lines(done.stderr.decode(), 1)}"
            )
        return kept

    @property
    def _address(self) -> str:
        return self.lock.transport.address

    def _run(self, name: str, words: Sequence[str], doing: str) -> Completed:
        # Temporary files stay in edgekit's folder; the device's own PYTHONPATH is ignored.
        scratch = self.lock.path("tmp")
        script = 'mkdir -p "$1" && TMPDIR=$1 PYTHONPATH= PYTHONNOUSERSITE=1; export TMPDIR PYTHONPATH PYTHONNOUSERSITE'
        argv = ["/bin/sh", "-c", f'{script}; shift; exec "$@"', "sh", scratch, self.python, *words]
        with self.progress.step(doing) as tick:
            done = self.lock.step(name, argv, timeout_s=self.timeout_s, on_line=lambda line: tick(0, line))
        if (signal := fault.died_of(done.returncode)) is not None:
            raise self._death(signal, doing, done.stderr.decode(errors="replace"))
        return done

    def _death(self, signal: str, doing: str, stderr: str = "") -> DeviceError:
        """Return the error of a process that a signal ended; the device's kernel is asked whether memory ran out."""
        before = self.facts.oom_kills
        now = device_facts.read(self.lock.transport).oom_kills if signal == "SIGKILL" else before
        return fault.death(
            signal, self.facts.host, self.packages or {}, doing,
            out_of_memory=before is not None and now is not None and now > before, output=_last_lines(stderr),
        )  # fmt: skip

    def _error_of(self, answer: Mapping[str, Any]) -> EdgekitError:
        """Return the error that edgekit raised on the device."""
        context = answer.get("context") or {}
        if context.get("signal") in fault.DEADLY:
            return self._death(context["signal"], "measuring")
        message = f"on {self._address}: {answer['message']}"
        error = EdgekitError.from_dict({**answer, "message": message, "context": {}})
        if type(error) is EdgekitError:  # a bug there: its trace is on the device's stderr, which progress has shown
            return DeviceError(error.message, hint=error.hint)
        return error

    def _missing(self, backend: str, done: Completed) -> EnvironmentFault:
        stderr = done.stderr.decode(errors="replace")
        package = KNOWN_PLUGINS.get(backend, f"edgekit-{backend}")
        if "No module named 'edgekit'" in stderr:
            message = f"{self.python} on {self._address} has no edgekit."
        else:
            reason = _last_lines(stderr, 1).strip() or "it gave no reason"
            message = f"edgekit on {self._address} cannot use '{backend}': {reason}"
        return EnvironmentFault(
            message, hint=f"deploy with --bootstrap, or install it there: {self.python} -m pip install {package}"
        )


def find_python(lock: DeviceLock, facts: DeviceFacts, python: str = "") -> str:
    """Return the path of a Python on the device that has edgekit.

    `python` where it is given, else one of the device's own, else that of the private environment that an earlier
    deployment left. Raises EnvironmentFault where there is none.
    """
    if python:
        return python
    with_edgekit = (interpreter.path for interpreter in facts.pythons if "edgekit" in interpreter.packages)
    path = next(with_edgekit, None) or bootstrap.latest(lock)
    if path is None:
        raise EnvironmentFault(
            f"no Python on {facts.address} has edgekit.",
            hint="deploy with --bootstrap, which carries it there, or install it: pip install edgekit",
        )
    return path


def accuracy_failure(report: Report) -> AccuracyFailure:
    """Return the error of a report whose gates failed."""
    return AccuracyFailure(
        f"the outputs on the device differ from the original's: {'; '.join(report.failures)}.",
        hint="export again with another recipe, or report the processor and the runtime's version",
        report=report,
    )


def _json_of(done: Completed) -> dict[str, Any] | None:
    """Return the JSON object that a command printed; None for anything else."""
    try:
        answer = json.loads(done.text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _last_lines(output: str, count: int = 6) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-count:])
