"""A subject as a torch module that takes its inputs in order and returns one tensor."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from models.subject import Rows, Subject


def load(folder: Path) -> Any:
    """Load the original weights of the subject in `folder`. Raises SystemExit for a model that comes as a graph."""
    subject = Subject.load(folder)
    if subject.kind == "onnx":
        raise SystemExit("the model comes as an ONNX file, which torch does not run")
    if subject.kind == "factory":
        sys.path.insert(0, str(Path(__file__).parent.parent))
        module, _, function = subject.reference.partition(":")
        return getattr(import_module(module), function)()[0].eval()
    return _transformers(subject, list(Rows.load(folder / "calibration.npz").arrays))


def calibration(folder: Path) -> Any:
    """Return every calibration sample as a tuple of tensors."""
    import torch

    rows = Rows.load(folder / "calibration.npz")
    for index in range(len(rows)):
        yield tuple(torch.from_numpy(array) for array in rows.feeds(index).values())


def _transformers(subject: Subject, names: list[str]) -> Any:
    import torch
    import transformers

    kinds = {
        "sentence-similarity": "AutoModel",
        "text-classification": "AutoModelForSequenceClassification",
        "image-classification": "AutoModelForImageClassification",
    }
    model = getattr(transformers, kinds[subject.task]).from_pretrained(subject.reference).eval()

    class FirstOutput(torch.nn.Module):
        """A transformers model whose inputs are positions and whose answer is its first tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            return self.model(**dict(zip(names, inputs, strict=True)), return_dict=False)[0]

    return FirstOutput().eval()
