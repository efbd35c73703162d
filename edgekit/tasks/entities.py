"""Entities: spans of words that tags mark, and the F1 of whole entities.

Tags are those of the schemes IOB1, IOB2 and IOBES (BILOU is the same with other letters): a letter, a hyphen and a
type, or `O`. A chunk begins and ends as in conlleval (Tjong Kim Sang and Buchholz, CoNLL-2000), which the package
seqeval follows too: a tag that continues nothing begins an entity.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import UsageError

OUTSIDE = "O"

Entity = tuple[str, int, int]
"""A type, the number of the first word, and that of the word after the last."""

_LAST, _SINGLE = frozenset("EL"), frozenset("SU")


def has_scheme(names: Sequence[str]) -> bool:
    """Return whether labels are tags of entities."""
    return any(_parts(name)[0] == "B" for name in names)


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence's tags, in order."""
    spans: list[Entity] = []
    begun: int | None = None
    before, type_before = OUTSIDE, ""
    for place, tag in enumerate((*tags, OUTSIDE)):
        letter, kind = _parts(tag)
        if begun is not None and _ends(before, type_before, letter, kind):
            spans.append((type_before, begun, place))
            begun = None
        if _begins(before, type_before, letter, kind):
            begun = place
        before, type_before = letter, kind
    return spans


def entity_f1(predicted: Sequence[Sequence[str]], actual: Sequence[Sequence[str]]) -> float:
    """Return F1 = 2 correct / (predicted + actual) of the entities of all sentences: one is correct where its type and
    both its ends are.

    Raises UsageError where the data has no entity.
    """
    correct = predictions = truths = 0
    for ours, theirs in zip(predicted, actual, strict=True):
        of_ours, of_theirs = set(entities(ours)), set(entities(theirs))
        correct += len(of_ours & of_theirs)
        predictions += len(of_ours)
        truths += len(of_theirs)
    if not truths:
        raise UsageError(
            "F1 of entities is undefined: no tag of the data marks one.",
            hint="give sentences with tags as B-PER, I-PER, or use --metric accuracy",
        )
    return 2 * correct / (predictions + truths)


def _parts(tag: str) -> tuple[str, str]:
    """Return the letter and the type of a tag; a label without a letter continues a span of its own type."""
    letter, hyphen, kind = tag.partition("-")
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if hyphen and letter in tuple("BIESLUM"):
        return ("I" if letter == "M" else letter), kind
    return "I", tag


def _ends(before: str, type_before: str, letter: str, kind: str) -> bool:
    if before in _LAST or before in _SINGLE or kind != type_before:
        return True
    return letter in ("B", OUTSIDE) or letter in _SINGLE


def _begins(before: str, type_before: str, letter: str, kind: str) -> bool:
    if letter == OUTSIDE:
        return False
    if letter == "B" or letter in _SINGLE or kind != type_before:
        return True
    return before == OUTSIDE or before in _LAST or before in _SINGLE
