"""ONNX files: checked and copied; only what no runtime reads is brought into a newer form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit import _privacy
from edgekit._reading import guard
from edgekit._record import digest_of, digest_of_file
from edgekit._requirement import require
from edgekit.errors import UsageError, nearest
from edgekit.model import ASSETS, Examples, Model, ModelInfo, Part, Reference
from edgekit.sources import checkpoint, estimator_file, other_formats
from edgekit.sources.processor import check_processor, with_processor
from edgekit.tasks import detector_guess, detectors
from edgekit.tasks.config import CalledPart, Calls, TaskConfig

TASK = "tensor"
"""The task of a graph without any description: tensors in, tensors out."""


class OnnxFile:
    """Load an ONNX file, external data included, or the file of an estimator, which is converted to one."""

    scheme = "onnx"
    packages: tuple[str, ...] = ("onnx", "onnxruntime")
    gives = "onnx"

    def claims(self, ref: str) -> bool:
        return (ref.endswith(".onnx") and "://" not in ref) or estimator_file.library_of(ref) is not None

    def check(self, reference: Reference) -> None:
        """Raise UsageError for a missing or empty file, without reading it."""
        path = Path(reference.ref)
        if estimator_file.library_of(reference.ref) is not None:
            estimator_file.check(reference)
        if not path.is_file():
            others = {file.name for file in path.parent.glob("*.onnx")} if path.parent.is_dir() else set()
            raise UsageError(
                f"the file '{path}' does not exist.{nearest(path.name, others)}", hint="pass the path of a .onnx file"
            )
        if path.stat().st_size == 0:
            raise UsageError(f"'{path}' is empty.", hint="copy it again")
        if error := other_formats.of_content(path):
            raise error
        check_processor(reference)

    def digest(self, reference: Reference) -> str | None:
        """Return the SHA-256 over the file, its external data, the processor and the options."""
        if estimator_file.library_of(reference.ref) is not None:
            return estimator_file.digest(reference)
        require("reading an ONNX file", "onnx")
        from edgekit.frameworks import onnx_external, onnx_graph, onnx_model

        path = Path(reference.ref)
        names = onnx_graph.external_files(onnx_model.load(path, weights=False))
        files = [digest_of_file(onnx_external.find(name, path)) for name in names]
        return digest_of(
            [digest_of_file(path), files, reference.task, reference.states, checkpoint.processor_digest(reference)]
        )

    def load(self, reference: Reference, workdir: Path, examples: Examples | None = None) -> Model:
        """Check and copy the graph. Raises UsageError for a bad file, UnsupportedError where operators do not run."""
        self.check(reference)
        if estimator_file.library_of(reference.ref) is not None:
            return estimator_file.load(reference, workdir)
        _privacy.no_telemetry()
        require("reading an ONNX file", "onnx")
        from edgekit.frameworks import onnx_classifier, onnx_graph, onnx_model, onnx_normal
        from edgekit.sources import onnx_states
        from edgekit.sources.onnx_original import open_original
        from edgekit.sources.onnx_states import StatefulOriginal

        path = Path(reference.ref)
        graph = workdir / onnx_model.GRAPH_FILE
        with guard(f"the ONNX file '{path}'", hint="export it again; a copy may be damaged"):
            proto = onnx_model.load(path)
            if broken := onnx_model.non_finite(proto):
                raise UsageError(
                    f"the weights of '{path}' are invalid: '{broken}' has values that are NaN or infinite.",
                    hint="export the model again from a valid checkpoint",
                )
            classes = onnx_classifier.class_names(proto)
            metadata = {entry.key: entry.value for entry in proto.metadata_props}
            notes = onnx_classifier.without_zipmap(proto)
            if onnx_normal.drop_weights_from_inputs(proto) or notes:
                onnx_model.save(proto, graph)
            else:
                onnx_model.copy_graph(path, graph)
            onnx_model.check(graph, given=path)
            # After the check: a broken graph would crash onnx's native code.
            proto, changes = onnx_normal.upgraded(proto)
            if changes:
                onnx_model.save(proto, graph)
                onnx_model.check(graph, given=path)
            part, states, paired = onnx_states.of_file(onnx_model.part_of(proto), reference.states)
        config = _task_config(reference, classes, part, metadata, workdir)
        if states:
            config = replace(config, calls=Calls((CalledPart(part.name, part.fed),), recurrent=True))
        config.save(workdir / ASSETS)
        info = ModelInfo(
            architecture=f"ONNX graph by {proto.producer_name or 'unknown'} {proto.producer_version}".strip(),
            parameters=onnx_model.parameter_count(proto),
            opset=onnx_graph.opset(proto),
            notes=(*notes, *changes, *paired),
        )
        original = open_original(graph, proto)
        return Model(
            format="onnx",
            parts=(part,),
            states=states,
            task=config.task,
            precision=onnx_model.precision_of(proto),
            info=info,
            folder=workdir,
            original=StatefulOriginal(original, part, states) if states else original,
        )


def _task_config(
    reference: Reference, classes: tuple[str, ...], part: Part, metadata: Mapping[str, str], workdir: Path
) -> TaskConfig:
    base = TaskConfig(reference.task or TASK, classes, numbers="names" if classes else None)
    detector = detector_guess.of_metadata(metadata, part.fed, part.outputs)
    if detector is not None and reference.task in (None, detectors.TASK):
        base = TaskConfig(detectors.TASK, detector.labels, image=detector.image, detection=detector.detection)
    if not reference.processor:
        return base
    return with_processor(base, Path(reference.processor), workdir / ASSETS, reference, inputs=part.fed)
