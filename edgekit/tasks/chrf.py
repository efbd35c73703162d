"""chrF, the F-score of character n-grams: the metric of generated texts (Popović 2015).

The formula and its details (n-grams of 1 to 6 characters without spaces, beta 2, the mean over the orders that occur)
are those of sacrebleu's default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDER = 6
BETA = 2


def chrf(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return chrF of all texts together, between 0 and 1."""
    totals = [[0, 0, 0] for _ in range(ORDER)]
    for text, reference in zip(texts, references, strict=True):
        ours, theirs = "".join(text.split()), "".join(reference.split())
        for size, counts in enumerate(totals, 1):
            produced, wanted = _grams(ours, size), _grams(theirs, size)
            # Where the reference has none of this size, the text's do not count as wrong.
            counts[0] += sum(produced.values()) if wanted else 0
            counts[1] += sum(wanted.values())
            counts[2] += sum((produced & wanted).values())
    precision = recall = 0.0
    orders = 0
    for produced_count, wanted_count, common in totals:
        if produced_count > 0 and wanted_count > 0:
            precision += common / produced_count
            recall += common / wanted_count
            orders += 1
    if not orders or not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _grams(text: str, size: int) -> Counter[str]:
    return Counter(text[place : place + size] for place in range(len(text) - size + 1))
