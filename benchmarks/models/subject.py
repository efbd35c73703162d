"""A model as every tool is given it: where it is, what it is judged on, and what it may lose."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgekit._record import Record, digest_of_file
from edgekit.spec import SHORT_NAMES, TensorSpec

if TYPE_CHECKING:
    import numpy as np

RECORD = "subject.json"
LABEL = "label"


@dataclass(frozen=True)
class Subject(Record):
    """One model with its samples, which lie beside the record as evaluation.npz and calibration.npz."""

    name: str
    summary: str
    kind: Literal["transformers", "factory", "onnx"]
    reference: str
    """A checkpoint's folder or an ONNX file, beside the record, or `package.module:factory`."""
    task: str
    """The task as edgekit names it."""
    transformer: bool = False
    """Whether attention decides what quantizing it needs."""
    metric: Literal["accuracy", "spearman", "map50"] | None = None
    """None for random weights: they have a speed and no quality."""
    allowed: float = 0.01
    """What the metric may lose against the original."""
    pairs: bool = False
    """Each two rows of the samples share one label: two texts to compare."""
    export: tuple[str, ...] = ()
    """What edgekit's command is told beside the model; `{folder}` stands for the record's folder."""

    @classmethod
    def load(cls, folder: Path) -> Subject:
        """Read the record in `folder`; the reference becomes a path that any process can take."""
        subject = cls.from_dict(json.loads((folder / RECORD).read_text()), str(folder))
        return (
            subject
            if subject.kind == "factory"
            else replace(subject, reference=str(folder.absolute() / subject.reference))
        )

    def save(self, folder: Path) -> None:
        (folder / RECORD).write_text(json.dumps(self.to_dict(), indent=1) + "\n")


@dataclass(frozen=True)
class Rows:
    """Samples as feeds: arrays by input name whose first axis counts them."""

    arrays: dict[str, np.ndarray]
    labels: np.ndarray | None

    @classmethod
    def load(cls, file: Path) -> Rows:
        import numpy as np

        with np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
        labels = arrays.pop(LABEL, None)
        return cls(arrays, labels)

    def save(self, file: Path) -> None:
        import numpy as np

        np.savez(file, **self.arrays, **({} if self.labels is None else {LABEL: self.labels}))

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def feeds(self, index: int) -> dict[str, np.ndarray]:
        """Return the feeds of one inference, batch 1."""
        return {name: array[index : index + 1] for name, array in self.arrays.items()}

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """Describe the inputs, batch 1."""
        return tuple(
            TensorSpec(name, SHORT_NAMES[str(array.dtype)], (1, *array.shape[1:]))
            for name, array in self.arrays.items()
        )


def digest(folder: Path) -> str:
    """Return a digest of all that decides what a tool makes of the subject in `folder`."""
    import hashlib

    subject = Subject.load(folder)
    parts = [folder / RECORD, folder / "calibration.npz"]
    if subject.kind == "factory":
        import inspect
        from importlib import import_module

        parts.append(Path(inspect.getfile(import_module(subject.reference.partition(":")[0]))))
    else:
        path = Path(subject.reference)
        parts += [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    text = "\n".join(f"{part.name} {digest_of_file(part)}" for part in parts if part.is_file())
    return hashlib.sha256(text.encode()).hexdigest()
