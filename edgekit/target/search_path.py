"""The search path of targets: the folders that are searched for their files.

The first folder that has a file wins: `./targets`, `$EDGEKIT_TARGETS`, the user's config directory, installed packages
(entry point group `edgekit.targets`: a module whose folder holds TOML files), the built-ins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgekit.errors import UsageError, nearest
from edgekit.target import host

ALIASES = {
    "rpi": "raspberry-pi",
    "raspi": "raspberry-pi",
    "cpu": "host",
    "local": "host",
    "localhost": "host",
    "gpu": "nvidia-gpu",
    "cuda": "nvidia-gpu",
    "geforce": "nvidia-rtx",
    "orangepi5": "rk3588",
    "rock5": "rk3588",
    "snapdragonx": "snapdragon-x-elite",
}
"""Other names of built-in targets; a number may follow."""


def folders() -> Iterator[tuple[str, Path]]:
    """Yield the folders of the search path, as (why, folder), in order, each folder once."""
    own = builtin()
    seen = {own.resolve()}  # in edgekit's own checkout ./targets is the folder of the built-ins: listed once, as such
    for why, folder in _user_places():
        if folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield why, folder
    yield "built in", own


def builtin() -> Path:
    """Return the folder of the built-in targets: in the package when installed, next to it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "targets"
    return inside if inside.is_dir() else package.parent / "targets"


def expanded(name: str) -> Path:
    """Return the path that the user wrote, with a leading `~` or `~user` replaced by the home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # an unknown user: the path is kept as it is, and the caller reports that it does not exist
        return Path(name)


def is_path(name: str) -> bool:
    """Return whether `name` is a path rather than a name to search for."""
    return name.endswith(".toml") or "/" in name or os.sep in name


def names(places: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return the files of the targets in these places, by name; the first place that has a name wins."""
    files: dict[str, Path] = {}
    for _, folder in places:
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                files.setdefault(path.stem, path)
    return dict(sorted(files.items()))


def find(name: str, places: tuple[tuple[str, Path], ...], besides: Path | None = None) -> Path:
    """Return the first file of a target that is not `besides`. Raises UsageError with the nearest names and the
    places.
    """
    for _, folder in places:
        path = folder / f"{name}.toml"
        if path.is_file() and (besides is None or path.resolve() != besides.resolve()):
            return path
    others = {other: path for other, path in names(places).items() if other != name}
    looked = ", ".join(f"{folder} ({why})" for why, folder in places)
    raise UsageError(
        f"unknown target '{name}'.{nearest(name, others, ALIASES)}",
        hint=f"list them with `edgekit targets`; searched: {looked}",
    )


def _user_places() -> Iterator[tuple[str, Path]]:
    yield "the working directory", Path("targets")
    for folder in filter(None, os.environ.get("EDGEKIT_TARGETS", "").split(os.pathsep)):
        yield "$EDGEKIT_TARGETS", expanded(folder)
    home, config = host.home(), os.environ.get("XDG_CONFIG_HOME")
    if config or home:
        yield "the user's config", Path(config or f"{home}/.config") / "edgekit" / "targets"
    yield from _packages()


def _packages() -> Iterator[tuple[str, Path]]:
    from importlib.metadata import entry_points
    from importlib.util import find_spec

    for point in sorted(entry_points(group="edgekit.targets"), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except (ImportError, ValueError):
            continue  # partly uninstalled: `edgekit plugins` reports it; other targets must still be found
        # A namespace package has folders but no origin.
        locations = list(spec.submodule_search_locations or ()) if spec else []
        if spec is not None and not locations and spec.origin:
            locations = [str(Path(spec.origin).parent)]
        for folder in locations:
            yield f"the package '{point.name}'", Path(folder)
