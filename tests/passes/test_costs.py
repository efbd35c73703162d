"""What quantizing a layer alone costs: the same as really quantizing it alone, listed from the worst."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import Feeds
from edgekit.model import Model
from edgekit.passes.quantize.static import QuantizeStatic
from edgekit.plugin import LayerCost


class Counted:
    """Feeds that count how often a sample is read."""

    def __init__(self, feeds: Feeds) -> None:
        self.feeds = feeds
        self.read = 0

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for feed in self.feeds:
            self.read += 1
            yield feed

    def __len__(self) -> int:
        return len(self.feeds)

    def subsample(self, count: int) -> Feeds:
        return self.feeds.subsample(count)

    @property
    def digest(self) -> str:
        return self.feeds.digest


@pytest.fixture(scope="module")
def costs(
    resnet: Model, cifar_feeds: Feeds, exact: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LayerCost, ...]:
    return QuantizeStatic(**exact).costs(resnet, cifar_feeds, tmp_path_factory.mktemp("costs"))


def test_every_layer_is_listed_once_by_its_cost(costs: tuple[LayerCost, ...]) -> None:
    assert len(costs) == len({cost.name for cost in costs}) == 20
    assert sorted(cost.kind for cost in costs) == ["Conv"] * 19 + ["Gemm"]
    changes = [cost.rel_l2 for cost in costs]
    assert changes == sorted(changes, reverse=True)
    assert 1e-4 < changes[-1] <= changes[0] < 0.2


def test_a_cost_is_that_of_the_model_with_only_this_layer_quantized(
    costs: tuple[LayerCost, ...],
    resnet: Model,
    cifar_feeds: Feeds,
    exact: Any,
    run_onnxruntime: Any,
    tmp_path: Path,
) -> None:
    for cost in (costs[0], costs[-1]):
        others = tuple(other.name for other in costs if other is not cost)
        work = tmp_path / str(costs.index(cost))
        work.mkdir()
        # Without followers, which would also quantize the operators after the layer.
        quantized = QuantizeStatic(**exact, exclude=others, followers=()).apply(resnet, cifar_feeds, work)
        change = reference = 0.0
        for _, feed in zip(range(16), cifar_feeds, strict=False):
            (before,), (after,) = run_onnxruntime(resnet.graph, feed), run_onnxruntime(quantized.graph, feed)
            change += float(np.square(after - before).sum())
            reference += float(np.square(before).sum())
        # The real layer's output is rounded as well, and its sums are integers.
        assert np.sqrt(change / reference) == pytest.approx(cost.rel_l2, rel=0.5)


def test_samples_are_run_once_however_many_layers_are_left_out(
    resnet: Model, cifar_feeds: Feeds, costs: tuple[LayerCost, ...], exact: Any, tmp_path: Path
) -> None:
    feeds: Any = Counted(cifar_feeds)
    for count in range(3):
        (tmp_path / str(count)).mkdir()
        exclude = tuple(cost.name for cost in costs[:count])
        quantized = QuantizeStatic(**exact, exclude=exclude).apply(resnet, feeds, tmp_path / str(count))
        assert "100 samples" in quantized.steps[-1].notes[0]
    assert feeds.read == 100
