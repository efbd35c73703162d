"""Int8 weights whose products saturate on x86 processors: find them, and refuse or note them.

Without VNNI or AMX the sum of two u8*s8 products saturates at 16 bits unless weights stay within +-64: outputs are
wrong, and nothing reports it. Build side: imports onnx on use.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.target.host import WIDE_SUMS
from edgekit.target.target import Target


def wide_weight(model: Any, names: Collection[str], folder: Path) -> str | None:
    """Return the name of the first int8 weight among the constants `names` that uses its eighth bit; None if none does.

    `model` is an onnx.ModelProto, `folder` holds its external data. The caller chooses the constants that its runtime
    multiplies in integers, by whether it quantizes the other operand.
    """
    from onnx import TensorProto, numpy_helper

    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.INT8 and len(weight.dims) > 1 and weight.name in names:
            array = numpy_helper.to_array(weight, str(folder))
            if array.size and (array.max() > 64 or array.min() < -64):
                return str(weight.name)
    return None


def requirements(
    wide: str | None, target: Target, runtime: str, *, here: bool
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return a bundle's requirements and notes for an x86 target where the weight `wide` uses all eight bits.

    Raises UnsupportedError where the target's sums saturate and it is not this machine, so that no gate would see it.
    """
    if wide is None:
        return {}, ()
    if set(target.device.isa) & set(WIDE_SUMS):
        return {"isa_any": list(WIDE_SUMS)}, ()
    if here:
        return {}, (f"the int8 weight '{wide}' uses all eight bits: sums of products may saturate on this processor",)
    raise UnsupportedError(
        f"{runtime} cannot run this model correctly on '{target.name}':",
        problems=[
            f"the int8 weight '{wide}' uses all eight bits, and its processor has none of"
            f" {', '.join(WIDE_SUMS)}: sums of products saturate"
        ],
        hint="quantize with reduce_range = true, as `edgekit export` does for this target",
    )
