"""Time the way from a raw sample to the answer: the task's preparation, the sample's inferences, the answer."""

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
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    import numpy as np

LEAST_COUNT = 64
"""The repetitions that p90 needs; a slow task may take three times its seconds for them."""

WARM_COUNT = 3


def plain(raw: RawSample) -> dict[str, Any]:
    """Return a raw sample and its task as plain values for the measuring process; paths are marked as such."""
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


def run(runner: Runner, raw: Mapping[str, Any], seconds: float, file: Path) -> dict[str, Any]:
    """Time the whole way repeatedly for `seconds` and at least 64 times, but for no longer than three times `seconds`.

    Files are read each time, from the system's cache. Appends the nanoseconds of preparing, inferring and answering to
    `file`, three native int64 for each repetition.
    """
    inputs = tuple(TensorSpec.from_dict(spec) for spec in raw["inputs"])
    task = tasks.load(TaskConfig.from_dict(raw["task"]), Path(raw["assets"]), inputs)
    fields = {name: Path(field["path"]) if "path" in field else field["value"] for name, field in raw["fields"].items()}
    sample = Sample(fields, None, tuple(raw["text"]))
    clock, parts = time.perf_counter_ns, array("q")

    def once() -> tuple[int, int, int]:
        began = clock()
        inferring = 0
        run_part = runner.start()

        def timed(part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            nonlocal inferring
            start = clock()
            outputs = run_part(part, feeds)
            inferring += clock() - start
            return outputs

        inferences = tasks.drive(task, sample, timed)
        inferred = clock()
        task.answer([inference.outputs for inference in inferences], sample)
        return inferred - began - inferring, inferring, clock() - inferred

    for _ in range(WARM_COUNT):
        once()
    start, count = clock(), 0
    while (passed := (clock() - start) / 1e9) < seconds or (count < LEAST_COUNT and passed < 3 * seconds):
        parts.extend(once())
        count += 1
    with file.open("ab") as times:
        parts.tofile(times)
    return {"count": count}


def summarise(parts_ns: np.ndarray, sample: str) -> EndToEnd:
    """Return the summary of times, int64 [count, 3]: percentiles of the whole way, medians of each part."""
    import numpy as np

    whole = parts_ns.sum(axis=1)
    prepare, infer, answer = (float(value) / 1e6 for value in np.median(parts_ns, axis=0))
    return EndToEnd(sample, len(whole), percentiles_ms(whole), float(whole.mean()) / 1e6, prepare, infer, answer)
