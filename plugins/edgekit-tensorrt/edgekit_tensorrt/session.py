"""The device side: open an engine, run it, bind it, profile it. Needs the board's TensorRT, its driver and numpy.

A bound call is one complete, synchronised inference: the inputs are copied to the GPU from page-locked memory, the
engine runs, the outputs are copied back, and the call waits for the stream. Where the engine can be captured, these
steps are one CUDA graph with one launch, instead of a launch for each kernel.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision, TensorSpec, check_feeds
from edgekit_tensorrt import cuda, engine_builder, engine_info, engine_layers, runtime
from edgekit_tensorrt.binding import DTYPES, Binding, LoadedEngine
from edgekit_tensorrt.layers import precision
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan
from edgekit_tensorrt.states import StateMemory, Stepping

if TYPE_CHECKING:
    import numpy as np

AHEAD = "model.engine"
"""The engine that TensorRT for RTX compiled ahead of time, without the device: the build side's `preflight.ENGINE`."""

WARMUP_RUNS = 3
PROFILED_RUNS = 10


class TensorRtSession:
    """An engine on the first GPU. Tests give stubs of `trt` and `driver`."""

    def __init__(
        self, payload: Payload, kind: str = "tensorrt", *, trt: Any = None, driver: cuda.Cuda | None = None
    ) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._cuda = driver or cuda.driver()  # first: without a driver TensorRT crashes
        self._trt = trt or runtime.module(kind)
        _check_board(payload, kind, str(self._trt.__version__), self._cuda)
        self._closed = False
        # One stream and one context for each binding: threads take turns, as their work would on the GPU.
        self._turn = threading.RLock()
        self._thread = threading.local()
        self._bound: list[Binding] = []
        self._part = payload.part
        self._stepping: Stepping | None = None
        self._memory: StateMemory | None = None
        self._stream = 0
        self._records: list[tuple[str, str]] = []
        self._cuda.retain_context()
        try:
            self._log = engine_builder.logger(self._trt, self._records)
            self._runtime = self._trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(payload.main.read_bytes())
            if self._engine is None:
                raise ArtifactError(
                    f"TensorRT cannot load '{payload.main.name}': {self._errors()}.",
                    hint="build it again on this board with `edgekit finish BUNDLE`",
                )
            self._names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
            self._check_names(payload)
            self._stream = self._cuda.stream()
            self._run_binding: Binding | None = None
        except BaseException:
            self.close()
            raise

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs belong to the caller."""
        check_feeds(self.inputs, feeds)
        sizes = {name: tuple(array.shape) for name, array in feeds.items()}
        with self._in_turn():
            if self._run_binding is None or self._run_binding.sizes != sizes:
                if self._run_binding is not None:
                    self._run_binding.free()
                    self._run_binding = None
                self._run_binding = self._binding(feeds)
            self._run_binding.set_inputs(feeds)
            self._run_binding.infer()
            return {name: array.copy() for name, array in self._run_binding.outputs.items()}

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once on `feeds` and `states`, which are buffers on the device from then on."""
        check_feeds(self._part.fed, feeds)
        with self._in_turn():
            if self._stepping is None:
                self._memory = StateMemory(self._cuda, self._stream, self._in_turn)
                self._stepping = Stepping(self._loaded(), self._context(), self._part, self._memory)
            return self._stepping.step(feeds, states)

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call on buffers of its own: copy in, run, copy out, wait; as a CUDA graph where possible."""
        check_feeds(self.inputs, feeds)
        with self._in_turn():
            binding = self._binding(feeds)
            self._bound.append(binding)
            binding.set_inputs(feeds)
            binding.infer()  # faults are raised before anything is timed, and a capture needs a run before it
            call = binding.as_graph() or binding.infer
        turn, thread = self._turn, self._thread

        def bound() -> None:
            with turn:
                if self._closed or not hasattr(thread, "has_context"):
                    self._enter()
                call()

        return bound

    @property
    def cuda_graph(self) -> bool | None:
        """Return whether the last bound call is a CUDA graph; None before the first."""
        return bool(self._bound[-1].graph) if self._bound else None

    @property
    def precision(self) -> Precision:
        """Return the types in which the layers compute, from the engine inspector."""
        with self._in_turn():
            effective = precision(engine_layers.read(self._information()))
        if effective is None:
            raise UnsupportedError(
                "the engine does not report its layers' types: it was built without detailed profiling verbosity.",
                hint="build it again on this board with `edgekit finish BUNDLE`",
            )
        return effective

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Time each layer by TensorRT's profiler: medians over ten runs, which the profiler slows down."""
        check_feeds(self.inputs, feeds)
        with self._in_turn():
            times = self._profile(feeds)
            known = {layer.name: layer for layer in engine_layers.read(self._information())}
        return tuple(
            LayerTime(
                name=name,
                kind=known[name].kind if name in known else "unknown",
                precision=(known[name].computes_in if name in known else None) or "unknown",
                time_ms=statistics.median(layer_times),
            )
            for name, layer_times in times.items()
        )

    def close(self) -> None:
        """Release all GPU resources, users before what they use; safe to call twice."""
        with self._turn:
            if not self._closed:
                self._cuda.retain_context()  # the thread that closes need not be the one that opened
                self._closed = True
                self._release()

    def _release(self) -> None:
        for binding in [*self._bound, *filter(None, [getattr(self, "_run_binding", None)])]:
            binding.free()
        self._run_binding = self._stepping = None
        if self._memory is not None:
            self._memory.release()
        self._engine = self._runtime = None
        if self._stream:
            self._cuda.destroy_stream(self._stream)
            self._stream = 0
        self._cuda.release_context()

    def _binding(self, feeds: Mapping[str, np.ndarray]) -> Binding:
        return Binding(self._loaded(), self._context(), {name: tuple(array.shape) for name, array in feeds.items()})

    def _context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise DeviceError(
                f"TensorRT could not create an execution context: {self._errors()}.", hint="free some memory"
            )
        return context

    def _loaded(self) -> LoadedEngine:
        return LoadedEngine(self._trt, self._engine, self._cuda, self._stream, self._errors)

    def _profile(self, feeds: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        """Return the milliseconds of each layer's runs under the profiler."""
        times: dict[str, list[float]] = {}
        binding = self._binding(feeds)
        try:
            binding.set_inputs(feeds)
            for _ in range(WARMUP_RUNS):
                binding.infer()
            binding.context.profiler = _profiler(self._trt, times)
            for _ in range(PROFILED_RUNS):
                binding.infer()
        finally:
            binding.free()
        if not times:
            raise UnsupportedError("TensorRT's profiler reported no layer.")
        return times

    def _information(self) -> str:
        context = self._run_binding.context if self._run_binding else None
        return engine_builder.engine_information(self._trt, self._engine, context)

    def _check_names(self, payload: Payload) -> None:
        """Compare the engine's tensors with the manifest's: a type that differs would be converted silently."""
        expected = {spec.name: spec.numpy_dtype for spec in (*self.inputs, *self.outputs)}
        kinds = {name: self._engine.get_tensor_dtype(name).name for name in self._names}
        actual = {name: DTYPES.get(kind, kind) for name, kind in kinds.items()}
        if expected != actual:
            raise ArtifactError(
                f"'{payload.main.name}' has the tensors {_listed(actual)}; the manifest lists {_listed(expected)}.",
                hint="export the bundle again",
            )

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Keep other threads out, with the GPU's context current in this one. Raises UsageError where it is closed."""
        with self._turn:
            self._enter()
            yield

    def _enter(self) -> None:
        if self._closed:
            raise _closed()
        self._cuda.retain_context()
        self._thread.has_context = True

    def _errors(self) -> str:
        errors = [message for severity, message in self._records if severity in engine_builder.ERRORS]
        return "; ".join(dict.fromkeys(errors[-3:])) or "it gave no reason"


def _profiler(trt: Any, times: dict[str, list[float]]) -> Any:
    """Return a profiler for TensorRT: it collects the milliseconds of each layer, each time it runs."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # the bindings have no types
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, name: str, milliseconds: float) -> None:
            times.setdefault(name, []).append(float(milliseconds))

    return Profiler()


def _listed(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(tensors.items()))


def _closed() -> UsageError:
    return UsageError("the session is closed.", hint="open the bundle again")


def open_engine(payload: Payload) -> Any:
    """Open an engine with the Python module; one that trtexec built by trtexec, on a board without the module.

    Raises ArtifactError for a graph that is not finished yet, and for an engine of another board.
    """
    if payload.main.name == AHEAD:
        return TensorRtSession(payload, "rtx")
    if payload.main.name == GRAPH:
        raise ArtifactError(
            "the bundle has a graph for its device, but no engine yet.",
            hint="build it on the device with `edgekit finish BUNDLE`",
        )
    info = engine_info.load(payload.main)
    if info.builder == "trtexec":
        try:
            runtime.module(info.board.runtime)
        except EnvironmentFault:
            from edgekit_tensorrt.trtexec_session import TrtexecSession

            return TrtexecSession(payload)
    return TensorRtSession(payload, info.board.runtime)


def _check_board(payload: Payload, kind: str, version: str, gpu: cuda.Cuda) -> None:
    """Raise ArtifactError for an engine of another board; one compiled ahead of time is for an SM: it has no
    `engine.json`.
    """
    if payload.main.name != AHEAD:
        here = engine_info.this_board(kind, version, gpu.sm, gpu.name, gpu.driver)
        engine_info.check_board(engine_info.load(payload.main), here)
        return
    plan = BuildPlan.load(payload.main.with_name(PLAN))
    if plan.sm != gpu.sm:
        raise ArtifactError(
            f"the engine is for SM {plan.sm}, but this machine's GPU ({gpu.name}) is SM {gpu.sm}.",
            hint="export it for this machine's GPU",
        )
