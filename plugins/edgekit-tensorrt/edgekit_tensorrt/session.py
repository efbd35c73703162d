"""The device side: open an engine, run it, bind it, profile it. Needs the board's TensorRT, its driver and numpy.

A bound call is one complete, synchronised inference: the inputs are copied to the GPU from page-locked memory, the
engine runs, the outputs are copied back, and the stream is waited for. Where the engine can be captured, the three are
one CUDA graph, and one launch: what the processor does for each kernel then costs once.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision, TensorSpec, check_feeds
from edgekit_tensorrt import adapter, cuda, engine_layers, runtime, sidecar
from edgekit_tensorrt.binding import DTYPES, Binding, Loaded
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan

if TYPE_CHECKING:
    import numpy as np

AHEAD = "model.engine"
"""What TensorRT for RTX compiled ahead, without the device; `preflight.ENGINE` on the build side."""

WARMUP_RUNS = 3
PROFILED_RUNS = 10


class TensorRtSession:
    """An engine on the first GPU. `trt` and `driver` stand in for the real ones in tests."""

    def __init__(
        self, payload: Payload, kind: str = "tensorrt", *, trt: Any = None, driver: cuda.Cuda | None = None
    ) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._cuda = driver or cuda.driver()  # first: without a driver TensorRT crashes
        self._trt = trt or runtime.module(kind)
        _check_board(payload, kind, str(self._trt.__version__), self._cuda)
        self._closed = False
        self._bound: list[Binding] = []
        self._stream = 0
        self._said: list[tuple[str, str]] = []
        self._cuda.enter()
        try:
            self._log = adapter.logger(self._trt, self._said)
            self._runtime = self._trt.Runtime(self._log)
            self._engine = self._runtime.deserialize_cuda_engine(payload.main.read_bytes())
            if self._engine is None:
                raise ArtifactError(
                    f"TensorRT does not load '{payload.main.name}': {self._reasons()}.",
                    hint="build it again on this board with `edgekit finish BUNDLE`",
                )
            self._names = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
            self._check_names(payload)
            self._stream = self._cuda.stream()
            self._one: Binding | None = None
        except BaseException:
            self.close()
            raise

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs are the caller's."""
        self._check_open()
        check_feeds(self.inputs, feeds)
        sizes = {name: tuple(array.shape) for name, array in feeds.items()}
        if self._one is None or self._one.sizes != sizes:
            if self._one is not None:
                self._one.free()
                self._one = None
            self._one = self._binding(feeds)
        self._one.place(feeds)
        self._one.infer()
        return {name: array.copy() for name, array in self._one.outputs.items()}

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call on buffers of its own: copy in, run, copy out, wait; as a CUDA graph where that can be."""
        self._check_open()
        check_feeds(self.inputs, feeds)
        binding = self._binding(feeds)
        self._bound.append(binding)
        binding.place(feeds)
        binding.infer()  # faults come before the clock runs, and a capture wants a run before it
        call = binding.as_graph() or binding.infer

        def bound() -> None:
            if self._closed:
                raise _closed()
            call()

        return bound

    @property
    def cuda_graph(self) -> bool | None:
        """Return whether the last bound call is a CUDA graph; None before the first."""
        return bool(self._bound[-1].graph) if self._bound else None

    @property
    def precision(self) -> Precision:
        """Ask the engine inspector in which type each layer computes."""
        self._check_open()
        found = engine_layers.effective(engine_layers.read(self._information()))
        if found is None:
            raise UnsupportedError(
                "the engine does not tell its layers' types: it was built without detailed profiling verbosity.",
                hint="build it again on this board with `edgekit finish BUNDLE`",
            )
        return found

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Time each layer by TensorRT's own profiler; medians over ten runs, which it makes slower."""
        self._check_open()
        check_feeds(self.inputs, feeds)
        times: dict[str, list[float]] = {}
        binding = self._binding(feeds)
        try:
            binding.place(feeds)
            for _ in range(WARMUP_RUNS):
                binding.infer()
            binding.context.profiler = _profiler(self._trt, times)
            for _ in range(PROFILED_RUNS):
                binding.infer()
        finally:
            binding.free()
        if not times:
            raise UnsupportedError("TensorRT's profiler told no layer.")
        known = {layer.name: layer for layer in engine_layers.read(self._information())}
        return tuple(
            LayerTime(
                name=name,
                kind=known[name].kind if name in known else "unknown",
                precision=(known[name].computes_in if name in known else None) or "unknown",
                time_ms=statistics.median(found),
            )
            for name, found in times.items()
        )

    def close(self) -> None:
        """Release all that lies on the GPU, in the order in which it rests on each other; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for binding in [*self._bound, *filter(None, [getattr(self, "_one", None)])]:
            binding.free()
        self._one = None
        self._engine = self._runtime = None
        if self._stream:
            self._cuda.destroy_stream(self._stream)
            self._stream = 0
        self._cuda.leave()

    def _binding(self, feeds: Mapping[str, np.ndarray]) -> Binding:
        context = self._engine.create_execution_context()
        if context is None:
            raise DeviceError(f"TensorRT makes no context to run in: {self._reasons()}.", hint="free some memory")
        loaded = Loaded(self._trt, self._engine, self._cuda, self._stream, self._reasons)
        return Binding(loaded, context, {name: tuple(array.shape) for name, array in feeds.items()})

    def _information(self) -> str:
        return adapter.information(self._trt, self._engine, self._one.context if self._one else None)

    def _check_names(self, payload: Payload) -> None:
        """Compare the engine's tensors with the manifest's: a type that differs would be converted silently."""
        wanted = {spec.name: spec.numpy_dtype for spec in (*self.inputs, *self.outputs)}
        kinds = {name: self._engine.get_tensor_dtype(name).name for name in self._names}
        found = {name: DTYPES.get(kind, kind) for name, kind in kinds.items()}
        if wanted != found:
            raise ArtifactError(
                f"'{payload.main.name}' has the tensors {_listed(found)}; the manifest names {_listed(wanted)}.",
                hint="export the bundle again",
            )

    def _check_open(self) -> None:
        if self._closed:
            raise _closed()

    def _reasons(self) -> str:
        said = [text for severity, text in self._said if severity in ("ERROR", "INTERNAL_ERROR")]
        return "; ".join(dict.fromkeys(said[-3:])) or "it gives no reason"


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
    """Open an engine the way it was built: with the Python module, or by trtexec on a board that has none.

    Raises ArtifactError for a graph that waits to be finished, and for an engine of another board.
    """
    if payload.main.name == AHEAD:
        return TensorRtSession(payload, "rtx")
    if payload.main.name == GRAPH:
        raise ArtifactError(
            "this is a graph that waits for its device: there is no engine yet.",
            hint="build it on the device with `edgekit finish BUNDLE`",
        )
    found = sidecar.load(payload.main)
    if found.builder == "trtexec":
        try:
            runtime.module(found.board.runtime)
        except EnvironmentFault:
            from edgekit_tensorrt.trtexec_session import TrtexecSession

            return TrtexecSession(payload)
    return TensorRtSession(payload, found.board.runtime)


def _check_board(payload: Payload, kind: str, version: str, gpu: cuda.Cuda) -> None:
    """Refuse an engine of another board; one that was compiled ahead is for an SM, and has no sidecar."""
    if payload.main.name != AHEAD:
        sidecar.check(sidecar.load(payload.main), sidecar.board(kind, version, gpu.sm, gpu.name, gpu.driver))
        return
    plan = BuildPlan.load(payload.main.with_name(PLAN))
    if plan.sm != gpu.sm:
        raise ArtifactError(
            f"the engine was compiled for SM {plan.sm}, this machine's GPU ({gpu.name}) is SM {gpu.sm}.",
            hint="export it for this machine's GPU",
        )
