"""One model of the `onnx` package's backend tests: through edgekit, through the runtime itself, and what follows."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit import registry
from edgekit.errors import EdgekitError
from edgekit.model import Reference
from edgekit.plugin import Backend, Payload
from edgekit.sources.onnx_file import OnnxFile
from edgekit.target import target

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "real")
"""The package's folders; the models of `real` are those of `light`, whose weights are constants."""

RUNTIMES = ("onnxruntime", "openvino")
OUTSIDE = (
    " is a sequence; edgekit",
    " is a optional; edgekit",
    " is a map; edgekit",
    "which edgekit does not support",
    "is bf16, a type",
)
"""Parts of messages about inputs and outputs that edgekit does not feed: it takes tensors of numpy's types."""

Arrays = Sequence[Any]


@dataclass(frozen=True)
class Case:
    """A model with inputs and the right outputs, each in the order of the graph."""

    name: str
    model: Any
    data: tuple[tuple[Arrays, Arrays], ...]
    rtol: float
    atol: float


@dataclass(frozen=True)
class Result:
    """What one runtime's candidate came to."""

    case: str
    runtime: str
    verdict: str
    """passed | as the runtime | outside | fault"""
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """The outputs of each data set, or the message in place of them."""

    outputs: tuple[Arrays, ...] = ()
    refusal: str = ""
    crash: str = ""

    @property
    def message(self) -> str:
        return self.refusal or self.crash


def all_cases(kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """Return the package's test cases by kind and name; models on disk are not read yet."""
    from onnx.backend.test.loader import load_model_tests

    with np.errstate(all="ignore"):
        return {f"{kind}/{test.name}": test for kind in kinds for test in load_model_tests(kind=kind)}


def load(name: str, test: Any) -> Case:
    """Read a test case's model and its data."""
    if test.model is not None:
        data = tuple((_plain(inputs), _plain(outputs)) for inputs, outputs in test.data_sets)
        return Case(name, test.model, data, test.rtol, test.atol)
    if test.model_dir is not None:
        model = onnx.load(str(Path(test.model_dir) / "model.onnx"))
        sets = sorted(Path(test.model_dir).glob("test_data_set_*"))
        data = tuple(
            (_read(folder, "input", model.graph.input), _read(folder, "output", model.graph.output)) for folder in sets
        )
        return Case(name, model, data, test.rtol, test.atol)
    path = Path(onnx.__file__).parent.parent / test.url
    model = onnx.load(str(path))
    outputs = [
        numpy_helper.to_array(onnx.load_tensor(str(path.with_name(f"{path.stem}_output_{place}.pb"))))
        for place in range(len(model.graph.output))
    ]
    # The inputs for which the package stores these outputs: runner.Runner.generate_dummy_data.
    shapes = [[dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim] for value in fed(model)]
    sizes = [int(np.prod(shape)) for shape in shapes]
    inputs = [(np.arange(size).reshape(shape) / size).astype("f4") for shape, size in zip(shapes, sizes, strict=True)]
    return Case(name, model, ((inputs, outputs),), test.rtol, test.atol)


def fed(model: Any) -> list[Any]:
    """Return the graph inputs that are not weights."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def judge(case: Case) -> Iterator[Result]:
    """Yield the result of each runtime, and of the original that edgekit compares with."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "given.onnx"
        onnx.save(case.model, str(file))
        raw = {runtime: _raw_answers(runtime, case, file) for runtime in RUNTIMES}
        model: Any = None
        try:
            (folder / "source").mkdir()
            model = OnnxFile().load(Reference(str(file)), folder / "source")
        except Exception as error:
            answer = _failure(error)
            yield from (_verdict(case, runtime, answer, raw[runtime]) for runtime in RUNTIMES)
            return
        original = _answer(lambda case, _: _through(case, model.original.run), case, file)
        yield _verdict(case, "original", original, raw["onnxruntime"])
        for runtime in RUNTIMES:
            work = folder / runtime
            work.mkdir()
            answer = _answer(lambda case, _, r=runtime, w=work: _through_edgekit(case, model, r, w), case, file)
            yield _verdict(case, runtime, answer, raw[runtime])


def _through_edgekit(case: Case, model: Any, runtime: str, work: Path) -> tuple[Arrays, ...]:
    backend: Backend = registry.backend(runtime)
    here = target.load("host")
    bare = replace(model, original=None)
    if problems := backend.supports(bare, here).problems:
        raise EdgekitError("; ".join(problems))
    built = backend.build(bare, here, {"threads": 1}, work)
    payload = Payload(work, built.files, built.part or model.part, built.options)
    with closing(backend.open(payload)) as session:
        outputs = _through(case, session.run)
        for inputs, _ in case.data:
            session.bind(_feeds(case, inputs))()
        assert session.precision.main
    return outputs


def _through(case: Case, run: Callable[[dict[str, Any]], dict[str, Any]]) -> tuple[Arrays, ...]:
    names = [value.name for value in case.model.graph.output]
    answers = [run(_feeds(case, inputs)) for inputs, _ in case.data]
    return tuple([answer[name] for name in names] for answer in answers)


def _through_onnxruntime(case: Case, file: Path) -> tuple[Arrays, ...]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return tuple(session.run(None, _feeds(case, inputs)) for inputs, _ in case.data)


def _through_openvino(case: Case, file: Path) -> tuple[Arrays, ...]:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.compile_model(openvino.convert_model(str(file)), "CPU", settings)
    # Its inputs are those that it kept, by name or in the order of the graph.
    answers = []
    for inputs, _ in case.data:
        feeds = _feeds(case, inputs)
        places = {}
        for place, port in enumerate(compiled.inputs):
            name = next((name for name in port.get_names() if name in feeds), None)
            places[place] = feeds[name] if name else list(feeds.values())[place]
        answers.append(list(compiled(places).values()))
    return tuple(answers)


RAW = {"onnxruntime": _through_onnxruntime, "openvino": _through_openvino}


def _feeds(case: Case, inputs: Arrays) -> dict[str, Any]:
    values = fed(case.model) if len(fed(case.model)) == len(inputs) else case.model.graph.input
    arrays = (np.asarray(each) if isinstance(each, np.generic) else each for each in inputs)
    return dict(zip([value.name for value in values], arrays, strict=False))


def _answer(run: Callable[[Case, Path], tuple[Arrays, ...]], case: Case, file: Path) -> Answer:
    try:
        return Answer(run(case, file))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Answer:
    if isinstance(error, EdgekitError):
        return Answer(refusal=str(error))
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Answer(crash=f"{type(error).__name__} at {place}: {' '.join(lines)}")


def _raw_answers(runtime: str, case: Case, file: Path) -> list[Answer]:
    """Return what the runtime alone answers; where that is wrong, twice: one that is not even repeatable differs."""
    answer = _answer(RAW[runtime], case, file)
    if answer.message or not difference(answer.outputs, [outputs for _, outputs in case.data], case):
        return [answer]
    # Memory that it leaves as it finds it (OpenVINO's Tile with repeats as an input) must not look repeatable.
    arrays = [output for output in answer.outputs[0] if isinstance(output, np.ndarray)]
    filled = [np.full(output.size, fill, output.dtype) for output in arrays for fill in (1, 2, 3)]
    del filled
    return [answer, _answer(RAW[runtime], case, file)]


def _verdict(case: Case, runtime: str, answer: Answer, answers: list[Answer]) -> Result:
    raw, repeatable = answers[0], not difference(answers[-1].outputs, answers[0].outputs, case)
    right = [outputs for _, outputs in case.data]
    raw_fault = raw.message or difference(raw.outputs, right, case)
    if answer.crash:
        return Result(case.name, runtime, "fault", answer.crash)
    if answer.refusal:
        if any(part in answer.refusal for part in OUTSIDE):
            return Result(case.name, runtime, "outside", answer.refusal)
        return Result(case.name, runtime, "as the runtime" if raw_fault else "fault", answer.refusal)
    wrong = difference(answer.outputs, right, case)
    if not wrong:
        return Result(case.name, runtime, "passed", f"the runtime alone does not: {raw_fault}" if raw_fault else "")
    as_raw = not raw.message and (not repeatable or not difference(answer.outputs, raw.outputs, case))
    return Result(case.name, runtime, "as the runtime" if as_raw else "fault", f"wrong: {wrong}")


def difference(outputs: Sequence[Arrays], expected: Sequence[Arrays], case: Case) -> str:
    """Return how the outputs of all data sets differ from those expected; empty where they are equal enough."""
    from onnx.backend.test.runner import Runner

    try:
        for some, right in zip(outputs, expected, strict=True):
            Runner.assert_similar_outputs(right, some, case.rtol, case.atol)
    except Exception as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    return ""


def _read(folder: Path, side: str, values: Sequence[Any]) -> list[Any]:
    files = sorted(folder.glob(f"{side}_*.pb"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [_value(path.read_bytes(), value) for path, value in zip(files, values, strict=False)]


def _value(data: bytes, described: Any) -> Any:
    kind = described.type.WhichOneof("value")
    if kind == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind == "optional_type":
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _plain(values: Arrays) -> list[Any]:
    return [numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value for value in values]
