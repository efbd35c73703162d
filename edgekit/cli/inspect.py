"""The verb that shows what a thing is: a bundle, a report, a model file or folder, a target."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import verb
from edgekit.cli.listing import columns, describe_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgekit.bundle.bundle import Bundle, BundledPart, Manifest
    from edgekit.result.report import Candidate


@verb(
    "inspect",
    "Show what a bundle, a report, a model file or a target is.",
    description=(
        "THING is a bundle's folder, a report.json, an .onnx file, a Hugging Face folder, or a target's name or .toml "
        "file. No framework is imported; only an .onnx file is read with the package onnx. Weights in other files are "
        "not loaded.",
        "For a bundle every hash is checked, and its requirements are compared with this machine. With --report a "
        "report is written as a page, Markdown or text.",
    ),
    examples=(
        ("edgekit inspect out/digits", "A bundle:"),
        ("edgekit inspect out/digits/report.json --report report.html", "A report, as a page too:"),
        ("edgekit inspect model.onnx", "A model file:"),
    ),
    exits=(0, 1, 2, 3, 8),
)
@click.argument("thing", metavar="THING")
@options.report_option
@options.json_option
def inspect(thing: str, report_files: tuple[Path, ...], as_json: bool) -> None:
    from edgekit.cli.report_output import check_files
    from edgekit.errors import UsageError

    path = Path(thing)
    kind = _kind(path)
    check_files(report_files)
    if report_files and kind not in ("bundle", "report"):
        raise UsageError(f"'{thing}' has no report to write.", hint="give a bundle or a report.json with --report")
    if kind == "bundle":
        _bundle(path, report_files, as_json)
    elif kind == "report":
        _report(path, report_files, as_json)
    else:
        _other(kind, thing, as_json)


def _kind(path: Path) -> str:
    from edgekit.errors import UsageError

    if path.is_dir():
        for file, kind in (("manifest.json", "bundle"), ("config.json", "checkpoint"), ("report.json", "report")):
            if (path / file).is_file():
                return kind
        names = sorted(entry.name for entry in path.iterdir())[:6]
        raise UsageError(
            f"'{path}' is neither a bundle nor a Hugging Face folder: it has no manifest.json and no config.json.",
            hint=f"give a bundle, a checkpoint or a report; this folder holds {', '.join(names) or 'nothing'}",
        )
    if path.suffix == ".json":
        return "report"
    if path.is_file() and path.suffix not in (".onnx", ".toml"):
        from edgekit.sources import other_formats

        if error := other_formats.of_file(path):
            raise error
    return "onnx" if path.suffix == ".onnx" else "target"


def _bundle(path: Path, report_files: tuple[Path, ...], as_json: bool) -> None:
    from edgekit.bundle import bundle, integrity, requirements
    from edgekit.cli import output
    from edgekit.cli.report_output import write_files
    from edgekit.errors import ArtifactError

    opened = bundle.open(path, check=False)
    unmet = requirements.unmet(opened.manifest)
    try:
        bundle.check_files(path, opened.manifest)
        fault = None
    except ArtifactError as error:
        fault = error
    if report_files:
        write_files(opened.report(), report_files, path)
    if not as_json:
        output.emit(_describe_bundle(opened, unmet, sound=fault is None))
    elif fault is None:
        output.emit_json({"kind": "bundle", "manifest": opened.manifest.to_dict(), "unmet": list(unmet), "sound": True,
                          "notes": list(integrity.notes(path, opened.manifest))})  # fmt: skip
    if fault is not None:
        raise fault


def _describe_bundle(bundle: Bundle, problems: tuple[str, ...], *, sound: bool) -> str:
    from edgekit.bundle import integrity
    from edgekit.report import figures

    m = bundle.manifest
    layers = "".join(
        f", {count} layers in {name}" for name, count in (m.effective.layers.items() if m.effective else ())
    )
    entries = {
        "model": f"{m.model}" + (f", {m.task}" if m.task else ""),
        "backend": f"{m.backend}, recipe {m.recipe}",
        "target": f"{m.target.name}: {m.target.summary}",
        "runs in": f"{m.effective.main if m.effective else 'unknown'} (asked {m.asked}{layers})",
        "inputs": _of_parts(m, lambda each: ", ".join(map(str, each.part.fed))),
        "outputs": _of_parts(m, lambda each: ", ".join(map(str, each.part.given)) or "none"),
        "parts": figures.parts(_shipped(bundle)),
        "states": ", ".join(f"{state.spec} starts {state.start}" for state in m.states),
        "size": f"{figures.mb(bundle.size_mb)} of model and assets, {len(m.files)} files",
        "options": _of_parts(m, lambda each: ", ".join(f"{name} = {value}" for name, value in each.options.items())),
        "requires": _of_parts(m, lambda each: "; ".join(_requirements(each.requires))) or "nothing",
        "here": "; ".join(problems) or "this machine meets what it requires",
        "files": "intact" if sound else "CHANGED: the integrity check failed",
        "note": "; ".join(integrity.notes(bundle.path, m)),
        "samples": _stored_samples(bundle),
        "evidence": figures.EVIDENCE[m.evidence],
        "trusted": ", ".join(m.trusted),
        "versions": ", ".join(f"{name} {version}" for name, version in m.versions.items()),
        "digest": m.digest,
        "created": m.created,
    }
    lines = [f"bundle {m.name}", "", columns((name, words) for name, words in entries.items() if words), "", "lineage"]
    for step in m.lineage:
        config = ", ".join(f"{name}={value}" for name, value in step.config.items())
        tools = ", ".join(f"{name} {version}" for name, version in step.tools.items())
        words = "; ".join(filter(None, (f"{figures.significant(step.seconds)} s", config, tools, *step.notes)))
        lines.append(columns([(step.name, words)]))
    lines += ["", "files"]
    lines += [f"  {file.bytes:>12,}  {file.sha256[:12]}  {figures.clean(file.path)}" for file in m.files]
    return "\n".join(lines)


def _shipped(bundle: Bundle) -> Candidate:
    """Return the sizes of a bundle's parts, and what runs in each, as its report gives them."""
    from edgekit.errors import EdgekitError
    from edgekit.result.report import Candidate

    manifest = bundle.manifest
    try:
        shipped = bundle.report().shipped
    except EdgekitError:  # a report that was changed: the files are judged elsewhere
        shipped = None
    measurement = shipped.measurement if shipped else None
    return Candidate(
        manifest.name, manifest.backend, manifest.recipe, "shipped", "",
        effective=manifest.effective, part_sizes_mb=bundle.part_sizes_mb, measurement=measurement,
    )  # fmt: skip


def _stored_samples(bundle: Bundle) -> str:
    """Return whose samples the bundle holds, in words."""
    from edgekit.errors import EdgekitError

    count = bundle.manifest.stored
    if count == 0:
        return "none: `edgekit verify --data` checks it"
    try:
        source = bundle.report().data.stored
    except EdgekitError:
        source = None
    whose = {None: "of the evaluation data", "synthetic": "random inputs"}.get(source, f"of '{source}'")
    return f"{bundle.manifest.stored_samples} {whose}, with the original's outputs"


def _of_parts(manifest: Manifest, show: Callable[[BundledPart], str]) -> str:
    """Return the words of the only part, or of each part after its name."""
    if len(manifest.parts) == 1:
        return show(manifest.parts[0])
    return "; ".join(f"{each.part.name}: {words}" for each in manifest.parts if (words := show(each)))


def _requirements(requires: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {_flat(value)}" for name, value in requires.items() if value not in (None, (), [], {})]


def _report(path: Path, report_files: tuple[Path, ...], as_json: bool) -> None:
    from edgekit.bundle.bundle import report_of
    from edgekit.cli import output
    from edgekit.cli.report_output import write_files
    from edgekit.report import text

    report = report_of(path)
    write_files(report, report_files, path if path.is_dir() else path.parent)
    if as_json:
        output.emit_json(report.to_dict())
    else:
        output.emit(text.render(report, width=output.width(), colour=output.colour_wanted()))


def _other(kind: str, thing: str, as_json: bool) -> None:
    from edgekit.cli import output

    if kind == "target":
        from edgekit import catalog

        target = catalog.target(thing)
        output.emit_json({"kind": "target", **target.to_dict()}) if as_json else output.emit(describe_target(target))
        return
    facts: Any
    if kind == "onnx":
        from edgekit.frameworks import onnx_facts

        facts = onnx_facts.read(Path(thing))
    else:
        from edgekit.cli import checkpoint_facts

        facts = checkpoint_facts.read(Path(thing))
    if as_json:
        output.emit_json({"kind": kind, **facts.to_dict()})
        return
    title = "ONNX file" if kind == "onnx" else "Hugging Face folder"
    entries = [(name.replace("_", " "), _flat(value)) for name, value in facts.to_dict().items()]
    output.emit(f"{title} {thing}\n\n" + columns((name, words) for name, words in entries if words))


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_flat, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
