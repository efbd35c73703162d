"""Eight-bit weights on x86 processors, as the runtimes that sum u8*s8 products there must know of them.

Without VNNI or AMX the sum of two products saturates at 16 bits unless weights stay within +-64: outputs go wrong, and
nothing says so. Build side: imports onnx on use.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.target.host import WIDE_SUMS
from edgekit.target.target import Target


def wide_weight(model: Any, names: Collection[str], folder: Path) -> str | None:
    """Give the first int8 weight among these constants of an ONNX graph in `folder` that uses its eighth bit, or None.

    The caller knows which constants its runtime multiplies in integers, and whether it quantizes what they meet.
    """
    from onnx import TensorProto, numpy_helper

    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.INT8 and len(weight.dims) > 1 and weight.name in names:
            array = numpy_helper.to_array(weight, str(folder))
            if array.size and (array.max() > 64 or array.min() < -64):
                return str(weight.name)
    return None


def outcome(
    wide: str | None, target: Target, runtime: str, *, here: bool
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Give what opening needs and what to note of a graph for an x86 target whose weight `wide` uses all eight bits.

    Raises UnsupportedError where the target's sums saturate and it is not the machine here, so that nobody would see.
    """
    if wide is None:
        return {}, ()
    if set(target.device.isa) & set(WIDE_SUMS):
        return {"isa_any": list(WIDE_SUMS)}, ()
    if here:
        return {}, (f"the int8 weight '{wide}' uses all eight bits: sums of products may saturate on this processor",)
    raise UnsupportedError(
        f"{runtime} cannot run this model right on '{target.name}':",
        problems=[
            f"the int8 weight '{wide}' uses all eight bits, and its processor has none of"
            f" {', '.join(WIDE_SUMS)}: sums of products saturate"
        ],
        hint="quantize with reduce_range = true, as `edgekit export` does by itself for this target",
    )
