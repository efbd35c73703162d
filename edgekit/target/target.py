"""Targets: descriptions of devices, read from TOML files. `targets/README.md` explains every key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit._record import NOT_FINITE, Record
from edgekit.errors import UsageError, nearest
from edgekit.spec import ShapeRange, TensorSpec
from edgekit.target import host, search_path

HOST = "host"

PRECISIONS = ("f32", "tf32", "f16", "bf16", "i8", "i4", "f8", "f4")
"""The precisions that a target may list; i4 is for weights only."""


@dataclass(frozen=True)
class Device(Record):
    """Facts of the hardware; None means unknown, never a default."""

    arch: str | None = None
    isa: tuple[str, ...] = ()
    cpu: str | None = None
    cores: int | None = None
    memory_mb: int | None = None
    memory_gbps: float | None = None
    board: str | None = None
    """A part of the board's name in the firmware or device tree: the processor alone does not distinguish a Raspberry
    Pi 5 from other boards with the same one."""
    accelerator: str | None = None
    sm: str | None = None
    """NVIDIA compute capability, as `8.7`."""
    dla: int | None = None
    software: Mapping[str, str] = field(default_factory=dict)

    @property
    def saturates(self) -> bool:
        """Return whether sums of u8 by s8 products may saturate, so that weights must fit in 7 bits: x86 adds two
        products in 16 bits where it has neither VNNI nor AMX. True where the processor is not known.
        """
        return self.arch != "aarch64" and not set(self.isa) & set(host.WIDE_SUMS)


@dataclass(frozen=True)
class Limits(Record):
    """Budgets that the device sets."""

    memory_mb: int | None = None
    size_mb: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Target(Record):
    """A device: how to build for it, and the known facts about it with the source of each."""

    name: str
    summary: str
    backends: tuple[str, ...] = ()
    """In order of preference."""
    precisions: tuple[str, ...] = ()
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The recipes to try for each backend, the one expected to be the fastest first."""
    static_shapes_only: bool = False
    shapes: Mapping[str, int | ShapeRange] = field(default_factory=dict)
    device: Device = field(default_factory=Device)
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def shape_problems(self, inputs: Iterable[TensorSpec]) -> list[str]:
        """Return what is in the way of inputs with free sizes: that the device takes fixed shapes only."""
        free = [str(spec) for spec in inputs if not spec.is_static] if self.static_shapes_only else []
        return [f"'{self.name}' takes fixed shapes only; free sizes are in {', '.join(free)}"] if free else []

    def mismatches(self, machine: host.Host) -> tuple[str, ...]:
        """Return why `machine` is not such a device; empty where measurements there are valid for this target."""
        wanted = self.device
        board = (wanted.board or "").lower()
        on_board = bool(board) and any(board in name.lower() for name in (machine.board or "", *machine.compatible))
        problems = []
        if wanted.arch and wanted.arch != machine.arch:
            problems.append(f"the target is {wanted.arch}, this machine is {machine.arch}")
        elif wanted.isa:
            if missing := sorted(set(wanted.isa) - set(machine.isa)):
                problems.append(f"this machine lacks {', '.join(missing)}")
            # int8 that is faster with VNNI may be slower without it: a processor with more instruction sets proves
            # nothing about one with fewer.
            if not on_board and (extra := sorted(set(machine.isa) - set(wanted.isa))):
                problems.append(f"this machine has {', '.join(extra)}, which the target lacks")
        if board and not on_board:
            name = f"'{machine.board}'" if machine.board else "not named"
            problems.append(f"the target's board is '{wanted.board}', this machine's is {name}")
        # The board implies its accelerator; elsewhere it must be visible. `accelerator` begins with a kind, such as
        # "Intel GPU".
        if wanted.accelerator and not on_board and not wanted.accelerator.startswith(machine.accelerators or ("?",)):
            visible = ", ".join(machine.accelerators) or "none"
            problems.append(f"the target computes on {wanted.accelerator}, this machine has {visible}")
        return tuple(problems)


def load(name: str) -> Target:
    """Return a target by its name or path (`./board.toml`); for `host` this machine is probed.

    Raises UsageError for an unknown target (with the nearest names and the folders searched) and for a bad file.
    """
    if search_path.is_path(name):
        return _read_target(search_path.expanded(name), ())
    return _read_target(search_path.find(name, tuple(search_path.folders())), ())


def available() -> dict[str, Path]:
    """Return the file of every target by name; of several with one name, the first in the search order."""
    return search_path.names(search_path.folders())


def _read_target(path: Path, seen: tuple[Path, ...]) -> Target:
    chain = (*seen, path)
    if path.resolve() in {other.resolve() for other in seen}:
        raise UsageError(
            f"'extends' is circular: {' -> '.join(map(str, chain))}.",
            hint="let one of these files extend a built-in target, or none",
        )
    data = _toml.read(path, "target file", hint="list targets with `edgekit targets`")
    if data.setdefault("name", path.stem) != path.stem:
        raise UsageError(
            f"{path}: the name is '{data['name']}' but the file is '{path.name}'.",
            hint="leave `name` out: the file's name is the target's name",
        )
    parent = data.pop("extends", None)
    if parent is not None:
        data = _inherit(_read_target(_parent(parent, path), chain), data)
    target = Target.from_dict(data, str(path))
    _check(target, str(path))
    return _probed(target) if target.name == HOST else target


def _parent(name: object, path: Path) -> Path:
    """Return the file that `path` extends: in the same folder of the search path or in a later one, so that no file
    extends one that shadows it.
    """
    if not isinstance(name, str):
        raise UsageError(
            f"{path}: extends: expected the name of a target, found {name!r}.",
            hint='write extends = "host"; `edgekit targets` lists the names',
        )
    if search_path.is_path(name):
        return path.parent / search_path.expanded(name)
    places = tuple(search_path.folders())
    folders = [folder.resolve() for _, folder in places]
    if path.parent.resolve() in folders:
        places = places[folders.index(path.parent.resolve()) :]
    try:
        return search_path.find(name, places, besides=path)
    except UsageError as error:
        raise UsageError(f"{path}: extends: {error.message}", hint=error.hint) from error


ARCHITECTURES = ("x86_64", "aarch64", "armv7l", "i686", "riscv64")


def _check(target: Target, where: str) -> None:
    """Raise UsageError for unknown words, which would be ignored silently, and for numbers that are not possible."""
    for table in (target.device, target.limits):
        for name, value in table.to_dict().items():
            if isinstance(value, str) and value in NOT_FINITE:
                value = math.nan
            if isinstance(value, (int, float)) and not (value > 0 or (value == 0 and name == "dla")):
                raise UsageError(f"{where}: {name} = {value} is not possible.", hint="give a number above 0")
    facts = {item.name for item in (*fields(Device), *fields(Target))} - {"device", "evidence"}
    for what, words, known in (
        ("precisions", target.precisions, PRECISIONS),
        ("device: arch", filter(None, [target.device.arch]), ARCHITECTURES),
        ("device: isa", target.device.isa, set(host.ISA_FLAGS.values())),
        ("candidates", target.candidates, target.backends),
        ("options", target.options, target.backends),
        ("evidence", target.evidence, facts),
    ):
        for word in words:
            if word not in known:
                raise UsageError(
                    f"{where}: {what}: unknown value '{word}'.{nearest(word, known)}",
                    hint="known here: " + (", ".join(sorted(known)) or "none, as `backends` is empty"),
                )


def _inherit(base: Target, data: Mapping[str, Any]) -> dict[str, Any]:
    inherited = base.to_dict()
    if data["name"] != base.name:
        del inherited["summary"]  # it describes another device
    for key in ("candidates", "options"):  # settings of a backend are dropped together with the backend
        backends = data.get("backends", base.backends)
        inherited[key] = {name: value for name, value in inherited[key].items() if name in backends}
    return _merge(inherited, data)


def _merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _probed(target: Target) -> Target:
    """Return the target with this machine's facts where the file gives none."""
    here, given = host.probe(), target.device
    device = replace(
        given,
        arch=given.arch or here.arch,
        isa=given.isa or here.isa,
        cpu=given.cpu or here.cpu,
        cores=given.cores or here.cores,
        memory_mb=given.memory_mb or here.memory_mb,
        board=given.board or here.board,
    )
    return replace(target, device=device, precisions=target.precisions or _precisions(here.isa))


def _precisions(isa: Iterable[str]) -> tuple[str, ...]:
    """Return the native precisions of a processor, and i8: every processor can emulate it, and the measurement
    decides.
    """
    known = set(isa)
    native = ["f32"]
    if known & {"fp16", "avx512_fp16"}:
        native.append("f16")
    if known & {"bf16", "avx512_bf16", "amx_bf16"}:
        native.append("bf16")
    return (*native, "i8")
