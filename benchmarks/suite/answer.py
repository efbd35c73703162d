"""One artifact's answers to every sample, in its tool's environment: `python -m suite.answer REQUEST.json OUT.npz`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.plugin import Payload
from models import detection
from models.subject import Rows, Subject

NAMES = ("sentence_embedding", "logits", "last_hidden_state", "output")
"""Names of the output that holds the answer, where a graph has several; else it is the first."""


def main(request: str, out: str) -> None:
    asked = json.loads(Path(request).read_text())
    folder = Path(asked["subject"])
    subject, rows = Subject.load(folder), Rows.load(folder / "evaluation.npz")
    payload = Payload.from_dict(asked["payload"])
    answers = []
    with closing(_backend(asked["backend"]).open(payload)) as session:
        for index in range(len(rows)):
            feeds = rows.feeds(index)
            given = {spec.name: feeds[spec.name].astype(spec.numpy_dtype) for spec in payload.part.inputs}
            answers.append(answer(subject, session.run(given), feeds))
    np.savez(out, **{str(index): array for index, array in enumerate(answers)})


def answer(subject: Subject, outputs: dict[str, np.ndarray], feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Reduce one inference's outputs to what the metric needs: a class's number, a vector, or boxes."""
    name = next((name for name in NAMES if name in outputs), next(iter(outputs)))
    array = np.asarray(outputs[name], np.float64)[0]
    if subject.metric == "map50":
        return detection.detections(array)
    if subject.metric == "spearman" and array.ndim == 2:  # a vector for each token: their mean is the sentence's
        weight = feeds["attention_mask"][0][:, None]
        return (array * weight).sum(0) / weight.sum()
    return array if subject.metric == "spearman" else array.argmax()


def _backend(name: str) -> Any:
    if ":" in name:
        module, _, kind = name.partition(":")
        return getattr(import_module(module), kind)()
    from edgekit import registry

    return registry.backend(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
