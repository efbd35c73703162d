"""Tests for plugin authors: conformance classes, a fake plugin in pure numpy, small tools.

    from edgekit.testing import BackendTests, PassTests, SourceTests, TorchPassTests    # inherit them; they need pytest
    from edgekit.testing import import_blocker, install, installed, load_recipe, load_target

Nothing of edgekit imports this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.catalog import recipe as load_recipe
from edgekit.catalog import target as load_target
from edgekit.testing.blocking import FRAMEWORKS, import_blocker
from edgekit.testing.install import fake_plugin, install, installed

if TYPE_CHECKING:
    from edgekit.testing.backend import BackendTests
    from edgekit.testing.passes import PassTests
    from edgekit.testing.source import SourceTests
    from edgekit.testing.torch_passes import TorchPassTests

__all__ = [
    "FRAMEWORKS",
    "BackendTests",
    "PassTests",
    "SourceTests",
    "TorchPassTests",
    "fake_plugin",
    "import_blocker",
    "install",
    "installed",
    "load_recipe",
    "load_target",
]

_CLASSES = {"BackendTests": "backend", "PassTests": "passes", "SourceTests": "source", "TorchPassTests": "torch_passes"}


def __getattr__(name: str) -> Any:
    """Import the test classes on use: they need pytest, which a child process with the fake plugin may not have."""
    if name in _CLASSES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_CLASSES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
