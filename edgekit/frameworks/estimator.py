"""Estimators of scikit-learn, XGBoost, LightGBM and CatBoost: read from their files and converted to one ONNX graph."""

from __future__ import annotations

import contextlib
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import EnvironmentFault, UnsupportedError, UsageError
from edgekit.frameworks import onnx_classifier
from edgekit.frameworks.quiet import quiet

INPUT = "features"
OPSETS = {"": 17, "ai.onnx.ml": 3}
"""What the runtimes of boards have: ai.onnx.ml 5 came with onnxruntime 1.20 only."""


@dataclass(frozen=True, eq=False)
class Estimator:
    """A fitted estimator and what it takes."""

    value: Any
    library: str
    predict: Callable[[np.ndarray], Any]
    """From float64 [rows, columns] to probabilities [rows, classes], or numbers."""
    width: int
    columns: tuple[str, ...] = ()
    """The names of the columns in the order of training; empty where it was trained without names."""
    classes: tuple[str, ...] | None = None
    """The names of the classes by index; None of a regressor."""
    takes_missing: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class EstimatorOriginal:
    """The library's own prediction, computed as the library does: in float64 where it does."""

    estimator: Estimator
    framework: str
    output: str

    def run(self, feeds: Any) -> dict[str, np.ndarray]:
        """Return probabilities [rows, classes], or numbers [rows, 1], as float32."""
        rows = np.asarray(next(iter(feeds.values())), dtype=np.float64)
        return {self.output: predicted(self.estimator, rows).astype(np.float32)}


def predicted(estimator: Estimator, rows: np.ndarray) -> np.ndarray:
    """Return float64 [rows, classes], or [rows, 1] of a regressor."""
    with quiet():  # scikit-learn warns of arrays where it was trained with names
        values = np.asarray(estimator.predict(rows), dtype=np.float64).reshape(len(rows), -1)
    if estimator.classes is not None and values.shape[1] == 1:  # LightGBM's booster of two classes
        values = np.hstack([1 - values, values])
    return values


def read(path: Path, library: str) -> Estimator:
    """Return the estimator in a file. A pickle runs code: the caller has asked for the user's permission."""
    need(library)
    with quiet():
        if library == "xgboost":
            return _booster_of_xgboost(path)
        if library == "lightgbm":
            import lightgbm

            return _of_lightgbm(lightgbm.Booster(model_file=str(path)))
        if library == "catboost":
            import catboost

            return _of_catboost(catboost.CatBoost().load_model(str(path)))
    return _of_pickle(path)


def need(library: str) -> None:
    """Raise EnvironmentFault where the library or its converter is missing."""
    modules = {"pickle": ("sklearn", "joblib", "skl2onnx"), "catboost": ("catboost",)}
    missing = [name for name in modules.get(library, (library, "onnxmltools")) if find_spec(name) is None]
    if missing:
        own = f"{library} " if library in missing else ""
        raise EnvironmentFault(
            f"reading this model needs {', '.join(missing)}.", hint=f"pip install {own}'edgekit[tables]'"
        )


def _of_pickle(path: Path) -> Estimator:
    import joblib

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = joblib.load(path)
    notes = [str(entry.message).partition("This might")[0].strip() for entry in caught]
    library = type(value).__module__.partition(".")[0]
    if not hasattr(value, "predict"):
        raise UsageError(
            f"'{path}' holds a {type(value).__name__}, which is not an estimator.",
            hint="save the fitted estimator or pipeline itself: joblib.dump(model, 'model.joblib')",
        )
    return of_object(value, str(path), tuple(note for note in notes if "version" in note), library)


def of_object(value: Any, name: str, notes: tuple[str, ...], library: str) -> Estimator:
    """Return the estimator of a fitted object of one of the libraries. Raises UsageError for another."""
    if library == "lightgbm":
        need(library)
        return _of_lightgbm(value)
    if library == "catboost":
        return _of_catboost(value)
    if library == "xgboost":
        need(library)
        return _of_xgboost(value)
    width = getattr(value, "n_features_in_", None)
    if width is None:
        raise UsageError(
            f"'{name}' is not fitted, or does not show how many columns it takes.",
            hint="fit it, and save it again; an estimator of your own needs the attribute n_features_in_",
        )
    classes = getattr(value, "classes_", None)
    if isinstance(classes, list) or getattr(value, "n_outputs_", 1) not in (1, None):
        raise UsageError(
            f"'{name}' answers with several outputs a row.", hint="save an estimator for each of them, and export each"
        )
    if classes is not None and not hasattr(value, "predict_proba"):
        raise UsageError(
            f"'{name}' ({type(value).__name__}) has no predict_proba.",
            hint="wrap it in sklearn.calibration.CalibratedClassifierCV, fit that, and save it",
        )
    names = tuple(map(str, getattr(value, "feature_names_in_", ())))
    return Estimator(
        value,
        "scikit-learn",
        value.predict if classes is None else value.predict_proba,
        int(width),
        names,
        None if classes is None else _class_names(classes),
        _allows_nan(value),
        notes,
    )


def _allows_nan(value: Any) -> bool:
    """Return whether missing values survive the conversion: skl2onnx (1.20) loses their way in trees and forests of
    scikit-learn, and keeps it in HistGradientBoosting.
    """
    first = value.steps[0][1] if hasattr(value, "steps") else value
    return type(first).__name__ == "SimpleImputer" or type(value).__name__.startswith("HistGradientBoosting")


def _booster_of_xgboost(path: Path) -> Estimator:
    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    if not objective.startswith(("binary:logistic", "multi:", "reg:")):
        raise UnsupportedError(
            f"'{path}' has the objective '{objective}', whose answers edgekit does not judge.",
            hint="train with binary:logistic, multi:softprob or reg:squarederror",
        )
    kind = xgboost.XGBRegressor if objective.startswith("reg:") else xgboost.XGBClassifier
    model = kind()
    model.load_model(str(path))
    return _of_xgboost(model)


def _of_xgboost(model: Any) -> Estimator:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if booster is model:
        raise UsageError(
            "the pickle holds a Booster of XGBoost without its class.",
            hint="save it in its own form: booster.save_model('model.json'), and give that file",
        )
    names = tuple(booster.feature_names or ())
    booster.feature_names = None  # onnxmltools takes f0, f1, ... only; rows are given in the order of training
    classes = getattr(model, "classes_", None)
    predict = model.predict if classes is None else model.predict_proba
    shown = None if classes is None else _class_names(classes)
    return Estimator(model, "xgboost", predict, booster.num_features(), names, shown, True)


def _of_lightgbm(model: Any) -> Estimator:
    booster = getattr(model, "booster_", model)
    objective = str(booster.dump_model(num_iteration=1).get("objective", "")).partition(" ")[0]
    count = booster.num_model_per_iteration()
    classes = getattr(model, "classes_", None)
    if classes is None and objective in ("binary", "multiclass", "multiclassova"):
        classes = np.arange(max(2, count))
    names = tuple(booster.feature_name())
    if names == tuple(f"Column_{index}" for index in range(len(names))):
        names = ()
    shown = None if classes is None else _class_names(classes)
    return Estimator(booster, "lightgbm", booster.predict, booster.num_feature(), names, shown, True)


def _of_catboost(model: Any) -> Estimator:
    import functools

    classes = model.classes_ if len(model.classes_) else None
    names = tuple(model.feature_names_)
    if names == tuple(map(str, range(len(names)))):
        names = ()
    kind = "RawFormulaVal" if classes is None else "Probability"
    predict = functools.partial(model.predict, prediction_type=kind)
    shown = None if classes is None else _class_names(classes)
    return Estimator(model, "catboost", predict, len(model.feature_names_), names, shown, True)


def _class_names(classes: Any) -> tuple[str, ...]:
    """Return the names of the classes; 0.0 and 1.0 are 0 and 1."""
    values = np.asarray(classes).tolist()
    return tuple(str(int(value)) if isinstance(value, float) and value.is_integer() else str(value) for value in values)


def to_onnx(estimator: Estimator, name: str) -> Any:
    """Return the graph from `features`, float32 [N, columns], to one output: probabilities float32 [N, classes], or
    numbers [N, 1].

    Raises UnsupportedError with the converter's reason.
    """
    try:
        with quiet():
            proto = _converted(estimator)
    except Exception as error:  # converters raise what they like
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedError(
            f"{estimator.library}'s '{type(estimator.value).__name__}' in '{name}' does not convert to ONNX: {reason}",
            hint="leave out the step without a converter (columns of text and custom transformers: encode them in the "
            "data), or convert it with skl2onnx and a converter of your own, and give the .onnx file",
        ) from error
    onnx_classifier.without_zipmap(proto)
    width = 1 if estimator.classes is None else len(estimator.classes)
    onnx_classifier.keep_scores(proto, width)
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    for size in ("N", estimator.width):
        dimension = proto.graph.input[0].type.tensor_type.shape.dim.add()
        if isinstance(size, int):
            dimension.dim_value = size
        else:
            dimension.dim_param = size
    return proto


def _converted(estimator: Estimator) -> Any:
    shape = [None, estimator.width]
    if estimator.library == "catboost":
        import onnx

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            estimator.value.save_model(str(file), format="onnx")
            return onnx.load(str(file))
    if estimator.library == "scikit-learn":
        from skl2onnx import to_onnx as convert
        from skl2onnx.common.data_types import FloatTensorType

        options = {} if estimator.classes is None else {id(estimator.value): {"zipmap": False}}
        types = [(INPUT, FloatTensorType(shape))]
        with _whole_numbers():
            return convert(estimator.value, initial_types=types, options=options, target_opset=OPSETS)
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [(INPUT, FloatTensorType(shape))]
    if estimator.library == "xgboost":
        return onnxmltools.convert_xgboost(estimator.value, initial_types=types)
    return onnxmltools.convert_lightgbm(estimator.value, initial_types=types, zipmap=False)


@contextlib.contextmanager
def _whole_numbers() -> Iterator[None]:
    """Let skl2onnx write the way of missing values as 0 and 1: of HistGradientBoosting it writes Python's booleans
    (1.20), which onnx refuses in an attribute of integers.
    """
    from skl2onnx.common import tree_ensemble

    add_node = tree_ensemble.add_node

    def with_integers(*arguments: Any, nodes_missing_value_tracks_true: Any = 0, **options: Any) -> None:
        add_node(*arguments, nodes_missing_value_tracks_true=int(nodes_missing_value_tracks_true), **options)

    tree_ensemble.add_node = with_integers
    try:
        yield
    finally:
        tree_ensemble.add_node = add_node
