"""The parent's end of a measuring process: start it, send it commands, and stop it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgekit._files import remove_leftovers, temporary_folder
from edgekit.bench import worker_fault
from edgekit.bench.child import command_line
from edgekit.errors import DeviceError, EdgekitError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision
from edgekit.runner import Fed, PartTime, Program, trace_of
from edgekit.spec import MODEL, Call, storable

if TYPE_CHECKING:
    import numpy as np

PREFIX = "edgekit-bench"


class Worker:
    """A new process with one loaded model. Use it as a context manager; start it from a thread that outlives it.

    `backend` is a registered backend's name, or `package.module:Class`; `python` is another environment's interpreter
    (see `edgekit.bench.child`). Every method raises the EdgekitError that the plugin raised there, or DeviceError when
    the process died, did not answer within `timeout_s`, or the runtime failed.
    """

    def __init__(self, backend: str, *, python: Path | None = None, timeout_s: float = 600) -> None:
        self.backend = backend
        self.python = python
        self.timeout_s = timeout_s
        self._doing = "starting"
        self._buffer = b""
        # Nothing else removes the folder of a process that was killed.
        remove_leftovers(Path(tempfile.gettempdir()), PREFIX)
        self._claim = contextlib.ExitStack()
        self._folder = self._claim.enter_context(temporary_folder(Path(tempfile.gettempdir()), PREFIX))
        self._log = self._folder / "log"
        self.raw_file = self._folder / "latencies.i64"
        """The latencies of every round in order, native int64 nanoseconds."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    def start(self) -> None:
        """Start the process; `open` does it when it is not running yet."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command_line(self.python),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # A runtime's temporary files are removed with our folder, also when the process is killed.
                env=os.environ | {"TMPDIR": str(self._folder)},
                bufsize=0,
            )

    def open(self, payload: Payload | Program, feeds: Fed, *, streams: int = 1) -> dict[str, Any]:
        """Load the model, bind `feeds` once for each stream and run; return `cold_start`, `shapes` and `threads`."""
        program = Program.of(payload)
        if self._process is None:
            self.start()
        answer: dict[str, Any] = self._ask(
            "open",
            "loading the model",
            backend=self.backend,
            program=_absolute(program),
            streams=streams,
            **self._write(feeds),
        )
        return answer

    def load(self, payload: Payload | Program) -> None:
        """Load the model for `run` and `precision` alone: nothing is bound, so nothing can be timed."""
        if self._process is None:
            self.start()
        self._ask("load", "loading the model", backend=self.backend, program=_absolute(Program.of(payload)))

    def warm(self, *, min_seconds: float, max_seconds: float) -> dict[str, Any]:
        """Run until the latency is steady; return `count`, `converged`, `seconds` and the last window's `median_ns`."""
        answer: dict[str, Any] = self._ask("warm", "warming up", min_seconds=min_seconds, max_seconds=max_seconds)
        return answer

    def round(
        self, milliseconds: float, *, lead_in_ms: float = 0.0, most: int = 1_000_000, period_ms: float | None = None
    ) -> dict[str, Any]:
        """Time a round; return `count`, `began_s`, `seconds`, `median_ns`, `cpu_seconds` and `preempted`.

        Latencies go to `raw_file`. With `period_ms` inferences arrive by schedule, and `left` counts those that were
        never run.
        """
        answer: dict[str, Any] = self._ask(
            "round",
            "measuring",
            file=str(self.raw_file),
            milliseconds=milliseconds,
            lead_in_ms=lead_in_ms,
            most=most,
            period_ms=period_ms,
        )
        return answer

    def latencies_ns(self) -> np.ndarray:
        """Return the latencies of all rounds so far, int64 [count]."""
        import numpy as np

        return np.fromfile(self.raw_file, dtype=np.int64)

    def service_ns(self) -> np.ndarray:
        """Return the times of the inferences of all paced rounds, without their waits, int64 [count]."""
        import numpy as np

        return np.fromfile(f"{self.raw_file}.service", dtype=np.int64)

    def end_to_end(self, raw: Mapping[str, Any], *, seconds: float) -> np.ndarray:
        """Run from a raw sample to its answer; return the nanoseconds of each part, int64 [count, 3].

        See `edgekit.bench.end_to_end`; `raw` is the result of its `plain`.
        """
        import numpy as np

        file = self._folder / "end_to_end.i64"
        self._ask("end_to_end", "measuring from end to end", file=str(file), raw=raw, seconds=seconds)
        return np.fromfile(file, dtype=np.int64).reshape(-1, 3)

    def generation(self, fed: Fed, **given: Any) -> tuple[np.ndarray, float | None]:
        """Return the nanoseconds of each call, int64 [runs, calls], and the memory's GB a second (bench.generation)."""
        import numpy as np

        file = self._folder / "generation.i64"
        memory = self._ask("generation", "measuring generation", file=str(file), **given, **self._write(fed))
        return np.fromfile(file, dtype=np.int64).reshape(-1, len(trace_of(fed))), memory

    def precision(self) -> Precision:
        """Return the precision that really runs, by the runtime."""
        return Precision.from_dict(self._ask("precision", "reporting its precision"))

    def profile(self, feeds: Fed) -> tuple[LayerTime, ...]:
        """Return the time of each executed layer. Raises UnsupportedError where the backend cannot profile."""
        layers = self._ask("profile", "profiling", **self._write(feeds))
        return tuple(LayerTime.from_dict(layer) for layer in layers)

    def part_times(self, feeds: Fed) -> tuple[PartTime, ...]:
        """Return the time of each part's calls in one run."""
        times = self._ask("part_times", "timing its parts", **self._write(feeds))
        return tuple(PartTime.from_dict(each) for each in times)

    def peak_memory_mb(self) -> float | None:
        """Return the peak of resident memory so far, in MB of 10^6 bytes, interpreter, numpy and runtime included."""
        peak: float | None = self._ask("memory", "reporting its memory")
        return peak

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once on other feeds and return every output: `Session.run`, in the other process."""
        return self.replay([(MODEL, feeds)])[0]

    def replay(self, trace: Sequence[Call]) -> list[dict[str, np.ndarray]]:
        """Run the calls of one sample and return the outputs of each: `Runner.replay`, in the other process."""
        import numpy as np

        outputs = self._folder / "outputs.npz"
        calls = self._ask("replay", "running", outputs=str(outputs), **self._write(trace))
        with np.load(outputs, allow_pickle=False) as arrays:
            values = iter(range(len(arrays.files)))
            return [{name: arrays[str(next(values))] for name in names} for names in calls]

    def pause(self) -> None:
        """Stop the process until `resume`, so that it uses no processor while another is measured.

        Waiting on its pipe is not enough: onnxruntime's threads spin for about 40 ms after an inference, on a whole
        core.
        """
        if sys.platform == "linux" and self._process is not None:  # elsewhere a stopped orphan would stay for ever
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process after `pause`."""
        if sys.platform == "linux" and self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the process, by a command first, and remove its files; it may be called at any time, more than once."""
        self.resume()
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(OSError):
                process.stdin.write(b'{"command": "close"}\n')
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._claim.close()

    def kill(self) -> None:
        """End the process at once, as after Ctrl-C."""
        if self._process is not None:
            self._process.kill()
        self.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def _write(self, fed: Fed) -> dict[str, Any]:
        """Write calls to a file for the process, and return the file, the parts and the names for the request.

        Names are sent in the request, as an archive cannot have every name.
        """
        import numpy as np

        path = self._folder / "feeds.npz"
        arrays: dict[str, Any] = {}
        trace = trace_of(fed)
        for index, array in enumerate(array for _, feeds in trace for array in feeds.values()):
            arrays[str(index)] = storable(array)
        np.savez(path, **arrays)
        return {"feeds": str(path), "calls": [[part, list(feeds)] for part, feeds in trace]}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise UsageError("the measuring process is closed; open a model first.", hint="call open again")
        return self._process

    def _ask(self, command: str, doing: str, **arguments: Any) -> Any:
        process = self._running()
        self._doing = doing
        assert process.stdin is not None
        line = json.dumps({"command": command, **arguments}) + "\n"
        try:
            process.stdin.write(line.encode())
        except OSError:  # the pipe is broken: the process died, and its exit code says more
            raise self._death(process) from None
        answer = json.loads(self._line(process))
        if "fault" in answer:
            raise EdgekitError.from_dict(answer["fault"])
        if "crash" in answer:
            raise DeviceError(
                f"'{self.backend}' failed while {doing}: {answer['crash']}.",
                hint="the trace is in the error's context; `edgekit doctor` checks the runtime",
                backend=self.backend,
                trace=answer["trace"],
            )
        return answer["ok"]

    def _line(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        end = time.monotonic() + self.timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                process.kill()
                raise DeviceError(
                    f"'{self.backend}' did not answer within {self.timeout_s:g} s while {self._doing}.",
                    hint="measure a smaller model, or allow more time",
                    backend=self.backend,
                    log=self._log_text(),
                )
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._death(process)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self, process: subprocess.Popen[bytes]) -> DeviceError:
        return worker_fault.death(process.wait(), self._log_text(), backend=self.backend, doing=self._doing)

    def _log_text(self, most: int = 10_000) -> str:
        with contextlib.suppress(OSError):
            return self._log.read_text(errors="replace")[-most:]
        return ""


def _absolute(program: Program) -> dict[str, Any]:
    payloads = tuple(replace(payload, folder=payload.folder.absolute()) for payload in program.payloads)
    return replace(program, payloads=payloads).to_dict()
