"""The onnx package's own implementation of the operators, for originals that onnxruntime has no kernel for.

It is the definition of what an operator computes, in numpy: slow, so it runs small graphs only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgekit.frameworks import onnx_graph, onnx_model

if TYPE_CHECKING:
    import numpy as np

MOST_NODES = 200
MOST_WEIGHTS = 1_000_000
"""About what it runs in a second."""


class ReferenceSession:
    """What `OnnxOriginal` uses of an onnxruntime session, by onnx's reference implementation."""

    def __init__(self, path: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(str(path))

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self._evaluator.output_names]

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> Any:
        import numpy as np

        with np.errstate(all="ignore"):
            return [np.asarray(output) for output in self._evaluator.run(list(names), dict(feeds))]


def open_reference(path: Path, proto: Any) -> ReferenceSession | None:
    """Return a session; None for a graph that is too large for it, or whose operators onnx does not implement."""
    weights = sum(math.prod(tensor.dims) for tensor in onnx_model.tensors(proto.graph))
    if weights > MOST_WEIGHTS or sum(1 for _ in onnx_graph.nodes(proto)) > MOST_NODES:
        return None
    try:
        return ReferenceSession(path)
    except Exception:  # errors of many kinds for operators that it lacks
        return None
