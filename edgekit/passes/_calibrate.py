"""Find the range of every activation by running samples, one at a time, in memory that does not grow with their number.

The reduction happens inside the graph: each tensor of interest gets a ReduceMin and a ReduceMax, and one vector of
scalars comes back per sample. onnxruntime's own calibrators are not used: MinMax keeps every sample's outputs until the
end (its `max_intermediate_outputs` forgets them instead of merging), Percentile and Entropy keep whole activations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError, UsageError
from edgekit.passes._onnx import save
from edgekit.spec import TensorSpec, check_feeds

if TYPE_CHECKING:
    import numpy as np

STATISTICS = "edgekit_statistics"

GROUP = 1024
"""Elements whose extremes are averaged. A sentence's or an image's activations fill a group each; the few numbers of a
table's row do not, and averaging such small extremes would clip most rows."""


def find_ranges(
    graph: Any,
    tensors: Sequence[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    inputs: Sequence[TensorSpec],
    *,
    method: str,
    limit: int,
    file: Path | None,
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], int]:
    """Give (lowest, highest) of each tensor as float32 scalars, and how many samples were run.

    `graph` is an onnx.ModelProto and is left alone; the one with reductions goes through `file`, where it is too large
    for one protobuf message, and through memory otherwise.
    `minmax` takes the extremes over all samples; `mean` their average over groups of at least GROUP elements.
    Raises UsageError for no or unfit samples, BuildError where a tensor is not finite.
    """
    import numpy as np
    import onnxruntime

    counted = _with_statistics(graph, tensors)
    if file is not None:
        save(counted, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without an arena, samples of differing length do not pile up blocks of every size.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(
        counted.SerializeToString() if file is None else file, options, providers=["CPUExecutionProvider"]
    )
    del counted
    wanted = {value.name for value in session.get_inputs()}
    extremes = Extremes(len(tensors), least=1 if method == "minmax" else GROUP, averaged=method == "mean")
    count = 0
    for feed in itertools.islice(iter(feeds), limit):
        check_feeds(inputs, feed)
        try:
            (found,) = session.run([STATISTICS], {name: value for name, value in feed.items() if name in wanted})
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise BuildError(f"calibration sample {count} does not run: {error}") from error
        low, high, sizes = found.reshape(-1, 3).T.astype(np.float64)
        _refuse_non_finite(low + high, tensors, count)
        extremes.add(low, high, sizes)
        count += 1
    if count == 0:
        raise UsageError(
            "static quantization needs samples and got none.",
            hint="give data with --data, or take a recipe that needs none: int8-dynamic, fp16 or bf16",
        )
    pairs = zip(*(side.astype(np.float32) for side in extremes.result()), strict=True)
    return {name: (np.array(lo), np.array(hi)) for name, (lo, hi) in zip(tensors, pairs, strict=True)}, count


class Extremes:
    """Merge the lowest and highest of many tensors, sample by sample: over all, or averaged over groups of samples."""

    def __init__(self, count: int, *, least: int, averaged: bool) -> None:
        import numpy as np

        self._averaged = averaged
        self._least = least
        self._low, self._high = np.full(count, np.inf), np.full(count, -np.inf)
        self._size = np.zeros(count)
        self._sum_low, self._sum_high, self._groups = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, low: np.ndarray, high: np.ndarray, sizes: np.ndarray) -> None:
        """Take one sample's extremes and numbers of elements."""
        import numpy as np

        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self._size += sizes
        if self._averaged:
            full = self._size >= self._least
            self._sum_low[full] += self._low[full]
            self._sum_high[full] += self._high[full]
            self._groups[full] += 1
            self._low[full], self._high[full], self._size[full] = np.inf, -np.inf, 0

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Give lowest and highest; a group that never filled counts as one where there is no other."""
        import numpy as np

        known = self._groups > 0
        groups = np.maximum(self._groups, 1)
        return np.where(known, self._sum_low / groups, self._low), np.where(known, self._sum_high / groups, self._high)


def _refuse_non_finite(found: np.ndarray, tensors: Sequence[str], count: int) -> None:
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise BuildError(
            f"calibration sample {count} gives the tensor '{tensors[bad[0]]}' a value that is not finite.",
            hint="check the samples' preprocessing, and the model in fp32 with `--recipe fp32`",
        )


def _with_statistics(graph: Any, tensors: Sequence[str]) -> Any:
    """Copy `graph` with one output, a float32 vector [min_0, max_0, size_0, min_1, ...], in place of its own."""
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    augmented = ModelProto()
    augmented.CopyFrom(graph)
    del augmented.graph.output[:]
    augmented.graph.initializer.append(numpy_helper.from_array(_one(), STATISTICS + "_shape"))
    scalars = []
    for index, name in enumerate(tensors):
        base = f"{STATISTICS}_{index}_"
        augmented.graph.node.extend(
            (
                helper.make_node("ReduceMin", [name], [base + "min"], keepdims=0),
                helper.make_node("ReduceMax", [name], [base + "max"], keepdims=0),
                helper.make_node("Size", [name], [base + "integer"]),
                helper.make_node("Cast", [base + "integer"], [base + "size"], to=TensorProto.FLOAT),
            )
        )
        for kind in ("min", "max", "size"):
            flat = [base + kind, STATISTICS + "_shape"]
            augmented.graph.node.append(helper.make_node("Reshape", flat, [base + kind + "_1"]))
            scalars.append(base + kind + "_1")
    augmented.graph.node.append(helper.make_node("Concat", scalars, [STATISTICS], axis=0))
    augmented.graph.output.append(helper.make_tensor_value_info(STATISTICS, TensorProto.FLOAT, [len(scalars)]))
    return augmented


def _one() -> np.ndarray:
    import numpy as np

    return np.array([1], np.int64)
