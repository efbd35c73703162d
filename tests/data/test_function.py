"""Functions as data: what they yield, and the errors in them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.data import load
from edgekit.errors import UsageError
from tests.wording import raises

MODULE = """
import random
import numpy as np
from edgekit.data import Sample

calls = []

def pairs():
    calls.append(1)
    for i in range(5):
        yield {"x": np.full(3, i, np.float32)}, i % 2

def feeds():
    return [{"x": np.zeros(3)}]

def samples():
    return (Sample({"text": f"t {i}"}, "ab"[i % 2]) for i in range(4))

def random_ones():
    for _ in range(4):
        yield {"x": np.array([random.random()])}

def failing():
    yield {"x": np.zeros(2)}
    raise RuntimeError("disk on fire")

def wrong():
    yield 3

def nothing():
    return []

def needs(argument):
    return []

value = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mydata.py").write_text(MODULE)
    (tmp_path / "needy.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "mydata"
    sys.modules.pop("mydata", None)
    sys.modules.pop("needy", None)


def test_functions(module):
    pairs = load("mydata:pairs")
    assert len(pairs) == 5 and pairs.labels == [0, 1, 0, 1, 0]
    assert [float(s.fields["x"][0]) for s in pairs] == [0, 1, 2, 3, 4]
    assert pairs[3].label == 1 and pairs[1].label == 1
    calibration, evaluation = pairs.split(2, 0)
    assert len(list(calibration)) == 2 and len(list(evaluation)) == 3
    assert not load("mydata:feeds").labelled
    assert load("mydata:samples").classes == ("a", "b")
    assert pairs.digest == load("mydata:pairs").digest


def test_a_function_is_called_again_for_each_pass(module):
    pairs = load("mydata:pairs")
    before = len(sys.modules["mydata"].calls)
    list(pairs)
    list(pairs)
    assert len(sys.modules["mydata"].calls) - before == 2


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("nomodule:f", ("'nomodule'", "'nomodule:f'")),
        ("needy:f", "'a_package_that_is_not_there'"),
        ("mydata:pears", ("'pears'", "'pairs'")),
        ("mydata:value", ["'mydata:value'", "int", "function"]),
        ("mydata:failing", ["'mydata:failing'", "sample 1", "RuntimeError: disk on fire"]),
        ("mydata:wrong", ["sample 0", "'mydata:wrong'", "int"]),
        ("mydata:nothing", ["'mydata:nothing'", "samples"]),
        ("mydata:needs", ["'mydata:needs'", "'argument'"]),
    ],
)
def test_bad_functions(module, ref, message):
    with raises(UsageError, message):
        load(ref)


def test_a_function_that_yields_other_samples_each_time_is_refused(module):
    with raises(UsageError, "'mydata:random_ones'", "sample 0", hint="seed"):
        list(load("mydata:random_ones"))


def test_paths_may_look_like_functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a:b").mkdir()
    with raises(UsageError, "'a:b'", "empty"):
        load("a:b")
