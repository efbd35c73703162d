"""Labels, classification, tables of numbers, plain tensors, and the table of tasks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import Sample
from edgekit.data import load as load_data
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import GENERIC, OWN, TabularConfig, TaskConfig, known, load
from edgekit.tasks.labels import Classes
from tests.wording import raises

NOWHERE = Path("none")
X = TensorSpec("x", "f32", ("N", 3))


def classifier(labels=(), classes=(), **fields):
    return load(TaskConfig("image-classification", labels=labels, **fields), NOWHERE, [X], classes)


@pytest.mark.parametrize(
    ("raw", "index"),
    [
        ("NEGATIVE", 0),
        ("positive", 1),
        (" very_positive ", 2),
        ("Very-Positive", 2),
        (1, 1),
        (2.0, 2),
        ("1", 1),
        (True, 1),
        (np.int64(2), 2),
    ],
)
def test_labels_by_name_and_number(raw, index):
    assert Classes.of(("negative", "positive", "very positive")).index(raw) == index


def test_names_that_are_digits():
    digits = Classes.of(tuple("9876543210"))
    assert digits.index("7") == 2 and digits.index(7) == 7


def test_an_unknown_label_lists_the_models():
    with raises(UsageError, ("'postive'", "'positive'")) as caught:
        Classes.of(("negative", "positive")).index("postive")
    assert "negative, positive" in caught.value.hint
    for bad in (2, -1, "2", None, [1]):
        with raises(UsageError, f"'{bad}'", hint="negative, positive"):
            Classes.of(("negative", "positive")).index(bad)
    with raises(UsageError, "0.5", hint="--metric spearman"):
        Classes.of(("negative", "positive")).index(0.5)


def test_placeholder_names_give_way_to_the_datas():
    assert Classes.of(("LABEL_0", "LABEL_1"), ("dog", "cat")).names == ("cat", "dog")
    assert Classes.of(("LABEL_0", "LABEL_1"), ("dog", "cat")).index("dog") == 1
    assert Classes.of(("LABEL_0", "LABEL_1"), ()).index("LABEL_1") == 1
    assert Classes.of(("no", "yes"), ("dog", "cat")).names == ("no", "yes")
    numbered = Classes.of((), ("0", "1", "10", "2"))
    assert numbered.index("10") == 10
    with raises(UsageError, "'dog'", hint="id2label"):
        Classes.of((), ()).index("dog")


def test_the_datas_names_must_be_as_many_as_the_models_classes():
    task = classifier((), ("cat", "dog"))
    assert task.predict([{"logits": np.array([[0.0, 1.0]])}]).value == task.label("dog") == 1
    with raises(UsageError, "3 classes", "2", "cat, dog", hint="id2label"):
        task.predict([{"logits": np.zeros((1, 3))}])


def test_classification_answers():
    task = classifier(("a", "b", "c", "d", "e", "f"))
    logits = np.array([[1.0, 3.0, 2.0, -1.0, 0.0, -9.0]], np.float32)
    answer = task.answer([{"logits": logits}])
    expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert answer["label"] == "b" and answer["score"] == pytest.approx(float(expected[1]), rel=1e-6)
    assert [entry["label"] for entry in answer["top"]] == ["b", "c", "a", "e", "d"]
    assert task.predict([{"logits": logits}]).value == 1
    np.testing.assert_allclose(task.predict([{"logits": logits}]).scores, expected, rtol=1e-6)


def test_probabilities_are_not_squashed_again():
    task = classifier(("a", "b"))
    assert task.answer([{"p": np.array([[0.9, 0.1]])}])["score"] == pytest.approx(0.9)
    # one output: a logit, unless the model's record says it is a probability
    assert classifier(("a", "b")).predict([{"p": np.array([[0.2]])}]).value == 1
    stated = classifier(("a", "b"), activation="probabilities").predict([{"p": np.array([[0.2]])}])
    assert stated.value == 0 and stated.scores == pytest.approx([0.8, 0.2])


def test_shapes_that_hold_no_classes():
    task = classifier(("a", "b"))
    assert task.predict([{"logits": np.array([[[[1.0]], [[2.0]]]])}]).value == 1
    for shape in ((1, 4, 2), (2, 2), ()):
        with raises(UsageError, str(list(shape)), "[1, classes]"):
            task.predict([{"logits": np.zeros(shape)}])
    named = load(TaskConfig("image-classification", output="logit"), NOWHERE, [X])
    with raises(UsageError, ("'logit'", "'logits'")):
        named.predict([{"logits": np.zeros((1, 2))}])


def test_score_and_labels_beyond_the_classes():
    task = classifier()
    predictions = [task.predict([{"logits": np.eye(3)[[i]]}]) for i in (0, 1, 2, 2)]
    assert task.metric == "accuracy" and task.score(predictions, [0, 1, 2, 0]) == 0.75
    with raises(UsageError, ("3", "3 classes"), hint="--label-column"):
        task.score(predictions, [1, 2, 3, 0])


def test_credit_table(assets):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    samples = load_data(str(assets / "data-uci-credit" / "UCI_Credit_Card.csv")).take(2000, 0)
    spec = TensorSpec("features", "f32", ("N", 23))
    task = load(TaskConfig("tabular-classification", labels=("paid", "default")), NOWHERE, [spec])
    assert task.metric == "auc"
    rows = np.concatenate([task.feeds(sample)[0]["features"] for sample in samples])
    table = np.loadtxt(assets / "data-uci-credit" / "UCI_Credit_Card.csv", delimiter=",", skiprows=1)
    assert rows.shape == (2000, 23) and rows.dtype == np.float32
    ids = [sample.fields["ID"] for sample in samples]
    assert np.array_equal(rows, table[[i - 1 for i in ids], 1:-1].astype(np.float32))
    mean, std = rows.mean(0, np.float64), rows.std(0, dtype=np.float64)
    scaled = TabularConfig(columns=tuple(f"X{i}" for i in range(1, 24)), mean=tuple(mean), std=tuple(std))
    normed = load(TaskConfig("tabular-classification", ("paid", "default"), tabular=scaled), NOWHERE, [spec])
    features = np.concatenate([normed.feeds(sample)[0]["features"] for sample in samples])
    np.testing.assert_allclose(features, (rows.astype(np.float64) - mean) / std, atol=1e-5)
    labels = [task.label(sample.label) for sample in samples]
    model = LogisticRegression(max_iter=1000).fit(features, labels)
    predictions = [normed.predict([{"logit": model.decision_function(row[None])[:, None]}]) for row in features]
    expected = roc_auc_score(labels, model.decision_function(features))
    assert normed.score(predictions, labels) == pytest.approx(expected, abs=1e-9) and expected > 0.7


def test_columns_that_do_not_fit():
    task = load(TaskConfig("tabular-classification"), NOWHERE, [TensorSpec("features", "f32", ("N", 2))])
    with raises(UsageError, ("2", "3", "a, b, c"), hint="--label-column"):
        task.feeds(Sample({"a": 1, "b": 2, "c": 3}))
    with raises(UsageError, "'b'", "empty"):
        task.feeds(Sample({"a": 1, "b": None}))
    config = TabularConfig(columns=("a", "bb"))
    named = load(TaskConfig("tabular-classification", tabular=config), NOWHERE, [TensorSpec("features", "f32", (1, 2))])
    with raises(UsageError, "'bb'", "'b'", hint="a, b"):
        named.feeds(Sample({"a": 1, "b": 2}))
    with raises(UsageError, "'bb'", "'high'", "number"):
        named.feeds(Sample({"a": 1, "bb": "high"}))


def test_an_input_for_each_column():
    specs = [TensorSpec("age", "f32", ("N", 1)), TensorSpec("job", "i64", ("N", 1))]
    task = load(TaskConfig("tabular-classification"), NOWHERE, specs)
    (feeds,) = task.feeds(Sample({"age": [31.5], "job": [4]}))
    assert feeds["age"].shape == (1, 1) and feeds["job"].dtype == np.int64


def test_unknown_tasks_and_metrics():
    with raises(UsageError, ("'image-clasification'", "'image-classification'")):
        load(TaskConfig("image-clasification"), NOWHERE, [X])
    with raises(UsageError, ("'acuracy'", "'accuracy'")):
        load(TaskConfig("image-classification", metric="acuracy"), NOWHERE, [X])
    with raises(UsageError, "'sentence-similarity'", "'accuracy'", hint="spearman, pearson"):
        load(TaskConfig("sentence-similarity", metric="accuracy"), NOWHERE, [X])
    with raises(UsageError, "'object-detection'", "'accuracy'"):
        load(TaskConfig("object-detection", metric="accuracy"), NOWHERE, [X])


def test_every_task_of_optimum_is_known():
    from optimum.exporters.tasks import TasksManager

    assert set(TasksManager.get_all_tasks()) <= set(known())
    assert set(OWN) | set(GENERIC) == set(known()) and not set(OWN) & set(GENERIC)
    for name in GENERIC:
        assert load(TaskConfig(name), NOWHERE, [X]).feeds(Sample({"x": [1, 2, 3]}))[0]["x"].shape == (1, 3)
    assert load(TaskConfig("text-generation-with-past"), NOWHERE, [X]).metric is None


def test_the_device_side_needs_no_framework(tmp_path):
    """Classify a picture and a text with the heavy packages blocked from import."""
    code = """
        import sys
        for name in ("torch", "transformers", "optimum", "onnx", "datasets", "sklearn", "scipy", "pyarrow"):
            sys.modules[name] = None
        from pathlib import Path
        import numpy as np
        from PIL import Image
        from tokenizers import Tokenizer, models, pre_tokenizers
        from edgekit.data import Feeds, Sample, load
        from edgekit.spec import TensorSpec
        from edgekit import tasks
        folder = Path(sys.argv[1])
        Image.new("RGB", (9, 7), (255, 0, 0)).save(folder / "red.png")
        config = tasks.TaskConfig("image-classification", ("a", "b"), image=tasks.ImageConfig(size=(4, 4)))
        task = tasks.load(config, folder, [TensorSpec("pixel_values", "f32", ("N", 3, 4, 4))])
        (feeds,) = Feeds.of(load(str(folder / "red.png")), task)
        assert feeds["pixel_values"][0, :, 0, 0].tolist() == [1, 0, 0]
        assert task.answer([{"logits": np.array([[0.0, 2.0]])}])["label"] == "b"
        words = Tokenizer(models.WordLevel({"[UNK]": 0, "good": 1, "film": 2}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.save(str(folder / "tokenizer.json"))
        task = tasks.load(tasks.TaskConfig("text-classification"), folder, [TensorSpec("input_ids", "i64", ("N", "L"))])
        (feeds,) = task.feeds(Sample({"text": "good film yes"}))
        assert feeds["input_ids"].tolist() == [[1, 2, 0]]
        prediction = task.predict([{"logits": np.array([[0.0, 2.0]])}])
        assert task.score([prediction], [task.label(1)]) == 1.0
        print("ran")
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "ran", done.stderr
