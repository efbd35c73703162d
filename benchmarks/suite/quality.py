"""Judging: every artifact answers the same labelled samples, and one metric is computed for all alike."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from edgekit._record import digest_of, digest_of_file
from edgekit.target import host
from edgekit.tasks import metrics
from models import detection
from models.place import work
from models.subject import Rows, Subject
from suite.artifact import Artifact, call


def score(artifact: Artifact, folder: Path) -> float | None:
    """Return the metric of an artifact on the subject's samples; None for a subject without one. Kept once computed.

    Raises Failed when the artifact does not load or run.
    """
    subject = Subject.load(folder)
    if subject.metric is None:
        return None
    samples = folder / "evaluation.npz"
    kept = work() / "quality" / f"{digest_of([artifact.key, digest_of_file(samples), subject.metric])}.json"
    if kept.is_file():
        return float(json.loads(kept.read_text())["score"])
    rows = Rows.load(samples)
    entry = artifact.entry(artifact.tool, rows.feeds(0), threads=host.probe().cores)
    with tempfile.TemporaryDirectory(prefix="edgekit-suite-") as scratch:
        request, out = Path(scratch) / "request.json", Path(scratch) / "answers.npz"
        payload = entry.payload.to_dict() | {"folder": str(entry.payload.folder.absolute())}
        request.write_text(json.dumps({"subject": str(folder), "backend": entry.backend, "payload": payload}))
        log = work() / "logs" / f"{subject.name}-{artifact.tool}-answers.log"
        call(entry.python, "suite.answer", (request, out), log)
        with np.load(out) as archive:
            answers = [archive[str(index)] for index in range(len(rows))]
    result = judged(subject, answers, rows.labels)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"tool": artifact.tool, "model": subject.name, "score": result}) + "\n")
    return result


def judged(subject: Subject, answers: list[np.ndarray], labels: np.ndarray) -> float:
    """Compute the metric of all answers: classes, vectors (two of them for each label) or boxes."""
    if subject.metric == "map50":
        return detection.map50(answers, labels)
    if subject.metric == "spearman":
        unit = np.stack(answers) / np.linalg.norm(answers, axis=1, keepdims=True)
        return metrics.spearman(list((unit[0::2] * unit[1::2]).sum(1)), list(labels))
    return metrics.accuracy([int(answer) for answer in answers], list(labels))


def passes(drop: float, allowed: float) -> bool:
    """Return whether a loss is allowed; sums of floats that should be equal to it are."""
    return drop <= allowed + 1e-9
