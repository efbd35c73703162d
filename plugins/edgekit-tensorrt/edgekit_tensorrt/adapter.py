"""Build an engine with TensorRT's Python module: one way for TensorRT 10, TensorRT 11 and TensorRT for RTX.

What a version has is asked of its module, never told from its number. The network is strongly typed: the graph says the
types, so no builder flag about precision is set (11 has none any more). `NAMES` lists every name that is used of the
module, and where; a test holds it against the real bindings of each version.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from edgekit.errors import BuildError, UnsupportedError
from edgekit_tensorrt.plan import BuildPlan

NAMES: dict[str, tuple[str, ...]] = {
    "ILogger": ("log",),
    "Builder": ("create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"),
    "INetworkDefinition": ("num_inputs", "get_input"),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "ParserError": ("code", "desc", "node", "node_name", "node_operator"),
    "IOptimizationProfile": ("set_shape",),
    "IBuilderConfig": (
        "add_optimization_profile", "builder_optimization_level", "clear_flag", "create_timing_cache",
        "default_device_type", "DLA_core", "get_timing_cache", "profiling_verbosity", "set_flag",
        "set_memory_pool_limit", "set_timing_cache",
    ),
    "BuilderFlag": ("GPU_FALLBACK", "SPARSE_WEIGHTS", "TF32"),
    "MemoryPoolType": ("WORKSPACE",),
    "ProfilingVerbosity": ("DETAILED",),
    "DeviceType": ("DLA",),
    "ITimingCache": ("serialize",),
    "ITensor": ("name", "shape", "is_shape_tensor"),
    "IHostMemory": ("nbytes",),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "create_engine_inspector", "create_execution_context", "get_tensor_dtype", "get_tensor_mode",
        "get_tensor_name", "num_io_tensors",
    ),
    "IExecutionContext": (
        "execute_async_v3", "get_tensor_shape", "profiler", "set_input_shape", "set_tensor_address",
    ),
    "TensorIOMode": ("INPUT", "OUTPUT"),
    "EngineInspector": ("execution_context", "get_engine_information"),
    "LayerInformationFormat": ("JSON",),
    "IProfiler": ("report_layer_time",),
    "DataType": ("FLOAT", "HALF", "BF16", "INT8", "INT32", "INT64", "BOOL", "UINT8"),
}  # fmt: skip
"""Every class and enumeration that this plugin uses of TensorRT's module, with what it uses of each."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": (),
    "IExecutionContext": ("is_stream_capturable",),
}
"""What only some have (TensorRT for RTX), and is asked for before it is used."""

ECHOED = 400
"""Letters of a log record that are echoed; TensorRT lists all layers in one."""

SPOKEN = ("ERROR", "INTERNAL_ERROR", "WARNING")


@dataclass
class EngineBuilt:
    """A serialized engine, and what was said while it was built."""

    engine: bytes
    timing_cache: bytes | None
    seconds: float
    said: Sequence[str] = field(default_factory=tuple)
    """Warnings of the builder."""


def logger(trt: Any, records: list[tuple[str, str]], *, echo: TextIO | None = None) -> Any:
    """Return a logger that keeps (severity, message) in `records`: TensorRT prints its reasons and returns None.

    Each is written to `echo` too, shortened, at once: a crash takes the records with it.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # the bindings have no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the explicit call

        def log(self, severity: Any, message: str) -> None:
            records.append((severity.name, message))
            if echo is not None:
                print(f"{severity.name}: {message[:ECHOED]}", file=echo, flush=True)

    return Log()


def parsed(trt: Any, log: Any, graph: Path) -> tuple[Any, Any, Any, bool]:
    """Return a builder, the strongly typed network of `graph`, its parser, and whether that took the graph."""
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    # By path: it finds external weights beside the file.
    return builder, network, parser, bool(parser.parse_from_file(str(graph)))


def build(
    trt: Any, graph: Path, plan: BuildPlan, *, timing_cache: bytes | None = None, compute_capability: str | None = None
) -> EngineBuilt:
    """Build the engine of `graph` as `plan` says.

    `compute_capability`, as `8.6`, builds for another GPU than the one here: TensorRT for RTX alone can, and needs none
    then. Raises UnsupportedError naming the nodes that the parser refuses, BuildError for what the builder says.
    """
    records: list[tuple[str, str]] = []
    log = logger(trt, records)
    builder, network, parser, accepted = parsed(trt, log, graph)
    if not accepted:
        raise UnsupportedError(
            "TensorRT's parser refuses the graph:",
            problems=[_refusal(parser.get_error(index)) for index in range(parser.num_errors)],
            hint="replace these nodes in the model, or choose another recipe",
        )
    config = configured(trt, builder, network, plan, compute_capability)
    cache = None
    if compute_capability is None:  # compiled ahead nothing is timed
        cache = config.create_timing_cache(timing_cache or b"")
        if not config.set_timing_cache(cache, False) and timing_cache:
            cache = config.create_timing_cache(b"")  # of another version or GPU after all
            config.set_timing_cache(cache, False)
    started = time.monotonic()
    serialized = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - started
    if serialized is None:
        reasons = list(dict.fromkeys(said for severity, said in records if severity in SPOKEN[:2]))
        lines = "".join(f"\n  {said}" for said in reasons[-6:]) or "\n  it gave no reason"
        raise BuildError(f"TensorRT cannot build the engine:{lines}", hint=_advice(reasons))
    return EngineBuilt(
        bytes(memoryview(serialized)),
        None if cache is None else bytes(memoryview(config.get_timing_cache().serialize())),
        seconds,
        tuple(dict.fromkeys(said for severity, said in records if severity == "WARNING")),
    )


def configured(trt: Any, builder: Any, network: Any, plan: BuildPlan, compute_capability: str | None = None) -> Any:
    """Return the builder's configuration of a plan."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or no layer tells its types
    if "tf32" not in plan.precision.split("+"):
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float products in ten bits, silently
    if plan.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_mb << 20)
    if plan.optimization_level is not None:
        config.builder_optimization_level = plan.optimization_level
    if plan.sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    if plan.dla_core is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = plan.dla_core
        if plan.gpu_fallback:
            config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if compute_capability is not None:
        _aim(trt, config, compute_capability)
    _add_profiles(builder, network, config, plan)
    return config


def _aim(trt: Any, config: Any, compute_capability: str) -> None:
    name = f"SM{compute_capability.replace('.', '')}"
    if not hasattr(config, "set_compute_capability") or not hasattr(trt.ComputeCapability, name):
        raise UnsupportedError(
            f"this TensorRT does not build for SM {compute_capability} from here.",
            hint="build the engine on its device with `edgekit finish`",
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)


def _add_profiles(builder: Any, network: Any, config: Any, plan: BuildPlan) -> None:
    free = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in tuple(tensor.shape) or tensor.is_shape_tensor:
            free[tensor.name] = tensor
    shapes = {one.input: one for one in plan.profiles}
    if missing := sorted(set(free) - set(shapes)):
        raise BuildError(
            f"the build plan has no sizes for {', '.join(missing)}.", hint="export the bundle again, with --shape"
        )
    if values := sorted(name for name, tensor in free.items() if tensor.is_shape_tensor):
        raise UnsupportedError(f"the values of {', '.join(values)} decide shapes, which no plan can bound.")
    if not free:
        return
    profile = builder.create_optimization_profile()
    for name in sorted(free):
        one = shapes[name]
        profile.set_shape(name, one.min, one.opt, one.max)
    if config.add_optimization_profile(profile) < 0:
        sizes = "; ".join(f"{n}: {shapes[n].min} to {shapes[n].max}" for n in sorted(free))
        raise BuildError(f"TensorRT refuses the sizes of the build plan: {sizes}.", hint="export the bundle again")


def _refusal(error: Any) -> str:
    """Return which node the parser refuses, and why."""
    place = f"'{error.node_name()}' ({error.node_operator()})" if error.node_operator() else f"node {error.node()}"
    return f"{place}: {' '.join(str(error.desc()).split()) or error.code().name}"


def _advice(reasons: Sequence[str]) -> str:
    text = " ".join(reasons).lower()
    if "memory" in text:
        return "close other programs on the board, or export again with the option workspace_mb of tensorrt"
    if "dla" in text:
        return "export again with gpu_fallback = true, or without dla_core"
    return "the log in the context has all that TensorRT said; another recipe may build"


def inspected(trt: Any, engine: bytes) -> str:
    """Return the engine inspector's JSON of a serialized engine; needs a driver."""
    records: list[tuple[str, str]] = []
    log = logger(trt, records)
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        reasons = "; ".join(said for severity, said in records if severity in SPOKEN[:2])
        raise BuildError(f"TensorRT does not load the engine that it built: {reasons or 'it gives no reason'}.")
    context = loaded.create_execution_context()
    return information(trt, loaded, context)


def information(trt: Any, engine: Any, context: Any) -> str:
    """Return the inspector's JSON of an open engine, for the sizes that its context has."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
