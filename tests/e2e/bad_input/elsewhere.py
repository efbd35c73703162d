"""Models, options and names of other tools and places."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from .case import OUTPUT, case, export, prepared

_DIGITS = ("export", "digits", "--output", OUTPUT, "--no-bench")


def _written(name: str) -> None:
    """Add a case of a file of this name, whose bytes are of no matter."""
    what, hint = _FILES[name]

    @prepared(f"a model called {name}", 2, [f"'{name}'", what], hint, *export(name))
    def _(folder: Path) -> None:
        (folder / name).write_bytes(b"\x1c\0\0\0 some bytes")


_FILES = {
    "net.tflite": ("TensorFlow Lite", "tf2onnx"),
    "net.h5": ("Keras", "net.onnx"),
    "net.engine": ("TensorRT", "--target"),
    "net.mlmodel": ("Core ML", "ONNX"),
    "net.gguf": ("GGUF", "Hugging Face folder"),
    "forest.pkl": ("pickle", "zipmap"),
    "net.py": ("code", "net:FUNCTION"),
}
for _name in _FILES:
    _written(_name)


@prepared("an archive of a model", 2, ["'net.zip'", "archive"], "unzip net.zip -d net", *export("net.zip"))
def _(folder: Path) -> None:
    with zipfile.ZipFile(folder / "net.zip", "w") as archive:
        archive.writestr("net/config.json", "{}")


@prepared("a SavedModel", 2, ["'net'", "SavedModel"], "--saved-model net", *export("net"))
def _(folder: Path) -> None:
    (folder / "net").mkdir()
    (folder / "net" / "saved_model.pb").write_bytes(b"\x08")


@prepared("a timm folder", 2, ["timm", "'resnet18'"], "module:factory", *export("net"))
def _(folder: Path) -> None:
    (folder / "net").mkdir()
    (folder / "net" / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {}}))
    (folder / "net" / "model.safetensors").write_bytes(b"x")


case("an address of the hub", 2, "huggingface.co", "hf:acme/net", *export("https://huggingface.co/acme/net"))
case("an address of a file", 2, "'https://example.org/net.onnx'", "curl", *export("https://example.org/net.onnx"))
case("a name of the hub without hf:", 2, "'acme/net'", "hf:acme/net", *export("acme/net"))
case("a file of code and its function", 2, "'net.py'", "net:build", *export("./net.py:build"))
case("a verb of another tool", 2, ("'quantize'", "'export'"), "export, init", "quantize", "digits")
case("an option of another tool", 2, "'--quantize'", "--recipe int8-static", *_DIGITS, "--quantize", "int8")
case("a format of another tool", 2, "'--format'", "--backend", *_DIGITS, "--format", "onnx")
case("a short name of a board", 2, ("'rpi5'", "'raspberry-pi-5'"), "edgekit targets", *_DIGITS, "--target", "rpi5")
case("a part of a board's name", 2, ("'orin'", "'jetson-orin-nx'"), "edgekit targets", *_DIGITS, "--target", "orin")
case("a short name of a recipe", 2, ("'int8'", "'int8-static'"), "int8-static", *_DIGITS, "--recipe", "int8")
case("a short name of a backend", 2, ("'trt'", "'tensorrt'"), "edgekit plugins", *_DIGITS, "--backend", "trt")
case("a word for the samples that travel", 2, "'nothing'", "none or synthetic", *_DIGITS, "--samples", "nothing")
