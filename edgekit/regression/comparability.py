"""Which results can be compared: times of one machine, scenario and shape; scores of one metric on the same samples."""

from __future__ import annotations

from edgekit.errors import UsageError
from edgekit.report.compare import Side


def require_comparable(new: Side, base: Side) -> None:
    """Raise UsageError where the times of two results cannot be compared.

    Another precision, thread count, package or governor is what the gate is there to judge: it is reported with the
    verdict, not refused.
    """
    for side in (new, base):
        if side.report.environment.emulated:
            raise UsageError(
                f"'{side.source}' was measured in an emulator, whose times are not those of the device.",
                hint="measure it on the device itself, or gate on size, score and drop alone",
            )
    facts, old = _facts(new), _facts(base)
    other = [f"{name}: {facts[name]} against {old[name]}" for name in facts if facts[name] != old[name]]
    if other:
        raise UsageError(
            f"the times of '{new.source}' and '{base.source}' cannot be compared: {'; '.join(other)}.",
            hint="measure both on one machine in the same way, or gate on size, score and drop alone",
        )


def require_same_data(new: Side, base: Side, name: str) -> None:
    """Raise UsageError where two scores are of different metrics or samples."""
    quality, old = new.candidate.quality, base.candidate.quality
    if quality and old and quality.metric != old.metric:
        raise UsageError(
            f"the {name} of '{new.source}' is {quality.metric}, that of '{base.source}' is {old.metric}: they cannot "
            "be compared.",
            hint="export both with the same --metric and data, or leave this value out",
        )
    digests = [side.report.data.evaluation_digest for side in (new, base)]
    if digests[0] != digests[1]:
        raise UsageError(
            f"the {name} of '{new.source}' and that of '{base.source}' were computed on different samples.",
            hint="export both with the same --data and --seed, or leave this value out",
        )


def _facts(side: Side) -> dict[str, str]:
    host, measured = side.report.environment.host, side.candidate.measurement
    facts = {
        "processor": f"{host.cpu} ({host.arch})",
        "cores": str(host.cores),
        "board": host.board or "unknown",
    }
    if measured is not None:
        facts |= {
            "scenario": measured.scenario,
            "batch": str(measured.batch),
            "streams": str(measured.streams),
            "rate": f"{measured.pace.rate_per_s:g} per second" if measured.pace else "its own",
            "input shapes": ", ".join(f"{name}{list(shape)}" for name, shape in sorted(measured.shapes.items())),
        }
    return facts
