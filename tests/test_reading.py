"""Files that someone else wrote: whatever is wrong with them, their reader raises one error that names them."""

from __future__ import annotations

import io
import json
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit import _reading, _toml
from edgekit.errors import ArtifactError, EdgekitError, UsageError
from tests.wording import raises

DEEP = 100_000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b"[" * 70 + b"]" * 70,
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": {"\\ud800": 1}}',
    ],
)
def test_json_that_is_damaged_is_the_fault_of_who_gave_it(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with raises(UsageError, "a.json"):
        _reading.read_json(file, "the report")
    with raises(ArtifactError, "a.json", hint="copy it again"):
        _reading.read_json(file, "the report", fault=ArtifactError, hint="copy it again")


def test_json_keeps_names_that_are_not_utf8_and_infinities_where_they_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    name = os.fsdecode(b"caf\xe9")
    file.write_text(json.dumps({"name": name, "bound": float("inf")}))
    assert _reading.read_json(file, "the record", not_finite=True) == {"name": name, "bound": float("inf")}


def test_a_file_that_never_ends_or_is_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with raises(UsageError, "pipe.json"):
        _reading.read_json(tmp_path / "pipe.json", "the report")
    (tmp_path / "large.json").write_text("[0]")
    with raises(UsageError, "large.json"):
        _reading.read_json(tmp_path / "large.json", "the report", most=2)


@pytest.mark.parametrize("content", [b"a = ", b"a = " + b"[" * DEEP, b"a = 1979-05-27", b"\xff", b"a = 1\na = 2"])
def test_toml_that_is_damaged_is_the_users(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    with raises(UsageError, "a.toml"):
        _toml.read(file, "recipe")


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def array(values: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(values), allow_pickle=True)
    return buffer.getvalue()


WHOLE = array(np.arange(6, dtype=np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        WHOLE,
        archive(**{"x.npy": WHOLE})[:-30],
        archive(**{"x.npy": WHOLE[:-4]}),
        archive(**{"x.npy": WHOLE.replace(b"(6,)", b"(99999999999999,)").replace(b" " * 13, b"", 1)}),
        archive(**{"x.npy": b"no array"}),
        archive(**{"x.npy": array([{"a": 1}])}),
    ],
)
def test_arrays_that_are_damaged_are_the_fault_of_who_gave_them(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(content)
    with raises(ArtifactError, "a.npz"):
        _reading.read_arrays(file, "the sample", fault=ArtifactError)


def test_no_damage_of_an_archive_ends_in_another_error(tmp_path: Path) -> None:
    file, generator = tmp_path / "a.npz", random.Random(0)
    np.savez_compressed(file, x=np.arange(40, dtype=np.float32), y=np.ones((2, 3), np.int64))
    whole = file.read_bytes()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(generator.choice((1, 1, 4))):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(content[: generator.choice((len(content), generator.randrange(len(content))))])
        try:
            _reading.read_arrays(file, "the sample", most=1 << 20)
        except EdgekitError as error:
            assert "a.npz" in error.message


def test_faults_of_the_machine_are_not_the_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"), _reading.guard("the file 'a'"):
        raise OSError(28, "No space left on device")
    with pytest.raises(MemoryError), _reading.guard("the file 'a'"):
        raise MemoryError
