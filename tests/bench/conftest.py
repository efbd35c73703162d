"""Payloads of the numpy runtime in `backends/`, which the measuring processes import by its module's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench import Entry, Settings
from edgekit.plugin import Part, Payload
from edgekit.spec import TensorSpec

MATMUL = "edgekit_bench_backends:Matmul"

QUICK = Settings(
    min_seconds=0.2, min_count=11, max_seconds=2, round_ms=20, lead_in_ms=2, warmup_min_seconds=0, warmup_max_seconds=1
)


@pytest.fixture(autouse=True)
def backends_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "backends"))


@pytest.fixture
def quick() -> Settings:
    return QUICK


@pytest.fixture
def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((1, 64), dtype=np.float32)}


@pytest.fixture
def payload(tmp_path: Path) -> Callable[..., Payload]:
    """A function that writes a payload; its arguments are the options of the numpy runtime."""

    def make(**options: object) -> Payload:
        weight = np.random.default_rng(1).standard_normal((64, 8), dtype=np.float32)
        np.savez(tmp_path / "model.npz", w=weight)
        x, y = TensorSpec.parse("x:f32[1,64]"), TensorSpec.parse("y:f32[1,8]")
        return Payload(tmp_path, ("model.npz",), Part("model", "model.npz", (x,), (y,)), options)

    return make


@pytest.fixture
def entry(payload: Callable[..., Payload], feeds: dict[str, np.ndarray]) -> Callable[..., Entry]:
    """A function that returns an entry, from a name and the options of the numpy runtime."""

    def make(name: str = "model", **options: object) -> Entry:
        return Entry(name, MATMUL, payload(**options), feeds)

    return make
