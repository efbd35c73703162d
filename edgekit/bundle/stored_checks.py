"""The checks of a bundle's stored samples: each output, and each group of its channels, compared with the export."""

from __future__ import annotations

import math

from edgekit.evaluation.deviation import Deviation
from edgekit.result.report import Check, Quality

STORED = "stored samples"
"""The name of the check that compares outputs with those in the bundle."""

SIZE = "size"
"""The name of the check that an output whose size follows the data has the original's."""

ROUNDING = 1e-3
"""What another processor's order of sums may add to the deviation that the bundle had at export."""


def limit(at_export: float) -> float:
    """Return the greatest deviation on this machine: twice that at export, but always nearer to it than to 1, which is
    that of outputs without any content (all zero).
    """
    allowed = 2 * at_export + ROUNDING
    return min(allowed, (at_export + 1) / 2) if at_export < 1 else allowed


def checks(deviation: Deviation, at_export: float, exported: Quality | None) -> tuple[Check, ...]:
    """Return the checks of what the stored samples gave here; `at_export` is the bundle's deviation over all."""
    return (_furthest(deviation, at_export, exported), *_sizes(deviation, exported))


def _furthest(deviation: Deviation, at_export: float, exported: Quality | None) -> Check:
    """Return the check of the part that deviates most from what it did at export."""
    # A bundle of an older edgekit has one number for all outputs together.
    named = [] if exported is None else [part for part in exported.outputs if part.stored is not None]
    here = deviation.parts(named)
    pairs = [(new.name, new.rel_l2, max(old.rel_l2, old.stored or 0.0)) for old, new in zip(named, here, strict=True)]
    name, value, before = max([*pairs, ("", deviation.pooled, at_export)], key=lambda each: each[1] / limit(each[2]))
    allowed = limit(before)
    value = value if deviation.finite else math.inf
    where = f" in '{name}'" if len(pairs) > 1 and name else ""
    meaning = (
        f"relative L2 {value:.2g}{where} to the original's outputs; {before:.2g} at export, at most {allowed:.2g} here"
    )
    return Check(STORED, value, allowed, value <= allowed, meaning)


def _sizes(deviation: Deviation, exported: Quality | None) -> tuple[Check, ...]:
    """Return a check for each output whose size follows the data, and is another here than the original's."""
    at_export = {part.output: part.resized / part.calls for part in exported.outputs if part.calls} if exported else {}
    checks = []
    for part in deviation.parts():
        if part.resized:
            # Rounding on another processor may add or drop a box near a threshold in one call.
            allowed = int(2 * at_export.get(part.output, 0.0) * part.calls) + (part.calls > 1)
            meaning = (
                f"'{part.output}' has another size than the original's in {part.resized} of {part.calls} calls, "
                f"at most {allowed} allowed"
            )
            checks.append(Check(SIZE, part.resized, allowed, part.resized <= allowed, meaning))
    return tuple(checks)
