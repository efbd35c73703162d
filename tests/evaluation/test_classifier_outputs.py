"""Which output a classifier is judged by, what its numbers are, and what its classes are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

import edgekit
from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.frameworks.onnx_classifier import output_hints
from tests.evaluation.classifiers import OPSETS, evaluated, linear, network, perceptron, predicted, value
from tests.wording import mentions, raises

CLASSIFIER = {"task": "tabular-classification"}


def rows(path: Path, labels: list[object], width: int) -> Path:
    """Write rows whose greatest number is that of the label's class, in the order of the sorted labels."""
    order = sorted(set(labels), key=str)
    names = [f"c{column}" for column in range(width)]
    lines = [",".join([*names, "label"])]
    for number, label in enumerate(labels):
        cells = np.full(width, -1.0)
        cells[order.index(label)] = 1 + number / 10
        lines.append(",".join([*map(str, cells), str(label)]))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("names", [[0, 1, 2], [1, 2, 3], [-1, 1], ["ham", "spam"], ["b", "a", "c"]])
def test_the_probabilities_are_the_scores_whatever_comes_first(tmp_path: Path, names: list, zipped: bool) -> None:
    plain = linear(tmp_path / "plain.onnx", names)
    labels = list(names) * 6
    data = tmp_path / "rows.csv"
    columns = [f"c{column}" for column in range(len(names))]
    cells = [[float(column == number % len(names)) for column in range(len(names))] for number in range(len(labels))]
    lines = [",".join([*columns, "label"])]
    lines += [",".join([*map(str, row), str(label)]) for row, label in zip(cells, labels, strict=True)]
    data.write_text("\n".join(lines) + "\n")
    file = linear(tmp_path / "given.onnx", names, zipped=zipped)
    evaluation = evaluated(file, data, tmp_path, **CLASSIFIER)
    assert evaluation.task.config.output == "probabilities"
    assert evaluation.task.config.activation == "probabilities"
    # What the file itself computes, with the ZipMap in place, is the reference of the answer.
    predictions = predicted(evaluation, plain)
    truths = [evaluation.task.label(label) for label in evaluation.samples.labels or ()]
    assert [prediction.value for prediction in predictions] == truths
    top = np.exp(1) / (np.exp(1) + len(names) - 1)
    assert predictions[0].scores.max() == pytest.approx(top)
    assert evaluation.task.metric == ("auc" if len(names) == 2 else "accuracy")
    assert evaluation.task.score(predictions, truths) == 1.0


def test_a_zipmap_and_text_are_taken_off_and_the_report_says_so(tmp_path: Path) -> None:
    file = linear(tmp_path / "zipped.onnx", ["no", "yes"], zipped=True)
    result = edgekit.export(
        file, data=rows(tmp_path / "rows.csv", ["no", "yes"] * 10, 2), output=tmp_path / "out", bench=False,
        recipe="fp32", backends=["onnxruntime"],
    )  # fmt: skip
    notes = result.report.notes
    assert any(mentions(note, "ZipMap", "'output_probability'", "'probabilities'") for note in notes)
    assert any(mentions(note, "'label'", "text") for note in notes)
    assert any(mentions(note, "tabular-classification", "'probabilities'", "--task tensor") for note in notes)
    with edgekit.open(result.bundle.path).runner() as runner:
        task = result.bundle.task()
        (part, feeds), *_ = task.steps(Sample({"c0": -1.0, "c1": 1.0}))
        answer = task.answer([runner.run(part, feeds)])
    assert answer["label"] == "yes" and answer["score"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_class_that_is_looked_up_is_no_score(tmp_path: Path) -> None:
    file = perceptron(tmp_path / "mlp.onnx", [1, 2])
    evaluation = evaluated(file, rows(tmp_path / "rows.csv", [2, 1] * 8, 2), tmp_path, **CLASSIFIER)
    assert (evaluation.task.config.output, evaluation.task.config.labels) == ("probabilities", ("1", "2"))
    assert evaluation.task.label(2) == 1 and evaluation.task.metric == "auc"
    assert evaluation.task.config.activation == "probabilities"


@pytest.mark.parametrize(("end", "activation"), [("Sigmoid", "probabilities"), ("Softmax", "probabilities"),
                                                 ("Identity", None), ("Tanh", None)])  # fmt: skip
def test_the_end_of_the_graph_shows_whether_it_gives_probabilities(tmp_path: Path, end: str, activation: str) -> None:
    file = network(tmp_path / "net.onnx", [(end, "y")])
    data = rows(tmp_path / "rows.csv", [0, 1, 2] * 5, 4)
    assert evaluated(file, data, tmp_path, **CLASSIFIER).task.config.activation == activation


@pytest.mark.parametrize(
    ("nodes", "activation"),
    [
        ([("Softmax", {"axis": 1}), ("Slice", ["from", "to", "axis"])], "probabilities"),
        ([("Sigmoid", {}), ("Gather", ["axis"])], "probabilities"),
        ([("LogSoftmax", {"axis": 1}), ("Exp", {})], "probabilities"),
        ([("LogSoftmax", {"axis": 1})], None),
        ([("Sigmoid", {}), ("Mul", ["unit"]), ("Identity", {})], "probabilities"),
        ([("Sigmoid", {}), ("Mul", ["twice"])], None),
        ([("Exp", {})], None),
        ([("Sigmoid", {}), ("Log", {})], None),
    ],
)
def test_probabilities_are_seen_behind_what_chooses_them(nodes: list, activation: str | None) -> None:
    weights = {
        "from": np.array([1]), "to": np.array([2]), "axis": np.array([1]),
        "unit": np.array([1.0], np.float32), "twice": np.array([2.0], np.float32),
    }  # fmt: skip
    name, made = "x", []
    for index, (op, more) in enumerate(nodes):
        inputs, attributes = (more, {}) if isinstance(more, list) else ([], more)
        made.append(helper.make_node(op, [name, *inputs], [f"y{index}"], **attributes))
        name = f"y{index}"
    graph = helper.make_graph(
        made, "g", [value("x", 1, "N", 3)], [value(name, 1, "N", "C")],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    hints = output_hints(helper.make_model(graph, opset_imports=OPSETS))
    assert hints.probabilities == ((name,) if activation else ())


def test_one_probability_is_not_put_through_a_sigmoid(tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", [("Sigmoid", "p")], width=1)
    evaluation = evaluated(file, rows(tmp_path / "rows.csv", [0, 1] * 8, 4), tmp_path, **CLASSIFIER)
    outputs = [{"p": np.array([[0.2]], np.float32)}]
    assert evaluation.task.predict(outputs).scores == pytest.approx([0.8, 0.2])


def test_what_is_ambiguous_is_refused_with_the_outputs(tmp_path: Path) -> None:
    file = network(tmp_path / "two.onnx", [("Identity", "first"), ("Tanh", "second"), ("ArgMax", "best")])
    data = rows(tmp_path / "rows.csv", [0, 1, 2] * 5, 4)
    with raises(UsageError, "first:f32[N,3]", "second:f32[N,3]", hint="--output-name first"):
        evaluated(file, data, tmp_path, **CLASSIFIER)
    with raises(UsageError, "first:f32[N,3]", hint="--output-name first"):  # without data `run` would answer wrongly
        evaluated(file, None, tmp_path, **CLASSIFIER)
    assert evaluated(file, data, tmp_path, **CLASSIFIER, output_name="second").task.config.output == "second"
    with raises(UsageError, ("'secnd'", "'second'"), hint="first:f32[N,3]"):
        evaluated(file, data, tmp_path, **CLASSIFIER, output_name="secnd")
    with raises(UsageError, "best:i64[N,1]", hint="--task tensor"):
        evaluated(file, data, tmp_path, **CLASSIFIER, output_name="best")
    named = network(tmp_path / "named.onnx", [("Identity", "embedding"), ("Tanh", "class_logits")])
    assert evaluated(named, data, tmp_path, **CLASSIFIER).task.config.output == "class_logits"


def test_labels_of_a_model_without_a_task_are_its_classes(tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", [("Identity", "y")])
    evaluation = evaluated(file, rows(tmp_path / "rows.csv", [0, 1, 2] * 5, 4), tmp_path, max_drop="1%")
    assert evaluation.task.config.task == "tabular-classification" and evaluation.task.metric == "accuracy"
    one_hot = tmp_path / "rows.npz"
    np.savez(one_hot, x=np.eye(4, dtype=np.float32)[[0, 1, 2, 0]], y=np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
    evaluation = evaluated(file, one_hot, tmp_path)
    truths = [evaluation.task.label(label) for label in evaluation.samples.labels or ()]
    assert evaluation.task.score(predicted(evaluation, file), truths) == 1.0


@pytest.mark.parametrize(
    ("labels", "settings", "facts"),
    [
        ([0, 1, 3], {}, ("0, 1, 3", "y:f32[N,3]")),
        ([0.5, 1.25, 2.0], {}, ("classes",)),
        (["a", "b"], {"metric": "accuracy"}, ("'accuracy'", "2 class names", "y:f32[N,3]")),
    ],
)
def test_labels_that_cannot_be_used_stop_the_export(tmp_path: Path, labels: list, settings: dict, facts: tuple) -> None:
    file = network(tmp_path / "net.onnx", [("Identity", "y")])
    with raises(UsageError, *facts, hint="--task"):
        evaluated(file, rows(tmp_path / "rows.csv", labels * 5, 4), tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"max_drop": 0.01, "task": "tensor"}, "--max-drop"),
        ({"min_agreement": 0.9}, "--min-agreement"),
        ({"labels": ["a", "b", "c"], "task": "tensor"}, "--labels"),
        ({"positive_class": "a", "task": "tensor"}, "--positive-class"),
        ({"text_columns": ["c0"]}, "--text-column"),
        ({"output_name": "y", "task": "tensor"}, "--output-name"),
    ],
)
def test_an_option_that_decides_nothing_is_an_error(tmp_path: Path, settings: dict, option: str) -> None:
    file = network(tmp_path / "net.onnx", [("Identity", "y")])
    data = tmp_path / "rows.npz"
    np.savez(data, x=np.eye(4, dtype=np.float32)[[0, 1, 2, 0]], y=np.array([0, 1, 2, 0]))
    if option == "--text-column":
        data = rows(tmp_path / "rows.csv", [0, 1, 2] * 5, 4)
    with raises(UsageError, option, "no effect"):
        evaluated(file, data, tmp_path, **settings)


def test_without_data_no_option_of_the_data_is_taken(tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", [("Identity", "y")])
    for settings in ({"max_drop": 0.01}, {"metric": "accuracy"}, {"label_column": "y"}, {"split": "test"}):
        with raises(UsageError, "no data", hint="--data"):
            edgekit.plan(file, **settings)
    unlabelled = tmp_path / "x.npz"
    np.savez(unlabelled, x=np.eye(4, dtype=np.float32))
    with raises(UsageError, "--max-drop", "no labels", hint="--label-column"):
        evaluated(file, unlabelled, tmp_path, max_drop=0.01)
