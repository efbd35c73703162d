"""Shapes that are computed at each call become constants where they are known, and the values stay."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest

from edgekit.passes.export.known_sizes import fold_known_sizes

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


class Heads(torch.nn.Module):
    """Attention as transformers writes it, with sizes that the tracer reads from tensors."""

    def __init__(self):
        super().__init__()
        self.query, self.out = torch.nn.Linear(12, 12), torch.nn.Linear(12, 12)

    def forward(self, x):
        batch, tokens, _ = x.shape
        heads = self.query(x).view(batch, tokens, -1, 4).transpose(1, 2)
        mixed = torch.softmax(heads @ heads.transpose(2, 3), -1) @ heads
        return self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1)) + x


def exported(module, axes):
    file = io.BytesIO()
    torch.onnx.export(module.eval(), (torch.zeros(2, 3, 12),), file, dynamo=False, opset_version=17,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": axes})  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def run(proto, x):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("axes", [{0: "batch"}, {0: "batch", 1: "tokens"}])
def test_views_of_free_sizes_become_constants(axes):
    torch.manual_seed(0)
    proto = exported(Heads(), axes)
    feeds = [np.random.default_rng(0).normal(size=(batch, 3, 12)).astype(np.float32) for batch in (1, 2, 5)]
    before = [run(proto, x) for x in feeds]
    nodes = len(proto.graph.node)
    assert fold_known_sizes(proto) >= 1
    onnx.checker.check_model(proto, full_check=True)
    kinds = [node.op_type for node in proto.graph.node]
    assert len(kinds) < nodes
    if 1 not in axes:
        assert "Shape" not in kinds and "Concat" not in kinds
    for x, expected in zip(feeds, before, strict=True):
        np.testing.assert_array_equal(run(proto, x), expected)
    assert fold_known_sizes(proto) == 0


def test_sizes_that_differ_are_left():
    class Merge(torch.nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0] * 3, x.shape[1] // 3, x.shape[2])

    proto = exported(Merge(), {0: "batch", 1: "tokens"})
    fold_known_sizes(proto)
    for tokens in (3, 9):
        assert run(proto, np.zeros((2, tokens, 12), np.float32)).shape == (6, tokens // 3, 12)
