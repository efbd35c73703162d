"""`engine.json`, beside the engine: the board and the software that built it. On another board it is not opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import ArtifactError, UsageError
from edgekit.plugin import Record, digest_of_file, probe_jetson

FILE = "engine.json"

_NAMES = {
    "runtime": "runtime",
    "tensorrt": "TensorRT",
    "sm": "compute capability",
    "gpu": "GPU",
    "l4t": "L4T",
    "jetpack": "JetPack",
    "power_mode": "power mode",
}
"""The facts that an engine depends on, as messages name them. The power mode is one: it can switch off parts of the
GPU."""


@dataclass(frozen=True)
class Board(Record):
    """What an engine depends on: the software and the GPU of the machine."""

    runtime: str
    """`tensorrt` or `rtx`."""
    tensorrt: str
    sm: str
    gpu: str
    driver: str
    """The CUDA version that the driver supports: only recorded, as drivers run older engines."""
    l4t: str | None = None
    jetpack: str | None = None
    power_mode: str | None = None

    def differences(self, other: Board) -> tuple[str, ...]:
        """Return how `other`, this machine, differs from the board that the engine was built on."""
        return tuple(
            f"{label}: built with {mine or 'unknown'}, here {theirs or 'unknown'}"
            for name, label in _NAMES.items()
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        )


@dataclass(frozen=True)
class EngineInfo(Record):
    """The content of `engine.json`."""

    sha256: str
    """The SHA-256 of the engine's file."""
    board: Board
    builder: str
    """The tool that built it: the Python module and its version, or `trtexec`."""
    seconds: float
    schema: int = 1

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")


def this_board(runtime: str, tensorrt: str, sm: str, gpu: str, driver: str, root: Path = Path("/")) -> Board:
    """Return this machine as a Board, with the facts of its GPU and its TensorRT as they are given."""
    jetson = probe_jetson(root)
    return Board(
        runtime=runtime,
        tensorrt=".".join(tensorrt.split(".")[:3]),  # the module has a build number too, trtexec does not
        sm=sm,
        gpu=gpu,
        driver=driver,
        l4t=jetson.l4t if jetson else None,
        jetpack=jetson.jetpack if jetson else None,
        power_mode=jetson.power_mode if jetson else None,
    )


def load(engine: Path) -> EngineInfo:
    """Read the file beside an engine and compare the engine's digest with it.

    Raises ArtifactError for a file that is missing or damaged and for an engine that was altered.
    """
    path = engine.with_name(FILE)
    try:
        info = EngineInfo.from_dict(json.loads(path.read_text()), FILE)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"'{FILE}' is missing beside '{engine.name}': it is unknown where the engine was built.", hint=_REBUILD
        ) from error
    except (OSError, ValueError, UsageError) as error:
        raise ArtifactError(f"'{FILE}' cannot be read: {error}.", hint=_REBUILD) from error
    if not engine.is_file():
        raise ArtifactError(f"the bundle's file '{engine.name}' is missing.", hint=_REBUILD)
    if digest_of_file(engine) != info.sha256:
        raise ArtifactError(f"'{engine.name}' was altered: its SHA-256 is not the one in '{FILE}'.", hint=_REBUILD)
    return info


def check_board(info: EngineInfo, here: Board) -> None:
    """Raise ArtifactError with each difference where this board is not the one that built the engine."""
    differences = info.board.differences(here)
    if differences:
        lines = "".join(f"\n  - {line}" for line in differences)
        raise ArtifactError(f"the engine was built on another board, or with other software:{lines}", hint=_REBUILD)


_REBUILD = "build it again on this board with `edgekit finish BUNDLE`"
