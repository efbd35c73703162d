"""The verb that deploys a bundle to devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb
from edgekit.cli.report_output import check_files, write_files

if TYPE_CHECKING:
    from edgekit.device.deploy import Outcome
    from edgekit.device.fleet import Device

_DEVICES = "Device"
_BOARD = "Board's side"

DESCRIPTION = (
    "Sends BUNDLE to each device, finishes it there if it is portable (engines are built on their board), compares "
    "its outputs with the original's, measures it, and fetches the report. What was sent is removed again; nothing "
    "outside one folder on the device is touched (~/.cache/edgekit-device, or EDGEKIT_DEVICE_DIR).",
    "A device needs an SSH server and Python 3.10 or newer. With --bootstrap it needs neither internet nor pip: the "
    "wheels that fit its Python, processor and C library are collected on this machine and sent. They stay for the "
    "next time; --clean removes everything. Without --bootstrap the device's own edgekit is used.",
    "Several devices are deployed to at once, and one that fails does not stop the others. The exit code is 0 when "
    "all succeeded, else that of the first device that failed, in the order they were given.",
    "On an emulated device the outputs are verified and nothing is timed.",
)


@verb(
    "deploy",
    "Verify and measure a bundle on your own boards.",
    description=DESCRIPTION,
    examples=(
        ("edgekit deploy out/mine --device ssh://pi@kitchen --bootstrap", "A board with nothing but Python:"),
        ("edgekit deploy out/mine --device ssh://jetson --report out/jetson.html", "A board that has edgekit:"),
        ("edgekit deploy out/mine --fleet fleet.toml --only lab --bootstrap", "All boards of a file with a label:"),
    ),
    exits=(0, 1, 2, 3, 4, 5, 7, 8, 9),
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--device", "addresses", cls=Option, metavar="ADDRESS", multiple=True, group=_DEVICES, unset="none",
              help="A device: ssh://[user@]host[:port], or local: for this machine. Repeatable.")  # fmt: skip
@click.option("--fleet", cls=Option, metavar="FILE", type=click.Path(path_type=Path), group=_DEVICES, unset="none",
              help="A TOML file of devices, each with name, address, target and labels.")  # fmt: skip
@click.option("--only", cls=Option, metavar="LABEL", multiple=True, group=_DEVICES, unset="all of the file",
              help="Of the fleet, only devices with this label or name. Repeatable.")  # fmt: skip
@click.option("--bootstrap", cls=Option, is_flag=True, group=_BOARD, unset="off",
              help="Create a private environment on the device from wheels that are sent there.")  # fmt: skip
@click.option("--require", "pins", cls=Option, metavar="REQUIREMENT", multiple=True, group=_BOARD,
              unset="the runtime as it is here, or the newest that fits",
              help="With --bootstrap: a package in this version, such as onnxruntime==1.20.1. Repeatable.")  # fmt: skip
@click.option("--python", cls=Option, metavar="PATH", default="", group=_BOARD,
              unset="the fleet's, or the first on the device that fits",
              help="The Python to use on the device.")  # fmt: skip
@click.option("--keep", cls=Option, is_flag=True, group=_BOARD, unset="off",
              help="Leave the finished bundle on the device when it passed, and print where.")  # fmt: skip
@click.option("--clean", cls=Option, is_flag=True, group=_BOARD, unset="off",
              help="Remove the private environment too, and everything else of edgekit on the device.")  # fmt: skip
@click.option("--timeout", "timeout_s", cls=Option, metavar="S", type=click.FloatRange(min=1), default=1800.0,
              group=_BOARD, unset="1800", help="The seconds that each step on the device may take.")  # fmt: skip
@click.option("--bench/--no-bench", default=True, cls=Option, group="Benchmark", unset="--bench",
              help="Measure the bundle, or only verify it.")  # fmt: skip
@click.option("--seconds", cls=Option, metavar="S", type=click.FloatRange(min=0, min_open=True), group="Benchmark",
              unset="5.0", help="The least time to measure for.")  # fmt: skip
@options.report_option
@options.output_options
@click.pass_context
def deploy(ctx: click.Context, /, bundle: Path, addresses: tuple[str, ...], **given: Any) -> None:
    from edgekit.cli import output
    from edgekit.errors import UsageError

    check_files(given["report_files"])
    if given["keep"] and given["clean"]:
        raise UsageError("--keep and --clean cannot be combined.", hint="give one of them")
    if given["pins"] and not given["bootstrap"]:
        raise UsageError(
            "--require concerns the environment of --bootstrap, which is not given.", hint="add --bootstrap"
        )
    devices = _devices(addresses, given["fleet"], given["only"])
    with output.job(given) as work:
        from edgekit.cli.progress import Prefixed
        from edgekit.device.deploy import deploy as deploy_to
        from edgekit.device.deploy import exit_code

        many = len(devices) > 1
        outcomes = deploy_to(
            bundle,
            devices,
            _settings(given),
            progress=lambda device: Prefixed(work.progress, device.name) if many else work.progress,
        )
    _write(outcomes, given["report_files"])
    code = exit_code(outcomes)
    if given["as_json"]:
        output.emit_json({"ok": code == 0, "exit_code": code, "devices": [outcome.to_dict() for outcome in outcomes]})
    else:
        _show(outcomes)
    _print_faults(outcomes)
    ctx.exit(code)


def _settings(given: dict[str, Any]) -> Any:
    from edgekit.device.deploy import Settings

    names = ("bootstrap", "clean", "keep", "python", "pins", "bench", "timeout_s")
    words = () if given["seconds"] is None else ("--seconds", f"{given['seconds']:g}")
    return Settings(**{name: given[name] for name in names}, bench_options=words)


def _devices(addresses: Sequence[str], fleet: Path | None, only: Sequence[str]) -> tuple[Device, ...]:
    """Return the devices of the command line, then those of the fleet. Raises UsageError for none, or one given
    twice.
    """
    from edgekit.device.fleet import Device, load, select
    from edgekit.errors import UsageError

    if only and fleet is None:
        raise UsageError(
            "--only selects devices of a fleet, and no fleet is given.", hint="name its file: --fleet fleet.toml"
        )
    devices = [Device(name_of(address), address) for address in addresses]
    if fleet is not None:
        devices += select(load(fleet), only)
    if not devices:
        raise UsageError("no device is given.", hint="name one: --device ssh://user@host, or --fleet fleet.toml")
    known = [device.address for device in devices]
    if twice := next((address for address in known if known.count(address) > 1), None):
        raise UsageError(f"the device '{twice}' is named twice.", hint="name each device once")
    return tuple(_distinct(devices))


def _distinct(devices: Sequence[Device]) -> list[Device]:
    """Return the devices with different names: two ports of one host are two devices."""
    from dataclasses import replace

    counts: dict[str, int] = {}
    renamed = []
    for device in devices:
        counts[device.name] = count = counts.get(device.name, 0) + 1
        renamed.append(device if count == 1 else replace(device, name=f"{device.name}-{count}"))
    return renamed


def name_of(address: str) -> str:
    """Return a short name for an address: its host, or its scheme where it has none."""
    host = address.partition(":")[2].strip("/").rpartition("@")[2].partition(":")[0]
    return re.sub(r"[^\w.-]+", "-", host or address.partition(":")[0]).strip("-") or "device"


def _write(outcomes: Sequence[Outcome], paths: Sequence[Path]) -> None:
    """Write each device's report; for several devices each to a file with the device's name."""
    for outcome in outcomes:
        if outcome.report is not None:
            named = [path.with_stem(f"{path.stem}-{outcome.name}") if len(outcomes) > 1 else path for path in paths]
            write_files(outcome.report, named)


def _show(outcomes: Sequence[Outcome]) -> None:
    from edgekit.cli import output
    from edgekit.report import text

    if len(outcomes) == 1:
        outcome = outcomes[0]
        if outcome.report is not None:
            output.emit(text.render(outcome.report, width=output.width(), colour=output.colour_wanted()))
            output.emit(f"\ndevice: {outcome.address}, {_sent(outcome)} sent, {outcome.seconds:.1f} s in total")
        if outcome.bundle:
            output.emit(f"bundle: {outcome.bundle}, on the device")
        return
    from edgekit.cli.deploy_table import table

    output.emit(table(outcomes, output.width()))


def _sent(outcome: Outcome) -> str:
    return f"{outcome.bytes_sent / 1e6:.1f} MB"


def _print_faults(outcomes: Sequence[Outcome]) -> None:
    """Print the error of each device that failed on stderr."""
    from edgekit import errors
    from edgekit.cli import failure

    for outcome in outcomes:
        if outcome.fault is not None:
            prefix = f"{outcome.name}: " if len(outcomes) > 1 else ""
            failure.print_error(errors.EdgekitError(f"{prefix}{outcome.fault['message']}", hint=outcome.fault["hint"]))
