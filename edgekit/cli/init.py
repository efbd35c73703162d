"""The verb that writes a project file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli import options
from edgekit.cli.group import verb


@verb(
    "init",
    "Write a commented edgekit.toml to start from.",
    description=(
        "FILE is edgekit.toml in this folder unless given. It holds what a build pipeline keeps in version control: "
        "model, task, data, budgets, targets and recipe, so that `edgekit export --target NAME` needs no other "
        "option. An existing file is not changed.",
    ),
    examples=(("edgekit init", "Here:"), ("edgekit init models/edgekit.toml", "Elsewhere:")),
    exits=(0, 1, 2, 7),
)
@click.argument("file", metavar="[FILE]", default="edgekit.toml", type=click.Path(dir_okay=False, path_type=Path))
@options.json_option
def init(file: Path, as_json: bool) -> None:
    from edgekit import project_template
    from edgekit.cli import output
    from edgekit.errors import UsageError

    if not file.absolute().parent.is_dir():
        raise UsageError(f"the folder '{file.parent}' does not exist.", hint=f"create it: mkdir -p {file.parent}")
    project_template.write_template(file)
    if as_json:
        output.emit_json({"written": str(file)})
    else:
        output.emit(
            f"wrote {file}\nnext: edit it, then `edgekit export"
            + (f" --project {file}`" if file.name != "edgekit.toml" or file.parent != Path() else "`")
        )
