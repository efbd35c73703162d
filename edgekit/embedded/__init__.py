"""The models in the package: checkpoints with their own data, so that a first export needs no network.

An embedded model is a folder here with a Hugging Face checkpoint and, in `data/`, a `calibration.npz` to quantize it
with, an `evaluation.npz` that was not used in training, and an image to try. This module returns their paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit.errors import UsageError, nearest

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Return the names of the embedded models, sorted."""
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/config.json")))


def folder(name: str) -> Path:
    """Return the folder of an embedded model. Raises UsageError for an unknown name."""
    if name not in names():
        raise UsageError(
            f"no embedded model is named '{name}'.{nearest(name, names())}", hint=f"embedded: {', '.join(names())}"
        )
    return _FOLDER / name


def data_folder(model: str | None) -> Path | None:
    """Return the data folder of an embedded model; None for any other, and where a file or folder has that name."""
    if not model or Path(model).exists() or model not in names():
        return None
    return _FOLDER / model / "data"


def data(name: str, split: Literal["calibration", "evaluation"]) -> Path:
    """Return the data file of a split: npz with `image` uint8 [N,H,W] or [N,H,W,3] and `label` int64 [N]."""
    return folder(name) / "data" / f"{split}.npz"
