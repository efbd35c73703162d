"""Tasks: from a raw sample to feeds, from outputs to an answer, and the metric. They run on the device too, so they
need numpy alone, and Pillow and `tokenizers` on use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.data import Samples
from edgekit.errors import UsageError, nearest
from edgekit.spec import TensorSpec
from edgekit.tasks.config import (
    ENCODED,
    SEQ2SEQ,
    TOKENIZER,
    AudioConfig,
    CtcConfig,
    ImageConfig,
    TabularConfig,
    TaskConfig,
    TextConfig,
)
from edgekit.tasks.segmentation_config import SegmentationConfig
from edgekit.tasks.span_config import SpanConfig
from edgekit.tasks.task import Prediction, Preparation, Task, drive

__all__ = [
    "CLASSIFICATION",
    "DETECTION",
    "GENERIC",
    "OWN",
    "SEGMENTATION",
    "TAGGING",
    "AudioConfig",
    "CtcConfig",
    "ImageConfig",
    "Prediction",
    "TabularConfig",
    "Task",
    "TaskConfig",
    "TextConfig",
    "check",
    "drive",
    "known",
    "load",
    "with_data",
]

TENSOR = "tensor"

REGRESSION = "tabular-regression"
"""The task with a number for a row of a table."""

TABULAR = ("tabular-classification", REGRESSION)

_METRICS = {
    "image-classification": "accuracy",
    "text-classification": "accuracy",
    "audio-classification": "accuracy",
    "tabular-classification": "auc",
}
"""The metric of each classification task where the user names none."""

CLASSIFICATION = tuple(_METRICS)
"""Tasks with one class for a sample."""

DETECTION = "object-detection"
"""The task with boxes."""

SEGMENTATION = ("semantic-segmentation", "image-segmentation")

QUESTIONS = "question-answering"

FRAMES = "audio-frame-classification"
"""The task whose answer is the times of speech, where a model takes a sound step by step."""

TAGGING = "token-classification"
"""The task with a class for each word."""

OWN = (
    *_METRICS,
    FRAMES,
    TAGGING,
    QUESTIONS,
    *SEGMENTATION,
    "sentence-similarity",
    "feature-extraction",
    "fill-mask",
    DETECTION,
    REGRESSION,
    "text-generation",
    *SEQ2SEQ,
    TENSOR,
)
"""Tasks with pre- and postprocessing of their own."""

GENERIC = (
    "audio-xvector",
    "automatic-speech-recognition",
    "depth-estimation",
    "document-question-answering",
    "image-text-to-text",
    "image-to-image",
    "image-to-text",
    "inpainting",
    "keypoint-detection",
    "mask-generation",
    "masked-im",
    "multiple-choice",
    "reinforcement-learning",
    "text-to-audio",
    "text-to-image",
    "time-series-forecasting",
    "visual-question-answering",
    "zero-shot-image-classification",
    "zero-shot-object-detection",
)
"""Tasks that optimum exports and that have no answer or metric here: outputs are compared, as for `tensor`."""

ALIASES = {
    "sentiment": "text-classification",
    "sentimentanalysis": "text-classification",
    "sequenceclassification": "text-classification",
    "ner": "token-classification",
    "embedding": "feature-extraction",
    "embeddings": "feature-extraction",
    "translation": "text2text-generation",
    "summarization": "text2text-generation",
    "causallm": "text-generation",
    "llm": "text-generation",
    "asr": "automatic-speech-recognition",
    "qa": "question-answering",
    "segmentation": "semantic-segmentation",
    "segment": "semantic-segmentation",
    "vad": FRAMES,
    "voiceactivitydetection": FRAMES,
    "keywordspotting": "audio-classification",
    "vqa": "visual-question-answering",
    "tabular": "tabular-classification",
    "regression": "tabular-regression",
    "detect": "object-detection",
    "detection": "object-detection",
}
"""Names of tasks elsewhere."""


def known() -> tuple[str, ...]:
    """Return the name of every task, sorted."""
    return tuple(sorted({*OWN, *GENERIC}))


def check(name: str) -> str:
    """Return `name` if it is a task's name. Raises UsageError, with the nearest names, for an unknown one."""
    if name.removesuffix("-with-past") not in known():
        raise UsageError(
            f"unknown task '{name}'.{nearest(name, known(), ALIASES)}", hint=f"known: {', '.join(known())}"
        )
    return name


def load(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec], classes: Sequence[Any] = ()) -> Task:
    """Return the task of `config`, reading tokenizer and labels from `assets`, for a graph with these inputs.

    `classes` are the data's labels (`samples.classes`): their names are used where the model has none of its own.
    Raises UsageError for an unknown task or metric.
    """
    from edgekit.tasks import text_metrics
    from edgekit.tasks.labels import Classes
    from edgekit.tasks.metrics import CLASS_METRICS, NUMBER_METRICS, check_metric
    from edgekit.tasks.own_metric import OwnMetric, is_function

    task = check(config.task)
    if config.calls is not None and config.audio is None and not is_function(config.metric):
        from edgekit.tasks import graphs

        return graphs.load(config, assets, config.calls)
    if task in ENCODED and config.generation is not None:
        from edgekit.tasks.seq2seq import METRICS, Seq2Seq
        from edgekit.tasks.text import Texts, TokenizerFile

        metric = text_metrics.chosen(config.metric, METRICS[task], task)
        texts = Texts(config.text or TextConfig(), assets, inputs) if task in SEQ2SEQ else None
        tokens = TokenizerFile(assets / config.generation.tokenizer)
        return Seq2Seq(config, texts or _preparation(config, assets, inputs), tokens, metric)
    if config.ctc is not None:
        from edgekit.tasks.ctc import METRIC, Ctc

        metric = text_metrics.chosen(config.metric, METRIC, task)
        return Ctc(config, _preparation(config, assets, inputs), config.ctc, metric)
    if task == "text-generation" and config.generation is not None:
        from edgekit.tasks.causal import TextGeneration
        from edgekit.tasks.text import Texts

        own = None if config.metric is None else text_metrics.chosen(config.metric, config.metric, task)
        return TextGeneration(config, Texts(config.text or TextConfig(), assets, inputs), own)
    if is_function(config.metric):
        return OwnMetric(load(replace(config, metric=None), assets, inputs, classes), str(config.metric))
    if task in _METRICS:
        from edgekit.tasks.classification import Classification, MultiLabel, Regression

        if config.problem_type == "multi-label":
            if config.metric is not None:
                check_metric(config.metric, (), "classification with several labels at once")
            return MultiLabel(config, _preparation(config, assets, inputs), Classes.of(config.labels))
        if config.problem_type == "values" and config.metric is None:
            from edgekit.tasks.tensor import Raw

            return Raw(config, _preparation(config, assets, inputs))
        if config.problem_type == "regression" and config.metric is None:
            return Regression(config, _preparation(config, assets, inputs), NUMBER_METRICS[0])
        metric = config.metric or (_METRICS[task] if len(config.labels) <= 2 else "accuracy")
        check_metric(metric, (*CLASS_METRICS, *NUMBER_METRICS), task)
        prepare = _preparation(config, assets, inputs)
        if metric in NUMBER_METRICS:
            return Regression(config, prepare, metric)
        named = Classes.of(config.labels, classes, numbers_are_names=config.numbers == "names", order=config.order)
        return Classification(config, prepare, named, metric)
    if task == REGRESSION:
        from edgekit.tasks.classification import Regression

        metric = check_metric(config.metric or "r2", NUMBER_METRICS, task)
        return Regression(config, _preparation(config, assets, inputs), metric)
    if task == DETECTION and config.detection is not None:
        from edgekit.tasks import detection

        return detection.load(config, _preparation(config, assets, inputs), assets, classes)
    if task in ("sentence-similarity", "feature-extraction"):
        return _embedding(config, assets, inputs)
    if task == FRAMES and config.audio is not None and config.audio.step is not None:
        from edgekit.tasks.audio import Sounds
        from edgekit.tasks.speech import METRICS as SPEECH_METRICS
        from edgekit.tasks.speech import Speech

        metric = check_metric(config.metric or SPEECH_METRICS[0], SPEECH_METRICS, task)
        return Speech(config, Sounds(config.audio, inputs), metric)
    if task == TAGGING:
        from edgekit.tasks.tagging import Tagging, chosen_metric

        named = Classes.of(config.labels)
        metric = chosen_metric(config.metric, named.names)
        return Tagging(config, _preparation(config, assets, inputs), named, metric)
    if task in SEGMENTATION:
        from edgekit.tasks.mask_metrics import METRICS as MASK_METRICS
        from edgekit.tasks.segmentation import Segmentation

        metric = check_metric(config.metric or MASK_METRICS[0], MASK_METRICS, task)
        return Segmentation(config, _preparation(config, assets, inputs), Classes.of(config.labels), metric)
    if task == QUESTIONS:
        return _question_answering(config, assets, inputs)
    if config.metric is not None:
        check_metric(config.metric, (), task)
    if task in ("fill-mask", "text-generation"):
        return _on_tokens(config, assets, inputs)
    from edgekit.tasks.tensor import Raw

    return Raw(config, _preparation(config, assets, inputs))


def with_data(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec], samples: Samples) -> TaskConfig:
    """Return the config with what only the data shows: the order of a table's columns, since a later row may have
    another, whether a question may have no answer, and whether masks have two levels alone.
    """
    from edgekit.tasks.tabular import Numbers

    if config.task == QUESTIONS:
        return _with_empty_answers(config, samples)
    if config.task in SEGMENTATION:
        return _with_levels(config, samples)
    numbers = _preparation(config, assets, inputs)
    if not isinstance(numbers, Numbers) or not len(samples) or not (columns := numbers.columns(samples[0])):
        return config
    return replace(config, tabular=replace(numbers.config, columns=columns))


def _with_empty_answers(config: TaskConfig, samples: Samples) -> TaskConfig:
    """Return the config with answers that may be empty, where some of the data's are."""
    from edgekit.tasks.question import is_empty

    if not any(label is not None and is_empty(label) for label in samples.labels or ()):
        return config
    return replace(config, span=replace(config.span or SpanConfig(), may_be_empty=True))


def _with_levels(config: TaskConfig, samples: Samples) -> TaskConfig:
    """Return the config with binary masks, where those of the data have the levels 0 and 255 alone."""
    from edgekit.tasks.segmentation import levels_of

    if not samples.labelled or not levels_of(samples) <= {0, 255}:
        return config
    return replace(config, segmentation=replace(config.segmentation or SegmentationConfig(), binary=True))


def _embedding(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec]) -> Task:
    from edgekit.tasks.metrics import NUMBER_METRICS, check_metric
    from edgekit.tasks.similarity import Embedding
    from edgekit.tasks.text import Texts

    metric = config.metric or ("spearman" if config.task == "sentence-similarity" else None)
    if metric is not None:
        check_metric(metric, NUMBER_METRICS, config.task)
    prepare = _preparation(config, assets, inputs)
    if not isinstance(prepare, Texts):
        return Embedding(config, prepare, metric)
    return Embedding(config, replace(prepare, separate=True), metric, padded=prepare.length is not None)


def _question_answering(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec]) -> Task:
    from edgekit.tasks.metrics import check_metric
    from edgekit.tasks.question import METRICS, QuestionAnswering
    from edgekit.tasks.tensor import Raw
    from edgekit.tasks.text import Texts

    prepare = _preparation(config, assets, inputs)
    if not isinstance(prepare, Texts):
        return Raw(config, prepare)
    metric = check_metric(config.metric or METRICS[0], METRICS, config.task)
    span = config.span or SpanConfig()
    # Windows share a part of the context, which must fit beside the question: half a window at most.
    stride = span.stride if prepare.limit is None else min(span.stride, prepare.limit // 3)
    return QuestionAnswering(config, replace(prepare, stride=stride), metric)


def _on_tokens(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec]) -> Task:
    from edgekit.tasks.text import Texts
    from edgekit.tasks.tokens import FillMask, NextToken

    prepare = _preparation(config, assets, inputs)
    if config.task == "fill-mask":
        return FillMask(config, prepare, compares_top=False)
    if isinstance(prepare, Texts):
        # The next token follows the last position, which must not be padding.
        prepare = replace(prepare, pad_side="left")
    return NextToken(config, prepare)


def _preparation(config: TaskConfig, assets: Path, inputs: Sequence[TensorSpec]) -> Preparation:
    """Return the preparation of inputs, chosen by what the model brings, whatever its task."""
    if config.image is not None:
        from edgekit.tasks.image import Pictures

        return Pictures(config.image, inputs)
    if config.audio is not None:
        from edgekit.tasks.audio import Sounds

        return Sounds(config.audio, inputs)
    names = {spec.name for spec in inputs}
    if config.text is not None or ("input_ids" in names and (assets / TOKENIZER).is_file()):
        from edgekit.tasks.text import Texts

        return Texts(config.text or TextConfig(), assets, inputs)
    if config.tabular is not None or config.task in TABULAR:
        from edgekit.tasks.tabular import Numbers

        return Numbers(config.tabular or TabularConfig(), inputs)
    from edgekit.tasks.tensor import Tensors

    return Tensors(inputs, config.no_preprocessing)
