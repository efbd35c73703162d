"""The verb for the cache of built steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb

ACTIONS = ("path", "list", "clear")


@verb(
    "cache",
    "Show, list or clear the cache of built steps.",
    description=(
        "ACTION is path (print the cache's folder), list (one line a step, the oldest first) or clear (remove every "
        "step). Without an action the folder and the size of the cache are shown.",
        "A step is kept under a digest of everything that decides it: model, config, data and tool versions. Clearing "
        "is always safe: the next export computes again what it needs.",
    ),
    examples=(("edgekit cache list", "List the steps:"), ("edgekit cache clear", "Free the space:")),
    exits=(0, 1, 2),
)
@click.argument("action", metavar="[ACTION]", required=False, type=click.Choice(ACTIONS))
@click.option(
    "--cache-dir", cls=Option, metavar="DIR", type=click.Path(file_okay=False, path_type=Path), group="Output",
    unset="$EDGEKIT_CACHE_DIR, or edgekit in the user's cache directory", help="The folder of the cache.",
)  # fmt: skip
@options.json_option
def cache(action: str | None, cache_dir: Path | None, as_json: bool) -> None:
    from edgekit.cli import output

    with output.cache_at(cache_dir):
        text, facts = {None: _summary, "path": _path, "list": _list, "clear": _clear}[action]()
    if as_json:
        output.emit_json(facts)
    else:
        output.emit(text)


def _path() -> tuple[str, Mapping[str, Any]]:
    from edgekit import cache as steps

    return str(steps.folder()), {"path": str(steps.folder())}


def _summary() -> tuple[str, Mapping[str, Any]]:
    from edgekit import cache as steps

    entries, folder = steps.usage(), str(steps.folder())
    size = sum(entry.bytes for entry in entries)
    count = f"{len(entries)} {'step' if len(entries) == 1 else 'steps'}"
    return f"{folder}\n{count}, {size / 1e6:.1f} MB", {"path": folder, "steps": len(entries), "bytes": size}


def _list() -> tuple[str, Mapping[str, Any]]:
    from edgekit import cache as steps

    entries = steps.usage()
    width = max((len(entry.step) for entry in entries), default=0)
    lines = [f"{e.created}  {e.bytes / 1e6:9.2f} MB  {e.step.ljust(width)}  {e.key[:12]}" for e in entries]
    facts = [{"key": e.key, "step": e.step, "bytes": e.bytes, "created": e.created} for e in entries]
    return "\n".join(lines) or "the cache is empty", {"path": str(steps.folder()), "entries": facts}


def _clear() -> tuple[str, Mapping[str, Any]]:
    from edgekit import cache as steps

    freed, stay = steps.clear(), len(steps.usage())
    words = f"; {stay} in use by running processes {'stays' if stay == 1 else 'stay'}" if stay else ""
    facts = {"path": str(steps.folder()), "freed_bytes": freed, "in_use": stay}
    return f"freed {freed / 1e6:.1f} MB{words}", facts
