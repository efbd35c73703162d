"""Tensor names, element types and shapes, and the check that fed arrays have them.

The text form is `name:dtype[dim,dim,...]`, where a dim is a whole number or a symbol: `images:f32[1,3,H,W]`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._record import Record
from edgekit.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np

MODEL = "model"
"""The name of the part of a model that has one."""

ENCODER, DECODER = "encoder", "decoder"
"""The parts of a model that generates; one that continues its input has a decoder alone."""

Call = tuple[str, Mapping[str, Any]]
"""One call of a model: the name of a part, and the arrays that it is fed, by input."""

NUMPY_NAMES = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",  # no numpy dtype: bound through the runtime's own type
    "i8": "int8",
    "u8": "uint8",
    "i16": "int16",
    "u16": "uint16",
    "i32": "int32",
    "u32": "uint32",
    "i64": "int64",
    "u64": "uint64",
    "bool": "bool",
    "str": "object",
}
"""numpy's name of each element type, by our short name."""

SHORT_NAMES = {numpy: short for short, numpy in NUMPY_NAMES.items()}

_TEXT = re.compile(
    r"^(?P<name>.+):(?P<dtype>\w+)\[(?P<shape>[^\[\]]*)\]$"
)  # a name may hold colons, as TensorFlow's do

_NUMBER = re.compile(r"^-?[0-9]+$")


@dataclass(frozen=True)
class TensorSpec(Record):
    """One tensor's name, element type and shape; an entry of the shape is a size, or the name of a free size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __post_init__(self) -> None:
        if self.dtype not in NUMPY_NAMES:
            raise UsageError(
                f"tensor '{self.name}': unknown element type '{self.dtype}'.{nearest(self.dtype, NUMPY_NAMES)}",
                hint="known types: " + ", ".join(NUMPY_NAMES),
            )
        for dim in self.shape:
            if dim == "" or (isinstance(dim, int) and (isinstance(dim, bool) or dim < 0)):
                raise UsageError(
                    f"tensor '{self.name}': {dim!r} is not a size.",
                    hint="give a whole number, or a name for a free size",
                )

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Return the spec of a text such as `images:f32[1,3,H,W]`. Raises UsageError for any other text."""
        match = _TEXT.match(text.strip())
        if not match:
            raise UsageError(
                f"cannot read the tensor '{text}'.",
                hint="write it as name:dtype[dims], for example images:f32[1,3,224,224]",
            )
        inside = match["shape"].strip()
        dims = [dim.strip() for dim in inside.split(",")] if inside else []
        return cls(match["name"], match["dtype"], tuple(int(dim) if _NUMBER.match(dim) else dim for dim in dims))

    def __str__(self) -> str:
        return f"{self.name}:{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def numpy_dtype(self) -> str:
        return NUMPY_NAMES[self.dtype]

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    def resolve(self, sizes: Mapping[str, int], default: int = 1) -> tuple[int, ...]:
        """Return the shape as numbers: a free size is taken from `sizes`, or is `default`."""
        return tuple(dim if isinstance(dim, int) else sizes.get(dim, default) for dim in self.shape)


@dataclass(frozen=True)
class ShapeRange(Record):
    """The bounds of a free size: the least, the one to optimise for, and the greatest."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(
                f"a shape range needs 1 <= min <= opt <= max, found {self.min}, {self.opt}, {self.max}.",
                hint="give the sizes in ascending order, from 1",
            )


def storable(array: Any) -> np.ndarray:
    """Return an array that numpy writes without pickling: texts, which runtimes return as objects, in its own type."""
    import numpy as np

    value = np.asarray(array)
    return value.astype(str) if value.dtype == object else value


class FeedCheck:
    """`check_feeds` that skips types and shapes which passed before.

    That keeps a run of a small model within microseconds of its runtime.
    """

    KNOWN = 1024
    """Most sets of types and shapes that are remembered: texts of many lengths must not grow memory without limit."""

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self._specs = specs
        self._passed: set[object] = set()

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> None:
        try:
            key: object = tuple([(name, array.dtype, array.shape) for name, array in feeds.items()])
        except AttributeError:
            key = None
        if key is None or key not in self._passed:
            check_feeds(self._specs, feeds)
            if len(self._passed) >= self.KNOWN:
                self._passed.clear()
            self._passed.add(key)


def check_feeds(specs: Sequence[TensorSpec], feeds: Mapping[str, np.ndarray]) -> None:
    """Raise UsageError, naming every fault, unless `feeds` holds exactly `specs` with their types and shapes."""
    problems: list[str] = []
    batch: int | None = None
    later: TensorSpec | None = None  # an input whose dimension of one sample is not its first, as time before batch
    expected = {spec.name: spec for spec in specs}
    for name in feeds:
        if name not in expected:
            problems.append(f"unknown input '{name}'.{nearest(name, expected)}")
    sizes: dict[str, tuple[int, str]] = {}
    for name, spec in expected.items():
        if name not in feeds:
            problems.append(f"the input '{name}' is missing")
            continue
        array = feeds[name]
        dtype = str(getattr(array, "dtype", type(array).__name__))
        if dtype != spec.numpy_dtype and not (spec.dtype == "str" and dtype.startswith(("<U", "|S", "object"))):
            problems.append(f"input '{name}' is {dtype}, the model takes {spec.numpy_dtype}")
            continue
        shape = tuple(array.shape)
        if len(shape) != len(spec.shape):
            problems.append(f"input '{name}' has shape {list(shape)}, the model takes {spec}")
            continue
        if shape and shape[0] == 1 and isinstance(spec.shape[0], int) and shape[1:] and spec.shape[0] > 1:
            batch = spec.shape[0]
        if shape[:1] == (1,) and spec.shape[0] != 1 and 1 in spec.shape[1:]:
            later = spec
        for given, wanted in zip(shape, spec.shape, strict=True):
            if isinstance(wanted, int) and given != wanted:
                problems.append(f"input '{name}' has shape {list(shape)}, the model takes {spec}")
                break
            if isinstance(wanted, str) and sizes.setdefault(wanted, (given, name))[0] != given:
                first, other = sizes[wanted]
                problems.append(f"'{wanted}' is {given} in input '{name}' but {first} in '{other}'")
                break
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        hint = "the model takes " + ", ".join(str(spec) for spec in specs)
        if batch is not None:
            hint = (
                f"the model fixes {batch} samples at once and was given one: give arrays of {batch}, in an npz for "
                f"--data [n, {batch}, ...]; or export the model again with a free batch"
            )
        elif later is not None:
            hint += f"; in an npz for --data '{later.name}' has the samples before its {len(later.shape)} dimensions"
        raise UsageError(f"the inputs do not fit the model:{lines}", hint=hint)
