import pytest
from edgekit_npu import Npu
from onnx import helper, numpy_helper, save

from edgekit.plugin import Model, Part
from edgekit.testing import BackendTests
from edgekit.testing.backend import linear_bias, linear_weight


class TestNpu(BackendTests):
    runtime = ("onnxruntime",)

    @pytest.fixture
    def backend(self):
        return Npu()

    def model(self, folder):
        weights = [numpy_helper.from_array(linear_weight(), "w"), numpy_helper.from_array(linear_bias(), "b")]
        x, y = (helper.make_tensor_value_info(name, 1, ["N", size]) for name, size in (("x", 4), ("y", 3)))
        graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "linear", [x], [y], weights)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "m.onnx")
        return Model("onnx", (Part("model", "m.onnx", self.inputs, self.outputs),), folder=folder)
