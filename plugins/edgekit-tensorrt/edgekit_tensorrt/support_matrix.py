"""What TensorRT supports, by version and compute capability: facts with their sources, and nothing else.

Sources: O = onnx-tensorrt, docs/operators.md as of 10.6 and 10.15; C = its docs/Changelog.md up to 10.15; G = NVIDIA's
ONNX opset guide for 11.x; D = NVIDIA's DLA pages for 11.3, 11.4 and 11.4.1; R = TensorRT for RTX 1.7.1, tried on a host
without a GPU; U = unchecked.
"""

from __future__ import annotations

Version = tuple[int, int]

STRONG_TYPES: Version = (10, 0)
"""The oldest TensorRT for this plugin's strongly typed graphs. U: some 9.x supported them too."""

OPSETS: tuple[tuple[Version, int], ...] = (((10, 0), 21), ((10, 6), 22), ((10, 15), 24), ((11, 0), 25))
"""The newest opset from each version on. 10.6 and 10.15: O; 11: G; 10.0: its parser accepts INT4 (C), which is new in
opset 21, and ONNX 1.17 with opset 22 is new in 10.6 (C)."""

LEAST_OPSET = 9
"""O, G."""

# fmt: off
OPERATORS = frozenset((
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "AveragePool",
    "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv",
    "ConvTranspose", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Div", "Dropout",
    "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements",
    "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "GridSample", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "If", "ImageScaler",
    "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "Loop", "LpNormalization", "LpPool", "MatMul", "Max", "MaxPool", "Mean",
    "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonMaxSuppression", "NonZero", "Not", "OneHot",
    "Or", "PRelu", "Pad", "ParametricSoftplus", "Pow", "QuantizeLinear", "RNN", "RandomNormal", "RandomNormalLike",
    "RandomUniform", "RandomUniformLike", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu",
    "Reshape", "Resize", "ReverseSequence", "RoiAlign", "Round", "ScaledTanh", "Scan", "Scatter", "ScatterElements",
    "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus",
    "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Tile",
    "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
))
"""The operators that the parsers of 10.0 and all later versions accept: O as of 10.6, without those added since (C)."""

ADDED: dict[str, Version] = {
    "BlackmanWindow": (10, 4), "HammingWindow": (10, 4), "HannWindow": (10, 4), "STFT": (10, 5),
    "Attention": (10, 14), "RMSNormalization": (10, 15), "RotaryEmbedding": (10, 15), "TensorScatter": (10, 15),
    "DeformConv": (10, 1),
}
"""Operators with the version that added them: C."""

ON_DLA = frozenset((
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose", "DequantizeLinear", "Div",
    "Equal", "Flatten", "Gemm", "GlobalAveragePool", "Greater", "LRN", "Less", "MatMul", "Max", "MaxPool", "Min", "Mul",
    "PRelu", "Pow", "QuantizeLinear", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid",
    "Slice", "Softmax", "Split", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Cast",
    "Constant", "LeakyRelu",
))
"""ONNX operators whose TensorRT layers can run on a DLA; D lists layers, the mapping to operators is U."""
# fmt: on

DLA_UNTIL: Version = (10, 7)
DLA_AGAIN: Version = (11, 4)
"""10.7 is the last 10.x with DLA; on Jetson it is back since 11.4.1 and JetPack 7.2.2, for AGX Orin: D."""

DLA_MOST_BATCH, DLA_MOST_SIZE = 4096, 8192
"""D."""

TOP_K = 3840
"""K must be less: O."""

FIRST_SM: dict[str, Version] = {"bf16": (8, 0), "i4": (8, 0), "f8": (8, 9), "f4": (10, 0)}
"""The first compute capability with a precision: NVIDIA's support matrix; R rejects fp8 on 8.6, bf16 and int4 on
7.5."""

RTX = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The compute capabilities that TensorRT for RTX compiles for; it rejects others: R."""


def newest_opset(version: Version) -> int:
    """Return the newest opset that the parser of a TensorRT accepts."""
    return max((opset for first, opset in OPSETS if version >= first), default=OPSETS[0][1])


def supports(operator: str, version: Version) -> bool:
    """Return whether the parser of a TensorRT accepts an operator of the standard domain."""
    return version >= ADDED[operator] if operator in ADDED else operator in OPERATORS
