"""A target file of what was read from a device, each fact with where it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgekit.device.facts import Found
from edgekit.errors import UsageError
from edgekit.target import search_path
from edgekit.target import target as targets
from edgekit.target.host import Host


def check(path: Path) -> None:
    """Refuse a place that cannot hold a target file, before a device is asked."""
    if path.suffix != ".toml" or not re.fullmatch(r"[\w.-]+", path.stem):
        raise UsageError(
            f"'{path}' is no name of a target file.", hint="write it as NAME.toml, for example targets/kitchen.toml"
        )
    if path.exists():
        raise UsageError(f"'{path}' exists.", hint="choose another name, or remove it first")


def to_toml(found: Found) -> str:
    """Give a target file for the device: it extends the target that fits, or says all where none does."""
    facts, host = found.facts, found.facts.host
    when = datetime.now(timezone.utc).date().isoformat()
    kind = "an emulated board" if facts.emulated else "the board"
    device: dict[str, Any] = {
        "arch": host.arch,
        "isa": list(host.isa),
        "cpu": host.cpu,
        "cores": host.cores,
        "memory_mb": host.memory_mb,
        "board": host.board,
        "software": _software(found),
    }
    sources = {
        "arch": "uname and its Python",
        "isa": "/proc/cpuinfo, what all cores have",
        "cpu": "/proc/cpuinfo",
        "cores": "/proc/cpuinfo and the control group",
        "memory_mb": "/proc/meminfo and the control group",
        "board": "/proc/device-tree/model, or the firmware's product name",
        "software": "its package lists",
    }
    device = {key: value for key, value in device.items() if value not in (None, [], {})}
    evidence = {key: f"read from {kind} on {when}: {sources[key]}" for key in device}
    name = host.board or host.cpu or host.arch
    head: dict[str, Any] = {"summary": f"{name}, as read from it on {when}"}
    candidates: Mapping[str, Sequence[str]] = {}
    if found.target:
        head = {"extends": found.target, **head}
    else:
        candidates = _candidates(host)
        head |= {"backends": list(candidates), "precisions": ["f32", "i8"], "shapes": {"batch": 1}}
        evidence["candidates"] = "choice of edgekit: the measurement decides"
        evidence["precisions"] = "what every processor computes in, i8 natively or not"
    tables = {"candidates": candidates, "device": device, "evidence": evidence}
    lines = [f"{key} = {_value(value)}" for key, value in head.items()]
    for title, table in tables.items():
        if table:
            lines += ["", f"[{title}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _candidates(host: Host) -> Mapping[str, Sequence[str]]:
    """Take the candidates of a target that is alike: int8 first where the processor has instructions for it."""
    integer = bool({"dotprod", "i8mm", "avx_vnni", "avx512_vnni", "amx_int8"} & set(host.isa))
    if host.arch == "x86_64":
        alike = "intel-n100" if integer else "x86-avx2"
    else:
        alike = "raspberry-pi-5" if integer else "raspberry-pi-4"
    found = targets.load(str(search_path.builtin() / f"{alike}.toml"))
    return found.candidates


def _software(found: Found) -> dict[str, str]:
    facts = found.facts
    said = {
        "system": facts.system,
        "JetPack": facts.jetpack,
        "TensorRT": facts.tensorrt,
        "Python": facts.pythons[0].version if facts.pythons else None,
    }
    return {name: value for name, value in said.items() if value}


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    """Write a value as TOML: text and lists as JSON has them, a table inline."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, tuple) else json.dumps(list(value))
