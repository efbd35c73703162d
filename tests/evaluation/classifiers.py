"""Small graphs as scikit-learn's, LightGBM's and XGBoost's converters write them, by onnx alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.evaluation.dataset import Evaluation, prepare
from edgekit.model import Reference
from edgekit.passes.export.export import Export
from edgekit.project import Project
from edgekit.sources.onnx_file import OnnxFile

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]


def value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def save(path: Path, nodes: Sequence[Any], outputs: Sequence[Any], weights: dict[str, np.ndarray], width: int) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "classifier",
        [value("x", TensorProto.FLOAT, "N", width)],
        list(outputs),
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=OPSETS, ir_version=8, producer_name="test"), path)
    return path


def linear(path: Path, names: Sequence[int] | Sequence[str], *, after: str = "SOFTMAX", zipped: bool = False) -> Path:
    """Write a LinearClassifier of two columns a class, its class first, as skl2onnx does."""
    count = len(names)
    weights = np.eye(count, dtype=np.float32)
    kind = "strings" if isinstance(names[0], str) else "ints"
    nodes = [
        helper.make_node(
            "LinearClassifier", ["x"], ["label", "probabilities"], domain="ai.onnx.ml",
            coefficients=weights.ravel().tolist(), intercepts=[0.0] * count, post_transform=after,
            multi_class=0, **{f"classlabels_{kind}": list(names)},
        )
    ]  # fmt: skip
    label = value("label", TensorProto.STRING if kind == "strings" else TensorProto.INT64, "N")
    outputs = [label, value("probabilities", TensorProto.FLOAT, "N", count)]
    if zipped:
        keys = {f"classlabels_{'strings' if kind == 'strings' else 'int64s'}": list(names)}
        nodes.append(helper.make_node("ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", **keys))
        key = TensorProto.STRING if kind == "strings" else TensorProto.INT64
        entry = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        outputs[1] = helper.make_value_info("output_probability", helper.make_sequence_type_proto(entry))
    return save(path, nodes, outputs, {}, count)


def perceptron(path: Path, classes: Sequence[int], *, zipped: bool = False) -> Path:
    """Write one sigmoid with 1 - p before it, and the class looked up in a constant, as skl2onnx writes an MLP."""
    weights = {
        "w": np.array([[1.0], [-1.0]], np.float32),
        "one": np.array([1.0], np.float32),
        "classes": np.array(classes, np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["classes", "best"], ["label"], domain="ai.onnx.ml"),
    ]
    outputs = [value("label", TensorProto.INT64, 1, "N"), value("probabilities", TensorProto.FLOAT, "N", 2)]
    return save(path, nodes, outputs, weights, 2)


def network(path: Path, ends: Sequence[tuple[str, str]], width: int = 3, inputs: int = 4) -> Path:
    """Write one product with an output for each (operator, name)."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    nodes += [
        helper.make_node(op, ["z"], [name], **({"axis": 1} if op in ("Softmax", "ArgMax") else {})) for op, name in ends
    ]
    kinds = {"ArgMax": (TensorProto.INT64, 1)}
    outputs = [
        value(name, *(kinds.get(op, (TensorProto.FLOAT, width))[:1]), "N", kinds.get(op, (1, width))[1])
        for op, name in ends
    ]
    return save(path, nodes, outputs, {"w": np.eye(inputs, width, dtype=np.float32)}, inputs)


def evaluated(path: Path, data: str | Path | None, folder: Path, **settings: Any) -> Evaluation:
    """Return the evaluation of an ONNX file on data, by the source and the export as they are."""
    project = Project(model=str(path), data=None if data is None else str(data), **settings)
    loaded, exported = folder / "loaded", folder / "exported"
    for place in (loaded, exported):
        place.mkdir(exist_ok=True)
    model = OnnxFile().load(Reference(str(path), task=project.task), loaded)
    return prepare(project, Export().apply(model, None, exported))


def predicted(evaluation: Evaluation, path: Path) -> list[Any]:
    """Return the predictions for every sample, by onnxruntime on the file as it is."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    predictions = []
    for sample in evaluation.samples:
        (_, feeds), *_ = evaluation.task.steps(sample)
        predictions.append(evaluation.task.predict([dict(zip(names, session.run(names, dict(feeds)), strict=True))]))
    return predictions
