"""Data that is missing, empty, damaged, or not what the model or the metric needs."""

from __future__ import annotations

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


case("no data there", 2, r"no data at 'val'", r"image folder", *_ARGV)
case(
    "data on the hub",
    2,
    r"from disk, not from the hub: 'hf:org/data'",
    r"save_to_disk",
    *export("digits", "--data", "hf:org/data"),
)


@prepared("an empty data folder", 2, r"the folder 'val' is empty", r"image folder", *_ARGV)
def _(folder: Path) -> None:
    (folder / "val").mkdir()


@prepared(
    "data of a kind that is not read",
    2,
    r"'val\.xlsx' is of a kind that is not read",
    r"\.csv",
    *export("digits", "--data", "val.xlsx"),
)
def _(folder: Path) -> None:
    (folder / "val.xlsx").write_text("x")


@prepared(
    "no labels for the metric", 2, r"[lL]abels are needed.*'val'", r"one folder a class", *_ARGV, "--metric", "accuracy"
)
def _(folder: Path) -> None:
    pictures(folder / "val", ("",))


@prepared("one class for AUC", 2, r"AUC compares two classes, and the model has 10", r".", *_ARGV, "--metric", "auc")
def _(folder: Path) -> None:
    pictures(folder / "val", ("3",))


@prepared(
    "pictures that do not open",
    2,
    r"\d of \d images in 'val' do not open: 'val/\d\.png', 'val/",
    r"remove|again",
    *_ARGV,
)
def _(folder: Path) -> None:
    pictures(folder / "val", ("",))
    for index in range(0, 10, 2):
        path = folder / "val" / f"{index}.png"
        path.write_bytes(path.read_bytes()[: 60 - 5 * index])


@prepared("a label that the model does not know", 2, r"'cat'", r".", *_ARGV)
def _(folder: Path) -> None:
    pictures(folder / "val", ("3", "cat"))


@prepared(
    "arrays of differing length",
    2,
    r"'val\.npz' differ in their first axis.*label\[9\]",
    r"first axis",
    *export("digits", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.zeros((10, 8, 8), np.uint8), label=np.zeros(9, np.int64))


@prepared("arrays of Python objects", 2, r"holds Python objects", r"plain type", *export("digits", "--data", "val.npz"))
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.array([[1], [1, 2]], dtype=object), label=np.zeros(2, np.int64))


@prepared(
    "arrays cut short",
    2,
    r"'val\.npz' is not a whole npz archive",
    r"numpy\.savez",
    *export("digits", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    np.savez(folder / "val.npz", image=np.zeros((10, 8, 8), np.uint8))
    (folder / "val.npz").write_bytes((folder / "val.npz").read_bytes()[:200])


_TEXT = export("./checkpoint", "--data", "val.jsonl")


@prepared("a bad line in jsonl", 2, r"val\.jsonl.*line 2|line 2.*val\.jsonl", r".", *_TEXT)
def _(folder: Path) -> None:
    checkpoint(folder, SAVED / "bert")
    (folder / "val.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "bad", \n')


@prepared("no such column", 2, r"'sentense'.*'sentence'", r".", *_TEXT, "--text-column", "sentense")
def _(folder: Path) -> None:
    checkpoint(folder, SAVED / "bert")
    (folder / "val.jsonl").write_text('{"sentence": "good", "label": 1}\n{"sentence": "bad", "label": 0}\n')


@prepared(
    "text for an image model",
    2,
    r"the sample has no picture",
    r"name its column",
    *export("digits", "--data", "val.csv"),
)
def _(folder: Path) -> None:
    (folder / "val.csv").write_text("text,label\ngood,1\nbad,0\n")


@prepared("no such split", 2, r"'tset'", r".", *_ARGV, "--split", "tset")
def _(folder: Path) -> None:
    pictures(folder / "val" / "test", ("1", "2"))
    pictures(folder / "val" / "train", ("1", "2"))


@prepared(
    "feeds that the graph does not take",
    2,
    r"nothing for the input 'x:f32\[1,16\]'",
    r".",
    *export("net.onnx", "--data", "val.npz"),
)
def _(folder: Path) -> None:
    import numpy as np

    from .graphs import graph

    graph(folder)
    np.savez(folder / "val.npz", a=np.zeros((4, 16), np.float32), b=np.zeros((4, 16), np.float32))


@prepared("feeds of another size", 2, r"'x'", r".", *export("net.onnx", "--data", "val.npz"))
def _(folder: Path) -> None:
    import numpy as np

    from .graphs import graph

    graph(folder)
    np.savez(folder / "val.npz", x=np.zeros((4, 15), np.float32))


@prepared(
    "calibration without data",
    2,
    r"'int8-static' calibrates on data, and none is given",
    r"--data .*--recipe int8-dynamic",
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
    r"'bad_data:rows'.*ZeroDivisionError",
    r".",
    *export("digits", "--data", "bad_data:rows"),
)
def _(folder: Path) -> None:
    (folder / "bad_data.py").write_text("def rows():\n    return 1 / 0\n")
