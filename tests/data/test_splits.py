"""A folder of splits: which is read, which is asked for, and what is a class and no split."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edgekit.data import DataRef, load
from edgekit.errors import UsageError
from tests.wording import mentions, raises


def pictures(folder: Path, *classes: str) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        Image.new("L", (3, 3)).save(folder / name / "1.png")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("train2017", "val2017"), ("training_set", "valid_set")])
def test_the_split_that_was_not_trained_on_is_read_and_the_note_says_how_to_take_another(tmp_path, names):
    for name in names:
        pictures(tmp_path / name, "oak", "elm")
    samples = load(str(tmp_path))
    assert samples.labels == ["elm", "oak"]
    assert Path(samples.source).name.startswith("val")
    assert mentions(samples.notes[0], f"--split {names[0]}")


@pytest.mark.parametrize("asked", ["val", "validation", "dev"])
def test_a_split_is_named_by_any_of_its_names(tmp_path, asked):
    for name in ("train", "val"):
        pictures(tmp_path / name, f"{name}-oak")
    samples = load(DataRef(str(tmp_path), asked))
    assert (samples.labels, samples.notes) == (["val-oak"], ())


def test_splits_beside_other_folders_are_asked_for(tmp_path):
    for name in ("train", "test", "sketches"):
        pictures(tmp_path / name, "oak")
    with raises(UsageError, ("test, train", "sketches"), hint="--split test"):
        load(str(tmp_path))
    assert len(load(DataRef(str(tmp_path), "test"))) == 1


@pytest.mark.parametrize("names", [("train", "bus"), ("test1", "test2")])
def test_classes_may_have_the_name_of_a_split(tmp_path, names):
    pictures(tmp_path, *names)
    assert sorted(load(str(tmp_path)).labels) == sorted(names)


def test_splits_that_hold_tables(tmp_path):
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.csv").write_text(f"text,label\nof {name},1\n")
    samples = load(str(tmp_path))
    assert samples[0].fields == {"text": "of test"}
    assert mentions(samples.notes[0], "--split train")


def test_an_unknown_split_is_answered_with_those_that_there_are(tmp_path):
    for name in ("train", "test"):
        pictures(tmp_path / name, "oak")
    with raises(UsageError, "'tset'", hint=("--split test", "--split train")):
        load(DataRef(str(tmp_path), "tset"))
