"""Read what an ONNX file says of itself without the onnx package: its graph's names, shapes, operators and weights.

Reads protobuf's wire format (varint, 64-bit, length-delimited, 32-bit) of the few fields of onnx.proto that are shown.
The file is mapped, not loaded: the weights' bytes are skipped.
"""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit._record import Record
from edgekit.errors import UsageError

_DTYPES = {1: "f32", 2: "u8", 3: "i8", 4: "u16", 5: "i16", 6: "i32", 7: "i64", 8: "str", 9: "bool", 10: "f16",
           11: "f64", 12: "u32", 13: "u64", 16: "bf16", 17: "f8e4m3", 19: "f8e5m2", 21: "u4", 22: "i4"}  # fmt: skip
"""TensorProto.DataType, in our names."""

_Span = tuple[int, int]


@dataclass(frozen=True)
class OnnxFacts(Record):
    """What is shown of an ONNX file."""

    producer: str
    ir_version: int
    opsets: dict[str, int]
    """Version by domain; the standard one is `ai.onnx`."""
    graph: str
    inputs: tuple[str, ...]
    """As `name:dtype[dims]`; inputs that only name a weight are left out."""
    outputs: tuple[str, ...]
    nodes: int
    operators: dict[str, int]
    weights: int
    parameters: int
    types: dict[str, int]
    """Parameters by element type; constants and inner graphs are counted too."""
    external: tuple[str, ...] = ()
    """Files beside this one that hold weights."""


def read(path: Path) -> OnnxFacts:
    """Read the facts of `path`. Raises UsageError when it is no ONNX file, or is cut off."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(data)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise UsageError(
            f"'{path}' is no ONNX file, or it is cut off: {error}.", hint="download or export it again"
        ) from error
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}.") from error


def _model(data: mmap.mmap) -> OnnxFacts:
    producer, version, ir_version, opsets, graph = "", "", 0, {}, None
    for field, value in _fields(data, (0, len(data))):
        if field == 1 and isinstance(value, int):
            ir_version = value
        elif field == 2:
            producer = _text(data, value)
        elif field == 3:
            version = _text(data, value)
        elif field == 7:
            graph = value
        elif field == 8:
            entry = dict(_fields(data, _span(value)))
            number = entry.get(2, 0)
            opsets[_text(data, entry[1]) if 1 in entry else "ai.onnx"] = number if isinstance(number, int) else 0
    if graph is None:
        raise ValueError("it has no graph")
    return _graph(
        data, _span(graph), f"{producer} {version}".strip(), ir_version, {k or "ai.onnx": v for k, v in opsets.items()}
    )


def _graph(data: mmap.mmap, span: _Span, producer: str, ir_version: int, opsets: dict[str, int]) -> OnnxFacts:
    name, weights = "", set()
    values: dict[int, list[tuple[str, str]]] = {11: [], 12: []}
    for field, value in _fields(data, span):
        if field == 2:
            name = _text(data, value)
        elif field == 5:
            weights.add(_tensor(data, _span(value))[0])
        elif field in values:
            values[field].append(_value(data, _span(value)))
    operators: Counter[str] = Counter()
    types: Counter[str] = Counter()
    external: set[str] = set()
    tensors = 0
    for kind, (dtype, size, places) in _contents(data, span):
        if kind:
            operators[kind] += 1
        else:
            tensors += 1
            types[dtype] += size
            external |= places
    return OnnxFacts(
        producer=producer or "unknown",
        ir_version=ir_version,
        opsets=opsets,
        graph=name,
        inputs=tuple(words for known, words in values[11] if known not in weights),
        outputs=tuple(words for _, words in values[12]),
        nodes=sum(operators.values()),
        operators=dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        weights=tensors,
        parameters=sum(types.values()),
        types=dict(types.most_common()),
        external=tuple(sorted(external)),
    )


def _contents(data: mmap.mmap, span: _Span) -> Iterator[tuple[str, tuple[str, int, set[str]]]]:
    """Yield the operators of a graph and its inner graphs by kind, and as "" each tensor that they hold."""
    for field, value in _fields(data, span):
        if field == 5:
            yield "", _tensor(data, _span(value))[1:]
        elif field == 1:
            node = _span(value)
            yield _operator(data, node), ("", 0, set())
            for part, attribute in _fields(data, node):
                if part != 5:
                    continue
                for kind, content in _fields(data, _span(attribute)):
                    if kind in (5, 10):  # a tensor, or a list of them
                        yield "", _tensor(data, _span(content))[1:]
                    elif kind in (6, 11):  # a graph, or a list of them
                        yield from _contents(data, _span(content))


def _operator(data: mmap.mmap, span: _Span) -> str:
    kind, domain = "?", ""
    for field, value in _fields(data, span):
        if field == 4:
            kind = _text(data, value)
        elif field == 7:
            domain = _text(data, value)
    return f"{domain}.{kind}" if domain not in ("", "ai.onnx") else kind


def _tensor(data: mmap.mmap, span: _Span) -> tuple[str, str, int, set[str]]:
    dims: list[int] = []
    name, dtype, places = "", "?", set()
    for field, value in _fields(data, span):
        if field == 1:
            dims += [value] if isinstance(value, int) else _packed(data, value)
        elif field == 2 and isinstance(value, int):
            dtype = _DTYPES.get(value, f"type {value}")
        elif field == 8:
            name = _text(data, value)
        elif field == 13:
            entry = dict(_fields(data, _span(value)))
            if _text(data, entry[1]) == "location":
                places.add(_text(data, entry[2]))
    return name, dtype, math.prod(dims), places


def _value(data: mmap.mmap, span: _Span) -> tuple[str, str]:
    name, dtype, dims = "", "?", "?"
    for field, value in _fields(data, span):
        if field == 1:
            name = _text(data, value)
        elif field == 2:
            for kind, tensor in _fields(data, _span(value)):
                if kind != 1:
                    continue
                for part, content in _fields(data, _span(tensor)):
                    if part == 1 and isinstance(content, int):
                        dtype = _DTYPES.get(content, f"type {content}")
                    elif part == 2:
                        dims = ",".join(_dim(data, _span(dim)) for f, dim in _fields(data, _span(content)) if f == 1)
    return name, f"{name}:{dtype}[{dims}]"


def _dim(data: mmap.mmap, span: _Span) -> str:
    for field, value in _fields(data, span):
        return str(value) if field == 1 else _text(data, value)
    return "?"


def _fields(data: mmap.mmap, span: _Span) -> Iterator[tuple[int, int | _Span]]:
    """Yield (field number, value): a number, or the span of bytes of a text or message."""
    at, end = span
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield field, number
            continue
        size, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}.get(wire, -1), at)
        if size < 0 or field == 0 or at + size > end:
            raise ValueError(f"byte {at} does not read as a field")
        yield field, (at, at + size)
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"byte {at} does not read as a number")


def _packed(data: mmap.mmap, value: int | _Span) -> list[int]:
    at, end = _span(value)
    numbers = []
    while at < end:
        number, at = _varint(data, at)
        numbers.append(number)
    return numbers


def _span(value: int | _Span) -> _Span:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _text(data: mmap.mmap, value: int | _Span) -> str:
    start, end = _span(value)
    return data[start:end].decode()
