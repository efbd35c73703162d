"""A model of several graphs as its author describes it: what a `package.module:factory` returns for one.

```python
def g2p():
    encoder, decoder = Encoder().eval(), Decoder().eval()  # modules of torch
    return edgekit.Graphs(
        edgekit.Graph("encoder", encoder, "ids:i64[batch,length]", writes={"last": "hidden"}),
        edgekit.Graph(
            "decoder",
            decoder,
            ("token:i64[batch]", "before:f32[batch,256]"),
            reads={"before": "hidden"},
            writes={"after": "hidden"},
        ),
        loop=edgekit.Loop(start=2, stops=(3,), source=LETTERS, target=SOUNDS),
    )
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgekit.errors import UsageError, nearest

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*$")


@dataclass(frozen=True)
class Graph:
    """One graph of a model: a module, its inputs, and its states.

    A state is a tensor that passes from one call to a later one: an input that `reads` a state is not fed, but is what
    the last call that `writes` the state left there.
    """

    name: str
    module: Any
    """An nn.Module; a dict that its forward returns names its outputs."""
    inputs: Any
    """Texts such as `ids:i64[batch,length]`, in which a name is a free size; or example tensors: one, a tuple in the
    order of forward's arguments, or a dict by their names. Of example tensors only the first size is free."""
    reads: Mapping[str, str] = field(default_factory=dict)
    """Input to state."""
    writes: Mapping[str, str] = field(default_factory=dict)
    """Output to state."""
    examples: Any = None
    """Example tensors beside texts, for a module that does not run on zeros."""

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise UsageError(
                f"'{self.name}' is not the name of a graph.", hint="begin with a letter; use letters, digits and _"
            )


@dataclass(frozen=True)
class Loop:
    """The last graph is called token by token: fed the token of the highest score, until a stop id. The graphs before
    it are called once.
    """

    start: int
    """The token that is fed first."""
    stops: Sequence[int]
    """Tokens that end the answer."""
    max_length: int = 64
    """The most tokens, the first included."""
    token: str | None = None
    """The input of the last graph that takes the token; None: the one that is not in the sample and not a state."""
    scores: str | None = None
    """Its output with a score for each token; None: the one that is not a state."""
    source: Sequence[str] = ()
    """The symbols of the text by id; where each is one character the text is read by characters, else by words.
    `<unk>` stands for those that are missing. Empty: samples are arrays of ids."""
    target: Sequence[str] = ()
    """The symbols of the answer by id; empty: the answer is ids. Symbols such as `<s>` are left out of the answer."""
    end: str | None = None
    """The symbol that is added to the end of each text."""
    lowercase: bool = False
    """Whether the text is made lower case first."""

    def __post_init__(self) -> None:
        if isinstance(self.stops, int):
            object.__setattr__(self, "stops", (self.stops,))
        for what, symbols in (("source", self.source), ("target", self.target)):
            if len(set(symbols)) != len(symbols):
                twice = next(each for each in symbols if list(symbols).count(each) > 1)
                raise UsageError(f"the symbol '{twice}' occurs twice in the {what} of the loop.",
                                 hint="give each id one symbol")  # fmt: skip
        if self.end is not None and self.end not in self.source:
            raise UsageError(
                f"the loop's end '{self.end}' is not one of its source symbols.{nearest(self.end, self.source)}",
                hint="add it to source, at the place of its id",
            )
        if self.target and not all(0 <= each < len(self.target) for each in (self.start, *self.stops)):
            raise UsageError(
                f"the loop's start and stops are ids below the number of target symbols, {len(self.target)}; given "
                f"are {self.start} and {', '.join(map(str, self.stops))}.",
                hint="count the ids from 0",
            )
        if self.max_length < 2:
            raise UsageError("the loop's max_length is below 2, so no token follows the first.", hint="leave it out")


@dataclass(frozen=True, init=False)
class Graphs:
    """A model of several graphs, in the order in which they are called.

    Without a `loop` each is called once for a sample. Where the last one writes states that it reads, arrays of a
    sample with one dimension more are its steps: it is called for each.
    """

    graphs: tuple[Graph, ...]
    loop: Loop | None
    starts: Mapping[str, Literal["zeros", "empty"]]
    """What a state is before the first call that writes it, for one that is read before: zeros, or without elements."""

    def __init__(
        self,
        *graphs: Graph,
        loop: Loop | None = None,
        starts: Mapping[str, Literal["zeros", "empty"]] | None = None,
    ) -> None:
        object.__setattr__(self, "graphs", graphs)
        object.__setattr__(self, "loop", loop)
        object.__setattr__(self, "starts", dict(starts or {}))
        self._check()

    def _check(self) -> None:
        """Raise UsageError for repeated names and for states that do not pass from a graph to another."""
        names = [graph.name for graph in self.graphs]
        if not names:
            raise UsageError("the model has no graphs.", hint="give edgekit.Graphs at least one edgekit.Graph")
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two graphs of the model have the name '{name}'.", hint="give each its own name")
        written = {state for graph in self.graphs for state in graph.writes.values()}
        read = {state for graph in self.graphs for state in graph.reads.values()}
        for graph in self.graphs:
            for state in graph.reads.values():
                if state not in written:
                    raise UsageError(
                        f"the graph '{graph.name}' reads the state '{state}', which no graph writes."
                        f"{nearest(state, written)}",
                        hint=f"name it in writes of the graph that gives it, such as writes={{'output': '{state}'}}",
                    )
            for state in graph.writes.values():
                if state not in read:
                    raise UsageError(
                        f"the graph '{graph.name}' writes the state '{state}', which no graph reads."
                        f"{nearest(state, read)}",
                        hint="name it in reads of the graph that takes it, or leave it out of writes: then it is an "
                        "output",
                    )
        self._check_starts(read)

    def _check_starts(self, read: set[str]) -> None:
        for state, start in self.starts.items():
            if state not in read or start not in ("zeros", "empty"):
                raise UsageError(
                    f"starts has '{state}: {start}', which is not a state with zeros or empty.{nearest(state, read)}",
                    hint=f"the states: {', '.join(sorted(read)) or 'none'}",
                )
        earlier = set(self.starts)
        for graph in self.graphs:
            for state in graph.reads.values():
                if state not in earlier:
                    raise UsageError(
                        f"the graph '{graph.name}' reads the state '{state}' before any graph wrote it.",
                        hint=f"give its first value: starts={{'{state}': 'zeros'}}; or put the graph that writes it "
                        "first",
                    )
            earlier |= set(graph.writes.values())
