"""Damaged data files: whatever their readers raise becomes one UsageError that names the file."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli import checkpoint_facts, failure
from edgekit.data import load
from edgekit.errors import DeviceError, EdgekitError, UsageError
from edgekit.frameworks import onnx_facts
from tests.wording import raises

DEEP = b"[" * 100_000


def originals(folder: Path) -> dict[str, bytes]:
    import pyarrow
    from pyarrow import parquet

    np.savez_compressed(folder / "a.npz", x=np.arange(60, dtype=np.float32).reshape(6, 10), y=np.arange(6))
    parquet.write_table(pyarrow.table({"text": ["a b c"] * 20, "label": list(range(20))}), folder / "a.parquet")
    (folder / "a.csv").write_text("text,label\n" + "a b c,1\nd e f,0\n" * 10)
    (folder / "a.jsonl").write_text('{"text": "a b", "label": 1}\n' * 10)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.npz", "a.parquet"])
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    content = originals(tmp_path)[name]
    generator = random.Random(name)
    refused = 0
    for _ in range(60):
        changed = bytearray(content)
        for _ in range(generator.randrange(1, 6)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        (tmp_path / name).write_bytes(changed[: generator.randrange(1, len(changed) + 1)])
        try:
            for sample in load(str(tmp_path / name)):
                assert sample.fields
        except EdgekitError as error:
            assert error.exit_code == UsageError.exit_code and str(tmp_path) in error.message
            refused += 1
    assert refused


@pytest.mark.parametrize("content", [DEEP, b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1}\n' + DEEP])
def test_a_line_of_json_that_is_deep_or_huge_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with raises(UsageError, "a.jsonl"):
        load(str(tmp_path / "a.jsonl"))


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with raises(UsageError, "a.csv", "regular", hint="file"):
        load(str(tmp_path / "a.csv"))


def test_limits_and_names_of_the_system_are_no_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError) as long:
        (tmp_path / ("n" * 300)).touch()
    assert isinstance(failure.translate(long.value), UsageError)
    assert isinstance(failure.translate(OSError(27, "File too large")), DeviceError)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError) as vanished:
        Path.cwd()
    assert isinstance(failure.translate(vanished.value), UsageError)


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        b"\xff\xfe",
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["x", "y"]}}',
        b'{"a": {"dtype": "F32", "shape": ' + str([2] * 300_000).encode() + b', "data_offsets": [0, 0]}}',
    ],
)
def test_a_safetensors_header_of_no_sense_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)
    with raises(UsageError, "a.safetensors", hint="again"):
        checkpoint_facts.read(tmp_path)
    (tmp_path / "a.safetensors").unlink()
    (tmp_path / "config.json").write_bytes(DEEP)
    with raises(UsageError, "config.json", hint="again"):
        checkpoint_facts.read(tmp_path)


def test_mutated_onnx_files_are_read_or_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = [onnx.helper.make_tensor_value_info(name, 1, ["b", 4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    content = onnx.helper.make_model(graph).SerializeToString()
    generator = random.Random(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        changed[generator.randrange(len(changed))] = generator.randrange(256)
        (tmp_path / "a.onnx").write_bytes(changed)
        try:
            onnx_facts.read(tmp_path / "a.onnx")
        except UsageError as error:
            assert "a.onnx" in error.message
            refused += 1
    assert refused
    graph.initializer.append(onnx.TensorProto(name="w", data_type=1, dims=[2] * 300_000))
    (tmp_path / "a.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with raises(UsageError, "a.onnx", "dims", hint="again"):
        onnx_facts.read(tmp_path / "a.onnx")
