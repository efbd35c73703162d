"""From a raw sample to the answer, timed: the task's preparation, the inferences that the sample needs, the answer."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import tasks
from edgekit.bench.outcome import RawSample
from edgekit.bench.percentile import percentiles_ms
from edgekit.data import Sample
from edgekit.result.measurement import EndToEnd
from edgekit.runner import Runner
from edgekit.spec import MODEL, TensorSpec
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np

    from edgekit.plugin import Session

LEAST = 64
"""What p90 needs; a slow one may take three times its seconds for it."""

WARM = 3


def plain(raw: RawSample) -> dict[str, Any]:
    """Return a raw sample and its task as plain values, paths marked, for the measuring process."""
    fields = {
        name: {"path": str(value.absolute())} if isinstance(value, Path) else {"value": value}
        for name, value in raw.sample.fields.items()
    }
    return {
        "task": raw.task.to_dict(),
        "assets": str(raw.assets.absolute()),
        "inputs": [spec.to_dict() for spec in raw.inputs],
        "fields": fields,
        "text": list(raw.sample.text),
    }


def run(session: Session, raw: Mapping[str, Any], seconds: float, file: Path) -> dict[str, Any]:
    """Time the whole way again and again for `seconds` and at least 64 times (but no longer than three times that).

    Files are read again each time, from the system's cache. Appends three native int64 nanoseconds an inference to
    `file`: preparing, inferring, answering.
    """
    inputs = tuple(TensorSpec.from_dict(spec) for spec in raw["inputs"])
    task = tasks.load(TaskConfig.from_dict(raw["task"]), Path(raw["assets"]), inputs)
    fields = {name: Path(each["path"]) if "path" in each else each["value"] for name, each in raw["fields"].items()}
    whole = Sample(fields, None, tuple(raw["text"]))
    runner = Runner({MODEL: session})
    clock, parts = time.perf_counter_ns, array("q")

    def once() -> tuple[int, int, int]:
        began = clock()
        inferring = 0

        def timed(part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            nonlocal inferring
            start = clock()
            outputs = runner.run(part, feeds)
            inferring += clock() - start
            return outputs

        inferences = tasks.drive(task, whole, timed)
        driven = clock()
        task.answer([inference.outputs for inference in inferences], whole)
        return driven - began - inferring, inferring, clock() - driven

    for _ in range(WARM):
        once()
    start, count = clock(), 0
    while (passed := (clock() - start) / 1e9) < seconds or (count < LEAST and passed < 3 * seconds):
        parts.extend(once())
        count += 1
    with file.open("ab") as times:
        parts.tofile(times)
    return {"count": count}


def summarise(parts_ns: np.ndarray, sample: str) -> EndToEnd:
    """Sum up times, int64 [count, 3]: the percentiles are of the whole way, the medians of each part."""
    import numpy as np

    whole = parts_ns.sum(axis=1)
    prepare, infer, answer = (float(value) / 1e6 for value in np.median(parts_ns, axis=0))
    return EndToEnd(sample, len(whole), percentiles_ms(whole), float(whole.mean()) / 1e6, prepare, infer, answer)
