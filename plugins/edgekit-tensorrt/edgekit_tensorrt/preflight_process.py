"""The child process that runs TensorRT for RTX: parse a graph, compile it for an SM, write the result.

A crash or a hang of the compiler ends this process and nothing else. `preflight` starts it with a job file and reads
its result file, both plain JSON; the compiler's log goes to standard error, so that a crash does not lose it.
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
from edgekit_tensorrt import engine_builder
from edgekit_tensorrt.layers import HEADING, NARROW, dtype_of
from edgekit_tensorrt.plan import BuildPlan

MOVES = ("SHUFFLE", "CAST", "IDENTITY", "SQUEEZE", "UNSQUEEZE", "SLICE", "CONCATENATION", "GATHER", "SELECT")
"""Layers between a DequantizeLinear and the product that reads it; they do not change values."""

PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION")


def main(file: str) -> None:
    """Run the job in `file` and write `result.json` beside it."""
    job = json.loads(Path(file).read_text())
    result = compile_graph(job)
    result["peak_memory_mb"] = _peak_memory_mb()
    Path(file).with_name("result.json").write_text(json.dumps(result))


def compile_graph(job: dict[str, Any]) -> dict[str, Any]:
    """Parse the job's graph and, where the job has an SM, compile it."""
    import tensorrt_rtx as trt

    records: list[tuple[str, str]] = []
    started = time.monotonic()
    log = engine_builder.logger(trt, records, echo=sys.stderr)
    builder, network, parser, accepted = engine_builder.parse_network(trt, log, Path(job["onnx"]))
    result: dict[str, Any] = {
        "compiler": f"tensorrt-rtx {trt.__version__}",
        "parsed": accepted,
        "parser_errors": [_parser_error(parser.get_error(index)) for index in range(parser.num_errors)],
        "parse_seconds": round(time.monotonic() - started, 3),
        "products": [],
        "nodes_by_dtype": {},
        "size": None,
        "layers": "",
        "compile_errors": [],
    }
    if not accepted:
        return result
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    result["products"] = _products(layers)
    result["nodes_by_dtype"] = _nodes_by_dtype(layers)
    if job["sm"] is None:
        return result
    records.clear()
    started = time.monotonic()
    # TensorRT for RTX does not support the board's deep learning accelerator.
    plan = replace(BuildPlan.from_dict(job["plan"], "build plan"), dla_core=None)
    try:
        config = engine_builder.builder_config(trt, builder, network, plan, job["sm"])
    except EdgekitError as error:
        result["compile_errors"] = [error.message]
        return result
    engine = builder.build_serialized_network(network, config)
    result["compile_seconds"] = round(time.monotonic() - started, 3)
    result["layers"] = next((message for _, message in records if message.startswith(HEADING)), "")
    if engine is None:
        result["compile_errors"] = [message for severity, message in records if severity in engine_builder.ERRORS]
        return result
    result["size"] = engine.nbytes
    if job["engine"]:
        with replacing(Path(job["engine"])) as file:
            file.write_bytes(memoryview(engine))
    return result


def _parser_error(error: Any) -> dict[str, Any]:
    return {
        "code": error.code().name,
        "index": error.node(),
        "node": error.node_name(),
        "operator": error.node_operator(),
        "reason": error.desc(),
        "within": list(error.local_function_stack()),
    }


def _products(layers: list[Any]) -> list[dict[str, str]]:
    """Return the products with their type in the typed network: the one that their inputs are dequantized from."""
    producers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    products = []
    for layer in layers:
        if layer.type.name in PRODUCTS:
            inputs = [layer.get_input(index) for index in range(layer.num_inputs)]
            types = [
                (_stored_type(tensor, producers), dtype_of(tensor.dtype.name))
                for tensor in inputs
                if tensor is not None
            ]
            products.append({"node": _node(layer), "kind": layer.type.name, "asked": _product_type(types)})
    return products


def _product_type(types: list[tuple[str, str]]) -> str:
    """Return the type of a product by the (stored, own) types of its inputs; weights inside the layer are floats."""
    (data, own), *rest = types
    narrow = [stored for stored, _ in rest if stored in NARROW]
    if data in NARROW and narrow:
        return data
    return f"{narrow[0]}-weights" if narrow else own


def _stored_type(tensor: Any, producers: dict[str, Any]) -> str:
    """Return the type that a tensor is dequantized from; where it is not, its own."""
    own, source = dtype_of(tensor.dtype.name), tensor
    for _ in range(len(MOVES)):
        producer = producers.get(source.name)
        if producer is None or producer.num_inputs == 0 or producer.get_input(0) is None:
            break
        source = producer.get_input(0)
        if producer.type.name == "DEQUANTIZE":
            return dtype_of(source.dtype.name)
        if producer.type.name not in MOVES:
            break
    return own


def _nodes_by_dtype(layers: list[Any]) -> dict[str, list[str]]:
    """Return the nodes that read or write each of the types that not every SM has."""
    nodes_by_dtype: dict[str, list[str]] = {}
    for layer in layers:
        if layer.type.name == "CONSTANT":
            continue
        tensors = [layer.get_input(index) for index in range(layer.num_inputs)]
        tensors += [layer.get_output(index) for index in range(layer.num_outputs)]
        dtypes = {dtype_of(tensor.dtype.name) for tensor in tensors if tensor is not None}
        for dtype in sorted(dtypes & {"bf16", "f8", "i4", "f4"}):
            nodes = nodes_by_dtype.setdefault(dtype, [])
            if _node(layer) not in nodes:
                nodes.append(_node(layer))
    return nodes_by_dtype


def _node(layer: Any) -> str:
    """Return the ONNX node that a layer was parsed from; layers that the parser adds have no metadata."""
    metadata = layer.metadata
    return str(metadata[len("[ONNX Layer: ") : -1] if metadata.startswith("[ONNX Layer: ") else layer.name)


def _peak_memory_mb() -> float | None:
    # VmHWM, not ru_maxrss: that one survives exec, so it would count a large parent.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return None
