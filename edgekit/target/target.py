"""Targets: what a device is, read from TOML files. `targets/README.md` explains every key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgekit import _toml
from edgekit._record import NOT_FINITE, Record
from edgekit.errors import UsageError, nearest
from edgekit.spec import ShapeRange
from edgekit.target import host as _host
from edgekit.target import search_path

HOST = "host"

PRECISIONS = ("f32", "tf32", "f16", "bf16", "i8", "i4", "f8", "f4")
"""What a target may say that it computes in; i4 is weights only."""


@dataclass(frozen=True)
class Device(Record):
    """Facts of the hardware; None is unknown, never a default."""

    arch: str | None = None
    isa: tuple[str, ...] = ()
    cpu: str | None = None
    cores: int | None = None
    memory_mb: int | None = None
    memory_gbps: float | None = None
    board: str | None = None
    """A piece of the name that firmware or device tree gives the board: this, and not the processor alone, tells a
    Raspberry Pi 5 from its kin."""
    accelerator: str | None = None
    sm: str | None = None
    """NVIDIA compute capability, as `8.7`."""
    dla: int | None = None
    software: Mapping[str, str] = field(default_factory=dict)

    @property
    def saturates(self) -> bool:
        """Return whether sums of u8 by s8 products may saturate, so that weights need 7 bits: x86 adds two of them in
        16 bits where it has neither VNNI nor AMX. True where the processor is not known.
        """
        return self.arch != "aarch64" and not set(self.isa) & set(_host.WIDE_SUMS)


@dataclass(frozen=True)
class Limits(Record):
    """Budgets that come with the device."""

    memory_mb: int | None = None
    size_mb: float | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Target(Record):
    """Describe a device: how to build for it, and what is known of it with the source of each fact."""

    name: str
    summary: str
    backends: tuple[str, ...] = ()
    """In order of preference."""
    precisions: tuple[str, ...] = ()
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each backend the recipes worth trying, the expected fastest first."""
    static_shapes_only: bool = False
    shapes: Mapping[str, int | ShapeRange] = field(default_factory=dict)
    device: Device = field(default_factory=Device)
    limits: Limits = field(default_factory=Limits)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    def mismatches(self, host: _host.Host) -> tuple[str, ...]:
        """Return why `host` is not such a device; empty when what is measured there counts for this target."""
        wanted = self.device
        board = (wanted.board or "").lower()
        on_board = bool(board) and any(board in name.lower() for name in (host.board or "", *host.compatible))
        problems = []
        if wanted.arch and wanted.arch != host.arch:
            problems.append(f"the target is {wanted.arch}, this machine is {host.arch}")
        elif wanted.isa:
            if missing := sorted(set(wanted.isa) - set(host.isa)):
                problems.append(f"this machine lacks {', '.join(missing)}")
            # int8 that wins with VNNI may lose without it: a richer processor proves nothing about a poorer one.
            if not on_board and (extra := sorted(set(host.isa) - set(wanted.isa))):
                problems.append(f"this machine has {', '.join(extra)}, which the target lacks")
        if board and not on_board:
            found = f"'{host.board}'" if host.board else "not named"
            problems.append(f"the target's board is '{wanted.board}', this machine's is {found}")
        # A board brings its accelerator; elsewhere it must be seen. `accelerator` begins with its kind, as "Intel GPU".
        if wanted.accelerator and not on_board and not wanted.accelerator.startswith(host.accelerators or ("?",)):
            found = ", ".join(host.accelerators) or "none"
            problems.append(f"the target computes on {wanted.accelerator}, this machine shows {found}")
        return tuple(problems)


def load(name: str) -> Target:
    """Find and read a target by name or by path (`./board.toml`); `host` is probed.

    Raises UsageError for an unknown target (with the nearest names and where it looked) and for a bad file.
    """
    if search_path.is_path(name):
        return _read_target(search_path.expanded(name), ())
    return _read_target(search_path.find(name, tuple(search_path.folders())), ())


def available() -> dict[str, Path]:
    """List every target's name and file, those that win first in the search order."""
    return search_path.names(search_path.folders())


def _read_target(path: Path, seen: tuple[Path, ...]) -> Target:
    chain = (*seen, path)
    if path.resolve() in {other.resolve() for other in seen}:
        raise UsageError(f"'extends' goes round in a circle: {' -> '.join(map(str, chain))}.")
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
    """Find what `path` extends, in its own place and those after it: no file rests on one that shadows it."""
    if not isinstance(name, str):
        raise UsageError(f"{path}: extends: expected the name of a target, found {name!r}.")
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
    """Refuse words that mean nothing, which would otherwise be ignored in silence, and numbers that cannot be."""
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
        ("device: isa", target.device.isa, set(_host.ISA_FLAGS.values())),
        ("candidates", target.candidates, target.backends),
        ("options", target.options, target.backends),
        ("evidence", target.evidence, facts),
    ):
        for word in words:
            if word not in known:
                raise UsageError(
                    f"{where}: {what}: '{word}' is not known.{nearest(word, known)}",
                    hint="known here: " + (", ".join(sorted(known)) or "none, as `backends` is empty"),
                )


def _inherit(base: Target, data: Mapping[str, Any]) -> dict[str, Any]:
    inherited = base.to_dict()
    if data["name"] != base.name:
        del inherited["summary"]  # it is about another device
    for key in ("candidates", "options"):  # what is said about a backend goes with the backend
        backends = data.get("backends", base.backends)
        inherited[key] = {name: value for name, value in inherited[key].items() if name in backends}
    return _merge(inherited, data)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _probed(target: Target) -> Target:
    """Fill in what this machine is where the file does not say."""
    here, told = _host.probe(), target.device
    device = replace(
        told,
        arch=told.arch or here.arch,
        isa=told.isa or here.isa,
        cpu=told.cpu or here.cpu,
        cores=told.cores or here.cores,
        memory_mb=told.memory_mb or here.memory_mb,
        board=told.board or here.board,
    )
    return replace(target, device=device, precisions=target.precisions or _precisions(here.isa))


def _precisions(isa: Iterable[str]) -> tuple[str, ...]:
    """Return what a processor computes in natively, and i8, which every one can emulate and the measurement judges."""
    have = set(isa)
    found = ["f32"]
    if have & {"fp16", "avx512_fp16"}:
        found.append("f16")
    if have & {"bf16", "avx512_bf16", "amx_bf16"}:
        found.append("bf16")
    return (*found, "i8")
