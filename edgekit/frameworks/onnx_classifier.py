"""What the graph of a classifier shows of its outputs: probabilities or not, and the names of its classes.

scikit-learn's, LightGBM's and XGBoost's converters write the class first, as an integer or text, and the probabilities
second, by default in a ZipMap: a sequence of dictionaries, which no runtime but onnxruntime has.
"""

from __future__ import annotations

from typing import Any

from edgekit.frameworks.onnx_graph import bodies
from edgekit.model import OutputHints

ML = "ai.onnx.ml"
CLASSIFIERS = ("TreeEnsembleClassifier", "LinearClassifier", "SVMClassifier")
NAMES_CLASSES = (*CLASSIFIERS, "ZipMap", "ArrayFeatureExtractor")
"""Operators beside which an output of text is the name of the class; any other is an answer of its own."""

_FLOATS = (1, 10, 11, 16)
_TEXT = 8
_PASSES_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout", "Clip")
"""Operators that change the form of values, not the values."""

_CHOOSES = ("Slice", "Gather", "GatherElements", "Split", "Transpose", "ArrayFeatureExtractor")
"""Operators that choose some of the values, or move them."""

_DEEPEST = 32
"""How many operators back from an output are read."""


def without_zipmap(proto: Any) -> tuple[str, ...]:
    """Take each ZipMap that is an output off the graph, in place, and return what was done, in words.

    Its input becomes the output. A classifier's outputs of text are taken off too where an output of numbers stays:
    edgekit compares numbers, and the names of the classes are read from the graph before (`class_names`).
    """
    from onnx import TensorProto, helper

    graph, notes = proto.graph, []
    producers = _producers(graph)
    known = {value.name: value for value in graph.value_info}
    classifies = any(node.domain == ML and node.op_type in NAMES_CLASSES for node in graph.node)
    outputs: list[Any] = []
    for value in graph.output:
        node = producers.get(value.name)
        if node is None or node.op_type != "ZipMap" or node.domain != ML:
            outputs.append(value)
            continue
        name = node.input[0]
        notes.append(f"the ZipMap '{value.name}' was taken off: its input '{name}' is the output")
        if all(name != other.name for other in (*graph.output, *outputs)):
            shape = ["N", len(_class_names(node))]
            outputs.append(known.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    numbers = [value for value in outputs if value.type.tensor_type.elem_type != _TEXT]
    if classifies and numbers and len(numbers) < len(outputs):
        texts = [value.name for value in outputs if value.type.tensor_type.elem_type == _TEXT]
        notes.append(f"the output of text '{', '.join(texts)}' was taken off: the classes have their names")
        outputs = numbers
    if notes:
        kept = [type(value).FromString(value.SerializeToString()) for value in outputs]
        del graph.output[:]
        graph.output.extend(kept)
        _remove_unused(graph)
    return tuple(notes)


def keep_scores(proto: Any, width: int) -> None:
    """Take every output but the one of float numbers off the graph of an estimator, in place; it is [N, `width`]."""
    from onnx import TensorProto, helper

    outputs = proto.graph.output
    name = next(value.name for value in outputs if value.type.tensor_type.elem_type in _FLOATS)
    del outputs[:]
    outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]))
    _remove_unused(proto.graph)


def output_hints(proto: Any) -> OutputHints:
    """Return which outputs are probabilities."""
    graph = proto.graph
    producers = _producers(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_location != 1}
    probable = tuple(
        value.name
        for value in graph.output
        if value.type.tensor_type.elem_type in _FLOATS and _is_probability(value.name, producers, constants)
    )
    return OutputHints(probable)


def class_names(proto: Any) -> tuple[str, ...]:
    """Return the names of the classes that the graph's own operators write; empty where they count from 0."""
    graph = proto.graph
    producers = _producers(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_location != 1}
    named = [_class_names(node) for node in graph.node if node.domain == ML and node.op_type in CLASSIFIERS]
    named += [_class_names(node) for node in graph.node if node.domain == ML and node.op_type == "ZipMap"]
    named += [_looked_up(value.name, producers, constants) for value in graph.output]
    names = next((names for names in named if names), ())
    return () if names == tuple(map(str, range(len(names)))) else names


def _class_names(node: Any) -> tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings" and attribute.strings:
            return tuple(name.decode("utf-8", "replace") for name in attribute.strings)
        if attribute.name in ("classlabels_int64s", "classlabels_ints") and attribute.ints:
            return tuple(map(str, attribute.ints))
    return ()


def _looked_up(name: str, producers: dict[str, Any], constants: dict[str, Any]) -> tuple[str, ...]:
    """Return the values of the constant in which an output looks its class up, as multilayer perceptrons do."""
    from onnx import numpy_helper

    node = _source(name, producers)
    if node is None or (node.domain, node.op_type) != (ML, "ArrayFeatureExtractor") or node.input[0] not in constants:
        return ()
    index = _source(node.input[1], producers)
    if index is None or index.op_type != "ArgMax":
        return ()
    values = numpy_helper.to_array(constants[node.input[0]]).reshape(-1).tolist()
    return tuple(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values)


def _source(name: str, producers: dict[str, Any]) -> Any:
    """Return the node whose values a tensor has, behind operators that only change their form; None for an input."""
    for _ in range(_DEEPEST):
        node = producers.get(name)
        if node is None or node.op_type not in _PASSES_ON or not node.input:
            return node
        name = node.input[0]
    return None


def _is_probability(name: str, producers: dict[str, Any], constants: dict[str, Any], depth: int = 0) -> bool:
    node = _source(name, producers)
    if node is None or depth > _DEEPEST:
        return False
    if node.op_type in _CHOOSES:
        return node.input[0] not in constants and _is_probability(node.input[0], producers, constants, depth + 1)
    again = [name for name in node.input if name and name not in constants]
    if node.domain == ML:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type in CLASSIFIERS:
            after = attributes["post_transform"].s if "post_transform" in attributes else b"NONE"
            return after in (b"LOGISTIC", b"SOFTMAX", b"SOFTMAX_ZERO", b"PROBIT")
        if node.op_type == "Normalizer":  # to shares of the sum: L1 of what is not negative
            return "norm" in attributes and attributes["norm"].s == b"L1"
        return False
    if node.op_type in ("Sigmoid", "Softmax", "HardSigmoid"):
        return True
    if node.op_type == "Exp":
        before = _source(node.input[0], producers)
        return before is not None and before.op_type == "LogSoftmax"
    if node.op_type == "Sub" and len(again) == 1 and node.input[0] in constants:  # 1 - p
        return _is_one(constants[node.input[0]]) and _is_probability(again[0], producers, constants, depth + 1)
    if node.op_type == "Mul" and len(again) == 1:  # by one, as LightGBM's converter writes it
        factor = next(name for name in node.input if name in constants)
        return _is_one(constants[factor]) and _is_probability(again[0], producers, constants, depth + 1)
    if node.op_type in ("Concat", "Mean", "Max", "Min", "ReduceMean") and again:  # an ensemble's mean, too
        return all(_is_probability(name, producers, constants, depth + 1) for name in again)
    return False


def _is_one(tensor: Any) -> bool:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    return bool(array.size == 1 and array.reshape(-1)[0] == 1)


def _producers(graph: Any) -> dict[str, Any]:
    return {name: node for node in graph.node for name in node.output if name}


def _remove_unused(graph: Any) -> None:
    """Remove the nodes that no output needs any more, so that no runtime has to know their operators."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        needed.update(name for body in bodies(node) for name in _read_inside(body))
    kept = [type(node).FromString(node.SerializeToString()) for node in reversed(kept)]
    del graph.node[:]
    graph.node.extend(kept)


def _read_inside(graph: Any) -> set[str]:
    """Return every name that the nodes of an inner graph read, those of the outer graph among them."""
    names = {value.name for value in graph.output}
    for node in graph.node:
        names.update(node.input)
        for body in bodies(node):
            names |= _read_inside(body)
    return names
