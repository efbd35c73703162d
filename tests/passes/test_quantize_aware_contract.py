"""The pass `quantize-aware` keeps the contract of passes on torch modules."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("optimum.onnxruntime")

from edgekit.passes.train.quantize_aware import QuantizeAware  # noqa: E402
from edgekit.passes.train.recovery import Recovery  # noqa: E402  # they need torch
from edgekit.testing import TorchPassTests  # noqa: E402

bars = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "bars.py")))


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class TestQuantizeAware(TorchPassTests):
    def subject(self):
        return QuantizeAware(recovery=Recovery(epochs=2, batch_size=16))

    def module(self):
        torch.manual_seed(0)
        return bars.Net(), torch.zeros(1, 1, 8, 8)

    def unfit(self):
        return Mean(), torch.zeros(1, 1, 8, 8)

    def feeds(self, inputs):
        return [{"x": image[None]} for image in bars.pictures(64, 3)[0]]

    def labels(self):
        return bars.pictures(64, 3)[1].tolist()
