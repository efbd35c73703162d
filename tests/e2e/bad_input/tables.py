"""Data that reads wrongly or cannot fit the model, found before it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .case import SAVED, export, prepared
from .samples import pictures

_TEXT = export("bert", "--data", "rows.csv")


def bert(folder: Path, *rows: str, header: str = "text,label", labels: dict[str, str] | None = None) -> None:
    """Copy a text classifier with the classes bad, fair and good, and write rows.csv."""
    shutil.copytree(SAVED / "bert", folder / "bert")
    if labels:
        config = json.loads((folder / "bert" / "config.json").read_text())
        (folder / "bert" / "config.json").write_text(json.dumps({**config, "id2label": labels}))
    (folder / "rows.csv").write_text("\n".join((header, *rows)) + "\n")


@prepared("a quote that never closes", 2, ["'rows.csv'", "line 3"], "line 3", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, 'a "quoted" word,good', '"it never ends,bad', *["more words,fair"] * 2000)


@prepared("a quote that another one closes", 2, ["lines 3 to 4", "opens in line 3"], "line 3", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, "fine words,good", '"opens here,bad', '"good, one",fair')


@prepared("a table in UTF-16", 2, ["'rows.csv'", "UTF-16"], "iconv -f UTF-16", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, "good words,good")
    (folder / "rows.csv").write_text((folder / "rows.csv").read_text(), encoding="utf-16")


@prepared(
    "splits beside other folders", 2, ("test, train", "sketches"), "--split test", *export("digits", "--data", "val")
)
def _(folder: Path) -> None:
    for split in ("train", "test", "sketches"):
        pictures(folder / "val" / split, ("1", "2"))


@prepared("classes in two spellings", 2, ["2 classes", "'Ham', 'ham'"], "one way", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, "some words,Ham", "more words,ham", "bad words,spam", labels={"0": "LABEL_0", "1": "LABEL_1"})


@prepared("labels that count from 1", 2, ["3 classes", "from 0"], "subtract 1", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, "good words,3", "bad words,1", "fair words,2")


@prepared("three columns of text", 2, "3 texts (a, b, c)", "--text-column", *_TEXT)
def _(folder: Path) -> None:
    bert(folder, "one text,another text,a third text,good", header="a,b,c,label")


@prepared("texts for a model of pictures", 2, "picture", "'image'", *export("digits", "--data", "rows.csv"))
def _(folder: Path) -> None:
    bert(folder, "good words,1")


@prepared(
    "text among the numbers", 2, ["2 numbers", "'city' (Oslo)"], "column of 0 and 1",
    *export("net.onnx", "--task", "tabular-classification", "--data", "rows.csv"),
)  # fmt: skip
def _(folder: Path) -> None:
    table(folder, "41,Oslo,1", "33,Bergen,0")


@prepared(
    "a word among the numbers", 2, ["'income'", "'unknown'"], "drop such rows",
    *export("net.onnx", "--task", "tabular-classification", "--data", "rows.csv"),
)  # fmt: skip
def _(folder: Path) -> None:
    table(folder, *["41,2,1", "33,3,0"] * 150, "29,unknown,1", header="age,income,label")


def table(folder: Path, *rows: str, header: str = "age,city,label") -> None:
    """Write rows.csv and net.onnx, a classifier of two numbers."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    (folder / "rows.csv").write_text("\n".join((header, *rows)) + "\n")
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"], name="product")],
        "net",
        [info("x", onnx.TensorProto.FLOAT, ["batch", 2])],
        [info("scores", onnx.TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")


@prepared(
    "one sample for a fixed batch", 2, "x:f32[4,2]", "export the model again", *export("net.onnx", "--data", "x.npz")
)
def _(folder: Path) -> None:
    _of_four(folder)


@prepared(
    "a fixed batch that is to be free", 2, ["batch=dynamic", "fixed at 4"], "leave --shape out",
    *export("net.onnx", "--data", "x.npz", "--shape", "batch=dynamic"),
)  # fmt: skip
def _(folder: Path) -> None:
    _of_four(folder)


def _of_four(folder: Path) -> None:
    """Write net.onnx with a batch of 4, and x.npz with one sample a row."""
    import numpy as np
    import onnx

    table(folder, "1,2,0")
    model = onnx.load(folder / "net.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].ClearField("dim_param")
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "x.npz", x=np.ones((8, 2), np.float32))
