"""Records: what is written is what is read, and nothing else is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from edgekit import _record, registry
from edgekit._record import TRANSIENT, Record, canonical_json, digest_of, digest_of_file
from edgekit.bundle.bundle import Manifest
from edgekit.errors import UsageError
from edgekit.model import Model, ModelInfo, Part, Step
from edgekit.project import Project
from edgekit.recipe.recipe import Recipe
from edgekit.result.report import Report
from edgekit.spec import NUMPY_NAMES, ShapeRange, TensorSpec
from edgekit.target.target import Target
from tests.wording import raises


@dataclass(frozen=True)
class Leaf(Record):
    size: int
    ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 0:
            raise UsageError("the size is negative.", hint="give a size")


@dataclass(frozen=True)
class Tree(Record):
    name: str
    leaves: tuple[Leaf, ...] = ()
    kind: Literal["oak", "elm", 1] = "oak"
    either: int | Leaf = 0
    table: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    tags: frozenset[str] = frozenset()
    folder: Path | None = None
    anything: Mapping[str, Any] = field(default_factory=dict)
    flag: bool = False
    live: object = field(default=None, metadata=TRANSIENT)


# Round trips


for _name in registry.names("pass"):
    registry.pass_type(_name)  # so that the records below hold the passes whatever was imported before


def all_records(kind: type = Record) -> list[type]:
    records = []
    for sub in kind.__subclasses__():
        if sub.__module__.startswith("edgekit.") and not sub.__module__.startswith("edgekit.testing"):
            records.append(sub)
        records += all_records(sub)
    return sorted(set(records), key=lambda sub: (sub.__module__, sub.__qualname__))


def made(hint: Any, dice: random.Random, depth: int = 0) -> Any:
    """Return a random value of a field's type: the generator behind the property tests."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return dice.choice([None, True, 3, 2.5, "wörd", [1, "a"], {"k": [0.25, None]}])
    if origin in (typing.Union, types.UnionType):
        return made(dice.choice(args), dice, depth)
    if hint is type(None):
        return None
    if origin is Literal:
        return dice.choice(args)
    if origin is tuple:
        if args[-1] is not Ellipsis:
            return tuple(made(arg, dice, depth) for arg in args)
        return tuple(made(args[0], dice, depth + 1) for _ in range(dice.randrange(3 if depth < 3 else 1)))
    if origin is frozenset:
        return frozenset(made(args[0], dice, depth) for _ in range(dice.randrange(3)))
    if origin in (dict, Mapping):
        return {f"k{index}": made(args[1], dice, depth + 1) for index in range(dice.randrange(3))}
    if hint is TensorSpec:
        return TensorSpec("x y", dice.choice(sorted(NUMPY_NAMES)), (1, "N", dice.randrange(1, 99)))
    if hint is ShapeRange:
        return ShapeRange(*sorted(dice.randrange(1, 99) for _ in range(3)))
    if hint is Part:
        return Part(f"p{dice.random()}", "graphs/a.onnx", (), (made(TensorSpec, dice),))
    if isinstance(hint, type) and issubclass(hint, Record):
        return a(hint, dice, depth + 1)
    simple = {str: "tëxt", int: 18, float: 1e-9, bool: True, Path: Path("a/b")}
    return dice.choice([simple[hint], {str: "", int: 1, float: 0.5, bool: False, Path: Path("/x")}[hint]])


def a(kind: type, dice: random.Random, depth: int = 0) -> Any:
    hints = typing.get_type_hints(kind)
    if kind is Leaf:
        return Leaf(dice.randrange(9), dice.random())
    lasting = [item for item in dataclasses.fields(kind) if not item.metadata.get("transient")]
    return kind(**{item.name: made(hints[item.name], dice, depth) for item in lasting})


def valid(kind: type, dice: random.Random) -> Any:
    """Return a random record that passes its own checks, after as many draws as that takes."""
    fault: UsageError | None = None
    for _ in range(500):
        try:
            return made(kind, dice)
        except UsageError as error:
            fault = error
    if all(item.default is not MISSING or item.default_factory is not MISSING for item in fields(kind)):
        return varied(kind, dice)
    raise AssertionError(f"no random {kind.__name__} is valid: {fault}")


def varied(kind: type, dice: random.Random) -> Any:
    """Yield the default with one field changed at a time, for a record whose words random text never hits: a config."""
    value, hints = kind(), typing.get_type_hints(kind)
    for item in fields(kind):
        with contextlib.suppress(UsageError):
            value = replace(value, **{item.name: made(hints[item.name], dice)})
    return value


@pytest.mark.parametrize(
    "kind", [*sorted({*all_records(), Manifest, Project}, key=str), Tree], ids=lambda kind: kind.__qualname__
)
def test_every_record_survives_json(kind: type[Any]) -> None:
    dice = random.Random(kind.__qualname__)
    for _ in range(20):
        value = valid(kind, dice)
        text = json.dumps(value.to_dict(), allow_nan=False)
        again = kind.from_dict(json.loads(text))
        assert again == value
        assert json.dumps(again.to_dict()) == text


@pytest.mark.parametrize(
    "kind", [Target, Recipe, Report, Manifest, Project, Model, Tree], ids=lambda kind: kind.__name__
)
def test_every_known_key_misspelt_is_refused_with_the_right_one(kind: type[Any]) -> None:
    data = valid(kind, random.Random(1)).to_dict()
    for key in data:
        wrong = {**data, key + "q": data[key]}
        with raises(UsageError, (f"'{key}q'", f"'{key}'")) as caught:
            kind.from_dict(wrong, "here")
        assert "known keys: " in (caught.value.hint or "")


def test_nested_records_are_read_wherever_they_stand() -> None:
    step = Step("export", {"opset": 17}, {"torch": "2.13"}, "aa", "bb", 1.5, ("note",))
    spec = TensorSpec("x", "f32", (1, "N"))
    model = Model(
        "onnx", (Part("model", "model.onnx", (spec,), (spec,)),), (), "task", "i8", (step,), ModelInfo(parameters=3)
    )
    assert Model.from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_transient_fields_are_neither_written_nor_read() -> None:
    assert "live" not in Tree("t", live=object()).to_dict()
    with raises(UsageError, "'live'", "'leaves'"):
        Tree.from_dict({"name": "t", "live": 1})


# Values


@pytest.mark.parametrize("number", [float("inf"), float("-inf")])
def test_numbers_beyond_json_are_written_as_words(number: float) -> None:
    leaf = Leaf(1, number)
    assert json.loads(json.dumps(leaf.to_dict(), allow_nan=False))["ratio"] == str(number)
    assert Leaf.from_dict(leaf.to_dict()) == leaf


def test_nan_is_written_as_a_word() -> None:
    data = Leaf(1, float("nan")).to_dict()
    assert data["ratio"] == "nan"
    ratio = Leaf.from_dict(data).ratio
    assert ratio != ratio


def test_numpy_values_become_plain() -> None:
    import numpy as np

    tree = Tree("t", anything={"f32": np.float32(0.5), "i64": np.int64(3), "bool": np.bool_(True), "a": np.arange(3)})
    assert tree.to_dict()["anything"] == {"f32": 0.5, "i64": 3, "bool": True, "a": [0, 1, 2]}
    assert json.loads(json.dumps(Leaf(1, np.float64(0.1)).to_dict()))["ratio"] == 0.1  # type: ignore[arg-type]


def test_values_without_a_plain_form_are_a_bug_that_is_reported() -> None:
    with raises(TypeError, "Tree.anything.x[1]", "complex"):
        Tree("t", anything={"x": [1, 2j]}).to_dict()


def test_sets_are_written_in_order() -> None:
    assert Tree("t", tags=frozenset("cab")).to_dict()["tags"] == ["a", "b", "c"]


# Strictness


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "[]"),
        ({}, "'name'"),
        ({"name": 3}, ("name", "3")),
        ({"name": None}, ("name", "None")),
        ({"name": "t", "flag": 1}, ("flag", "1")),
        ({"name": "t", "leaves": {"size": 1}}, ("leaves", "{'size': 1}")),
        ({"name": "t", "leaves": "ab"}, ("leaves", "'ab'")),
        (
            {"name": "t", "leaves": [{"size": 1}, {"size": True}]},
            ("leaves[1]", "size", "True"),
        ),
        ({"name": "t", "leaves": [{"size": 1.0}]}, ("leaves[0]", "size", "1.0")),
        ({"name": "t", "leaves": [{"size": 1, "ratio": True}]}, ("leaves[0]", "ratio", "True")),
        ({"name": "t", "leaves": [{"size": 1, "ratio": "x"}]}, ("leaves[0]", "ratio", "'x'")),
        ({"name": "t", "leaves": [{"size": -1}]}, ("leaves[0]", "size", "negative")),
        ({"name": "t", "kind": "olm"}, ("kind", "'olm'", "oak, elm, 1", "'elm'")),
        ({"name": "t", "kind": True}, ("kind", "'True'", "oak, elm, 1")),
        ({"name": "t", "either": "x"}, ("either", "'x'")),
        ({"name": "t", "either": {"siz": 1}}, ("either", "'siz'", "'size'")),
        ({"name": "t", "table": {"k": [1, "2"]}}, ("table.k[1]", "'2'")),
        ({"name": "t", "table": [1]}, ("table", "[1]")),
        ({"name": "t", "pair": [1]}, ("pair", "2", "1 in [1]")),
        ({"name": "t", "pair": ["a", 1]}, ("pair[0]", "'a'")),
        ({"name": "t", "tags": ["a", 1]}, ("tags[1]", "1")),
        ({"name": "t", "folder": 1}, ("folder", "1")),
        ({"name": "x" * 99, "flag": "y" * 99}, re.compile(r"flag: .* 'y{56}\.\.\.")),
        ({3: 1}, "'3'"),
    ],
)
def test_wrong_values_are_named_by_their_place(data: Any, message: str) -> None:
    with raises(UsageError, re.compile("^Tree: "), message):
        Tree.from_dict(data)


def test_whole_numbers_pass_for_floats() -> None:
    ratio = Leaf.from_dict({"size": 1, "ratio": 2}).ratio
    assert ratio == 2.0 and isinstance(ratio, float)


def test_a_fault_found_after_reading_keeps_hint_and_cause() -> None:
    with pytest.raises(UsageError) as caught:
        Leaf.from_dict({"size": -1}, "leaf.toml")
    assert caught.value.message == "leaf.toml: the size is negative."
    assert caught.value.hint == "give a size"
    assert isinstance(caught.value.__cause__, UsageError)


# Digests


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical_json({"b": [1, None], "a": "ü"}) == '{"a":"ü","b":[1,null]}'
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_canonical_json_refuses_what_json_cannot_express() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_file_digest_is_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert digest_of_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"x" * (3 << 20))
    assert len(digest_of_file(path)) == 64


def test_a_class_is_looked_at_once() -> None:
    assert _record._fields(Leaf) is _record._fields(Leaf)
