"""Deploy a bundle: push it to a device, finish it there, verify it, measure it, fetch the report, clean up.

Several devices are deployed to at once; one that fails does not stop the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import catalog
from edgekit._record import Record
from edgekit.bundle import bundle as bundles
from edgekit.bundle.bundle import Bundle
from edgekit.device import connect
from edgekit.device import facts as device_facts
from edgekit.device.environment import bootstrap
from edgekit.device.facts import DeviceFacts
from edgekit.device.fleet import Device
from edgekit.device.lock.device_lock import DeviceLock
from edgekit.device.remote import STEP_S, Remote, accuracy_failure, find_python
from edgekit.errors import ArtifactError, EdgekitError, UsageError
from edgekit.progress import Progress, Silent
from edgekit.result.report import Report


@dataclass(frozen=True)
class Settings:
    """How to deploy."""

    bootstrap: bool = False
    """Prepare a private environment on the device; otherwise the edgekit that is installed there is used."""
    clean: bool = False
    """Remove everything of edgekit's from the device at the end, the private environment too."""
    keep: bool = False
    """Leave the finished bundle on the device."""
    python: str = ""
    """The Python to use on the device; empty for the one that is found."""
    pins: tuple[str, ...] = ()
    """Requirements of the private environment that override edgekit's own, as `onnxruntime==1.20.1`."""
    bench: bool = True
    bench_options: tuple[str, ...] = ()
    """Further arguments of `edgekit bench` on the device."""
    timeout_s: float = STEP_S
    """The time limit of each step on the device."""


@dataclass(frozen=True)
class Outcome(Record):
    """The result of a deployment to one device."""

    name: str
    address: str
    exit_code: int
    """0, or the exit code of the fault."""
    seconds: float
    bytes_sent: int = 0
    report: Report | None = None
    """What was verified and measured there; also of a device whose gate failed."""
    facts: DeviceFacts | None = None
    python: str | None = None
    bundle: str | None = None
    """The bundle's path on the device, where it was kept."""
    fault: Mapping[str, Any] | None = None
    """What went wrong, as `EdgekitError.to_dict` writes it."""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass
class _State:
    """The results of a deployment so far: a failed one reports them too."""

    sent: int = 0
    facts: DeviceFacts | None = None
    python: str | None = None
    kept: str | None = None
    report: Report | None = None
    notes: list[str] = field(default_factory=list)


def deploy(
    path: str | Path,
    devices: Sequence[Device],
    settings: Settings | None = None,
    *,
    progress: Callable[[Device], Progress] | None = None,
) -> tuple[Outcome, ...]:
    """Deploy a bundle to every device, all at once, and return an outcome for each, in their order.

    What goes wrong on a device is in its outcome. Raises UsageError or ArtifactError when the bundle cannot be read.
    """
    if not devices:
        raise UsageError("no device is given.", hint="name one: --device ssh://user@host")
    bundle = bundles.open(path, check=False)
    bundles.check_files(bundle.path, bundle.manifest)
    settings, progress_of = settings or Settings(), progress or (lambda _: Silent())
    if len(devices) == 1:
        return (_outcome(bundle, devices[0], settings, progress_of(devices[0])),)
    results: list[Outcome | BaseException | None] = [None] * len(devices)

    def work(index: int) -> None:
        try:
            results[index] = _outcome(bundle, devices[index], settings, progress_of(devices[index]))
        except BaseException as error:  # a bug of ours is raised when the other devices are done
            results[index] = error

    # Daemons: an interrupted command ends at once, and what runs on a device ends with its connection.
    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(devices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return tuple(result for result in results if isinstance(result, Outcome))


def run_on_device(
    address: str, verb: str, paths: Sequence[str], words: Sequence[str] = (), *, python: str = "",
    timeout_s: float = STEP_S, progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Verify or measure bundles that are on a device, and return its report.

    `paths` are relative to the home folder on the device; `words` are further arguments of the verb.
    """
    progress = progress or Silent()
    with connect(address) as transport, DeviceLock(transport, note=progress.note) as lock:
        with progress.step("looking at the device"):
            facts = device_facts.read(transport, python=python)
        remote = Remote(lock, facts, find_python(lock, facts, python), progress, timeout_s)
        absolute = [path if path.startswith("/") else f"{facts.home}/{path}" for path in paths]
        try:
            return remote.report(verb, [*absolute, *words], {"verify": "verifying", "bench": "measuring"}[verb])
        finally:
            lock.remove("tmp")


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 when every deployment succeeded, else the code of the first that failed, in the order given."""
    return next((outcome.exit_code for outcome in outcomes if not outcome.ok), 0)


def _outcome(bundle: Bundle, device: Device, settings: Settings, progress: Progress) -> Outcome:
    started, state = time.monotonic(), _State()
    fault: EdgekitError | None = None
    try:
        _deploy(bundle, device, settings, progress, state)
        if state.report is not None and state.report.failures:
            raise accuracy_failure(state.report)
    except EdgekitError as error:
        error.context.pop("report", None)
        fault = error
    return Outcome(
        name=device.name,
        address=device.address,
        exit_code=0 if fault is None else fault.exit_code,
        seconds=round(time.monotonic() - started, 2),
        bytes_sent=state.sent,
        report=state.report,
        facts=state.facts,
        python=state.python,
        bundle=state.kept,
        fault=None if fault is None else fault.to_dict(),
        notes=tuple(state.notes),
    )


def _deploy(bundle: Bundle, device: Device, settings: Settings, progress: Progress, state: _State) -> None:
    python = settings.python or device.python or ""
    with connect(device.address) as transport, DeviceLock(transport, note=progress.note) as lock:
        try:
            with progress.step("looking at the device"):
                state.facts = facts = device_facts.read(transport, python=python)
            _check(bundle, device, facts, state)
            remote = _remote(lock, bundle, facts, python, settings, progress, state)
            _verify(remote, bundle, settings, state)
        finally:
            state.sent = lock.sent
            if settings.clean:
                lock.clean()
            else:
                lock.remove("bundles")
                lock.remove("tmp")


def _check(bundle: Bundle, device: Device, facts: DeviceFacts, state: _State) -> None:
    """Raise ArtifactError, before anything is sent, for a device that cannot run the bundle; note a wrong target."""
    problems = bundles.unmet_by_processor(bundle.manifest.requires, facts.host)
    if problems:
        raise ArtifactError(
            f"the bundle '{bundle.path}' was made for '{bundle.manifest.target.name}' and does not run on "
            f"{facts.address}:" + "".join(f"\n  - {problem}" for problem in problems),
            hint=f"see which target fits with `edgekit devices probe {device.address}`, and export for that",
        )
    if device.target and (reasons := catalog.target(device.target).mismatches(facts.host)):
        state.notes.append(f"the fleet file lists this device as '{device.target}': {'; '.join(reasons)}")


def _remote(
    lock: DeviceLock,
    bundle: Bundle,
    facts: DeviceFacts,
    python: str,
    settings: Settings,
    progress: Progress,
    state: _State,
) -> Remote:
    """Return edgekit on the device: in a private environment, or as it is installed there."""
    if settings.bootstrap:
        environment = bootstrap.prepare(lock, bundle, facts, python=python, pins=settings.pins, progress=progress)
        state.notes += environment.notes
        remote = Remote(lock, facts, environment.python, progress, settings.timeout_s, environment.packages)
    else:
        remote = Remote(lock, facts, find_python(lock, facts, python), progress, settings.timeout_s)
    state.python = remote.python
    state.notes += remote.check(bundle.manifest.backend)
    return remote


def _verify(remote: Remote, bundle: Bundle, settings: Settings, state: _State) -> None:
    """Send the bundle, then finish, verify and measure it on the device; the last report goes into `state`."""
    with remote.progress.step("sending the bundle"):
        sent = remote.lock.push_bundle(bundle.path)
    if bundle.manifest.portable:
        finished = remote.report("finish", [sent], "finishing")
        state.report = _renamed(finished, bundle, state)
        if finished.failures:
            return
    verified = remote.report("verify", [sent], "verifying")
    state.report = report = _renamed(verified, bundle, state)
    if settings.bench and not report.failures:
        measured = remote.report("bench", [sent, *settings.bench_options], "measuring")
        state.report = _renamed(_merged(verified, measured), bundle, state)
    if settings.keep and not report.failures:
        state.kept = remote.keep(sent, bundle.path.resolve().name)


def _merged(verified: Report, measured: Report) -> Report:
    """Return the report of the measurement with the quality and the precision that the verification found."""
    subject = verified.candidates[0]
    merged = (
        replace(candidate, quality=subject.quality, effective=candidate.effective or subject.effective)
        for candidate in measured.candidates
    )
    return replace(measured, candidates=tuple(merged))


def _renamed(report: Report, bundle: Bundle, state: _State) -> Report:
    """Return the report with the bundle's path here as the candidate's name, and with the notes on the device."""
    candidates = tuple(replace(candidate, name=str(bundle.path)) for candidate in report.candidates)
    notes = tuple(dict.fromkeys((*report.notes, *state.notes)))
    return replace(report, kind="deploy", candidates=candidates, notes=notes)
