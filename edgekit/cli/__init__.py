"""The command line: `edgekit VERB`. A verb's module is imported only when the verb is used."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

import click

from edgekit.cli.group import Example, Option, Verbs
from edgekit.cli.interruption import Interruption

VERBS = {
    "export": (
        "edgekit.cli.export:export",
        "Export a model to the fastest artifact that its target can run within the budget.",
    ),
    "init": ("edgekit.cli.init:init", "Write a commented edgekit.toml to start from."),
    "run": ("edgekit.cli.run:run", "Run a bundle on images, texts or arrays."),
    "verify": ("edgekit.cli.verify:verify", "Check a bundle's outputs against the original model's."),
    "bench": ("edgekit.cli.verify:bench", "Measure the latency of one or more bundles on this machine."),
    "deploy": ("edgekit.cli.deploy:deploy", "Verify and measure a bundle on your own boards."),
    "devices": ("edgekit.cli.devices:devices", "Show what a board is, which target fits it, and what it lacks."),
    "finish": ("edgekit.cli.finish:finish", "Compile a portable bundle on its device, and verify it there."),
    "compare": ("edgekit.cli.compare:compare", "Compare two or more reports or bundles."),
    "inspect": ("edgekit.cli.inspect:inspect", "Show what a bundle, a report, a model file or a target is."),
    "tasks": ("edgekit.cli.listing:tasks", "List what models can do: what each task takes, gives and is judged by."),
    "targets": ("edgekit.cli.listing:targets", "List the devices that can be built for, or show one."),
    "recipes": ("edgekit.cli.listing:recipes", "List the recipes, or write one as a file to start from."),
    "plugins": ("edgekit.cli.listing:plugins", "List the installed backends, passes and sources."),
    "doctor": ("edgekit.cli.doctor:doctor", "Check this machine, and show what to fix and how."),
    "cache": ("edgekit.cli.cache:cache", "Show, list or clear the cache of built steps."),
}
"""The command and the line of help of each verb."""

FAMILIES = {
    "Build": ("export", "init"),
    "Run and verify": ("run", "verify", "bench", "compare"),
    "On your boards": ("deploy", "devices", "finish"),
    "Inspect": ("inspect", "tasks", "targets", "recipes", "plugins"),
    "Maintenance": ("doctor", "cache"),
}

EXAMPLES = (
    Example(
        "edgekit export digits --target host --output out/digits", "Export the embedded example model to this machine:"
    ),
    Example(
        "edgekit export ./my-checkpoint --data ./val --max-drop 0.01 --output out/mine",
        "Export your own checkpoint, losing at most one point on your data:",
    ),
    Example("edgekit run out/mine cat.jpg", "Run the bundle:"),
    Example("edgekit bench out/mine", "Measure it again:"),
)

ENVIRONMENT = {
    "EDGEKIT_CACHE_DIR": "where built steps are kept",
    "EDGEKIT_DEVICE_DIR": "the folder that edgekit uses on a device",
    "EDGEKIT_TARGETS": "folders with target files of your own",
    "HF_HOME": "where downloads from the hub are kept",
    "HF_HUB_OFFLINE": "1: never use the network for models",
    "NO_COLOR": "any value: no colour",
}


GC_THRESHOLDS = (100_000, 20, 20)
"""Allocations before a collection of garbage, and collections of a younger generation before one of an older."""


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"edgekit {version('edgekit')}")
        ctx.exit()


@click.group(
    "edgekit",
    cls=Verbs,
    table=VERBS,
    families=FAMILIES,
    help="Export a pretrained model to the fastest artifact that a device can run, with proof.",
    description=(
        "edgekit exports a model for a target, tries the target's candidates (runtimes and precisions), drops those "
        "that lose more quality than allowed, measures the rest, and ships the fastest in a bundle that runs without "
        "torch.",
        "Results are printed on stdout, progress and messages on stderr. Each verb has its manual: edgekit VERB "
        "--help.",
    ),
    examples=EXAMPLES,
    environment=ENVIRONMENT,
    options_metavar="",
    subcommand_metavar="VERB [OPTIONS] [ARGUMENTS]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    cls=Option,
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version and exit.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _open_closed_streams() -> None:
    """Connect standard streams that the caller closed (`>&-`) to the null device: else the next file that is opened
    gets their number, and what a runtime prints is written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # as long as the process


def main() -> None:
    """Run the command line of this process and exit with its code."""
    # Importing torch and transformers creates millions of objects that are never freed: searching them for garbage
    # again and again, and once more at the end, took one second in eight of an export.
    gc.set_threshold(*GC_THRESHOLDS)
    _open_closed_streams()
    interruption = Interruption()
    interruption.listen()
    try:
        cli.main(obj=interruption)
    finally:
        interruption.end()
        gc.freeze()
        # What a runtime prints while Python shuts down must not follow the result on stdout.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            os.dup2(2, 1)
