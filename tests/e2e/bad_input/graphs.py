"""ONNX files that are damaged, or that a runtime cannot take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .case import OUTPUT, case, export, prepared

_ARGV = export("net.onnx")
_OPENVINO = ("export", "net.onnx", "--output", OUTPUT, "--no-bench", "--candidate", "openvino/fp32")


def graph(folder: Path, *, operator: str = "Relu", domain: str = "", opset: int = 17, broken: bool = False) -> Any:
    """Write net.onnx: a product with weights and one operator, called `odd`, after it."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(16, 4)
    if broken:
        weights[0, 0] = np.nan
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weights"], ["product"], name="product"),
            helper.make_node(operator, ["product"], ["y"], name="odd", domain=domain),
        ],
        "net",
        [info("x", onnx.TensorProto.FLOAT, ["batch", 16])],
        [info("y", onnx.TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    proto = helper.make_model(body, opset_imports=opsets, ir_version=8, producer_name="tests")
    onnx.save(proto, str(folder / "net.onnx"))
    return proto


@prepared("no such ONNX file", 2, ("'nett.onnx'", "'net.onnx'"), ".onnx", *export("nett.onnx"))
def _(folder: Path) -> None:
    graph(folder)


@prepared("an empty ONNX file", 2, ["'net.onnx'", "empty"], "copy", *_ARGV)
def _(folder: Path) -> None:
    (folder / "net.onnx").touch()


@prepared("an ONNX file cut short", 2, "'net.onnx'", "truncated", *_ARGV)
def _(folder: Path) -> None:
    graph(folder)
    path = folder / "net.onnx"
    path.write_bytes(path.read_bytes()[:-60])


@prepared("a file that is not ONNX", 2, ["'net.onnx'", "ONNX"], "truncated", *_ARGV)
def _(folder: Path) -> None:
    (folder / "net.onnx").write_text("404: not found\n" * 9)


@prepared("a web page in place of an ONNX file", 2, ["'net.onnx'", "web page"], "download the file", *_ARGV)
def _(folder: Path) -> None:
    (folder / "net.onnx").write_text("<html>404: not found</html>")


@prepared("ONNX weights that are NaN", 2, ["'net.onnx'", "'weights'"], "export", *_ARGV)
def _(folder: Path) -> None:
    graph(folder, broken=True)


@prepared("an ONNX graph with a loose end", 2, ["'net.onnx'", "'nothing'"], "export", *_ARGV)
def _(folder: Path) -> None:
    import onnx

    proto = graph(folder)
    proto.graph.node[1].input[0] = "nothing"
    onnx.save(proto, str(folder / "net.onnx"))


def external(folder: Path) -> Path:
    import onnx

    proto = graph(folder)
    onnx.save(proto, str(folder / "net.onnx"), save_as_external_data=True, location="net.weights", size_threshold=0)
    return folder / "net.weights"


@prepared(
    "ONNX weights that are not beside it",
    2,
    ["'net.onnx'", "'net.weights'"],
    "'net.weights'",
    *_ARGV,
)
def _(folder: Path) -> None:
    external(folder).unlink()


@prepared("ONNX weights cut short", 2, "'net.onnx'", "truncated", *_ARGV)
def _(folder: Path) -> None:
    path = external(folder)
    path.write_bytes(path.read_bytes()[:-100])


@prepared("an operator that no runtime has", 4, ("'acme:Swirl'", "'odd'"), "operator", *_ARGV)
def _(folder: Path) -> None:
    graph(folder, operator="Swirl", domain="acme")


@prepared(
    "an operator that no runtime has, for OpenVINO",
    4,
    ("'acme:Swirl'", "'odd'"),
    "operator",
    *_OPENVINO,
)
def _(folder: Path) -> None:
    graph(folder, operator="Swirl", domain="acme")


@prepared(
    "an operator that OpenVINO lacks",
    4,
    ("openvino/fp32", "Binarizer", "'ai.onnx.ml'", "'odd'"),
    "edgekit plugins",
    *_OPENVINO,
)
def _(folder: Path) -> None:
    graph(folder, operator="Binarizer", domain="ai.onnx.ml")


@prepared(
    "an operator set from the future",
    4,
    ["99", re.compile(r"onnxruntime \d+\.\d+")],
    re.compile(r"opset \d+"),
    *_ARGV,
)
def _(folder: Path) -> None:
    graph(folder, opset=99)


case(
    "a folder named like an ONNX file",
    2,
    "net.onnx'",
    "config.json",
    *_ARGV,
    prepare=lambda folder: (folder / "net.onnx").mkdir(),
)
