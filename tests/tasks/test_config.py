"""The record of a task: written and read again, and read as earlier versions wrote it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgekit.data import Sample
from edgekit.errors import ArtifactError, UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, load
from edgekit.tasks.config import FILE
from tests.wording import raises

KEPT = Path(__file__).parent.parent / "fixtures" / "tasks" / "multi-label.json"
"""The record of a checkpoint of several labels without a tokenizer, judged by a metric of the user's own; a table
`facts` holds what are fields now."""

SPEC = TensorSpec("input_ids", "i64", ("batch", "length"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copy(KEPT, tmp_path / FILE)
    return tmp_path


def test_a_record_of_an_earlier_version_means_the_same(old: Path) -> None:
    config = TaskConfig.load(old)
    assert config is not None
    assert (config.task, config.labels, config.metric) == (
        "text-classification", ("bad", "fair", "good"), "own_metric:share"
    )  # fmt: skip
    assert config.problem_type == "multi-label" and config.activation is None
    assert config.no_preprocessing == "there is no tokenizer in 'reviews'"
    assert config.metric_code == json.loads(KEPT.read_text())["facts"]["metric_code"]
    task = load(config, old, [SPEC])
    assert task.problem == "several-labels"
    assert task.predict([{"logits": np.array([[2.0, -1.0, 3.0]])}]).value == (True, False, True)
    with raises(UsageError, "tokenizer", "'reviews'"):
        next(task.steps(Sample({"text": old / "review.txt"})))


def test_it_is_written_as_fields(old: Path, tmp_path: Path) -> None:
    config = TaskConfig.load(old)
    assert config is not None
    config.save(tmp_path / "new")
    assert TaskConfig.load(tmp_path / "new") == config
    assert "facts" not in json.loads((tmp_path / "new" / FILE).read_text())


@pytest.mark.parametrize(
    ("facts", "fields"),
    [
        ({}, {}),
        ({"problem": "regression"}, {"problem_type": "regression"}),
        ({"problem": "values"}, {"problem_type": "values"}),
        ({"activation": "probabilities"}, {"activation": "probabilities"}),
        ({"image": "it pads"}, {"no_preprocessing": "it pads"}),
    ],
)
def test_each_of_the_old_facts_is_a_field(facts: dict[str, str], fields: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"task": "image-classification", "facts": facts}))
    assert TaskConfig.load(tmp_path) == TaskConfig("image-classification", **fields)  # type: ignore[arg-type]


def test_a_problem_type_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"task": "image-classification", "problem_type": "multi-lable"}))
    with raises(ArtifactError, ("'multi-lable'", "'multi-label'")):
        TaskConfig.load(tmp_path)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (TaskConfig("image-classification"), "classes"),
        (TaskConfig("image-classification", problem_type="multi-label"), "several-labels"),
        (TaskConfig("text-classification", problem_type="regression"), "numbers"),
        (TaskConfig("text-classification", problem_type="values"), "outputs"),
        (TaskConfig("image-classification", metric="package.module:function"), "classes"),
        (TaskConfig("feature-extraction"), "outputs"),
        (TaskConfig("fill-mask"), "outputs"),
        (TaskConfig("tensor"), "outputs"),
    ],
)
def test_a_task_has_the_problem_that_training_solves(config: TaskConfig, problem: str) -> None:
    assert load(config, Path("none"), [TensorSpec("x", "f32", ("batch", 3))]).problem == problem
