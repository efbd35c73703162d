"""The device side: load, run, bind, profile. Needs openvino and numpy, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EdgekitError, EnvironmentFault, UsageError
from edgekit.plugin import FeedCheck, LayerTime, Payload, Precision, TensorSpec, no_telemetry, probe_host
from edgekit_openvino import layers
from edgekit_openvino.options import TELEMETRY, Options
from edgekit_openvino.request import Request
from edgekit_openvino.states import SteppingRequest

if TYPE_CHECKING:
    import numpy as np

WARMUP_RUNS = 2
PROFILED_RUNS = 10


def runtime() -> Any:
    """Import openvino and return it. Raises EnvironmentFault when it is missing or broken."""
    no_telemetry(TELEMETRY)
    try:
        import openvino
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(f"openvino cannot be imported: {error}.", hint="pip install openvino") from error
    return openvino


def compile_model(model: Any, options: Options, *, timed: bool = False, off_target: bool = False) -> Any:
    """Compile for the device in exactly the arithmetic of `options`; with `timed` each layer's time is counted;
    `off_target` computes Q/DQ in float.

    Raises EnvironmentFault when the device is not here, ArtifactError when it would compute in another type.
    """
    core = runtime().Core()
    if not _is_here(core, options):
        devices = ", ".join(core.available_devices) or "none"
        raise EnvironmentFault(
            f"OpenVINO found no device {options.device} here (it found {devices}).",
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
        # The default silently quantizes activations that compressed weights multiply, but the model decides precision.
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        if off_target:  # the integer kernels of this processor may saturate where those of the device do not
            settings["LP_TRANSFORMS_MODE"] = "NO"
    compiled = core.compile_model(model, options.device, settings)
    effective = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    requested = options.inference_precision or "f32"
    if effective != requested:
        raise ArtifactError(
            f"the model must compute in {requested}, but OpenVINO computes in {effective} on this machine.",
            hint="export it for this machine with `--target host`",
        )
    return compiled


def is_supported_here(options: Options) -> bool:
    """Return whether the options' device is here and computes in the options' type."""
    names = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}
    capability = names[options.inference_precision or "f32"]
    core = runtime().Core()
    return _is_here(core, options) and capability in core.get_property(options.device, "OPTIMIZATION_CAPABILITIES")


def _is_here(core: Any, options: Options) -> bool:
    kind = options.device.partition(".")[0]
    return any(name.partition(".")[0] == kind for name in core.available_devices)


def f32_on_cpu(options: Options) -> Options:
    """Return options with which every processor computes the graph, in f32."""
    return replace(options, device="CPU", inference_precision="f32")


class OpenVinoSession:
    """An IR compiled by OpenVINO."""

    def __init__(self, payload: Payload) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._options = Options.from_dict(payload.options, "openvino options")
        self._rounded: str | None = None
        """The float type that is emulated: f32 arithmetic, rounded to it."""
        if payload.off_target:
            wanted = self._options.inference_precision
            self._rounded = wanted if wanted in ("bf16", "f16") else None
            self._options = f32_on_cpu(self._options)
        self._off_target = payload.off_target
        self._main = payload.main
        self._check = FeedCheck(payload.part.inputs)
        self._compiled: Any = _open(payload, self._options, self._rounded)
        ports = self._compiled.inputs, self._compiled.outputs
        self._input_ports = [
            (spec.name, _port(payload, spec, place, ports[0])) for place, spec in enumerate(self.inputs)
        ]
        self._output_ports = [
            (spec.name, _port(payload, spec, place, ports[1])) for place, spec in enumerate(self.outputs)
        ]
        self._tensor = runtime().Tensor
        self._part = payload.part
        self._check_fed = FeedCheck(payload.part.fed)
        self._idle = [self._request()]
        self._stepping: list[SteppingRequest] = []

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs belong to the caller."""
        idle = self._idle
        self._check(feeds)
        try:
            request = idle.pop()  # of this call alone: another thread takes another
        except IndexError:
            request = self._request()
        try:
            request.set_inputs(feeds)
            # The results are copies, in the order of the compiled model's outputs.
            results = tuple(request.infer().values())
        except Exception as error:
            raise _run_fault(error) from error
        finally:
            idle.append(request)
        return {name: results[port] for name, port in self._output_ports}

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once on `feeds` and `states`, which are the runtime's own tensors from then on."""
        idle = self._stepping
        model = self._open_model()
        self._check_fed(feeds)
        try:
            request = idle.pop()
        except IndexError:  # not one of `run`, which would write into the tensors of states
            ports = self._input_ports, self._output_ports
            request = SteppingRequest(model.create_infer_request(), self._part, *ports, runtime())
        try:
            return request.step(feeds, states)
        except Exception as error:
            raise _run_fault(error) from error
        finally:
            idle.append(request)

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call on a request of its own, whose input tensors are set; threads that share it take turns."""
        self._open_model()
        self._check(feeds)
        request = self._request()
        request.set_inputs(feeds)
        infer, turn = request.infer, threading.Lock()
        try:
            infer(share_outputs=True)  # faults are raised before anything is timed
        except Exception as error:
            raise _run_fault(error) from error

        def bound() -> None:
            if self._compiled is None:
                request.forget_inputs()
                raise _closed()
            with turn:
                infer(share_outputs=True)

        return bound

    @property
    def threads(self) -> int | None:
        """Return how many threads an inference uses; None where the device is not a processor."""
        compiled = self._open_model()
        return int(compiled.get_property("INFERENCE_NUM_THREADS")) if self._options.on_cpu else None

    @property
    def precision(self) -> Precision:
        """Return the type in which each compiled layer computes, from the executable graph."""
        compiled = self._open_model()
        inference = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        precision = layers.precision(compiled.get_runtime_model(), inference)
        return replace(precision, emulated=self._emulated) if self._off_target else precision

    @property
    def _emulated(self) -> str:
        words = []
        if b'type="FakeQuantize"' in self._main.read_bytes():  # compiled, they are a part of other layers
            words.append("Q/DQ pairs rounded, and their products were summed in float")
        if self._rounded:
            words.append(f"floats were rounded to {self._rounded} after each operator")
        return "; ".join(words)

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Time each layer in a second compiled model, with counters; medians over ten runs."""
        self._open_model()
        self._check(feeds)
        model = _network(self._main, self._rounded)
        compiled = compile_model(model, self._options, timed=True, off_target=self._off_target)
        request = Request(compiled.create_infer_request(), self._input_ports, self._tensor)
        request.set_inputs(feeds)
        runs = []
        try:
            for _ in range(WARMUP_RUNS + PROFILED_RUNS):
                request.infer(share_outputs=True)
                runs.append(request.profile())
        except Exception as error:
            raise _run_fault(error) from error
        return layers.layer_times(runs[WARMUP_RUNS:], compiled.get_runtime_model())

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._compiled = None
        self._idle, self._stepping = (
            [],
            [],
        )  # a call that runs in another thread returns its request to the list that it took it from

    def _open_model(self) -> Any:
        compiled = self._compiled
        if compiled is None:
            raise _closed()
        return compiled

    def _request(self) -> Request:
        return Request(self._open_model().create_infer_request(), self._input_ports, self._tensor)


def _open(payload: Payload, options: Options, rounded: str | None) -> Any:
    payload.check()
    # OpenVINO offers a file that is not an IR to other formats' frontends, which print to stderr before they refuse it.
    text = payload.main.read_bytes()
    if not (text.startswith(b"<?xml") and text.rstrip().endswith(b"</net>")):
        raise ArtifactError(
            f"'{payload.main.name}' is not a complete OpenVINO model.", hint="copy or export the bundle again"
        )
    try:
        return compile_model(_network(payload.main, rounded), options, off_target=payload.off_target)
    except EdgekitError:
        raise
    except Exception as error:
        if _out_of_memory(error):
            raise DeviceError("there is not enough memory to load the model.") from error
        raise ArtifactError(
            f"'{payload.main.name}' cannot be loaded: {error}", hint="copy or export the bundle again"
        ) from error


def _network(path: Path, rounded: str | None) -> Any:
    """Return the network at `path`, its floats rounded to the type `rounded` where one is emulated."""
    if rounded is None:
        return _read(path)
    from edgekit_openvino.rounding import with_rounding

    return with_rounding(_read(path), rounded)  # type: ignore[arg-type]  # one of the two types that a session emulates


def _read(path: Path) -> Any:
    return runtime().Core().read_model(str(path), str(path.with_suffix(".bin")))


def _port(payload: Payload, spec: TensorSpec, place: int, ports: Sequence[Any]) -> int:
    """Return the index of the port with the spec's name; of several (one tensor returned twice), the one at `place`."""
    matches = [index for index, port in enumerate(ports) if spec.name in port.get_names()]
    if not matches:
        raise ArtifactError(
            f"'{payload.main.name}' has no tensor {spec.name}, which the manifest lists.",
            hint="export the bundle again",
        )
    return place if place in matches else matches[0]


def _run_fault(error: Exception) -> EdgekitError:
    if _out_of_memory(error):
        return DeviceError(f"the device ran out of memory: {error}", hint="feed a smaller batch")
    return UsageError(f"the model fails on these inputs: {error}", hint="check the values and sizes of the inputs")


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "bad_alloc" in str(error) or "CL_OUT_OF" in str(error)


def _closed() -> UsageError:
    return UsageError("the session is closed.", hint="open the bundle again")
