"""The fake plugin's file format and arithmetic.

The format `numpy-mlp` is one npz file: for each layer `w0` [in, out] and `b0` [out] in float32, or `w0` in int8 with
its scales `s0` [out]; between layers is a ReLU.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError

if TYPE_CHECKING:
    import numpy as np

FORMAT = "numpy-mlp"

Layer = dict[str, Any]
"""The arrays `w`, `b` and, where `w` is int8, its scales `s`."""


def forward(layers: list[Layer], array: np.ndarray, repeat: int = 1) -> np.ndarray:
    for _ in range(repeat):
        output = array
        for index, layer in enumerate(layers):
            output = step(layer, output if index == 0 else output.clip(min=0))
    return output


def step(layer: Layer, array: np.ndarray) -> np.ndarray:
    """Multiply and add; with int8 weights in integers, the activations rounded dynamically with one scale."""
    import numpy

    if "s" not in layer:
        output: np.ndarray = array @ layer["w"] + layer["b"]
        return output
    scale = max(float(numpy.abs(array).max(initial=0)), 1e-12) / 127
    rounded = numpy.rint(array / scale).astype(numpy.int32)
    product = rounded @ layer["w"].astype(numpy.int32)
    output = (product * (layer["s"] * numpy.float32(scale)) + layer["b"]).astype(numpy.float32)
    return output


def save(path: Path, layers: Sequence[Layer]) -> None:
    """Write the layers; numpy.savez writes no time, so equal models have equal bytes."""
    import numpy

    arrays = {f"{key}{index}": array for index, layer in enumerate(layers) for key, array in layer.items()}
    numpy.savez(path, **arrays)


def load(path: Path) -> list[Layer]:
    import numpy

    try:
        with numpy.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        count = sum(key.startswith("w") for key in arrays)
        layers = [
            {key: arrays[f"{key}{index}"] for key in ("w", "b", "s") if key != "s" or f"s{index}" in arrays}
            for index in range(count)
        ]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"'{path.name}' is not a {FORMAT} file: {error}.") from error
    if not layers:
        raise ArtifactError(f"'{path.name}' has no layer.")
    return layers
