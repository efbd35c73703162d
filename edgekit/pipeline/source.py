"""Which source loads the model of a project, and what it is asked for. Nothing is loaded here."""

from __future__ import annotations

from pathlib import Path

from edgekit import embedded, registry
from edgekit._reading import check_regular
from edgekit.errors import UsageError, nearest
from edgekit.model import Reference
from edgekit.plugin import Source
from edgekit.project import Project
from edgekit.spec import TensorSpec

LIVE = "live"
"""The source of a module that the caller holds in memory."""


def reference(project: Project) -> Reference:
    """Return what the source is asked for."""
    if not project.model:
        raise UsageError(
            "no model is given.", hint="name it: `edgekit export ./my-checkpoint`, or put `model` into edgekit.toml"
        )
    return Reference(
        ref=project.model,
        task=project.task,
        processor=project.processor,
        inputs=tuple(TensorSpec.parse(text) for text in project.inputs),
        states=project.states,
        revision=project.revision,
        offline=project.offline,
        trust_remote_code=project.trust_remote_code,
        allow_pickle=project.allow_pickle,
    )


def source_for(ref: Reference) -> Source:
    """Return the source that claims a reference, its obvious faults checked."""
    check_regular(Path(ref.ref))
    for source in registry.sources():
        if source.claims(ref.ref):
            if ref.states and source.scheme != "onnx":
                raise UsageError(
                    f"--state names the states of an ONNX file, and '{ref.ref}' is not one.",
                    hint="leave it out; the function of package.module:factory names them with edgekit.Graph",
                )
            source.check(ref)
            return source
    from edgekit.sources import other_formats

    if error := other_formats.explained(ref.ref):
        raise error
    if Path(ref.ref).is_file():
        message = f"the file '{ref.ref}' is not a model of a known kind."
    elif ref.ref.startswith((".", "/", "~")) or "/" in ref.ref:
        message = f"the folder or file '{ref.ref}' does not exist."
    else:
        message = f"'{ref.ref}' is not a model that edgekit can find.{nearest(ref.ref, embedded.names())}"
    raise UsageError(
        message,
        hint="give a Hugging Face folder, hf:org/name, a .onnx file, package.module:factory, or an embedded model",
    )
