"""The task and the samples for calibration and evaluation: the same for all candidates of an export.

Calibration and evaluation never share a sample. Without data a few seeded synthetic inputs are used, and the report
says so: they show that the artifact computes what the original does, and nothing about accuracy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from edgekit import data, embedded, tasks
from edgekit.data import DataRef, Draw, Feeds, Samples, TrainingData
from edgekit.errors import UsageError
from edgekit.evaluation import unused_options
from edgekit.evaluation.reference_outputs import SYNTHETIC
from edgekit.evaluation.task_record import task_record
from edgekit.model import InputHints, Model
from edgekit.project import Project
from edgekit.result.data_sources import DataSources
from edgekit.spec import TensorSpec
from edgekit.tasks import Task
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.tabular import KEYS
from edgekit.tasks.text import count_cut

SYNTHETIC_SAMPLES = 8

MOST_VALUES = 1 << 28
"""Values of one random input: 1 GB of single precision."""

ONE_PASS = (
    "this causal model is exported as one pass without a cache: it gives the scores of the next token, and cannot "
    "generate text"
)
"""A limit that the report and `edgekit run` state, until models of several calls are exported."""

CALIBRATION_SHARE = 5
"""Where one data set serves both, one sample in this many is for calibration, and no more than the project asks for."""


@dataclass(frozen=True)
class Evaluation:
    """The task and the samples that every candidate is evaluated with."""

    task: Task
    samples: Samples
    calibration: Samples | None
    sources: DataSources
    training: TrainingData | None = None
    synthetic: bool = False
    record: TaskConfig | None = None
    """The model's own task, where the samples are synthetic and outputs are compared as tensors."""
    notes: tuple[str, ...] = ()

    @property
    def shipped(self) -> TaskConfig:
        """The record of the task that the bundle answers with."""
        return self.record or self.task.config

    def with_task(self, task: Task, note: str) -> Evaluation:
        """Return the evaluation with another record of the same task, which the original's answers showed."""
        training = self.training and replace(self.training, task=task)
        return replace(self, task=task, training=training, notes=(*self.notes, note))

    @property
    def feeds(self) -> Feeds | None:
        """The calibration feeds; None without data."""
        return None if self.calibration is None else Feeds.of(self.calibration, self.task)


def prepare(project: Project, model: Model) -> Evaluation:
    """Return the data that the project names, bound to the model's task. Raises UsageError for data that does
    not fit.
    """
    evaluated, calibrated = references(project)
    if evaluated is None:
        return _synthetic(project, model)
    inputs = tuple(spec.name for spec in _inputs(model))
    samples = data.load(replace(evaluated, inputs=inputs))
    if project.metric:
        data.require_labels(samples, f"to compute {project.metric}")
    config, inferred = task_record(project, model, samples)
    config = tasks.with_data(config, model.assets, model.inputs, samples)
    task = tasks.load(config, model.assets, model.inputs, samples.classes)
    calibration_count = 0
    if calibrated is None:
        calibration_count = min(project.calibration_samples, max(1, len(samples) // CALIBRATION_SHARE))
    draw = Draw(calibration_count, project.max_samples, project.seed, "systematic")
    available = len(samples) - calibration_count
    calibration, samples = draw.parts(samples)
    if calibrated is not None:
        calibration = data.load(replace(calibrated, inputs=inputs)).take(project.calibration_samples, project.seed)
    unused_options.refuse(project, task, samples)
    notes = [*model.info.notes, *_limits(config), *inferred, *samples.notes, *data.advise(calibration, samples)]
    training = _training(project, task)
    if training is not None:
        notes += data.advise_training(training.samples, samples)
    if len(samples) < available:
        notes.append(f"{len(samples)} of {available} samples were evaluated (--max-samples)")
    for kind, drawn in (("evaluation", samples), ("calibration", calibration)):
        cut, limit = count_cut(task, drawn)
        if cut:
            notes.append(f"{cut} of {len(drawn)} {kind} samples have texts that were cut at {limit} tokens")
    if samples.labelled and task.metric is None:
        notes.append(_unused_labels(task))
    sources = DataSources(
        evaluation=samples.source,
        evaluation_samples=len(samples),
        evaluation_digest=samples.digest,
        evaluation_draw=draw,
        calibration=calibration.source,
        calibration_samples=len(calibration),
        calibration_digest=calibration.digest,
        labelled=samples.labelled,
        training=training.samples.source if training else None,
        training_samples=len(training.samples) if training else None,
    )
    return Evaluation(task, samples, calibration, sources, training, notes=tuple(notes))


def _inputs(model: Model) -> tuple[TensorSpec, ...]:
    """Return the inputs that a sample has: those of every graph where the author names them, else of the first."""
    config = TaskConfig.load(model.assets)
    return model.inputs if config is None or config.calls is None else config.calls.inputs


def _training(project: Project, task: Task) -> TrainingData | None:
    """Return the project's training data bound to the task; None where it names none."""
    if project.train is None:
        return None
    samples = data.load(DataRef(project.train, None, project.text_columns, project.label_column, train=True))
    config, text = task.config, task.config.text
    picture = config.image.input if config.image and config.image.layout == "nchw" else None
    padding = {} if text is None else {"input_ids": text.pad_id, "token_type_ids": text.pad_type_id, "position_ids": 1}
    pad_left = text is not None and text.pad_side == "left"
    return TrainingData(samples, task, task.problem, config.output, picture, padding, pad_left)


def _unused_labels(task: Task) -> str:
    name = task.config.task
    if name == tasks.TENSOR:
        why = "the task is 'tensor'; name another, such as --task image-classification"
    else:
        why = f"the task '{name}' has no metric of its own here"
    return f"the data's labels were not used, and outputs were compared with the original's: {why}"


def example_feeds(project: Project) -> dict[str, Any] | None:
    """Return feeds of the first sample, made without the graph: arrays by name, or a row's numbers as `features`.

    None without data, and for pictures and texts, whose shape only the graph or a processor determines.
    """
    import numpy as np

    evaluated, _ = references(project)
    if evaluated is None:
        return None
    samples = data.load(evaluated)
    fields = {name: np.asarray(value) for name, value in samples[0].fields.items()}
    if not fields or any(array.dtype.kind not in "fiub" for array in fields.values()):
        return None
    if all(array.ndim == 0 for array in fields.values()):
        row = {name: float(array) for name, array in fields.items() if name.strip().lower() not in KEYS} or fields
        return {"features": np.array([[float(value) for value in row.values()]], np.float32)}
    return {name: array[None] if samples.kind == "npz" else array for name, array in fields.items()}


def references(project: Project) -> tuple[DataRef | None, DataRef | None]:
    """Return the references of the evaluation data and of separate calibration data; None where there is none."""
    own = embedded.data_folder(project.model)
    if project.data is None and own is not None:
        return DataRef(str(own / "evaluation.npz")), DataRef(str(own / "calibration.npz"))
    reference = project.data or project.calibration
    if reference is None:
        return None, None
    evaluated = DataRef(reference, project.split, project.text_columns, project.label_column)
    if project.calibration and project.data:
        return evaluated, DataRef(project.calibration, None, project.text_columns, project.label_column)
    return evaluated, None


def _synthetic(project: Project, model: Model) -> Evaluation:
    seeds = range(project.seed, project.seed + SYNTHETIC_SAMPLES)
    feeds = [synthetic_feeds(_inputs(model), seed, model.input_hints) for seed in seeds]
    samples = Samples.from_feeds(feeds, source=SYNTHETIC)
    config, notes = task_record(project, model)
    # A model of several parts can only be driven by its own task, which takes ids as well as texts.
    driven = TaskConfig("tensor") if model.is_single else config
    task = tasks.load(driven, model.assets, model.inputs)
    note = (
        f"no data was given: outputs were compared on {SYNTHETIC_SAMPLES} synthetic inputs (seed {project.seed}), "
        "which does not measure accuracy; give labelled samples with --data"
    )
    sources = DataSources(SYNTHETIC, SYNTHETIC_SAMPLES, samples.digest)
    notes = (*model.info.notes, *_limits(config), *notes, note)
    return Evaluation(task, samples, None, sources, synthetic=True, record=config, notes=notes)


def _limits(config: TaskConfig) -> tuple[str, ...]:
    return (ONE_PASS,) if config.task == "text-generation" and config.generation is None else ()


def synthetic_feeds(specs: tuple[TensorSpec, ...], seed: int, hints: InputHints) -> dict[str, Any]:
    """Return inputs of the right types and shapes: normally distributed floats, small token ids, masks of ones.

    Free sizes that are not in `hints` are guessed from their names.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    tokens = min(100, hints.vocabulary_size or 100)
    feeds: dict[str, Any] = {}
    for spec in specs:
        sizes = {str(dim): _size(str(dim)) for dim in spec.shape} | dict(hints.example_sizes)
        shape = spec.resolve(sizes)
        if math.prod(shape) > MOST_VALUES:
            raise UsageError(
                f"no data was given, and a random input '{spec}' has {math.prod(shape):.1e} values.",
                hint="give samples with --data, or smaller sizes with --shape NAME=SIZE",
            )
        if spec.dtype in ("f64", "f32", "f16"):
            feeds[spec.name] = generator.standard_normal(shape).astype(spec.numpy_dtype)
        elif spec.name in hints.integer_ranges:
            low, high = hints.integer_ranges[spec.name]
            feeds[spec.name] = generator.integers(low, high, shape, endpoint=True).astype(spec.numpy_dtype)
        elif spec.name == "bbox":  # left, top, right, bottom: no side ends before it begins
            feeds[spec.name] = np.sort(generator.integers(0, tokens, shape)).astype(spec.numpy_dtype)
        elif "mask" in spec.name or spec.dtype == "bool":
            feeds[spec.name] = np.ones(shape, spec.numpy_dtype)
        elif "type" in spec.name:
            feeds[spec.name] = np.zeros(shape, spec.numpy_dtype)
        else:
            feeds[spec.name] = generator.integers(min(1, tokens - 1), tokens, shape).astype(spec.numpy_dtype)
            if hints.end_token is not None and "input_ids" in spec.name:
                feeds[spec.name] = _ended(feeds[spec.name], hints.end_token)
    return feeds


def _ended(ids: Any, end: int) -> Any:
    """Return token ids of which the last of each text, and no other, is `end`."""
    import numpy as np

    ids = np.where(ids == end, end + 1 if end == 0 else end - 1, ids)
    ids[..., -1] = end
    return ids


def _size(symbol: str) -> int:
    word = symbol.lower()
    if "seq" in word or "len" in word:
        return 16
    if "height" in word or "width" in word or word in ("h", "w"):
        return 224
    return 3 if "channel" in word else 1
