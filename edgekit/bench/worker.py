"""The measuring process: one loaded model, driven by JSON lines on stdin, answering JSON lines on what was stdout.

It imports the standard library, numpy, one plugin and its runtime. They are imported by `open`, so that their time can
be measured. File descriptor 1 is redirected to stderr before anything is imported, so that a runtime's output cannot
corrupt the protocol. `edgekit.bench.process` is the other end.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._privacy import no_telemetry
from edgekit._process import die_with
from edgekit.bench import arrivals, usage
from edgekit.bench.steady import WINDOW_NS, is_steady
from edgekit.errors import ArtifactError, EdgekitError, UnsupportedError, UsageError
from edgekit.spec import storable

if TYPE_CHECKING:
    import numpy as np

    from edgekit.plugin import Backend
    from edgekit.runner import Program, Runner

_Names = tuple[str, list[str]]
"""A part, and the names of its inputs."""


def main(parent: int | None = None) -> None:
    """Execute commands until `close` or the end of stdin; the process ends with its `parent`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent handles it
    die_with(parent)
    faulthandler.enable()  # a crash leaves the Python stack in the log
    no_telemetry()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        model = _LoadedModel()
        for line in sys.stdin:
            request = json.loads(line)
            command = request.pop("command")
            answer = _answer(model, command, request)
            out.write(json.dumps(answer) + "\n")
            out.flush()
            if command == "close":
                return


def _answer(model: _LoadedModel, command: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": getattr(model, command)(**request)}
    except EdgekitError as error:
        return {"fault": error.to_dict()}
    except MemoryError:
        return {"crash": "memory ran out", "trace": traceback.format_exc()}
    except Exception as error:
        traceback.print_exc()
        return {"crash": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def _opened(program: Program, backend: Backend) -> Runner:
    """Return the runner. Raises ArtifactError for options that the backend refuses: they are in the bundle."""
    try:
        return program.open(backend)
    except UsageError as error:
        raise ArtifactError(
            f"the model cannot be opened: {error.message}", hint="copy or export the bundle again"
        ) from error


class _LoadedModel:
    """The open session and its bound calls; each public method is a command."""

    def __init__(self) -> None:
        self._runner: Runner
        self._calls: list[Callable[[], None]]

    def open(
        self, backend: str, program: dict[str, Any], feeds: str, calls: list[_Names], streams: int = 1
    ) -> dict[str, Any]:
        """Load the model in this new process, run it once and bind it `streams` times; return each part's milliseconds.

        `import_ms` counts finding the plugin and every import of numpy, the plugin and its runtime wherever it happens;
        `load_ms` is `Backend.open` without imports; `first_inference_ms` is the first `Session.run`, input to answer.
        The start of Python and of edgekit is not included, and the files may be in the system's cache.
        """
        with usage.import_clock() as spent:
            began = time.perf_counter_ns()
            import numpy as np

            from edgekit.plugin import Threaded
            from edgekit.runner import Program

            plugin = _backend(backend)
            record = Program.from_dict(program)
            opening = time.perf_counter_ns()
            imported_before = spent()
            self._runner = _opened(record, plugin)
            loaded = time.perf_counter_ns()
            imported_in_open = spent() - imported_before
            trace = _read(feeds, calls)
            run_began = time.perf_counter_ns()
            imported_before = spent()
            self._runner.replay(trace)
            run_ended = time.perf_counter_ns()
            imported_late = spent() - imported_before
        del np
        if streams > 1 and record.states:
            raise UnsupportedError(
                "a model with states runs one sample at a time.", hint="measure it with one stream: leave out --streams"
            )
        self._calls = [self._runner.bind(trace) for _ in range(streams)]
        for call in self._calls:
            call()
        session = next(iter(self._runner.sessions.values()))
        return {
            "cold_start": {
                "import_ms": (opening - began + imported_in_open + imported_late) / 1e6,
                "load_ms": (loaded - opening - imported_in_open) / 1e6,
                "first_inference_ms": (run_ended - run_began - imported_late) / 1e6,
            },
            "shapes": {name: list(value.shape) for name, value in trace[0][1].items()},
            "threads": session.threads if isinstance(session, Threaded) else None,
        }

    def load(self, backend: str, program: dict[str, Any]) -> None:
        """Load the model without binding it: for outputs, not for times."""
        from edgekit.runner import Program

        self._runner = _opened(Program.from_dict(program), _backend(backend))

    def warm(self, min_seconds: float, max_seconds: float) -> dict[str, Any]:
        """Run until the latency is steady after `min_seconds`, or until `max_seconds`; see `edgekit.bench.steady`."""
        call, clock = self._calls[0], time.perf_counter_ns
        gc.collect()
        gc.freeze()  # what is loaded stays: scanning it before each round took longer than a short round
        count, medians = 0, []
        began = now = clock()
        while True:
            window: list[int] = []
            opened = now
            while not window or now - opened < WINDOW_NS:
                before = clock()
                call()
                now = clock()
                window.append(now - before)
            count += len(window)
            medians.append(statistics.median(window))
            steady = is_steady(medians)
            if (steady and now - began >= min_seconds * 1e9) or now - began >= max_seconds * 1e9:
                return {
                    "count": count,
                    "converged": steady,
                    "seconds": (now - began) / 1e9,
                    "median_ns": medians[-1],
                }

    def round(
        self, file: str, milliseconds: float, lead_in_ms: float, most: int, period_ms: float | None = None
    ) -> dict[str, Any]:
        """Run for `milliseconds` and append the latencies to `file` as native int64 nanoseconds.

        At least once and at most `most` times in each stream; see `edgekit.bench.arrivals`. With `period_ms` inferences
        arrive by schedule, and the times without waits go to `file` with `.service` behind its name.

        Untimed calls for `lead_in_ms` come first: after another model's round the caches are cold and the threads
        asleep, which is a cost of interleaving and not of the model. `cpu_seconds` and `preempted` count the whole
        command; `began_s` is by `time.monotonic`.
        """
        call, length = self._calls[0], int(milliseconds * 1e6)
        before = usage.used()
        gc.collect()
        gc.disable()
        try:
            lead_in = time.perf_counter_ns() + int(lead_in_ms * 1e6)
            while time.perf_counter_ns() < lead_in:
                call()
            offset_s = time.monotonic() - time.perf_counter()
            if period_ms is not None:
                times = arrivals.paced(call, length, period_ms * 1e6)
            elif len(self._calls) > 1:
                times = arrivals.parallel(self._calls, length, most)
            else:
                times = arrivals.closed(call, length, most)
        finally:
            gc.enable()
        after = usage.used()
        for path, values in ((file, times.latencies), (f"{file}.service", times.service)):
            if values:
                with Path(path).open("ab") as raw:
                    values.tofile(raw)
        return {
            "count": len(times.latencies),
            "began_s": times.began / 1e9 + offset_s,
            "seconds": (times.ended - times.began) / 1e9,
            "median_ns": statistics.median(times.latencies),
            "cpu_seconds": after[0] - before[0],
            "preempted": after[1] - before[1],
            "left": times.left,
        }

    def precision(self) -> dict[str, Any]:
        """Return the precision that really runs."""
        return self._runner.precision.to_dict()

    def profile(self, feeds: str, calls: list[_Names]) -> list[dict[str, Any]]:
        """Return the time of each executed layer."""
        return [layer.to_dict() for layer in self._runner.profile(_read(feeds, calls))]

    def part_times(self, feeds: str, calls: list[_Names]) -> list[dict[str, Any]]:
        """Return the time of each part's calls."""
        return [each.to_dict() for each in self._runner.part_times(_read(feeds, calls))]

    def memory(self) -> float | None:
        """Return the peak of resident memory of this process so far, in MB of 10^6 bytes."""
        return usage.peak_memory_mb()

    def replay(self, feeds: str, calls: list[_Names], outputs: str) -> list[list[str]]:
        """Run the calls of one file and write their outputs to another; return the names of each call's."""
        import numpy as np

        results = self._runner.replay(_read(feeds, calls))
        arrays: Any = {
            str(index): storable(array)
            for index, array in enumerate(array for values in results for array in values.values())
        }
        np.savez(outputs, **arrays)
        return [list(values) for values in results]

    def end_to_end(self, file: str, raw: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Run from the raw sample to its answer for `seconds`; see `edgekit.bench.end_to_end.run`."""
        from edgekit.bench import end_to_end

        return end_to_end.run(self._runner, raw, seconds, Path(file))

    def generation(self, feeds: str, calls: list[_Names], file: str, seconds: float, memory: bool) -> float | None:
        """Time each call of one sample for `seconds`; return how fast memory is, in GB a second, with `memory`."""
        from edgekit.bench import generation

        generation.run(self._runner, _read(feeds, calls), seconds, Path(file))
        return generation.memory_gb_per_s() if memory else None

    def close(self) -> None:
        """Release the sessions."""
        runner = getattr(self, "_runner", None)
        if runner is not None:
            runner.close()


def _backend(name: str) -> Backend:
    """Return a registered backend by its name, or any other by `package.module:Class`."""
    if ":" not in name:
        from edgekit import registry

        return registry.backend(name)
    module, _, attribute = name.partition(":")
    try:
        backend: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"cannot find the backend '{name}': {error}.", hint="give it as package.module:attribute"
        ) from error
    return backend() if isinstance(backend, type) else backend  # type: ignore[no-any-return]  # an import by name


def _read(feeds: str, calls: list[_Names]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Return the calls of an npz with the real names of their arrays, which may not be valid inside an archive."""
    import numpy as np

    with np.load(feeds, allow_pickle=False) as arrays:
        count = iter(range(len(arrays.files)))
        return [(part, {name: arrays[str(next(count))] for name in names}) for part, names in calls]


if __name__ == "__main__":
    main()
