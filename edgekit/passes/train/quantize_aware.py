"""Quantization-aware fine-tuning: train under int8's rounding, so that rounding the float weights costs little."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from edgekit._record import Record
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.passes.train.recover import PACKAGES
from edgekit.passes.train.recovery import Recovery
from edgekit.plugin import Training

if TYPE_CHECKING:
    from edgekit.data import Feeds


@dataclass(frozen=True)
class QuantizeAware(Record):
    """Fine-tune with fake quantization on every Linear and Conv to match the original's outputs; weights stay float.

    `quantize-static` follows it, with the same settings of int8.
    """

    name: ClassVar[str] = "quantize-aware"
    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = PACKAGES
    trains: ClassVar[bool] = True

    activations: Literal["u8", "s8"] = "u8"
    reduce_range: bool = False
    """7-bit weights, for x86 processors without VNNI or AMX."""
    symmetric_activations: bool = False
    recovery: Recovery = Recovery(epochs=10)  # noqa: RUF009  # it is frozen

    def apply(self, model: Model, samples: Feeds | None, workdir: Path, training: Training | None = None) -> Model:
        """Train. Raises UsageError without training data, UnsupportedError for a module without such layers."""
        from edgekit.frameworks import torch_pass
        from edgekit.passes.train import fake_quantization as fake
        from edgekit.passes.train.recover import recover

        if training is None:
            raise UsageError("quantization-aware training needs data, but there is none.", hint="pass it with --train")
        started = time.perf_counter()
        net = copy.deepcopy(torch_pass.module_of(model))
        scheme = fake.Int8Scheme(self.activations == "s8", self.symmetric_activations, self.reduce_range)
        layers = fake.attach(net, scheme)
        if not layers:
            raise UnsupportedError(
                "the model has no Linear or Conv layer to train for int8.",
                hint="use a recipe that does not train, as int8-static",
            )
        recovered = recover(torch_pass.with_module(model, net), training, self.recovery, stage=self.name)
        trained = torch_pass.module_of(recovered.model)
        fake.detach(trained)
        return torch_pass.changed(
            model,
            trained,
            name=self.name,
            config=self.to_dict(),
            packages=self.packages,
            seconds=time.perf_counter() - started,
            notes=(f"{layers} layers trained under int8's rounding", recovered.note),
        )
