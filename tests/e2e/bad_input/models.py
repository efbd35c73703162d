"""Hugging Face checkpoints that are missing, broken, incomplete, or that would run code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from .case import DIGITS, SAVED, case, export, prepared

_ARGV = export("./checkpoint")


def checkpoint(folder: Path, source: Path = DIGITS) -> Path:
    """Copy a whole checkpoint to be spoiled."""
    return Path(shutil.copytree(source, folder / "checkpoint", ignore=shutil.ignore_patterns("data", "__pycache__")))


def change_config(path: Path, **values: object) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **values}))


def change_weights(path: Path, change: object) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "model.safetensors")
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


@prepared("a folder without a model", 2, ["'checkpoint'", "config.json"], "save_pretrained", *_ARGV)
def _(folder: Path) -> None:
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "README.md").write_text("nothing yet\n")


@prepared("a checkpoint without weights", 2, ["'checkpoint'", "weights"], "model.safetensors", *_ARGV)
def _(folder: Path) -> None:
    (checkpoint(folder) / "model.safetensors").unlink()


@prepared("a config.json cut short", 2, ["'checkpoint/config.json'", "line 9"], "truncated", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "config.json"
    path.write_text(path.read_text()[:100])


@prepared("safetensors cut short", 2, ["'checkpoint/model.safetensors'", ("768,024 bytes", "769,024")], "again", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@prepared("safetensors cut in the header", 2, ["'checkpoint/model.safetensors'", "header"], "truncated", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])


@prepared("a Git LFS pointer", 2, ["'checkpoint/model.safetensors'", "Git LFS"], "git lfs pull", *_ARGV)
def _(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (checkpoint(folder) / "model.safetensors").write_text(text)


@prepared(
    "a missing shard",
    2,
    ["'model.safetensors.index.json'", "2 shards", "'checkpoint'", "model-2.safetensors"],
    "again",
    *_ARGV,
)
def _(folder: Path) -> None:
    path = checkpoint(folder)
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(shards))


@prepared("weights that are NaN", 2, ["'checkpoint'", "1 of 10", "'classifier.1.bias'", "NaN"], "checkpoint", *_ARGV)
def _(folder: Path) -> None:
    def spoil(tensors: dict) -> None:
        next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = float("nan")

    change_weights(checkpoint(folder), spoil)


@prepared(
    "weights that are missing",
    2,
    ["'checkpoint'", "'image-classification'", "classifier.1.weight"],
    "--task",
    *_ARGV,
)
def _(folder: Path) -> None:
    def spoil(tensors: dict) -> None:
        del tensors[next(name for name in tensors if name.startswith("classifier") and name.endswith("weight"))]

    change_weights(checkpoint(folder), spoil)


@prepared(
    "an encoder without the task's head",
    2,
    ["'text-classification'", "classifier.bias", "classifier.weight"],
    ["fine-tune", "--task"],
    *_ARGV,
    "--task",
    "text-classification",
)
def _(folder: Path) -> None:
    path = checkpoint(folder, SAVED / "bert")

    def spoil(tensors: dict) -> None:
        for name in [name for name in tensors if name.startswith("classifier")]:
            del tensors[name]

    change_weights(path, spoil)


@prepared("weights of another size than config.json says", 2, ["'checkpoint'", "[10]", "[11]"], "config.json", *_ARGV)
def _(folder: Path) -> None:
    change_config(
        checkpoint(folder), id2label={str(i): str(i) for i in range(11)}, label2id={str(i): i for i in range(11)}
    )


@prepared("an unknown model type", 2, ["'resnot'", re.compile(r"transformers \d+\.\d+")], "ONNX", *_ARGV)
def _(folder: Path) -> None:
    change_config(checkpoint(folder), model_type="resnot")


@prepared("the checkpoint's own code", 2, ["'checkpoint/config.json'", "net.Net"], "--trust-remote-code", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder)
    change_config(path, auto_map={"AutoModelForImageClassification": "net.Net"})
    (path / "net.py").write_text("raise SystemExit('this code must not run')\n")


def pickled(path: Path, *, code: bool) -> None:
    """Turn the weights into a .bin; with `code` it holds a call that makes the file `ran`."""
    import torch
    from safetensors.torch import load_file

    tensors: dict = dict(load_file(path / "model.safetensors"))
    (path / "model.safetensors").unlink()
    if code:
        tensors["extra"] = _Call(str(path.parent / "ran"))
    torch.save(tensors, path / "pytorch_model.bin")


class _Call:
    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return open, (self.file, "w")


@prepared(
    "a pickle that runs code",
    2,
    ["'checkpoint/pytorch_model.bin'", "pickle"],
    "--allow-pickle",
    *_ARGV,
)
def _(folder: Path) -> None:
    pickled(checkpoint(folder), code=True)


@prepared("a .pt file", 2, "'net.pt'", "package.module:factory", *export("net.pt"))
def _(folder: Path) -> None:
    import torch

    torch.save({"call": _Call(str(folder / "ran"))}, folder / "net.pt")


case("a name the hub cannot have", 2, "'hf:bert'", "hf:org/name", *export("hf:bert"))
case(
    "a hub model that is not in the cache, offline",
    2,
    ["'org/name'", "--offline"],
    "hf download org/name",
    *export("hf:org/name", "--offline"),
)
case(
    "a hub that cannot be reached",
    3,
    ["hub", "'org/name'"],
    "hf download org/name",
    *export("hf:org/name"),
    env={"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
)
case(
    "a processor that is missing", 2, "./tokenizer'", "tokenizer.json", *export("digits", "--processor", "./tokenizer")
)
