"""A candidate as the cache holds it: its compiled parts, and the model that they were compiled from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.model import Model, Part
from edgekit.plugin import Built, Payload
from edgekit.runner import Program
from edgekit.spec import TensorSpec


@dataclass(frozen=True)
class CompiledPart:
    """One part of a candidate as the cache holds it."""

    part: Part
    """The part as it was compiled."""
    built: Built
    folder: Path
    key: str

    @property
    def payload(self) -> Payload:
        return Payload(self.folder, self.built.files, self.part, self.built.options)


@dataclass(frozen=True)
class Compiled:
    """A candidate's compiled parts, and the typed model that they were compiled from."""

    model: Model
    """Its parts may be in different folders; each is compiled already."""
    parts: tuple[CompiledPart, ...]
    key: str
    left: tuple[str, ...] = ()
    """Notes on parts that a pass has nothing to do for, beside others that it changed."""

    @property
    def program(self) -> Program:
        return Program(tuple(each.payload for each in self.parts), self.model.states)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a sample is prepared for, as they were compiled."""
        return self.parts[0].part.fed

    @property
    def portable(self) -> bool:
        return any(each.built.portable for each in self.parts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the notes of all parts, each once."""
        return (*self.left, *dict.fromkeys(note for each in self.parts for note in each.built.notes))

    @property
    def part_sizes_mb(self) -> dict[str, float]:
        """Size of the payload of each part, by its name; empty for one part."""
        if len(self.parts) == 1:
            return {}
        sizes = {each.part.name: [each.folder / name for name in each.built.files] for each in self.parts}
        return {name: sum(file.stat().st_size for file in files) / 1e6 for name, files in sizes.items()}

    @property
    def size_mb(self) -> float:
        """Size of the payload, in MB of 10^6 bytes."""
        files = [each.folder / name for each in self.parts for name in each.built.files]
        return sum(file.stat().st_size for file in files) / 1e6
