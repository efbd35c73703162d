"""N:M sparsity by magnitude: of every M weights along a layer's input channels only the N largest are kept.

TensorRT's sparse kernels take 2:4 (NVIDIA Ampere and later); no processor backend gains from it: there the graph keeps
its size and its speed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError, listed, nearest
from edgekit.frameworks.onnx_model import load, save
from edgekit.frameworks.onnx_pass import Rewrite
from edgekit.model import Model

if TYPE_CHECKING:
    import numpy as np

    from edgekit.data import Feeds

FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class PruneNM(Record):
    """Keep N of every M weights of Conv, Gemm and MatMul along the input channels, the largest; needs no samples."""

    name: ClassVar[str] = "prune-nm"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnx", "numpy")
    prunes: ClassVar[bool] = True

    n: int = 2
    m: int = 4
    """TensorRT takes 2:4: two non-zeros in each four consecutive input channels, at each position of a Conv's kernel.
    """
    exclude: tuple[str, ...] = ()
    """Names of nodes whose weights stay as they are."""

    def __post_init__(self) -> None:
        if not 0 < self.n < self.m:
            raise UsageError(
                f"prune-nm: {self.n} of {self.m} weights cannot be kept.", hint="n must be at least 1 and less than m"
            )

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the sparse model into `workdir`; its zeros stay zero when it is quantized afterwards.

        Raises UsageError for an unknown name in `exclude`, UnsupportedError where no weights fit the pattern.
        """
        if "i8" in model.precision:
            raise UnsupportedError(
                f"{self.n}:{self.m} pruning starts from float weights; this model is {model.precision}.",
                hint="put prune-nm before the quantizing pass in the recipe",
            )
        rewrite = Rewrite(self.name, self.to_dict(), self.packages)
        notes: list[str] = []
        for part in model.parts:
            proto = load(model.folder / part.file)
            part_notes = self._prune(proto.graph)
            save(proto, workdir / part.file)
            notes += part_notes if len(model.parts) == 1 else [f"{part.name}: {note}" for note in part_notes]
        return rewrite.finish(model, workdir, precision=model.precision, notes=notes)

    def _prune(self, graph: Any) -> list[str]:
        from onnx import numpy_helper

        names = {node.name for node in graph.node}
        for name in self.exclude:
            if name not in names:
                raise UsageError(
                    f"exclude: the graph has no node '{name}'.{nearest(name, names)}",
                    hint=f"its nodes: {listed(names)}",
                )
        axes = self._axes(graph)
        sparse, skipped = 0, Counter[str]()
        for tensor in graph.initializer:
            axis = axes.get(tensor.name)
            if axis is None:
                continue
            if tensor.data_type != FLOAT or tensor.dims[axis] % self.m:
                reason = f"{tensor.dims[axis]} input channels" if tensor.data_type == FLOAT else "not f32"
                skipped[reason] += 1
                continue
            kept = keep_largest(numpy_helper.to_array(tensor), axis, self.n, self.m)
            tensor.CopyFrom(numpy_helper.from_array(kept, tensor.name))
            sparse += 1
        if not sparse:
            raise UnsupportedError(
                f"no weight of this graph can become {self.n}:{self.m} sparse.",
                problems=[f"{count} weights: {reason}" for reason, count in sorted(skipped.items())],
                hint="use a recipe without prune-nm",
            )
        notes = [f"{sparse} weights are {self.n}:{self.m} sparse along their input channels"]
        return notes + [f"left dense: {count} weights, {reason}" for reason, count in sorted(skipped.items())]

    def _axes(self, graph: Any) -> dict[str, int]:
        """Return the axis of the input channels of each weight, by name; one that is read in two ways is left out."""
        constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
        readings: dict[str, set[int | None]] = {}
        for node in graph.node:
            for position, name in enumerate(node.input):
                if name in constants:
                    axis = None if node.name in self.exclude else _axis(node, position, constants[name])
                    readings.setdefault(name, set()).add(axis)
        single = {name: next(iter(axes)) for name, axes in readings.items() if len(axes) == 1}
        return {name: axis for name, axis in single.items() if axis is not None}


def keep_largest(weights: np.ndarray, axis: int, n: int, m: int) -> np.ndarray:
    """Return `weights` with all but the `n` largest of each `m` along `axis` at zero; of equals the first are kept."""
    import numpy as np

    lined = np.moveaxis(weights, axis, -1)
    groups = lined.reshape(*lined.shape[:-1], -1, m)
    order = np.argsort(-np.abs(groups), axis=-1, kind="stable")
    mask = np.zeros(groups.shape, bool)
    np.put_along_axis(mask, order[..., :n], True, axis=-1)
    return np.ascontiguousarray(np.moveaxis(np.where(mask, groups, 0).reshape(lined.shape), -1, axis))


def _axis(node: Any, position: int, rank: int) -> int | None:
    """Return the axis of the input channels of the node's input `position`; None where that is not a weight."""
    if position != 1:
        return None
    if node.op_type == "Conv" and rank > 2:
        return 1
    if node.op_type == "MatMul" and rank >= 2:
        return rank - 2
    if node.op_type == "Gemm":
        return 1 if any(entry.name == "transB" and entry.i for entry in node.attribute) else 0
    return None
