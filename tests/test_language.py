"""The language of the house: what a reader of code and messages should not have to translate."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "plugins").glob("*/edgekit_*/**/*.py")]

NAMES = {"made", "found", "told", "said"}


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield docstrings that begin with another verb than Return, Write, Raise, ..."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            if re.match(r"(Give|Say|Tell|Hold)s?\b", text):
                yield text.splitlines()[0]


def names(tree: ast.Module) -> Iterator[str]:
    """Yield variables that do not say what they hold."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in NAMES:
            yield f"line {node.lineno}: {node.id}"


def is_no(tree: ast.Module) -> Iterator[str]:
    """Yield texts that say "is no x" for "is not an x"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "is no " in node.value:
            yield f"line {node.lineno}: {node.value}"


@pytest.mark.parametrize("faults_of", [docstrings, names, is_no])
def test_the_language_is_plain(faults_of) -> None:
    faults = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted(FILES)
        for text in faults_of(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert len(FILES) > 200
    assert not faults, "\n".join(faults)
