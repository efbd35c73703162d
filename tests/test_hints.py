"""Every error of the user's has a next step: the product's code is read, each place that raises one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit.errors import listed, nearest
from edgekit.registry import ALIASES as BACKENDS
from edgekit.target.search_path import ALIASES as TARGETS

ROOT = Path(__file__).parents[1]

TAKEN_OVER = {
    "edgekit/evaluation/deviation.py": "raised again as a BuildError, with what to do about the model",
}
"""Files whose errors never reach a user as they are, and why."""

BARE = re.compile(r"^(see )?`?edgekit( \w+| VERB)? (-h|--help)`?( lists.*)?$")
"""A hint that leads to a manual only."""


@dataclass(frozen=True)
class Site:
    """A place that creates a UsageError."""

    place: str
    hint: ast.expr | None


def product() -> list[Path]:
    return sorted([*ROOT.glob("edgekit/**/*.py"), *ROOT.glob("plugins/*/edgekit_*/**/*.py")])


def sites(path: Path) -> Iterator[Site]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name == "UsageError":
            hint = next((keyword.value for keyword in node.keywords if keyword.arg == "hint"), None)
            yield Site(f"{path.relative_to(ROOT).as_posix()}:{node.lineno}", hint)


def texts(hint: ast.expr) -> Iterator[str]:
    """Yield each text that a hint can be, values in it as {}."""
    if isinstance(hint, ast.Constant):
        yield str(hint.value)
    elif isinstance(hint, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in hint.values)
    elif isinstance(hint, ast.IfExp):
        yield from texts(hint.body)
        yield from texts(hint.orelse)


def test_every_usage_error_has_a_hint() -> None:
    without = [
        site.place
        for path in product()
        if path.relative_to(ROOT).as_posix() not in TAKEN_OVER
        for site in sites(path)
        if site.hint is None
    ]
    assert not without, f"say what to do next, with hint=: {without}"


def test_no_hint_is_empty_or_a_manual_alone() -> None:
    found = [(site.place, text) for path in product() for site in sites(path) if site.hint for text in texts(site.hint)]
    assert len(found) > 200
    bare = [item for item in found if not item[1].strip() or BARE.match(item[1].replace("{}", "export"))]
    assert not bare


def test_the_places_are_found() -> None:
    """Of a file written for it: one without a hint, one with a manual alone, one in a branch."""
    tree = ast.parse('raise UsageError("a", hint="see `edgekit export --help`" if x else "give b")')
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    hints = list(texts(call.keywords[0].value))
    assert hints == ["see `edgekit export --help`", "give b"]
    assert [bool(BARE.match(hint)) for hint in hints] == [True, False]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("rpi5", "'raspberry-pi-5'"),
        ("pi5", "'raspberry-pi-5'"),
        ("raspi4", "'raspberry-pi-4'"),
        ("Orin-AGX", "'jetson-agx-orin'"),
        ("orin", "'jetson-orin-nx' or 'jetson-agx-orin' or 'jetson-orin-nano'"),
        ("n100", "'intel-n100'"),
        ("cpu", "'host'"),
        ("jetsn", "'jetson'"),
    ],
)
def test_names_of_targets_elsewhere(word: str, meant: str) -> None:
    known = [path.stem for path in ROOT.glob("targets/*.toml")]
    assert meant in nearest(word, known, TARGETS)


def test_names_of_backends_elsewhere() -> None:
    assert nearest("TRT", ["openvino", "tensorrt"], BACKENDS) == " Did you mean 'tensorrt'?"
    assert nearest("trt", ["openvino"], BACKENDS) == ""


def test_a_list_names_the_first_and_counts_the_rest() -> None:
    assert listed(["b", "a"]) == "b, a"
    assert listed({"b", "a"}) == "a, b"
    assert listed([str(number) for number in range(12)], 3) == "0, 1, 2 and 9 more"
    assert listed([]) == "none"
