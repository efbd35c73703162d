"""The mutated bundles of `bundles.py`, as inputs of a worker."""

from __future__ import annotations

import random
from pathlib import Path

from edgekit.errors import EdgekitError
from tests.fuzz import bundles, mutate
from tests.fuzz.worker import Accepted


def draws(work: Path) -> mutate.Draw:
    """Return what draws a mutated bundle in `work`."""
    base = bundles.prepared(work)

    def draw(generator: random.Random) -> tuple[str, mutate.Use]:
        case = bundles.case(generator, work, base)
        return case.name, lambda: _judge(case)

    return draw


def _judge(case: bundles.Case) -> None:
    """Raise what is wrong with any use of the bundle; else the refusal, if any use was refused."""
    refused: EdgekitError | None = None
    for use in bundles.USES:
        try:
            accepted = use(case.folder)
        except EdgekitError as error:
            refused = refused or error
        else:
            if accepted and case.altered and use is bundles.verified:
                raise Accepted(f"verify: {case.name}")
    if refused:
        raise refused
