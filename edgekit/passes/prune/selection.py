"""Choose which units to remove: the least important first, until enough multiply-adds are removed.

They go in blocks that leave widths that suit the device's kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.passes.prune import pruning_plan
from edgekit.passes.prune.channel_groups import Forward
from edgekit.passes.prune.multiplications import count
from edgekit.passes.prune.pruning_plan import Group, PruningPlan


@dataclass(frozen=True)
class Block:
    """Units of one group that are removed together, after those of the group's blocks before."""

    group: int
    units: tuple[int, ...]
    price: float
    """Importance per multiply-add that removing the block saves; never lower than that of the block before it."""


def select(
    module: Any,
    forward: Forward,
    groups: Sequence[Group],
    scores: Sequence[Sequence[float]],
    *,
    budget: int,
    round_to: int,
    least: Sequence[int],
) -> PruningPlan:
    """Return the smallest plan after which `module` takes at most `budget` multiply-adds.

    `least` is the number of units that each group keeps at least. Heads and neurons lose the same share. Raises
    UnsupportedError where the rounding and the least sizes do not allow to remove so much.
    """
    blocks = _in_order(_blocks(module, forward, groups, scores, round_to, least), groups)

    def plan_of(number: int) -> PruningPlan:
        gone: dict[int, list[int]] = {}
        for block in blocks[:number]:
            gone.setdefault(block.group, []).extend(block.units)
        return pruning_plan.make_plan((groups[index], units) for index, units in sorted(gone.items()))

    def work(number: int) -> int:
        return count(pruning_plan.apply(module, plan_of(number)), forward).total

    whole, smallest = work(0), work(len(blocks))
    if smallest > budget:
        raise UnsupportedError(
            f"the model cannot be pruned so far: {whole:,} multiply-adds should become {budget:,}, and with widths in "
            f"multiples of {round_to} the least is {smallest:,}.",
            hint="set a smaller ratio, or round_to = 1 in the recipe's pass 'prune'",
        )
    low, high = 0, len(blocks)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if work(middle) <= budget else (middle + 1, high)
    return plan_of(low)


def _blocks(
    module: Any,
    forward: Forward,
    groups: Sequence[Group],
    scores: Sequence[Sequence[float]],
    round_to: int,
    least: Sequence[int],
) -> list[Block]:
    whole = count(module, forward).total
    blocks = []
    for index, (group, unit_scores) in enumerate(zip(groups, scores, strict=True)):
        size = round_to // math.gcd(round_to, group.width)
        order = sorted(range(group.size), key=lambda unit: (unit_scores[unit], unit))
        ends = [end for end in range(group.size % size or size, group.size, size) if group.size - end >= least[index]]
        if not ends:
            continue
        part = pruning_plan.make_plan([(group, order[: ends[-1]])])
        saved = max(1, whole - count(pruning_plan.apply(module, part), forward).total) / ends[-1]
        start, price = 0, 0.0
        for end in ends:
            price = max(price, sum(unit_scores[unit] for unit in order[start:end]) / (end - start) / saved)
            blocks.append(Block(index, tuple(order[start:end]), price))
            start = end
    return blocks


def _in_order(blocks: Sequence[Block], groups: Sequence[Group]) -> list[Block]:
    """Return the blocks, cheapest first; heads and neurons, which do not compare, are interleaved by their share."""
    placed = []
    for kind in sorted({group.kind for group in groups}):
        of_kind = sorted(
            (block for block in blocks if groups[block.group].kind == kind),
            key=lambda block: (block.price, block.group),
        )
        total, gone = sum(group.size for group in groups if group.kind == kind), 0
        for block in of_kind:
            gone += len(block.units)
            placed.append((gone / total, block))
    return [block for _, block in sorted(placed, key=lambda pair: pair[0])]
