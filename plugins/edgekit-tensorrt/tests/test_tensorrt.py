"""The TensorRT backend without NVIDIA packages: the contract, what is written for the device, and checking it here."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from edgekit_tensorrt import TensorRT, preflight
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ArtifactError
from edgekit.model import Model, Part
from edgekit.plugin import Built, Finishable, Payload
from edgekit.spec import ShapeRange
from edgekit.target.target import Device, Target
from edgekit.testing import BackendTests
from edgekit.testing.backend import linear_bias, linear_weight
from tests.wording import raises

ORIN = Target("orin", "a board", shapes={"N": ShapeRange(1, 2, 8)}, device=Device(arch="aarch64", sm="8.7"))


class TestContract(BackendTests):
    """These payloads are opened off target, to check their outputs."""

    runtime = ("onnxruntime",)
    off_target = True

    @pytest.fixture
    def backend(self) -> TensorRT:
        return TensorRT()

    def target(self) -> Target:
        return ORIN

    def model(self, folder: Path) -> Model:
        graph = helper.make_graph(
            [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "fc")],
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
            [numpy_helper.from_array(linear_weight(), "w"), numpy_helper.from_array(linear_bias(), "b")],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        proto.ir_version = 8
        onnx.save(proto, str(folder / "model.onnx"))
        return Model("onnx", (Part("model", "model.onnx", self.inputs, self.outputs),), folder=folder)

    def test_the_runtime_reports_the_precision(self, backend: TensorRT, payload: Payload) -> None:
        """Without an engine no layer's type is known, so none is reported."""
        with closing(backend.open(payload)) as session:
            assert (session.precision.main, dict(session.precision.layers)) == ("f32", {})

    def test_it_is_finished_on_the_device(self, backend: TensorRT) -> None:
        assert isinstance(backend, Finishable)

    def test_what_is_built_is_the_graph_and_its_plan(self, built: Built, work: Path) -> None:
        assert (built.files, built.portable, built.evidence) == (
            ("model.onnx", "plan.json", "preflight.json"),
            True,
            "parsed",
        )
        assert built.requires == {"arch": "aarch64"}
        plan = json.loads((work / "built" / "plan.json").read_text())
        assert plan["profiles"] == [{"input": "x", "min": [1, 4], "opt": [2, 4], "max": [8, 4]}]
        assert (plan["target"], plan["sm"], plan["precision"], plan["sparse"]) == ("orin", "8.7", "f32", False)
        assert (work / "built" / "model.onnx").read_bytes() == (work / "model" / "model.onnx").read_bytes()

    def test_weights_with_two_zeros_in_four_ask_for_sparse_kernels(self, backend: TensorRT, tmp_path: Path) -> None:
        model = self._model(tmp_path)
        proto = onnx.load(model.graph)
        weight = linear_weight()
        weight[[0, 3]] = 0  # x @ w is summed over the rows
        proto.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
        onnx.save(proto, str(model.graph))
        (tmp_path / "built").mkdir()
        backend.build(model, ORIN, {}, tmp_path / "built")
        assert json.loads((tmp_path / "built" / "plan.json").read_text())["sparse"] is True

    @pytest.mark.parametrize("text", ["{}", "not json", '{"schema": 99}', '{"schema": 1, "surprise": 1}'])
    def test_a_damaged_plan_is_an_artifact_error(
        self, backend: TensorRT, payload: Payload, tmp_path: Path, text: str
    ) -> None:
        payload = replace(payload, folder=shutil.copytree(payload.folder, tmp_path / "damaged"))
        (payload.folder / "plan.json").write_text(text)
        with raises(ArtifactError, "'plan.json'"):
            backend.open(payload)

    @pytest.mark.parametrize(("verdict", "cacheable"), [("unanswered", False), ("none", True), ("parsed", True)])
    def test_a_build_without_an_answer_of_the_compiler_is_not_cached(
        self, backend: TensorRT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: str, cacheable: bool
    ) -> None:
        monkeypatch.setattr(preflight, "check", lambda *_: preflight.Preflight(verdict))
        assert self._built(backend, tmp_path).cacheable is cacheable
