"""Load a checked checkpoint with transformers: configuration, task, weights, Original. Imports transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.frameworks import optimum_config
from edgekit.frameworks.torch_model import TorchOriginal, first_line, parameter_count, refuse_non_finite, versions
from edgekit.model import InputHints, ModelInfo, Original, Reference
from edgekit.sources import causal, checkpoint, generation, sentence, seq2seq, transformers5
from edgekit.spec import TensorSpec
from edgekit.tasks.config import Generation, ProblemType

TENSOR = "tensor"
"""The task of a class that transformers lists for none: its outputs are compared as they are."""

_EAGER = ("bart", "musicgen", "whisper")
"""Model types whose fused attention optimum cannot trace (optimum.exporters.onnx.constants)."""


@dataclass(frozen=True)
class Loaded:
    """A loaded checkpoint and its description."""

    module: Any
    config: Any
    task: str
    inputs: tuple[TensorSpec, ...]
    """The inputs that the graph will have."""
    output: str | None
    """The graph's first output."""
    original: Original
    info: ModelInfo
    input_hints: InputHints
    generation: Generation | None = None
    """How a decoder's scores become text."""


def load(folder: Path, reference: Reference) -> Loaded:
    """Load configuration and weights, in fp32 and eval mode. Raises UsageError or UnsupportedError."""
    config = _config(folder, reference)
    task, class_name = _task(folder, config, reference)
    head = sentence.read_head(folder) if task == optimum_config.SENTENCE else None
    if task == optimum_config.SENTENCE and head is None:
        raise UsageError(
            f"'{folder}' has no description of how its token vectors are pooled (modules.json, 1_Pooling/config.json).",
            hint="save it with sentence-transformers, or export the encoder with --task feature-extraction",
        )
    module, missing = _weights(folder, config, task, class_name, reference)
    _refuse_missing(folder, missing, task)
    architecture = type(module).__name__
    loaded = describe(module if head is None else sentence.append(module, head), task, f"'{folder}'", reference.task)
    trusted = _trusted(folder, config, reference)
    return replace(loaded, info=replace(loaded.info, architecture=architecture, trusted=trusted))


def from_module(module: Any, reference: Reference, examples: Mapping[str, Any] | None = None) -> Loaded:
    """Describe a transformers model that the caller holds; `examples` are inputs that it takes, by name."""
    inferred = optimum_config.infer_task(type(module).__name__, module.config.model_type)
    task = optimum_config.canonical(reference.task) if reference.task else inferred or TENSOR
    if task == optimum_config.SENTENCE:
        raise UsageError(
            f"'{type(module).__name__}' does not describe how its token vectors are pooled.",
            hint="pass the folder that sentence-transformers saved, or leave --task out to export the token vectors",
        )
    return describe(module, task, f"'{type(module).__name__}'", reference.task, examples)


def describe(
    module: Any, task: str, what: str, asked: str | None = None, examples: Mapping[str, Any] | None = None
) -> Loaded:
    """Check the weights and return how the model is exported and run."""
    refuse_non_finite(module, what)
    if examples is None and seq2seq.is_seq2seq(module.config, task):
        return _seq2seq(module, task.removesuffix("-with-past"), asked)
    if examples is None and task == causal.TASK and (cached := optimum_config.causal_config(module)) is not None:
        return _causal(module, cached)
    _require_padding(module, task, what)
    exporter = optimum_config.exporter_config(module, task, examples)
    hints = InputHints(
        example_sizes=optimum_config.example_sizes(exporter),
        vocabulary_size=getattr(module.config, "vocab_size", None),
        integer_ranges=exporter.integer_ranges if exporter.traced else {},
        end_token=_end_token(module),
    )
    return Loaded(
        module,
        module.config,
        task,
        optimum_config.input_specs(exporter),
        next(iter(exporter.outputs), None),
        TorchOriginal(module, versions("torch", "transformers"), optimum_config.reader(exporter)),
        ModelInfo(type(module).__name__, parameter_count(module), exporter="optimum"),
        hints,
    )


def _end_token(module: Any) -> int | None:
    """Return the token that a classifier answers from the last of; None where it answers from another place."""
    # Only the code shows it, as for padding.
    is_read = "All examples must have the same number of <eos> tokens" in inspect.getsource(type(module).forward)
    return getattr(module.config, "eos_token_id", None) if is_read else None


def _require_padding(module: Any, task: str, what: str) -> None:
    """Raise UsageError for a classifier that answers from its last token and cannot tell it from padding."""
    config = module.config.get_text_config()
    if task != "text-classification" or getattr(config, "pad_token_id", None) is not None:
        return
    # Only the code shows it: encoders have such classes too, which answer from their first token.
    if "Cannot handle batch sizes > 1 if no padding token" not in inspect.getsource(type(module).forward):
        return
    end = getattr(config, "eos_token_id", None)
    number = end if isinstance(end, int) else 0
    raise UsageError(
        f"{what} answers from the last token that is not padding, and its config has no pad_token_id: texts of other "
        "lengths could not be classified together.",
        hint=f'set it in config.json, as "pad_token_id": {number}: the number that the tokenizer pads with',
    )


def _seq2seq(module: Any, task: str, asked: str | None) -> Loaded:
    """Return how a model of an encoder and a decoder is exported and run."""
    exporter = optimum_config.seq2seq_config(module, task)
    return Loaded(
        module,
        module.config,
        seq2seq.task_name(module.config, task, asked),
        seq2seq.inputs(exporter, task),
        "logits",
        seq2seq.Seq2SeqOriginal(module, versions("torch", "transformers")),
        ModelInfo(type(module).__name__, parameter_count(module), exporter="optimum"),
        InputHints(
            example_sizes=seq2seq.example_sizes(exporter, task),
            vocabulary_size=getattr(module.config, "vocab_size", None),
        ),
        generation.of_decoder(module),
    )


def _causal(module: Any, cached: Any) -> Loaded:
    """Return how a model that continues a text is exported and run; `cached` is optimum's config with a cache."""
    return Loaded(
        module,
        module.config,
        causal.TASK,
        causal.inputs(cached),
        "logits",
        causal.CausalOriginal(module, versions("torch", "transformers")),
        ModelInfo(type(module).__name__, parameter_count(module), exporter="optimum"),
        InputHints(vocabulary_size=getattr(module.config, "vocab_size", None)),
        generation.of_language_model(module),
    )


def _config(folder: Path, reference: Reference) -> Any:
    path = folder / "config.json"
    settings = checkpoint.read_json(path)
    kind = settings.get("model_type")
    if settings.get("auto_map") and reference.trust_remote_code:
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    if not kind:
        raise UsageError(f"'{path}' has no model_type.", hint="is it the config.json of a transformers model?")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    checkpoint.check_sizes(settings, path)
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UsageError(
            f"'{path}' is of the model type '{kind}', which transformers {transformers.__version__} does not support.",
            hint="pass the model as an ONNX file, or as package.module:factory",
        )
    try:
        config = CONFIG_MAPPING[kind].from_dict(transformers5.adapt(settings, f"'{path}'"))
        "".join((config.architectures or [])[:1])  # raises TypeError for what is not a list of names
    except EdgekitError:
        raise
    except Exception as error:  # whatever a value of a wrong type leads to
        raise UsageError(
            f"transformers does not accept '{path}': {first_line(error)}",
            hint="compare it with the config.json of the model's origin, and correct that value",
        ) from error
    if lost := transformers5.unread(config):
        raise UsageError(
            f"'{path}' sets '{lost[0]}', which transformers {transformers.__version__} ignores for '{kind}'.",
            hint="export it with the transformers that wrote it (transformers_version), and give the .onnx file",
        )
    config._name_or_path = str(folder)
    return config


def _task(folder: Path, config: Any, reference: Reference) -> tuple[str, str | None]:
    """Return the task, and the name of the class that saved the checkpoint where it is for that task, else None."""
    class_name = (getattr(config, "architectures", None) or [None])[0]
    inferred = optimum_config.infer_task(class_name, config.model_type) if class_name else None
    if inferred == "feature-extraction" and (folder / checkpoint.SENTENCE_MODULES).is_file():
        inferred = optimum_config.SENTENCE
    if reference.task is not None:
        task = optimum_config.canonical(reference.task)
        is_same_task = inferred is not None and optimum_config.canonical(inferred) == task
        return task, class_name if is_same_task else None
    if inferred is None and class_name and hasattr(transformers, class_name):
        return TENSOR, class_name
    if inferred is None:
        raise UsageError(
            f"the task of '{folder}' cannot be inferred from its class '{class_name}'.",
            hint="name it: --task image-classification, text-classification, feature-extraction, ...",
        )
    return inferred, class_name


def _weights(
    folder: Path, config: Any, task: str, class_name: str | None, reference: Reference
) -> tuple[Any, list[str]]:
    """Return the module and the names of the weights that the checkpoint lacks."""
    remote = bool(getattr(config, "auto_map", None)) and reference.trust_remote_code
    saved_class = class_name if class_name and hasattr(transformers, class_name) and not remote else None
    kind = optimum_config.auto_class(task, config.model_type, saved_class)
    options: dict[str, Any] = {"trust_remote_code": True} if remote else {}
    if config.model_type in _EAGER:
        options["attn_implementation"] = "eager"
    try:
        module, info = kind.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            weights_only=not reference.allow_pickle,
            **options,
        )
    except Exception as error:  # errors of safetensors (Rust), pickle, torch and transformers share no base class
        if "Unrecognized configuration class" in str(error):
            raise UnsupportedError(
                f"transformers has no class of the model type '{config.model_type}' for the task '{task}'.",
                hint="leave --task out, or name the task that the checkpoint was saved for",
            ) from error
        raise _unreadable(folder, error) from error
    missing = set(info["missing_keys"])
    return module.eval(), sorted(missing - _recomputed(module, config, missing))


def _recomputed(module: Any, config: Any, missing: set[str]) -> set[str]:
    """Compute the missing buffers that follow from the configuration, in place, and return their names.

    transformers fills what a checkpoint lacks with arbitrary values, and its version 5 does not save these buffers any
    more: Swin's table of relative positions is one.
    """
    buffers = {
        name: buffer for name, buffer in module.named_buffers() if name in missing and not buffer.is_floating_point()
    }
    if buffers:
        with torch.random.fork_rng():
            computed = dict(type(module)(config).named_buffers())
        for name, buffer in buffers.items():
            buffer.copy_(computed[name])
    return set(buffers)


def _unreadable(folder: Path, error: Exception) -> UsageError:
    import pickle

    pickled = [file for file in checkpoint.weights(folder) if file.suffix != ".safetensors"]
    if pickled and any(isinstance(item, pickle.UnpicklingError) for item in _chain(error)):
        return UsageError(
            f"'{pickled[0]}' is a pickle that runs code when it is read, which is not allowed.",
            hint="convert it to safetensors; or, if you trust who made it, allow it with --allow-pickle",
        )
    generation.check(folder)  # transformers reads it with the weights
    return UsageError(
        f"the weights of '{folder}' cannot be read: {first_line(error)}",
        hint="check that config.json and the weights belong together; the file may be truncated",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from: transformers wraps torch's error twice."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _refuse_missing(folder: Path, missing: list[str], task: str) -> None:
    """Raise UsageError for weights that transformers filled with random numbers and that reach an exported output."""
    if task in ("feature-extraction", optimum_config.SENTENCE):  # these export hidden states, before the pooler
        missing = [name for name in missing if not name.startswith("pooler.") and ".pooler." not in name]
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise UsageError(
            f"the checkpoint '{folder}' lacks weights that the task '{task}' needs: {shown}.",
            hint="fine-tune it for that task first, or choose the task that it was saved for with --task",
        )


def _trusted(folder: Path, config: Any, reference: Reference) -> tuple[str, ...]:
    """Return the files that were read and could run code, for the bundle's record."""
    entries = []
    if reference.trust_remote_code and getattr(config, "auto_map", None):
        entries += [f"remote code: {path.name}" for path in sorted(folder.glob("*.py"))]
    if reference.allow_pickle:
        entries += [f"pickle: {file.name}" for file in checkpoint.weights(folder) if file.suffix != ".safetensors"]
    return tuple(entries)


def problem_type(loaded: Loaded) -> ProblemType | None:
    """Return what a classifier's outputs are, where they are not the scores of one class of several; else None."""
    if loaded.task not in ("text-classification", "image-classification", "audio-classification"):
        return None
    kind = getattr(loaded.config, "problem_type", None)
    if kind == "multi_label_classification":
        return "multi-label"
    # transformers fits one output to a number whatever the problem's type.
    if loaded.config.num_labels == 1:
        return "regression"
    return "values" if kind == "regression" else None


WITH_CLASSES = ("semantic-segmentation", "image-segmentation", "object-detection")
"""Tasks with classes whose name does not end with `classification`."""


def labels(loaded: Loaded) -> tuple[str, ...]:
    """Return the class names by index; empty where the task has no classes."""
    names = getattr(loaded.config, "id2label", None)
    numbers = problem_type(loaded) in ("regression", "values")
    classified = loaded.task.endswith("classification") or loaded.task in WITH_CLASSES
    if not names or numbers or not classified or "zero-shot" in loaded.task:
        return ()
    return tuple(str(names[index]) for index in sorted(names))
