"""Find the range of every activation by running samples, one at a time, in memory that does not grow with their number.

The reduction happens inside the graph: each tensor of interest gets a ReduceMin and a ReduceMax, and each sample
returns one vector of scalars. Methods that leave outliers out run the samples a second time, and count the values
between those extremes (`histogram.py`). onnxruntime's own calibrators are not used: MinMax keeps every sample's
outputs until the end (its `max_intermediate_outputs` drops them instead of merging), Percentile and Entropy keep
whole activations.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import cache
from edgekit._record import Record, digest_of
from edgekit.errors import BuildError, UsageError
from edgekit.frameworks.onnx_model import save
from edgekit.passes.quantize import histogram
from edgekit.passes.quantize.observers import STATISTICS, with_statistics, with_values
from edgekit.spec import TensorSpec, check_feeds

if TYPE_CHECKING:
    import numpy as np

    from edgekit.data import Feeds
    from edgekit.passes.onnx.prepare import Prepared

GROUP = 1024
"""Number of elements whose extremes are one term of the average. A sentence's or an image's activations fill a group
each; the few numbers of a table's row do not, and averaging such small extremes would clip most rows."""


VERSION = 2
"""Raised when the ranges of the same samples change, so that cached ranges of an older version are not used."""

FETCH_BYTES = 64_000_000
"""Bytes of a sample's activations that are held at once for counting; with more, the sample is run more than once."""

SETTLED = 0.10
SETTLED_SHARE = 0.90
"""Ranges have settled when this share of them is within SETTLED of their final values. Extremes keep growing with the
logarithm of the count: of ResNet-20's on CIFAR, 93 % were that close after 128 of 300 pictures."""

SETTLED_EARLY = 2 / 3
"""The share of the samples within which they must have settled; later, the final values are too close to prove it."""


@dataclass(frozen=True)
class Method(Record):
    """How ranges are computed from the values of the samples."""

    name: str = "minmax"
    """`minmax`, `mean`, `percentile`, `entropy` or `mse`."""
    percent: float = 99.99
    levels: int = 256

    @property
    def counts_values(self) -> bool:
        """Return whether the method needs histograms, so that the samples are run twice."""
        return self.name in ("percentile", "entropy", "mse")

    def clip(self, counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
        """Return the range of one tensor by its histogram."""
        if self.name == "percentile":
            return histogram.percentile(counts, low, high, self.percent)
        choose = histogram.entropy if self.name == "entropy" else histogram.mean_square
        return choose(counts, low, high, self.levels)


@dataclass(frozen=True)
class Calibration:
    """The ranges of the samples: (lowest, highest) of each tensor as float32 scalars."""

    ranges: Mapping[str, tuple[np.ndarray, np.ndarray]]
    count: int
    """Number of samples that were run."""
    notes: tuple[str, ...] = ()


def cached_ranges(
    prepared: Prepared,
    tensors: Sequence[str],
    feeds: Feeds,
    inputs: Sequence[TensorSpec],
    *,
    method: Method,
    source: str,
) -> Calibration:
    """Return the result of `find_ranges`, from the step cache where the same samples were run through the same graph.

    `source` is the digest of the model that `prepared` was made from.
    """
    import numpy as np
    import onnxruntime

    def make(work: Path) -> None:
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            file = Path(scratch) / "statistics.onnx" if prepared.large else None
            calibration = find_ranges(prepared.proto, tensors, feeds, inputs, method=method, file=file)
        np.save(work / "ranges.npy", np.array([calibration.ranges[name] for name in tensors], np.float32))
        (work / "facts.json").write_text(json.dumps({"count": calibration.count, "notes": calibration.notes}))

    key = [VERSION, onnxruntime.__version__, source, list(tensors), feeds.digest, method.to_dict()]
    folder, _ = cache.fetch(digest_of(["ranges", key]), "calibrate", make)
    ranges = np.load(folder / "ranges.npy", allow_pickle=False)
    facts = json.loads((folder / "facts.json").read_text())
    return Calibration(_by_name(tensors, *ranges.T), facts["count"], tuple(facts["notes"]))


def find_ranges(
    graph: Any,
    tensors: Sequence[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    inputs: Sequence[TensorSpec],
    *,
    method: Method,
    file: Path | None,
) -> Calibration:
    """Run the samples and return the range of each tensor.

    `graph` is an onnx.ModelProto and is not changed; the one that is run goes through `file`, where it is too large for
    one protobuf message, and through memory otherwise. `minmax` takes the extremes over all samples; `mean` their
    average over groups of at least GROUP elements; the others run the samples again to count the values between the
    extremes, so `feeds` is iterated twice.
    Raises UsageError without samples or for unfit ones, BuildError where a tensor is not finite.
    """
    extremes = Extremes(len(tensors), least=1 if method.name != "mean" else GROUP, averaged=method.name == "mean")
    session = open_session(with_statistics(graph, tensors), file)
    history: list[tuple[int, np.ndarray, np.ndarray]] = []
    largest = [0] * len(tensors)
    count = 0
    for low, high, sizes in _statistics(session, tensors, feeds, inputs):
        extremes.add(low, high, sizes)
        largest = [max(before, int(size)) for before, size in zip(largest, sizes, strict=True)]
        count += 1
        if count & (count - 1) == 0:  # at powers of two
            history.append((count, *extremes.result()))
    if count == 0:
        raise UsageError(
            "static quantization needs samples, but there are none.",
            hint="pass data with --data, or use a recipe that needs none: int8-dynamic, fp16 or bf16",
        )
    del session
    low, high = extremes.result()
    notes = _settling_note(history, low, high, count)
    if method.counts_values:
        histograms = histogram.Histograms(low, high)
        _count_values(graph, tensors, feeds, histograms, largest, file)
        low, high = histograms.ranges(method.clip)
    return Calibration(_by_name(tensors, low, high), count, notes)


def _by_name(
    tensors: Sequence[str], lowest: np.ndarray, highest: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    import numpy as np

    pairs = zip(lowest.astype(np.float32), highest.astype(np.float32), strict=True)
    return {name: (np.array(low), np.array(high)) for name, (low, high) in zip(tensors, pairs, strict=True)}


def open_session(proto: Any, file: Path | None) -> Any:
    """Return a session of a graph to calibrate on; through `file` where it is too large for one protobuf message."""
    import onnxruntime

    if file is not None:
        save(proto, file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Without an arena, samples of different length do not accumulate blocks of every size.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(
        proto.SerializeToString() if file is None else file, options, providers=["CPUExecutionProvider"]
    )


def _statistics(
    session: Any, tensors: Sequence[str], feeds: Iterable[Mapping[str, np.ndarray]], inputs: Sequence[TensorSpec]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield each sample's lowest values, highest values and numbers of elements, one for each tensor."""
    import numpy as np

    for number, feed in enumerate(feeds):
        check_feeds(inputs, feed)
        (statistics,) = run_sample(session, [STATISTICS], feed, number)
        low, high, sizes = statistics.reshape(-1, 3).T.astype(np.float64)
        refuse_non_finite(low + high, tensors, number)
        yield low, high, sizes


def run_sample(session: Any, names: Sequence[str], feed: Mapping[str, np.ndarray], number: int) -> list[np.ndarray]:
    """Return the outputs `names` of one sample. Raises BuildError with the sample's number."""
    wanted = {value.name for value in session.get_inputs()}
    try:
        outputs: list[np.ndarray] = session.run(names, {name: value for name, value in feed.items() if name in wanted})
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise BuildError(f"calibration sample {number} does not run: {error}") from error
    return outputs


def _count_values(
    graph: Any,
    tensors: Sequence[str],
    feeds: Iterable[Mapping[str, np.ndarray]],
    histograms: histogram.Histograms,
    largest: Sequence[int],
    file: Path | None,
) -> None:
    """Run the samples again and count every tensor's values, few tensors at a time where they are large."""
    session = open_session(with_values(graph, tensors), file)
    groups: list[list[int]] = []
    held = FETCH_BYTES
    for index, size in enumerate(largest):
        held += 4 * size
        if held > FETCH_BYTES or not groups:
            groups.append([])
            held = 4 * size
        groups[-1].append(index)
    for number, feed in enumerate(feeds):
        for group in groups:
            values = run_sample(session, [f"{STATISTICS}_{index}" for index in group], feed, number)
            for index, array in zip(group, values, strict=True):
                histograms.add(index, array)


def _settling_note(
    history: Sequence[tuple[int, np.ndarray, np.ndarray]], low: np.ndarray, high: np.ndarray, count: int
) -> tuple[str, ...]:
    """Return a note of how many samples were enough: after which most ranges were close to their final values."""
    import numpy as np

    if count < 2:
        return ("the ranges come from one sample: pass more",)
    width = np.maximum(high - low, np.finfo(np.float32).tiny)
    for seen, lowest, highest in history:
        near = np.abs(highest - lowest - width) <= SETTLED * width
        if near.mean() >= SETTLED_SHARE and seen <= SETTLED_EARLY * count:
            share = f"{SETTLED_SHARE:.0%} of them within {SETTLED:.0%}"
            return (f"after {seen} of {count} samples the ranges had settled ({share})",)
    return (f"the ranges were still widening at {count} samples: more may improve the accuracy",)


class Extremes:
    """Merges the lowest and highest of many tensors, sample by sample: over all, or averaged over groups of samples."""

    def __init__(self, count: int, *, least: int, averaged: bool) -> None:
        import numpy as np

        self._averaged = averaged
        self._least = least
        self._low, self._high = np.full(count, np.inf), np.full(count, -np.inf)
        self._size = np.zeros(count)
        self._sum_low, self._sum_high, self._groups = np.zeros(count), np.zeros(count), np.zeros(count)

    def add(self, low: np.ndarray, high: np.ndarray, sizes: np.ndarray) -> None:
        """Add one sample's extremes and numbers of elements."""
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
        """Return lowest and highest; an unfilled group counts where it is the only one."""
        import numpy as np

        known = self._groups > 0
        groups = np.maximum(self._groups, 1)
        return np.where(known, self._sum_low / groups, self._low), np.where(known, self._sum_high / groups, self._high)


def refuse_non_finite(values: np.ndarray, tensors: Sequence[str], number: int) -> None:
    """Raise BuildError, naming the tensor, for the first of `values` that is not finite; `number` is the sample's."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise BuildError(
            f"in calibration sample {number} the tensor '{tensors[bad[0]]}' has a value that is not finite.",
            hint="check the samples' preprocessing, and the model in fp32 with `--recipe fp32`",
        )
