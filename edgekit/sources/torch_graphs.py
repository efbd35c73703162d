"""A model of several graphs that the user's code describes (`edgekit.Graphs`), and the original that runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import BuildError, UsageError
from edgekit.frameworks import torch_call
from edgekit.frameworks.quiet import quiet
from edgekit.frameworks.torch_call import GraphCall
from edgekit.frameworks.torch_model import (
    first_line,
    in_eval_mode,
    limited_threads,
    parameter_count,
    refuse_non_finite,
    to_torch,
    versions,
)
from edgekit.graphs import Graph, Graphs, Loop
from edgekit.model import ASSETS, InputHints, Model, ModelInfo, Reference, State
from edgekit.sources import symbols
from edgekit.spec import TensorSpec
from edgekit.tasks.config import SEQ2SEQ, CalledPart, Calls, Generation, TaskConfig, TextConfig

if TYPE_CHECKING:
    import numpy as np


def load(graphs: Graphs, reference: Reference, workdir: Path) -> Model:
    """Return the model, with its states, and write how it is called into `task.json`."""
    for option, given in (("--input", reference.inputs), ("--processor", reference.processor)):
        if given:
            raise UsageError(
                f"{option} is not for a model whose code names its graphs.",
                hint=f"leave it out: edgekit.Graph has the inputs, edgekit.Loop the symbols of '{reference.ref}'",
            )
    with quiet():
        called = tuple(map(_called, graphs.graphs))
    states = _states(called, graphs)
    assets = workdir / ASSETS
    config = _config(graphs, called, reference, assets)
    config.save(assets)
    modules = torch.nn.ModuleList([each.call.module for each in called])
    return Model(
        format="torch",
        states=states,
        task=config.task,
        info=ModelInfo(
            " + ".join(type(each.call.module).__name__ for each in called),
            parameter_count(modules),
            exporter="dynamo",
            notes=tuple(f"the graph '{each.name}': {note}" for each in called for note in each.call.notes),
        ),
        input_hints=InputHints(integer_ranges=_integer_ranges(called)),
        folder=workdir,
        module=called,
        original=GraphsOriginal({each.name: each for each in called}, states, modules, versions("torch")),
    )


def _called(graph: Graph) -> GraphCall:
    if not isinstance(graph.module, torch.nn.Module):
        raise UsageError(
            f"the graph '{graph.name}' has a {type(graph.module).__name__}, not an nn.Module.",
            hint="give the module that runs it",
        )
    module = in_eval_mode(graph.module)
    refuse_non_finite(module, f"the graph '{graph.name}'")
    texts = [graph.inputs] if isinstance(graph.inputs, str) else graph.inputs
    specs: tuple[TensorSpec, ...] = ()
    examples = graph.inputs
    if isinstance(texts, Sequence) and texts and all(isinstance(text, (str, TensorSpec)) for text in texts):
        specs = tuple(TensorSpec.parse(text) if isinstance(text, str) else text for text in texts)
        examples = graph.examples
    try:
        call = torch_call.describe(module, specs, examples, None)
    except UsageError as fault:
        raise UsageError(f"the graph '{graph.name}': {fault.message}",
                         hint=fault.hint or "correct its inputs") from fault  # fmt: skip
    for verb, tensors, names in (
        ("reads", graph.reads, [spec.name for spec in call.specs]),
        ("writes", graph.writes, list(call.outputs)),
    ):
        for tensor in tensors:
            if tensor not in names:
                kind = "input" if verb == "reads" else "output"
                raise UsageError(
                    f"the graph '{graph.name}' {verb} a state through '{tensor}', which is not one of its {kind}s.",
                    hint=f"its {kind}s: {', '.join(names) or 'none'}"
                    + ("; a dict that forward returns names them" if verb == "writes" else ""),
                )
    return GraphCall(graph.name, call, graph.reads, graph.writes)


def _states(called: Sequence[GraphCall], graphs: Graphs) -> tuple[State, ...]:
    """Return the states as the inputs that read them describe them. Raises UsageError for an output that is not such a
    tensor.
    """
    specs: dict[str, TensorSpec] = {}
    readers: dict[str, str] = {}
    for graph in called:
        for spec in graph.call.specs:
            if (state := graph.reads.get(spec.name)) is not None and state not in specs:
                specs[state], readers[state] = replace(spec, name=state), graph.name
    for graph in called:
        outputs = graph.call.named_outputs(
            torch_call.run(graph.call.module, graph.call.parameters, graph.call.examples)
        )
        for name, state in graph.writes.items():
            spec, shape = specs[state], tuple(outputs[name].shape)
            dtype = torch_call.dtype_of(outputs[name])
            fits = len(shape) == len(spec.shape) and all(
                isinstance(size, str) or size == given for size, given in zip(spec.shape, shape, strict=True)
            )
            if dtype != spec.dtype or not fits:
                raise UsageError(
                    f"the graph '{graph.name}' writes '{name}', {dtype}{list(shape)}, as the state '{state}', which "
                    f"the graph '{readers[state]}' reads as {spec}.",
                    hint="let both have one type, number of dimensions and fixed sizes",
                )
    return tuple(State(name, spec, graphs.starts.get(name, "written")) for name, spec in specs.items())


def _config(graphs: Graphs, called: Sequence[GraphCall], reference: Reference, assets: Path) -> TaskConfig:
    parts = tuple(CalledPart(each.name, each.fed) for each in called)
    last = called[-1]
    recurrent = bool(set(last.reads.values()) & set(last.writes.values()))
    loop = graphs.loop
    if loop is None:
        return TaskConfig(reference.task or "tensor", calls=Calls(parts, recurrent))
    token, scores = _token(loop, called), _scores(loop, last)
    text = _text(loop, parts)
    generation = Generation(start=loop.start, stops=tuple(loop.stops), max_length=loop.max_length)
    if loop.target:
        generation = replace(generation, tokenizer=symbols.TARGET)
        symbols.write(assets / symbols.TARGET, loop.target, special=(loop.start, *loop.stops))
    if loop.source:
        symbols.write(assets / symbols.SOURCE, loop.source, end=loop.end, lowercase=loop.lowercase)
    return TaskConfig(
        reference.task or SEQ2SEQ[-1],
        output=scores,
        text=TextConfig(inputs=(text,)) if text else None,
        generation=generation,
        calls=Calls(parts, recurrent, token, text),
    )


def _token(loop: Loop, called: Sequence[GraphCall]) -> str:
    """Return the input of the last graph that takes the token. Raises UsageError where that is not clear."""
    earlier = {spec.name for each in called[:-1] for spec in each.fed}
    fed = [spec.name for spec in called[-1].fed]
    candidates = [loop.token] if loop.token else [name for name in fed if name not in earlier]
    if len(candidates) != 1 or candidates[0] not in fed:
        what = f"'{loop.token}' is not one of its inputs" if loop.token else "which of its inputs takes it is not clear"
        raise UsageError(
            f"the loop feeds the token to the graph '{called[-1].name}', and {what}.",
            hint=f"name it with edgekit.Loop(token=...); it is fed: {', '.join(fed) or 'nothing'}",
        )
    return candidates[0]


def _scores(loop: Loop, last: GraphCall) -> str:
    given = [name for name in last.call.outputs if name not in last.writes]
    candidates = [loop.scores] if loop.scores else given
    if len(candidates) != 1 or candidates[0] not in given:
        raise UsageError(
            f"the output of the graph '{last.name}' that has the scores of the tokens is not clear.",
            hint=f"name it with edgekit.Loop(scores=...); it returns: {', '.join(given) or 'states alone'}",
        )
    return candidates[0]


def _text(loop: Loop, parts: Sequence[CalledPart]) -> str | None:
    if not loop.source:
        return None
    ids = [spec.name for spec in parts[0].inputs if spec.dtype in ("i64", "i32") and len(spec.shape) == 2]
    if len(ids) != 1 or len(parts) < 2:
        raise UsageError(
            "the loop has source symbols, and the ids of a text need one input of whole numbers [batch, length] of a "
            "graph before the last.",
            hint="give the first graph such an input, or leave source out and give arrays as data",
        )
    return ids[0]


def _integer_ranges(called: Sequence[GraphCall]) -> dict[str, tuple[int, int]]:
    """Return the range of whole numbers that the first table of each graph takes, by input."""
    ranges = {}
    for each in called:
        rows = [part.num_embeddings for part in each.call.module.modules() if isinstance(part, torch.nn.Embedding)]
        for spec in each.fed:
            if rows and spec.dtype in ("i64", "i32"):
                ranges[spec.name] = (0, min(rows) - 1)
    return ranges


@dataclass
class GraphsOriginal:
    """Run the torch modules graph by graph, with states of their own."""

    graphs: Mapping[str, GraphCall]
    states: Sequence[State]
    modules: Any
    framework: str
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def start(self) -> None:
        self._kept = {state.name: torch.from_numpy(state.first()) for state in self.states if state.start != "written"}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the first graph."""
        return self.run_part(next(iter(self.graphs)), feeds)

    def run_part(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs that are not states. Raises BuildError with the message of the module's own exception."""
        graph = self.graphs[part]
        tensors = to_torch(feeds) | {name: self._kept[state] for name, state in graph.reads.items()}
        values = [tensors[spec.name] for spec in graph.call.specs]
        names = graph.call.parameters
        try:
            with torch.inference_mode(), limited_threads(self.modules):
                module = graph.call.module
                result = module(**dict(zip(names, values, strict=True))) if names else module(*values)
        except Exception as error:  # the user's own code
            raise BuildError(f"the graph '{part}' of the original does not run: {first_line(error)}") from error
        outputs = graph.call.named_outputs(result)
        for name, state in graph.writes.items():
            self._kept[state] = outputs.pop(name)
        return {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}
