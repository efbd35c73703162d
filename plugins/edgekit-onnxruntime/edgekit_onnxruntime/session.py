"""The device side: load, run, bind, profile. Needs onnxruntime and numpy, nothing else."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import FeedCheck, LayerTime, Payload, Precision, TensorSpec, no_telemetry, probe_host
from edgekit_onnxruntime import kernels
from edgekit_onnxruntime import states as kept
from edgekit_onnxruntime.options import CPU, Options

if TYPE_CHECKING:
    import numpy as np

WARMUP_RUNS = 2
PROFILED_RUNS = 10


def runtime() -> Any:
    """Import onnxruntime and return it. Raises EnvironmentFault when it is missing or broken."""
    no_telemetry()
    try:
        import onnxruntime
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(f"onnxruntime cannot be imported: {error}.", hint="pip install onnxruntime") from error
    return onnxruntime


def load(model: Path | bytes, options: Options, profile_prefix: str | None = None, *, off_target: bool = False) -> Any:
    """Return an InferenceSession whose first provider is that of `options`; `off_target` computes what another machine
    would, where this one's integer kernels may saturate.

    Raises EnvironmentFault when the provider is not available; the runtime's own exceptions pass through.
    """
    ort = runtime()
    available = ort.get_available_providers()
    if options.provider not in available:
        raise EnvironmentFault(
            f"this onnxruntime has no {options.provider} (it has {', '.join(available)}).",
            hint="install the onnxruntime package that has it, or set the option 'provider'",
        )
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads or probe_host().cores
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    levels = {"disabled": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
    settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{levels[options.graph_level]}")
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.allow_spinning else "0")
    # The default, made explicit: products with packed weights round activations to int8 in blocks (4). In f32 (1) a row
    # by int4 weights takes three times as long, by int8 weights sixty times (1.32, AVX-512).
    settings.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", str(options.accuracy_level))
    if off_target:
        # Q/DQ pairs are not fused into integer kernels: they round, and products are summed in float. Products that the
        # graph has in integers take u8 by u8 on x86, whose kernels do not saturate.
        settings.add_session_config_entry("session.disable_quant_qdq", "1")
        settings.add_session_config_entry("session.x64quantprecision", "1")
    settings.log_severity_level = 4  # its errors are raised as exceptions; printing them too would repeat them
    if profile_prefix is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = profile_prefix
    source = model if isinstance(model, bytes) else str(model)
    session = ort.InferenceSession(source, settings, providers=[(options.provider, dict(options.provider_options))])
    session.disable_fallback()
    if session.get_providers()[0] != options.provider:
        raise EnvironmentFault(
            f"onnxruntime fell back from {options.provider} to {session.get_providers()[0]}.",
            hint="check the driver of the device with `edgekit doctor`",
        )
    return session


class OnnxRuntimeSession:
    """A graph loaded in ONNX Runtime."""

    def __init__(self, payload: Payload) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._options = Options.from_dict(payload.options, "onnxruntime options")
        if payload.off_target:  # every provider computes the same graph
            self._options = replace(self._options, provider=CPU, provider_options={})
        self._off_target = payload.off_target
        self._main = payload.main
        self._names = [spec.name for spec in payload.part.outputs]
        self._part = payload.part
        self._check = FeedCheck(payload.part.inputs)
        self._check_fed = FeedCheck(payload.part.fed)
        self._precision: Precision | None = None
        self._last: Mapping[str, np.ndarray] | None = None
        self._session: Any = _open(payload, self._options)
        self._device = kept.on_device(self._session)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs belong to the caller."""
        session = self._session or self._open_session()
        self._check(feeds)
        try:
            outputs = session.run(self._names, feeds)
        except Exception as error:
            raise _run_fault(error) from error
        self._last = feeds
        return dict(zip(self._names, outputs, strict=True))

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once on `feeds` and `states`, which stay in the memory of the device."""
        import numpy as np

        session = self._open_session()
        self._check_fed(feeds)
        if self._last is None:  # a copy of the first call's, for the precision
            read = {name: np.array(states[state]) for name, state in self._part.reads.items()}
            self._last = {**feeds, **read}
        try:
            if self._device is None:
                return kept.step_on_processor(session, self._names, self._part, feeds, states)
            return kept.step(runtime(), session, self._part, feeds, states, self._device)
        except Exception as error:
            raise _run_fault(error) from error

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call on bound inputs and, where the shapes of the outputs are known, bound outputs; threads that
        share the call take turns. Texts cannot be bound: they are passed at each call.
        """
        import numpy as np

        session = self._open_session()
        outputs = self.run(
            feeds
        )  # for the shapes of the outputs, and so that faults are raised before anything is timed
        if any(spec.dtype == "str" for spec in self.inputs):
            return self._bind_texts({name: np.array(array) for name, array in feeds.items()})
        ort_value = runtime().OrtValue
        binding = session.io_binding()
        # A bound value only borrows the array's memory, and the binding does not keep it: `bound` keeps our copies.
        values = [ort_value.ortvalue_from_numpy(np.array(feeds[spec.name], order="C")) for spec in self.inputs]
        for spec, fed in zip(self.inputs, values, strict=True):
            binding.bind_ortvalue_input(spec.name, fed)
        for spec in self.outputs:
            array = outputs[spec.name]
            if spec.is_static and spec.dtype != "str":
                buffer = ort_value.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
                binding.bind_ortvalue_output(spec.name, buffer)
            else:
                binding.bind_output(spec.name)
        call, turn = session.run_with_iobinding, threading.Lock()

        def bound() -> None:
            if self._session is None:
                values.clear()
                raise _closed()
            with turn:
                call(binding)

        return bound

    def _bind_texts(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        run = self._open_session().run

        def bound() -> None:
            self._open_session()
            run(self._names, feeds)

        return bound

    @property
    def threads(self) -> int:
        """Return how many threads an operator may use."""
        return int(self._open_session().get_session_options().intra_op_num_threads)

    @property
    def precision(self) -> Precision:
        """Run the last feeds once under the profiler, and read which kernels ran on which types."""
        if self._precision is None:
            self._open_session()
            events = self._profile(self._last or self._made_up_feeds(), runs=1)
            self._precision = kernels.precision(events, rounds=self._rounds)
            if self._off_target:
                self._precision = replace(self._precision, emulated=kernels.emulated(events))
        return self._precision

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Time each kernel in a second session under ONNX Runtime's profiler; medians over ten runs."""
        self._open_session()
        self._check(feeds)
        events = self._profile(feeds, WARMUP_RUNS + PROFILED_RUNS)
        return kernels.layer_times(events, WARMUP_RUNS, PROFILED_RUNS, rounds=self._rounds)

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._session = self._last = None

    @property
    def _rounds(self) -> bool:
        """Whether products with packed weights round activations."""
        return self._options.accuracy_level == 4

    def _open_session(self) -> Any:
        if self._session is None:
            raise _closed()
        return self._session

    def _profile(self, feeds: Mapping[str, np.ndarray], runs: int) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            prefix = str(Path(folder) / "profile")
            session = load(self._main, self._options, prefix, off_target=self._off_target)
            try:
                for _ in range(runs):
                    session.run(self._names, dict(feeds))
            except Exception as error:
                raise _run_fault(error) from error
            finally:
                file = Path(session.end_profiling())
            try:
                return kernels.events(file)
            except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
                # The runtime reports no write that failed: the file ends where the disk was full.
                raise DeviceError(
                    f"the disk of '{tempfile.gettempdir()}' is full, or its files are limited in size: ONNX Runtime "
                    "could not write there which kernels ran.",
                    hint="free some space there, or name a folder on another disk: TMPDIR=/path",
                ) from error

    def _made_up_feeds(self) -> dict[str, np.ndarray]:
        """Return inputs that the graph accepts: the kernels, and so the precision, depend on types, not on values."""
        import numpy as np

        fault: EdgekitError | None = None
        free = any(not spec.is_static for spec in self.inputs)
        for size in (1, 16, 64, 224, 640) if free else (1,):
            for fill in (0, 1):
                feeds = {
                    spec.name: np.full(spec.resolve({}, size), "" if spec.dtype == "str" else fill, spec.numpy_dtype)
                    for spec in self.inputs
                }
                try:
                    self.run(feeds)
                except UsageError as error:
                    fault = error
                else:
                    return feeds
        raise UnsupportedError(
            "the precision is unknown: the graph accepts none of the inputs that were tried."
        ) from fault


def _open(payload: Payload, options: Options) -> Any:
    payload.check()
    try:
        session = load(payload.main, options, off_target=payload.off_target)
    except EdgekitError:
        raise
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "not a registered" in str(error) or "under development" in str(error):
            raise UnsupportedError(
                f"this onnxruntime cannot run the model: {error}", hint="pip install --upgrade onnxruntime"
            ) from error
        if _out_of_memory(error):
            raise DeviceError("there is not enough memory to load the model.") from error
        raise ArtifactError(
            f"'{payload.main.name}' cannot be loaded: {error}", hint="copy or export the bundle again"
        ) from error
    names = {value.name for value in (*session.get_inputs(), *session.get_outputs())}
    missing = [spec.name for spec in (*payload.part.inputs, *payload.part.outputs) if spec.name not in names]
    if missing:
        raise ArtifactError(
            f"'{payload.main.name}' has no tensor {', '.join(missing)}, which the manifest lists.",
            hint="export the bundle again",
        )
    return session


def _run_fault(error: Exception) -> EdgekitError:
    if _out_of_memory(error):
        return DeviceError(f"the device ran out of memory: {error}", hint="feed a smaller batch")
    return UsageError(f"the model fails on these inputs: {error}", hint="check the values and sizes of the inputs")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "bad_alloc" in str(error) or "Failed to allocate memory" in str(error)


def _closed() -> UsageError:
    return UsageError("the session is closed.", hint="open the bundle again")
