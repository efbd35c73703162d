"""Run an ONNX file as it is: the reference for models that come as ONNX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import _privacy
from edgekit.errors import BuildError, EnvironmentFault, UnsupportedError
from edgekit.frameworks import onnx_graph
from edgekit.sources.onnx_reference import open_reference

if TYPE_CHECKING:
    import numpy as np


BOOL = 9  # onnx.TensorProto.DataType

TRAINING_MODE = 2
"""The place of Dropout's input that switches it on."""


@dataclass(frozen=True)
class OnnxOriginal:
    """An onnxruntime session on the processor, in the file's own precision, without fusions."""

    session: Any
    framework: str
    path: Path
    random: tuple[str, ...] = ()
    """The operators that may draw random numbers, each with its node."""

    def random_operators(self, feeds: Mapping[str, np.ndarray]) -> tuple[str, ...]:
        return self.random

    def run_seeded(self, feeds: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        """Return the outputs of a new session whose random numbers begin at `seed`, exactly as the file says: fusions
        remove dropout that is in training mode. A file without operators that draw runs as it is.
        """
        if not self.random:
            return self.run(feeds)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.set_seed(seed)
        session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        return replace(self, session=session).run(feeds)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return every output by name. Raises BuildError with the runtime's message."""
        names = [value.name for value in self.session.get_outputs()]
        try:
            return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))
        except Exception as error:  # onnxruntime's exceptions share no public base
            raise BuildError(f"the original model does not run: {_without_codes(error)}") from error


def open_original(path: Path, proto: Any) -> OnnxOriginal:
    """Return the file opened in onnxruntime, or, where that lacks an operator of a small graph, in onnx's reference
    implementation. `proto` is its model, for the names of nodes in errors.

    Raises UnsupportedError for operators that both lack.
    """
    _privacy.no_telemetry()
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFault("running an ONNX file needs onnxruntime.", hint="pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Above "basic" operators are fused and reordered: the sums would differ from those that the file's author saw.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        random = _random_operators(proto)
        if not random and (session := open_reference(path, proto)) is not None:
            return OnnxOriginal(session, f"onnx {onnx.__version__}, its reference implementation", path)
        raise _refusal(error, proto, onnxruntime.__version__) from error
    framework = f"onnxruntime {onnxruntime.__version__}, the file as it is"
    return OnnxOriginal(session, framework, path, _random_operators(proto))


RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


def _random_operators(proto: Any) -> tuple[str, ...]:
    """Return each operator of the graph that draws random numbers, with its node."""
    off = {
        tensor.name
        for graph in onnx_graph.graphs(proto.graph)
        for tensor in graph.initializer
        if tensor.data_type == BOOL and not any(tensor.raw_data) and not any(tensor.int32_data)
    }
    drawing = []
    for node in onnx_graph.nodes(proto):
        trains = (
            "Dropout" in node.op_type
            and len(node.input) > TRAINING_MODE
            and node.input[TRAINING_MODE] not in {"", *off}
        )
        if node.op_type in RANDOM or trains:
            mode = " in training mode" if trains else ""
            drawing.append(f"{node.op_type}{mode} (node {onnx_graph.name_of(node)})")
    return tuple(dict.fromkeys(drawing))


def _refusal(error: Exception, proto: Any, version: str) -> UnsupportedError:
    """Return the error that names the operators, each with a node, that the message of onnxruntime mentions."""
    text = str(error)
    problems = []
    for node in (node for graph in onnx_graph.graphs(proto.graph) for node in graph.node):
        standard = node.domain in ("", "ai.onnx", "ai.onnx.ml")
        label = node.op_type if standard else f"{node.domain}:{node.op_type}"
        forms = (f"for {node.op_type}(", f"{label}(", f"{node.domain}.{node.op_type}")
        problem = f"operator '{label}' (node '{node.name or node.output[0]}')"
        if any(form in text for form in forms) and problem not in problems:
            problems.append(problem)
    if opset := re.search(r"Opset (\d+) is under development.* till opset (\d+)", text):
        return UnsupportedError(
            f"the model's operator set {opset[1]} is newer than the latest of onnxruntime {version}, {opset[2]}.",
            hint=f"export it again with opset {opset[2]} or lower, or pip install --upgrade onnxruntime",
        )
    return UnsupportedError(
        f"onnxruntime {version} cannot load the model: {_without_codes(error)}",
        problems=problems[:10],
        hint="replace the operator when exporting, or pass the model as package.module:factory",
    )


def _without_codes(error: Exception) -> str:
    """Return the first line of an onnxruntime message without its codes."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    text = re.sub(r"^Load model from .* failed: ?", "", text.split(" : ")[-1].strip())
    return text.removeprefix("Fatal error: ").strip()
