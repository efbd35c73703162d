"""How a model's inputs are made and its outputs read: the record that a source writes to `assets/task.json`.

The same record serves the export and the device, so what is measured is what runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit._record import Record
from edgekit.errors import ArtifactError

FILE = "task.json"
TOKENIZER = "tokenizer.json"

ProblemType = Literal["multi-label", "regression", "values"]
"""How a classifier's outputs are meant where they are not one class of several: any number of classes, one number
(`regression`), or several (`values`)."""


@dataclass(frozen=True)
class ImageConfig(Record):
    """Turn a picture into one float tensor: convert, resize, crop, rescale, normalise, lay out."""

    input: str = "pixel_values"
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    size: tuple[int, ...] | None = None
    """(height, width) for `exact`; (edge,) for `shortest_edge`; None leaves the size alone."""
    resize: Literal["exact", "shortest_edge"] = "exact"
    resample: int = 2
    """Pillow's filter number: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic."""
    crop: tuple[int, ...] | None = None
    """(height, width) of the centre crop."""
    rescale: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"


@dataclass(frozen=True)
class TextConfig(Record):
    """Turn one text or a pair into token tensors with `assets/tokenizer.json`."""

    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    max_length: int | None = None
    """Longer texts are truncated."""
    pad_to: int | None = None
    """Pad to this many tokens: set when the graph has a fixed length."""
    pad_id: int = 0
    pad_type_id: int = 0
    pad_side: Literal["left", "right"] = "right"
    prefix: str = ""
    """Put before every text, as the prompt that a sentence model was trained with."""
    columns: tuple[str, ...] = ()
    """Columns of a table that hold the text, or the two texts of a pair; empty: found by their content."""


@dataclass(frozen=True)
class TabularConfig(Record):
    """Turn named columns of numbers into one float tensor [1, columns]."""

    input: str = "features"
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TaskConfig(Record):
    """What a task needs on the device beside the graph and the tokenizer file."""

    task: str
    labels: tuple[str, ...] = ()
    """Names of the classes, by index."""
    metric: str | None = None
    """accuracy, f1, auc, spearman, pearson; None takes the task's own."""
    output: str | None = None
    """The output that answers; None takes the first."""
    image: ImageConfig | None = None
    text: TextConfig | None = None
    tabular: TabularConfig | None = None
    problem_type: ProblemType | None = None
    activation: Literal["logits", "probabilities"] | None = None
    """What a classifier's output is; None takes one output for a logit, and several for probabilities where they are
    positive and sum to one."""
    no_preprocessing: str | None = None
    """Why the model's own preprocessing is not here, where it has one that has no equivalent."""
    metric_code: str | None = None
    """SHA-256 of the file that holds the user's own metric: scores by another code are not taken from the cache."""

    def save(self, assets: Path) -> None:
        assets.mkdir(parents=True, exist_ok=True)
        (assets / FILE).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, assets: Path) -> TaskConfig | None:
        """Read `task.json`; None where a model brings none."""
        path = assets / FILE
        if not path.exists():
            return None
        try:
            return cls.from_dict(_current(json.loads(path.read_text())), str(path))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"cannot read '{path}': {error}.") from error


def _current(data: Any) -> Any:
    """Return the record with its fields of today; earlier versions wrote some of them into a table `facts`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("facts"), Mapping):
        return data
    facts = data["facts"]
    fields = {
        "problem_type": facts.get("problem"),
        "activation": facts.get("activation"),
        "no_preprocessing": facts.get("image") or facts.get("text"),
        "metric_code": facts.get("metric_code"),
    }
    return {**{name: value for name, value in data.items() if name != "facts"}, **fields}
