"""The original model's outputs on the evaluation samples: computed once in its own framework, kept on disk, read one
by one.

They may be larger than memory (dense outputs of thousands of samples), so they are streamed into one uncompressed
archive and each array is read when it is compared.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._record import digest_of, digest_of_file
from edgekit.data import Sample, Samples, UnreadableImage, check_pictures
from edgekit.errors import BuildError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Original
from edgekit.progress import Progress
from edgekit.tasks import Task

if TYPE_CHECKING:
    import numpy as np

SYNTHETIC = "synthetic"
"""The source of samples that were made up because no data was given."""

VERSION = 2
"""Raised when what `record` writes for the same model and samples changes."""

_ARRAYS = "outputs.zip"
_FACTS = "originals.json"


class Originals:
    """Read what `record` wrote: `self[i]` gives the outputs of sample i, one dict for each inference."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads((folder / _FACTS).read_text())
        self.framework: str = facts["framework"]
        self._inferences: list[list[list[str]]] = facts["inferences"]
        self.digest = digest_of([digest_of_file(folder / _FACTS), digest_of_file(folder / _ARRAYS)])
        self._archive = zipfile.ZipFile(folder / _ARRAYS)

    def __len__(self) -> int:
        return len(self._inferences)

    def __getitem__(self, index: int) -> list[dict[str, np.ndarray]]:
        return [
            {name: self._array(f"{index}.{run}.{number}") for number, name in enumerate(names)}
            for run, names in enumerate(self._inferences[index])
        ]

    def _array(self, member: str) -> np.ndarray:
        import numpy as np

        return np.lib.format.read_array(io.BytesIO(self._archive.read(member)), allow_pickle=False)

    def close(self) -> None:
        self._archive.close()


def record(original: Original, task: Task, samples: Samples, folder: Path, progress: Progress) -> None:
    """Run the original on every sample and write its outputs below `folder`.

    Raises BuildError when the original does not run on a sample or gives values that are not finite, UsageError where
    the samples were made up.
    """
    inferences: list[list[list[str]]] = []
    with (
        progress.step(f"running the original ({original.framework})", len(samples)) as tick,
        zipfile.ZipFile(folder / _ARRAYS, "w", zipfile.ZIP_STORED) as archive,
    ):
        for index, sample in enumerate(samples):
            runs = []
            for run, feeds in enumerate(_feeds(task, sample, samples)):
                outputs = _run(original, feeds, index, samples.source)
                for number, array in enumerate(outputs.values()):
                    # A bare name would carry the time of day, and the digest of the same outputs would change with it.
                    archive.writestr(zipfile.ZipInfo(f"{index}.{run}.{number}"), _npy(array))
                runs.append(list(outputs))
            inferences.append(runs)
            tick()
    (folder / _FACTS).write_text(json.dumps({"framework": original.framework, "inferences": inferences}))


def _feeds(task: Task, sample: Sample, samples: Samples) -> list[dict[str, np.ndarray]]:
    """Make one sample's feeds; of pictures that do not open, all are counted before the first is refused."""
    try:
        return task.feeds(sample)
    except UnreadableImage as fault:
        check_pictures(samples, first=fault)
        raise


def _run(original: Original, feeds: Mapping[str, np.ndarray], index: int, source: str) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        outputs = original.run(feeds)
    except (UnsupportedError, EnvironmentFault):
        raise
    except Exception as error:  # the user's own code and framework: any exception is theirs
        shapes = ", ".join(f"{name}{list(array.shape)}" for name, array in feeds.items())
        reason = (error.message if isinstance(error, EdgekitError) else str(error)).rstrip(".")
        if source == SYNTHETIC:
            raise UsageError(
                f"no data is given, and the model does not run on inputs that were made up ({shapes}): {reason}.",
                hint="give samples with --data, or say which sizes it takes: --shape NAME=SIZE",
            ) from error
        raise BuildError(
            f"the original model does not run on sample {index} ({shapes}): {reason}.",
            hint="check that the data and its preprocessing are what the model takes",
        ) from error
    for name, array in outputs.items():
        if array.dtype.kind in "OUS":
            raise UnsupportedError(
                f"the output '{name}' holds text, and edgekit compares numbers.",
                hint="cut that output off the graph; classes get their names back from the labels",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _not_finite(name, index, source)
    return outputs


def _not_finite(name: str, index: int, source: str) -> EdgekitError:
    if source == SYNTHETIC:
        return UsageError(
            f"no data is given, and the model gives values that are not finite in '{name}' on made-up inputs.",
            hint="give samples with --data",
        )
    return BuildError(
        f"the original model itself gives values that are not finite in '{name}' on sample {index}.",
        hint="check the sample and the weights; no export can be held against such outputs",
    )


def _npy(array: np.ndarray) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    # Not ascontiguousarray, which gives a scalar a dimension.
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()
