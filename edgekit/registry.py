"""Plugins, found by their entry points: listed without importing them, imported one by one on use.

Two distributions that claim one name, and a plugin written for another contract, are errors that name both sides; they
are raised when that name is used, so that the list of plugins can always be printed.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgekit._record import Record
from edgekit.errors import EdgekitError, EnvironmentFault, UsageError, nearest
from edgekit.plugin import API, Backend, Pass, Source
from edgekit.recipe.recipe import OVERRIDES, PassConfig

KINDS = {
    "backend": "edgekit.backends",
    "pass": "edgekit.passes",
    "source": "edgekit.sources",
    "transport": "edgekit.transports",
}

KNOWN_PLUGINS = {
    "onnxruntime": "edgekit-onnxruntime",
    "openvino": "edgekit-openvino",
    "tensorrt": "edgekit-tensorrt",
}
"""Backends of this project, so that the error for a missing one can give the command that installs it."""

ALIASES = {"ort": "onnxruntime", "onnx": "onnxruntime", "ov": "openvino", "trt": "tensorrt", "engine": "tensorrt"}
"""Other names of those backends."""

KNOWN_PASSES = {"nncf": "edgekit-openvino[build]", "genai": "edgekit-onnxruntime[genai]"}
KNOWN_RECIPES = {
    "int8-nncf": "edgekit-openvino[build]",
    "int8-nncf-bf16": "edgekit-openvino[build]",
    **dict.fromkeys(("genai-fp32", "genai-int8", "genai-int4", "genai-int4-exact"), "edgekit-onnxruntime[genai]"),
    "int4-weights-exact": "edgekit-onnxruntime",
    "int8-fp16": "edgekit-tensorrt",
    "fp8": "edgekit-tensorrt",
    "int4-fp16": "edgekit-tensorrt",
}
"""Passes and recipes that come with those backends, for the same reason. Nothing else in the core names them."""


def names(kind: str) -> tuple[str, ...]:
    """Return the names of the installed plugins of a kind (`backend`, `pass`, `source`, `transport`); imports none."""
    return tuple(sorted(_table(KINDS[kind])))


def distribution(kind: str, name: str) -> str:
    """Return `distribution version` of an installed plugin, for people."""
    return " and ".join(_owner(point) for point in _points(kind, name))


@functools.cache
def backend(name: str) -> Backend:
    """Return a backend, imported on first use. Raises UsageError if unknown, EnvironmentFault if missing or broken."""
    plugin: Backend = _instance("backend", name)
    _check_api("backend", name, plugin)
    _check_protocol("backend", name, plugin, Backend, plugin.name if hasattr(plugin, "name") else name)
    return plugin


@functools.cache
def pass_type(name: str) -> type[Pass]:
    """Return the class of a pass. Raises UsageError if unknown, EnvironmentFault if missing or broken."""
    kind = _load("pass", name)
    _check_protocol("pass", name, kind, Pass, getattr(kind, "name", name))
    if not (isinstance(kind, type) and issubclass(kind, Record) and dataclasses.is_dataclass(kind)):
        raise EnvironmentFault(
            f"the pass '{name}' ({distribution('pass', name)}) is not a frozen dataclass that inherits Record.",
            hint=_upgrade_hint("pass", name),
        )
    return kind


def is_torch_pass(name: str) -> bool:
    """Return whether a pass works on the torch module, before the export."""
    return "torch" in pass_type(name).accepts


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return every source, sorted by scheme. Raises EnvironmentFault for one that is broken."""
    loaded = []
    for name in names("source"):
        source: Source = _instance("source", name)
        _check_protocol("source", name, source, Source, getattr(source, "scheme", name))
        loaded.append(source)
    return tuple(loaded)


@functools.cache
def transport(scheme: str) -> Callable[[str], Any]:
    """Return the class of a transport, which is called with an address. Raises UsageError if unknown, EnvironmentFault
    if broken.
    """
    kind: Callable[[str], Any] = _load("transport", scheme)
    _check_api("transport", scheme, kind)
    _check_members("transport", scheme, kind, "edgekit.device.Transport", ("run", "push", "fetch", "close"))
    _check_name("transport", scheme, getattr(kind, "scheme", scheme))
    return kind


def configured(step: PassConfig, recipe_name: str) -> Pass:
    """Return the pass of a recipe's step. Raises UsageError for a config that the pass does not accept."""
    kind: Any = pass_type(step.name)
    where = f"recipe '{recipe_name}', pass '{step.name}'"
    if OVERRIDES in step.config and OVERRIDES not in kind.__dataclass_fields__:
        raise UsageError(
            f"{where}: it has no per-operator or per-node settings.",
            hint="leave its tables [passes.operators...] and [passes.nodes...] out",
        )
    configured: Pass = kind.from_dict(step.config, where)
    return configured


def comes_with(kind: str, name: str, package: str) -> EnvironmentFault:
    """Return the error for a pass or a recipe whose plugin is missing."""
    return EnvironmentFault(
        f"the {kind} '{name}' is missing: it comes with {package.partition('[')[0]}.",
        hint=f"pip install '{package}'",
    )


def forget() -> None:
    """Clear the caches, so that the installed plugins are read again: for tests that install some."""
    for cached in (_table, backend, pass_type, sources, transport):
        cached.cache_clear()


@functools.cache
def _table(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    table: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        others = table.get(point.name, ())
        # One distribution can be seen twice (an editable install and its build folder); only different values collide.
        if all(other.value != point.value for other in others):
            table[point.name] = (*others, point)
    return table


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def _points(kind: str, name: str) -> tuple[EntryPoint, ...]:
    table = _table(KINDS[kind])
    if name in table:
        return table[name]
    if kind == "backend" and name in KNOWN_PLUGINS:
        raise EnvironmentFault(f"the backend '{name}' is not installed.", hint=f"pip install {KNOWN_PLUGINS[name]}")
    if kind == "pass" and name in KNOWN_PASSES:
        raise comes_with(kind, name, KNOWN_PASSES[name])
    if kind == "pass" and name in KNOWN_RECIPES:  # what a plan holds in place of the passes of a recipe that is missing
        raise comes_with("recipe", name, KNOWN_RECIPES[name])
    known = ", ".join(sorted(table)) or "none"
    likely = {*table, *KNOWN_PLUGINS} if kind == "backend" else set(table)
    raise UsageError(
        f"unknown {kind} '{name}'.{nearest(name, likely, ALIASES)}", hint=f"installed: {known} (see `edgekit plugins`)"
    )


def _collision(kind: str, name: str, points: tuple[EntryPoint, ...]) -> str:
    owners = " and ".join(sorted(f"{_owner(point)} ({point.value})" for point in points))
    return f"two packages claim the {kind} '{name}': {owners}."


def _load(kind: str, name: str) -> Any:
    points = _points(kind, name)
    if len(points) > 1:
        packages = sorted(_owner(point).split()[0] for point in points)
        raise EnvironmentFault(
            _collision(kind, name, points),
            hint="uninstall one of them: " + " or ".join(f"pip uninstall {p}" for p in packages),
        )
    try:
        return points[0].load()
    except (Exception, SystemExit) as error:  # a module can fail in any way, a runtime that lacks a library included
        raise _broken(kind, name, error) from error


def _instance(kind: str, name: str) -> Any:
    """Return what the entry point names; a class is called without arguments."""
    plugin = _load(kind, name)
    if not isinstance(plugin, type):
        return plugin
    try:
        return plugin()
    except EdgekitError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(kind, name, error) from error


def _broken(kind: str, name: str, error: BaseException) -> EnvironmentFault:
    return EnvironmentFault(
        f"the {kind} '{name}' ({distribution(kind, name)}) does not import: {type(error).__name__}: {error}.",
        hint=f"pip install --force-reinstall {distribution(kind, name).split()[0]}, or see `edgekit doctor`",
    )


def _check_protocol(kind: str, name: str, plugin: Any, protocol: type, own_name: str) -> None:
    """Raise EnvironmentFault unless `plugin` has every member of the protocol and the name it is installed as."""
    members = {**getattr(protocol, "__annotations__", {}), **vars(protocol)}
    public = [member for member in members if not member.startswith("_")]
    _check_members(kind, name, plugin, f"edgekit.plugin.{protocol.__name__}", public)
    _check_name(kind, name, own_name)


def _check_api(kind: str, name: str, plugin: Any) -> None:
    api = getattr(plugin, "api", None)
    if api != API:
        raise EnvironmentFault(
            f"the {kind} '{name}' ({distribution(kind, name)}) is written for plugin contract "
            f"{api if api is not None else 'unknown'}, this edgekit has {API}.",
            hint=f"pip install --upgrade edgekit {distribution(kind, name).split()[0]}",
        )


def _check_members(kind: str, name: str, plugin: Any, protocol: str, members: Iterable[str]) -> None:
    missing = sorted(member for member in members if not hasattr(plugin, member))
    if missing:
        raise EnvironmentFault(
            f"the {kind} '{name}' ({distribution(kind, name)}) does not fulfil {protocol}: "
            f"it has no {', '.join(missing)}.",
            hint=_upgrade_hint(kind, name),
        )


def _check_name(kind: str, name: str, own_name: str) -> None:
    if own_name != name:
        raise EnvironmentFault(
            f"the {kind} '{name}' ({distribution(kind, name)}) calls itself '{own_name}'.",
            hint=_upgrade_hint(kind, name),
        )


def _upgrade_hint(kind: str, name: str) -> str:
    package = distribution(kind, name).split()[0]
    return f"pip install --upgrade {package}, or report it to its author, who can test it with edgekit.testing"
