"""Hugging Face checkpoints that are missing, broken, incomplete, or that would run code."""

from __future__ import annotations

import json
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


@prepared("a folder without a model", 2, r"'checkpoint' is no Hugging Face model: it has no config\.json", r".", *_ARGV)
def _(folder: Path) -> None:
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "README.md").write_text("nothing yet\n")


@prepared("a checkpoint without weights", 2, r"has a config\.json but no weights", r"model\.safetensors", *_ARGV)
def _(folder: Path) -> None:
    (checkpoint(folder) / "model.safetensors").unlink()


@prepared("a config.json cut short", 2, r"cannot read 'checkpoint/config\.json'", r"copy it again", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "config.json"
    path.write_text(path.read_text()[:100])


@prepared("safetensors cut short", 2, r"'checkpoint/model\.safetensors' is truncated", r"again", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@prepared("safetensors cut in the header", 2, r"'checkpoint/model\.safetensors'", r"truncated", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])


@prepared("a Git LFS pointer", 2, r"Git LFS pointer", r"git lfs pull", *_ARGV)
def _(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (checkpoint(folder) / "model.safetensors").write_text(text)


@prepared("a missing shard", 2, r"names 2 shards; missing from 'checkpoint': model-2\.safetensors", r"again", *_ARGV)
def _(folder: Path) -> None:
    path = checkpoint(folder)
    (path / "model.safetensors").rename(path / "model-1.safetensors")
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(shards))


@prepared("weights that are NaN", 2, r"are broken: 1 of .* values of '.+' are NaN", r"checkpoint", *_ARGV)
def _(folder: Path) -> None:
    def spoil(tensors: dict) -> None:
        next(t for t in tensors.values() if t.is_floating_point()).view(-1)[0] = float("nan")

    change_weights(checkpoint(folder), spoil)


@prepared(
    "weights that are missing",
    2,
    r"lacks weights that the task 'image-classification' needs: classifier",
    r"--task",
    *_ARGV,
)
def _(folder: Path) -> None:
    def spoil(tensors: dict) -> None:
        del tensors[next(name for name in tensors if name.startswith("classifier") and name.endswith("weight"))]

    change_weights(checkpoint(folder), spoil)


@prepared(
    "an encoder without the task's head",
    2,
    r"lacks weights that the task 'text-classification' needs",
    r"fine-tune",
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


@prepared("weights of another size than config.json says", 2, r"weights of 'checkpoint'", r"config\.json", *_ARGV)
def _(folder: Path) -> None:
    change_config(
        checkpoint(folder), id2label={str(i): str(i) for i in range(11)}, label2id={str(i): i for i in range(11)}
    )


@prepared("an unknown model type", 2, r"model type 'resnot'", r"ONNX", *_ARGV)
def _(folder: Path) -> None:
    change_config(checkpoint(folder), model_type="resnot")


@prepared(
    "the checkpoint's own code", 2, r"own Python code \(net\.Net\), which is refused", r"--trust-remote-code", *_ARGV
)
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
    r"'checkpoint/pytorch_model\.bin' is a pickle that runs code.*refused",
    r"--allow-pickle",
    *_ARGV,
)
def _(folder: Path) -> None:
    pickled(checkpoint(folder), code=True)


@prepared(
    "a .pt file", 2, r"'net\.pt' holds weights without their network", r"package\.module:factory", *export("net.pt")
)
def _(folder: Path) -> None:
    import torch

    torch.save({"call": _Call(str(folder / "ran"))}, folder / "net.pt")


case("a name the hub cannot have", 2, r"'hf:bert' is no model name", r"hf:org/name", *export("hf:bert"))
case(
    "a hub model that is not in the cache, offline",
    2,
    r"'org/name' is not in the local cache",
    r"hf download org/name",
    *export("hf:org/name", "--offline"),
)
case(
    "a hub that cannot be reached",
    3,
    r"hub cannot be reached, and 'org/name' is not in the local cache",
    r"hf download",
    *export("hf:org/name"),
    env={"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"},
)
case("a processor that is missing", 2, r"'\.?/?tokenizer'", r".", *export("digits", "--processor", "./tokenizer"))
