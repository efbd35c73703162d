"""The classes of all commands: verbs are imported on use, and help has the form of a manual page.

Nothing here depends on what a verb does; `failure.py` turns exceptions into messages and exit codes.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from edgekit.cli import failure
from edgekit.cli.interruption import Interruption
from edgekit.cli.mistyped import UnknownVerb

EXIT_CODES = {
    0: "success",
    1: "a bug in edgekit: the trace is shown",
    2: "a reference, file, option or value is wrong",
    3: "a plugin or package is missing, broken or claimed twice",
    4: "this model cannot run on this target with these passes",
    5: "the gate on quality failed; the report was written first",
    6: "a latency, size, memory or regression budget was missed; the report was written first",
    7: "the device is unreachable, lost, out of memory, or its disk is full",
    8: "a bundle is incomplete, altered, too new, or made for another machine",
    9: "a pass or a compiler failed",
    130: "interrupted; no partly written file is left",
}

HELP_WIDTH = 100


@dataclass(frozen=True)
class Example:
    """A command to paste, and its meaning."""

    command: str
    meaning: str


class Option(click.Option):
    """An option with the heading that it is listed under and its default in the help."""

    def __init__(self, *args: Any, group: str = "Output", unset: str | None = None, **kwargs: Any) -> None:
        self.group = group
        if unset is not None:
            kwargs["help"] = f"{kwargs['help']} [default: {unset}]"
        super().__init__(*args, **kwargs)


class Verb(click.Command):
    """A command whose help has a description, options under named headings, examples and its exit codes."""

    def __init__(
        self,
        *args: Any,
        description: Sequence[str] = (),
        examples: Sequence[Example] = (),
        exits: Sequence[int] = (0, 1, 2),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.description = tuple(description)
        self.examples = tuple(examples)
        self.exits = tuple(exits)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _begin(self, ctx, formatter)
        self.format_options(ctx, formatter)
        _examples(formatter, self.examples)
        _exit_codes(formatter, self.exits)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            # Arguments are explained in the description; newer versions of click list them here as well.
            if record is not None and isinstance(param, click.Option):
                groups.setdefault(getattr(param, "group", "Output"), []).append(record)
        for name in sorted(groups, key=lambda name: name == "Output"):
            _definitions(formatter, f"{name} options".upper(), groups[name])


class Verbs(click.Group):
    """A group that lists its verbs from a static table and imports one only when it is used.

    `table` maps a verb to (module:attribute, one line of help); `families` maps a heading to the verbs listed under it.
    """

    def __init__(
        self,
        *args: Any,
        table: Mapping[str, tuple[str, str]],
        families: Mapping[str, Sequence[str]],
        description: Sequence[str] = (),
        examples: Sequence[Example] = (),
        environment: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs["invoke_without_command"] = True
        super().__init__(*args, **kwargs)
        self.table = dict(table)
        self.families = dict(families)
        self.description = tuple(description)
        self.examples = tuple(examples)
        self.environment = dict(environment or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in self.families.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.table and not args[0].startswith("-"):
            raise UnknownVerb(args[0], tuple(self.list_commands(ctx)), ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _begin(self, ctx, formatter)
        for heading, names in self.families.items():
            _definitions(formatter, heading.upper(), [(name, self.table[name][1]) for name in names])
        records = [record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]
        _definitions(formatter, "OPTIONS", records)
        _examples(formatter, self.examples)
        _definitions(formatter, "ENVIRONMENT", list(self.environment.items()))
        _exit_codes(formatter, tuple(EXIT_CODES))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, OSError) as error:
            if isinstance(error, KeyboardInterrupt) and isinstance(ctx.obj, Interruption):
                ctx.obj.end()
            raise failure.Carried(error) from error  # click would turn these into an exit code of its own
        except Exception as error:
            if isinstance(ctx.obj, Interruption) and ctx.obj.asked:  # raised by code that caught the interrupt
                ctx.obj.end()
                raise failure.Carried(ctx.obj.asked()) from error
            raise

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        extra.setdefault("max_content_width", HELP_WIDTH)
        try:
            result = super().main(arguments, prog_name or "edgekit", complete_var, standalone_mode=False, **extra)
            code = result if isinstance(result, int) else 0
            sys.stdout.flush()
        except SystemExit:
            raise
        except BaseException as error:
            if not standalone_mode:
                raise
            code = failure.handle(error, as_json="--json" in arguments)
        if standalone_mode:
            sys.exit(code)
        return code


def verb(
    name: str,
    summary: str,
    *,
    description: Sequence[str] = (),
    examples: Sequence[tuple[str, str]] = (),
    exits: Sequence[int] = (0, 1, 2),
) -> Callable[[Callable[..., Any]], click.Command]:
    """Return a decorator that makes a command of a function; `examples` are (command, meaning)."""
    return click.command(
        name,
        cls=Verb,
        help=summary,
        short_help=summary,
        description=description,
        examples=tuple(Example(*example) for example in examples),
        exits=exits,
        options_metavar="[OPTIONS]",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _begin(command: Verb | Verbs, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    command.format_usage(ctx, formatter)
    formatter.write_paragraph()
    formatter.indent()
    formatter.write_text(command.help or "")
    formatter.dedent()
    _paragraphs(formatter, "DESCRIPTION", command.description)


def _heading(formatter: click.HelpFormatter, text: str) -> None:
    formatter.write_paragraph()
    formatter.write(click.style(text, bold=True) + "\n")


def _paragraphs(formatter: click.HelpFormatter, heading: str, paragraphs: Sequence[str]) -> None:
    if not paragraphs:
        return
    _heading(formatter, heading)
    formatter.indent()
    for index, paragraph in enumerate(paragraphs):
        if index:
            formatter.write_paragraph()
        formatter.write_text(paragraph)
    formatter.dedent()


def _definitions(formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if not rows:
        return
    _heading(formatter, heading)
    formatter.indent()
    formatter.write_dl(rows, col_max=26)
    formatter.dedent()


def _examples(formatter: click.HelpFormatter, examples: Sequence[Example]) -> None:
    if not examples:
        return
    _heading(formatter, "EXAMPLES")
    for index, example in enumerate(examples):
        if index:
            formatter.write_paragraph()
        formatter.indent()
        formatter.write_text(example.meaning)
        formatter.dedent()
        # A command is never wrapped, so that it can be pasted.
        formatter.write(f"    $ {example.command}\n")


def _exit_codes(formatter: click.HelpFormatter, codes: Sequence[int]) -> None:
    _definitions(formatter, "EXIT CODES", [(str(code), EXIT_CODES[code]) for code in dict.fromkeys((*codes, 130))])
