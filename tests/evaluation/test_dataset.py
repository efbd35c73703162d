"""What an export is evaluated on: class names, labels that are not used, sizes of synthetic inputs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import Sample, Samples, load
from edgekit.errors import UsageError
from edgekit.evaluation.dataset import example_feeds, prepare
from edgekit.model import Model, Part
from edgekit.project import Project
from edgekit.spec import TensorSpec
from edgekit.tasks import user_input
from edgekit.tasks.config import TaskConfig, TextConfig
from tests.wording import mentions, raises

BERT = Path(__file__).parent.parent / "fixtures" / "transformers5" / "bert"


def model(folder: Path, task: str, labels: tuple[str, ...] = ()) -> Model:
    config = TaskConfig(task, labels=labels)
    exported = Model(
        "onnx", (Part("model", "model.onnx", (TensorSpec.parse("x:f32[N,3]"),), ()),), task=task, folder=folder
    )
    config.save(exported.assets)
    return exported


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.ones((10, 3), np.float32), label=np.array(["owl", "cat"] * 5))
    return str(path)


def test_the_use_of_the_datas_class_names_is_reported(tmp_path: Path, rows: str) -> None:
    prepared = prepare(Project(data=rows), model(tmp_path, "image-classification", ("LABEL_0", "LABEL_1")))
    assert prepared.task.config.labels == ("cat", "owl")
    assert any(mentions(note, "cat, owl", "sorted") for note in prepared.notes)


def test_names_that_are_not_as_many_as_the_models_classes_are_refused(tmp_path: Path, rows: str) -> None:
    with raises(UsageError, "3 classes", "2", "cat, owl", hint="id2label"):
        prepare(Project(data=rows), model(tmp_path, "image-classification", ("LABEL_0", "LABEL_1", "LABEL_2")))


def test_labels_that_no_metric_uses_are_mentioned(tmp_path: Path, rows: str) -> None:
    with raises(UsageError, "labels", hint="--task tensor"):  # its outputs do not show what the labels mean
        prepare(Project(data=rows), model(tmp_path, "tensor"))
    notes = prepare(Project(data=rows, task="tensor"), model(tmp_path, "tensor")).notes
    assert any(mentions(note, "labels", "--task") for note in notes)
    notes = prepare(Project(data=rows), model(tmp_path, "object-detection")).notes
    assert any(mentions(note, "'object-detection'", "metric") for note in notes)


def test_a_functions_dict_may_hold_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labelled_rows.py").write_text(
        "def rows():\n    yield from ({'x': i, 'label': i % 2} for i in range(4))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    samples = load("labelled_rows:rows")
    assert isinstance(samples, Samples)
    assert (samples[3].fields, samples[3].label) == ({"x": 3}, 1)


def test_samples_are_drawn_again_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.arange(30, dtype=np.float32).reshape(10, 3), label=np.array([0, 1] * 5))
    prepared = prepare(
        Project(data=str(path), max_samples=5, seed=3), model(tmp_path, "image-classification", ("a", "b"))
    )
    assert prepared.sources.evaluation_draw is not None
    calibration, evaluation = prepared.sources.evaluation_draw.parts(load(str(path)))
    assert (len(calibration), len(evaluation)) == (2, 5)
    assert evaluation.digest == prepared.sources.evaluation_digest
    assert calibration.digest == prepared.sources.calibration_digest


def test_texts_that_are_cut_are_counted(tmp_path: Path) -> None:
    ids = TensorSpec.parse("input_ids:i64[N,tokens]")
    exported = Model(
        "onnx", (Part("model", "model.onnx", (ids,), (TensorSpec.parse("logits:f32[N,2]"),)),),
        task="text-classification", folder=tmp_path / "model",
    )  # fmt: skip
    text = TextConfig(inputs=("input_ids",), max_length=8)
    TaskConfig("text-classification", labels=("bad", "good"), text=text).save(exported.assets)
    shutil.copy(BERT / "tokenizer.json", exported.assets / "tokenizer.json")
    lines = [f"{'a ' * (9 if index % 4 == 0 else 3)},{('good', 'bad')[index % 2]}" for index in range(40)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    prepared = prepare(Project(data=str(tmp_path / "texts.csv")), exported)
    cut = sum(len(str(sample.fields["text"]).split()) == 9 for sample in prepared.samples)
    assert cut and any(mentions(note, f"{cut} of {len(prepared.samples)}", "8 tokens") for note in prepared.notes)
    # `edgekit run` says the same of one text
    assert mentions(user_input.notes(prepared.task, Sample({"text": "a " * 9}))[0], "8 tokens")
    assert not user_input.notes(prepared.task, Sample({"text": "a"}))
    short = Project(data=str(tmp_path / "texts.csv"), max_samples=5)
    TaskConfig("text-classification", labels=("bad", "good"), text=replace(text, max_length=64)).save(exported.assets)
    assert not any("tokens" in note for note in prepare(short, exported).notes)


def test_a_row_number_is_not_an_example_feature(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("ID,age,limit,label\n1,30,5,0\n2,40,6,1\n")
    feeds = example_feeds(Project(data=str(tmp_path / "rows.csv")))
    assert feeds is not None and feeds["features"].tolist() == [[30.0, 5.0]]
