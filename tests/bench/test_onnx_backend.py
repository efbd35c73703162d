"""Some of the onnx package's backend tests through edgekit; `benchmarks/onnx_backend.py` runs them all."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

NODES = {  # the module of the package, and its model
    "dropout": "test_dropout_default",  # an input that is passed through
    "reducel1": "test_reduce_l1_default_axes_keepdims_example",  # an input that the conversion drops
    "sum": "test_sum_one_input",
    "max": "test_max_int16",  # onnxruntime has no kernel
    "resize": "test_resize_upsample_scales_nearest",
    "ai_onnx_ml.label_encoder": "test_ai_onnx_ml_label_encoder_string_int",  # texts
    "affinegrid": "test_affine_grid_2d_expanded",
    "if_": "test_if",
    "loop": "test_loop11",
}
FILES = {
    "simple": ("test_sequence_model1", "test_single_relu_model"),
    "pytorch-operator": ("test_operator_addmm", "test_operator_pow"),  # opset 6
    "pytorch-converted": ("test_PReLU_2d",),
}


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("onnx_models")


def judged(models, name, test):
    return {result.runtime: result for result in models.judge(models.load(name, test))}


@pytest.mark.parametrize("module", NODES)
def test_a_model_of_one_operator_passes_or_is_refused_as_by_the_runtime(models, module):
    node = importlib.import_module("onnx.backend.test.case.node")
    with np.errstate(all="ignore"):
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    test = next(test for test in node._NodeTestCases if test.name == NODES[module])
    results = judged(models, module, test)
    assert set(results) == {"original", *models.RUNTIMES}
    assert {name: result.reason for name, result in results.items() if result.verdict == "fault"} == {}
    assert results["original"].verdict == "passed"


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_a_model_of_a_file_passes(models, kind, name):
    results = judged(models, name, models.all_cases((kind,))[f"{kind}/{name}"])
    assert {runtime: result.verdict for runtime, result in results.items()} == {
        "original": "passed",
        "onnxruntime": "passed",
        "openvino": "passed",
    }


def test_a_wrong_answer_is_a_fault(models):
    case = models.load("relu", models.all_cases(("simple",))["simple/test_single_relu_model"])
    wrong = models.Answer(tuple([outputs[0] + 1] for _, outputs in case.data))
    right = models.Answer(tuple(outputs for _, outputs in case.data))
    assert models._verdict(case, "onnxruntime", wrong, [right]).verdict == "fault"
    assert models._verdict(case, "onnxruntime", models.Answer(refusal="no"), [right]).verdict == "fault"
    assert (
        models._verdict(case, "onnxruntime", models.Answer(refusal="no"), [models.Answer(crash="no")]).verdict
        != "fault"
    )
    assert (
        models._verdict(case, "onnxruntime", models.Answer(crash="no"), [models.Answer(crash="no")]).verdict == "fault"
    )
