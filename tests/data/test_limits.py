"""Data that would take all memory or never end is refused, with the limit."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import load
from edgekit.errors import UsageError
from edgekit.tasks.tensor import Tensors
from tests.wording import raises


def test_a_million_columns_of_one_name(tmp_path: Path) -> None:
    row = ",".join(["a"] * 1_000_000)
    (tmp_path / "wide.csv").write_text(f"{row}\n{row}\n")
    with raises(UsageError, "1,000,000 columns", "10,000", hint="npz"):
        load(str(tmp_path / "wide.csv"))


def test_the_names_of_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    (tmp_path / "many.csv").write_text(",".join(f"c{i}" for i in range(9000)) + "\n" + ",".join(["1"] * 9000) + "\n")
    sample = load(str(tmp_path / "many.csv"))[0]
    from edgekit.spec import TensorSpec

    with raises(UsageError, "x:f32", hint="and 8990 more"):
        Tensors((TensorSpec("x", "f32", (1, 4)),))(sample)


@pytest.mark.parametrize(
    ("shape", "fortran", "said"), [((1, 600_000_000), False, "one sample"), ((10**9, 3), True, "")]
)
def test_an_array_of_gigabytes_is_refused_by_its_header(tmp_path, shape, fortran, said):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": fortran, "shape": shape})
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with raises(UsageError, "'x'", "bytes", said, hint="axis" if said else "by rows"):
        load(str(tmp_path / "big.npz"))


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.jsonl"])
def test_a_pipe_is_not_read(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with raises(UsageError, "not a regular file", "never end", hint="into a file"):
        load(str(tmp_path / name))
