"""Target files for tests."""

from __future__ import annotations

from pathlib import Path

BUILTIN = {
    "host", "intel-arc", "intel-core-ultra", "intel-n100", "jetson", "jetson-agx-orin",
    "jetson-agx-xavier", "jetson-nano", "jetson-orin-nano", "jetson-orin-nx", "jetson-thor", "jetson-xavier-nx",
    "nvidia-gpu", "nvidia-rtx",
    "raspberry-pi-4", "raspberry-pi-5", "rk3588", "snapdragon-x-elite", "x86-avx2", "x86-avx512-vnni", "xeon",
}  # fmt: skip


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path
