"""Plain torch modules: `package.module:factory`, or a live nn.Module held by the caller."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit import _privacy
from edgekit._requirement import require
from edgekit.errors import UsageError, nearest
from edgekit.model import ASSETS, Examples, InputHints, Model, ModelInfo, Reference
from edgekit.sources.processor import check_processor, with_processor
from edgekit.tasks.config import TaskConfig

TASK = "tensor"

_FORM = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")


class TorchModule:
    """Load the nn.Module that a function of the user's code makes.

    The function takes nothing and gives an nn.Module, or (module, example_inputs); a module may have the attribute
    `example_inputs` instead. Examples are a tensor, a tuple of tensors, or a dict by argument name.
    """

    scheme = "module"
    packages = ("torch", "transformers", "optimum", "optimum-onnx")
    gives = "torch"

    def claims(self, ref: str) -> bool:
        return bool(_FORM.match(ref))

    def check(self, reference: Reference) -> None:
        """Find a package that is not there; the user's code is not run."""
        check_processor(reference)
        package = reference.ref.partition(":")[0].partition(".")[0]
        with _working_directory_importable():
            if importlib.util.find_spec(package) is None:
                raise UsageError(
                    f"there is no package or module '{package}' for '{reference.ref}'.",
                    hint="run from the folder that holds it, or install it into this environment",
                )

    def digest(self, reference: Reference) -> str | None:
        """Give None: only running the user's code tells what it makes."""
        return None

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Call the factory and load what it gives. Raises UsageError with the user's exception when the code fails."""
        self.check(reference)
        return load_live(_made(reference), reference, workdir, examples)


class LiveModule(TorchModule):
    """Load an nn.Module, or (module, example_inputs), that the caller holds; no reference names it."""

    scheme = "live"

    def __init__(self, module: Any) -> None:
        self.module = module

    def claims(self, ref: str) -> bool:
        return False

    def check(self, reference: Reference) -> None:
        check_processor(reference)

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        return load_live(self.module, reference, workdir, examples)


def load_live(module: Any, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
    """Load a live nn.Module, or (module, example_inputs); a module in training mode is copied, never changed."""
    _privacy.no_telemetry()
    require("loading a torch module", "torch")
    from edgekit.frameworks.quiet import quiet
    from edgekit.frameworks.torch_call import describe, integer_ranges
    from edgekit.frameworks.torch_model import TorchOriginal, parameter_count, refuse_non_finite, versions

    module, given = _split(module, reference)
    with quiet():
        module = _evaluating(module)
        if _is_transformers(module) and not _is_part(module, reference, given):
            return _live_transformers(module, reference, workdir)
        refuse_non_finite(module, f"'{type(module).__name__}'")
    fed = examples() if examples is not None and given is None and not reference.inputs else None
    with quiet():
        call = describe(module, reference.inputs, given, fed)
    config = TaskConfig(task=reference.task or TASK, output=call.outputs[0] if call.outputs else None)
    if reference.processor:
        config = with_processor(config, Path(reference.processor), workdir / ASSETS, reference, inputs=call.specs)
    config.save(workdir / ASSETS)
    names = tuple(spec.name for spec in call.specs)
    return Model(
        format="torch",
        task=config.task,
        info=ModelInfo(type(module).__name__, parameter_count(module), exporter="dynamo"),
        input_hints=InputHints(integer_ranges=integer_ranges(call, given is not None or bool(fed))),
        folder=workdir,
        module=call,
        original=TorchOriginal(module, versions("torch"), call.named, positional=names, parameters=call.parameters),
    )


def _is_transformers(module: Any) -> bool:
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(module, transformers.PreTrainedModel)


def _is_part(module: Any, reference: Reference, given: Any) -> bool:
    """Say whether a transformers module is a part of a model, such as an encoder, and its inputs are known."""
    from edgekit.frameworks import optimum_config

    name = type(module).__name__
    if reference.task is not None or (given is None and not reference.inputs):
        return False
    return optimum_config.is_encoder(name) or optimum_config.infer_task(name, module.config.model_type) is None


def _live_transformers(module: Any, reference: Reference, workdir: Path) -> Model:
    """Load a live transformers model as its checkpoint would be: optimum knows its inputs."""
    from edgekit.sources import transformers_model

    loaded = transformers_model.load_live(module, reference)
    config = TaskConfig(
        task=loaded.task,
        output=loaded.answer,
        labels=transformers_model.labels(loaded),
        problem_type=transformers_model.problem_type(loaded),
    )
    if reference.processor:
        where = Path(reference.processor)
        config = with_processor(config, where, workdir / ASSETS, reference, inputs=loaded.inputs, config=loaded.config)
    config.save(workdir / ASSETS)
    return Model(
        format="torch",
        task=loaded.task,
        info=loaded.info,
        input_hints=loaded.input_hints,
        folder=workdir,
        module=loaded.module,
        original=loaded.original,
    )


def _made(reference: Reference) -> Any:
    name, _, attribute = reference.ref.partition(":")
    from edgekit.frameworks.torch_model import first_line

    _privacy.no_telemetry()
    require("loading a torch module", "torch")
    with _working_directory_importable():
        try:
            found: Any = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # the user's module runs at import
            raise UsageError(
                f"'{name}' does not import: {first_line(error)}", hint=f"try `python -c 'import {name}'`"
            ) from error
        for part in attribute.split("."):
            if not hasattr(found, part):
                known = [word for word in dir(found) if word[0] != "_" and callable(getattr(found, word, None))]
                raise UsageError(
                    f"'{name}' has no '{part}'.{nearest(part, known)}",
                    hint=f"'{reference.ref}' is read as module:function",
                )
            found = getattr(found, part)
        if not callable(found) or _is_module(found):
            return found
        try:
            return found()
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"'{reference.ref}' fails: {first_line(error)}{_where(error)}",
                hint="it is called without arguments and gives an nn.Module, or (module, example_inputs)",
            ) from error


def _where(error: BaseException) -> str:
    """Say where in the user's code an exception rose: the last frame outside this package."""
    import traceback

    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "edgekit" not in Path(frame.filename).parts
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_module(found: Any) -> bool:
    import torch

    return isinstance(found, torch.nn.Module)


def _split(made: Any, reference: Reference) -> tuple[Any, Any]:
    """Tell the module from its example inputs. Raises UsageError for anything else."""
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not _is_module(module):
        raise UsageError(
            f"'{reference.ref}' gives a {type(module).__name__}, not an nn.Module.",
            hint="return the module, or (module, example_inputs)",
        )
    return module, given if given is not None else getattr(module, "example_inputs", None)


def _evaluating(module: Any) -> Any:
    """Give the module in eval mode on the processor: itself where it is so already, else a copy."""
    import copy

    tensors = [*module.parameters(), *module.buffers()]
    if not any(part.training for part in module.modules()) and all(tensor.device.type == "cpu" for tensor in tensors):
        return module
    try:
        return copy.deepcopy(module).cpu().eval()
    except Exception as error:  # tensors with a gradient history do not copy
        raise UsageError(
            f"'{type(module).__name__}' is in training mode and cannot be copied: {error}.",
            hint="call .eval() on it first",
        ) from error


@contextlib.contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Let the working directory's packages be found, as `python -m` does."""
    here = str(Path.cwd())
    importlib.invalidate_caches()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)
