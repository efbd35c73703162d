"""Tables that do not read as they should: what is wrong, in which line, and a command that cures it, which is run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgekit.data import load
from edgekit.errors import UsageError
from tests.wording import mentions, raises

ROWS = "text,label\n“curly” words,1\nnaïve ones,0\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_another_encoding_is_named_and_the_command_converts_it(tmp_path, encoding):
    path = tmp_path / "of the editor.csv"
    path.write_bytes(ROWS.encode(encoding))
    with raises(UsageError, hint="iconv") as caught:
        load(str(path))
    assert mentions(caught.value.message, "UTF-8")
    command = caught.value.hint.partition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    samples = load(str(tmp_path / "of the editor-copy.csv"))
    assert [sample.fields["text"] for sample in samples] == ["“curly” words", "naïve ones"]


def test_a_zero_byte_is_named_with_its_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\ngood one,1\nbad\0 one,0\n")
    with raises(UsageError, "line 3", hint="tr -d") as caught:
        load(str(tmp_path / "a.csv"))
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    assert len(load(str(tmp_path / "a-copy.csv"))) == 2


def test_carriage_returns_alone(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\rgood one,1\rbad one,0\r")
    with raises(UsageError, "carriage return", hint="tr") as caught:
        load(str(tmp_path / "a.csv"))
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    assert len(load(str(tmp_path / "a-copy.csv"))) == 2


def test_a_long_document_is_read(tmp_path):
    words = "word " * 60_000
    (tmp_path / "a.csv").write_text(f'text,label\n"{words}",1\n{words},0\n')
    assert [len(sample.fields["text"]) for sample in load(str(tmp_path / "a.csv"))] == [300_000, 300_000]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('text,label\na "quoted" word,1\n"it never ends,0\n' + "some more words,1\n" * 3000, 3),
        ('text,label\n"two\nlines",1\n"three\nlines\nhere","open ""x""\n' + "some more words,1\n" * 9, 6),
        ('text,label\nfine words,1\nlast words,"never', 3),
    ],
    ids=["first field", "after rows of several lines", "last line"],
)
def test_a_quote_that_never_closes_is_named_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "a.csv").write_text(text)
    with raises(UsageError, f"line {line}", hint=f"line {line}"):
        load(str(tmp_path / "a.csv"))


def test_a_quote_that_another_one_closes_is_named_with_both_lines(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\nfine,1\n"opens here,0\nmore,1\n"good, one",1\nthe end,0\n')
    with raises(UsageError, ("lines 3 to 5", "opens in line 3", "closes in line 5"), hint="line 3"):
        load(str(tmp_path / "a.csv"))


def test_a_second_column_of_text_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("Class Index,Title,Description\n" + "3,a short title,a longer text about it\n" * 4)
    samples = load(str(tmp_path / "a.csv"))
    assert samples[0].text == ("Title",)
    assert mentions(samples.notes[0], "Class Index", "--label-column")
    assert mentions(samples.notes[1], "Title", "Description", "--text-column Title --text-column Description")
