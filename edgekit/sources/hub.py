"""Models on the Hugging Face hub: fetched once into the hub's own cache; its errors become ours."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from edgekit import _privacy
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.model import Reference

SCHEME = "hf:"

_NAME = re.compile(r"^[\w.-]+/[\w.-]+$")

_LIGHT = ["*.json", "*.txt", "*.model", "*.jinja", "*_Pooling/*", "*_Dense/*", "*_Normalize/*"]
_WEIGHTS = ["model.safetensors", "model-*.safetensors"]
_AVOID = ["onnx/*", "openvino/*", "coreml/*", "tflite/*", "*.gguf", "*.msgpack", "*.h5", "rust_model.ot"]


def name_of(ref: str) -> str:
    """Return `org/name` of `hf:org/name`. Raises UsageError for another form."""
    name = ref[len(SCHEME) :].strip("/")
    if not _NAME.match(name):
        raise UsageError(
            f"'{ref}' is not a model name of the hub.",
            hint="write it as hf:org/name, for example hf:google-bert/bert-base-uncased",
        )
    return name


def offline(reference: Reference) -> bool:
    """Return whether the network must not be used, by our flag or the hub's own environment variables."""
    values = (os.environ.get(key, "").upper() for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return reference.offline or any(value in ("1", "ON", "YES", "TRUE") for value in values)


def folder(reference: Reference) -> Path:
    """Return the local snapshot of the model, downloading what is missing unless offline.

    Raises UsageError for a model that is unknown, gated or not in the cache, EnvironmentFault for a network that fails.
    """
    _privacy.no_telemetry()
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # re-exported late
    except ImportError as error:
        raise EnvironmentFault(
            "models of the hub need the package huggingface_hub.", hint="pip install 'edgekit[build]'"
        ) from error

    name = name_of(reference.ref)
    disable_progress_bars()
    avoid = _AVOID if reference.trust_remote_code else [*_AVOID, "*.py"]
    options: dict[str, Any] = {
        "revision": reference.revision,
        "local_files_only": offline(reference),
        "ignore_patterns": avoid,
    }
    try:
        patterns = [*_LIGHT, *_WEIGHTS, *(["*.py"] if reference.trust_remote_code else [])]
        path = Path(snapshot_download(name, allow_patterns=patterns, **options))
        if not any(path.glob("*.safetensors")):
            path = Path(snapshot_download(name, allow_patterns=[*patterns, "pytorch_model*.bin"], **options))
    except Exception as error:
        raise _explained(error, name, reference) from error
    return path


def _explained(error: Exception, name: str, reference: Reference) -> Exception:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return UsageError(
            f"'{name}' is gated: its authors require your consent first.",
            hint=f"accept the terms at https://huggingface.co/{name}, then `hf auth login`",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UsageError(
            f"'{name}' has no revision '{reference.revision}'.", hint=f"see https://huggingface.co/{name}/tree/main"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UsageError(
            f"the model '{name}' does not exist on the hub, or it is private.",
            hint="check the name; for a private model log in with `hf auth login`",
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        if offline(reference):
            return UsageError(
                f"'{name}' is not in the local cache, and the network may not be used (--offline or HF_HUB_OFFLINE).",
                hint=f"run `hf download {name}` where there is a network, or unset HF_HUB_OFFLINE",
            )
        return EnvironmentFault(
            f"the hub cannot be reached, and '{name}' is not in the local cache.",
            hint=f"check the network with `hf download {name}`, or copy the model's folder here and pass its path",
        )
    return EnvironmentFault(f"'{name}' cannot be fetched from the hub: {error}.", hint=f"try `hf download {name}`")
