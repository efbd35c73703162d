"""Building: each tool's artifact for a model, made once under a digest of what decides it; failures are kept too."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgekit import cache
from edgekit._record import Record, digest_of, digest_of_file
from edgekit.bench import Entry
from edgekit.bundle import bundle as bundles
from edgekit.errors import UsageError
from edgekit.plugin import Part, Payload
from edgekit.target import host
from models.place import BENCHMARKS, work
from models.subject import Rows, Subject, digest
from suite import makers, tools
from suite.makers import Made
from suite.tools import Tool

PATIENCE_S = 1800
RESULT = "made.json"
BUNDLE = "bundle"


@dataclass(frozen=True)
class Artifact(Record):
    """What a tool made of a model, or why it made nothing."""

    tool: str
    folder: Path | None
    made: Made | None = None
    """None for ours: a bundle tells itself what runs it."""
    seconds: float = 0.0
    versions: dict[str, str] | None = None
    key: str = ""
    failure: str | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def payload(self) -> Payload:
        """Return what the runtime opens; threads are set when it is measured."""
        assert self.folder is not None
        if self.made is None:
            return bundles.open(self.folder / BUNDLE).payload
        return Payload(self.folder, (self.made.file,), Part("model", self.made.file, (), ()), self.made.options)

    @property
    def backend(self) -> str:
        assert self.folder is not None
        if self.made is None:
            return bundles.open(self.folder / BUNDLE).manifest.backend
        return f"suite.runtimes:{self.made.runtime}"

    @property
    def detail(self) -> str | None:
        """Return the name of the candidate that our bundle holds."""
        if self.made is not None or self.folder is None:
            return None
        shipped = bundles.open(self.folder / BUNDLE).report().shipped
        return shipped.name if shipped else None

    @property
    def size_mb(self) -> float:
        """Return the size of what the runtime reads, in MB of 10^6 bytes; torch's is its float weights."""
        if self.made is not None and self.made.size_mb is not None:
            return self.made.size_mb
        payload = self.payload
        files = [payload.folder / name for name in payload.files] if self.made is None else _beside(payload.main)
        return sum(path.stat().st_size for path in files) / 1e6

    def entry(self, title: str, feeds: dict[str, Any], threads: int) -> Entry:
        """Return it as something to measure: on these feeds, with at most so many threads, in its environment."""
        payload = self.payload
        own = payload.options.get("threads")
        options = {**payload.options, "threads": min(own or threads, threads)}
        specs = payload.part.inputs or _specs(feeds)
        fed = {spec.name: feeds[spec.name].astype(spec.numpy_dtype) for spec in specs}
        tool = next(known for known in tools.TOOLS if known.name == self.tool)
        python = None if tool.environment == tools.HERE else tools.python_of(tool.environment)
        payload = replace(payload, part=replace(payload.part, inputs=specs), options=options)
        return Entry(title, self.backend, payload, fed, python=python)


def build(tool: Tool, folder: Path, threads: int, *, again: bool = False, retry: bool = False) -> Artifact:
    """Return the tool's artifact for the subject in `folder`, from the cache where it is there.

    `again` makes it anew, `retry` tries a failed one once more. What the tool says goes to a log, whose last lines are
    the reason of a failure.
    """
    subject = Subject.load(folder)
    log = work() / "logs" / f"{subject.name}-{tool.name}.log"
    base = None
    if tool.name not in (tools.OURS, tools.BASELINE):
        first = build(
            next(known for known in tools.TOOLS if known.name == tools.BASELINE), folder, threads, retry=retry
        )
        if first.folder is None:
            return Artifact(tool.name, None, failure=f"the float graph to start from is missing: {first.failure}")
        base = first.folder
    key = digest_of([_facts(tool, folder, threads), digest_of_file(base / "model.onnx") if base else None])
    failed = work() / "failures" / f"{key}.json"
    if failed.is_file() and not (retry or again):
        return Artifact.from_dict(json.loads(failed.read_text()))
    if again:
        shutil.rmtree(cache.folder() / "steps" / key[:2] / key, ignore_errors=True)
    failed.unlink(missing_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        python = tools.python_of(tool.environment)
        built, _ = cache.fetch(
            key, f"peer-{tool.name}", lambda out: _make(tool, folder, base, out, log, python, threads)
        )
    except (UsageError, Failed) as error:
        failure = Artifact(tool.name, None, key=key, failure=str(error))
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(json.dumps(failure.to_dict(), indent=1) + "\n")
        return failure
    result = json.loads((built / RESULT).read_text())
    kind = Made.from_dict(result["made"]) if result["made"] else None
    return Artifact(tool.name, built, kind, result["seconds"], result["versions"], key)


class Failed(Exception):
    """A process of a tool ended with an error; the text is what it said last."""


def _make(tool: Tool, folder: Path, base: Path | None, out: Path, log: Path, python: Path, threads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="edgekit-suite-") as scratch:
        result = out / RESULT
        if tool.make is None:
            _run(_export(folder, out, scratch, threads), log)
            versions = {name: _version(name) for name in tool.packages}
            seconds = json.loads((Path(scratch) / "told.json").read_text())["seconds"]
            result.write_text(json.dumps({"made": None, "seconds": seconds, "versions": versions}) + "\n")
            return
        call(python, "suite.step", (tool.make.__name__, folder, base or out, out, result, *tool.packages), log)


def call(python: Path | None, module: str, words: Sequence[object], log: Path) -> None:
    """Run a module of the suite in another environment (None: this one). Raises Failed with its last words."""
    log.parent.mkdir(parents=True, exist_ok=True)
    _run([str(python or sys.executable), "-m", module, *map(str, words)], log)


def _export(folder: Path, out: Path, scratch: str, threads: int) -> list[str]:
    """Return the command that makes our bundle; a file tells how long it took."""
    subject = Subject.load(folder)
    script = (
        "import json, subprocess, sys, time; began = time.monotonic(); "
        "code = subprocess.run(sys.argv[2:]).returncode; "
        "open(sys.argv[1], 'w').write(json.dumps({'seconds': time.monotonic() - began})); sys.exit(code)"
    )
    target = "host"
    if threads != host.probe().cores:
        path = Path(scratch) / "host-threads.toml"
        options = "".join(f"[options.{name}]\nthreads = {threads}\n" for name in ("onnxruntime", "openvino"))
        path.write_text(f'extends = "host"\nsummary = "this machine, with {threads} threads"\n{options}')
        target = str(path)
    words = [word.format(folder=folder) for word in subject.export]
    plain = subject.task == "tensor" or subject.kind == "onnx"
    task = [] if plain or subject.kind == "transformers" else ["--task", subject.task]
    return [
        sys.executable, "-c", script, str(Path(scratch) / "told.json"),
        str(Path(sys.executable).parent / "edgekit"), "export", subject.reference, *task, *words,
        "--target", target, "--max-drop", str(subject.allowed), "-o", str(out / BUNDLE),
    ]  # fmt: skip


def _run(command: list[str], log: Path) -> None:
    """Run a tool with its words in the log, in a group of its own, so that nothing of it stays behind."""
    with log.open("w") as file:
        child = subprocess.Popen(
            command, cwd=BENCHMARKS, env=tools.variables(), stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code = child.wait(PATIENCE_S)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failed(f"it took longer than {PATIENCE_S} s") from None
            raise
    if code:
        raise Failed(f"exit code {code}: {tools.last_lines(log)}")


def _facts(tool: Tool, folder: Path, threads: int) -> list[Any]:
    """Return all that decides an artifact: the model and its samples, the tool's code and versions, this machine."""
    common = [tool.name, digest(folder), host.probe().to_dict()]
    if tool.make is None:
        root = BENCHMARKS.parent
        sources = sorted(
            path
            for part in ("edgekit", "plugins", "targets")
            for kind in ("*.py", "*.toml")
            for path in (root / part).rglob(kind)
        )
        samples = [path for path in sorted(folder.glob("evaluation*"))]
        return [*common, threads, [[path.name, digest_of_file(path)] for path in (*sources, *samples)]]
    if tool.environment != tools.HERE:
        return [*common, tools.ENVIRONMENTS[tool.environment], _source(tool.make)]
    return [*common, {name: _version(name) for name in tool.packages}, _source(tool.make)]


def _source(function: Callable[..., Any]) -> list[str]:
    """Return the text of a maker and of what it calls in its module."""
    called = [getattr(makers, name, None) for name in function.__code__.co_names]
    inner = [
        text
        for callee in called
        if inspect.isfunction(callee) and callee.__module__ == makers.__name__
        for text in _source(callee)
    ]
    return [inspect.getsource(function), *inner]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _beside(main: Path) -> list[Path]:
    """Return what a runtime reads with `main`: an IR's weights, a graph's external data."""
    return [
        path
        for path in main.parent.iterdir()
        if path == main or (path.name != RESULT and path.stem in (main.stem, main.name))
    ]


def _specs(feeds: dict[str, Any]) -> tuple[Any, ...]:
    return Rows(feeds, None).specs
