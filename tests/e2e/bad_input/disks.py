"""Disks that are full or read-only: file systems mounted in a namespace, because root ignores permissions."""

from __future__ import annotations

from pathlib import Path

from tests.wording import Fact

from .case import case

_EXPORT = ("export", "digits", "--no-bench", "--candidate", "onnxruntime/fp32", "--max-samples", "50")

_FULL = "mount -t tmpfs -o size={size} tmpfs full"
_FIXED = "mount --bind fixed fixed\nmount -o remount,ro,bind fixed"


def _places(folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "fixed").mkdir()


def _disk(name: str, code: int, facts: Fact, hint: Fact, mounts: str, *more: str) -> None:
    case(name, code, facts, hint, *_EXPORT, *more, prepare=_places, mounts=mounts)


for _size in ("16k", "200k", "1m"):
    _disk(
        f"a full disk below the cache ({_size})",
        7,
        ["disk is full", "full/cache'"],
        "edgekit cache clear",
        _FULL.format(size=_size),
        "--output",
        "out",
        "--cache-dir",
        "full/cache",
    )
for _size in ("16k", "200k"):
    _disk(
        f"a full disk below the output ({_size})",
        7,
        ["disk is full", "'full/out'"],
        "--output",
        _FULL.format(size=_size),
        "--output",
        "full/out",
    )
_disk(
    "a read-only output",
    2,
    ["'fixed/out'", "fixed'"],
    "--output",
    _FIXED,
    "--output",
    "fixed/out",
)
_disk(
    "a read-only cache",
    2,
    ["fixed/cache'", "read-only"],
    "--cache-dir",
    _FIXED,
    "--output",
    "out",
    "--cache-dir",
    "fixed/cache",
)
