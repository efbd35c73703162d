"""States of an ONNX file: which output of a call is which input of the next, as the user names them."""

from __future__ import annotations

import re
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

NONE = "none"
"""What --state is where no pair is a state."""

_NEXT = re.compile(r"^(new|next|out|output|cur|updated)_|(_?(out|output|new|next|n|t|cur|updated|o))$", re.IGNORECASE)
"""What the names of outputs have more than those of the inputs that they are of the next call."""

_BEFORE = re.compile(r"^(in|input|prev|previous|last|old|init)_|_?(in|input|prev|previous|last|old|init|0)$",
                     re.IGNORECASE)  # fmt: skip
"""The same of inputs."""

_STATE = re.compile(
    r"(^|[_.])(state|states|hidden|h|c|hn|cn|h0|c0|cell|cache|carry|memory|buffer|rnn|gru|lstm)", re.IGNORECASE
)


def of_file(part: Part, texts: Sequence[str]) -> tuple[Part, tuple[State, ...], tuple[str, ...]]:
    """Return the part with its states, these, and notes on those that nobody named.

    Raises UsageError as `named` does.
    """
    if list(texts) == [NONE]:
        return part, (), ()
    pairs = [] if texts else paired(part)
    part, states = named(part, texts or pairs)
    if not pairs:
        return part, states, ()
    return part, states, (f"states were found by name and shape: {', '.join(pairs)}; for other ones give --state "
                          f"INPUT=OUTPUT, for none --state {NONE}",)  # fmt: skip


def paired(part: Part) -> list[str]:
    """Return the inputs and outputs that are one state by their names and shapes, as `state=stateN`.

    The name of the input is a state's, and differs from the output's by a word such as `in`, `out`, `new` or `next`
    alone; a state has fixed sizes but for the batch. Caches that grow are left to the user, who knows their start.
    """
    pairs: list[str] = []
    outputs = list(part.outputs)
    for read in part.inputs:
        if not _STATE.search(read.name) or read.dtype not in ("f32", "f16", "f64") or _grows(read):
            continue
        same = [spec for spec in outputs if _stem(spec.name, _NEXT) in (read.name, _stem(read.name, _BEFORE))]
        if len(same) == 1 and _is_alike(read, same[0]):
            outputs.remove(same[0])
            pairs.append(f"{read.name}={same[0].name}")
    return pairs if len(pairs) < len(part.inputs) else []


def _stem(name: str, words: re.Pattern[str]) -> str:
    return words.sub("", name, count=1) or name


def _grows(spec: TensorSpec) -> bool:
    """Return whether more than one size is free: beside the batch that of the steps before."""
    return sum(isinstance(size, str) for size in spec.shape) > 1


def _is_alike(read: TensorSpec, written: TensorSpec) -> bool:
    sizes = zip(read.shape, written.shape, strict=False)
    return (
        read.dtype == written.dtype
        and len(read.shape) == len(written.shape)
        and all(a == b or isinstance(a, str) or isinstance(b, str) for a, b in sizes)
    )


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
    if not _is_alike(read, written):
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
