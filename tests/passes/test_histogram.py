"""Ranges from histograms: right on distributions with a known answer, and on a real network with an outlier."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from edgekit.data import Feeds
from edgekit.model import Model
from edgekit.passes.quantize.histogram import BINS, Histograms, entropy, mean_square, percentile
from edgekit.passes.quantize.static import QuantizeStatic

RANDOM = np.random.default_rng(0)


def counted(values: np.ndarray) -> Histograms:
    histograms = Histograms(np.array([values.min()]), np.array([values.max()]))
    for part in np.array_split(values, 7):
        histograms.add(0, part)
    return histograms


def clip(values: np.ndarray, method: Any) -> tuple[float, float]:
    low, high = counted(values).ranges(method)
    return float(low[0]), float(high[0])


def error(values: np.ndarray, low: float, high: float, levels: int = 256) -> float:
    """Return the mean square error of quantizing to `levels` values between `low` and `high`."""
    scale = (high - low) / (levels - 1)
    return float(np.mean((np.clip(np.round((values - low) / scale), 0, levels - 1) * scale + low - values) ** 2))


NORMAL = RANDOM.standard_normal(200_000)
RECTIFIED = np.maximum(RANDOM.standard_normal(200_000), 0)
OUTLIER = np.concatenate([RANDOM.standard_normal(200_000), [90.0, -40.0]])
METHODS = {
    "percentile": partial(percentile, percent=99.9),
    "entropy": partial(entropy, levels=256),
    "mse": partial(mean_square, levels=256),
}


def test_every_value_is_counted_once() -> None:
    assert counted(OUTLIER).counts.shape == (1, BINS)
    assert counted(OUTLIER).counts.sum() == len(OUTLIER)
    same = Histograms(np.array([2.0]), np.array([2.0]))
    same.add(0, np.full(5, 2.0))
    assert same.counts.sum() == 5 and same.ranges(METHODS["mse"]) == (0.0, 2.0), "int8 must hold 0 exactly"
    nothing = Histograms(np.array([0.0]), np.array([0.0]))
    nothing.add(0, np.zeros(5))
    assert nothing.counts.sum() == 5 and nothing.ranges(METHODS["entropy"]) == (0.0, 0.0)


def test_percentile_leaves_that_share_out_at_each_end() -> None:
    low, high = clip(NORMAL, METHODS["percentile"])
    assert low == pytest.approx(np.percentile(NORMAL, 0.1), abs=0.01)
    assert high == pytest.approx(np.percentile(NORMAL, 99.9), abs=0.01)
    assert clip(RECTIFIED, METHODS["percentile"])[0] == 0.0, "half of the values are 0"


@pytest.mark.parametrize("method", METHODS)
def test_an_outlier_does_not_take_the_range(method: str) -> None:
    low, high = clip(OUTLIER, METHODS[method])
    assert -40 < low < -2 and 2 < high < 90
    assert error(OUTLIER[:-2], low, high) < 0.8 * error(OUTLIER[:-2], -40.0, 90.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [NORMAL, RECTIFIED, -RECTIFIED, OUTLIER], ids=["normal", "relu", "minus", "outlier"])
def test_ranges_stay_inside_the_extremes_and_hold_most_values(method: str, values: np.ndarray) -> None:
    low, high = clip(values, METHODS[method])
    assert values.min() <= low <= high <= values.max()
    assert np.mean((values >= low) & (values <= high)) > 0.98


@pytest.mark.parametrize("values", [NORMAL, RECTIFIED, OUTLIER], ids=["normal", "relu", "outlier"])
@pytest.mark.parametrize("levels", [128, 256])
def test_mean_square_is_the_least_of_all_clippings(values: np.ndarray, levels: int) -> None:
    low, high = clip(values, partial(mean_square, levels=levels))
    least = min(
        error(values, a, b, levels)
        for a in (np.linspace(values.min(), 0, 24)[:-1] if values.min() < 0 else (0.0,))
        for b in np.linspace(0, values.max(), 24)[1:]
    )
    assert error(values, low, high, levels) <= 1.05 * least


@pytest.fixture(scope="module")
def distance(
    resnet: Model, cifar_feeds: Feeds, run_onnxruntime: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], float]:
    """A function that returns the error of a method's outputs where one sample of 100 has an outlier."""
    feeds = [{"images": feed["images"].copy()} for feed in cifar_feeds]
    clean = np.concatenate([feed["images"] for feed in feeds[:32]])
    feeds[-1]["images"][..., 16, 16] *= 100
    with_outlier = Feeds.from_arrays(feeds)

    @functools.cache
    def measured(method: str) -> float:
        work = tmp_path_factory.mktemp(method)
        # Weights in 7 bits, which saturate on no processor: the result is the same on each machine.
        quantized = QuantizeStatic(reduce_range=True, method=method, percentile=99.9).apply(resnet, with_outlier, work)
        (before,), (after,) = (run_onnxruntime(model.graph, {"images": clean}) for model in (resnet, quantized))
        return float(np.linalg.norm(after - before) / np.linalg.norm(before))

    return measured


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_an_outlier_in_a_sample_matters_less(method: str, distance: Callable[[str], float]) -> None:
    """The extremes over all samples are those of the one with the outlier."""
    assert distance(method) < 0.7 * distance("minmax")
