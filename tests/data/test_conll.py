"""CoNLL files, and tables with lists of words and tags."""

from __future__ import annotations

import json

import pytest

from edgekit.data import DataRef, load
from edgekit.errors import UsageError
from tests.wording import raises

TEXT = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nPeter NNP B-PER\n \nBlackburn NNP I-PER\n"


def test_columns_by_spaces_or_tabs_and_sentences_by_lines_without_a_token(tmp_path):
    (tmp_path / "a.conll").write_text(TEXT)
    rows = load(str(tmp_path / "a.conll"))
    assert [row.fields["tokens"] for row in rows] == [["EU", "rejects"], ["Peter"], ["Blackburn"]]
    assert rows.labels == [["B-ORG", "O"], ["B-PER"], ["I-PER"]]
    (tmp_path / "b.annotated").write_text("a\tB-x\n\t\nthe end\tO\n")
    assert [row.fields["tokens"] for row in load(str(tmp_path / "b.annotated"))] == [["a"], ["the end"]]
    assert load(str(tmp_path / "a.conll")).digest != load(str(tmp_path / "b.annotated")).digest


def test_bad_lines_are_named(tmp_path):
    (tmp_path / "a.conll").write_text("EU B-ORG\nrejects\n")
    with raises(UsageError, ("line 2", "1 columns"), hint="token"):
        load(str(tmp_path / "a.conll"))
    (tmp_path / "b.conll").write_text("\n\n")
    with raises(UsageError, "no tokens", hint="tab"):
        load(str(tmp_path / "b.conll"))
    with raises(UsageError, "--label-column", hint="jsonl"):
        load(DataRef(str(tmp_path / "a.conll"), label_column="ner"))
    (tmp_path / "c.txt").write_text("a plain text\nof two lines\n")
    with raises(UsageError, "'.txt'", hint=".conll"):
        load(str(tmp_path / "c.txt"))


def test_tables_with_words_and_tags(tmp_path):
    rows = [{"id": "0", "tokens": ["EU", "rejects"], "pos_tags": [1, 2], "ner_tags": ["B-ORG", "O"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows * 3)))
    sample = load(str(tmp_path / "a.jsonl"))[0]
    assert sample.label == ["B-ORG", "O"] and sample.fields["tokens"] == ["EU", "rejects"]


def test_class_numbers_of_datasets_become_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-ORG"])),
        }
    )
    table = datasets.Dataset.from_dict({"tokens": [["EU", "rejects"]], "ner_tags": [[1, 0]]}, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    table.to_parquet(str(tmp_path / "a.parquet"))
    for name in ("saved", "a.parquet"):
        assert load(str(tmp_path / name)).labels == [["B-ORG", "O"]]


def test_squad_files(tmp_path):
    qas = [
        {"id": "1", "question": "Who?", "answers": [{"text": "Peter", "answer_start": 0}]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
    ]
    (tmp_path / "a.json").write_text(
        json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "Peter ran.", "qas": qas}]}]})
    )
    rows = load(str(tmp_path / "a.json"))
    assert rows.labels == [["Peter"], []]
    assert rows[1].fields == {"question": "When?", "context": "Peter ran."} and rows[1].text == ("question", "context")
    (tmp_path / "b.json").write_text('{"data": [{"paragraphs": [{"qas": []}]}]}')
    with raises(UsageError, "no questions", hint="paragraphs"):
        load(str(tmp_path / "b.json"))
    (tmp_path / "c.json").write_text('{"data": [{"paragraphs": [{"qas": [{"question": "?"}]}]}]}')
    with raises(UsageError, "SQuAD", hint="train-v1.1"):
        load(str(tmp_path / "c.json"))


def test_a_table_of_questions_has_its_answers_as_labels(tmp_path):
    row = {"context": "Peter ran home.", "question": "Who ran?", "answers": {"text": ["Peter"], "answer_start": [0]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    sample = load(str(tmp_path / "a.jsonl"))[0]
    assert sample.text == ("question", "context") and sample.label == row["answers"]
