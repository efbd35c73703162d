"""Files of scikit-learn, XGBoost, LightGBM and CatBoost: converted to an ONNX graph for a table's rows."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import _privacy
from edgekit._reading import guard
from edgekit._record import digest_of, digest_of_file
from edgekit._requirement import require, versions
from edgekit.errors import UsageError
from edgekit.model import ASSETS, Model, ModelInfo, Reference
from edgekit.sources import other_formats
from edgekit.tasks.config import TabularConfig, TaskConfig

if TYPE_CHECKING:
    from edgekit.frameworks import estimator as estimators

PICKLES = (".pkl", ".pickle", ".joblib")
PACKAGES = ("scikit-learn", "skl2onnx", "onnxmltools", "xgboost", "lightgbm", "catboost")
PEEK = 64
"""How many bytes of a file show the library that wrote it."""


def library_of(ref: str) -> str | None:
    """Return what wrote a file: pickle, xgboost, lightgbm or catboost; None for any other, and where there is none."""
    path = Path(ref)
    suffix = path.suffix.lower()
    if suffix not in (*PICKLES, ".ubj", ".json", ".txt", ".cbm") or not path.is_file():
        return None
    if suffix in PICKLES:
        return "pickle"
    start = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(PEEK)
    if suffix == ".cbm":
        return "catboost" if start.startswith(b"CBM1") else None
    if suffix == ".txt":
        return "lightgbm" if start.startswith(b"tree") and b"version=" in start else None
    return "xgboost" if start.startswith(b"{") and b"learner" in start else None


def check(reference: Reference) -> None:
    """Raise UsageError for a pickle that the user has not allowed, before it is read."""
    path = Path(reference.ref)
    if path.suffix.lower() in PICKLES and not reference.allow_pickle and (error := other_formats.of_file(path)):
        raise error


def digest(reference: Reference) -> str:
    """Return the digest over the file, the options and the versions of the libraries that convert it."""
    return digest_of([digest_of_file(Path(reference.ref)), reference.task, versions(PACKAGES)])


def load(reference: Reference, workdir: Path) -> Model:
    """Return the estimator as an ONNX model whose original is the library's own prediction.

    Raises UsageError for a damaged file and for another kind of object, UnsupportedError for one without a converter.
    """
    check(reference)
    _privacy.no_telemetry()
    require("converting an estimator", "onnx")
    from edgekit.frameworks import estimator as estimators
    from edgekit.frameworks import onnx_graph, onnx_model

    path = Path(reference.ref)
    library = library_of(reference.ref)
    if library is None:
        raise UsageError(f"'{path}' is not the file of an estimator.", hint="give the file that the library saved")
    with guard(f"the model '{path}'", hint="save it again with the versions that are installed here"):
        estimator = estimators.read(path, library)
    proto = estimators.to_onnx(estimator, path.name)
    graph = workdir / onnx_model.GRAPH_FILE
    onnx_model.save(proto, graph)
    onnx_model.check(graph, given=path)
    part = onnx_model.part_of(proto)
    config = _task_config(reference, estimator, part.outputs[0].name)
    config.save(workdir / ASSETS)
    packages = versions([estimator.library])
    framework = " ".join((estimator.library, *packages.values()))
    info = ModelInfo(
        architecture=f"{type(estimator.value).__name__} of {framework}",
        parameters=onnx_model.parameter_count(proto),
        opset=onnx_graph.opset(proto),
        notes=estimator.notes,
        trusted=(f"pickle: {path.name}",) if library == "pickle" else (),
    )
    return Model(
        format="onnx",
        parts=(part,),
        task=config.task,
        precision="f32",
        info=info,
        folder=workdir,
        original=estimators.EstimatorOriginal(estimator, framework, part.outputs[0].name),
    )


def _task_config(reference: Reference, estimator: estimators.Estimator, output: str) -> TaskConfig:
    classes = estimator.classes
    counted = classes is None or classes == tuple(map(str, range(len(classes))))
    return TaskConfig(
        reference.task or ("tabular-regression" if classes is None else "tabular-classification"),
        () if counted else classes or (),
        numbers=None if counted else "names",
        output=output,
        activation=None if classes is None else "probabilities",
        tabular=TabularConfig(columns=estimator.columns, missing="nan" if estimator.takes_missing else None),
    )
