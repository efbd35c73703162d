"""The child process that asks TensorRT for RTX: parse a graph, build it ahead of time for an SM, write what came of it.

A crash or a hang of the compiler ends this process and nothing else. `preflight` starts it with a job file and reads
its result file, both plain JSON; the compiler's log goes to standard error, so that its last lines outlive a crash.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.plugin import replacing
from edgekit_tensorrt import adapter
from edgekit_tensorrt.layers import HEADING, NARROW, type_of
from edgekit_tensorrt.plan import BuildPlan

MOVES = ("SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE", "SLICE", "CONCATENATION", "GATHER", "SELECT")
"""Layers that stand between a DequantizeLinear and the product it feeds without changing the values."""

PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION")


def main(file: str) -> None:
    """Do the job that `file` describes and write `result.json` beside it."""
    job = json.loads(Path(file).read_text())
    result = ask(job)
    result["peak_memory_mb"] = _peak_memory_mb()
    Path(file).with_name("result.json").write_text(json.dumps(result))


def ask(job: dict[str, Any]) -> dict[str, Any]:
    """Parse, and compile where the job names an SM."""
    import tensorrt_rtx as trt

    records: list[tuple[str, str]] = []
    started = time.monotonic()
    log = adapter.logger(trt, records, echo=sys.stderr)
    builder, network, parser, accepted = adapter.parsed(trt, log, Path(job["onnx"]))
    result: dict[str, Any] = {
        "compiler": f"tensorrt-rtx {trt.__version__}",
        "parsed": accepted,
        "errors": [_error(parser.get_error(index)) for index in range(parser.num_errors)],
        "parse_seconds": round(time.monotonic() - started, 3),
        "products": [],
        "holders": {},
        "size": None,
        "layers": "",
        "said": [],
    }
    if not accepted:
        return result
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    result["products"] = _products(layers)
    result["holders"] = _holders(layers)
    if job["sm"] is None:
        return result
    records.clear()
    started = time.monotonic()
    # The accelerator of a board is none of its kin's, and TensorRT for RTX has none.
    plan = replace(BuildPlan.from_dict(job["plan"], "build plan"), dla_core=None)
    try:
        config = adapter.configured(trt, builder, network, plan, job["sm"])
    except EdgekitError as error:
        result["said"] = [error.message]
        return result
    engine = builder.build_serialized_network(network, config)
    result["compile_seconds"] = round(time.monotonic() - started, 3)
    result["layers"] = next((said for _, said in records if said.startswith(HEADING)), "")
    if engine is None:
        result["said"] = [said for severity, said in records if severity in ("ERROR", "INTERNAL_ERROR")]
        return result
    result["size"] = engine.nbytes
    if job["engine"]:
        with replacing(Path(job["engine"])) as file:
            file.write_bytes(memoryview(engine))
    return result


def _error(error: Any) -> dict[str, Any]:
    return {
        "code": error.code().name,
        "index": error.node(),
        "node": error.node_name(),
        "operator": error.node_operator(),
        "reason": error.desc(),
        "within": list(error.local_function_stack()),
    }


def _products(layers: list[Any]) -> list[dict[str, str]]:
    """List the products with the type that the typed network asks for: what their inputs are dequantized from."""
    makers = {one.get_output(index).name: one for one in layers for index in range(one.num_outputs)}
    found = []
    for layer in layers:
        if layer.type.name in PRODUCTS:
            inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
            types = [(_source(one, makers), type_of(one.dtype.name)) for one in inputs if one is not None]
            found.append({"node": _node(layer), "kind": layer.type.name, "asked": _asked(types)})
    return found


def _asked(types: list[tuple[str, str]]) -> str:
    """Return the type of a product of inputs that are (dequantized from, own); weights within the layer are floats."""
    (data, own), *rest = types
    narrow = [source for source, _ in rest if source in NARROW]
    if data in NARROW and narrow:
        return data
    return f"{narrow[0]}-weights" if narrow else own


def _source(tensor: Any, makers: dict[str, Any]) -> str:
    """Return a tensor's type, or the one that it is dequantized from."""
    own, here = type_of(tensor.dtype.name), tensor
    for _ in range(len(MOVES)):
        maker = makers.get(here.name)
        if maker is None or maker.num_inputs == 0 or maker.get_input(0) is None:
            break
        here = maker.get_input(0)
        if maker.type.name == "DEQUANTIZE":
            return type_of(here.dtype.name)
        if maker.type.name not in MOVES:
            break
    return own


def _holders(layers: list[Any]) -> dict[str, list[str]]:
    """List the nodes that read or give each type that not every SM has."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        if layer.type.name == "CONSTANT":
            continue
        values = [layer.get_input(index) for index in range(layer.num_inputs)]
        values += [layer.get_output(index) for index in range(layer.num_outputs)]
        kinds = {type_of(one.dtype.name) for one in values if one is not None}
        for kind in sorted(kinds & {"bf16", "f8", "i4", "f4"}):
            nodes = found.setdefault(kind, [])
            if _node(layer) not in nodes:
                nodes.append(_node(layer))
    return found


def _node(layer: Any) -> str:
    """Return the ONNX node that a layer was parsed from; helpers of the parser's own have no metadata."""
    said = layer.metadata
    return str(said[len("[ONNX Layer: ") : -1] if said.startswith("[ONNX Layer: ") else layer.name)


def _peak_memory_mb() -> float | None:
    # VmHWM and not ru_maxrss: the latter survives exec, so a large parent would be counted as ours.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None
