"""Plain torch modules: `package.module:factory`, or an nn.Module that the caller holds."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import _privacy
from edgekit._requirement import require
from edgekit.errors import EdgekitError, UsageError, nearest
from edgekit.graphs import Graphs
from edgekit.model import ASSETS, Examples, InputHints, Model, ModelInfo, Reference
from edgekit.sources import other_formats
from edgekit.sources.processor import check_processor, with_processor
from edgekit.tasks import detectors
from edgekit.tasks.config import TaskConfig

if TYPE_CHECKING:
    from edgekit.frameworks.torch_call import Call

TASK = "tensor"

_FORM = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")


class TorchModule:
    """Load the nn.Module that a function of the user's code returns.

    The function takes no arguments and returns an nn.Module, or (module, example_inputs); a module may have the
    attribute `example_inputs` instead. Examples are a tensor, a tuple of tensors, or a dict by argument name. For a
    model of several graphs it returns `edgekit.Graphs`.
    """

    scheme = "module"
    packages: tuple[str, ...] = ("torch", "transformers", "optimum", "optimum-onnx")
    gives = "torch"

    def claims(self, ref: str) -> bool:
        return bool(_FORM.match(ref))

    def check(self, reference: Reference) -> None:
        """Raise UsageError for a package that does not exist; the user's code is not run."""
        check_processor(reference)
        if re.search(r"\.py:", reference.ref) and (error := other_formats.explained(reference.ref)):
            raise error
        package = reference.ref.partition(":")[0].partition(".")[0]
        with _working_directory_importable():
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"the package or module '{package}' of '{reference.ref}' does not exist.",
                    hint="run from the folder that holds it, or install it into this environment",
                )

    def digest(self, reference: Reference) -> str | None:
        """Return None: the module is known only after the user's code has run."""
        return None

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Call the factory and load its result. Raises UsageError with the user's exception when the code fails."""
        self.check(reference)
        return load_module(_call_factory(reference), reference, workdir, examples)


class InMemoryModule(TorchModule):
    """Load an nn.Module, or (module, example_inputs), that the caller holds; it has no reference."""

    scheme = "live"

    def __init__(self, module: Any) -> None:
        self.module = module

    def claims(self, ref: str) -> bool:
        return False

    def check(self, reference: Reference) -> None:
        check_processor(reference)

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        return load_module(self.module, reference, workdir, examples)


def load_module(module: Any, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
    """Load an nn.Module, or (module, example_inputs); a module in training mode is copied, never changed."""
    _privacy.no_telemetry()
    require("loading a torch module", "torch")
    from edgekit.frameworks.quiet import quiet
    from edgekit.frameworks.torch_call import describe
    from edgekit.frameworks.torch_model import (
        TorchOriginal,
        in_eval_mode,
        parameter_count,
        refuse_non_finite,
        versions,
    )

    if isinstance(module, Graphs):
        from edgekit.sources import torch_graphs

        return torch_graphs.load(module, reference, workdir)
    module, example_inputs = _split_result(module, reference)
    with quiet():
        module = in_eval_mode(module)
        if _is_transformers(module) and not _is_part(module, reference, example_inputs):
            return _load_transformers(module, reference, workdir, _examples_by_name(module, reference, example_inputs))
        refuse_non_finite(module, f"'{type(module).__name__}'")
    feeds = examples() if examples is not None and example_inputs is None and not reference.inputs else None
    with quiet():
        call = describe(module, reference.inputs, example_inputs, feeds)
    config = TaskConfig(task=reference.task or TASK, output=call.outputs[0] if len(call.outputs) == 1 else None)
    if reference.processor:
        config = with_processor(config, Path(reference.processor), workdir / ASSETS, reference, inputs=call.specs)
    config.save(workdir / ASSETS)
    names = tuple(spec.name for spec in call.specs)
    return Model(
        format="torch",
        task=config.task,
        info=ModelInfo(type(module).__name__, parameter_count(module), exporter="dynamo"),
        input_hints=InputHints(integer_ranges=_integer_ranges(call, real=example_inputs is not None or bool(feeds))),
        folder=workdir,
        module=call,
        original=TorchOriginal(
            module, versions("torch"), call.named_outputs, positional=names, parameters=call.parameters
        ),
    )


def _integer_ranges(call: Call, *, real: bool) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest value that generated integers may have, by input: those of `real` examples.

    Without real examples the highest is the last row of the module's smallest table: an index beyond it does not run.
    """
    import torch

    rows = [part.num_embeddings for part in call.module.modules() if isinstance(part, torch.nn.Embedding)]
    ranges = {}
    for spec, example in zip(call.specs, call.examples, strict=True):
        if example.is_floating_point() or example.dtype == torch.bool or not example.numel():
            continue
        if real:
            ranges[spec.name] = (int(example.min()), int(example.max()))
        elif rows:
            ranges[spec.name] = (0, min(rows) - 1)
    return ranges


def _is_transformers(module: Any) -> bool:
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(module, transformers.PreTrainedModel)


def _is_part(module: Any, reference: Reference, example_inputs: Any) -> bool:
    """Return whether a transformers module is a part of a model, such as an encoder, and its inputs are known."""
    from edgekit.frameworks import optimum_config

    name = type(module).__name__
    if reference.task is not None or (example_inputs is None and not reference.inputs):
        return False
    return optimum_config.is_encoder(name) or optimum_config.infer_task(name, module.config.model_type) is None


def _examples_by_name(module: Any, reference: Reference, example_inputs: Any) -> dict[str, Any] | None:
    """Return the inputs that the user gives with a transformers module, or describes, by argument name."""
    from edgekit.frameworks.torch_call import by_name

    if example_inputs is None and not reference.inputs:
        return None
    return by_name(module, reference.inputs, example_inputs)


def _load_transformers(
    module: Any, reference: Reference, workdir: Path, examples: dict[str, Any] | None = None
) -> Model:
    """Load a transformers model as its checkpoint would be loaded: optimum has its inputs."""
    from edgekit.sources import transformers_model

    loaded = transformers_model.from_module(module, reference, examples)
    config = TaskConfig(
        task=loaded.task,
        output=loaded.output,
        labels=transformers_model.labels(loaded),
        problem_type=transformers_model.problem_type(loaded),
        generation=loaded.generation,
        detection=detectors.of_checkpoint(loaded.config) if loaded.task == detectors.TASK else None,
    )
    if reference.processor:
        processor = Path(reference.processor)
        config = with_processor(
            config, processor, workdir / ASSETS, reference, inputs=loaded.inputs, config=loaded.config
        )
    config.save(workdir / ASSETS)
    return Model(
        format="torch",
        task=loaded.task,
        info=loaded.info,
        input_hints=loaded.input_hints,
        folder=workdir,
        module=loaded.module,
        examples=examples,
        original=loaded.original,
    )


def _call_factory(reference: Reference) -> Any:
    module_name, _, attribute = reference.ref.partition(":")
    from edgekit.frameworks.torch_model import first_line

    _privacy.no_telemetry()
    require("loading a torch module", "torch")
    with _working_directory_importable():
        try:
            value: Any = importlib.import_module(module_name)
        except (Exception, SystemExit) as error:  # the user's module runs at import
            raise UsageError(
                f"'{module_name}' cannot be imported: {first_line(error)}",
                hint=f"try `python -c 'import {module_name}'`",
            ) from error
        for part in attribute.split("."):
            if not hasattr(value, part):
                known = [word for word in dir(value) if word[0] != "_" and callable(getattr(value, word, None))]
                raise UsageError(
                    f"'{module_name}' has no '{part}'.{nearest(part, known)}",
                    hint=f"'{reference.ref}' is read as module:function",
                )
            value = getattr(value, part)
        if not callable(value) or _is_module(value):
            return value
        try:
            return value()
        except EdgekitError:  # of edgekit.Graphs: it names what is wrong
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"'{reference.ref}' fails: {first_line(error)}{_where(error)}",
                hint="it is called without arguments and must return an nn.Module, or (module, example_inputs)",
            ) from error


def _where(error: BaseException) -> str:
    """Return where in the user's code an exception was raised: the last frame outside this package."""
    import traceback

    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "edgekit" not in Path(frame.filename).parts
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_module(value: Any) -> bool:
    import torch

    return isinstance(value, torch.nn.Module)


def _split_result(result: Any, reference: Reference) -> tuple[Any, Any]:
    """Return the module and its example inputs, None without any. Raises UsageError for anything but a module."""
    module, example_inputs = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    if not _is_module(module):
        raise UsageError(
            f"'{reference.ref}' returns a {type(module).__name__}, not an nn.Module.",
            hint="save it with joblib.dump(model, 'model.joblib'), and give that file with --allow-pickle"
            if hasattr(module, "predict")
            else "return the module, or (module, example_inputs)",
        )
    return module, example_inputs if example_inputs is not None else getattr(module, "example_inputs", None)


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Make the working directory's packages importable, as `python -m` does."""
    here = str(Path.cwd())
    importlib.invalidate_caches()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
