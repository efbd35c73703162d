"""Draws and splits: deterministic, disjoint, each class with its share; and feeds made of samples."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import DataRef, Feeds, Sample, Samples, load, require_labels
from edgekit.data.draw import classes_of, draw
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig
from edgekit.tasks import load as load_task
from tests.wording import mentions, raises


def samples_of(labels, width=3):
    rng = np.random.default_rng(0)
    return Samples.from_feeds([{"x": rng.normal(size=width)} for _ in labels], labels)


def test_take_keeps_the_share_of_every_class():
    samples = samples_of(["a"] * 700 + ["b"] * 250 + ["c"] * 50)
    assert Counter(samples.take(100, seed=1).labels) == {"a": 70, "b": 25, "c": 5}
    # 10 of it are 7, 2.5 and 0.5: the two halves go to one of the classes, and nothing is drawn twice
    drawn = samples.take(10, seed=1)
    assert len(drawn) == 10 and Counter(drawn.labels)["a"] == 7


def test_draws_depend_on_the_seed_alone():
    samples = samples_of([0, 1] * 50)
    first, again, other = (samples.take(20, seed=seed).digest for seed in (3, 3, 4))
    assert first == again != other


def test_a_draw_is_the_same_on_every_python():
    # A draw that moved with the interpreter would make two builds differ: these positions are pinned.
    assert draw(5, 100, 0) == [3, 37, 52, 62, 74]


def test_fewer_samples_than_classes_are_drawn_over_all_of_them():
    labels = [f"n{index // 50:04}" for index in range(50_000)]  # 1000 classes in the order of their names, as ImageNet
    drawn = {seed: [int(labels[index][1:]) for index in draw(300, 50_000, seed, labels)] for seed in (0, 1)}
    for classes in drawn.values():
        assert len(set(classes)) == 300  # none twice
        assert 450 < np.mean(classes) < 550 and max(classes) > 950  # the first 300 by name have the mean 149.5
    assert len(set(drawn[0]) & set(drawn[1])) < 150
    assert {labels[index] for index in draw(300, 50_000, 0, labels, rule="largest")} == {*labels[: 300 * 50]}


def test_a_class_that_is_a_little_larger_is_not_preferred():
    labels = ["large"] * 11 + [f"c{index}" for index in range(99) for _ in range(10)]
    got = [sum(labels[index] == "large" for index in draw(30, len(labels), seed, labels)) for seed in range(200)]
    assert set(got) == {0, 1} and 0.2 < np.mean(got) < 0.45  # its share is 0.33; the largest remainder gave it 1


def test_split_is_disjoint_and_whole():
    samples = samples_of([0, 1, 2] * 40)
    calibration, evaluation = samples.split(30, seed=5)
    ids = [[float(s.fields["x"][0]) for s in part] for part in (calibration, evaluation)]
    assert len(ids[0]) == 30 and len(ids[1]) == 90
    assert not set(ids[0]) & set(ids[1])
    assert set(ids[0]) | set(ids[1]) == {float(s.fields["x"][0]) for s in samples}
    assert Counter(calibration.labels) == {0: 10, 1: 10, 2: 10}


def test_split_refuses_to_leave_nothing():
    with raises(UsageError, "2 calibration samples of 2", "'arrays'"):
        samples_of([0, 1]).split(2)


def test_measurements_are_not_classes():
    assert classes_of([0.5, 2.25, 4.0]) is None
    assert classes_of([0.0, 1.0, None]) == (0.0, 1.0)
    assert len(samples_of([i / 7 for i in range(50)]).take(10, 0)) == 10


def test_a_subset_of_a_subset_keeps_its_labels_and_rows():
    samples = samples_of(list(range(10)))
    inner = samples.take(6, 1).take(3, 2)
    for sample, label in zip(inner, inner.labels, strict=True):
        assert sample.label == label
        assert np.array_equal(sample.fields["x"], samples[label].fields["x"])
    assert inner[-1].label == inner.labels[-1]
    with pytest.raises(IndexError):
        inner[3]


def test_notes_report_one_class_and_missing_labels():
    assert any(mentions(note, "label", "'a'") for note in samples_of(["a"] * 4).notes)
    assert any(mentions(note, "1 of 3 samples", "label") for note in samples_of(["a", None, "b"]).notes)
    assert samples_of(["a", "b"]).notes == ()


def test_require_labels_says_what_to_do():
    unlabelled = Samples.from_feeds([{"x": np.zeros(2)}], source="mine")
    with raises(UsageError, "accuracy", "'mine'", hint="--label-column") as caught:
        require_labels(unlabelled, "to compute the accuracy")
    assert "--label-column" in caught.value.hint
    require_labels(samples_of(["a"]), "to compute the accuracy")


def test_digest_is_of_the_content():
    feeds = [{"x": np.arange(3.0)}]
    same = Samples.from_feeds([{"x": np.arange(3.0)}], source="elsewhere").digest
    assert Samples.from_feeds(feeds).digest == same
    assert Samples.from_feeds([{"x": np.arange(3.0, dtype=np.float32)}]).digest != same
    assert Samples.from_feeds(feeds, [1]).digest != same


def tensor_task():
    return load_task(TaskConfig("tensor"), Path("none"), [TensorSpec("x", "f32", ("N", 3))])


def test_feeds_are_made_again_for_each_pass():
    samples = samples_of([0, 1] * 5)
    feeds = Feeds.of(samples, tensor_task())
    assert len(feeds) == 10
    first, second = list(feeds), list(feeds)
    assert all(a["x"].shape == (1, 3) and a["x"].dtype == np.float32 for a in first)
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(first, second, strict=True))
    assert feeds.digest == Feeds.of(samples_of([0, 1] * 5), tensor_task()).digest != samples.digest


def test_feeds_hold_one_sample_at_a_time():
    alive = []

    class Rows:
        kind, source, labels, notes = "counted", "counted", None, ()

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            alive.append(index)
            return Sample({"x": np.zeros(3)})

        def digest(self, indexes):
            return "0"

    iterator = iter(Feeds.of(Samples(Rows()), tensor_task()))
    next(iterator)
    next(iterator)
    assert alive == [0, 1]


def test_feeds_of_arrays():
    feeds = Feeds.from_arrays([{"x": np.zeros((1, 3), np.float32)}, {"x": np.ones((1, 3), np.float32)}])
    assert len(feeds) == 2
    assert [float(feed["x"].sum()) for feed in feeds] == [0.0, 3.0] == [float(feed["x"].sum()) for feed in feeds]
    assert feeds.digest != Feeds.from_arrays([{"x": np.zeros((1, 3), np.float32)}]).digest


def test_importing_data_imports_nothing_heavy():
    heavy = "{'numpy', 'PIL', 'pyarrow', 'tokenizers'}"
    code = f"import edgekit.data, edgekit.tasks, sys; print(*sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_missing_data_names_the_nearest(tmp_path):
    (tmp_path / "validation.csv").write_text("text,label\na b,1\n")
    with raises(UsageError, "validatoin.csv'", "'validation.csv'"):
        load(str(tmp_path / "validatoin.csv"))
    with raises(UsageError, "nowhere/x.csv'", "nowhere'"):
        load(str(tmp_path / "nowhere" / "x.csv"))
    with raises(UsageError, "'hf:org/name'", hint="save_to_disk"):
        load("hf:org/name")


def test_an_unknown_suffix_lists_what_is_read(tmp_path):
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with raises(UsageError, "'.xlsx'") as caught:
        load(str(tmp_path / "data.xlsx"))
    assert ".parquet" in caught.value.hint and caught.value.exit_code == 2


def test_empty_places(tmp_path):
    (tmp_path / "none.csv").write_text("")
    (tmp_path / "folder").mkdir()
    with raises(UsageError, "none.csv'", "empty"):
        load(str(tmp_path / "none.csv"))
    with raises(UsageError, "folder'", "empty"):
        load(str(tmp_path / "folder"))
    (tmp_path / "folder" / "notes.txt").write_text("hello")
    with raises(UsageError, "folder'", ".png", ".parquet"):
        load(str(tmp_path / "folder"))


def test_a_split_of_a_file_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na b,1\n")
    with raises(UsageError, "'test'", "a.csv'", hint="split"):
        load(DataRef(str(tmp_path / "a.csv"), split="test"))


def test_feeds_spread_over_all_of_them():
    feeds = Feeds.from_arrays([{"x": np.array([number])} for number in range(10)])
    some = feeds.subsample(4)
    assert [int(feed["x"][0]) for feed in some] == [0, 2, 5, 7] == [int(feed["x"][0]) for feed in some]
    assert len(some) == 4 and some.digest != feeds.digest
    assert feeds.subsample(10) is feeds and feeds.subsample(99) is feeds


def test_feeds_report_progress_and_stay_the_same():
    feeds = Feeds.from_arrays([{"x": np.array([number])} for number in range(10)])
    words: list[str] = []
    shown = feeds.with_progress(words.append)
    assert (shown.digest, len(shown)) == (feeds.digest, 10)
    assert [int(feed["x"][0]) for feed in shown] == list(range(10))
    assert words[0] == "sample 1 of 10" and len(words) <= 10
    assert [int(feed["x"][0]) for feed in shown.subsample(2)] == [0, 5]
