"""Tensor specs: their text, and what is fed against them."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit import spec as spec_module
from edgekit.errors import UsageError
from edgekit.spec import NUMPY_NAMES, SHORT_NAMES, ShapeRange, TensorSpec, check_feeds
from tests.wording import Fact, mentions, raises


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("images:f32[1,3,H,W]", TensorSpec("images", "f32", (1, 3, "H", "W"))),
        ("scalar:i64[]", TensorSpec("scalar", "i64", ())),
        ("x:f16[ 2 , N ]", TensorSpec("x", "f16", (2, "N"))),
        ("serving_default_x:0:u8[1]", TensorSpec("serving_default_x:0", "u8", (1,))),
        ("a[0]:bool[1]", TensorSpec("a[0]", "bool", (1,))),
        ("past:f32[1,past_length + 1]", TensorSpec("past", "f32", (1, "past_length + 1"))),
    ],
)
def test_text_form(text: str, spec: TensorSpec) -> None:
    assert TensorSpec.parse(text) == spec
    assert TensorSpec.parse(str(spec)) == spec
    assert TensorSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "''"),
        ("images", "'images'"),
        ("images:f32", "'images:f32'"),
        (":f32[1]", "':f32[1]'"),
        ("x:float[1]", ("'x'", "'float'")),
        ("x:f23[1]", ("'x'", "'f23'", "'f32'")),
        ("x:f32[1,,2]", ("'x'", "''")),
        ("x:f32[1,-1]", ("'x'", "-1")),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with raises(UsageError, message):
        TensorSpec.parse(text)


def test_sizes_are_numbers_or_names() -> None:
    for bad in (-1, "", True):
        with raises(UsageError, "'x'", repr(bad), "size"):
            TensorSpec("x", "f32", (1, bad))


def test_names_of_types_are_numpys() -> None:
    for short, name in NUMPY_NAMES.items():
        assert SHORT_NAMES[name] == short
        if short != "bf16":  # numpy has no such type
            assert np.dtype(name)


def test_resolve_and_static() -> None:
    spec = TensorSpec("x", "f32", ("batch", 3, "H"))
    assert spec.resolve({"H": 8}) == (1, 3, 8)
    assert spec.resolve({}, default=2) == (2, 3, 2)
    assert not spec.is_static and TensorSpec("x", "f32", (1, 2)).is_static


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 3), (1, 4, 3), (-1, -1, -1)])
def test_shape_ranges_are_in_order(sizes: tuple[int, int, int]) -> None:
    with raises(UsageError, ("min", "opt", "max"), ", ".join(map(str, sizes))):
        ShapeRange(*sizes)


SPECS = (TensorSpec("ids", "i64", ("N", "L")), TensorSpec("mask", "i64", ("N", "L")))


def ids(*shape: int, dtype: str = "int64") -> np.ndarray:
    return np.zeros(shape, dtype)


def test_fitting_feeds_pass() -> None:
    check_feeds(SPECS, {"ids": ids(2, 5), "mask": ids(2, 5)})
    check_feeds((TensorSpec("t", "str", ("N",)),), {"t": np.array(["a", "bc"])})
    check_feeds((), {})


@pytest.mark.parametrize(
    ("feeds", "facts"),
    [
        ({"ids": ids(2, 5)}, ["'mask'"]),
        ({"ids": ids(2, 5), "mask": ids(2, 5), "maks": ids(1)}, [("'maks'", "'mask'")]),
        ({"ids": ids(2, 5, dtype="int32"), "mask": ids(2, 5)}, [("'ids'", "int32", "int64")]),
        ({"ids": [[1, 2]], "mask": ids(1, 2)}, [("'ids'", "list", "int64")]),
        ({"ids": ids(5), "mask": ids(2, 5)}, [("'ids'", "[5]")]),
        ({"ids": ids(2, 5), "mask": ids(2, 6)}, [("'L'", "6", "'mask'", "5", "'ids'")]),
        ({"other": ids(1)}, ["'other'", "'ids'", "'mask'"]),
    ],
)
def test_every_fault_of_the_feeds_is_named(feeds: dict, facts: list[Fact]) -> None:
    with raises(UsageError, facts, hint="ids:i64[N,L], mask:i64[N,L]"):
        check_feeds(SPECS, feeds)


def test_fixed_sizes_are_checked() -> None:
    spec = TensorSpec("x", "f32", (1, 3))
    with raises(UsageError, "'x'", "[2, 3]", "x:f32[1,3]"):
        check_feeds((spec,), {"x": np.zeros((2, 3), "float32")})


def test_the_error_for_one_sample_of_a_fixed_batch_gives_the_options() -> None:
    spec = TensorSpec("x", "f32", (4, 3))
    with pytest.raises(UsageError) as caught:
        check_feeds((spec,), {"x": np.zeros((1, 3), "float32")})
    assert mentions(caught.value.hint, "4 samples", "[n, 4, ...]", "export the model again")
    assert "--shape" not in caught.value.hint  # the size may be fixed in a file, where no option frees it


def test_an_axis_of_time_before_the_batch_is_explained():
    spec = TensorSpec.parse("x:f32[time,1,12]")
    with raises(UsageError, "[1, 20, 12]", hint=("x:f32[time,1,12]", "before its 3 dimensions")):
        check_feeds([spec], {"x": np.zeros((1, 20, 12), np.float32)})
    with raises(UsageError, "[1, 13]") as caught:
        check_feeds([TensorSpec.parse("x:f32[N,12]")], {"x": np.zeros((1, 13), np.float32)})
    assert "before" not in caught.value.hint


def test_feeds_like_those_that_passed_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(spec_module, "check_feeds", lambda specs, feeds: (looked.append(1), check_feeds(specs, feeds)))
    monkeypatch.setattr(spec_module.FeedCheck, "KNOWN", 2)
    check = spec_module.FeedCheck(SPECS)
    for length in (5, 5, 6, 7, 5):  # the third set of shapes clears the others, so that the first is checked again
        check({"ids": ids(2, length), "mask": ids(2, length)})
    assert len(looked) == 4
    for _ in range(2):
        with raises(UsageError, "'mask'"):
            check({"ids": ids(2, 5)})
    assert len(looked) == 6, "what failed is not of a known kind"
