"""A disk for temporary files that is full: the answer without its precision, or exit code 7; never a trace."""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from edgekit.cli import cli
from edgekit.cli.failure import translate
from edgekit.errors import DeviceError
from tests.bundles import pictures
from tests.wording import mentions


@contextlib.contextmanager
def short_files(size: int) -> Iterator[None]:
    """Let the system write no file longer than `size` bytes, as a disk with as much left."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    Image.new("L", (8, 8), 200).save(tmp_path / "picture.png")
    return pictures(tmp_path)


@pytest.mark.parametrize("size", [0, 100])
def test_verify_needs_the_runtimes_profile(bundle: Path, size: int) -> None:
    with short_files(size):
        result = CliRunner().invoke(cli, ["verify", str(bundle)])
    assert result.exit_code == 7 and mentions(result.output, "TMPDIR"), result.output


def test_run_answers_without_the_precision(bundle: Path) -> None:
    words = ["run", str(bundle), str(bundle.parent / "picture.png")]
    with short_files(100):
        result = CliRunner().invoke(cli, words)
        facts = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code == 0 and "top" in result.output and "precision is unknown" in result.output, result.output
    assert json.loads(facts.stdout)["precision"] is None


def test_no_folder_for_temporary_files_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/1/nothing"])
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    error = translate(caught.value)
    assert isinstance(error, DeviceError) and mentions(error.hint or "", "TMPDIR")
