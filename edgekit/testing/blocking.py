"""Make packages unimportable, as if they were not installed: the proof that the device side does without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

FRAMEWORKS = ("torch", "transformers", "optimum", "onnx", "onnxscript")
"""What the device side must do without."""


@contextmanager
def import_blocker(*names: str) -> Iterator[None]:
    """Refuse to import these top-level packages inside the block; without names, the frameworks.

    Those that are loaded already are put aside and given back at the end, so that nothing else notices. Modules that
    hold a reference to them keep it: for proof of a whole program, run it in a child process.
    """
    blocked = frozenset(names or FRAMEWORKS)
    aside = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in blocked}
    finder = _Blocker(blocked)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(aside)


class _Blocker:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named '{name}' (blocked by edgekit.testing)", name=name)
        return None
