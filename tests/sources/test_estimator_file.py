"""Estimators of tables: their files become graphs that answer as the library does, and pickles are read on request."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Model, Reference
from edgekit.pipeline.source import source_for
from edgekit.tasks.config import TaskConfig
from tests.wording import raises

pytestmark = pytest.mark.needs("sklearn", "skl2onnx")

NAMES = ("age", "limit", "delay", "paid")


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return 400 rows of float32 numbers with empty cells, and two classes."""
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4)).astype(np.float32).astype(np.float64)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + random.normal(size=400) / 3 > 0).astype(int)
    x[::7, 3] = np.nan
    return x, y


def loaded(file: Path, work: Path, **options: Any) -> Model:
    work.mkdir()
    reference = Reference(str(file), **options)
    return source_for(reference).load(reference, work)


def differences(model: Model, x: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference of the graph, and of the original, from the library's own answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model.graph), providers=["CPUExecutionProvider"])
    feeds = {"features": x.astype(np.float32)}
    (graph,) = session.run(None, feeds)
    assert model.original is not None
    (original,) = model.original.run(feeds).values()
    assert graph.shape == original.shape == expected.shape
    return float(max(np.abs(graph - expected).max(), np.abs(original - expected).max()))


def dumped(value: Any, file: Path) -> Path:
    import joblib

    joblib.dump(value, file)
    return file


def fitted(x: np.ndarray, y: np.ndarray) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=10).fit(x, y)


@pytest.mark.needs("onnxruntime")
def test_an_estimator_of_scikit_learn(rows: Any, tmp_path: Path) -> None:
    x, y = rows
    model = fitted(x, y)
    result = loaded(dumped(model, tmp_path / "model.joblib"), tmp_path / "work", allow_pickle=True)
    assert differences(result, x, model.predict_proba(x)) < 1e-5
    assert result.task == "tabular-classification" and result.info.trusted == ("pickle: model.joblib",)


@pytest.mark.needs("onnxruntime")
def test_a_pipeline_with_names_of_classes(rows: Any, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = np.nan_to_num(rows[0]), np.where(rows[1] == 1, "paid", "default")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    result = loaded(dumped(model, tmp_path / "model.pkl"), tmp_path / "work", allow_pickle=True)
    assert differences(result, x, model.predict_proba(x)) < 1e-5
    config = TaskConfig.load(result.assets)
    assert config is not None and config.labels == ("default", "paid")


@pytest.mark.needs("xgboost", "onnxmltools", "onnxruntime")
@pytest.mark.parametrize("suffix", [".json", ".ubj"])
def test_xgboost(rows: Any, tmp_path: Path, suffix: str) -> None:
    import xgboost

    x, y = rows
    model = xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(x, y)
    model.get_booster().feature_names = list(NAMES)
    model.save_model(tmp_path / f"model{suffix}")
    model.get_booster().feature_names = None
    result = loaded(tmp_path / f"model{suffix}", tmp_path / "work")
    assert differences(result, x, model.predict_proba(x)) < 1e-5
    config = TaskConfig.load(result.assets)
    assert config is not None and config.tabular is not None and config.tabular.columns == NAMES


@pytest.mark.needs("lightgbm", "onnxmltools", "onnxruntime")
def test_lightgbm(rows: Any, tmp_path: Path) -> None:
    import lightgbm

    x, y = rows
    data = lightgbm.Dataset(x, y, feature_name=list(NAMES))
    model = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 10)
    model.save_model(tmp_path / "model.txt")
    shares = model.predict(x)
    result = loaded(tmp_path / "model.txt", tmp_path / "work")
    assert differences(result, x, np.stack([1 - shares, shares], 1)) < 1e-5


@pytest.mark.needs("catboost", "onnxruntime")
def test_catboost(rows: Any, tmp_path: Path) -> None:
    import catboost

    x, y = rows
    model = catboost.CatBoostClassifier(iterations=10, verbose=0, allow_writing_files=False, thread_count=1).fit(x, y)
    model.save_model(str(tmp_path / "model.cbm"))
    result = loaded(tmp_path / "model.cbm", tmp_path / "work")
    assert differences(result, x, model.predict_proba(x)) < 1e-5


@pytest.mark.needs("onnxruntime")
def test_a_regressor(rows: Any, tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor

    x = np.nan_to_num(rows[0])
    model = RandomForestRegressor(5, random_state=0).fit(x, x[:, 0] * 3)
    result = loaded(dumped(model, tmp_path / "model.joblib"), tmp_path / "work", allow_pickle=True)
    assert result.task == "tabular-regression"
    assert differences(result, x, model.predict(x)[:, None]) < 1e-4


def test_a_pickle_is_not_read_without_permission(rows: Any, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    file = dumped(Trap(), tmp_path / "model.joblib")
    with raises(UsageError, "pickle", hint=("--allow-pickle", "skl2onnx")):
        source_for(Reference(str(file)))
    assert not (tmp_path / "ran").exists()


def test_estimators_that_do_not_answer_with_probabilities(rows: Any, tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier

    x, y = np.nan_to_num(rows[0]), rows[1]
    margin = dumped(LinearSVC().fit(x, y), tmp_path / "margin.joblib")
    with raises(UsageError, "predict_proba", hint="CalibratedClassifierCV"):
        loaded(margin, tmp_path / "margin", allow_pickle=True)
    several = dumped(DecisionTreeClassifier().fit(x, np.stack([y, y], 1)), tmp_path / "several.joblib")
    with raises(UsageError, "several outputs", hint="export each"):
        loaded(several, tmp_path / "several", allow_pickle=True)
    other = dumped({"weights": [1, 2]}, tmp_path / "other.joblib")
    with raises(UsageError, "dict", hint="joblib.dump"):
        loaded(other, tmp_path / "other", allow_pickle=True)


def test_an_estimator_without_a_converter(rows: Any, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    x, y = np.nan_to_num(rows[0]), rows[1]
    model = make_pipeline(FunctionTransformer(np.tanh), LogisticRegression()).fit(x, y)
    file = dumped(model, tmp_path / "model.joblib")
    with raises(UnsupportedError, "scikit-learn", hint="skl2onnx"):
        loaded(file, tmp_path / "work", allow_pickle=True)


@pytest.mark.needs("onnxruntime", "edgekit_onnxruntime")
def test_from_a_file_to_scores_of_rows(rows: Any, tmp_path: Path) -> None:
    import pandas

    x, y = rows
    model = fitted(pandas.DataFrame(x, columns=NAMES), y)
    file, data = dumped(model, tmp_path / "model.joblib"), tmp_path / "rows.csv"
    order = [2, 0, 3, 1]
    with data.open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow([*(NAMES[place] for place in order), "label"])
        for row, label in zip(x[:60], y[:60], strict=True):
            writer.writerow(["" if np.isnan(row[place]) else repr(float(row[place])) for place in order] + [int(label)])
    result = edgekit.export(
        str(file), data=str(data), output=str(tmp_path / "out"), allow_pickle=True, label_column="label",
        candidates=["onnxruntime/fp32"], bench=False,
    )  # fmt: skip
    shipped = result.report.shipped
    assert shipped is not None and shipped.quality is not None
    assert shipped.quality.metric == "auc" and shipped.quality.score is not None and shipped.quality.score > 0.9
    assert shipped.quality.score == pytest.approx(shipped.quality.original_score, abs=1e-6)
    bundle = edgekit.open(result.bundle.path)
    expected = model.predict_proba(pandas.DataFrame(x[1:2], columns=NAMES))[0].max()
    as_row = bundle.predict(dict(zip(NAMES, x[1].tolist(), strict=True)))
    as_text = bundle.predict(",".join(map(repr, x[1].tolist())))
    assert as_row == as_text and as_row["score"] == pytest.approx(expected, abs=1e-5)
