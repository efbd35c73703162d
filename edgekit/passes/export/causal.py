"""Export a language model of transformers as one graph with states: the keys and values of the text so far.

The graph reads them, empty before the first call, and writes them longer. So one graph runs the prompt and each token
after it, and its scores are those of the last token alone: a prompt needs no others.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgekit.frameworks import onnx_model, optimum_config
from edgekit.model import Model, Part, State
from edgekit.passes.export import streamed
from edgekit.passes.export.constant_shapes import fix_shapes
from edgekit.passes.export.last_position import keep_last_position
from edgekit.spec import DECODER

LOGITS = "logits"

_PAST = re.compile(r"(?:past_key_values|present)\.(\d+)\.(key|value)$")


def export(model: Model, workdir: Path, opset: int) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Write the graph, and return its part and the states."""
    config = optimum_config.causal_config(model.module)
    graph = workdir / onnx_model.GRAPH_FILE
    proto = streamed.export(model.module, config, graph, opset)
    keep_last_position(proto, LOGITS)
    proto = fix_shapes(proto)
    onnx_model.rewrite(proto, graph)
    part = onnx_model.part_of(proto, name=DECODER)
    reads = {spec.name: _state(spec.name) for spec in part.inputs if _state(spec.name)}
    writes = {spec.name: _state(spec.name) for spec in part.outputs if _state(spec.name)}
    specs = {reads[spec.name]: spec for spec in part.inputs if spec.name in reads}
    states = tuple(State(name, replace(spec, name=name), "empty") for name, spec in specs.items())
    return (replace(part, reads=reads, writes=writes),), states


def _state(tensor: str) -> str:
    """Return the state that a tensor of optimum's graph is; empty for one that is fed or returned."""
    match = _PAST.match(tensor)
    return f"past.{match[1]}.{match[2]}" if match else ""
