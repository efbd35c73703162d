"""The contract: its public names, and the optional protocols, which are found by their own members alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit import plugin
from edgekit.passes.prune.structured import Prune
from edgekit.passes.quantize.static import QuantizeStatic

NAMES = """
API ASSETS Backend Built Call Evidence Examples FeedCheck Feeds Finishable Generates Generator GraphLayer Host
InputHints Jetson KnownFault LayerCost LayerMap LayerTime Mixable Model ModelInfo Original Part Pass
PassConfig Payload Precision Probe Progress Pruning Recipe Record Reference Repairable Runtime Session
ShapeRange Source State Stateful Step Support Target TensorSpec Threaded Trainable Training TrainingData
Tunable USUAL WithInstall WithPassDefaults WithPrecision WithRecipes WithRuntime WithVariants cached_step
check_feeds die_with digest_of_file fewer_threads no_telemetry package_versions probe_host probe_jetson replacing
"""
"""What plugins may import. A name that is removed, or changes its meaning, is a new version of the contract."""


def test_public_names() -> None:
    assert sorted(plugin.__all__) == NAMES.split()
    assert all(hasattr(plugin, name) for name in plugin.__all__)


def test_it_is_short_enough_to_be_read_whole() -> None:
    assert len(Path(plugin.__file__).read_text().splitlines()) <= 350


class Bare:
    """What all sessions have; its precision would run the model."""

    inputs = outputs = ()

    @property
    def precision(self) -> plugin.Precision:
        raise AssertionError("nobody asked")

    def run(self, feeds: Any) -> Any: ...
    def bind(self, feeds: Any) -> Any: ...
    def profile(self, feeds: Any) -> Any: ...
    def close(self) -> None: ...


class Keeping(Bare):
    threads = 3

    def step(self, feeds: Any, states: Any) -> Any: ...


def test_what_a_session_can_do_is_found_without_running_it() -> None:
    assert not isinstance(Bare(), plugin.Stateful) and not isinstance(Bare(), plugin.Threaded)
    assert isinstance(Keeping(), plugin.Stateful) and isinstance(Keeping(), plugin.Threaded)


@pytest.mark.parametrize(
    ("protocol", "member"),
    [(plugin.Tunable, "variants"), (plugin.Finishable, "finish"), (plugin.Generates, "generator")],
)
def test_a_backend_needs_the_method_alone(protocol: type, member: str) -> None:
    kind = type("Mine", (), {member: lambda self: None})
    assert isinstance(kind(), protocol) and issubclass(kind, protocol)
    assert not isinstance(object(), protocol)


@dataclass(frozen=True)
class Lossy:
    """A pass of a third party, which inherits nothing of ours."""

    def costs(self, model: Any, samples: Any, workdir: Any) -> Any: ...
    def layer_map(self, model: Any, workdir: Any) -> Any: ...


def test_classes_of_passes_are_asked_as_well() -> None:
    for kind in (Lossy, QuantizeStatic):
        assert issubclass(kind, plugin.Repairable) and issubclass(kind, plugin.Mixable)
    assert not issubclass(Prune, plugin.Repairable)
    assert isinstance(Prune(), plugin.Trainable) and isinstance(Prune, plugin.Pruning)
    assert not isinstance(QuantizeStatic(), plugin.Trainable) and not isinstance(QuantizeStatic, plugin.Pruning)
