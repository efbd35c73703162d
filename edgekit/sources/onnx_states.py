"""States of an ONNX file: which output of a call is which input of the next, as the user names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import UsageError, nearest
from edgekit.model import Part, State
from edgekit.sources.onnx_original import OnnxOriginal
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np

_EMPTY = ":empty"


def named(part: Part, texts: Sequence[str]) -> tuple[Part, tuple[State, ...]]:
    """Return the part with the states of texts such as `state=stateN` or `past=present:empty`, and these states.

    Raises UsageError for a text that is not one, and for tensors that the graph does not have or that differ.
    """
    inputs, outputs = ({spec.name: spec for spec in specs} for specs in (part.inputs, part.outputs))
    reads, writes, states = {}, {}, []
    for text in texts:
        name, equals, output = text.partition("=")
        start: Literal["empty", "zeros"] = "empty" if output.endswith(_EMPTY) else "zeros"
        output = output.removesuffix(_EMPTY)
        if not (name and equals and output):
            raise UsageError(
                f"cannot read the state '{text}'.",
                hint="write it as INPUT=OUTPUT, such as --state state=stateN; INPUT=OUTPUT:empty for one that grows",
            )
        for kind, tensor, specs in (("input", name, inputs), ("output", output, outputs)):
            if tensor not in specs:
                raise UsageError(
                    f"the state '{text}' names the {kind} '{tensor}', which the graph does not have."
                    f"{nearest(tensor, specs)}",
                    hint=f"its {kind}s: {', '.join(specs)}",
                )
        if name in reads or output in writes:
            twice = name if name in reads else output
            raise UsageError(f"two states are named with '{twice}'.", hint="name each input and each output once")
        _check_alike(inputs[name], outputs[output])
        reads[name] = writes[output] = name
        states.append(State(name, inputs[name], start))
    if len(reads) == len(inputs):
        raise UsageError("all inputs of the graph are states, so nothing is fed.", hint="leave out a --state")
    return replace(part, reads=reads, writes=writes), tuple(states)


def _check_alike(read: TensorSpec, written: TensorSpec) -> None:
    sizes = zip(read.shape, written.shape, strict=False)
    if (
        read.dtype != written.dtype
        or len(read.shape) != len(written.shape)
        or any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes)
    ):
        raise UsageError(
            f"the input '{read}' cannot take what the output '{written}' leaves.",
            hint="a state has one type, one number of dimensions and the same fixed sizes",
        )


@dataclass
class StatefulOriginal:
    """The file as it is, with its states kept from call to call."""

    original: OnnxOriginal
    part: Part
    states: Sequence[State]
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def framework(self) -> str:
        return self.original.framework

    def start(self) -> None:
        self._kept = {state.name: state.first() for state in self.states}

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.run_part(self.part.name, feeds)

    def run_part(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs that are not states."""
        outputs = self.original.run({**feeds, **{name: self._kept[state] for name, state in self.part.reads.items()}})
        for name, state in self.part.writes.items():
            self._kept[state] = outputs.pop(name)
        return outputs
