"""Statistics of activations by channel: the greatest magnitude of each, and sample rows of values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.frameworks import onnx_graph
from edgekit.passes.quantize.calibrate import open_session, refuse_non_finite, run_sample
from edgekit.passes.quantize.observers import STATISTICS, with_channel_extremes, with_values
from edgekit.spec import TensorSpec, check_feeds

if TYPE_CHECKING:
    import numpy as np

    from edgekit.data import Feeds

ROWS = 256
"""Number of rows of an activation that are kept where the values themselves are needed."""


def channel_extremes(
    graph: Any,
    widths: Mapping[str, int],
    feeds: Iterable[Mapping[str, np.ndarray]],
    inputs: Sequence[TensorSpec],
    *,
    file: Path | None,
) -> dict[str, np.ndarray]:
    """Run the samples, one at a time, and return the greatest magnitude of each channel of the tensors: f32[width].

    `widths` has the number of channels, the last dimension, by tensor; memory does not grow with the samples.
    `graph` and `file` are as for `find_ranges`.
    """
    import numpy as np

    session = open_session(with_channel_extremes(graph, tuple(widths), opset=onnx_graph.opset(graph)), file)
    owners = [name for name, width in widths.items() for _ in range(width)]
    greatest = np.zeros(len(owners), np.float32)
    for number, feed in enumerate(feeds):
        check_feeds(inputs, feed)
        (magnitudes,) = run_sample(session, [STATISTICS], feed, number)
        refuse_non_finite(magnitudes, owners, number)
        np.maximum(greatest, magnitudes, out=greatest)
    return dict(zip(widths, np.split(greatest, np.cumsum(list(widths.values()))[:-1]), strict=True))


def sample_rows(
    graph: Any, widths: Mapping[str, int], feeds: Feeds, inputs: Sequence[TensorSpec], *, file: Path | None
) -> dict[str, np.ndarray]:
    """Run the samples and return rows of the tensors, evenly spread, about ROWS of each: f32[rows, width]."""
    import numpy as np

    session = open_session(with_values(graph, tuple(widths)), file)
    names = [f"{STATISTICS}_{index}" for index in range(len(widths))]
    rows_per_sample = max(1, ROWS // max(1, len(feeds)))
    kept: dict[str, list[np.ndarray]] = {name: [] for name in widths}
    for number, feed in enumerate(feeds):
        check_feeds(inputs, feed)
        for name, values in zip(widths, run_sample(session, names, feed, number), strict=True):
            rows = values.reshape(-1, widths[name])
            kept[name].append(rows[np.linspace(0, len(rows) - 1, min(rows_per_sample, len(rows))).astype(int)])
    return {name: np.concatenate(rows) for name, rows in kept.items()}
