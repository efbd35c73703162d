"""Make packages unimportable, as if they were not installed: to test that the device side works without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

FRAMEWORKS = ("torch", "transformers", "optimum", "onnx", "onnxscript")
"""The packages that the device side must not need."""


@contextmanager
def import_blocker(*names: str) -> Iterator[None]:
    """Make importing these top-level packages fail inside the block; without names, the frameworks.

    Modules of these packages that are already loaded are removed and restored at the end. Other modules keep their
    references to them: to test a whole program, run it in a child process.
    """
    blocked = frozenset(names or FRAMEWORKS)
    loaded = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in blocked}
    finder = _Blocker(blocked)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(loaded)


class _Blocker:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named '{name}' (blocked by edgekit.testing)", name=name)
        return None
