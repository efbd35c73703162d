"""Image folders, npz, parquet, `datasets` folders and functions: real pictures, and folders `datasets` itself wrote."""

from __future__ import annotations

import subprocess
import sys
import tarfile

import numpy as np
import pytest

from edgekit.data import DataRef, check_pictures, load, open_picture
from edgekit.errors import EnvironmentFault, UsageError
from tests.wording import mentions, raises


@pytest.fixture(scope="module")
def cifar(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cifar")
    with tarfile.open(assets / "data-cifar10" / "test.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def pictures(tmp_path):
    from PIL import Image

    for name, value in (("a/1.png", 10), ("a/2.png", 20), ("b/deep/3.png", 30)):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (value, 0, 0)).save(path)
    return tmp_path / "set"


def test_cifar_folder(cifar):
    samples = load(str(cifar))
    assert len(samples) == 2000 and len(samples.classes) == 10 and samples.classes[0] == "airplane"
    drawn = samples.take(100, 0)
    assert {drawn.labels.count(name) for name in samples.classes} == {10}
    assert drawn[0].fields["image"].parent.name == drawn[0].label
    assert open_picture(drawn[0].fields["image"]).size == (32, 32)
    assert load(str(cifar)).take(100, 0).digest == drawn.digest != samples.take(100, 1).digest


def test_folder_forms(pictures, tmp_path):
    samples = load(str(pictures))
    assert [s.label for s in samples] == ["a", "a", "b"] and samples.kind == "image folder"
    flat = load(str(pictures / "a"))
    assert len(flat) == 2 and not flat.labelled
    picture = load(str(pictures / "a" / "1.png"))
    assert len(picture) == 1 and picture[0].fields["image"] == pictures / "a" / "1.png"


def test_folder_splits(pictures, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "train").symlink_to(pictures)
    (root / "val").symlink_to(pictures)
    chosen = load(str(root))
    assert len(chosen) == 3 and any(mentions(note, "'val'") for note in chosen.notes)
    assert load(DataRef(str(root), split="validation")).source.endswith("val")
    with raises(UsageError, "'test'", hint=("train", "val")):
        load(DataRef(str(root), split="test"))


def test_pictures_that_do_not_open_are_named_and_counted(pictures):
    (pictures / "a" / "2.png").write_bytes(b"not a picture")
    samples = load(str(pictures))
    with raises(UsageError, "2.png'", "format"):
        check_pictures(samples)
    whole = (pictures / "a" / "1.png").read_bytes()
    (pictures / "a" / "1.png").write_bytes(whole[: len(whole) // 2])
    with raises(UsageError, "2 of 3", ("1.png'", "2.png'")):
        check_pictures(samples)


def test_pictures_are_turned_upright(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn right
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (4, 8)


def test_medmnist(assets):
    path = str(assets / "data-pneumonia-subset" / "pneumoniamnist.npz")
    arrays = np.load(path)
    samples = load(DataRef(path, split="test"))
    assert len(samples) == 468 and samples.classes == (0, 1)
    assert samples.labels == arrays["test_labels"][:, 0].tolist()
    for index in (467, 0, 200, 199):
        assert np.array_equal(samples[index].fields["images"], arrays["test_images"][index])
    assert load(path).source and any(mentions(note, "'val'") for note in load(path).notes)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_by_input_name(tmp_path, save):
    rng = np.random.default_rng(0)
    a, b, y = (
        rng.normal(size=(7, 2, 3)),
        np.asfortranarray(rng.integers(0, 9, (7, 4))),
        np.array(["u", "v"] * 3 + ["u"]),
    )
    save(tmp_path / "a.npz", a=a, b=b, rate=np.int64(16000), label=y)
    samples = load(str(tmp_path / "a.npz"))
    assert len(samples) == 7 and samples.classes == ("u", "v")
    for index, sample in enumerate(samples):
        assert np.array_equal(sample.fields["a"], a[index]) and np.array_equal(sample.fields["b"], b[index])
        assert sample.fields["rate"] == 16000 and sample.label == y[index]


@pytest.mark.parametrize("name", ["label", "y", "Target"])
def test_an_array_that_is_called_as_an_input_is_no_label(tmp_path, name):
    path, arrays = tmp_path / "a.npz", {"x": np.eye(3), name: np.arange(3)}
    np.savez(path, **arrays)
    assert load(str(path)).labelled
    samples = load(DataRef(str(path), inputs=("x", name)))
    assert not samples.labelled and set(samples[1].fields) == {"x", name}
    np.savez(path, **arrays, labels=np.array([4, 5, 6]))
    samples = load(DataRef(str(path), inputs=("x", name)))
    assert samples[1].label == 5 and set(samples[1].fields) == {"x", name}


def test_bad_npz(tmp_path):
    np.savez(tmp_path / "ragged.npz", a=np.zeros((3, 2)), b=np.zeros((4, 2)))
    with raises(UsageError, "ragged.npz'", ("a[3, 2]", "b[4, 2]")):
        load(str(tmp_path / "ragged.npz"))
    np.savez(tmp_path / "objects.npz", a=np.array([{"x": 1}, None], dtype=object))
    with raises(UsageError, "'a'", "objects.npz'", "Python objects"):
        load(str(tmp_path / "objects.npz"))
    np.savez(tmp_path / "empty.npz", a=np.zeros((0, 2)))
    with raises(UsageError, "empty.npz'", "length 0"):
        load(str(tmp_path / "empty.npz"))
    whole = (tmp_path / "ragged.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-100])
    with raises(UsageError, "cut.npz'", hint="numpy.savez"):
        load(str(tmp_path / "cut.npz"))
    with raises(UsageError, ("'lable'", "'label'"), hint="a, label"):
        np.savez(tmp_path / "named.npz", a=np.zeros((3, 2)), label=np.zeros(3))
        load(DataRef(str(tmp_path / "named.npz"), label_column="lable"))
    with raises(UsageError, "named.npz'", "splits", "a, label", hint="train_images"):
        load(DataRef(str(tmp_path / "named.npz"), split="train"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folders and files written by the `datasets` package, in a process of its own: it warns and caches as it likes."""
    folder = tmp_path_factory.mktemp("datasets")
    code = """
import sys, numpy as np
from PIL import Image as Pillow
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value
text = Dataset.from_dict(
    {"sentence": [f"text number {i}" for i in range(500)], "label": [i % 2 for i in range(500)]},
    features=Features({"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"])}))
hidden = text.select(range(3)).map(lambda row: {"label": -1})
DatasetDict({"train": text, "test": hidden}).save_to_disk("text", num_proc=None, num_shards={"train": 3, "test": 1})
text.filter(lambda row: row["label"] == 1).to_parquet("text.parquet", batch_size=100)
images = [Pillow.fromarray(np.full((4, 5, 3), 20 * i, np.uint8)) for i in range(5)]
Dataset.from_dict({"image": images, "label": [0, 1, 0, 1, 1]},
    features=Features({"image": Image(), "label": ClassLabel(names=["x", "y"])})).save_to_disk("image")
text.shuffle(seed=1).select(range(10)).save_to_disk("shuffled")
"""
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return folder


def test_datasets_folder(written):
    train = load(DataRef(str(written / "text"), split="train"))
    assert len(train) == 500 and train.classes == ("neg", "pos") and train[0].text == ("sentence",)
    assert [s.fields["sentence"] for s in train] == [f"text number {i}" for i in range(500)]
    assert [s.label for s in train] == ["neg", "pos"] * 250 == list(train.labels)
    test = load(str(written / "text"))
    assert not test.labelled and test[0].label is None and any(mentions(note, "'test'") for note in test.notes)
    with raises(UsageError, "'valid'", hint=("train", "test")):
        load(DataRef(str(written / "text"), split="valid"))
    assert len({s.fields["sentence"] for s in load(str(written / "shuffled"))}) == 10


def test_datasets_pictures(written):
    samples = load(str(written / "image"))
    assert samples.classes == ("x", "y")
    for index, sample in enumerate(samples):
        assert np.array_equal(np.asarray(open_picture(sample.fields["image"])), np.full((4, 5, 3), 20 * index))


def test_a_truncated_datasets_folder(written, tmp_path):
    import shutil

    shutil.copytree(written / "text", tmp_path / "text")
    shard = sorted((tmp_path / "text" / "train").glob("*.arrow"))[0]
    shard.write_bytes(shard.read_bytes()[:-400])
    with raises(UsageError, "data-00000-of-00003.arrow'", "Arrow"):
        load(DataRef(str(tmp_path / "text"), split="train"))
    shard.unlink()
    with raises(UsageError, "data-00000-of-00003.arrow", "incomplete"):
        load(DataRef(str(tmp_path / "text"), split="train"))


def test_parquet(written, tmp_path):
    samples = load(str(written / "text.parquet"))
    assert len(samples) == 250 and samples.classes == ("pos",)  # names from the file's own metadata
    assert [s.fields["sentence"] for s in samples] == [f"text number {i}" for i in range(1, 500, 2)]
    assert samples[3].fields["sentence"] == "text number 7" and samples[249].label == "pos"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nothing")
    with raises(UsageError, "bad.parquet'", "parquet"):
        load(str(tmp_path / "bad.parquet"))


def test_parquet_shards(written, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    for shard in range(2):
        table = pa.table({"text": [f"a {shard} {i}" for i in range(150)], "label": [i % 3 for i in range(150)]})
        parquet.write_table(table, tmp_path / "data" / f"train-0000{shard}-of-00002.parquet", row_group_size=70)
    samples = load(str(tmp_path))
    assert [s.fields["text"] for s in samples] == [f"a {shard} {i}" for shard in range(2) for i in range(150)]
    assert samples.labels[151] == 1 and len(samples.take(30, 0)) == 30


def test_missing_pyarrow_names_the_line_to_install(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with raises(EnvironmentFault, "pyarrow") as caught:
        load(str(written / "text.parquet"))
    assert caught.value.hint == "pip install pyarrow" and caught.value.exit_code == 3


def test_parquet_in_one_row_group_is_not_read_whole(tmp_path):
    """Read 160 MB of incompressible bytes; the memory of pyarrow's pool and of a batch does not depend on the length of
    the file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    table = pa.table({"image": [rng.bytes(20_000) for _ in range(8000)], "label": [i % 2 for i in range(8000)]})
    parquet.write_table(table, tmp_path / "large.parquet", row_group_size=8000)
    del table
    code = (
        "import pyarrow, sys; from edgekit.data import load; samples = load(sys.argv[1]);"
        "print(sum(len(s.fields['image']) for s in samples), pyarrow.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "large.parquet")]
    size, peak = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert size == 160_000_000 and peak < 90_000_000
