"""An edgekit backend for a made-up NPU that multiplies s8 by s8, without zero points. ONNX Runtime simulates it."""

from dataclasses import dataclass

from edgekit.errors import ArtifactError, EdgekitError, EnvironmentFault, UnsupportedError
from edgekit.plugin import (
    Built,
    PassConfig,
    Precision,
    Probe,
    Recipe,
    Record,
    Runtime,
    Support,
    check_feeds,
    no_telemetry,
)

INT8 = {"activations": "s8", "symmetric_activations": True, "reduce_range": False}


class Npu:
    api, name, summary, accepts = 2, "made-up-npu", "a made-up NPU", frozenset({"onnx"})
    runtime = Runtime(packages=("onnxruntime",), modules=("onnxruntime",), alone=("onnxruntime",))
    recipes = (
        Recipe(
            name="int8-npu",
            summary="int8-static, ranges by squared error, a scale for each tensor; for the made-up NPU",
            passes=(PassConfig("quantize-static", {"method": "mse", "per_channel": False}),),
            precision="i8",
        ),
    )
    default_recipes = ("int8-npu", "int8-static", "fp32")

    @dataclass(frozen=True)
    class options(Record):
        precision: str = "f32"

    def pass_defaults(self, pass_name, target):
        return INT8 if pass_name == "quantize-static" else {}

    def probe(self):
        try:
            return Probe(True, {"onnxruntime": _onnxruntime().__version__}, devices=("made-up NPU",))
        except EnvironmentFault as error:
            return Probe(False, problems=(error.message,), hint=error.hint)

    def supports(self, model, target):
        problems = [f"the NPU has no {name}" for name in model.precision.split("+") if name not in ("f32", "i8")]
        if model.format not in self.accepts:
            problems.append(f"the NPU's compiler cannot read '{model.format}'")
        elif model.parts:
            problems += self._zero_points(model)
        return Support(tuple(problems))

    def _zero_points(self, model):
        from onnx import numpy_helper  # on the build side and on use only

        from edgekit.frameworks import onnx_graph

        graph = onnx_graph.read(model.graph)
        zeros = {tensor.name for tensor in graph.graph.initializer if not numpy_helper.to_array(tensor).any()}
        for node in onnx_graph.nodes(graph):
            if node.op_type == "QuantizeLinear" and node.input[2] not in zeros:
                yield f"{onnx_graph.describe(node)} has a zero point other than 0"

    def build(self, model, target, options, workdir):
        chosen = self.options.from_dict({"precision": model.precision, **options}, "made-up-npu options")
        (workdir / "network.onnx").write_bytes(model.graph.read_bytes())
        return Built(("network.onnx",), options=chosen.to_dict())

    def open(self, payload):
        runtime = _onnxruntime()
        payload.check()
        try:
            network = runtime.InferenceSession(str(payload.main), providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ArtifactError(f"'{payload.main}' is not a network: {error}.") from error
        return NpuSession(payload.part, network, self.options.from_dict(payload.options).precision)


def _onnxruntime():
    no_telemetry()
    try:
        import onnxruntime  # the runtime is imported on use, never at the top
    except ImportError as error:
        raise EnvironmentFault(f"onnxruntime cannot be imported: {error}.", hint="pip install onnxruntime") from error
    return onnxruntime


class NpuSession:
    def __init__(self, part, network, precision):
        self.inputs, self.outputs, self.network = part.inputs, part.outputs, network
        self.precision = Precision(precision, {precision: 1})

    def run(self, feeds):
        self._check_open()
        check_feeds(self.inputs, feeds)
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self.network.run(names, dict(feeds)), strict=True))

    def bind(self, feeds):
        self.run(feeds)
        return lambda: self.run(feeds) and None

    def profile(self, feeds):
        self._check_open()
        raise UnsupportedError("the NPU does not time its layers.")

    def close(self):
        self.network = None

    def _check_open(self):
        if self.network is None:
            raise EdgekitError("the session is closed.")
