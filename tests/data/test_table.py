"""csv, tsv and jsonl: headers found or not, columns by name and by content, rows on disk; three real tables."""

from __future__ import annotations

import csv
import json
import tracemalloc

import pytest

from edgekit.data import DataRef, load
from edgekit.errors import UsageError
from tests.wording import mentions, raises


def test_sst2_has_no_header(assets):
    samples = load(str(assets / "data-sst2" / "dev.tsv"))
    lines = (assets / "data-sst2" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    assert len(samples) == len(lines) == 872
    assert samples[0].fields == {"c0": "one long string of cliches"}
    assert samples[0].text == ("c0",) and samples.classes == (0, 1)
    assert [f"{s.fields['c0']}\t{s.label}" for s in samples] == lines


def test_stsb_has_no_header_and_two_texts(assets):
    path = assets / "data-stsb" / "stsb-en-test.csv"
    samples = load(str(path))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(samples) == len(rows) == 1379
    for sample, (a, b, score) in zip(samples, rows, strict=True):
        assert (sample.fields["c0"], sample.fields["c1"], sample.label) == (a, b, float(score))
    assert samples[0].text == ("c0", "c1") and samples.classes == ()


def test_uci_credit_has_a_header(assets):
    samples = load(str(assets / "data-uci-credit" / "UCI_Credit_Card.csv"))
    assert len(samples) == 30000 and samples.classes == (0, 1)
    assert samples[0].fields["X1"] == 20000 and samples[0].label == 1
    assert list(samples[0].fields)[:3] == ["ID", "X1", "X2"] and "Y" not in samples[0].fields
    share = sum(samples.take(1000, 0).labels) / 1000
    assert share == pytest.approx(sum(samples.labels) / 30000, abs=0.001)


def test_rows_stay_on_disk(tmp_path):
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("text,label\n")
        for index in range(20000):
            file.write(f"{'word ' * 200}{index},{index % 2}\n")
    tracemalloc.start()
    samples = load(str(path))
    count = sum(len(sample.fields["text"]) for sample in samples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 20e6 and peak < 2.5e6


def test_quoted_cells_with_commas_and_line_breaks(tmp_path):
    rows = [
        ["one, two", "a"],
        ['with "quotes"\nand a break', "b"],
        ["sep\u2028arator \x0b \x1c", "a"],
        ["última línea", "b"],
    ]
    path = tmp_path / "quoted.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerows([["text", "label"], *rows])
    samples = load(str(path))
    assert [[s.fields["text"], s.label] for s in samples] == rows
    assert samples[3].fields["text"] == rows[3][0] and samples[1].label == "b"


def test_semicolons_and_blank_lines(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\n\ngood thing;1\n\n\nbad thing;0\n\n")
    assert [(s.fields["text"], s.label) for s in load(str(tmp_path / "a.csv"))] == [("good thing", 1), ("bad thing", 0)]


def test_tsv_has_no_quotes(tmp_path):
    (tmp_path / "a.tsv").write_text('sentence\tlabel\n"so it begins\t1\nthe end" he said\t0\n')
    assert [s.fields["sentence"] for s in load(str(tmp_path / "a.tsv"))] == ['"so it begins', 'the end" he said']


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("text,label\ngood film,pos\nbad film,neg\n", True),
        ("good film,pos\nbad film,neg\nfine film,pos\nso so,neg\n", False),
        ("a,b\n1,2\n3,4\n", True),
        ("1,2\n3,4\n", False),
        ("review_body,stars\nnice thing,5\n", True),
        ("nice thing,5\nawful thing,1\n", False),
    ],
)
def test_headers(tmp_path, text, header):
    (tmp_path / "a.csv").write_text(text)
    samples = load(str(tmp_path / "a.csv"))
    assert len(samples) == text.count("\n") - header
    assert ("c0" in samples[0].fields) != header


def test_label_words_without_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("good film,pos\nbad film,neg\nfine film,pos\nnot nice,neg\n")
    samples = load(str(tmp_path / "a.csv"))
    assert samples.labels == ["pos", "neg", "pos", "neg"] and samples[0].text == ("c0",)


def test_columns_asked_for(tmp_path):
    (tmp_path / "a.csv").write_text("id,title,body,verdict\n1,A title,some body,yes\n2,B title,other body,no\n")
    samples = load(DataRef(str(tmp_path / "a.csv"), None, ("title", "body"), "verdict"))
    assert samples[0].text == ("title", "body") and samples.labels == ["yes", "no"]
    with raises(UsageError, ("'verdit'", "'verdict'")) as caught:
        load(DataRef(str(tmp_path / "a.csv"), label_column="verdit"))
    assert "id, title, body, verdict" in caught.value.hint


def test_glue_columns_in_jsonl(tmp_path):
    rows = [
        {"idx": 0, "premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"},
        {"idx": 1, "premise": "a b", "hypothesis": "c d", "label": None},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    samples = load(str(tmp_path / "a.jsonl"))
    assert len(samples) == 2 and samples[0].text == ("premise", "hypothesis")
    assert samples.labels == ["entailment", None] and samples[1].fields["hypothesis"] == "c d"


def test_a_bad_json_line_is_named_by_number(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a b", "label": 1}\n\n{"text": "broken\n')
    with raises(UsageError, "a.jsonl'", "line 3", "JSON"):
        load(str(tmp_path / "a.jsonl"))
    (tmp_path / "b.jsonl").write_text('{"text": "a b"}\n[1, 2]\n')
    with raises(UsageError, "b.jsonl'", "line 2", "JSON object"):
        load(str(tmp_path / "b.jsonl"))


def test_a_ragged_row_is_named_by_number(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\ngood film,1\nbad, film,0\n")
    with raises(UsageError, "a.csv'", ("line 3", "3", "2")):
        load(str(tmp_path / "a.csv"))


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\ncafé noir,1\n".encode("latin-1"))
    with raises(UsageError, "a.csv'", "UTF-8", "line 2", hint="iconv") as caught:
        load(str(tmp_path / "a.csv"))
    assert "iconv" in caught.value.hint


def test_a_table_without_a_usable_column_lists_them(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"label": 1, "note": null}\n')
    with raises(UsageError, "a.jsonl'", hint="--text-column") as caught:
        load(str(tmp_path / "a.jsonl"))
    assert "label, note" in caught.value.hint


def test_a_header_alone_is_not_data(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    with raises(UsageError, "a.csv'", "header"):
        load(str(tmp_path / "a.csv"))


def test_pictures_named_by_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\nimg/1.png,cat\nimg/2.png,dog\n")
    samples = load(str(tmp_path / "a.csv"))
    assert samples[0].fields["file"] == tmp_path / "img" / "1.png" and samples.classes == ("cat", "dog")


def test_a_folder_of_tables_by_split(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na b,1\n")
    (tmp_path / "test.csv").write_text("text,label\nc d,0\ne f,1\n")
    samples = load(str(tmp_path))
    assert len(samples) == 2 and any(mentions(note, "'test'") for note in samples.notes)
    assert len(load(DataRef(str(tmp_path), split="train"))) == 1
    with raises(UsageError, ("'tset'", "'test'")):
        load(DataRef(str(tmp_path), split="tset"))


def test_digest_follows_content_and_columns(tmp_path):
    for name, text in (("a", "text,label\na b,1\n"), ("b", "text,label\na b,1\n"), ("c", "text,label\na c,1\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    a, b, c = (load(str(tmp_path / f"{name}.csv")).digest for name in "abc")
    assert a == b != c
    assert load(DataRef(str(tmp_path / "a.csv"), text_columns=("label",), label_column="text")).digest != a


WORDS = "".join(f"the film number {number} was seen,{'good' if number % 2 else 'bad'}\n" for number in range(12))


@pytest.mark.parametrize(
    ("head", "names", "rows"),
    [
        ("comment,verdict\n", ["comment", "verdict"], 12),  # a word above a column of two others
        ("text,verdict\n", ["text", "verdict"], 12),
        ("", ["c0", "c1"], 12),
        ("a film with no name,good\n", ["c0", "c1"], 13),  # a row like the others
    ],
)
def test_headers_of_unknown_words(head, names, rows, tmp_path):
    (tmp_path / "data.csv").write_text(head + WORDS)
    samples = load(DataRef(str(tmp_path / "data.csv")))
    assert len(samples) == rows
    assert set(samples[0].fields) <= set(names)


def test_a_label_column_that_is_not_recognised_is_reported(tmp_path):
    (tmp_path / "data.csv").write_text("tweet,polarity\n" + "so nice a day,1\nso sad a day,0\n" * 4)
    (note,) = load(DataRef(str(tmp_path / "data.csv"))).notes
    assert mentions(note, "polarity", "--label-column")
    assert load(DataRef(str(tmp_path / "data.csv"), label_column="polarity")).notes == ()


def test_a_header_that_names_two_columns_alike_is_refused(tmp_path):
    (tmp_path / "data.csv").write_text("text,text,label\na b,c d,1\n")
    with raises(UsageError, "data.csv'", "'text'"):
        load(DataRef(str(tmp_path / "data.csv")))
