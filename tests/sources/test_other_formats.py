"""Models in forms that edgekit does not load: each is recognised for what it is, with a step that leads on."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.pipeline.source import source_for
from edgekit.sources import other_formats
from tests.wording import Fact, raises


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, content: bytes = b"\x1c\x00\x00\x00 some bytes of a model") -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


def refused(ref: str, *facts: Fact, hint: Fact) -> UsageError:
    with raises(UsageError, *facts, hint=hint) as caught:
        source_for(Reference(ref))
    return caught.value


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("net.tflite", "TensorFlow Lite", ("tf2onnx.convert", "--tflite net.tflite", "net.onnx")),
        ("net.h5", "Keras", ("keras", "net.onnx")),
        ("net.keras", "Keras", ("keras", "net.onnx")),
        ("frozen.pb", "TensorFlow", "--graphdef frozen.pb"),
        ("net.engine", "TensorRT", "--target"),
        ("net.plan", "TensorRT", "--target"),
        ("net.mlmodel", "Core ML", "ONNX"),
        ("net.gguf", "GGUF", "Hugging Face folder"),
        ("net.rknn", "Rockchip", "--target"),
        ("forest.pkl", "pickle", ("skl2onnx", "zipmap")),
        ("forest.joblib", "pickle", "skl2onnx"),
        ("net.xml", "OpenVINO", ".onnx"),
        ("rows.csv", "table", "--data"),
        ("edgekit.toml", "settings", "--project"),
    ],
)
def test_files_of_other_formats(name: str, what: str, hint: Fact) -> None:
    refused(write(name), f"'{name}'", what, hint=hint)


@pytest.mark.parametrize(
    ("file", "what", "hint"),
    [
        ("net/saved_model.pb", "SavedModel", "--saved-model net"),
        ("net/llama.gguf", "GGUF", "Hugging Face folder"),
        ("net/model.onnx", "ONNX", "net/model.onnx"),
        ("net/adapter_config.json", "adapter", "merge_and_unload"),
        ("net/manifest.json", "bundle", "edgekit run net"),
        ("net/tf_model.h5", "TensorFlow", "from_tf=True"),
    ],
)
def test_folders_of_other_formats(file: str, what: str, hint: Fact) -> None:
    write(file)
    refused("net", "'net'", what, hint=hint)


def test_a_folder_of_checkpoints() -> None:
    write("runs/best/config.json", b"{}")
    refused("runs", "'runs'", hint="runs/best")


def test_a_timm_folder() -> None:
    write("net/config.json", json.dumps({"architecture": "resnet18", "pretrained_cfg": {"tag": "a1"}}).encode())
    write("net/model.safetensors")
    refused("net", "timm", "'resnet18'", hint=("module:factory", "checkpoint_path='net/model.safetensors'"))


@pytest.mark.needs("torch")
@pytest.mark.filterwarnings("ignore")
def test_files_of_torch() -> None:
    import torch

    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), "compiled.pt")
    refused("compiled.pt", "TorchScript", hint="package.module:factory")
    torch.save(torch.nn.Linear(2, 2).state_dict(), "weights.pt")
    refused("weights.pt", "weights without their network", hint="package.module:factory")
    write("checkpoint/config.json", b"{}")
    Path("weights.pt").rename("checkpoint/pytorch_model.bin")
    refused("checkpoint/pytorch_model.bin", hint="checkpoint")


def test_a_model_of_ultralytics() -> None:
    with zipfile.ZipFile("best.pt", "w") as archive:
        archive.writestr("best/data.pkl", b"cultralytics.nn.tasks\nDetectionModel\n")
    refused("best.pt", "ultralytics", hint=("yolo export model=best.pt format=onnx", "best.onnx"))


def test_an_archive_is_unpacked_by_its_line() -> None:
    with zipfile.ZipFile("my net.zip", "w") as archive:
        archive.writestr("export/net.onnx", b"x")
    error = refused("my net.zip", "archive", hint="my net/export/net.onnx")
    subprocess.run(["python3", "-m", "zipfile", "-e", "my net.zip", "my net"], check=True)
    assert Path("my net/export/net.onnx").is_file()
    write("part/net.onnx")
    with tarfile.open("net.tar.gz", "w:gz") as tar:
        tar.add("part/net.onnx", "net.onnx")
    error = refused("net.tar.gz", "archive", hint="net/net.onnx")
    command = error.hint.partition(": ")[2].partition(";")[0]
    subprocess.run(command, shell=True, check=True)
    assert Path("net/net.onnx").is_file()


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("https://huggingface.co/acme/net", "hf:acme/net"),
        ("https://huggingface.co/acme/net/tree/v2", "hf:acme/net --revision v2"),
        ("huggingface.co/acme/net/blob/main/config.json", "hf:acme/net"),
        ("acme/net", "hf:acme/net"),
        ("https://example.org/net.onnx", "curl -LO https://example.org/net.onnx"),
        ("s3://bucket/net.onnx", "copy it"),
        ("./net.py:build", "net:build"),
        ("pkg/net.py:build", "pkg.net:build"),
        ("net.py:build", "net:build"),
    ],
)
def test_addresses(ref: str, hint: str) -> None:
    refused(ref, hint=hint)


def test_a_path_below_a_folder_here_is_no_name_of_the_hub() -> None:
    write("acme/other.onnx")
    refused("acme/net", "does not exist", hint="hf:org/name")


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS", "lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page", "download"),
    ],
)
def test_what_is_behind_the_name_of_an_onnx_file(content: bytes, what: str, hint: str) -> None:
    refused(write("net.onnx", content), what, hint=hint)


def test_files_of_unknown_kinds_are_not_guessed() -> None:
    assert other_formats.explained(write("net.weights")) is None
    refused("net.weights", "'net.weights'", "known kind", hint=".onnx")
