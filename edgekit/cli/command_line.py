"""The options that the user typed: they override the project file, and are passed on to a device.

The default of an option never overrides the project file: `typed` returns only what is on the command line.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from edgekit.errors import UsageError
from edgekit.project import Project

FIELDS = {
    "calibration_data": "calibration",
    "text_column": "text_columns",
    "backend": "backends",
    "budget": "repair_seconds",
    "candidate": "candidates",
    "input": "inputs",
    "shape": "shapes",
    "state": "states",
}
"""The field of the project file that a parameter overrides, where it has another name."""

NOT_PASSED_ON = {
    *("bundle", "bundles", "device", "python"),
    *("report_files", "save_baseline", "as_json", "quiet", "verbose", "cache_dir"),
}
"""Parameters that concern this machine, of a verb that is run on a device."""


def typed(ctx: click.Context) -> dict[str, Any]:
    """Return the parameters that the user typed, without those that have their defaults."""
    source = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) is source}


def overrides(ctx: click.Context) -> dict[str, Any]:
    """Return the fields of the project file that the command line overrides, with their values.

    Raises UsageError for a shape that is not NAME=VALUE and for two different models.
    """
    given = typed(ctx)
    if "model_argument" in given:
        if given.get("model", given["model_argument"]) != given["model_argument"]:
            raise UsageError(
                f"two models are given: '{given['model_argument']}' and '{given['model']}'.",
                hint="give the model once, as an argument or with --model",
            )
        given["model"] = given["model_argument"]
    named = {FIELDS.get(name, name): value for name, value in given.items()}
    values = {field.name: named[field.name] for field in fields(Project) if field.name in named}
    if "labels" in values:
        values["labels"] = tuple(name.strip() for name in values["labels"].split(","))
    if "shapes" in values:
        values["shapes"] = dict(_shape(text) for text in values["shapes"])
    return values


def passed_on(ctx: click.Context) -> list[str]:
    """Return the options that the user typed as words of a command line, without those that concern this machine."""
    words: list[str] = []
    values = {name: value for name, value in typed(ctx).items() if name not in NOT_PASSED_ON}
    for param in ctx.command.params:
        if param.name not in values or not isinstance(param, click.Option):
            continue
        value = values[param.name]
        if param.is_flag:
            words.append(param.opts[0] if value else param.secondary_opts[0])
        else:
            each = value if param.multiple else [value]
            words += [word for item in each for word in (max(param.opts, key=len), str(item))]
    return words


def _shape(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if equals and name and (value == "dynamic" or (value.isdigit() and int(value) > 0)):
        return name, value if value == "dynamic" else int(value)
    raise UsageError(
        f"cannot read the shape '{text}'.",
        hint="write it as name=size or name=dynamic, for example --shape sequence=128",
    )
