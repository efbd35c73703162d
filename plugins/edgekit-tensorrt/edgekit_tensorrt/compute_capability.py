"""NVIDIA's compute capabilities (SM): the target for one of them, as `nvidia-gpu:8.9`."""

from __future__ import annotations

from dataclasses import replace

from edgekit.errors import UsageError, nearest
from edgekit.plugin import Target

_TURING = ("f32", "f16", "i8")
_AMPERE = ("f32", "tf32", "f16", "bf16", "i8", "i4")
_ADA = (*_AMPERE, "f8")
_BLACKWELL = (*_ADA, "f4")

PRECISIONS = {
    "7.5": _TURING,
    "8.0": _AMPERE,
    "8.6": _AMPERE,
    "8.7": _AMPERE,
    "8.9": _ADA,
    "9.0": _ADA,
    "10.0": _BLACKWELL,
    "11.0": _BLACKWELL,
    "12.0": _BLACKWELL,
    "12.1": _BLACKWELL,
}
"""The types that each computes in; i4 is for weights only. The first SM of a type is from TensorRT's documentation:
bf16 and i4 8.0, f8 8.9, f4 10.0. For 7.5, 8.6, 8.9 and 12.0 it was checked with TensorRT for RTX 1.7, which rejects the
other types."""


def narrowed(target: Target, sm: str) -> Target:
    """Return the target for one compute capability. Raises UsageError where it is unknown or the target has its own."""
    if not (target.device.accelerator or "").startswith("NVIDIA GPU"):
        raise UsageError(
            f"the target '{target.name}' has no NVIDIA GPU, so it has no compute capability.",
            hint=f"--target {target.name}",
        )
    if target.device.sm is not None:
        raise UsageError(
            f"the target '{target.name}' already has the compute capability {target.device.sm}.",
            hint=f"--target {target.name}, or nvidia-gpu:{sm} for another card",
        )
    if sm not in PRECISIONS:
        raise UsageError(
            f"the compute capability '{sm}' is unknown.{nearest(sm, PRECISIONS)}",
            hint=f"known: {', '.join(PRECISIONS)}; write it as {target.name}:8.9",
        )
    precisions = PRECISIONS[sm]
    candidates = dict(target.candidates)
    if "f8" in precisions and "tensorrt" in candidates and "fp8" not in candidates["tensorrt"]:
        first, *rest = candidates["tensorrt"]
        candidates["tensorrt"] = (first, "fp8", *rest)
    return replace(
        target,
        name=f"{target.name}:{sm}",
        summary=f"{target.summary.partition(';')[0]}, compute capability {sm}",
        precisions=precisions,
        candidates=candidates,
        device=replace(target.device, sm=sm),
        evidence={**target.evidence, "sm": "named by the user", "precisions": "vendor documentation, by its SM"},
    )
