"""The device side: load, run, bind, profile. Needs openvino and numpy, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EdgekitError, EnvironmentFault, UsageError
from edgekit.plugin import FeedCheck, LayerTime, Payload, Precision, TensorSpec, no_telemetry, probe_host
from edgekit_openvino import layers
from edgekit_openvino.options import TELEMETRY, Options

if TYPE_CHECKING:
    import numpy as np

WARMUP_RUNS = 2
PROFILED_RUNS = 10


def runtime() -> Any:
    """Import and give openvino. Raises EnvironmentFault when it is missing or broken."""
    no_telemetry(TELEMETRY)
    try:
        import openvino
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(f"openvino does not import: {error}.", hint="pip install openvino") from error
    return openvino


def compile_model(model: Any, options: Options, *, timed: bool = False) -> Any:
    """Compile for the device in exactly the arithmetic asked for; `timed` counts time by layer.

    Raises EnvironmentFault when the device is not here, ArtifactError when it would compute in another type than asked.
    """
    core = runtime().Core()
    if not _is_here(core, options):
        found = ", ".join(core.available_devices) or "none"
        raise EnvironmentFault(
            f"OpenVINO finds no device {options.device} here (it finds {found}).",
            hint="install the device's driver, or set the option 'device'",
        )
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": options.hint.upper(),
        "NUM_STREAMS": options.streams,
        "INFERENCE_PRECISION_HINT": options.inference_precision or "f32",
        "PERF_COUNT": timed,
    }
    if options.on_cpu:
        settings["INFERENCE_NUM_THREADS"] = options.threads or probe_host().cores
        if options.pinning is not None:
            settings["ENABLE_CPU_PINNING"] = options.pinning
        # By default it quantizes the activations that meet compressed weights, silently: precision lives in the model.
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
    compiled = core.compile_model(model, options.device, settings)
    really = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    asked = options.inference_precision or "f32"
    if really != asked:
        raise ArtifactError(
            f"the model is to compute in {asked}, OpenVINO would compute in {really} here.",
            hint="export it for this machine with `--target host`",
        )
    return compiled


def reads_in(options: Options) -> bool:
    """Return whether the options' device is here and computes in the type that they ask for."""
    names = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
    wanted = names[options.inference_precision or "f32"]
    core = runtime().Core()
    return _is_here(core, options) and wanted in core.get_property(options.device, "OPTIMIZATION_CAPABILITIES")


def _is_here(core: Any, options: Options) -> bool:
    kind = options.device.partition(".")[0]
    return any(name.partition(".")[0] == kind for name in core.available_devices)


def anywhere(options: Options) -> Options:
    """Return options with which every processor computes the same graph, in f32."""
    return replace(options, device="CPU", inference_precision="f32")


class OpenVinoSession:
    """An IR compiled by OpenVINO."""

    def __init__(self, payload: Payload) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._options = Options.from_dict(payload.options, "openvino options")
        if payload.off_target and not reads_in(self._options):
            self._options = anywhere(self._options)
        self._main = payload.main
        self._check = FeedCheck(payload.part.inputs)
        self._compiled: Any = _open(payload, self._options)
        ports = self._compiled.inputs, self._compiled.outputs
        self._input_ports = [(spec.name, _port(payload, spec, at, ports[0])) for at, spec in enumerate(self.inputs)]
        self._output_ports = [(spec.name, _port(payload, spec, at, ports[1])) for at, spec in enumerate(self.outputs)]
        self._request: Any = self._compiled.create_infer_request()
        self._buffers: dict[str, np.ndarray] = {}
        self._tensor = runtime().Tensor

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs are the caller's."""
        request = self._request
        if request is None:
            raise _closed()
        self._check(feeds)
        self._place(request, feeds, self._buffers)
        try:
            # The results come in the order of the compiled model's outputs, copied.
            results = tuple(request.infer().values())
        except Exception as error:
            raise _run_fault(error) from error
        return {name: results[port] for name, port in self._output_ports}

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call on a request of its own, whose tensors are in place."""
        if self._compiled is None:
            raise _closed()
        self._check(feeds)
        request = self._compiled.create_infer_request()
        held: dict[str, np.ndarray] = {}
        self._place(request, feeds, held)
        infer = request.infer
        try:
            infer(share_outputs=True)  # faults come before the clock runs
        except Exception as error:
            raise _run_fault(error) from error

        def bound() -> None:
            if self._compiled is None:
                held.clear()
                raise _closed()
            infer(share_outputs=True)

        return bound

    @property
    def threads(self) -> int | None:
        """Return how many threads an inference uses; None where the device is no processor."""
        if self._compiled is None:
            raise _closed()
        return int(self._compiled.get_property("INFERENCE_NUM_THREADS")) if self._options.on_cpu else None

    @property
    def precision(self) -> Precision:
        """Read the executable graph: the type in which each compiled layer computes."""
        if self._compiled is None:
            raise _closed()
        inference = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return layers.precision(self._compiled.get_runtime_model(), inference)

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Time each layer in a second compiled model that counts; medians over ten runs."""
        if self._compiled is None:
            raise _closed()
        self._check(feeds)
        compiled = compile_model(_read(self._main), self._options, timed=True)
        request = compiled.create_infer_request()
        held: dict[str, np.ndarray] = {}
        self._place(request, feeds, held)
        runs = []
        try:
            for _ in range(WARMUP_RUNS + PROFILED_RUNS):
                request.infer(share_outputs=True)
                runs.append(request.profiling_info)
        except Exception as error:
            raise _run_fault(error) from error
        return layers.layer_times(runs[WARMUP_RUNS:], compiled.get_runtime_model())

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._request = None
        self._compiled = None
        self._buffers.clear()

    def _place(self, request: Any, feeds: Mapping[str, np.ndarray], buffers: dict[str, np.ndarray]) -> None:
        """Copy the feeds into memory that the request shares; making a tensor costs more than copying a small one."""
        import numpy as np

        for name, port in self._input_ports:
            array = feeds[name]
            buffer = buffers.get(name)
            if buffer is None or buffer.shape != array.shape:
                buffer = buffers[name] = np.empty(array.shape, array.dtype)
                request.set_input_tensor(port, self._tensor(buffer, shared_memory=True))
            np.copyto(buffer, array)


def _open(payload: Payload, options: Options) -> Any:
    payload.check()
    # Anything but an IR is offered to the frontends of other formats, which print to stderr before they refuse it.
    text = payload.main.read_bytes()
    if not (text.startswith(b"<?xml") and text.rstrip().endswith(b"</net>")):
        raise ArtifactError(
            f"'{payload.main.name}' is not a whole OpenVINO model.", hint="copy or export the bundle again"
        )
    try:
        return compile_model(_read(payload.main), options)
    except EdgekitError:
        raise
    except Exception as error:
        if _out_of_memory(error):
            raise DeviceError("there is not enough memory to load the model.") from error
        raise ArtifactError(
            f"'{payload.main.name}' cannot be loaded: {error}", hint="copy or export the bundle again"
        ) from error


def _read(path: Path) -> Any:
    return runtime().Core().read_model(str(path), str(path.with_suffix(".bin")))


def _port(payload: Payload, spec: TensorSpec, at: int, ports: Sequence[Any]) -> int:
    """Return the number of the port with the spec's name; of several (one tensor given twice), the one in its place."""
    found = [index for index, port in enumerate(ports) if spec.name in port.get_names()]
    if not found:
        raise ArtifactError(
            f"'{payload.main.name}' has no {spec.name}, which the manifest names.", hint="export the bundle again"
        )
    return at if at in found else found[0]


def _run_fault(error: Exception) -> EdgekitError:
    if _out_of_memory(error):
        return DeviceError(f"the device ran out of memory: {error}", hint="feed a smaller batch")
    return UsageError(f"the model fails on these inputs: {error}", hint="check the values and sizes that are fed")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "bad_alloc" in str(error) or "CL_OUT_OF" in str(error)


def _closed() -> UsageError:
    return UsageError("the session is closed.", hint="open the bundle again")
