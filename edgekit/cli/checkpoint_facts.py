"""Facts about a Hugging Face folder, read without a framework: config, files, and the weights' headers."""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit._reading import guard, parse_json, read_json
from edgekit._record import Record
from edgekit.errors import UsageError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
MOST_DIMS = 64
"""Most dims of a tensor that are read; the formats' own tensors have up to eight."""

_PROCESSORS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "preprocessor_config.json",
               "processor_config.json", "modules.json")  # fmt: skip


@dataclass(frozen=True)
class CheckpointFacts(Record):
    """What `edgekit inspect` shows of a Hugging Face folder."""

    model_type: str
    architectures: tuple[str, ...]
    saved_by: str
    labels: int | None
    remote_code: bool
    weights: tuple[str, ...]
    parameters: int
    types: dict[str, int]
    """Number of parameters by element type, from the headers of the safetensors files."""
    pickles: tuple[str, ...]
    processors: tuple[str, ...]


def read(folder: Path) -> CheckpointFacts:
    """Return the facts of `folder`. Raises UsageError when its config or a weight file cannot be read."""
    config = _json(folder / "config.json")
    types: Counter[str] = Counter()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        types += _tensors(file)
    labels = config.get("id2label")
    return CheckpointFacts(
        model_type=str(config.get("model_type", "unknown")),
        architectures=tuple(config.get("architectures") or ()),
        saved_by=f"transformers {config['transformers_version']}" if "transformers_version" in config else "unknown",
        labels=len(labels) if isinstance(labels, dict) else None,
        remote_code="auto_map" in config,
        weights=tuple(file.name for file in files),
        parameters=sum(types.values()),
        types=dict(types.most_common()),
        pickles=tuple(sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)),
        processors=tuple(name for name in _PROCESSORS if (folder / name).is_file()),
    )


def _json(path: Path) -> dict[str, Any]:
    data = read_json(path, "the file", not_finite=True, hint="copy or download the folder again")
    if not isinstance(data, dict):
        raise UsageError(f"'{path}' does not hold a JSON object.", hint="copy or download the folder again")
    return data


def _tensors(path: Path) -> Counter[str]:
    """Return the number of parameters by type from a safetensors header: eight bytes of length, then JSON."""
    with guard(f"the safetensors file '{path}'", hint="download or save it again"):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = parse_json(file.read(size).decode())
        counts: Counter[str] = Counter()
        longest = 0
        for name, entry in header.items():
            if name != "__metadata__":
                counts[str(entry["dtype"]).lower()] += _size(name, entry["shape"])
                longest = max(longest, entry["data_offsets"][1])
        if 8 + size + longest > path.stat().st_size:
            raise ValueError("the file is cut off")
    return counts


def _size(name: str, shape: list[int]) -> int:
    if len(shape) > MOST_DIMS:  # their product alone would take hours
        raise ValueError(f"'{name[:40]}' has {len(shape):,} dims, and at most {MOST_DIMS} are read")
    return math.prod(map(int, shape))
