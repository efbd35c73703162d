"""Deploy a bundle: push it to a device, finish it there, prove it, measure it, bring the report back, leave nothing.

Several devices are worked on at once; one that fails does not stop the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit import catalog, device
from edgekit._record import Record
from edgekit.bundle import bundle as artifact
from edgekit.bundle.bundle import Bundle
from edgekit.device import facts as probe
from edgekit.device.environment import bootstrap
from edgekit.device.facts import Facts
from edgekit.device.fleet import Device
from edgekit.device.lock.device_lock import Board
from edgekit.device.remote import STEP_S, Remote, failed, own_python
from edgekit.errors import ArtifactError, EdgekitError, UsageError
from edgekit.progress import Progress, Silent
from edgekit.result.report import Report


@dataclass(frozen=True)
class Settings:
    """How to deploy."""

    bootstrap: bool = False
    """Prepare a private environment on the device; else its own edgekit is used."""
    clean: bool = False
    """Remove all that edgekit has on the device, the private environment too, when it is done."""
    keep: bool = False
    """Leave the bundle on the device, finished."""
    python: str = ""
    pins: tuple[str, ...] = ()
    """Requirements of the private environment that come before edgekit's own, as `onnxruntime==1.20.1`."""
    bench: bool = True
    bench_options: tuple[str, ...] = ()
    """Words for `edgekit bench` on the device."""
    timeout_s: float = STEP_S
    """What each step may take there."""


@dataclass(frozen=True)
class Outcome(Record):
    """How a deployment to one device went."""

    name: str
    address: str
    exit_code: int
    """0, or the code that the fault has."""
    seconds: float
    bytes_sent: int = 0
    report: Report | None = None
    """What was proved and measured there; also of a device whose gate failed."""
    facts: Facts | None = None
    python: str | None = None
    bundle: str | None = None
    """Where the bundle stays on the device, if it does."""
    fault: Mapping[str, Any] | None = None
    """What went wrong, in the form of an error's JSON."""
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass
class _State:
    """What is known of a deployment so far, so that a failed one can tell it."""

    sent: int = 0
    facts: Facts | None = None
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
    """Deploy a bundle to every device, all at once, and give an outcome for each, in their order.

    What goes wrong on a device is in its outcome. Raises UsageError or ArtifactError for a bundle that is none.
    """
    if not devices:
        raise UsageError("no device is given.", hint="name one: --device ssh://user@host")
    bundle = artifact.open(path, check=False)
    artifact.check_files(bundle.path, bundle.manifest)
    settings, make = settings or Settings(), progress or (lambda _: Silent())
    if len(devices) == 1:
        return (_outcome(bundle, devices[0], settings, make(devices[0])),)
    found: list[Outcome | BaseException | None] = [None] * len(devices)

    def work(index: int) -> None:
        try:
            found[index] = _outcome(bundle, devices[index], settings, make(devices[index]))
        except BaseException as error:  # a bug of ours is raised when the other devices are done
            found[index] = error

    # Daemons: an interrupted command ends at once, and what runs on a device ends with its connection.
    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(len(devices))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return tuple(one for one in found if isinstance(one, Outcome))


def elsewhere(
    address: str, verb: str, paths: Sequence[str], words: Sequence[str] = (), *, python: str = "",
    timeout_s: float = STEP_S, progress: Progress | None = None,
) -> Report:  # fmt: skip
    """Verify or measure bundles that are on a device, and give its report; `paths` count from its home folder."""
    progress = progress or Silent()
    with device.connect(address) as transport, Board(transport, note=progress.note) as board:
        with progress.step("looking at the device"):
            facts = probe.read(transport, python=python)
        remote = Remote(board, facts, own_python(board, facts, python), progress, timeout_s)
        there = [path if path.startswith("/") else f"{facts.home}/{path}" for path in paths]
        try:
            return remote.report(verb, [*there, *words], {"verify": "verifying", "bench": "measuring"}[verb])
        finally:
            board.remove("tmp")


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Give 0 when all is right, else the code of the first device that failed, in the order they were given."""
    return next((outcome.exit_code for outcome in outcomes if not outcome.ok), 0)


def _outcome(bundle: Bundle, one: Device, settings: Settings, progress: Progress) -> Outcome:
    begun, state = time.monotonic(), _State()
    fault: EdgekitError | None = None
    try:
        _deploy(bundle, one, settings, progress, state)
        if state.report is not None and state.report.failures:
            raise failed(state.report)
    except EdgekitError as error:
        fault = error
    told = None
    if fault is not None:
        fault.context.pop("report", None)
        told = fault.to_dict()
    return Outcome(
        name=one.name,
        address=one.address,
        exit_code=0 if fault is None else fault.exit_code,
        seconds=round(time.monotonic() - begun, 2),
        bytes_sent=state.sent,
        report=state.report,
        facts=state.facts,
        python=state.python,
        bundle=state.kept,
        fault=told,
        notes=tuple(state.notes),
    )


def _deploy(bundle: Bundle, one: Device, settings: Settings, progress: Progress, state: _State) -> None:
    python = settings.python or one.python or ""
    with device.connect(one.address) as transport, Board(transport, note=progress.note) as board:
        try:
            with progress.step("looking at the device"):
                state.facts = facts = probe.read(transport, python=python)
            _check(bundle, one, facts, state)
            remote = _remote(board, bundle, facts, python, settings, progress, state)
            _prove(remote, bundle, settings, state)
        finally:
            state.sent = board.sent
            if settings.clean:
                board.clean()
            else:
                board.remove("bundles")
                board.remove("tmp")


def _check(bundle: Bundle, one: Device, facts: Facts, state: _State) -> None:
    """Refuse a device on which the bundle cannot run before anything is sent; note what it is not."""
    problems = artifact.lacking(bundle.manifest.requires, facts.host)
    if problems:
        raise ArtifactError(
            f"the bundle '{bundle.path}' was made for '{bundle.manifest.target.name}' and does not run on "
            f"{facts.address}:" + "".join(f"\n  - {problem}" for problem in problems),
            hint=f"see which target fits with `edgekit devices probe {one.address}`, and export for that",
        )
    if one.target and (reasons := catalog.target(one.target).mismatches(facts.host)):
        state.notes.append(f"the fleet says that this is '{one.target}': {'; '.join(reasons)}")


def _remote(
    board: Board, bundle: Bundle, facts: Facts, python: str, settings: Settings, progress: Progress, state: _State
) -> Remote:
    """Give edgekit on the device: in a private environment, or its own."""
    if settings.bootstrap:
        made = bootstrap.prepare(board, bundle, facts, python=python, pins=settings.pins, progress=progress)
        state.notes += made.notes
        remote = Remote(board, facts, made.python, progress, settings.timeout_s, made.packages)
    else:
        remote = Remote(board, facts, own_python(board, facts, python), progress, settings.timeout_s)
    state.python = remote.python
    state.notes += remote.check(bundle.manifest.backend)
    return remote


def _prove(remote: Remote, bundle: Bundle, settings: Settings, state: _State) -> None:
    board = remote.board
    with remote.progress.step("sending the bundle"):
        there = board.push_bundle(bundle.path)
    if bundle.manifest.portable:
        finished = remote.report("finish", [there], "finishing")
        state.report = _named(finished, bundle, state)
        if finished.failures:
            return
    verified = remote.report("verify", [there], "verifying")
    state.report = report = _named(verified, bundle, state)
    if settings.bench and not report.failures:
        measured = remote.report("bench", [there, *settings.bench_options], "measuring")
        state.report = _named(_joined(verified, measured), bundle, state)
    if settings.keep and not report.failures:
        state.kept = remote.keep(there, bundle.path.resolve().name)


def _joined(verified: Report, measured: Report) -> Report:
    """Give one report of both: the measurements, with the quality and the precision that were found."""
    proved = verified.candidates[0]
    joined = (
        replace(one, quality=proved.quality, effective=one.effective or proved.effective) for one in measured.candidates
    )
    return replace(measured, candidates=tuple(joined))


def _named(report: Report, bundle: Bundle, state: _State) -> Report:
    """Call the candidate by the bundle's name here, and say what is known of the device."""
    candidates = tuple(replace(one, name=str(bundle.path)) for one in report.candidates)
    notes = tuple(dict.fromkeys((*report.notes, *state.notes)))
    return replace(report, kind="deploy", candidates=candidates, notes=notes)
