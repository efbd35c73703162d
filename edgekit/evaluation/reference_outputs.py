"""The trace of the original model on the evaluation samples: its inputs and outputs, recorded once.

Every sample is prepared and run once, in the original's own framework. Candidates replay the recorded calls, the
benchmark and the tuner take their inputs from them, and the bundle stores the first few. Inputs and outputs are
uncompressed archives that are read sample by sample, since dense outputs of thousands of samples may be larger than
memory.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._record import Record, digest_of, digest_of_file
from edgekit.data import Sample, Samples, UnreadableImage, check_pictures
from edgekit.errors import BuildError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.evaluation import repeatable
from edgekit.evaluation.free_sizes import FreeSizes, free_sizes
from edgekit.model import Original, OriginalOfParts, Part
from edgekit.progress import Progress
from edgekit.tasks.task import Inference, Task, drive

if TYPE_CHECKING:
    import numpy as np

SYNTHETIC = "synthetic"
"""The source of samples that were generated because no data was given."""

VERSION = 4
"""Increased when `record` writes something else for the same model and samples."""

FEEDS_BYTES = 2_000_000_000
"""Feeds are stored up to this size. Those of later samples are prepared again from the sample when they are read: with
the recorded outputs the task makes the same calls again."""

_OUTPUTS = "outputs.zip"
_FEEDS = "feeds.zip"
_RECORD = "trace.json"


@dataclass(frozen=True)
class RecordedCall(Record):
    """A call of the original: its part, and the names of its inputs and outputs."""

    part: str
    inputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    """The shape of each input."""
    outputs: tuple[str, ...]
    output_shapes: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """The number of elements in the call's inputs."""
        return sum(math.prod(shape) for shape in self.shapes)


class ReferenceOutputs:
    """The trace that `record` wrote. `reference[i]` is the trace of sample i: its inferences in order.

    `task` and `samples` are those that were recorded.
    """

    def __init__(self, folder: Path, task: Task, samples: Samples) -> None:
        recorded = json.loads((folder / _RECORD).read_text())
        self.framework: str = recorded["framework"]
        self.calls = [[RecordedCall.from_dict(call) for call in calls] for calls in recorded["samples"]]
        """The calls of each sample, without their arrays."""
        self.digest = digest_of([digest_of_file(folder / _RECORD), digest_of_file(folder / _OUTPUTS)])
        self._task, self._samples = task, samples
        self._outputs = zipfile.ZipFile(folder / _OUTPUTS)
        self._feeds = zipfile.ZipFile(folder / _FEEDS)
        self._stored = int(recorded["feeds_stored"])

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, index: int) -> list[Inference]:
        outputs = self.outputs(index)
        if index >= self._stored:
            recorded = iter(outputs)
            return drive(self._task, self._samples[index], lambda part, feeds: next(recorded))
        return [
            Inference(
                call.part,
                {name: _read(self._feeds, f"{index}.{step}.{place}") for place, name in enumerate(call.inputs)},
                outputs[step],
            )
            for step, call in enumerate(self.calls[index])
        ]

    def outputs(self, index: int) -> list[dict[str, np.ndarray]]:
        """Return the original's outputs of each call of sample `index`."""
        return [
            {name: _read(self._outputs, f"{index}.{step}.{place}") for place, name in enumerate(call.outputs)}
            for step, call in enumerate(self.calls[index])
        ]

    def free_sizes(self, part: Part) -> FreeSizes:
        """Return the outputs of the original, described by `part`, whose size follows the data."""
        calls = (call for calls in self.calls for call in calls)
        shapes = (
            (dict(zip(call.inputs, call.shapes, strict=True)), dict(zip(call.outputs, call.output_shapes, strict=True)))
            for call in calls
        )
        return free_sizes(part, shapes)

    def close(self) -> None:
        self._outputs.close()
        self._feeds.close()


def record(original: Original, task: Task, samples: Samples, folder: Path, progress: Progress) -> None:
    """Run the original on every sample and write its trace below `folder`.

    Raises BuildError when the original does not run on a sample or returns values that are not finite; where the
    samples are synthetic, UsageError instead. Raises UnsupportedError when it answers a sample differently each time.
    """
    recorded: list[list[dict[str, Any]]] = []
    stored, room = 0, FEEDS_BYTES
    with (
        progress.step(f"running the original ({original.framework})", len(samples)) as tick,
        zipfile.ZipFile(folder / _OUTPUTS, "w", zipfile.ZIP_STORED) as outputs,
        zipfile.ZipFile(folder / _FEEDS, "w", zipfile.ZIP_STORED) as feeds,
    ):
        for index, sample in enumerate(samples):
            inferences = _inferences(original, task, sample, index, samples)
            if index < repeatable.SAMPLES:
                repeatable.check(original, inferences)
            room -= sum(array.nbytes for inference in inferences for array in inference.feeds.values())
            for step, inference in enumerate(inferences):
                _write(outputs, f"{index}.{step}", inference.outputs.values())
                if room >= 0:
                    _write(feeds, f"{index}.{step}", inference.feeds.values())
            stored += room >= 0
            recorded.append([_described(inference).to_dict() for inference in inferences])
            tick()
    description = {"framework": original.framework, "feeds_stored": stored, "samples": recorded}
    (folder / _RECORD).write_text(json.dumps(description))


def _described(inference: Inference) -> RecordedCall:
    inputs, outputs = (
        tuple(tuple(array.shape) for array in arrays.values()) for arrays in (inference.feeds, inference.outputs)
    )
    return RecordedCall(inference.part, tuple(inference.feeds), inputs, tuple(inference.outputs), outputs)


def _inferences(original: Original, task: Task, sample: Sample, index: int, samples: Samples) -> list[Inference]:
    """Return the inferences of one sample. Where its picture does not open, all that do not are counted before the
    error for the first is raised.
    """
    try:
        if isinstance(original, OriginalOfParts):
            original.start()
        return drive(task, sample, lambda part, feeds: _run(original, part, feeds, index, samples.source))
    except UnreadableImage as fault:
        check_pictures(samples, first=fault)
        raise


def _run(
    original: Original, part: str, feeds: Mapping[str, np.ndarray], index: int, source: str
) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        outputs = original.run_part(part, feeds) if isinstance(original, OriginalOfParts) else original.run(feeds)
    except (UnsupportedError, EnvironmentFault):
        raise
    except Exception as error:  # raised by the user's own code or framework: any exception is possible
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in feeds.items())
        reason = (error.message if isinstance(error, EdgekitError) else str(error)).rstrip(".")
        if source == SYNTHETIC:
            raise UsageError(
                f"no data is given, and the model does not run on synthetic inputs ({shapes}): {reason}.",
                hint="give samples with --data, or the sizes that it takes with --shape NAME=SIZE",
            ) from error
        raise BuildError(
            f"the original model does not run on sample {index} ({shapes}): {reason}.",
            hint="check that the data and its preprocessing are what the model takes",
        ) from error
    for name, array in outputs.items():
        if array.dtype.kind in "OUS":
            raise UnsupportedError(
                f"the output '{name}' holds text, and edgekit compares numbers.",
                hint="remove that output from the graph; classes get their names back from the labels",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _not_finite(name, index, source)
    return outputs


def _not_finite(name: str, index: int, source: str) -> EdgekitError:
    if source == SYNTHETIC:
        return UsageError(
            f"no data is given, and the model returns values that are not finite in '{name}' on synthetic inputs.",
            hint="give samples with --data",
        )
    return BuildError(
        f"the original model itself returns values that are not finite in '{name}' on sample {index}.",
        hint="check the sample and the weights; no export can be compared with such outputs",
    )


def _write(archive: zipfile.ZipFile, prefix: str, arrays: Iterable[np.ndarray]) -> None:
    import numpy as np

    for place, array in enumerate(arrays):
        buffer = io.BytesIO()
        # Not ascontiguousarray, which adds a dimension to a scalar.
        ordered = np.asarray(array, order="C")
        np.lib.format.write_array(buffer, _text(ordered), allow_pickle=False)
        # A plain name would store the time of day, and the digest of the same arrays would change with it.
        archive.writestr(zipfile.ZipInfo(f"{prefix}.{place}"), buffer.getvalue())


def _text(array: np.ndarray) -> np.ndarray:
    """Return the array, one of Python strings as an array of numpy strings, which can be written without pickle."""
    return array.astype(str) if array.dtype.kind == "O" else array


def _read(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    import numpy as np

    array = np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)
    return array.astype(object) if array.dtype.kind == "U" else array
