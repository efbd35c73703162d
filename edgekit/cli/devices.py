"""The verb that looks at devices."""

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
    "Say what a board is, which target fits it, and what it lacks.",
    description=(
        "`devices` alone lists the ways in which a device can be reached, and the devices of the fleet file. "
        "`devices probe ADDRESS` asks one what it is, by one shell script: neither edgekit nor Python need be there. "
        "It says which target fits, the narrowest first, and what is missing for a deployment. `devices clean ADDRESS` "
        "removes all that edgekit has on a device.",
        "--write makes a target file of what was read, with where each fact comes from. Put it into ./targets.",
    ),
    examples=(
        ("edgekit devices probe ssh://pi@kitchen", "What is it?"),
        ("edgekit devices probe ssh://pi@kitchen --write targets/kitchen.toml", "A target of its own:"),
        ("edgekit devices clean ssh://pi@kitchen", "Leave nothing there:"),
    ),
    exits=(0, 1, 2, 7),
)
@click.argument("action", metavar="[probe|clean]", type=click.Choice(["list", "probe", "clean"]), default="list")
@click.argument("address", metavar="[ADDRESS]", required=False)
@click.option("--fleet", cls=Option, metavar="FILE", type=click.Path(path_type=Path), group="Device",
              unset="./fleet.toml where there is one",
              help="The file whose devices are listed; their names serve as ADDRESS.")  # fmt: skip
@click.option("--python", cls=Option, metavar="PATH", default="", group="Device", unset="those that are found",
              help="A Python on the device to look at as well.")  # fmt: skip
@click.option("--write", cls=Option, metavar="FILE", type=click.Path(path_type=Path), group="Output", unset="none",
              help="Write a target file of what was read: NAME.toml.")  # fmt: skip
@options.json_option
def devices(
    action: str, address: str | None, fleet: Path | None, python: str, write: Path | None, as_json: bool
) -> None:
    from edgekit.device import fleet as fleets
    from edgekit.errors import UsageError

    file = fleet or (Path(fleets.FILE) if Path(fleets.FILE).is_file() else None)
    known = fleets.load(file) if file else ()
    if action == "list":
        if write:
            raise UsageError("--write needs a device to read.", hint="edgekit devices probe ADDRESS --write NAME.toml")
        return _list(known, file, as_json)
    if address is None:
        raise UsageError("the address is missing.", hint=f"edgekit devices {action} ssh://user@host")
    address = next((one.address for one in known if one.name == address), address)
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
                          "devices": [one.to_dict() for one in known]})  # fmt: skip
        return
    output.emit("transports\n" + columns((f"{name}:", words) for name, words in transports.items()))
    if file is None:
        output.emit("\nno fleet file: ./fleet.toml, or --fleet FILE")
        return
    rows = [(one.name, "; ".join(filter(None, [one.address, one.target, ", ".join(one.labels)]))) for one in known]
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
    from edgekit.device import facts as probe
    from edgekit.device import profile
    from edgekit.errors import UsageError

    if write is not None:
        profile.check(write)
    with output.job({}) as work, device.connect(address) as transport, work.progress.step("looking at the device"):
        found = probe.probe(transport, python=python)
    if write is not None:
        try:
            write.parent.mkdir(parents=True, exist_ok=True)
            write.write_text(profile.to_toml(found))
        except OSError as error:
            raise UsageError(f"cannot write '{write}': {error.strerror}.", hint="choose another place") from error
    if as_json:
        output.emit_json({**found.to_dict(), "target": found.target, "written": str(write) if write else None})
        return
    output.emit(_text(found))
    if write is not None:
        output.emit(f"\nwritten: {write}\nnext:    edgekit export MODEL --target {write}")


def _text(found: ProbeResult) -> str:
    from edgekit.cli.listing import columns

    facts, host = found.facts, found.facts.host
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
        "emulated": "yes: what runs there counts, how long it takes does not" if facts.emulated else "",
    }
    lines = [columns((name, words) for name, words in rows.items() if words), "", "Pythons"]
    lines.append(columns((one.path, _python(one)) for one in facts.pythons) or "  none")
    fitting = [fit for fit in found.fits if not fit.mismatches]
    lines += ["", "targets that fit, the narrowest first" if fitting else "no target fits; the nearest"]
    lines.append(columns((fit.name, "; ".join(fit.mismatches) or "fits") for fit in found.fits))
    if found.missing:
        lines += ["", "missing", *(f"  - {problem}" for problem in found.missing)]
    if found.notes:
        lines += ["", "notes", *(f"  - {note}" for note in found.notes)]
    return "\n".join(lines)


def _python(one: Any) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in one.packages.items())
    return "; ".join(filter(None, [str(one), packages, f"lacks {', '.join(one.missing)}" if one.missing else ""]))
