"""The search path of targets: the folders where their files are looked for.

First wins: `./targets`, `$EDGEKIT_TARGETS`, the user's config directory, installed packages (entry point group
`edgekit.targets`: a module whose folder holds TOML files), the built-ins.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgekit.errors import UsageError, nearest
from edgekit.target import host


def folders() -> Iterator[tuple[str, Path]]:
    """Yield where targets are looked for, as (why, folder), in order, each folder once."""
    own = builtin()
    seen = {own.resolve()}  # so that inside edgekit's own checkout ./targets is the built-ins and nothing else
    for why, folder in _user_places():
        if folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield why, folder
    yield "built in", own


def builtin() -> Path:
    """Return the folder of the built-in targets: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "targets"
    return inside if inside.is_dir() else package.parent / "targets"


def expanded(name: str) -> Path:
    """Return the path that the user wrote, with `~` for a home folder."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # of a user that is not there: the path as it stands is not there either, and is told so
        return Path(name)


def is_path(name: str) -> bool:
    """Return whether it is a target's path, and no name to look for."""
    return name.endswith(".toml") or "/" in name or os.sep in name


def names(places: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return the files of the targets in these places, by name; the first place that has a name wins."""
    found: dict[str, Path] = {}
    for _, folder in places:
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find(name: str, places: tuple[tuple[str, Path], ...], besides: Path | None = None) -> Path:
    """Find a target's file, another one than `besides`. Raises UsageError with the nearest names and the places."""
    for _, folder in places:
        path = folder / f"{name}.toml"
        if path.is_file() and (besides is None or path.resolve() != besides.resolve()):
            return path
    others = {other: path for other, path in names(places).items() if other != name}
    looked = ", ".join(f"{folder} ({why})" for why, folder in places)
    raise UsageError(
        f"there is no target '{name}'.{nearest(name, others)}",
        hint=f"list them with `edgekit targets`; looked in {looked}",
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
            continue  # half uninstalled: `edgekit plugins` tells; other targets must still be found
        # A namespace package has no origin, but folders all the same.
        found = list(spec.submodule_search_locations or ()) if spec else []
        if spec is not None and not found and spec.origin:
            found = [str(Path(spec.origin).parent)]
        for folder in found:
            yield f"the package '{point.name}'", Path(folder)
