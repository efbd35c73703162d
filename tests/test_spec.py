"""Tensor specs: their text, and what is fed against them."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit import spec as spec_module
from edgekit.errors import UsageError
from edgekit.spec import NUMPY_NAMES, SHORT_NAMES, ShapeRange, TensorSpec, check_feeds


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
        ("", "cannot read the tensor ''"),
        ("images", "cannot read the tensor 'images'"),
        ("images:f32", "cannot read the tensor"),
        (":f32[1]", "cannot read the tensor"),
        ("x:float[1]", "unknown element type 'float'"),
        ("x:f23[1]", "Did you mean 'f32'"),
        ("x:f32[1,,2]", "'' is no size"),
        ("x:f32[1,-1]", "-1 is no size"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TensorSpec.parse(text)


def test_sizes_are_numbers_or_names() -> None:
    for bad in (-1, "", True):
        with pytest.raises(UsageError, match="is no size"):
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
    with pytest.raises(UsageError, match="1 <= min <= opt <= max"):
        ShapeRange(*sizes)


SPECS = (TensorSpec("ids", "i64", ("N", "L")), TensorSpec("mask", "i64", ("N", "L")))


def ids(*shape: int, dtype: str = "int64") -> np.ndarray:
    return np.zeros(shape, dtype)


def test_fitting_feeds_pass() -> None:
    check_feeds(SPECS, {"ids": ids(2, 5), "mask": ids(2, 5)})
    check_feeds((TensorSpec("t", "str", ("N",)),), {"t": np.array(["a", "bc"])})
    check_feeds((), {})


@pytest.mark.parametrize(
    ("feeds", "messages"),
    [
        ({"ids": ids(2, 5)}, ["the input 'mask' is missing"]),
        ({"ids": ids(2, 5), "mask": ids(2, 5), "maks": ids(1)}, ["no input 'maks'", "Did you mean 'mask'"]),
        ({"ids": ids(2, 5, dtype="int32"), "mask": ids(2, 5)}, ["'ids' is int32, the model takes int64"]),
        ({"ids": [[1, 2]], "mask": ids(1, 2)}, ["'ids' is list, the model takes int64"]),
        ({"ids": ids(5), "mask": ids(2, 5)}, [r"'ids' has shape \[5\]"]),
        ({"ids": ids(2, 5), "mask": ids(2, 6)}, ["'L' is 6 in input 'mask' but 5 in 'ids'"]),
        ({"other": ids(1)}, ["no input 'other'", "'ids' is missing", "'mask' is missing"]),
    ],
)
def test_every_fault_of_the_feeds_is_named(feeds: dict, messages: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_feeds(SPECS, feeds)
    for message in messages:
        caught.match(message)
    assert caught.value.hint == "the model takes ids:i64[N,L], mask:i64[N,L]"


def test_fixed_sizes_are_held() -> None:
    spec = TensorSpec("x", "f32", (1, 3))
    with pytest.raises(UsageError, match=r"'x' has shape \[2, 3\], the model takes x:f32\[1,3\]"):
        check_feeds((spec,), {"x": np.zeros((2, 3), "float32")})


def test_one_sample_for_a_fixed_batch_is_told_what_to_do() -> None:
    spec = TensorSpec("x", "f32", (4, 3))
    with pytest.raises(UsageError) as caught:
        check_feeds((spec,), {"x": np.zeros((1, 3), "float32")})
    assert "4 samples at once" in caught.value.hint and "batch=dynamic" in caught.value.hint


def test_feeds_like_those_that_passed_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(spec_module, "check_feeds", lambda specs, feeds: (looked.append(1), check_feeds(specs, feeds)))
    monkeypatch.setattr(spec_module.FeedCheck, "KNOWN", 2)
    check = spec_module.FeedCheck(SPECS)
    for length in (5, 5, 6, 7, 5):  # the third kind makes room for itself, and the first is looked at anew
        check({"ids": ids(2, length), "mask": ids(2, length)})
    assert len(looked) == 4
    for _ in range(2):
        with pytest.raises(UsageError, match="'mask' is missing"):
            check({"ids": ids(2, 5)})
    assert len(looked) == 6, "what failed is no known kind"
