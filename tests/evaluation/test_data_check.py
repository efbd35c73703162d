"""Faults of the data that a plan finds: the model is not loaded, and no framework is imported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.pipeline import planning
from edgekit.project import Project
from tests.wording import raises

BERT = Path(__file__).parents[1] / "fixtures" / "transformers5" / "bert"

pytestmark = pytest.mark.needs("optimum.onnxruntime")


@pytest.fixture(autouse=True)
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the model was loaded")

    for source in registry.sources():
        monkeypatch.setattr(type(source), "load", refuse)
    monkeypatch.chdir(tmp_path)


def plan(model: str | Path = BERT, **options: object) -> None:
    planning.plan(Project.from_dict({"model": str(model), "candidates": ["onnxruntime/fp32"], **options}))


def bert(folder: Path, **settings: object) -> Path:
    copy = Path(shutil.copytree(BERT, folder / "bert"))
    config = json.loads((BERT / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **settings}))
    return copy


def table(*rows: str, name: str = "rows.csv") -> str:
    Path(name).write_text("\n".join(rows) + "\n")
    return name


def test_what_fits_is_planned() -> None:
    plan(data=table("text,label", "good words,good", "bad words,bad"))
    plan(data=table("text,label", "good words,2", "bad words,0"))


def test_a_table_that_does_not_read() -> None:
    with raises(UsageError, "line 2", hint="line 2"):
        plan(data=table("text,label", '"never closed,1', "more,0"))


def test_a_training_table_that_does_not_read() -> None:
    good = table("text,label", "good words,good", "bad words,bad")
    with raises(UsageError, "line 2"):
        plan(data=good, train=table("text,label", '"never closed,1', name="train.csv"))


def test_labels_that_the_model_does_not_have() -> None:
    with raises(UsageError, "'splendid'", hint="bad, fair, good"):
        plan(data=table("text,label", "good words,good", "fine words,splendid"))


def test_labels_that_count_from_1() -> None:
    with raises(UsageError, "3 classes", "from 0", hint="subtract 1"):
        plan(data=table("text,label", "good words,3", "bad words,1", "fair words,2"))


def test_labels_in_two_spellings(tmp_path: Path) -> None:
    unnamed = bert(tmp_path, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    with raises(UsageError, "2 classes", "'Ham', 'ham '", hint="one way"):
        plan(unnamed, data=table("text,label", "some words,Ham", "more words,ham ", "bad words,spam"))


def test_a_text_model_without_texts() -> None:
    Path("val").mkdir()
    Image.new("L", (3, 3)).save("val/1.png")
    with raises(UsageError, "text", hint="--text-column"):
        plan(data="val")


def test_a_text_model_with_three_texts() -> None:
    row = "one text,another text,a third text,good"
    with raises(UsageError, "3 texts (a, b, c)", hint="--text-column"):
        plan(data=table("a,b,c,label", row, row.replace("good", "bad")))


def test_a_model_of_pictures_without_pictures() -> None:
    with raises(UsageError, "picture", hint="'image'"):
        plan("digits", data=table("text,label", "good words,1"))


def test_pictures_that_do_not_open() -> None:
    for name in ("3", "7"):
        Path("val", name).mkdir(parents=True)
    Image.new("L", (3, 3)).save("val/3/1.png")
    Path("val/7/1.png").write_text("<html>not found</html>")
    with raises(UsageError, "val/7/1.png", hint="remove it"):
        plan("digits", data="val")


def test_a_metric_without_labels() -> None:
    with raises(UsageError, "labels", "f1", hint="--label-column"):
        plan(data=table("text", "good words", "bad words"), metric="f1")


@pytest.mark.parametrize("options", [{"metric": "acuracy"}, {"task": "text-clasification"}])
def test_names_that_do_not_exist(options: dict[str, str]) -> None:
    with raises(UsageError, f"'{next(iter(options.values()))}'"):
        plan(data=table("text,label", "good words,good", "bad words,bad"), **options)


def test_arrays_and_functions_are_not_judged_here() -> None:
    np.savez("rows.npz", input_ids=np.ones((4, 6), np.int64), label=np.array([0, 1, 2, 0]))
    plan(data="rows.npz")
    plan(data="no_such_module:rows")
