"""The list of tasks agrees with the tasks, the metrics and the manual."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit import tasks
from edgekit.cli import cli
from edgekit.tasks import catalogue
from edgekit.tasks.metrics import METRICS

DOCS = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_every_task_of_its_own_is_described():
    names = [entry.name for entry in catalogue.ENTRIES]
    assert len(names) == len(set(names)) and set(names) <= set(tasks.known())
    assert set(tasks.OWN) - {"image-segmentation"} <= set(names)  # another name of semantic-segmentation
    assert {metric for entry in catalogue.ENTRIES for metric in entry.metrics} <= set(METRICS)


def test_the_manual_has_the_same_list():
    assert catalogue.markdown() in DOCS.read_text(encoding="utf-8")


def test_the_verb_lists_and_shows_them():
    listed = CliRunner().invoke(cli, ["tasks"])
    assert listed.exit_code == 0 and all(entry.name in listed.stdout for entry in catalogue.ENTRIES)
    shown = json.loads(CliRunner().invoke(cli, ["tasks", "question-answering", "--json"]).stdout)
    assert shown["tasks"][0]["metrics"] == ["f1", "exact-match"]
    assert "exact-match" in CliRunner().invoke(cli, ["tasks", "question-answering"]).stdout
    assert CliRunner().invoke(cli, ["tasks", "depth-estimation"]).exit_code == 0
    unknown = CliRunner().invoke(cli, ["tasks", "ner"])
    assert unknown.exit_code == 2 and "token-classification" in unknown.stderr


@pytest.mark.parametrize("name", ["translation", "text-generation", "image-classification"])
def test_examples_are_of_the_verb_run(name):
    (entry,) = [entry for entry in catalogue.ENTRIES if entry.name == name]
    assert entry.example.startswith("edgekit run out/model ")
