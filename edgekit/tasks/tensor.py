"""The last step to a model's inputs for every task: type, batch dimension, shape. And the task of models
without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit.data import Problem, Sample
from edgekit.errors import UsageError, listed, nearest
from edgekit.spec import TensorSpec, check_feeds
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.task import OnePart, Prediction, Preparation

if TYPE_CHECKING:
    import numpy as np


def fit(value: Any, spec: TensorSpec) -> np.ndarray:
    """Return `value` as the array that `spec` takes: the batch dimension added where missing, the type cast.

    A cast must keep every value; between floating types it may round, but not overflow. Raises UsageError otherwise.
    """
    import numpy as np

    if isinstance(value, (Path, bytes)):
        raise UsageError(
            f"'{spec.name}' is a file, and this model has no preprocessing that reads it.",
            hint="give the folder of its processor with --processor, or give arrays named as the inputs (npz)",
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise UsageError(
            f"the value for input '{spec.name}' is not an array: {error}.",
            hint="give numbers of one shape for each sample: pad what differs in length",
        ) from error
    array = _cast(array, spec)
    if array.ndim == len(spec.shape) - 1:
        array = array[None]
    elif array.ndim == 0 and set(spec.shape[1:]) == {1}:  # a cell of a table, for an input that is one column
        array = array.reshape((1,) * len(spec.shape))
    if array.ndim != len(spec.shape):
        raise UsageError(
            f"the array for input '{spec.name}' has shape {list(array.shape)}, the model takes {spec}.",
            hint="give one sample's array, with or without the batch dimension",
        )
    return np.asarray(array, order="C")  # not ascontiguousarray: it adds a dimension to a scalar


def _cast(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    import numpy as np

    if spec.dtype == "str":
        if array.dtype.kind not in "USO":
            raise UsageError(
                f"input '{spec.name}' takes text and was given {array.dtype}.",
                hint="give an array of text: numpy.array(['...'])",
            )
        return array.astype(object)
    if spec.dtype == "bf16":
        raise UsageError(
            f"input '{spec.name}' is bfloat16, which numpy does not have.", hint="export it with fp32 inputs"
        )
    wanted = np.dtype(spec.numpy_dtype)
    if array.dtype == wanted:
        return array
    if array.dtype.kind not in "biuf":
        raise UsageError(
            f"input '{spec.name}' takes {wanted} and was given {array.dtype}: {_shown(array)}.",
            hint=f"convert the data to {wanted} first",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
    if array.dtype.kind == "f" and wanted.kind == "f":
        kept = bool(np.array_equal(np.isfinite(cast), np.isfinite(array)))
    else:
        # Cast back, the values are compared in their own type: 2**24 + 1 does not survive float32.
        with np.errstate(over="ignore", invalid="ignore"):
            kept = bool(np.array_equal(cast.astype(array.dtype), array)) and not _flipped(array, cast)
    if not kept:
        raise UsageError(
            f"input '{spec.name}' takes {wanted}, and some values do not fit it ({array.dtype}: {_shown(array)}).",
            hint="convert the data yourself if that is intended",
        )
    return cast


def _flipped(array: np.ndarray, cast: np.ndarray) -> bool:
    """Return whether a sign was lost: -1 as an unsigned number is a large one, and is -1 again when cast back."""
    return bool(((array < 0) != (cast < 0)).any()) if array.dtype.kind != "b" and cast.dtype.kind != "b" else False


def _shown(array: np.ndarray) -> str:
    text = ", ".join(str(item) for item in array.ravel()[:4].tolist())
    return text + (", ..." if array.size > 4 else "")


@dataclass(frozen=True, eq=False)
class Tensors:
    """Passes the sample's fields on as they are, by the inputs' names."""

    inputs: Sequence[TensorSpec]
    why: str | None = None
    """Why the model's own preprocessing is missing."""

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        fields: Mapping[str, Any] = sample.fields
        if len(self.inputs) == 1 and len(fields) == 1 and self.inputs[0].name not in fields:
            fields = {self.inputs[0].name: next(iter(fields.values()))}
        feeds = {}
        for spec in self.inputs:
            if spec.name not in fields:
                known = listed(fields) or "nothing"
                row = len(self.inputs) == 1 and all(isinstance(value, (int, float)) for value in fields.values())
                raise UsageError(
                    f"the sample has nothing for the input '{spec}'.{nearest(spec.name, fields)}",
                    hint=f"for a table of numbers give --task tabular-classification; the columns are {known}"
                    if row and fields
                    else f"name the arrays as the inputs; the sample has {known}",
                )
            value = fields[spec.name]
            if self.why and isinstance(value, (Path, bytes)):
                raise UsageError(
                    f"files cannot be converted to '{spec.name}': {self.why}.",
                    hint="prepare the data yourself, as arrays named as the inputs (npz, or package.module:function)",
                )
            feeds[spec.name] = fit(value, spec)
        check_feeds(self.inputs, feeds)
        return [feeds]


def output_of(outputs: Sequence[Mapping[str, np.ndarray]], name: str | None, number: int = 0) -> np.ndarray:
    """Return an output of call `number`: by name, or the first. Raises UsageError where it is missing."""
    arrays = outputs[number]
    if name is None:
        return next(iter(arrays.values()))
    if name not in arrays:
        raise UsageError(
            f"the model has no output '{name}'.{nearest(name, arrays)}", hint=f"it has {', '.join(arrays)}"
        )
    return arrays[name]


@dataclass(frozen=True, eq=False)
class Raw(OnePart):
    """Any model: samples are its inputs, and its outputs are compared as they are."""

    problem: ClassVar[Problem] = "outputs"

    config: TaskConfig
    prepare: Preparation
    metric: str | None = None
    compares_top: bool = False

    def predict(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> Prediction:
        return Prediction(None)

    def answer(self, outputs: Sequence[Mapping[str, np.ndarray]], sample: Sample | None = None) -> dict[str, Any]:
        return {"outputs": {name: summary(array) for name, array in outputs[0].items()}}

    def label(self, raw: Any) -> Any:
        return raw

    def score(self, predictions: Sequence[Prediction], labels: Sequence[Any]) -> float:
        raise UsageError(
            f"the task '{self.config.task}' has no metric here: outputs are compared with the original's.",
            hint="give another task with --task where the model has one",
        )


def summary(array: np.ndarray) -> dict[str, Any]:
    """Return the shape, type, range and first values of an array, for a person."""
    import numpy as np

    facts: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    if array.size and array.dtype.kind in "biuf":
        values = array.astype(np.float64)
        facts |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return {**facts, "first": array.ravel()[:6].tolist()}
