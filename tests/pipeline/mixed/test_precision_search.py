"""Which layers are proposed for float: the cheapest mix exactly, against trying every mix, and what is not worth a
try.
"""

from __future__ import annotations

import itertools
import random

import pytest

from edgekit.layers import GraphLayer, LayerMap
from edgekit.pipeline.layer_times import Attributed
from edgekit.pipeline.precision_search import Times, cheapest, propose


def chain(*times: tuple[float, float], toll: float = 0.0) -> Times:
    """Return layers a, b, c, ... in a row, each with its time in float and in int8."""
    names = "abcdefghijklmnopqrstuvwxyz"[: len(times)]
    layers = tuple(GraphLayer(layer, "Conv", (), after=(names[i - 1],) if i else ()) for i, layer in enumerate(names))
    return Times(
        layers,
        {name: pair[0] for name, pair in zip(names, times, strict=True)},
        {name: pair[1] for name, pair in zip(names, times, strict=True)},
        dict.fromkeys(names, toll),
    )


def test_without_conversions_each_layer_takes_the_faster_and_a_tie_stays_in_float() -> None:
    times = chain((1, 2), (4, 1), (2, 2), (3, 1))
    assert cheapest(times) == {"a", "c"}
    assert times.predicted_ms({"a", "c"}) == 1 + 1 + 2 + 1


def test_a_gain_below_the_price_of_going_there_and_back_is_left() -> None:
    alone = chain((2, 1), (1.0, 1.5), (2, 1), toll=0.3)
    assert cheapest(alone) == frozenset()  # 0.5 saved, 0.6 paid
    assert cheapest(alone, 0.5) == {"b"}  # 0.5 saved, 0.3 paid
    island = chain((2, 1), (1.0, 1.5), (1.0, 1.5), (2, 1), toll=0.3)
    assert cheapest(island) == {"b", "c"}


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_the_cheapest_of_all_mixes(seed: int) -> None:
    rng = random.Random(seed)
    names = "abcdefgh"
    layers = tuple(
        GraphLayer(name, "Conv", (), after=tuple(other for other in names[:place] if rng.random() < 0.4))
        for place, name in enumerate(names)
    )

    def draw(most: float) -> dict[str, float]:
        return {name: round(rng.uniform(0, most), 3) for name in names}

    times = Times(layers, draw(2), draw(2), draw(0.4))
    every = (set(some) for count in range(9) for some in itertools.combinations(names, count))
    least = min(times.predicted_ms(some) for some in every)
    assert times.predicted_ms(cheapest(times)) == pytest.approx(least)


def test_a_layer_without_times_goes_with_its_neighbours() -> None:
    times = chain((1, 2), (9, 9), (1, 2), (3, 1), toll=0.1)
    del times.float_ms["b"], times.int8_ms["b"]  # type: ignore[attr-defined]  # this test's own dicts
    assert cheapest(times) == {"a", "b", "c"}


def test_proposals_are_few_distinct_and_the_most_promising_comes_first() -> None:
    times = chain((1, 3), (4, 1), (1.0, 1.1), (4, 1), (1, 3), toll=0.2)
    proposals = propose(times)
    assert proposals[0] == {"a", "e"}
    assert 1 <= len(proposals) <= 4
    assert len(set(proposals)) == len(proposals)
    predicted = [times.predicted_ms(proposal) for proposal in proposals]
    assert predicted == sorted(predicted)
    assert predicted[-1] < times.pure_ms


def test_where_int8_loses_as_a_whole_the_few_layers_that_gain_stay_in_int8() -> None:
    times = chain((9, 1), *[(1.0, 3.0)] * 6)
    assert times.pure_ms == 15.0
    assert propose(times)[0] == {"b", "c", "d", "e", "f", "g"}


@pytest.mark.parametrize(
    "times",
    [
        chain((3, 1), (3, 1), (3, 1)),  # int8 wins everywhere
        chain((1, 3), (1, 3), (1, 3)),  # float does
        chain((100, 50), (1.0, 1.5)),  # a gain of one hundredth
        chain((0.02, 0.01), (0.001, 0.008)),  # a gain that no profiler can tell
        chain((1, 2)),  # one layer
        chain(),
    ],
)
def test_nothing_is_proposed_that_promises_nothing(times: Times) -> None:
    assert propose(times) == ()


def test_conversions_are_measured_where_a_kernel_converts_and_else_follow_from_the_size() -> None:
    layers = (
        GraphLayer("a", "Conv", (), reads=1000),
        GraphLayer("b", "Conv", (), after=("a",), reads=4000),
        GraphLayer("c", "Conv", (), after=("b",), reads=10),
        GraphLayer("d", "Gemm", (), after=("c",), reads=None),
    )
    took = Attributed(dict.fromkeys("abcd", 1.0), {"a": 0.1}, 0.5)
    times = Times.of(LayerMap(layers), Attributed(dict.fromkeys("abc", 2.0), {}, 0.25), took)
    assert times.conversions_ms == pytest.approx({"a": 0.1, "b": 0.4, "c": 0.1, "d": 0.1})
    assert times.float_ms.keys() == {"a", "b", "c"}, "d is not in both profiles"
    assert times.pure_ms == 0.25 + 3.0
