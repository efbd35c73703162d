"""Hugging Face checkpoints: a folder, `hf:org/name` of the hub, or the name of a model embedded in this package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit import _privacy, embedded
from edgekit._requirement import require
from edgekit.errors import EdgekitError, UsageError
from edgekit.model import ASSETS, Examples, Model, Outline, Reference
from edgekit.sources import checkpoint, hub, other_formats, sentence
from edgekit.sources.processor import check_processor, with_processor
from edgekit.tasks import detectors
from edgekit.tasks.config import TaskConfig

_WEIGHT_FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


class HuggingFace:
    """Load a transformers checkpoint in fp32, with its tokenizer or image processor as assets."""

    scheme = "hf"
    packages: tuple[str, ...] = ("torch", "transformers", "optimum", "optimum-onnx", "tokenizers", "safetensors")
    gives = "torch"

    def claims(self, ref: str) -> bool:
        if ref.startswith(hub.SCHEME):
            return True
        path = Path(ref)
        if path.suffix in _WEIGHT_FILES and path.is_file():
            return True  # so that the error names what is missing
        return path.is_dir() or ref in embedded.names()

    def check(self, reference: Reference) -> None:
        """Raise the error that loading would meet in the files; a hub model is checked only if it must be local."""
        check_processor(reference)
        if reference.ref.startswith(hub.SCHEME):
            hub.name_of(reference.ref)
            if not hub.offline(reference):
                return
        folder = self._folder(reference)
        checkpoint.check(folder, reference)
        if reference.task in (None, "sentence-similarity"):
            sentence.read_head(folder)

    def outline(self, reference: Reference) -> Outline | None:
        """Return what the folder's config says; of a model of the hub, where it is in the local cache."""
        try:
            folder = self._folder(replace(reference, offline=True))
        except EdgekitError:
            return None
        return checkpoint.outline(folder, reference)

    def digest(self, reference: Reference) -> str | None:
        """Return the SHA-256 over the files that define the model; fetches a hub model, imports no framework."""
        return checkpoint.digest(self._folder(reference), reference)

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Return the model in eval mode and fp32. Raises UsageError, UnsupportedError or EnvironmentFault."""
        self.check(reference)
        folder = self._folder(reference)
        checkpoint.check(folder, reference)
        _privacy.no_telemetry()
        require("loading a Hugging Face model", "torch", "transformers", "optimum", "onnx")
        from edgekit.frameworks.quiet import quiet
        from edgekit.sources.lean_transformers import import_transformers

        with quiet():
            import_transformers()
            from edgekit.sources import transformers_model

            loaded = transformers_model.load(folder, reference)
            config = _task_config(folder, loaded, reference, workdir / ASSETS)
        config.save(workdir / ASSETS)
        return Model(
            format="torch",
            task=loaded.task,
            info=replace(loaded.info, source_digest=checkpoint.digest(folder, reference)),
            input_hints=loaded.input_hints,
            folder=workdir,
            module=loaded.module,
            original=loaded.original,
        )

    def _folder(self, reference: Reference) -> Path:
        if reference.ref.startswith(hub.SCHEME):
            return hub.folder(reference)
        path = Path(reference.ref)
        if path.is_file() and (error := other_formats.of_file(path)):
            raise error
        if path.is_dir():
            return path
        if reference.ref in embedded.names():
            return embedded.folder(reference.ref)
        raise UsageError(
            f"the folder '{reference.ref}' does not exist.", hint="pass the path of a checkpoint, or hf:org/name"
        )


def _task_config(folder: Path, loaded: Any, reference: Reference, assets: Path) -> TaskConfig:
    from edgekit.sources.transformers_model import labels, problem_type

    base = TaskConfig(
        task=loaded.task,
        labels=labels(loaded),
        output=loaded.output,
        problem_type=problem_type(loaded),
        generation=loaded.generation,
        detection=detectors.of_checkpoint(loaded.config) if loaded.task == detectors.TASK else None,
    )
    processor = Path(reference.processor) if reference.processor else folder
    return with_processor(base, processor, assets, reference, inputs=loaded.inputs, config=loaded.config)
