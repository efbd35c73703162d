"""Tiny checkpoints and how a source and the export are put together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.model import Model, Reference
from edgekit.passes.export.export import Export

SAVED_BY_5 = Path(__file__).parent.parent / "fixtures" / "transformers5"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A private copy of a BERT classifier with its tokenizer, which a test may damage."""
    return Path(shutil.copytree(SAVED_BY_5 / "bert", tmp_path / "checkpoint"))


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Model]:
    """A function that loads a reference with a source into a fresh folder."""

    def run(source: Any, ref: str | Path, **options: Any) -> Model:
        work = tmp_path / f"loaded{len(list(tmp_path.glob('loaded*')))}"
        work.mkdir()
        return source.load(Reference(ref=str(ref), **options), work)

    return run


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., Model]:
    """A function that exports a loaded model into a fresh folder."""

    def run(model: Model, **config: Any) -> Model:
        work = tmp_path / f"exported{len(list(tmp_path.glob('exported*')))}"
        work.mkdir()
        return Export(**config).apply(model, None, work)

    return run


@pytest.fixture
def run_graph() -> Callable[[Model, Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function that runs an exported graph with onnxruntime."""

    def run(model: Model, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(model.graph), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    return run
