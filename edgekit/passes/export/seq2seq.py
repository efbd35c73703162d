"""Export an encoder-decoder model of transformers as three graphs: encoder, decoder, decoder with past.

Optimum's splitters give them. Between them pass states: the encoder's `hidden`, and the keys and values of each layer,
`past.N.self.*` of the text so far and `past.N.cross.*` of the encoder's.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.frameworks import onnx_model, optimum_config
from edgekit.model import Model, Part, State
from edgekit.passes.export.last_position import keep_last_position
from edgekit.spec import DECODER, DECODER_WITH_PAST, ENCODER, TensorSpec

HIDDEN = "hidden"

_OPTIMUM = {"encoder_model": ENCODER, "decoder_model": DECODER, "decoder_with_past_model": DECODER_WITH_PAST}

_PAST = re.compile(r"(?:past_key_values|present)\.(\d+)\.(decoder|encoder)\.(key|value)$")


def export(model: Model, workdir: Path, opset: int) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Write each graph into a folder of its own, and return the parts and their states."""
    import torch
    from optimum.exporters.onnx.convert import export as export_one
    from optimum.exporters.utils import get_encoder_decoder_models_for_export

    config = optimum_config.seq2seq_config(model.module)
    parts = []
    for name, (module, part_config) in get_encoder_decoder_models_for_export(model.module, config).items():
        part = _OPTIMUM[name]
        (workdir / part).mkdir()
        graph = workdir / part / onnx_model.GRAPH_FILE
        with torch.no_grad(), config_kept(module):
            export_one(module, part_config, graph, opset=opset, device="cpu", disable_dynamic_axes_fix=True)
        proto = onnx_model.load(graph)
        if keep_last_position(proto, "logits"):
            onnx_model.save(proto, graph)
        parts.append(_with_states(onnx_model.part_of(proto, name=part, file=f"{part}/{onnx_model.GRAPH_FILE}")))
    return _described(parts)


@contextlib.contextmanager
def config_kept(module: Any) -> Iterator[None]:
    """Restore the configs of the module and of its parts: optimum sets values for the tracer, and the original is run
    after it.
    """
    configs = {id(each.config): each.config for each in module.modules() if hasattr(each, "config")}
    before = {key: copy.deepcopy(config.__dict__) for key, config in configs.items()}
    try:
        yield
    finally:
        for key, config in configs.items():
            config.__dict__.clear()
            config.__dict__.update(before[key])


def _with_states(part: Part) -> Part:
    if part.name == ENCODER:
        return replace(part, writes={part.outputs[0].name: HIDDEN})
    states = {spec.name: _state(spec.name) for spec in (*part.inputs, *part.outputs)}
    return replace(
        part,
        reads={spec.name: states[spec.name] for spec in part.inputs if states[spec.name]},
        writes={spec.name: states[spec.name] for spec in part.outputs if states[spec.name]},
    )


def _state(tensor: str) -> str:
    """Return the state that a tensor of optimum's graphs is; empty for one that is fed or returned."""
    if tensor == "encoder_hidden_states":
        return HIDDEN
    match = _PAST.match(tensor)
    return f"past.{match[1]}.{'self' if match[2] == 'decoder' else 'cross'}.{match[3]}" if match else ""


def _described(parts: list[Part]) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Return the parts with the sizes that the tracer left open, which the inputs of the last part have, and the
    states.
    """
    encoder, decoder, cached = parts
    specs = {HIDDEN: encoder.outputs[0]}
    specs |= {state: next(spec for spec in cached.inputs if spec.name == name) for name, state in cached.reads.items()}
    states = tuple(State(name, replace(spec, name=name)) for name, spec in specs.items())
    return (encoder, _with_sizes(decoder, specs), _with_sizes(cached, specs)), states


def _with_sizes(part: Part, specs: dict[str, TensorSpec]) -> Part:
    outputs = []
    for spec in part.outputs:
        like = specs.get(part.writes.get(spec.name, ""))
        sizes = spec.shape if like is None else like.shape
        shape = [size if isinstance(size, int) else own for own, size in zip(spec.shape, sizes, strict=True)]
        outputs.append(replace(spec, shape=tuple(1 if size == "1" else size for size in shape)))
    return replace(part, outputs=tuple(outputs))
