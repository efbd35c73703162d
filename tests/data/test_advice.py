"""Warnings about the choice of calibration samples."""

from __future__ import annotations

import numpy as np

from edgekit.data import Samples, advise
from tests.wording import mentions

RANDOM = np.random.default_rng(0)


def samples(count: int, labels=None) -> Samples:
    return Samples.from_feeds([{"x": RANDOM.standard_normal(4)} for _ in range(count)], labels)


def joined(*parts: Samples) -> Samples:
    return Samples.from_feeds([sample.fields for part in parts for sample in part])


def test_sound_data_needs_no_advice() -> None:
    assert advise(samples(20, [0, 1] * 10), samples(30)) == ()
    assert advise(samples(1), samples(3)) == ()


def test_copies_are_counted() -> None:
    some = samples(10)
    (note,) = advise(joined(some, some.take(3)), samples(5))
    assert mentions(note, "3 of 13 calibration samples")


def test_one_sample_again_and_again() -> None:
    sample = samples(1)
    (note,) = advise(joined(*[sample] * 8), samples(5))
    assert mentions(note, "8 calibration samples")


def test_one_class() -> None:
    (note,) = advise(samples(6, ["cat"] * 6), samples(5, ["cat", "dog"] * 2 + ["cat"]))
    assert mentions(note, "label", "'cat'")


def test_samples_on_both_sides_whatever_their_labels() -> None:
    some = samples(10)
    relabelled = Samples.from_feeds([sample.fields for sample in some][:4], [1, 2, 1, 2])
    (note,) = advise(some, joined(samples(6), relabelled))
    assert mentions(note, ("4 of 10 evaluation samples", "calibration"))
