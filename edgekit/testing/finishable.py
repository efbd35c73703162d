"""A fake backend in pure numpy whose payload is finished on the device, for tests of `edgekit finish`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit._record import Record
from edgekit.model import Model
from edgekit.plugin import Built, Payload
from edgekit.target.target import Target
from edgekit.testing._mlp import load, save
from edgekit.testing.fake import FakeOptions, NumpyBackend, NumpySession

ENGINE = "engine.npz"


@dataclass(frozen=True)
class FinishOptions(Record):
    """Options of the backend below."""

    damage: float = 0.0
    """The relative error that finishing adds to every weight: for tests of verification on the device."""
    pause_s: float = 0.0
    """How long finishing takes: for tests that kill it."""


class PortableNumpy(NumpyBackend):
    """A backend that stores a `numpy-mlp` model's weights by column, on the device."""

    name = "numpy-portable"
    summary = "pure numpy, finished on the device, for tests"
    options = FinishOptions

    def build(self, model: Model, target: Target, options: Mapping[str, Any], workdir: Path) -> Built:
        chosen = FinishOptions.from_dict(options, "numpy-portable options")
        built = super().build(model, target, {}, workdir)
        return replace(built, options=chosen.to_dict(), evidence="parsed", portable=True)

    def finish(self, payload: Payload, target: Target, workdir: Path) -> Built:
        import numpy

        chosen = FinishOptions.from_dict(payload.options, "numpy-portable options")
        layers = load(payload.main)
        for layer in layers:
            weight = numpy.asfortranarray(layer["w"])
            layer["w"] = weight if not chosen.damage else (weight * (1 + chosen.damage)).astype(weight.dtype)
        save(workdir / ENGINE, layers)
        time.sleep(chosen.pause_s)
        return Built(
            files=(ENGINE,),
            requires={"packages": {"numpy": ">=1.26"}},
            options=chosen.to_dict(),
            evidence="built_on_device",
            notes=(f"{len(layers)} layers stored by column",),
        )

    def open(self, payload: Payload) -> NumpySession:
        return NumpySession(replace(payload, options=FakeOptions().to_dict()))
