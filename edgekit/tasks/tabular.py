"""From columns of numbers to one float tensor [1, columns]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample
from edgekit.errors import UsageError, nearest
from edgekit.spec import TensorSpec, check_feeds
from edgekit.tasks.config import TabularConfig
from edgekit.tasks.tensor import Tensors, fit

if TYPE_CHECKING:
    import numpy as np

SHOWN = 20
"""How many characters of a text a message shows."""

EMPTY = ("", "na", "nan", "n/a", "null", "none")
"""How tables write that a cell has no value."""

KEYS = ("id", "index", "idx", "row", "key", "unnamed: 0", "")
"""Names of columns that number the rows: left out where the table has more columns than the model."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Prepares the named columns, or every column of numbers where none is named and there are as many as the model
    takes.
    """

    config: TabularConfig
    inputs: Sequence[TensorSpec]

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        import numpy as np

        spec = self._spec()
        if spec is None or not self._is_row(sample, spec):
            return Tensors(self.inputs)(sample)
        row = np.array([self._number(sample, name) for name in self._columns(sample, spec)], dtype=np.float64)
        if self.config.mean is not None or self.config.std is not None:
            row = (row - np.asarray(self.config.mean or 0.0)) / np.asarray(self.config.std or 1.0)
        feeds = {spec.name: fit(row[None], spec)}
        check_feeds(self.inputs, feeds)
        return [feeds]

    def columns(self, sample: Sample) -> tuple[str, ...]:
        """Return the names of the columns in the order in which the model takes them; empty where the sample holds
        arrays.
        """
        spec = self._spec()
        return () if spec is None or not self._is_row(sample, spec) else self._columns(sample, spec)

    def _is_row(self, sample: Sample, spec: TensorSpec) -> bool:
        return spec.name not in sample.fields and not any(map(_is_vector, sample.fields.values()))

    def _spec(self) -> TensorSpec | None:
        """Return the input that takes the whole row; None for a model with an input for each column."""
        named = [spec for spec in self.inputs if spec.name == self.config.input]
        return (named or list(self.inputs))[0] if named or len(self.inputs) == 1 else None

    def _columns(self, sample: Sample, spec: TensorSpec) -> tuple[str, ...]:
        if self.config.columns:
            for name in self.config.columns:
                if name not in sample.fields:
                    raise UsageError(
                        f"the data has no column '{name}'.{nearest(name, sample.fields)}",
                        hint=f"it has {', '.join(sample.fields)}",
                    )
            return self.config.columns
        numeric = tuple(name for name, value in sample.fields.items() if value is None or _is_number(value))
        width = spec.shape[-1] if spec.shape else None
        if isinstance(width, int) and len(numeric) != width:
            without = tuple(name for name in numeric if name.strip().lower() not in KEYS)
            if len(without) != width:
                raise self._unequal(sample, width, numeric)
            return without
        return numeric

    def _unequal(self, sample: Sample, width: int, numeric: tuple[str, ...]) -> UsageError:
        """Return the error of a row with another number of numbers than the model takes."""
        message = (
            f"the model takes {width} numbers and the data has {len(numeric)} columns of numbers: "
            f"{', '.join(numeric) or 'none'}."
        )
        texts = {name: value for name, value in sample.fields.items() if isinstance(value, str)}
        if not texts or len(numeric) > width:
            return UsageError(
                message, hint="remove the columns that are not features, or name the label with --label-column"
            )
        shown = ", ".join(f"'{name}' ({value[:SHOWN]})" for name, value in texts.items())
        return UsageError(
            f"{message} Other columns hold text: {shown}.",
            hint="write the numbers that the model was trained on in their place: one for each value, or a column of "
            "0 and 1 for each value",
        )

    def _number(self, sample: Sample, name: str) -> float:
        value = sample.fields[name]
        if self.config.missing is not None and (value is None or str(value).strip().lower() in EMPTY):
            return math.nan
        if not _is_number(value):
            if value in (None, ""):
                raise UsageError(
                    f"the column '{name}' is empty in a sample.",
                    hint="fill such cells as in training, or drop the rows",
                )
            raise UsageError(
                f"the column '{name}' holds '{str(value)[:SHOWN]}', which is not a number, in a sample.",
                hint="write the number that the model was trained on in its place, or drop such rows",
            )
        return float(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, (bool, int, float)):
        return True
    return hasattr(value, "dtype") and value.ndim == 0 and value.dtype.kind in "biuf"


def _is_vector(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (hasattr(value, "ndim") and value.ndim >= 1)
