"""The measuring process: one loaded model, driven by JSON lines on stdin, answering JSON lines on what was stdout.

It imports the standard library, numpy, one plugin and its runtime; its imports happen when `open` asks for them, so
that their time is known. File descriptor 1 is pointed at stderr before anything is imported: what a runtime prints
cannot corrupt the protocol. `edgekit.bench.process` holds the other end.
"""

from __future__ import annotations

import builtins
import contextlib
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
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._privacy import no_telemetry
from edgekit.bench.steady import WINDOW_NS, is_steady
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from edgekit.plugin import Backend, Session

_PR_SET_PDEATHSIG = 1


def main(parent: int | None = None) -> None:
    """Serve commands until `close` or the end of stdin; `parent` is the process that must be alive."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    _die_with(parent)
    faulthandler.enable()  # a crash leaves the Python stack in the log
    no_telemetry()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        loaded = _Loaded()
        for line in sys.stdin:
            request = json.loads(line)
            command = request.pop("command")
            answer = _answer(loaded, command, request)
            out.write(json.dumps(answer) + "\n")
            out.flush()
            if command == "close":
                return


def _die_with(parent: int | None) -> None:
    """Have the kernel kill this process when its parent's thread ends; elsewhere the end of stdin must do."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:  # it died before we asked
        raise SystemExit(1)


def _answer(loaded: _Loaded, command: str, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": getattr(loaded, command)(**request)}
    except EdgekitError as error:
        return {"fault": error.to_dict()}
    except MemoryError:
        return {"crash": "memory ran out", "trace": traceback.format_exc()}
    except Exception as error:
        traceback.print_exc()
        return {"crash": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


class _Loaded:
    """The open session and its bound call; each public method is a command."""

    def __init__(self) -> None:
        self._session: Session
        self._call: Callable[[], None]

    def open(self, backend: str, payload: dict[str, Any], feeds: str, names: list[str]) -> dict[str, Any]:
        """Load the model in this fresh process, run it once and bind it; tell how long each part took, in milliseconds.

        `import_ms` counts finding the plugin and every import of numpy, the plugin and its runtime wherever it happens;
        `load_ms` is `Backend.open` without imports; `first_inference_ms` is the first `Session.run`, input to answer.
        Python's own start and edgekit's are not in it, and the files may be in the system's cache.
        """
        with _import_clock() as spent:
            began = time.perf_counter_ns()
            import numpy as np

            from edgekit.plugin import Payload

            plugin = _backend(backend)
            record = Payload.from_dict(payload)
            opening = time.perf_counter_ns()
            imported_before = spent()
            self._session = plugin.open(record)
            loaded = time.perf_counter_ns()
            imported_in_open = spent() - imported_before
            arrays = _read(feeds, names)
            asked = time.perf_counter_ns()
            imported_before = spent()
            self._session.run(arrays)
            answered = time.perf_counter_ns()
            imported_late = spent() - imported_before
        del np
        self._call = self._session.bind(arrays)
        self._call()
        return {
            "cold_start": {
                "import_ms": (opening - began + imported_in_open + imported_late) / 1e6,
                "load_ms": (loaded - opening - imported_in_open) / 1e6,
                "first_inference_ms": (answered - asked - imported_late) / 1e6,
            },
            "shapes": {name: list(value.shape) for name, value in arrays.items()},
            "threads": getattr(self._session, "threads", None),
        }

    def load(self, backend: str, payload: dict[str, Any]) -> None:
        """Load the model and bind nothing: for outputs, not for times."""
        from edgekit.plugin import Payload

        self._session = _backend(backend).open(Payload.from_dict(payload))

    def warm(self, min_seconds: float, max_seconds: float) -> dict[str, Any]:
        """Run until the latency is steady and `min_seconds` have passed, or `max_seconds` have; see
        `edgekit.bench.steady`.
        """
        call, clock = self._call, time.perf_counter_ns
        gc.collect()
        gc.freeze()  # what is loaded stays: looking through it before each round took longer than a short round
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

    def round(self, file: str, milliseconds: float, lead_in_ms: float, most: int) -> dict[str, Any]:
        """Run for `milliseconds` (at least once, at most `most` times) and append the latencies to `file` as native
        int64 nanoseconds.

        Untimed calls for `lead_in_ms` come first: after another model's turn the caches are cold and the threads
        asleep, which is the price of taking turns and not the model's latency. `cpu_seconds` and `preempted` count the
        whole command.
        """
        call, clock = self._call, time.perf_counter_ns
        latencies = array("q")
        add = latencies.append
        before = _usage()
        gc.collect()
        gc.disable()
        try:
            lead_in = clock() + int(lead_in_ms * 1e6)
            while clock() < lead_in:
                call()
            began = now = clock()
            end = began + int(milliseconds * 1e6)
            for _ in range(most):
                start = clock()
                call()
                now = clock()
                add(now - start)
                if now >= end:
                    break
        finally:
            gc.enable()
        after = _usage()
        with Path(file).open("ab") as raw:
            latencies.tofile(raw)
        return {
            "count": len(latencies),
            "seconds": (now - began) / 1e9,
            "median_ns": statistics.median(latencies),
            "cpu_seconds": after[0] - before[0],
            "preempted": after[1] - before[1],
        }

    def precision(self) -> dict[str, Any]:
        """Tell the precision that really runs."""
        return self._session.precision.to_dict()

    def profile(self, feeds: str, names: list[str]) -> list[dict[str, Any]]:
        """Tell the time of each executed layer."""
        return [layer.to_dict() for layer in self._session.profile(_read(feeds, names))]

    def memory(self) -> float | None:
        """Tell the peak of resident memory of this process so far, in MB of 10^6 bytes."""
        return _peak_memory_mb()

    def run(self, feeds: str, names: list[str], outputs: str) -> list[str]:
        """Run once on the feeds of one file and write the outputs to another; tell their names."""
        import numpy as np

        found = self._session.run(_read(feeds, names))
        arrays: Any = {
            str(i): np.asarray(a, dtype=str) if a.dtype == object else a for i, a in enumerate(found.values())
        }
        np.savez(outputs, **arrays)
        return list(found)

    def close(self) -> None:
        """Release the session."""
        session = getattr(self, "_session", None)
        if session is not None:
            session.close()


def _backend(name: str) -> Backend:
    """Give a registered backend by name, or one that is not registered by `package.module:Class`."""
    if ":" not in name:
        from edgekit import registry

        return registry.backend(name)
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot find the backend '{name}': {error}.") from error
    return found() if isinstance(found, type) else found  # type: ignore[no-any-return]  # what a path names is untyped


def _read(feeds: str, names: list[str]) -> dict[str, np.ndarray]:
    """Read the arrays of an npz under their real names, which may not be fit for a file inside an archive."""
    import numpy as np

    with np.load(feeds, allow_pickle=False) as arrays:
        return {name: arrays[str(index)] for index, name in enumerate(names)}


@contextlib.contextmanager
def _import_clock() -> Iterator[Callable[[], int]]:
    """Count the nanoseconds that import statements take while it is open; the yielded call tells them."""
    real, depth, spent = builtins.__import__, 0, 0

    def timed(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        nonlocal depth, spent
        depth += 1
        began = time.perf_counter_ns()
        try:
            return real(name, globals, locals, fromlist, level)
        finally:
            depth -= 1
            if depth == 0:
                spent += time.perf_counter_ns() - began

    builtins.__import__ = timed
    try:
        yield lambda: spent
    finally:
        builtins.__import__ = real


def _usage() -> tuple[float, int]:
    """Give this process's processor seconds, all threads, and how often it was pre-empted."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_nivcsw


def _peak_memory_mb() -> float | None:
    # VmHWM and not ru_maxrss: the latter survives exec, so a large parent would be counted as ours.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


if __name__ == "__main__":
    main()
