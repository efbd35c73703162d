"""The accuracy gate: a candidate's outputs are compared with the original model's, and the result with the user's
limits.

`evaluate` measures, `gate` judges. `bundle/verify.py` does both for a bundle, on the machine it runs on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.data import Sample, Samples
from edgekit.errors import BuildError, UsageError
from edgekit.evaluation import agreement, scores
from edgekit.evaluation.deviation import Deviation
from edgekit.evaluation.doubts import doubts
from edgekit.evaluation.free_sizes import FIXED, FreeSizes
from edgekit.evaluation.perplexity import Perplexity
from edgekit.evaluation.scores import Scores
from edgekit.model import Part
from edgekit.progress import Progress
from edgekit.result.quality import OutputDeviation
from edgekit.result.report import Check, Quality
from edgekit.runner import Runner
from edgekit.tasks.metrics import loss
from edgekit.tasks.own_metric import OwnMetric
from edgekit.tasks.task import Prediction, SeveralOutputs, Task, drive

if TYPE_CHECKING:
    import numpy as np

    from edgekit.evaluation.reference_outputs import ReferenceOutputs

VERSION = 5
"""Increased when the result of `evaluate` changes, so that cached results of an older version are not used."""

SIZES = "sizes"
"""The name of the check that outputs whose size follows the data have the original's size."""

A_METRIC = "give labelled samples, and a metric of your own with --metric package.module:function"

PARITY = {"f32": 1e-3}
"""Greatest relative L2 difference of an artifact of full precision: more means a broken export, not rounding.

Sums in another order change single-precision outputs by 1e-7 to 1e-5 of their size; 1e-3 leaves room for deep networks.
Lower precisions have no such limit: their loss is judged by the metric or by the agreement.
"""


def evaluate(
    runner: Runner,
    task: Task,
    samples: Samples,
    reference: ReferenceOutputs,
    progress: Progress,
    title: str,
    part: Part | None = None,
) -> Quality:
    """Replay the original's trace of every sample and return the comparison of the outputs, without checks yet.

    `part` describes the original's graph: it decides which outputs may have another size than the original's.
    """
    deviation, moved, perplexity = Deviation(), Scores(), Perplexity()
    sizes = FIXED if part is None else reference.free_sizes(part)
    raw_labels = samples.labels or [None] * len(samples)
    predictions, truths, labels, answers = [], [], [], []
    with progress.step(title, len(samples)) as tick:
        for index in range(len(samples)):
            trace = reference[index]
            expected = [inference.outputs for inference in trace]
            outputs = runner.replay([inference.call for inference in trace])
            for original, output in zip(expected, outputs, strict=True):
                add_inference(deviation, original, output, sizes)
            deviation.sample_ends()
            sample = samples[index]
            predictions.append(task.predict(outputs, sample))
            truths.append(task.predict(expected, sample))
            moved.add(truths[-1], predictions[-1], expected, outputs)
            if truths[-1].choices is not None:
                perplexity.add(trace, outputs)
            labels.append(None if raw_labels[index] is None else task.label(raw_labels[index]))
            # What follows other choices than the original's is another text: the metric needs the candidate's own.
            free = labels[-1] is not None and predictions[-1].choices != truths[-1].choices
            answers.append(_free(runner, task, sample) if free else predictions[-1])
            tick()
    quality = _quality(task, deviation, predictions, truths, labels, answers, reference.framework)
    shifts, unjudged = moved.shifts() if deviation.finite else (), _without_answers(task, quality.outputs)
    before, after = perplexity.values()
    return replace(quality, scores=shifts, unjudged=unjudged, original_perplexity=before, perplexity=after)


def _without_answers(task: Task, parts: Sequence[OutputDeviation]) -> tuple[str, ...]:
    """Return the outputs that hold no answers of the task; a metric of the user's own is given all of them."""
    names = list(dict.fromkeys(part.output for part in parts))
    several = isinstance(task, SeveralOutputs) and task.reads_every_output
    judges_one = (task.compares_top or task.metric is not None) and not (several or isinstance(task, OwnMetric))
    return tuple(name for name in names if name != (task.config.output or names[0])) if judges_one else ()


def _free(runner: Runner, task: Task, sample: Sample) -> Prediction:
    """Return the prediction of calls that follow the candidate's own choices."""
    return task.predict([inference.outputs for inference in drive(task, sample, runner.start())], sample)


def add_inference(
    deviation: Deviation,
    original: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    sizes: FreeSizes = FIXED,
) -> None:
    """Add the outputs of one call to `deviation`. Raises BuildError where names differ, or the shape of an output whose
    size does not follow the data: the graph was exported wrongly.
    """
    try:
        deviation.add(original, outputs, sizes)
    except UsageError as error:
        raise BuildError(
            f"the exported graph differs from the original: {error.message}",
            hint="try another --backend; where all differ, rewrite the operation that computes that output",
        ) from error


def gate(quality: Quality, asked: str, *, max_drop: float, min_agreement: float, retrained: bool = False) -> Quality:
    """Return `quality` with its checks: parity for full precision, then the metric's drop, or the agreement where there
    are no labels.

    A module that was pruned or `retrained` computes something else than the original, in whatever precision, and has no
    check of parity.
    """
    checks = []
    if not math.isfinite(quality.rel_l2):
        checks.append(Check("finite", math.inf, 0.0, False, "some outputs are not finite (NaN or infinity)"))
    elif asked in PARITY and not retrained:
        limit = PARITY[asked]
        meaning = (
            f"relative L2 {quality.rel_l2:.1e} to {quality.reference}{_in(quality.furthest)}, "
            f"at most {limit:.0e} for an fp32 artifact"
        )
        checks.append(Check("parity", quality.rel_l2, limit, quality.rel_l2 <= limit, meaning))
    if quality.drop is not None:
        # A metric is a ratio of counts: 0.97 - 0.96 must not exceed a limit of 0.01 by a rounding error.
        passed = quality.drop <= max_drop + 1e-9
        meaning = (
            f"{quality.metric} {quality.score:.4f} against {quality.original_score:.4f} of the original: "
            f"{points(quality.drop)}, {count_of_points(max_drop)} allowed"
        )
        checks.append(Check(f"{quality.metric} drop", quality.drop, max_drop, passed, meaning))
    elif quality.agreement is not None:
        passed = quality.agreement >= min_agreement
        what = "top-1" if quality.equal_texts is None else "next-token"
        meaning = f"{what} agreement {quality.agreement:.2%} on {quality.samples} samples, at least {min_agreement:.0%}"
        checks.append(Check("agreement", quality.agreement, min_agreement, passed, meaning))
        if worst := _worst_unjudged(quality):
            checks.append(_cosine(quality, min_agreement, worst))
    else:
        resized = [part for part in quality.outputs if part.resized]
        checks += [_sizes(resized, min_agreement)] if resized else []
        if all(check.passed for check in checks if check.name == SIZES):
            checks.append(_cosine(quality, min_agreement))
    notes = (
        *_resolution(quality, max_drop),
        *scores.notes(quality.scores),
        *_free_sizes(quality),
        *_beside_the_answers(quality, min_agreement),
    )
    return replace(quality, checks=tuple(checks), notes=(*quality.notes, *notes))


def _cosine(quality: Quality, least: float, part: OutputDeviation | None = None) -> Check:
    """Return the check of the worst part of the outputs, or of `part`."""
    part = part or next((each for each in quality.outputs if each.name == quality.worst), None)
    cosine = quality.cosine if part is None else part.cosine
    if part is not None and part.exact:
        meaning = f"equal values in '{part.name}' {cosine:.2%}, at least {least:.0%}"
    else:
        name = part.name if part else ""
        meaning = f"least cosine to the original's outputs {cosine:.4f}{_in(name)}, at least {least:g}"
    return Check("cosine", cosine, least, cosine >= least, meaning)


def _worst_unjudged(quality: Quality) -> OutputDeviation | None:
    others = [part for part in quality.outputs if part.output in quality.unjudged]
    return min(others, key=lambda part: part.cosine, default=None)


def _beside_the_answers(quality: Quality, least: float) -> tuple[str, ...]:
    """Return a note on outputs that lost much while the metric, which does not judge them, held."""
    worst = None if quality.drop is None else _worst_unjudged(quality)
    if worst is None or worst.cosine >= least:
        return ()
    what = "equal values" if worst.exact else "least cosine to the original's"
    return (f"{quality.metric} does not judge the output '{worst.name}': {what} {worst.cosine:.4f}",)


def _sizes(resized: Sequence[OutputDeviation], least: float) -> Check:
    """Return the check of outputs whose size follows the data: without a metric they must have the original's size."""
    worst = max(resized, key=lambda part: part.resized / part.calls)
    share = 1 - worst.resized / worst.calls
    meaning = (
        f"the size of '{worst.output}' follows the data and is the original's in {share:.1%} of {worst.calls} calls, "
        f"at least {least:.0%}; values of other sizes cannot be compared: {A_METRIC}"
    )
    return Check(SIZES, share, least, share >= least, meaning)


def _free_sizes(quality: Quality) -> tuple[str, ...]:
    """Return a note on outputs whose size follows the data: what was compared, and what decides."""
    free = [part for part in quality.outputs if part.calls]
    if not free:
        return ()
    counts = ", ".join(f"'{part.output}' {part.calls - part.resized} of {part.calls} calls" for part in free)
    decides = "the metric decides" if quality.drop is not None else f"to judge what they mean, {A_METRIC}"
    return (
        f"the size of outputs follows the data, and values were compared where it is the same ({counts}); {decides}",
    )


def _in(name: str) -> str:
    return f" in '{name}'" if name else ""


def miss(quality: Quality) -> float:
    """Return how far a candidate is from passing: the worst of its failed checks, relative to the limit; else 0."""
    failed = (check for check in quality.checks if not check.passed)
    return max((abs(check.value - check.limit) / (abs(check.limit) or 1.0) for check in failed), default=0.0)


def _quality(
    task: Task,
    deviation: Deviation,
    predictions: Sequence[Prediction],
    truths: Sequence[Prediction],
    labels: Sequence[Any],
    answers: Sequence[Prediction],
    framework: str,
) -> Quality:
    known = [index for index, label in enumerate(labels) if label is not None]
    metric, score, original_score = None, None, None
    if known and task.metric is not None:
        metric = task.metric
        known_labels = [labels[index] for index in known]
        original_score = task.score([truths[index] for index in known], known_labels)
        if deviation.finite:  # the score of outputs that are not finite means nothing
            score = task.score([answers[index] for index in known], known_labels)
    return Quality(
        samples=len(predictions),
        labelled=len(known),
        max_abs=deviation.max_abs,
        rel_l2=deviation.rel_l2,
        pooled=deviation.pooled,
        cosine=deviation.cosine,
        worst=deviation.worst,
        outputs=deviation.with_stored(),
        agreement=agreement.share(predictions, truths) if task.compares_top else None,
        equal_texts=agreement.equal_texts(answers, truths),
        metric=metric,
        original_score=original_score,
        score=score,
        drop=None if score is None or original_score is None else loss(metric, original_score, score),
        notes=doubts(metric, original_score, [labels[index] for index in known]),
        reference=framework,
    )


def points(drop: float) -> str:
    """Return a drop of a metric in points, hundredths of its unit."""
    return (
        f"{100 * drop:.2f} points lost"
        if drop > 0
        else f"{-100 * drop:.2f} points gained"
        if drop < 0
        else "nothing lost"
    )


def count_of_points(drop: float) -> str:
    """Return a share as a number of points: `1 point`, `0.5 points`."""
    points = f"{100 * drop:g}"
    return f"{points} point" if points == "1" else f"{points} points"


def _resolution(quality: Quality, max_drop: float) -> tuple[str, ...]:
    """Return a note where the samples are too few to show a loss as small as the one allowed."""
    if quality.metric in ("accuracy", "f1") and quality.labelled and max_drop and 1 / quality.labelled > max_drop:
        return (
            f"with {quality.labelled} labelled samples one sample is {100 / quality.labelled:.1f} points: "
            f"too few to see a loss of {count_of_points(max_drop)}",
        )
    return ()
