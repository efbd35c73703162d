"""Optimum's description of a transformers model: its task, and the names and free sizes of its inputs and outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit import _reading
from edgekit.errors import UnsupportedError, UsageError, nearest
from edgekit.frameworks import class_task
from edgekit.frameworks.torch_model import first_line
from edgekit.spec import SHORT_NAMES, TensorSpec

SENTENCE = "sentence-similarity"
SENTENCE_OUTPUT = "sentence_embedding"

PICTURE = {"height": 224, "width": 224}
"""Height and width of an example picture for a model that takes any size."""

_PREPROCESSOR = (
    "optimum reads the sizes of its inputs from a preprocessor_config.json: put the model's beside config.json"
)

_ENCODER_ALONE = "its encoder alone: pass package.module:factory that returns (encoder, a dict of example inputs)"

_GENERATES = ("automatic-speech-recognition", "image-to-text", "visual-question-answering", "text2text-generation")


def tasks() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    from optimum.exporters.tasks import TasksManager

    return tuple(sorted({*TasksManager.get_all_tasks(), SENTENCE}))


def canonical(task: str) -> str:
    """Return optimum's name of a task. Raises UsageError for one that it does not have."""
    from optimum.exporters.tasks import TasksManager

    name = str(TasksManager.map_from_synonym(task))
    if task == SENTENCE:  # optimum calls this a synonym of feature-extraction; here it includes pooling
        return SENTENCE
    if name not in tasks():
        raise UsageError(f"'{task}' is not a task.{nearest(task, tasks())}", hint="tasks: " + ", ".join(tasks()))
    return name


def infer_task(class_name: str, model_type: str) -> str | None:
    """Return the task of a transformers class, given by name, as `BertForMaskedLM`; None where it has none."""
    import transformers
    from optimum.exporters.tasks import TasksManager

    if task := class_task.infer_task(class_name, model_type):
        return task
    kind = getattr(transformers, class_name, None)
    try:
        return None if kind is None else str(TasksManager.infer_task_from_model(kind))
    except (ValueError, KeyError):
        return None


def is_encoder(class_name: str) -> bool:
    """Return whether a class is the encoder of an encoder-decoder model: optimum has no config for it alone."""
    return class_name.endswith(("Encoder", "T5EncoderModel"))


def auto_class(task: str, model_type: str, class_name: str | None) -> Any:
    """Return the transformers class that loads a model for a task."""
    import transformers
    from optimum.exporters.tasks import TasksManager

    if class_name:  # the class that saved the checkpoint: some tasks have several, as speech with and without CTC
        return getattr(transformers, class_name)
    try:
        return TasksManager.get_model_class_for_task(_of_optimum(task), model_type=model_type)
    except (KeyError, AttributeError, ValueError) as error:
        raise UnsupportedError(f"transformers has no model class for the task '{task}'.") from error


def _of_optimum(task: str) -> str:
    return class_task.ENCODER if task == SENTENCE else task


def exporter_config(module: Any, task: str, examples: Mapping[str, Any] | None = None) -> Any:
    """Return the OnnxConfig of a loaded model, optimum's or one that is traced from the module; its `inputs` and
    `outputs` map names to their free sizes. `examples` are the user's own inputs.

    Raises UnsupportedError for a model that is not one graph, or whose inputs are not known.
    """
    from optimum.exporters.onnx import model_configs  # noqa: F401  # registers the architectures
    from optimum.exporters.tasks import TasksManager

    config, name = module.config, type(module).__name__
    generates = task == "image-text-to-text" or (getattr(config, "is_encoder_decoder", False) and task in _GENERATES)
    if generates and not examples:
        raise UnsupportedError(
            f"'{name}' generates ('{task}') with an encoder and a decoder graph; edgekit exports those of text alone.",
            hint=_ENCODER_ALONE,
        )
    config_class = None
    if not generates and not _is_partial(name, config.model_type):
        with contextlib.suppress(KeyError, ValueError):
            config_class = TasksManager.get_exporter_config_constructor(
                "onnx", model_type=config.model_type, task=_of_optimum(task), library_name="transformers"
            )
    narrowed = None
    if config_class is not None:
        narrowed = _one_graph(config_class(config, int_dtype="int64", float_dtype="fp32"), task)
    if narrowed is not None and _fits(module, narrowed):
        return narrowed
    from edgekit.frameworks import traced_config

    return traced_config.describe(module, examples)


def _fits(module: Any, config: Any) -> bool:
    """Return whether optimum makes example inputs for a model, and one forward on them has the outputs that it names.

    Its descriptions of some classes are those of another class of the same type, or of another version.
    """
    import torch

    try:
        examples = {name: torch.as_tensor(value) for name, value in _examples(config).items()}
        # What the graph calls an input may be an argument of another name.
        with torch.no_grad(), _quiet():
            reader(config)(module(**examples))
    except Exception:  # the model's own code can raise anything
        return False
    return True


def _quiet() -> contextlib.AbstractContextManager[None]:
    from edgekit.frameworks.quiet import quiet

    return quiet()


def _is_partial(class_name: str, model_type: str) -> bool:
    """Return whether optimum's config of a type describes less than a class computes, or other inputs than it takes.

    It leaves projections out, takes SAM apart, and has no config for encoders alone.
    """
    return model_type == "sam" or class_name.endswith("WithProjection") or is_encoder(class_name)


def seq2seq_config(module: Any, asked: str) -> Any:
    """Return optimum's config with a cache, for a task to text.

    Raises UnsupportedError for an architecture that it does not export.
    """
    from optimum.exporters.onnx import model_configs  # noqa: F401  # registers the architectures
    from optimum.exporters.tasks import TasksManager

    task = f"{asked if asked in _GENERATES else _GENERATES[-1]}-with-past"
    kind = module.config.model_type
    try:
        config = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=kind, task=task, library_name="transformers"
        )
        return config(module.config, int_dtype="int64", float_dtype="fp32", use_past=True)
    except (KeyError, ValueError) as error:  # the second for a decoder in it that has no cache
        raise UnsupportedError(
            f"optimum does not export '{type(module).__name__}' ('{kind}') as an encoder and a decoder with a cache.",
            problems=[str(error.args[0] if error.args else error)],
            hint=_ENCODER_ALONE,
        ) from error


def causal_config(module: Any) -> Any:
    """Return optimum's config with a cache, for a model that continues a text; None for an architecture that it exports
    without one, or whose cache is not one of keys and values.
    """
    from optimum.exporters.onnx import model_configs  # noqa: F401  # registers the architectures
    from optimum.exporters.tasks import TasksManager

    if getattr(module.config, "is_encoder_decoder", False):
        return None
    try:
        constructor = TasksManager.get_exporter_config_constructor(
            "onnx",
            model_type=module.config.model_type,
            task="text-generation-with-past",
            library_name="transformers",
        )
        config = constructor(
            module.config, int_dtype="int64", float_dtype="fp32", use_past=True, use_past_in_inputs=True
        )
    except (KeyError, ValueError):
        return None
    return config if any("past_key_values" in name for name in config.inputs) else None


def _one_graph(config: Any, task: str) -> Any:
    """Narrow a config to one self-contained graph: no position ids as input, the pooled vector as output."""
    from optimum.exporters.onnx.config import TextDecoderWithPositionIdsOnnxConfig

    drop = "position_ids" if isinstance(config, TextDecoderWithPositionIdsOnnxConfig) else None

    class Narrowed(type(config)):  # type: ignore[misc]  # mypy cannot know a class that is found at run time
        traced = False

        @property
        def inputs(self) -> Mapping[str, Mapping[int, str]]:
            # Without a cache the model counts positions itself; as an input they would only be one more to feed.
            return {name: sizes for name, sizes in super().inputs.items() if name != drop}

        @property
        def outputs(self) -> Mapping[str, Mapping[int, str]]:
            return {SENTENCE_OUTPUT: {0: "batch_size"}} if task == SENTENCE else dict(super().outputs)

    config.__class__ = Narrowed
    return config


def input_specs(config: Any) -> tuple[TensorSpec, ...]:
    """Return the specs of the graph's inputs: dtypes and ranks of optimum's example inputs, free sizes by its names.

    The number of channels is fixed by the model, so it is a number here, although optimum calls it free.
    """
    examples = _examples(config)
    specs = []
    for name, sizes in config.inputs.items():
        example = examples[name]
        shape = [sizes.get(index, size) for index, size in enumerate(example.shape)]
        if len(shape) == 4 and shape[1] == "num_channels":
            shape[1] = example.shape[1]
        specs.append(TensorSpec(name, SHORT_NAMES[str(example.dtype)], tuple(shape)))
    return tuple(specs)


def example_sizes(config: Any) -> dict[str, int]:
    """Return a number that the model accepts for each free size, by name: its config's picture size, a second of sound.

    The batch is left out.
    """
    examples = _examples(config)
    return {
        size: int(examples[name].shape[index])
        for name, sizes in config.inputs.items()
        for index, size in sizes.items()
        if "batch" not in size and index < examples[name].ndim
    }


def sound_frames(config: Any) -> dict[str, int]:
    """Return the option of optimum's examples for a network of Whisper's kind, which takes one number of frames."""
    positions = getattr(config, "max_source_positions", None) if config.model_type == "whisper" else None
    return {} if positions is None else {"nb_max_frames": 2 * positions}


def picture(config: Any) -> dict[str, int]:
    """Return height and width of an example picture: those that the processor beside the checkpoint makes, else 224."""
    path = Path(getattr(config._config, "_name_or_path", "") or "") / "preprocessor_config.json"
    settings = _reading.read_json(path, f"'{path}'") if path.is_file() else {}
    crops = isinstance(settings, dict) and settings.get("do_center_crop")
    size = settings.get("crop_size" if crops else "size") if isinstance(settings, dict) else None
    numbers = [size.get(name) if isinstance(size, dict) else None for name in PICTURE]
    return {
        name: n for name, n in zip(PICTURE, numbers, strict=True) if isinstance(n, int) and 0 < n <= 4096
    } or PICTURE


def _examples(config: Any) -> Mapping[str, Any]:
    try:
        # Where the config has no picture size, optimum takes 64, which is too small for a meaningful time.
        return dict(config.generate_dummy_inputs(framework="np", **picture(config), **sound_frames(config._config)))
    except Exception as error:  # optimum reads more settings for some architectures, and fails where they are missing
        raise UnsupportedError(
            f"optimum cannot make example inputs for the architecture '{config._config.model_type}': "
            f"{first_line(error)}",
            hint=_PREPROCESSOR if "reprocessor" in str(error) else f"{_PREPROCESSOR}; or pass package.module:factory",
        ) from error


def reader(config: Any) -> Callable[[Any], dict[str, Any]]:
    """Return the function that turns a module's result into tensors by the graph's names."""
    if config.traced:
        from edgekit.frameworks import traced_config

        return traced_config.named
    back = {graph: own for own, graph in config.torch_to_onnx_output_map.items()}
    names = {name: back.get(name, name) for name in config.outputs}
    return lambda result: {graph: result[own] for graph, own in names.items()}
