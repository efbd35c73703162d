"""Labels and the model's classes: their names, their order, and scores that are worse than a guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.data import load
from edgekit.errors import UsageError
from edgekit.evaluation.activation import with_observed_activation
from edgekit.evaluation.class_order import ordered
from edgekit.evaluation.doubts import doubts
from edgekit.model import Model, Part
from edgekit.spec import TensorSpec
from edgekit.tasks import metrics
from edgekit.tasks.labels import Classes
from tests.evaluation.classifiers import evaluated, linear, network, predicted
from tests.wording import mentions, raises

TABLE = {"bench": False, "recipe": "fp32", "backends": ["onnxruntime"], "force": True}


def test_an_exact_name_comes_before_a_looser_one() -> None:
    letters = Classes.of(("A", "B", "a", "-", "_", "new york"))
    assert [letters.index(name) for name in ("a", "A", "_", "-", "b", "New_York")] == [2, 0, 4, 3, 1, 5]
    with raises(UsageError, "'o-o'", "'O_o', 'o o'"):
        Classes.of(("O_o", "o o")).index("o-o")


def test_a_looser_match_is_mentioned_and_two_are_refused() -> None:
    classes = Classes.of(("cat", "golden retriever"))
    assert classes.check(("cat", "golden retriever")) == ()
    (note,) = classes.check(("Cat", "golden_retriever"))
    assert mentions(note, "'Cat' as 'cat'", "'golden_retriever' as 'golden retriever'")
    for pair in (("cat", "CAT"), ("Cat", "CAT")):
        with raises(UsageError, f"'{pair[0]}' and '{pair[1]}'", "'cat'"):
            classes.check(pair)


def test_numbers_are_names_where_the_classes_are_named_by_numbers() -> None:
    years = Classes.of(("2023", "1999"), numbers_are_names=True)
    assert (years.index(1999), years.index("2023"), years.index(np.int64(2023))) == (1, 0, 0)
    with raises(UsageError, "'0'", hint="2023, 1999"):
        years.index(0)


@pytest.mark.parametrize(
    "row", [[0, 1, 0], (0.0, 1.0, 0.0), np.array([0, 1, 0], np.uint8), np.array([False, True, False])]
)
def test_a_one_hot_row_is_its_class(row: object) -> None:
    assert Classes.of(()).index(row) == 1


@pytest.mark.parametrize("row", [[0.2, 0.8], [1, 1, 0], np.zeros(3), [0, 2]])
def test_a_row_that_is_not_one_hot_is_not_a_class(row: object) -> None:
    with raises(UsageError, "one-hot", hint="argmax"):
        Classes.of(()).index(row)


class Recorded:
    """The original's outputs, computed when asked for."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def __len__(self) -> int:
        return len(self.scores)

    def outputs(self, index: int) -> list[dict[str, np.ndarray]]:
        return [{"y": self.scores[index : index + 1]}]


def folders(names: list[str], indexes: list[int], path: Path) -> Path:
    """Write arrays whose class index is that of the model, labelled with the name of a folder."""
    x = np.eye(12, dtype=np.float32)[indexes]
    np.savez(path, x=x, label=np.array(names))
    return path


@pytest.mark.parametrize("order", ["lexical", "number", "index"])
def test_the_original_shows_the_order_of_folders_that_are_numbers(tmp_path: Path, order: str) -> None:
    first = 0 if order == "index" else 1
    numbers = [str(number) for number in range(first, first + 12)]
    places = {name: index for index, name in enumerate(sorted(numbers) if order == "lexical" else numbers)}
    names = numbers * 4
    data = folders(names, [places[name] for name in names], tmp_path / "x.npz")
    file = network(tmp_path / "net.onnx", [("Identity", "y")], width=12, inputs=12)
    evaluation = evaluated(file, data, tmp_path, task="image-classification")
    scores = np.stack([np.asarray(sample.fields["x"]) for sample in evaluation.samples])

    class Net:
        assets, part = tmp_path, evaluation.task.prepare  # type: ignore[attr-defined]

    named = ordered(evaluation, Recorded(scores), Net)  # type: ignore[arg-type]
    truths = [named.task.label(label) for label in named.samples.labels or ()]
    assert named.task.score([named.task.predict([{"y": row[None]}]) for row in scores], truths) == 1.0
    facts = {"lexical": "torchvision", "number": "order of numbers", "index": "by index"}
    assert any(mentions(note, facts[order], "1.0000") for note in named.notes)


def test_nothing_is_chosen_where_every_order_is_the_same(tmp_path: Path) -> None:
    data = folders(list("012") * 4, [0, 1, 2] * 4, tmp_path / "x.npz")
    evaluation = evaluated(network(tmp_path / "net.onnx", [("Identity", "y")], width=3, inputs=12), data, tmp_path)
    assert ordered(evaluation, Recorded(np.zeros((12, 3))), None) is evaluation  # type: ignore[arg-type]


@pytest.fixture
def swapped(tmp_path: Path) -> tuple[Path, Path]:
    """Write a model whose first class is the one that sorts last, and rows that it knows."""
    file = network(tmp_path / "net.onnx", [("Softmax", "p")], width=2, inputs=2)
    data = tmp_path / "rows.csv"
    noise = np.random.default_rng(0).normal(0, 0.4, 60)
    rows = [(1 + noise[index], 0.0, "sick") if index % 3 else (0.0, 1 + noise[index], "healthy") for index in range(60)]
    data.write_text("a,b,label\n" + "".join(f"{a},{b},{label}\n" for a, b, label in rows))
    return file, data


def test_an_order_that_is_upside_down_is_mentioned_at_the_verdict(swapped: tuple[Path, Path], tmp_path: Path) -> None:
    from edgekit.report import html, markdown, text

    file, data = swapped
    result = edgekit.export(file, data=data, output=tmp_path / "out", task="tabular-classification", **TABLE)
    shipped = result.report.shipped
    assert shipped is not None and shipped.quality is not None and shipped.quality.original_score == 0.0
    (note,) = [note for note in shipped.quality.notes if "WARNING" in note]
    assert mentions(note, "auc", "below 0.5", "--labels", "--positive-class")
    verdict = text.render(result.report, width=1000).split("Candidates")[0]
    assert note in verdict and note in markdown.render(result.report).replace("\\", "")
    assert "WARNING: auc" in html.render(result.report)


@pytest.mark.parametrize("settings", [{"labels": ["sick", "healthy"]}, {"positive_class": "healthy"}])
def test_the_order_is_given_by_names(swapped: tuple[Path, Path], tmp_path: Path, settings: dict) -> None:
    file, data = swapped
    evaluation = evaluated(file, data, tmp_path, task="tabular-classification", **settings)
    truths = [evaluation.task.label(label) for label in evaluation.samples.labels or ()]
    assert list(evaluation.task.config.labels) == ["sick", "healthy"]
    assert evaluation.task.score(predicted(evaluation, file), truths) > 0.95


def test_the_positive_class_of_a_model_with_names_is_its_metrics(tmp_path: Path) -> None:
    file = linear(tmp_path / "net.onnx", ["healthy", "sick"])
    data = tmp_path / "rows.csv"
    data.write_text("a,b,label\n" + "2,0,healthy\n0,1,sick\n1,0,sick\n3,0,healthy\n0,4,healthy\n" * 8)
    values = {}
    for name in ("healthy", "sick"):
        found = evaluated(file, data, tmp_path, task="tabular-classification", metric="f1", positive_class=name)
        truths = [found.task.label(label) for label in found.samples.labels or ()]
        predictions = predicted(found, file)
        values[name] = found.task.score(predictions, truths)
        assert values[name] == metrics.f1([p.value for p in predictions], truths, positive=int(name == "sick"))
    assert values["healthy"] != values["sick"]
    with raises(UsageError, "'well'", "'healthy'", "'sick'", hint="--positive-class sick"):
        evaluated(file, data, tmp_path, task="tabular-classification", positive_class="well")


def test_names_and_classes_that_do_not_fit_are_refused(swapped: tuple[Path, Path], tmp_path: Path) -> None:
    file, data = swapped
    with raises(UsageError, "--labels", "3 classes", "2"):
        evaluated(file, data, tmp_path, task="tabular-classification", labels=["a", "b", "c"])
    with raises(UsageError, ("'healthy'",), hint="sic, well"):
        evaluated(file, data, tmp_path, task="tabular-classification", labels=["sic", "well"])


def test_doubts_are_of_scores_below_a_guess() -> None:
    assert doubts("auc", 0.2324, [0, 1]) and not doubts("auc", 0.5, [0, 1])
    assert doubts("accuracy", 0.6, [0, 0, 0, 1]) and not doubts("accuracy", 0.75, [0, 0, 0, 1])
    assert doubts("spearman", -0.2, [0.1, 0.4]) and not doubts("spearman", 0.2, [0.1, 0.4])
    assert (
        not doubts("accuracy", 0.9, [1, 1, 1])
        and not doubts("package:own", -3.0, [0, 1])
        and not doubts("auc", None, [])
    )


def test_labels_by_folder_are_read_as_text(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("a", "A"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "set" / name / "x.png")
    assert load(str(tmp_path / "set")).classes == ("A", "a")


def test_scores_between_0_and_1_on_every_sample_are_probabilities(tmp_path: Path) -> None:
    data = tmp_path / "rows.csv"
    data.write_text("a,b,label\n" + "1,0,0\n0,1,1\n" * 10)
    evaluation = evaluated(
        network(tmp_path / "net.onnx", [("Identity", "y")], width=1, inputs=2), data, tmp_path,
        task="tabular-classification",
    )  # fmt: skip
    model = Model("onnx", folder=tmp_path, parts=(Part("model", "x", (TensorSpec("x", "f32", ("N", 2)),), ()),))

    def observed(scores: np.ndarray) -> str | None:
        recorded = Recorded(scores)
        return with_observed_activation(evaluation, recorded, model).task.config.activation  # type: ignore[arg-type]

    shares = np.linspace(0.1, 0.9, 16, dtype=np.float32)[:, None]
    assert observed(shares) == "probabilities" and observed(shares * 3) is None and observed(shares - 0.2) is None
    assert observed(shares[:4]) is None and observed(np.full((16, 1), 0.5)) is None
