"""Build an engine with TensorRT's Python module: the same way for TensorRT 10, TensorRT 11 and TensorRT for RTX.

Features are looked up in the module, never derived from its version number. The network is strongly typed: the graph
has the types, so no builder flag about precision is set (11 no longer has any). `NAMES` lists every name of the module
that is used, and where; a test compares it with the real bindings of each version.
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
"""Every class and enumeration of TensorRT's module that this plugin uses, with the members it uses."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": (),
    "IExecutionContext": ("is_stream_capturable",),
}
"""What only some versions have (TensorRT for RTX): it is looked up before it is used."""

_LOGGERS: list[Any] = []
"""TensorRT keeps the first logger that it is given for the life of the process: one that Python has freed hangs it."""

ECHO_LENGTH = 400
"""Characters of a log record that are echoed; TensorRT lists all layers in one record."""

ERRORS = ("ERROR", "INTERNAL_ERROR")
"""Severities of records that say why TensorRT failed."""


@dataclass
class BuiltEngine:
    """A serialized engine."""

    engine: bytes
    timing_cache: bytes | None
    seconds: float
    warnings: Sequence[str] = field(default_factory=tuple)
    """Warnings of the builder."""


def logger(trt: Any, records: list[tuple[str, str]], *, echo: TextIO | None = None) -> Any:
    """Return a logger that keeps (severity, message) in `records`: TensorRT logs its reasons and returns None.

    Each record is also written to `echo`, shortened, immediately: in a crash `records` is lost.
    """

    class Log(trt.ILogger):  # type: ignore[misc]  # the bindings have no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 needs the explicit call

        def log(self, severity: Any, message: str) -> None:
            records.append((severity.name, message))
            if echo is not None:
                print(f"{severity.name}: {message[:ECHO_LENGTH]}", file=echo, flush=True)

    log = Log()
    _LOGGERS.append(log)
    return log


def parse_network(trt: Any, log: Any, graph: Path) -> tuple[Any, Any, Any, bool]:
    """Return a builder, the strongly typed network of `graph`, its parser, and whether it accepted the graph."""
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    # By path, so that it finds external weights beside the file.
    return builder, network, parser, bool(parser.parse_from_file(str(graph)))


def build(
    trt: Any, graph: Path, plan: BuildPlan, *, timing_cache: bytes | None = None, compute_capability: str | None = None
) -> BuiltEngine:
    """Build the engine of `graph` according to `plan`.

    `compute_capability`, as `8.6`, builds for another GPU than this machine's: only TensorRT for RTX can, and then
    needs no GPU. Raises UnsupportedError with the nodes that the parser rejects, BuildError with the builder's errors.
    """
    records: list[tuple[str, str]] = []
    log = logger(trt, records)
    builder, network, parser, accepted = parse_network(trt, log, graph)
    if not accepted:
        raise UnsupportedError(
            "TensorRT's parser rejects the graph:",
            problems=[_parser_error(parser.get_error(index)) for index in range(parser.num_errors)],
            hint="replace these nodes in the model, or choose another recipe",
        )
    config = builder_config(trt, builder, network, plan, compute_capability)
    cache = None
    if compute_capability is None:  # compiled ahead of time nothing is timed
        cache = config.create_timing_cache(timing_cache or b"")
        if not config.set_timing_cache(cache, False) and timing_cache:
            cache = config.create_timing_cache(b"")  # the cache is of another version or GPU
            config.set_timing_cache(cache, False)
    started = time.monotonic()
    serialized = builder.build_serialized_network(network, config)
    seconds = time.monotonic() - started
    if serialized is None:
        reasons = _errors(records)
        lines = "".join(f"\n  {reason}" for reason in reasons[-6:]) or "\n  it gave no reason"
        raise BuildError(f"TensorRT cannot build the engine:{lines}", hint=_build_hint(reasons))
    return BuiltEngine(
        bytes(memoryview(serialized)),
        None if cache is None else bytes(memoryview(config.get_timing_cache().serialize())),
        seconds,
        tuple(dict.fromkeys(message for severity, message in records if severity == "WARNING")),
    )


def _errors(records: Sequence[tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(message for severity, message in records if severity in ERRORS))


def builder_config(trt: Any, builder: Any, network: Any, plan: BuildPlan, compute_capability: str | None = None) -> Any:
    """Return the builder's configuration for a plan."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # without it layers have no types
    if "tf32" not in plan.precision.split("+"):
        config.clear_flag(
            trt.BuilderFlag.TF32
        )  # on by default: products of floats would silently have a 10-bit mantissa
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
        _set_compute_capability(trt, config, compute_capability)
    _add_profiles(builder, network, config, plan)
    return config


def _set_compute_capability(trt: Any, config: Any, compute_capability: str) -> None:
    name = f"SM{compute_capability.replace('.', '')}"
    if not hasattr(config, "set_compute_capability") or not hasattr(trt.ComputeCapability, name):
        raise UnsupportedError(
            f"this TensorRT does not build for SM {compute_capability} on another machine.",
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
    bounds = {planned.input: planned for planned in plan.profiles}
    if missing := sorted(set(free) - set(bounds)):
        raise BuildError(
            f"the build plan has no sizes for {', '.join(missing)}.", hint="export the bundle again, with --shape"
        )
    if values := sorted(name for name, tensor in free.items() if tensor.is_shape_tensor):
        raise UnsupportedError(f"the values of {', '.join(values)} decide shapes; a build plan cannot bound them.")
    if not free:
        return
    profile = builder.create_optimization_profile()
    for name in sorted(free):
        profile.set_shape(name, bounds[name].min, bounds[name].opt, bounds[name].max)
    if config.add_optimization_profile(profile) < 0:
        sizes = "; ".join(f"{name}: {bounds[name].min} to {bounds[name].max}" for name in sorted(free))
        raise BuildError(f"TensorRT rejects the sizes of the build plan: {sizes}.", hint="export the bundle again")


def _parser_error(error: Any) -> str:
    """Return which node the parser rejects, and why."""
    place = f"'{error.node_name()}' ({error.node_operator()})" if error.node_operator() else f"node {error.node()}"
    return f"{place}: {' '.join(str(error.desc()).split()) or error.code().name}"


def _build_hint(reasons: Sequence[str]) -> str:
    text = " ".join(reasons).lower()
    if "memory" in text:
        return "close other programs on the board, or export again with the option workspace_mb of tensorrt"
    if "dla" in text:
        return "export again with gpu_fallback = true, or without dla_core"
    return "the log in the context has all of TensorRT's output; try another recipe"


def inspect_engine(trt: Any, engine: bytes) -> str:
    """Return the engine inspector's JSON of a serialized engine; needs a driver."""
    records: list[tuple[str, str]] = []
    log = logger(trt, records)
    loaded = trt.Runtime(log).deserialize_cuda_engine(engine)
    if loaded is None:
        reasons = "; ".join(_errors(records))
        raise BuildError(f"TensorRT cannot load the engine that it built: {reasons or 'it gave no reason'}.")
    context = loaded.create_execution_context()
    return engine_information(trt, loaded, context)


def engine_information(trt: Any, engine: Any, context: Any) -> str:
    """Return the inspector's JSON of an open engine, for the sizes of its context."""
    inspector = engine.create_engine_inspector()
    if context is not None:
        inspector.execution_context = context
    return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
