"""The verb that lists, probes and cleans devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import options
from edgekit.cli.group import Option, verb

if TYPE_CHECKING:
    from edgekit.device.facts import ProbeResult


@verb(
    "devices",
    "Show what a board is, which target fits it, and what it lacks.",
    description=(
        "`devices` alone lists the ways in which a device can be reached, and the devices of the fleet file. "
        "`devices probe ADDRESS` reads the facts of a device with one shell script: it needs neither edgekit nor "
        "Python. It shows which targets fit, the narrowest first, and what is missing for a deployment. `devices clean "
        "ADDRESS` removes everything that edgekit has on a device.",
        "--write writes the facts as a target file, with the source of each. Put it into ./targets.",
    ),
    examples=(
        ("edgekit devices probe ssh://pi@kitchen", "Show what it is:"),
        ("edgekit devices probe ssh://pi@kitchen --write targets/kitchen.toml", "Write a target of its own:"),
        ("edgekit devices clean ssh://pi@kitchen", "Leave nothing there:"),
    ),
    exits=(0, 1, 2, 7),
)
@click.argument("action", metavar="[probe|clean]", type=click.Choice(["list", "probe", "clean"]), default="list")
@click.argument("address", metavar="[ADDRESS]", required=False)
@click.option("--fleet", cls=Option, metavar="FILE", type=click.Path(path_type=Path), group="Device",
              unset="./fleet.toml where there is one",
              help="The file whose devices are listed; their names can be used as ADDRESS.")  # fmt: skip
@click.option("--python", cls=Option, metavar="PATH", default="", group="Device", unset="those that are found",
              help="Another Python on the device to check.")  # fmt: skip
@click.option("--write", cls=Option, metavar="FILE", type=click.Path(path_type=Path), group="Output", unset="none",
              help="Write the facts as a target file, NAME.toml.")  # fmt: skip
@options.json_option
def devices(
    action: str, address: str | None, fleet: Path | None, python: str, write: Path | None, as_json: bool
) -> None:
    from edgekit.device.fleet import FILE, load
    from edgekit.errors import UsageError

    file = fleet or (Path(FILE) if Path(FILE).is_file() else None)
    known = load(file) if file else ()
    if action == "list":
        if write:
            raise UsageError("--write needs a device to read.", hint="edgekit devices probe ADDRESS --write NAME.toml")
        return _list(known, file, as_json)
    if address is None:
        raise UsageError("the address is missing.", hint=f"edgekit devices {action} ssh://user@host")
    address = next((device.address for device in known if device.name == address), address)
    if action == "clean":
        return _clean(address, as_json)
    _probe(address, python, write, as_json)


def _list(known: Sequence[Any], file: Path | None, as_json: bool) -> None:
    from edgekit import registry
    from edgekit.cli import output
    from edgekit.cli.listing import columns

    transports = {name: registry.distribution("transport", name) for name in registry.names("transport")}
    if as_json:
        output.emit_json({"transports": transports, "fleet": str(file) if file else None,
                          "devices": [device.to_dict() for device in known]})  # fmt: skip
        return
    output.emit("transports\n" + columns((f"{name}:", words) for name, words in transports.items()))
    if file is None:
        output.emit("\nno fleet file: ./fleet.toml, or --fleet FILE")
        return
    rows = [
        (device.name, "; ".join(filter(None, [device.address, device.target, ", ".join(device.labels)])))
        for device in known
    ]
    output.emit(f"\ndevices of {file}\n" + columns(rows))


def _clean(address: str, as_json: bool) -> None:
    from edgekit import device
    from edgekit.cli import output
    from edgekit.device.lock.device_lock import DeviceLock

    with device.connect(address) as transport, DeviceLock(transport) as lock:
        folder = lock.folder
        lock.clean()
    output.emit_json({"removed": folder}) if as_json else output.emit(f"removed '{folder}' on {address}")


def _probe(address: str, python: str, write: Path | None, as_json: bool) -> None:
    from edgekit import device
    from edgekit.cli import output
    from edgekit.device import facts, profile
    from edgekit.errors import UsageError

    if write is not None:
        profile.check(write)
    with output.job({}) as work, device.connect(address) as transport, work.progress.step("probing the device"):
        probed = facts.probe(transport, python=python)
    if write is not None:
        try:
            write.parent.mkdir(parents=True, exist_ok=True)
            write.write_text(profile.to_toml(probed))
        except OSError as error:
            raise UsageError(f"cannot write '{write}': {error.strerror}.", hint="choose another place") from error
    if as_json:
        output.emit_json({**probed.to_dict(), "target": probed.target, "written": str(write) if write else None})
        return
    output.emit(_text(probed))
    if write is not None:
        output.emit(f"\nwrote: {write}\nnext:  edgekit export MODEL --target {write}")


def _text(probed: ProbeResult) -> str:
    from edgekit.cli.listing import columns

    facts, host = probed.facts, probed.facts.host
    processor = f"{host.cpu or 'unknown'}, {host.cores} cores, {host.arch}: {', '.join(host.isa) or 'no extensions'}"
    rows = {
        "board": host.board or "not named",
        "processor": processor,
        "memory": f"{host.memory_mb} MB, {facts.memory_available_mb} MB of it available"
        if host.memory_mb
        else "unknown",
        "disk": f"{facts.disk_free_mb} MB free below {facts.home}" if facts.disk_free_mb is not None else "unknown",
        "system": ", ".join(filter(None, [facts.system, f"kernel {host.kernel}", host.libc])),
        "JetPack": f"{facts.jetpack or 'unknown'} (L4T {facts.l4t})" if facts.l4t else "",
        "TensorRT": facts.tensorrt or "",
        "power mode": facts.power_mode or "",
        "accelerator": ", ".join(filter(None, [*host.accelerators, facts.gpu])),
        "emulated": "yes: outputs are valid, times are not" if facts.emulated else "",
    }
    lines = [columns((name, words) for name, words in rows.items() if words), "", "Pythons"]
    lines.append(columns((python.path, _python(python)) for python in facts.pythons) or "  none")
    fitting = [fit for fit in probed.fits if not fit.mismatches]
    lines += ["", "targets that fit, the narrowest first" if fitting else "no target fits; the nearest"]
    lines.append(columns((fit.name, "; ".join(fit.mismatches) or "fits") for fit in probed.fits))
    if probed.missing:
        lines += ["", "missing", *(f"  - {problem}" for problem in probed.missing)]
    if probed.notes:
        lines += ["", "notes", *(f"  - {note}" for note in probed.notes)]
    return "\n".join(lines)


def _python(python: Any) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in python.packages.items())
    return "; ".join(
        filter(None, [str(python), packages, f"lacks {', '.join(python.missing)}" if python.missing else ""])
    )
