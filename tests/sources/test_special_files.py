"""Checkpoints with pipes and devices among their files, and tokenizers with ids without end."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.pipeline.source import source_for
from edgekit.sources import tokenizer
from tests.wording import raises

CHECKPOINT = Path(__file__).parent.parent / "fixtures" / "transformers5" / "bert"


@pytest.fixture
def checkpoint(tmp_path):
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "vocab.txt"])
def test_a_pipe_among_the_files_is_named(checkpoint, name):
    from edgekit.sources import checkpoint as files

    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    with raises(UsageError, name, "not a regular file", hint="into a file"):
        files.check(checkpoint, Reference(str(checkpoint)))


@pytest.mark.parametrize("ref", ["/dev/zero", "pipe.onnx"])
def test_a_device_is_not_a_model(tmp_path, monkeypatch, ref):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.onnx")
    with raises(UsageError, ref, "never end", hint="into a file"):
        source_for(Reference(ref))


@pytest.mark.parametrize("place", ["vocab", "added"])
def test_an_id_without_end_is_refused(checkpoint, place):
    content = json.loads((checkpoint / "tokenizer.json").read_text())
    if place == "vocab":
        content["model"]["vocab"]["film"] = 2**31
    else:
        content["added_tokens"][0]["id"] = 2**31
    (checkpoint / "tokenizer.json").write_text(json.dumps(content))
    with raises(UsageError, "tokenizer.json", "2147483648", "10,000,000", hint="origin"):
        tokenizer._check_ids(checkpoint)
