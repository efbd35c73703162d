"""Facts about a Hugging Face folder, read without a framework: config, files, and the weights' headers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgekit._reading import guard, parse_json, read_json
from edgekit._record import Record

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PROCESSORS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "preprocessor_config.json",
               "processor_config.json", "modules.json")  # fmt: skip

AGAIN = "copy or download it again"
HEADER_BYTES = 100_000_000
"""The format's own limit on headers."""
MOST_DIMENSIONS = 64


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
    path = folder / "config.json"
    types: Counter[str] = Counter()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        types += _tensors(file)
    config = read_json(path, "the config", not_finite=True, hint=AGAIN)
    with guard(f"the config '{path}'", hint=AGAIN):
        if not isinstance(config, dict):
            raise ValueError("it does not hold a JSON object")
        labels, version = config.get("id2label"), config.get("transformers_version")
        return CheckpointFacts(
            model_type=str(config.get("model_type", "unknown")),
            architectures=tuple(map(str, config.get("architectures") or ())),
            saved_by="unknown" if version is None else f"transformers {version}",
            labels=len(labels) if isinstance(labels, dict) else None,
            remote_code="auto_map" in config,
            weights=tuple(file.name for file in files),
            parameters=sum(types.values()),
            types=dict(types.most_common()),
            pickles=tuple(sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)),
            processors=tuple(name for name in _PROCESSORS if (folder / name).is_file()),
        )


def _tensors(path: Path) -> Counter[str]:
    """Return the number of parameters by type from a safetensors header: eight bytes of length, then JSON."""
    counts: Counter[str] = Counter()
    with guard(f"the safetensors file '{path}'", hint="download or save it again"):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size, HEADER_BYTES):
                raise ValueError("it is not valid: its header is longer than the file, or than the format allows")
            header = parse_json(file.read(length).decode())
        longest = 0
        for name, entry in header.items():
            if name != "__metadata__":
                if len(entry["shape"]) > MOST_DIMENSIONS:
                    raise ValueError(f"it is not valid: '{name[:60]}' has {len(entry['shape'])} dimensions")
                counts[str(entry["dtype"]).lower()] += math.prod(map(int, entry["shape"]))
                longest = max(longest, int(entry["data_offsets"][1]))
        if 8 + length + longest > size:
            raise ValueError("it is not valid: the file is cut off")
    return counts
