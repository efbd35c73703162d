"""Sentence embeddings: the head that sentence-transformers puts on an encoder, read from its files, built in torch.

Pooling, a dense layer and normalisation become part of the graph, so that the device gets one vector for each text.
Formulas: sentence_transformers/models/Pooling.py, Dense.py, Normalize.py.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit._reading import guard, read_json
from edgekit.errors import UsageError
from edgekit.frameworks.optimum_config import SENTENCE_OUTPUT
from edgekit.sources import checkpoint

_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}
"""In the order in which sentence-transformers concatenates them."""

_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")


@dataclass(frozen=True)
class Dense:
    folder: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str


@dataclass(frozen=True)
class Head:
    """What follows the encoder, in order: pooling, dense layers, normalisation."""

    pooling: tuple[str, ...]
    dense: tuple[Dense, ...]
    normalize: bool


def read_head(folder: Path) -> Head | None:
    """Return the head that `modules.json` describes; None for a checkpoint of another kind.

    Raises UsageError for a module that edgekit does not build.
    """
    path = folder / checkpoint.SENTENCE_MODULES
    if not path.is_file():
        return None
    pooling: tuple[str, ...] = ()
    dense: list[Dense] = []
    normalize = False
    for entry in _entries(path):
        kind, module_folder = str(entry.get("type", "")).rpartition(".")[2], folder / str(entry.get("path", ""))
        if kind == "Transformer":
            if entry.get("path"):
                raise UsageError(
                    f"'{folder}' has its transformer in '{entry['path']}'.",
                    hint="save it again with sentence-transformers",
                )
        elif kind == "Pooling" and not pooling:
            pooling = _pooling(module_folder / "config.json")
        elif kind == "Dense" and pooling and not normalize:
            dense.append(_dense(module_folder))
        elif kind == "Normalize":
            normalize = True
        else:
            raise UsageError(
                f"'{path}' has the module '{kind}', which edgekit does not support.",
                hint="export the encoder alone with --task feature-extraction, or pass package.module:factory",
            )
    if not pooling:
        raise UsageError(
            f"'{path}' does not list a Pooling module.", hint="export the encoder alone with --task feature-extraction"
        )
    return Head(pooling, tuple(dense), normalize)


def _entries(path: Path) -> list[dict[str, Any]]:
    with guard(f"the list of modules '{path}'", hint="copy the checkpoint again"):
        modules = [dict(entry) for entry in read_json(path, "the list of modules")]
        entries = sorted(modules, key=lambda entry: int(entry.get("idx", 0)))
        for place in (str(entry.get("path", "")) for entry in entries):
            if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
                raise ValueError(f"it names a module outside its folder: '{place[:100]}'")
        return entries


def _pooling(path: Path) -> tuple[str, ...]:
    settings = checkpoint.read_json(path)
    configured = settings.get("pooling_mode")
    modes = (configured,) if isinstance(configured, str) else tuple(configured or ())
    modes = modes or tuple(mode for key, mode in _POOLING.items() if settings.get(key))
    others = [
        key for key, on in settings.items() if key.startswith("pooling_mode_") and on is True and key not in _POOLING
    ]
    unknown = [mode for mode in modes if mode not in _POOLING.values()] + others
    if unknown or not modes:
        raise UsageError(
            f"'{path}' pools by '{unknown[0] if unknown else 'nothing'}', which edgekit does not support.",
            hint="export the encoder alone with --task feature-extraction",
        )
    return modes


def _dense(folder: Path) -> Dense:
    settings = checkpoint.read_json(folder / "config.json")
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise UsageError(
            f"'{folder}' uses the activation '{activation}', which edgekit does not support.",
            hint="export the encoder alone with --task feature-extraction",
        )
    try:
        sizes = int(settings["in_features"]), int(settings["out_features"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"'{folder / 'config.json'}' lacks in_features or out_features.",
            hint="save it again with sentence-transformers",
        ) from error
    return Dense(folder, *sizes, bias=bool(settings.get("bias", True)), activation=activation)


def append(encoder: Any, head: Head) -> Any:
    """Return an nn.Module that takes the encoder's inputs and returns {"sentence_embedding": [batch, size]}."""
    import torch

    layers = torch.nn.Sequential(*(layer for dense in head.dense for layer in _layers(dense)))

    class PooledSentence(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
        """An encoder with its sentence head."""

        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.layers = layers
            self.config = encoder.config

        def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            arguments = signature.bind_partial(*args, **kwargs).arguments
            vector = _pool(self.encoder(**arguments)[0], arguments["attention_mask"], head.pooling)
            vector = self.layers(vector)
            if head.normalize:
                vector = torch.nn.functional.normalize(vector, p=2, dim=1)
            return {SENTENCE_OUTPUT: vector}

    # The exporter reads the names of the inputs from the signature.
    signature = inspect.signature(encoder.forward)
    PooledSentence.forward.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *signature.parameters.values()]
    )
    return PooledSentence().eval()


def _pool(hidden: Any, mask: Any, modes: tuple[str, ...]) -> Any:
    import torch

    weight = mask.unsqueeze(-1).to(hidden.dtype)
    pooled = []
    for mode in modes:
        if mode == "cls":
            pooled.append(hidden[:, 0])
        elif mode == "max":
            pooled.append(hidden.masked_fill(weight == 0, -1e9).max(dim=1).values)
        else:
            total, count = (hidden * weight).sum(dim=1), weight.sum(dim=1).clamp(min=1e-9)
            pooled.append(total / (count if mode == "mean" else count.sqrt()))
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)


def _layers(dense: Dense) -> list[Any]:
    import torch

    linear = torch.nn.Linear(dense.inputs, dense.outputs, bias=dense.bias)
    safe_file, pickle_file = dense.folder / checkpoint.SAFETENSORS, dense.folder / checkpoint.BIN
    try:
        if safe_file.is_file():
            from safetensors.torch import load_file

            checkpoint.check_safetensors(safe_file)
            state = load_file(safe_file)
        else:
            state = torch.load(pickle_file, map_location="cpu", weights_only=True)
        linear.load_state_dict({name.removeprefix("linear."): value.float() for name, value in state.items()})
    except (OSError, RuntimeError, AttributeError, ValueError) as error:
        raise UsageError(
            f"the dense layer in '{dense.folder}' cannot be read: {error}.", hint="copy or download the folder again"
        ) from error
    return [linear, getattr(torch.nn, dense.activation)()]
