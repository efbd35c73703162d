"""The build side of onnxruntime-genai: check that it runs the model, and list what opening it requires."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, UnsupportedError
from edgekit.plugin import Built, Model, Payload, Target, package_versions, probe_host
from edgekit_onnxruntime.genai_session import GenAiSession
from edgekit_onnxruntime.options import GENAI_FILES, GENAI_RELEASE, IDS, KNOWN, Options

TRIED = 3
"""Tokens of the call that proves the kernels: a prompt of several, and one that follows."""


def build(model: Model, target: Target, options: Options, workdir: Path) -> Built:
    """Write the model's files into `workdir`. Raises UnsupportedError for a model that the runtime's kernels refuse."""
    import numpy as np

    payload = Payload(model.folder, GENAI_FILES, model.part, options.to_dict())
    session = GenAiSession(payload)
    try:
        states: dict[str, Any] = {KNOWN: np.zeros((1, 0), np.int64)}
        for count in (TRIED - 1, 1):
            session.step({IDS: np.zeros((1, count), np.int64)}, states)
    except EdgekitError as error:
        raise UnsupportedError(
            f"onnxruntime-genai does not run this model: {error.message}",
            hint="choose another recipe, such as fp32 or int4-weights",
        ) from error
    finally:
        session.close()
    for name in GENAI_FILES:
        shutil.copyfile(model.folder / name, workdir / name)
    release = ".".join(package_versions(("onnxruntime-genai",)).get("onnxruntime-genai", GENAI_RELEASE).split(".")[:2])
    requires: dict[str, Any] = {"packages": {"onnxruntime-genai": f">={release}", "onnxruntime": ">=1.31"}}
    if target.device.arch:
        requires["arch"] = target.device.arch
    return Built(
        files=GENAI_FILES,
        requires=requires,
        options=options.to_dict(),
        evidence="parsed" if target.mismatches(probe_host()) else "built_on_device",
        part=replace(model.part, file=GENAI_FILES[0]),
    )
