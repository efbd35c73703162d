"""The batches of a training: inputs, labels and the teacher's outputs, all determined by the step's number.

Order and augmentation follow from seed and number alone, so a training that was killed continues as if it had not been.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit._files import replacing
from edgekit.data import TrainingData
from edgekit.frameworks import torch_pass
from edgekit.model import Model
from edgekit.progress import Progress

KEPT_BYTES = 256_000_000
"""The teacher's outputs are kept on disk up to this size: beyond, running it again is cheaper than reading them."""

SORTED_BATCHES = 16
"""Number of batches whose samples are sorted by length together: one long text in a batch pads all others to its
length.
"""


def seed_of(*parts: object) -> int:
    """Return a seed that depends on every part."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class Batch:
    """The batch of one step, as tensors; `labels` is None for data without labels."""

    inputs: Mapping[str, Any]
    labels: Any
    teacher: Mapping[str, Any]


@dataclass(frozen=True)
class BatchSchedule:
    """The batches of a training, by step from 0.

    An epoch is whole batches of equal size; the samples left over are others in each epoch.
    """

    data: TrainingData
    teacher: Model
    batch_size: int
    epochs: int
    seed: int
    shift: float
    mirror: bool
    teacher_outputs: Mapping[str, Any] | None = None
    """The teacher's outputs for every sample, by name, where they are kept on disk."""

    @property
    def size(self) -> int:
        return min(self.batch_size, len(self.data))

    @property
    def per_epoch(self) -> int:
        return len(self.data) // self.size

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    def __getitem__(self, step: int) -> Batch:
        import torch

        if not 0 <= step < len(self):
            raise IndexError(step)
        epoch, place = divmod(step, self.per_epoch)
        chosen = self._batches(epoch)[place]
        inputs = {name: torch.from_numpy(array) for name, array in self.data.batch(chosen).items()}
        picture = self.data.picture
        if picture in inputs and (self.shift or self.mirror):
            inputs[picture] = augmented(inputs[picture], self.shift, self.mirror, seed_of(self.seed, "move", step))
        if self.teacher_outputs is not None:
            teacher = {name: torch.from_numpy(array[chosen]) for name, array in self.teacher_outputs.items()}
        else:
            with torch.no_grad():
                teacher = run(self.teacher, inputs)
        known = self.data.labels
        labels = None if known is None else torch.tensor([known[index] for index in chosen])
        return Batch(inputs, labels, teacher)

    def _batches(self, epoch: int) -> list[list[int]]:
        return _shuffled(len(self.data), self.size, self.data.lengths, seed_of(self.seed, "order", epoch))


@functools.lru_cache(maxsize=2)
def _shuffled(count: int, size: int, lengths: tuple[int, ...] | None, seed: int) -> list[list[int]]:
    """Return whole batches of `count` items in a random order; items of similar length share a batch."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator).tolist()[: count // size * size]
    if lengths is None:
        return _chunks(order, size)
    draws = [sorted(draw, key=lengths.__getitem__) for draw in _chunks(order, SORTED_BATCHES * size)]
    batches = [batch for draw in draws for batch in _chunks(draw, size)]
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def _chunks(order: list[int], size: int) -> list[list[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


def run(model: Model, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's outputs for a batch; a module that takes one sample at a time is run on each."""
    import torch

    if torch_pass.takes_batches(model):
        return torch_pass.outputs(model, inputs)
    count = len(next(iter(inputs.values())))
    parts = [
        torch_pass.outputs(model, {name: value[index : index + 1] for name, value in inputs.items()})
        for index in range(count)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def augmented(pictures: Any, shift: float, mirror: bool, seed: int) -> Any:
    """Return the pictures [batch, C, H, W], each shifted by up to the share `shift` of its size, with reflected edges.

    With `mirror` half of them, at random, are mirrored.
    """
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(seed)
    count, _, height, width = pictures.shape
    rows, columns = int(height * shift), int(width * shift)
    padded = functional.pad(pictures, (columns, columns, rows, rows), mode="reflect")
    tops = torch.randint(0, 2 * rows + 1, (count,), generator=generator).tolist()
    lefts = torch.randint(0, 2 * columns + 1, (count,), generator=generator).tolist()
    flips = torch.rand(count, generator=generator).tolist()
    shifted = []
    for picture, top, left, chance in zip(padded, tops, lefts, flips, strict=True):
        cut = picture[:, top : top + height, left : left + width]
        shifted.append(cut.flip(-1) if mirror and chance < 0.5 else cut)
    return torch.stack(shifted)


def kept_outputs(teacher: Model, data: TrainingData, folder: Path, progress: Progress) -> Mapping[str, Any] | None:
    """Return the teacher's outputs for all samples, by name, as arrays on disk; None where keeping them does not pay.

    They are computed once, the short samples first; a run that was killed continues from what is on disk.
    """
    import numpy as np
    import torch

    first, second = ({name: torch.from_numpy(array) for name, array in data.inputs(i).items()} for i in (0, -1))
    with torch.no_grad():
        shapes = [{name: value.shape[1:] for name, value in run(teacher, inputs).items()} for inputs in (first, second)]
        example = run(teacher, first)
    size = sum(value.numel() * value.element_size() for value in example.values()) * len(data)
    if shapes[0] != shapes[1] or size > KEPT_BYTES:  # outputs as long as their text have no one shape
        return None
    kept, count = {}, folder / "teacher.count"
    done = int(count.read_text()) if count.exists() else 0
    for number, (name, value) in enumerate(example.items()):
        shape = (len(data), *value.shape[1:])
        file = folder / f"teacher.{number}.npy"
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
        mode = "r+" if done else "w+"
        kept[name] = np.lib.format.open_memmap(
            file, mode=mode, dtype=None if done else dtype, shape=None if done else shape
        )
    return _fill(kept, done, teacher, data, count, progress)


def _fill(
    kept: dict[str, Any], done: int, teacher: Model, data: TrainingData, count: Path, progress: Progress
) -> Mapping[str, Any]:
    import torch

    lengths = data.lengths
    order = sorted(range(len(data)), key=lengths.__getitem__) if lengths else list(range(len(data)))
    with progress.step("running the original on the training data", len(data)) as tick:
        tick(done)
        while done < len(data):
            chosen = order[done : done + 64]
            inputs = {name: torch.from_numpy(array) for name, array in data.batch(chosen).items()}
            with torch.no_grad():
                outputs = run(teacher, inputs)
            for name, array in kept.items():
                array[chosen] = outputs[name].numpy()
                array.flush()
            done += len(chosen)
            with replacing(count) as part:
                part.write_text(str(done))
            tick(len(chosen))
    return kept
