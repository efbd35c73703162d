"""The verbs that list tasks, targets, recipes and plugins."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import verb

if TYPE_CHECKING:
    from edgekit.target.target import Target


@verb(
    "tasks",
    "List what models can do: what each task takes, gives and is judged by.",
    description=(
        "Without NAME every task is listed with what it takes, its data and its metrics. With NAME one is shown.",
        "The task is read from the model where it states one, and is inferred from labels where it does not; --task of "
        "`edgekit export` names it otherwise.",
    ),
    examples=(
        ("edgekit tasks", "List all:"),
        ("edgekit tasks object-detection", "Show one:"),
    ),
    exits=(0, 1, 2),
)
@click.argument("name", metavar="[NAME]", required=False)
@options.json_option
def tasks(name: str | None, as_json: bool) -> None:
    from edgekit import tasks as known
    from edgekit.cli import output
    from edgekit.tasks.catalogue import ENTRIES, TaskEntry

    entries: Sequence[TaskEntry] = ENTRIES
    if name is not None:
        entries = [entry for entry in ENTRIES if entry.name == known.check(name)]
    if as_json:
        output.emit_json({"tasks": [entry.to_dict() for entry in entries], "compared": list(known.GENERIC)})
    elif not entries:
        output.emit(f"{name} has no answer and no metric here: its outputs are compared with the original's")
    elif name is None:
        output.emit(
            columns(
                (entry.name, f"{entry.inputs}; {', '.join(entry.metrics) or 'outputs are compared'}")
                for entry in entries
            )
        )
        described = {entry.name for entry in entries}
        others = ", ".join(each for each in known.GENERIC if each not in described)
        output.emit("\n" + textwrap.fill(f"without an answer or a metric, outputs compared: {others}", 100))
    else:
        facts = {**entries[0].to_dict(), "metrics": ", ".join(entries[0].metrics) or "none: outputs are compared"}
        output.emit("\n".join(f"{fact:8} {value}" for fact, value in facts.items()))


@verb(
    "targets",
    "List the devices that can be built for, or show one.",
    description=(
        "Without NAME every target is listed with a line about it. With NAME, or the path of a .toml file, all facts "
        "about the target are shown, with the source of each.",
        "Targets of your own are .toml files in ./targets, in a folder of $EDGEKIT_TARGETS, or in edgekit/targets of "
        "your config directory; one with the name of a built-in target replaces it.",
    ),
    examples=(
        ("edgekit targets", "List all:"),
        ("edgekit targets host", "Show this machine:"),
        ("edgekit targets ./board.toml", "Show a file of your own:"),
    ),
    exits=(0, 1, 2, 3),
)
@click.argument("name", metavar="[NAME]", required=False)
@options.json_option
def targets(name: str | None, as_json: bool) -> None:
    from edgekit.cli import output
    from edgekit.errors import EdgekitError
    from edgekit.target.target import available, load

    if name is not None:
        from edgekit import catalog

        target = catalog.target(name)
        output.emit_json(target.to_dict()) if as_json else output.emit(describe_target(target))
        return
    rows, faults = [], {}
    for known, path in available().items():
        try:
            rows.append(load(str(path)))
        except EdgekitError as error:  # one bad file must not hide the others
            faults[known] = error.message
    if as_json:
        output.emit_json({"targets": [row.to_dict() for row in rows], "faults": faults})
        return
    output.emit(columns((row.name, row.summary) for row in rows) or "there are no targets")
    for known, message in faults.items():
        output.emit(f"{known}: cannot be read: {message}")


def describe_target(target: Target) -> str:
    """Return all facts about a target, each with its evidence."""
    device = target.device.to_dict()
    facts = {name: value for name, value in device.items() if value not in (None, [], {})}
    entries = {
        "backends": ", ".join(target.backends),
        "precisions": ", ".join(target.precisions),
        **{f"candidates, {name}": ", ".join(recipes) for name, recipes in target.candidates.items()},
        **{f"device, {name}": _plain(value) for name, value in facts.items()},
        **{f"limit, {name}": _plain(value) for name, value in target.limits.to_dict().items() if value is not None},
        **{f"shape, {name}": _plain(value) for name, value in target.to_dict()["shapes"].items()},
        **{f"options, {name}": _plain(value) for name, value in target.options.items()},
        "shapes": "fixed shapes only" if target.static_shapes_only else "free shapes are possible",
        **{f"evidence, {name}": value for name, value in target.evidence.items()},
    }
    body = columns((name, words) for name, words in entries.items() if words)
    notes = "".join(f"\n  - {note}" for note in target.notes)
    return f"{target.name}: {target.summary}\n\n{body}" + (f"\n\nnotes:{notes}" if notes else "")


@verb(
    "recipes",
    "List the recipes, or write one as a file to start from.",
    description=(
        "A recipe is a named list of passes that are applied to the exported graph, such as a quantization. Without "
        "NAME the built-in recipes, those of the installed backends and your own, .toml files in ./recipes, are "
        "listed. With NAME, or the path of a .toml file, the recipe is written as such a file.",
        "In a file, [passes.config] holds for all layers; [passes.operators.Conv] overrides it for every Conv, and "
        '[passes.nodes."/head/MatMul"] overrides both for one node.',
    ),
    examples=(
        ("edgekit recipes", "List all:"),
        (
            "edgekit recipes int8-static > mine.toml",
            "A file to change, then `edgekit export --recipe mine.toml`:",
        ),
    ),
    exits=(0, 1, 2, 3),
)
@click.argument("name", metavar="[NAME]", required=False)
@options.json_option
def recipes(name: str | None, as_json: bool) -> None:
    from edgekit import catalog
    from edgekit.cli import output
    from edgekit.errors import EdgekitError
    from edgekit.pipeline import recipe_passes
    from edgekit.recipe import toml_file

    if name is not None:
        recipe = catalog.recipe(name)
        kinds = [
            ("training data", recipe_passes.needs_training(recipe)),
            ("calibration data", recipe_passes.needs_samples(recipe)),
        ]
        needs = " and ".join(kind for kind, needed in kinds if needed) or "no data"
        text = f"# {recipe.name}: needs {needs}\n{toml_file.to_toml(recipe)}".rstrip()
        output.emit_json(recipe.to_dict()) if as_json else output.emit(text)
        return
    rows, faults = list(catalog.recipes().values()), {}
    for path in toml_file.available().values():
        try:
            rows.append(catalog.recipe(str(path)))
        except EdgekitError as error:  # one bad file must not hide the others
            faults[str(path)] = error.message
    if as_json:
        output.emit_json({"recipes": [row.to_dict() for row in rows], "faults": faults})
        return
    output.emit(columns((row.name, row.summary) for row in rows))
    for known, message in faults.items():
        output.emit(f"{known}: cannot be read: {message}")


@verb(
    "plugins",
    "List the installed backends, passes and sources.",
    description=(
        "Backends are probed: their versions and devices are shown, or the problem and the command that fixes it. "
        "Passes and sources are listed without importing them.",
    ),
    examples=(("edgekit plugins", "List all:"), ("edgekit plugins --json", "For a script:")),
    exits=(0, 1, 3),
)
@options.json_option
def plugins(as_json: bool) -> None:
    from edgekit import registry
    from edgekit.cli import output

    with output.job({}):
        backends = [_backend(name) for name in registry.names("backend")]
    kinds = {kind: {n: registry.distribution(kind, n) for n in registry.names(kind)} for kind in ("pass", "source")}
    missing = {
        name: f"pip install {dist}"
        for name, dist in registry.KNOWN_PLUGINS.items()
        if name not in registry.names("backend")
    }
    if as_json:
        output.emit_json(
            {"backends": backends, "passes": kinds["pass"], "sources": kinds["source"], "missing": missing}
        )
        return
    output.emit("backends")
    for backend in backends:
        versions = ", ".join(f"{package} {version}" for package, version in backend["versions"].items())
        state = f"{versions}; devices: {', '.join(backend['devices'])}" if backend["available"] else "NOT available"
        words = "; ".join(filter(None, [backend["summary"], state]))
        output.emit(columns([(backend["name"], f"{backend['distribution']}: {words}")]))
        for problem in backend["problems"]:
            output.emit(f"    {problem}" + (f" ({backend['hint']})" if backend["hint"] else ""))
    if missing:
        output.emit(columns((name, f"not installed: {line}") for name, line in missing.items()))
    for heading, owners in (("passes", kinds["pass"]), ("sources", kinds["source"])):
        output.emit(f"\n{heading}\n" + columns(owners.items()))


def _backend(name: str) -> dict[str, Any]:
    from edgekit import registry
    from edgekit.errors import EdgekitError

    facts: dict[str, Any] = {"name": name, "distribution": registry.distribution("backend", name), "summary": ""}
    nothing = {"available": False, "versions": {}, "devices": []}
    try:
        backend = registry.backend(name)
        return {**facts, "summary": backend.summary, **backend.probe().to_dict()}
    except EdgekitError as error:
        return {**facts, **nothing, "problems": [error.message], "hint": error.hint}
    except (Exception, SystemExit) as error:  # a probe must not raise; one that does must not hide the others
        problem = f"its probe failed: {type(error).__name__}: {error}"
        return {**facts, **nothing, "problems": [problem], "hint": "report it to the plugin's author"}


def columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return two columns of text, the second wrapped beside the first."""
    from edgekit.cli.output import width

    pairs = list(rows)
    first = min(28, max((len(name) for name, _ in pairs), default=0))
    lines = []
    for name, words in pairs:
        indent = " " * (first + 4)
        wrapped = textwrap.wrap(words, max(30, width() - len(indent)), break_on_hyphens=False) or [""]
        lines.append(f"  {name.ljust(first)}  {wrapped[0]}".rstrip())
        lines += [indent + text for text in wrapped[1:]]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    return str(value)
