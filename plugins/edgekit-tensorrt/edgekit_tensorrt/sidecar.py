"""`engine.json`, beside the engine: which board built it with what. On another one the engine is not opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ArtifactError, UsageError
from edgekit.plugin import Record, digest_of_file, probe_jetson

SIDECAR = "engine.json"

_NAMES = {
    "runtime": "runtime",
    "tensorrt": "TensorRT",
    "sm": "compute capability",
    "gpu": "GPU",
    "l4t": "L4T",
    "jetpack": "JetPack",
    "power_mode": "power mode",
}
"""The facts that an engine is bound to, in words. The power mode is one: it switches parts of the GPU off."""


@dataclass(frozen=True)
class Board(Record):
    """What an engine depends on: the software and the GPU of the machine."""

    runtime: str
    """`tensorrt` or `rtx`."""
    tensorrt: str
    sm: str
    gpu: str
    driver: str
    """The CUDA version that the driver serves: recorded, and no reason to refuse, as drivers serve older engines."""
    l4t: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None

    def differences(self, other: Board) -> tuple[str, ...]:
        """Return how `other`, this machine, differs from the board that the engine was built on."""
        return tuple(
            f"{words}: built with {mine or 'unknown'}, here {theirs or 'unknown'}"
            for name, words in _NAMES.items()
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        )


@dataclass(frozen=True)
class Sidecar(Record):
    """What stands in `engine.json`."""

    sha256: str
    """Of the engine's file."""
    board: Board
    builder: str
    """What built it: the Python module, or `trtexec`."""
    seconds: float
    schema: int = 1

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")


def board(runtime: str, tensorrt: str, sm: str, gpu: str, driver: str, root: Path = Path("/")) -> Board:
    """Describe the machine at hand, with what only its GPU and its TensorRT can tell given."""
    found = probe_jetson(root)
    return Board(
        runtime=runtime,
        tensorrt=".".join(tensorrt.split(".")[:3]),  # the module tells a build number too, trtexec does not
        sm=sm,
        gpu=gpu,
        driver=driver,
        l4t=found.l4t if found else None,
        jetpack=found.jetpack if found else None,
        power_mode=found.power_mode if found else None,
    )


def load(engine: Path) -> Sidecar:
    """Read the sidecar of an engine and hold the engine's bytes against it.

    Raises ArtifactError for a sidecar that is missing or damaged and for an engine that was altered.
    """
    path = engine.with_name(SIDECAR)
    try:
        found = Sidecar.from_dict(json.loads(path.read_text()), SIDECAR)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"'{SIDECAR}' is not beside '{engine.name}': nothing says where the engine was built.", hint=_AGAIN
        ) from error
    except (OSError, ValueError, UsageError) as error:
        raise ArtifactError(f"'{SIDECAR}' cannot be read: {error}.", hint=_AGAIN) from error
    if not engine.is_file():
        raise ArtifactError(f"the bundle's file '{engine.name}' is missing.", hint=_AGAIN)
    if digest_of_file(engine) != found.sha256:
        raise ArtifactError(f"'{engine.name}' was altered: its SHA-256 is not the sidecar's.", hint=_AGAIN)
    return found


def check(found: Sidecar, here: Board) -> None:
    """Raise ArtifactError, naming each difference, for an engine of another board than this."""
    differences = found.board.differences(here)
    if differences:
        lines = "".join(f"\n  - {line}" for line in differences)
        raise ArtifactError(f"the engine was built on another board, or with other software:{lines}", hint=_AGAIN)


_AGAIN = "build it again on this board with `edgekit finish BUNDLE`"
