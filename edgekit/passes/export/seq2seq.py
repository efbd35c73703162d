"""Export an encoder-decoder model of transformers as two graphs, encoder and decoder.

Between them pass states, the keys and values of each layer: `past.N.cross.*` of the encoder's output, which the encoder
writes, and `past.N.self.*` of the text so far, which the decoder reads, at first empty, and writes longer.
Optimum's splitters give three graphs: the decoder's first token has one of its own (see `cross_states`).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.frameworks import onnx_model, optimum_config
from edgekit.model import Model, Part, State
from edgekit.passes.export import cross_states
from edgekit.passes.export.config_kept import config_kept
from edgekit.passes.export.decoder_masks import lean_attention
from edgekit.passes.export.known_sizes import fold_known_sizes
from edgekit.passes.export.last_position import keep_last_position
from edgekit.spec import DECODER, ENCODER, TensorSpec
from edgekit.tasks.config import TaskConfig

_HIDDEN, _ENCODED = "encoder_hidden_states", "last_hidden_state"
"""The encoder's output, as the decoder reads it and as the encoder writes it."""

IDS = "input_ids"

_PAST = re.compile(r"(?:past_key_values|present)\.(\d+)\.(?:(decoder|encoder)\.)?(key|value)$")


def export(model: Model, workdir: Path, opset: int) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Write each graph into a folder of its own, and return the parts and their states."""
    import torch
    from optimum.exporters.onnx.convert import export as export_one
    from optimum.exporters.utils import get_encoder_decoder_models_for_export

    config = optimum_config.seq2seq_config(model.module, str(model.task))
    one_token = _fed_one_by_one(model)
    graphs = {}
    for name, (module, part_config) in get_encoder_decoder_models_for_export(model.module, config).items():
        graph = graphs[name] = workdir / name / onnx_model.GRAPH_FILE
        graph.parent.mkdir()
        with torch.no_grad(), config_kept(module), lean_attention(module, one_token=one_token):
            export_one(
                module,
                part_config,
                graph,
                opset=opset,
                device="cpu",
                input_shapes=optimum_config.sound_frames(model.module.config),
                disable_dynamic_axes_fix=True,
            )
    encoder = onnx_model.load(graphs["encoder_model"])
    decoder = onnx_model.load(graphs["decoder_with_past_model"])
    _move_cross_states(encoder, onnx_model.load(graphs["decoder_model"]), decoder)
    keep_last_position(decoder, "logits")
    if one_token:
        _fix_to_one(decoder, IDS)
    for proto in (encoder, decoder):
        fold_known_sizes(proto)
    for graph in graphs.values():
        shutil.rmtree(graph.parent)
    parts = []
    for name, proto in ((ENCODER, encoder), (DECODER, decoder)):
        file = f"{name}/{onnx_model.GRAPH_FILE}"
        (workdir / name).mkdir()
        onnx_model.save(proto, workdir / file)
        parts.append(_with_states(onnx_model.part_of(proto, name=name, file=file)))
    return _described(*parts)


def _fed_one_by_one(model: Model) -> bool:
    """Return whether no call of the decoder has several tokens: no text begins with a prompt of its own."""
    config = TaskConfig.load(model.assets)
    settings = None if config is None else config.generation
    return settings is not None and not settings.prompt and not settings.languages


def _fix_to_one(decoder: Any, name: str) -> None:
    """State in the graph that the input has one token: what is computed from their number becomes constant."""
    for value in decoder.graph.input:
        if value.name == name:
            dimension = value.type.tensor_type.shape.dim[1]
            dimension.Clear()
            dimension.dim_value = 1
    del decoder.graph.value_info[:]


def _move_cross_states(encoder: Any, first: Any, decoder: Any) -> None:
    """Add what the decoder of the first token makes of the encoder's output to the encoder, and remove that output
    where the decoder of the other tokens does not read it.
    """
    crosses = [value.name for value in first.graph.output if ".cross." in _state(value.name)]
    cross_states.move(encoder, first, encoder.graph.output[0].name, _HIDDEN, crosses)
    if _HIDDEN not in {value.name for value in decoder.graph.input}:
        del encoder.graph.output[0]


def _with_states(part: Part) -> Part:
    states = {spec.name: _state(spec.name) for spec in (*part.inputs, *part.outputs)}
    return replace(
        part,
        reads={spec.name: states[spec.name] for spec in part.inputs if states[spec.name]},
        writes={spec.name: states[spec.name] for spec in part.outputs if states[spec.name]},
    )


def _state(tensor: str) -> str:
    """Return the state that a tensor of optimum's graphs is; empty for one that is fed or returned."""
    if tensor in (_HIDDEN, _ENCODED):
        return "hidden"
    match = _PAST.match(tensor)
    return f"past.{match[1]}.{'cross' if match[2] == 'encoder' else 'self'}.{match[3]}" if match else ""


def _described(encoder: Part, decoder: Part) -> tuple[tuple[Part, ...], tuple[State, ...]]:
    """Return the parts with the sizes that the tracer left open, which the decoder's inputs have, and the states."""
    specs = {state: next(spec for spec in decoder.inputs if spec.name == name) for name, state in decoder.reads.items()}
    states = tuple(
        State(name, replace(spec, name=name), "written" if name in encoder.writes.values() else "empty")
        for name, spec in specs.items()
    )
    return (_with_sizes(encoder, specs), _with_sizes(decoder, specs)), states


def _with_sizes(part: Part, specs: dict[str, TensorSpec]) -> Part:
    outputs = []
    for spec in part.outputs:
        like = specs.get(part.writes.get(spec.name, ""))
        sizes = spec.shape if like is None else like.shape
        shape = [size if isinstance(size, int) else own for own, size in zip(spec.shape, sizes, strict=True)]
        outputs.append(replace(spec, shape=tuple(1 if size == "1" else size for size in shape)))
    return replace(part, outputs=tuple(outputs))
