"""CSV and TSV files are read as any program writes them, and a broken one is named with the line."""

from __future__ import annotations

import csv

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladd_hf.data import load_corpus
from ladd_hf.data.csv_files import csv_texts


@pytest.fixture
def load(tmp_path):
    """`load(name, content, **options)`: the training texts of a file, on disk and streamed, which are the same."""

    def loaded(name, content, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        options = {"cache_dir": str(tmp_path / "cache"), "held_out": 0, **options}
        kept, streamed = (load_corpus(path, "train", streaming=streaming, **options) for streaming in (False, True))
        assert list(kept) == list(streamed)
        return kept["text"][:]

    return loaded


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5), separator=st.sampled_from(",\t"))
def test_every_text_that_is_written_is_read_unchanged(tmp_path, texts, separator):
    path = tmp_path / "texts"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([["id", "body"], *([str(number), text] for number, text in enumerate(texts))])
    assert list(csv_texts(str(path), "body", separator)) == texts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", 'id,text\n1,"a, ""b"""\n\n2,"c\nd"\n'),
        ("x.CSV", b'\xef\xbb\xbfid,text\r\n1,"a, ""b"""\r\n2,"c\nd"'),
        ("x.tsv", 'id\ttext\n1\t"a, ""b"""\n2\t"c\nd"\n'),
    ],
)
def test_commas_or_tabs_separate_what_may_be_quoted(load, name, content):
    assert load(name, content) == ['a, "b"', "c\nd"]


def test_a_long_text_is_read_and_a_share_is_held_out(load):
    assert load("x.csv", f"text\n{'a' * 200_000}\n") == ["a" * 200_000]
    assert len(load("x.csv", "body\n" + "a b\n" * 20, text_column="body", held_out=0.1)) == 18


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,body\n1,a\n", r"has no column 'text', but 'id', 'body': name the one with the texts"),
        ("id;text\n1;a\n", r"is separated by semicolons, but commas are accepted in a file .*'\.tsv'"),
        ("id\ttext\n1\ta\n", r"is separated by tabs, but commas are accepted"),
        (
            "id,text\n1,a\n2,b,c\n",
            r"Line 3 of the file .*x\.csv has 3 columns, and the header 2: put texts that hold",
        ),
        ("id,text\n1,a\n\n2\n", r"Line 4 of the file .*x\.csv has 1 columns"),
        ('id,text\n1,"a" b\n', r"Line 2 of the file .*x\.csv cannot be read \(.*\): double each quote"),
        ('id,text\n1,"a\n2,b\n', r"Line 3 of the file .*x\.csv cannot be read \(unexpected end of data\)"),
        ("id,text\n", r"x\.csv holds no rows"),
        (" \n", r"x\.csv is empty"),
        (b"text\n\xff\n", r"x\.csv is not UTF-8: the byte 0xff at offset 5"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(load, content, message):
    with pytest.raises(ValueError, match=message):
        load("x.csv", content)
