"""Tables of layers: what quantizing each costs in quality, and its time in float and in int8."""

from __future__ import annotations

import math

from edgekit.report import figures
from edgekit.result.report import LayerChoice, Report

LAYERS_SHOWN = 12


def repairs(report: Report) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Return a title and the costliest layers of each candidate that missed the gate and whose repair was tried.

    A layer is (what it stays in, relative L2 when it alone is quantized, kind, name). Candidates with equal layers
    share a table.
    """
    tables: dict[tuple[tuple[str, str, str, str], ...], list[str]] = {}
    layers = 0
    for candidate in report.candidates:
        repair = candidate.repair
        if repair is None or candidate.status != "failed-gate":
            continue
        layers = len(repair.costs)
        shown = repair.costs[: max(LAYERS_SHOWN, min(repair.layers_in_float, 2 * LAYERS_SHOWN))]
        rows = tuple(
            (
                "float" if place < repair.layers_in_float else "int8",
                f"{cost.rel_l2:.1e}" if math.isfinite(cost.rel_l2) else "not finite",
                cost.kind,
                figures.clean(cost.name),
            )
            for place, cost in enumerate(shown)
        )
        tables.setdefault(rows, []).append(figures.clean(candidate.name))
    return [
        (f"Loss from quantizing each layer alone in {' and '.join(names)}, {len(rows)} of {layers}", list(rows))
        for rows, names in tables.items()
    ]


def mixes(report: Report) -> list[tuple[str, list[tuple[str, str, str, str, str]]]]:
    """Return a title and the layers whose times differ most, for each candidate that mixes float and int8.

    A layer is (what it stays in, ms in float, ms in int8, kind, name), those first that int8 makes slower.
    """
    tables: dict[tuple[LayerChoice, ...], tuple[str, list[tuple[str, str, str, str, str]]]] = {}
    for candidate in report.candidates:
        mixed = candidate.mixed
        if mixed is None or mixed.layers in tables or not any(layer.in_float for layer in mixed.layers):
            continue
        ranked = sorted(mixed.layers, key=lambda layer: -abs(_loss_ms(layer)))[: 2 * LAYERS_SHOWN]
        rows = [
            (
                "float" if layer.in_float else "int8",
                figures.significant(layer.float_ms),
                figures.significant(layer.int8_ms),
                layer.kind,
                figures.clean(layer.name),
            )
            for layer in sorted(ranked, key=lambda layer: -_loss_ms(layer))
        ]
        stay = sum(layer.in_float for layer in mixed.layers)
        title = (
            f"Time of each layer in {figures.clean(mixed.against)} and in {figures.clean(candidate.name)}, ms, "
            f"{len(rows)} of {len(mixed.layers)}; {stay} stay in float in the mix"
        )
        tables[mixed.layers] = title, rows
    return list(tables.values())


def profiles(report: Report) -> list[tuple[str, list[tuple[float, str, str, str, str]]]]:
    """Return a title and the slowest layers of each candidate whose layers were timed.

    A layer is (share of the time of all layers, ms, precision, kind, name).
    """
    tables = []
    for candidate in report.candidates:
        if not candidate.layers:
            continue
        total = sum(layer.time_ms for layer in candidate.layers) or 1.0
        slowest = sorted(candidate.layers, key=lambda layer: -layer.time_ms)[: 2 * LAYERS_SHOWN]
        rows = [
            (
                layer.time_ms / total,
                figures.significant(layer.time_ms),
                layer.precision,
                layer.kind,
                figures.clean(layer.name),
            )
            for layer in slowest
        ]
        shown = 100 * sum(row[0] for row in rows)
        title = (
            f"Slowest layers of {figures.clean(candidate.name)}: {len(rows)} of {len(candidate.layers)}, {shown:.0f}%"
        )
        tables.append((f"{title} of {figures.ms(total)}", rows))
    return tables


def _loss_ms(layer: LayerChoice) -> float:
    """Return how many ms a layer takes longer in int8 than in float; 0 where a profile does not show it."""
    return 0.0 if layer.float_ms is None or layer.int8_ms is None else layer.int8_ms - layer.float_ms
