"""Write a target file from the facts of a device, each with its source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit.device.facts import DeviceFacts, ProbeResult
from edgekit.errors import UsageError
from edgekit.target import search_path, target
from edgekit.target.host import Host


def check(path: Path) -> None:
    """Raise UsageError for a path that cannot be a new target file; called before a device is probed."""
    if path.suffix != ".toml" or not re.fullmatch(r"[\w.-]+", path.stem):
        raise UsageError(
            f"'{path}' is not a name for a target file.", hint="write it as NAME.toml, for example targets/kitchen.toml"
        )
    if path.exists():
        raise UsageError(f"'{path}' exists.", hint="choose another name, or remove it first")


def to_toml(probe: ProbeResult) -> str:
    """Return a target file for the device as TOML: it extends the target that fits, or is complete where none does."""
    facts, host = probe.facts, probe.facts.host
    today = datetime.now(timezone.utc).date().isoformat()
    source = "an emulated board" if facts.emulated else "the board"
    device: dict[str, Any] = {
        "arch": host.arch,
        "isa": list(host.isa),
        "cpu": host.cpu,
        "cores": host.cores,
        "memory_mb": host.memory_mb,
        "board": host.board,
        "software": _software(facts),
    }
    sources = {
        "arch": "uname and its Python",
        "isa": "/proc/cpuinfo, the extensions of all cores",
        "cpu": "/proc/cpuinfo",
        "cores": "/proc/cpuinfo and the control group",
        "memory_mb": "/proc/meminfo and the control group",
        "board": "/proc/device-tree/model, or the firmware's product name",
        "software": "its package lists",
    }
    device = {key: value for key, value in device.items() if value not in (None, [], {})}
    evidence = {key: f"read from {source} on {today}: {sources[key]}" for key in device}
    name = host.board or host.cpu or host.arch
    head: dict[str, Any] = {"summary": f"{name}, as read from it on {today}"}
    candidates: Mapping[str, Sequence[str]] = {}
    if probe.target:
        head = {"extends": probe.target, **head}
    else:
        candidates = _candidates(host)
        head |= {"backends": list(candidates), "precisions": ["f32", "i8"], "shapes": {"batch": 1}}
        evidence["candidates"] = "choice of edgekit: the measurement decides"
        evidence["precisions"] = "every processor computes in these, i8 natively or not"
    tables = {"candidates": candidates, "device": device, "evidence": evidence}
    lines = [f"{key} = {_value(value)}" for key, value in head.items()]
    for title, table in tables.items():
        if table:
            lines += ["", f"[{title}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _candidates(host: Host) -> Mapping[str, Sequence[str]]:
    """Return the candidates of a similar target: int8 first where the processor has instructions for it."""
    has_int8 = bool({"dotprod", "i8mm", "avx_vnni", "avx512_vnni", "amx_int8"} & set(host.isa))
    if host.arch == "x86_64":
        similar = "intel-n100" if has_int8 else "x86-avx2"
    else:
        similar = "raspberry-pi-5" if has_int8 else "raspberry-pi-4"
    return target.load(str(search_path.builtin() / f"{similar}.toml")).candidates


def _software(facts: DeviceFacts) -> dict[str, str]:
    versions = {
        "system": facts.system,
        "JetPack": facts.jetpack,
        "TensorRT": facts.tensorrt,
        "Python": facts.pythons[0].version if facts.pythons else None,
    }
    return {name: value for name, value in versions.items() if value}


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    """Return a value as TOML: text and lists as in JSON, a table inline."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, tuple) else json.dumps(list(value))
