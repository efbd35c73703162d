"""The words for what a candidate kept of the original's quality, in every format of a report."""

from __future__ import annotations

from edgekit.report.figures import clean, points
from edgekit.result.report import Quality


def quality(result: Quality) -> str:
    """Return how much of the original's quality was kept, and on how many samples."""
    against = f" ({clean(result.reference)})" if result.reference else ""
    if result.metric and result.score is not None and result.original_score is not None:
        words = f"{result.metric} {result.score:.4f} against {result.original_score:.4f} of the original{against}: "
        words += points(result.drop)
        words += f", on {result.labelled} labelled samples"
    elif result.metric and result.score is not None:
        words = f"{result.metric} {result.score:.4f} on {result.labelled} labelled samples; the original's is unknown"
    elif result.agreement is not None:
        words = f"{_agreement(result)} with the original{against} on {result.samples} samples"
    else:
        words = f"least cosine {result.cosine:.6f} to the original's outputs{against} on {result.samples} samples"
    return words if result.metric else words + (", labels not used" if result.labelled else ", no labels")


def differences(result: Quality) -> str:
    """Return how far the outputs deviate from the original's."""
    if result.samples == 0:
        return "not compared: there are no samples of them"

    def where(name: str) -> str:
        return f" in '{clean(name)}'" if name else ""

    words = (
        f"greatest absolute {result.max_abs:.2e}, relative L2 {result.rel_l2:.2e}{where(result.furthest)}, "
        f"least cosine {result.cosine:.6f}{where(result.worst)}"
    )
    return words if result.agreement is None else f"{words}, {_agreement(result)}"


def _agreement(result: Quality) -> str:
    """Return the share of answers, or of tokens, that are the original's."""
    assert result.agreement is not None
    return f"{'top-1' if result.equal_texts is None else 'next-token'} agreement {100 * result.agreement:.2f}%"


def _texts(result: Quality) -> str:
    """Return how many generated texts are the original's, and the perplexity of both; empty without texts."""
    if result.equal_texts is None:
        return ""
    words = f"{result.equal_texts} of {result.samples} texts equal to the original's"
    if result.perplexity is None or result.original_perplexity is None:
        return words
    return f"{words}, perplexity {result.perplexity:.4g} against {result.original_perplexity:.4g} on the same tokens"


def judged(result: Quality) -> tuple[tuple[str, str], ...]:
    """Return all that is known of a candidate's quality as (what, words)."""
    lines = [("quality", quality(result)), ("outputs", differences(result))]
    lines += [("texts", words)] if (words := _texts(result)) else []
    lines += [("scores", clean(str(shift))) for shift in result.scores]
    lines += [("check", ("passed: " if check.passed else "FAILED: ") + clean(check.meaning)) for check in result.checks]
    lines += [("judged", clean(result.arithmetic))] if result.arithmetic else []
    lines += [("note", clean(note)) for note in result.notes]
    return tuple(lines)
