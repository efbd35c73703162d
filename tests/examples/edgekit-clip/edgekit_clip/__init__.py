"""An edgekit pass on torch modules in one file: clip outlying weights, then train the biases to compensate."""

import copy
import time
from dataclasses import dataclass
from typing import ClassVar

from edgekit.errors import UnsupportedError, UsageError
from edgekit.plugin import Record, replacing


@dataclass(frozen=True)
class Clip(Record):
    name: ClassVar[str] = "clip"
    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    gives: ClassVar[str] = "torch"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    trains: ClassVar[bool] = True

    sigmas: float = 3.0
    epochs: int = 3
    rate: float = 0.01

    def __post_init__(self):
        for name in ("sigmas", "epochs", "rate"):
            if getattr(self, name) <= 0:
                raise UsageError(
                    f"clip: {name} = {getattr(self, name)} is not possible.", hint="give a positive number"
                )

    def apply(self, model, samples, workdir, training=None):
        import torch  # on use: this file is imported to list and to plan

        from edgekit.frameworks import torch_pass

        if training is None or not len(training.data):
            raise UsageError("'clip' needs training data; none is given.", hint="give samples with --train")
        started = time.perf_counter()
        module = copy.deepcopy(torch_pass.module_of(model))  # the given one does not change
        layers = [part for part in module.modules() if isinstance(part, torch.nn.Linear) and part.bias is not None]
        if not layers:
            raise UnsupportedError("the model has no Linear layer with a bias.", hint="use a recipe without 'clip'")
        for layer in layers:
            limit = self.sigmas * float(layer.weight.detach().std())
            layer.weight.data.clamp_(-limit, limit)
        self._train(torch_pass.with_module(model, module), [layer.bias.requires_grad_() for layer in layers], training)
        return torch_pass.changed(
            model,
            module,
            name=self.name,
            config=self.to_dict(),
            packages=self.packages,
            seconds=time.perf_counter() - started,
            notes=(f"{len(layers)} layers clipped",),
        )

    def _train(self, model, biases, training):
        import torch

        from edgekit.frameworks import torch_pass

        data, size = training.data, 32 if torch_pass.takes_batches(model) else 1
        file = training.folder / "clip.checkpoint"  # the folder belongs to this training alone
        first = self._load(file, biases) if file.exists() else 0
        with training.progress.step("training the biases", self.epochs) as tick:
            tick(first)
            for epoch in range(first, self.epochs):
                generator = torch.Generator().manual_seed(training.seed + epoch)  # only seed and epoch decide
                for batch in torch.randperm(len(data), generator=generator).split(size):
                    inputs = {name: torch.from_numpy(array) for name, array in data.batch(batch.tolist()).items()}
                    with torch.no_grad():
                        targets = torch_pass.outputs(training.teacher, inputs)
                    outputs = torch_pass.outputs(model, inputs)
                    loss = sum(torch.nn.functional.mse_loss(outputs[name], targets[name]) for name in targets)
                    for bias, gradient in zip(biases, torch.autograd.grad(loss, biases), strict=True):
                        bias.data -= self.rate * gradient
                self._save(file, biases, epoch + 1)
                tick(1, f"loss {float(loss.detach()):.3g}")

    def _save(self, file, biases, epochs):
        import torch

        with replacing(file) as new:  # a kill leaves the checkpoint before
            torch.save({"biases": [bias.data for bias in biases], "epochs": epochs}, new)

    def _load(self, file, biases):
        import torch

        checkpoint = torch.load(file, weights_only=True)
        for bias, value in zip(biases, checkpoint["biases"], strict=True):
            bias.data.copy_(value)
        return checkpoint["epochs"]
