"""The only call of Hugging Face optimum's ORTQuantizer; its exceptions become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError, EdgekitError, UnsupportedError
from edgekit.frameworks.onnx_model import load

if TYPE_CHECKING:
    import numpy as np

PACKAGES = ("optimum", "optimum-onnx", "onnxruntime", "onnx")


def quantize(
    file: Path,
    folder: Path,
    *,
    nodes: Sequence[str],
    types: Sequence[str],
    ranges: Mapping[str, tuple[np.ndarray, np.ndarray]] | None,
    signed_activations: bool = False,
    symmetric_activations: bool = False,
    per_channel: bool,
    reduce_range: bool,
    quantize_bias: bool = True,
    weights: Mapping[str, Mapping[str, Any]] | None = None,
    large: bool = False,
) -> Any:
    """Quantize the named nodes of `file` by ORTQuantizer, into `folder`, and return the onnx.ModelProto.

    With `ranges` (lowest and highest of each activation) it is static in Q/DQ form, without them dynamic. `weights`
    has what differs for a constant: `axis` (of its scales; without `axis` it has a single one), `reduce_range`. A
    `large` graph is too large for one protobuf message.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantizationMode, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import QuantizationConfig
    from transformers import PretrainedConfig

    static = ranges is not None
    config = QuantizationConfig(
        is_static=static,
        format=QuantFormat.QDQ if static else QuantFormat.QOperator,
        mode=QuantizationMode.QLinearOps if static else QuantizationMode.IntegerOps,
        activations_dtype=QuantType.QInt8 if signed_activations else QuantType.QUInt8,
        activations_symmetric=symmetric_activations,
        weights_dtype=QuantType.QInt8,
        weights_symmetric=True,
        per_channel=per_channel,
        reduce_range=reduce_range,
        nodes_to_quantize=list(nodes),
        operators_to_quantize=list(types),
    )
    tensors_range = None if ranges is None else TensorsData(CalibrationMethod.MinMax, dict(ranges))
    extra = {
        "QuantizeBias": quantize_bias,
        "TensorQuantOverrides": {
            name: [{"quant_type": QuantType.QInt8, "symmetric": True, **override}]
            for name, override in (weights or {}).items()
        },
    }
    try:
        # Without a config it would look for a config.json beside the file, and on the hub.
        with _extra_options(extra) if static else contextlib.nullcontext():
            ORTQuantizer(file, PretrainedConfig()).quantize(
                config,
                folder,
                file_suffix=None,
                calibration_tensors_range=tensors_range,
                use_external_data_format=large,
            )
        return load(folder / file.name)
    except EdgekitError:
        raise
    except NotImplementedError as error:
        raise UnsupportedError(f"this graph cannot be quantized: {error}") from error
    except Exception as error:  # vendor code raises whatever it meets
        raise BuildError(f"optimum's ORTQuantizer failed: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _extra_options(extra: Mapping[str, Any]) -> Iterator[None]:
    """Pass onnxruntime's static quantizer options for which ORTQuantizer's config has no field (optimum-onnx 0.1)."""
    from optimum.onnxruntime import quantization

    plain = quantization.QDQQuantizer

    def make(*args: Any, extra_options: Mapping[str, Any], **settings: Any) -> Any:
        return plain(*args, extra_options={**extra_options, **extra}, **settings)

    quantization.QDQQuantizer = make
    try:
        yield
    finally:
        quantization.QDQQuantizer = plain
