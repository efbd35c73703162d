"""The pass `genai`: a language model in the form of onnxruntime-genai, with its fused attention and packed weights."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from edgekit.errors import UnsupportedError
from edgekit.plugin import ASSETS, Feeds, Model, Part, Record, State, Step, TensorSpec, package_versions
from edgekit_onnxruntime.options import GENAI, GENAI_CONFIG, GENAI_FILES, IDS, KNOWN, LOGITS

TASK = "text-generation"
TRANSFORMERS_PART = "decoder"
"""The name of a language model's part; the calls of the original, which a candidate replays, have it."""


@dataclass(frozen=True)
class GenAi(Record):
    """Convert a language model of transformers with onnxruntime-genai's own builder."""

    weights: Literal["fp32", "int8", "int4"] = "fp32"
    """How weights are stored. int8 and int4: in blocks, multiplied by MatMulNBits."""
    exact: bool = False
    """Multiply packed weights by activations in float. Else they are rounded to int8: faster, and wrong on models with
    outlier channels."""

    name: ClassVar[str] = "genai"
    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    gives: ClassVar[str] = GENAI
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime-genai", "onnx", "optimum-onnx", "torch", "transformers")
    install: ClassVar[str] = "pip install 'edgekit-onnxruntime[genai]'"

    @property
    def precision(self) -> str:
        return {"fp32": "f32", "int8": "i8-weights", "int4": "i4-weights"}[self.weights]

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the model into `workdir`.

        Raises UnsupportedError for what is not a language model of transformers, BuildError where the builder fails.
        """
        from edgekit.frameworks import torch_pass
        from edgekit_onnxruntime import genai_packages

        started = time.perf_counter()
        module = torch_pass.module_of(model)
        if model.task != TASK or not hasattr(module, "save_pretrained"):
            raise UnsupportedError(
                f"onnxruntime-genai runs language models of transformers; this is a {type(module).__name__}"
                f"{f' for {model.task}' if model.task else ''}.",
                hint="choose another recipe (see `edgekit recipes`)",
            )
        described = part(_others(module))
        with tempfile.TemporaryDirectory(dir=workdir.parent, prefix="genai-") as scratch:
            checkpoint, output = Path(scratch) / "checkpoint", Path(scratch) / "output"
            _save(module, checkpoint)
            extra = ["accuracy_level=1"] if self.exact and self.weights != "fp32" else []
            genai_packages.build(checkpoint, output, Path(scratch), self.weights, extra)
            for name in GENAI_FILES:
                shutil.move(output / name, workdir / name)
        if model.assets.is_dir():
            shutil.copytree(model.assets, workdir / ASSETS)
        converted = replace(
            model,
            format=GENAI,
            parts=(described,),
            states=(State(KNOWN, TensorSpec(KNOWN, "i64", ("batch", "known")), "empty"),),
            folder=workdir,
            module=None,
            precision=self.precision,
        )
        seconds = round(time.perf_counter() - started, 3)
        before = torch_pass.digest_of(module)
        step = Step(self.name, self.to_dict(), package_versions(self.packages), before, converted.digest, seconds)
        return converted.with_step(step)


def part(others: Sequence[str] = ()) -> Part:
    """Return the one part: it takes the ids that follow those that are known, and gives the scores of the next.

    `others` are the inputs that the original's graph has beside the ids, masks and positions: they are fed to every
    candidate, and follow from the ids.
    """
    ids = TensorSpec(IDS, "i64", ("batch", "sequence"))
    more = [TensorSpec(name, "i64", ("batch", f"{name}_length")) for name in others]
    past, present = TensorSpec("past", "i64", ("batch", "known")), TensorSpec("present", "i64", ("batch", "longer"))
    logits = TensorSpec(LOGITS, "f32", ("batch", 1, "vocabulary"))
    return Part(
        TRANSFORMERS_PART,
        GENAI_CONFIG,
        (ids, *more, past),
        (logits, present),
        {past.name: KNOWN},
        {present.name: KNOWN},
    )


def _others(module: Any) -> tuple[str, ...]:
    from edgekit.frameworks import optimum_config

    config = optimum_config.causal_config(module)
    if config is None:
        raise UnsupportedError(
            f"edgekit exports {type(module).__name__} without a cache, and can compare no engine that keeps one.",
            hint="choose another recipe (see `edgekit recipes`)",
        )
    return tuple(name for name in config.inputs if name != IDS and "past_key" not in name)


def _save(module: Any, folder: Path) -> None:
    """Write the module as a checkpoint. The builder reads a tokenizer, of which nothing is kept: one of one word does,
    as the device feeds ids.
    """
    with _plain_generation(module):
        module.save_pretrained(folder)
    word = {"id": 0, "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    vocabulary = {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}
    tokenizer = {"version": "1.0", "added_tokens": [{**word, "special": True}], "model": vocabulary}
    empty = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    (folder / "tokenizer.json").write_text(json.dumps({**dict.fromkeys(empty), **tokenizer}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@contextlib.contextmanager
def _plain_generation(module: Any) -> Iterator[None]:
    """Leave out how the module generates: the task has it, and transformers saves no contradicting settings."""
    own = module.generation_config
    ids = {name: getattr(own, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    module.generation_config = type(own)(**ids)
    try:
        yield
    finally:
        module.generation_config = own
