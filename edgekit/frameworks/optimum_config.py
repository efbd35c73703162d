"""Optimum's description of a transformers model: its task, and the names and free sizes of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.errors import UnsupportedError, UsageError, nearest
from edgekit.frameworks.torch_model import first_line
from edgekit.spec import SHORT_NAMES, TensorSpec

SENTENCE = "sentence-similarity"
SENTENCE_OUTPUT = "sentence_embedding"
_ENCODER = "feature-extraction"

_OVERRIDES = {"clip": "zero-shot-image-classification", "segformer": "semantic-segmentation"}
"""Model types for which optimum 2.1 infers a task that its own exporter does not support."""

_PICTURE = 224
"""Height and width of an example picture for a model that takes any size."""

_SUFFIXES = {
    "ForImageClassification": "image-classification",
    "ForImageClassificationWithTeacher": "image-classification",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "ForSemanticSegmentation": "semantic-segmentation",
    "ForObjectDetection": "object-detection",
    "Model": _ENCODER,
}

_ENCODER_ALONE = "its encoder alone: pass package.module:factory that returns (encoder, a dict of example inputs)"

_MANY_GRAPHS = ("text2text-generation", "automatic-speech-recognition", "image-to-text", "visual-question-answering")


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
    """Return the task of a transformers class, given by name, as `BertForMaskedLM`; None where optimum has none."""
    import transformers
    from optimum.exporters.tasks import TasksManager

    if model_type in _OVERRIDES:
        return _OVERRIDES[model_type]
    kind = getattr(transformers, class_name, None)
    if kind is None:
        return None
    try:
        task = str(TasksManager.infer_task_from_model(kind))
    except (ValueError, KeyError):
        # optimum misses types with several classes (DeiT), and base classes outside its mapping (`XModel`).
        return next((task for end, task in _SUFFIXES.items() if class_name.endswith(end)), None)
    # The class is listed for both tasks where a model was trained to fill in text, as BART.
    return "text2text-generation" if task == "fill-mask" and class_name.endswith("ForConditionalGeneration") else task


def is_encoder(class_name: str) -> bool:
    """Return whether a class is the encoder of an encoder-decoder model: optimum has no config for it alone."""
    return class_name.endswith(("Encoder", "T5EncoderModel"))


def auto_class(task: str, model_type: str, class_name: str | None) -> Any:
    """Return the transformers class that loads a model for a task."""
    from optimum.exporters.tasks import TasksManager

    try:
        # The class that saved the checkpoint comes first: some tasks have several, as speech with and without CTC.
        return TasksManager.get_model_class_for_task(
            _of_optimum(task), model_type=model_type, model_class_name=class_name
        )
    except (KeyError, AttributeError, ValueError) as error:
        raise UnsupportedError(f"transformers has no model class for the task '{task}'.") from error


def _of_optimum(task: str) -> str:
    return _ENCODER if task == SENTENCE else task


def exporter_config(module: Any, task: str) -> Any:
    """Return optimum's OnnxConfig of a loaded model; its `inputs` and `outputs` map names to their free sizes.

    Raises UnsupportedError for an architecture or task that optimum does not export as one graph.
    """
    from optimum.exporters.onnx import model_configs  # noqa: F401  # registers the architectures
    from optimum.exporters.tasks import TasksManager

    config = module.config
    if getattr(config, "is_encoder_decoder", False) and task in _MANY_GRAPHS:
        raise UnsupportedError(
            f"'{task}' needs an encoder and a decoder graph, and edgekit exports models of one graph.",
            hint=_ENCODER_ALONE,
        )
    if is_encoder(type(module).__name__):
        raise UnsupportedError(
            f"optimum exports '{config.model_type}' only with its decoder, and '{type(module).__name__}' has none.",
            hint=_ENCODER_ALONE,
        )
    try:
        config_class = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=config.model_type, task=_of_optimum(task), library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise UnsupportedError(
            f"optimum does not export the architecture '{config.model_type}' for the task '{task}'.",
            problems=[str(error.args[0] if error.args else error)],
            hint="choose another --task, or pass the model as package.module:factory",
        ) from error
    return _one_graph(config_class(config, int_dtype="int64", float_dtype="fp32"), task)


def seq2seq_config(module: Any) -> Any:
    """Return optimum's config with a cache. Raises UnsupportedError for an architecture that it does not export."""
    from optimum.exporters.onnx import model_configs  # noqa: F401  # registers the architectures
    from optimum.exporters.tasks import TasksManager

    task = "text2text-generation-with-past"
    kind = module.config.model_type
    try:
        config = TasksManager.get_exporter_config_constructor(
            "onnx", model_type=kind, task=task, library_name="transformers"
        )
    except (KeyError, ValueError) as error:
        raise UnsupportedError(
            f"optimum does not export the architecture '{kind}' as an encoder and a decoder with a cache.",
            problems=[str(error.args[0] if error.args else error)],
            hint="pass its encoder alone, as package.module:factory",
        ) from error
    return config(module.config, int_dtype="int64", float_dtype="fp32", use_past=True)


def _one_graph(config: Any, task: str) -> Any:
    """Narrow a config to one self-contained graph: no position ids as input, the pooled vector as output."""
    from optimum.exporters.onnx.config import TextDecoderWithPositionIdsOnnxConfig

    drop = "position_ids" if isinstance(config, TextDecoderWithPositionIdsOnnxConfig) else None

    class Narrowed(type(config)):  # type: ignore[misc]  # mypy cannot know a class that is found at run time
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


def _examples(config: Any) -> Mapping[str, Any]:
    try:
        # Where the config has no picture size, optimum takes 64, which is too small for a meaningful time.
        return dict(config.generate_dummy_inputs(framework="np", height=_PICTURE, width=_PICTURE))
    except Exception as error:  # optimum reads more settings for some architectures, and fails where they are missing
        raise UnsupportedError(
            f"optimum cannot make example inputs for the architecture '{config._config.model_type}': "
            f"{first_line(error)}",
            hint="some need a preprocessor_config.json beside config.json; or pass package.module:factory",
        ) from error


def output_names(config: Any) -> dict[str, str]:
    """Return the graph's output names by the model's own."""
    back = {graph: own for own, graph in config.torch_to_onnx_output_map.items()}
    return {back.get(name, name): name for name in config.outputs}
