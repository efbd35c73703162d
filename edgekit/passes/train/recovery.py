"""The settings of a training that recovers a changed module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record
from edgekit.errors import UsageError


@dataclass(frozen=True)
class Recovery(Record):
    """Settings of the training."""

    epochs: int = 3
    batch_size: int = 32
    learning_rate: float | None = None
    """None is 1e-3, or 1e-4 for networks with layer norms, which need less."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 1e-4
    warmup: float = 0.1
    """Share of the steps that raise the learning rate from 0; a cosine lowers it over the others."""
    temperature: float = 2.0
    """Softens the classes' probabilities before they are compared."""
    label_weight: float = 0.3
    """Share of the labels in the loss of a classification; the original's outputs have the rest."""
    shift: float = 0.125
    """Pictures are shifted by up to this share of their size; 0 leaves them."""
    mirror: bool = False
    """Whether half of the pictures are mirrored; not for data where left and right differ, as digits or text."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} = {getattr(self, name)} is not possible: it must be at least 1.",
                    hint=f"leave {name} out of the recipe, or set a number above 0",
                )
        for name in ("learning_rate", "temperature"):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise UsageError(
                    f"{name} = {getattr(self, name)} is not possible: it must be positive.",
                    hint=f"leave {name} out of the recipe, or set a number above 0",
                )
        for name, most in (("warmup", 1.0), ("label_weight", 1.0), ("shift", 0.5), ("weight_decay", math.inf)):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(
                    f"{name} = {getattr(self, name)} is not possible: it must be from 0 to {most:g}.",
                    hint=f"leave {name} out of the recipe, or set a number from 0 to {most:g}",
                )
