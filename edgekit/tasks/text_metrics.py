"""Metrics of generated texts against one reference each. chrF, error rates and exact match are computed here; BLEU and
ROUGE by the libraries that published scores come from.

A text's case and punctuation count in each of them: a metric of the user's own may normalise texts first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgekit import _requirement
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.tasks import own_metric
from edgekit.tasks.chrf import chrf
from edgekit.tasks.edit_distance import distance
from edgekit.tasks.metrics import TEXT_METRICS as NAMES
from edgekit.tasks.metrics import check_metric, check_same_length

TAKES = "the texts generated for all samples, and their labels"
_PACKAGES = {"bleu": "sacrebleu", "rouge": "rouge-score"}


def word_error_rate(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return the edits that make the texts of the references, for each word of the references.

    It may be more than 1: a text may be longer than its reference.
    """
    return _error_rate([text.split() for text in texts], [text.split() for text in references], "word")


def character_error_rate(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return the edits that make the texts of the references, for each character of the references."""
    return _error_rate([text.strip() for text in texts], [text.strip() for text in references], "character")


def exact_match(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return the share of texts that are their reference; spaces around them do not count."""
    same = [text.strip() == reference.strip() for text, reference in zip(texts, references, strict=True)]
    return sum(same) / len(same)


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return BLEU of all texts together by sacrebleu, with its usual tokens, between 0 and 1."""
    require("bleu")
    import sacrebleu

    return float(sacrebleu.corpus_bleu(list(texts), [list(references)]).score) / 100


def rouge(texts: Sequence[str], references: Sequence[str]) -> float:
    """Return the mean ROUGE-L (F-measure) by rouge-score, between 0 and 1."""
    require("rouge")
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"])
    values = [scorer.score(wanted, text)["rougeL"].fmeasure for text, wanted in zip(texts, references, strict=True)]
    return float(sum(values) / len(values))


_SCORES: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "chrf": chrf,
    "bleu": bleu,
    "rouge": rouge,
    "wer": word_error_rate,
    "cer": character_error_rate,
    "exact-match": exact_match,
}


def score(metric: str, texts: Sequence[str], references: Sequence[Any]) -> float:
    """Return the value of a metric of texts, by its name, or of the user's own function.

    Raises UsageError where it is undefined, EnvironmentFault where its package is missing.
    """
    check_same_length(texts, references)
    if own_metric.is_function(metric):
        return own_metric.value(metric, texts, references, TAKES)
    return _SCORES[metric](texts, [str(reference) for reference in references])


def chosen(metric: str | None, usual: str, task: str) -> str:
    """Return the metric of texts that `task` is judged by. Raises UsageError for one of something else."""
    if metric is None or own_metric.is_function(metric):
        return metric or usual
    return check_metric(metric, NAMES, task)


def require(metric: str | None) -> None:
    """Raise EnvironmentFault where the package of a metric is missing."""
    package = _PACKAGES.get(metric or "")
    if package is not None and _requirement.installed(package) is None:
        raise EnvironmentFault(
            f"the metric {metric} needs the package {package}, which is not installed.",
            hint="pip install 'edgekit[metrics]', or use --metric chrf",
        )


def _error_rate(texts: Sequence[Sequence[str]], references: Sequence[Sequence[str]], unit: str) -> float:
    total = sum(map(len, references))
    if not total:
        raise UsageError(
            f"an error rate is undefined: the labels have no {unit}.", hint="give labels with the texts that are wanted"
        )
    return sum(map(distance, texts, references)) / total
