"""Data that is missing, empty, damaged, or not what the model or the metric needs."""

from __future__ import annotations

import re
from pathlib import Path

from .case import OUTPUT, SAVED, case, export, prepared
from .models import checkpoint

_ARGV = export("digits", "--data", "val")


def picture(path: Path, seed: int = 0) -> None:
    """Write a picture of random pixels, 8 by 8."""
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8), np.uint8)).save(path)


def pictures(folder: Path, labels: tuple[str, ...]) -> None:
    """Write ten pictures, in one folder a label; a label "" puts them beside each other."""
    for index in range(10):
        picture(folder / labels[index % len(labels)] / f"{index}.png", index)


case("no data there", 2, "'val'", "a folder of images", *_ARGV)
case(
    "data on the hub",
    2,
    "'hf:org/data'",
    "save_to_disk",
    *export("digits", "--data", "hf:org/data"),
)


@prepared("an empty data folder", 2, ["'val'", "empty"], "a folder of images", *_ARGV)
def _(folder: Path) -> None:
    (folder / "val").mkdir()


@prepared(
    "data of a kind that is not read",
    2,
    ["'val.xlsx'", "'.xlsx'"],
    ".csv",
    *export("digits", "--data", "val.xlsx"),
)
def _(folder: Path) -> None:
    (folder / "val.xlsx").write_text("x")


@prepared("no labels for the metric", 2, ["accuracy", "'val'"], "class", *_ARGV, "--metric", "accuracy")
def _(folder: Path) -> None:
    pictures(folder / "val", ("",))


@prepared("one class for AUC", 2, ["AUC", "10"], "--metric accuracy", *_ARGV, "--metric", "auc")
def _(folder: Path) -> None:
    pictures(folder / "val", ("3",))


@prepared(
    "pictures that do not open",
    2,
    [re.compile(r"\b5 of 10\b"), "'val'", ("'val/0.png'", "'val/2.png'")],
    "remove",
    *_ARGV,
)
def _(folder: Path) -> None:
    pictures(folder / "val", ("",))
    for index in range(0, 10, 2):
        path = folder / "val" / f"{index}.png"
        path.write_bytes(path.read_bytes()[: 60 - 5 * index])


@prepared("a label that the model does not know", 2, "'cat'", "0, 1, 2", *_ARGV)
def _(folder: Path) -> None:
    pictures(folder / "val", ("3", "cat"))


@prepared(
    "arrays of differing length",
    2,
    ["'val.npz'", ("image[10, 8, 8]", "label[9]")],
    "array[None]",
    *export("digits", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.zeros((10, 8, 8), np.uint8), label=np.zeros(9, np.int64))


@prepared(
    "arrays of Python objects",
    2,
    ["'image'", "'val.npz'", "Python objects"],
    "parquet",
    *export("digits", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.array([[1], [1, 2]], dtype=object), label=np.zeros(2, np.int64))


@prepared(
    "arrays cut short",
    2,
    ["'val.npz'", "npz"],
    "numpy.savez",
    *export("digits", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.zeros((10, 8, 8), np.uint8))
    (folder / "val.npz").write_bytes((folder / "val.npz").read_bytes()[:200])


_TEXT = export("./checkpoint", "--data", "val.jsonl")


@prepared("a bad line in jsonl", 2, ["'val.jsonl'", "line 2"], '{"text":', *_TEXT)
def _(folder: Path) -> None:
    checkpoint(folder, SAVED / "bert")
    (folder / "val.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "bad", \n')


@prepared(
    "no such column",
    2,
    ["'val.jsonl'", ("'sentense'", "'sentence'")],
    "sentence, label",
    *_TEXT,
    "--text-column",
    "sentense",
)
def _(folder: Path) -> None:
    checkpoint(folder, SAVED / "bert")
    (folder / "val.jsonl").write_text('{"sentence": "good", "label": 1}\n{"sentence": "bad", "label": 0}\n')


@prepared(
    "text for an image model",
    2,
    "picture",
    ["'image'", "text"],
    *export("digits", "--data", "val.csv"),
)
def _(folder: Path) -> None:
    (folder / "val.csv").write_text("text,label\ngood,1\nbad,0\n")


@prepared("no such split", 2, ("'tset'", "'test'"), ("--split test", "--split train"), *_ARGV, "--split", "tset")
def _(folder: Path) -> None:
    pictures(folder / "val" / "test", ("1", "2"))
    pictures(folder / "val" / "train", ("1", "2"))


@prepared(
    "feeds that the graph does not take",
    2,
    "'x:f32[1,16]'",
    "a, b",
    *export("net.onnx", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    from .graphs import graph

    graph(folder)
    np.savez(folder / "val.npz", a=np.zeros((4, 16), np.float32), b=np.zeros((4, 16), np.float32))


@prepared("feeds of another size", 2, ["'x'", "[1, 15]"], "x:f32[1,16]", *export("net.onnx", "--data", "val.npz"))
def _(folder: Path) -> None:
    import numpy as np

    from .graphs import graph

    graph(folder)
    np.savez(folder / "val.npz", x=np.zeros((4, 15), np.float32))


@prepared(
    "calibration without data",
    2,
    "'int8-static'",
    ("--data", "--recipe int8-dynamic"),
    "export",
    "./checkpoint",
    "--output",
    OUTPUT,
    "--recipe",
    "int8-static",
)
def _(folder: Path) -> None:
    checkpoint(folder)


@prepared(
    "a data function that raises",
    2,
    ("'bad_data:rows'", "ZeroDivisionError", "bad_data.py, line 2"),
    "arguments",
    *export("digits", "--data", "bad_data:rows"),
)
def _(folder: Path) -> None:
    (folder / "bad_data.py").write_text("def rows():\n    return 1 / 0\n")
