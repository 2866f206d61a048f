"""Local files are read as texts, by split, and what is wrong with one is said with its name."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladd_hf.data import load_corpus, text_files


@pytest.fixture
def load(tmp_path):
    """`load_corpus` with a cache of its own."""
    return lambda path, *args, **options: load_corpus(path, *args, cache_dir=str(tmp_path / "cache"), **options)


@pytest.fixture
def folder(tmp_path):
    """`folder({name: content})`."""

    def write(files):
        root = tmp_path / "corpus"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return write


@pytest.mark.parametrize("streaming", [False, True])
def test_a_text_file_is_a_document(folder, load, streaming):
    root = folder({"a.txt": "one\n\ntwo\n", "b.txt": "drei äöü"})
    (data,) = load(root, streaming=streaming).values()
    assert [row["text"] for row in data] == ["one\n\ntwo\n", "drei äöü"]
    assert all(row.keys() == {"text"} for row in data)


@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [("document", ["one\nmore\n\ntwo"]), ("line", ["one\n", "more\n", "\n", "two"])],
)
def test_what_is_a_row_can_be_chosen_and_no_character_is_lost(folder, load, sample_by, rows):
    root = folder({"a.txt": "one\nmore\n\ntwo"})
    assert load(root / "a.txt", "train", sample_by=sample_by)["text"][:] == rows


@pytest.mark.parametrize("streaming", [False, True])
def test_json_lines_and_parquet_give_one_column(folder, load, streaming):
    lines = "".join(json.dumps({"id": number, "body": text}) + "\n" for number, text in enumerate(["a", "b"]))
    root = folder({"x.jsonl": lines})
    pq.write_table(pa.table({"body": ["a", "b"], "id": [0, 1]}), root.parent / "x.parquet")
    for path in (root, root.parent / "x.parquet"):
        data = load(path, "train", streaming=streaming, text_column="body")
        assert list(data) == [{"text": "a"}, {"text": "b"}]


def test_splits_are_named_by_files_or_folders(folder, load):
    root = folder({"train-00.txt": "a", "more.txt": "b", "val/x.txt": "c", "my_test.txt": "d", ".hidden/x.txt": "e"})
    data = load(root)
    assert {name: sorted(split["text"]) for name, split in data.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["d"],
    }
    assert load(root, "test")["text"][:] == ["d"]
    with pytest.raises(ValueError, match=r"has no split 'dev', but '"):
        load(root, "dev")


def test_a_stream_has_a_shard_for_each_file(folder, load):
    assert load(folder({f"{name}.txt": name for name in "abc"}), "train", streaming=True).num_shards == 3


# --- what is wrong with a file ---

BAD = [b"\xff", b"\xc3", b"\xe2\x82", b"\x80", b"\xed\xa0\x80"]


@pytest.mark.parametrize("content", ["", " \n\t\n"])
def test_an_empty_file_is_named(folder, load, content):
    with pytest.raises(ValueError, match=r"The file .*b\.txt is empty"):
        load(folder({"a.txt": "a", "b.txt": content}))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(max_size=9), st.sampled_from([b"\xff", b"\xc3", b"\xe2\x82", b"\x80", b"\xed\xa0\x80"]), st.integers(1, 8)
)
def test_a_file_that_is_not_utf8_is_named_with_the_first_bad_byte(tmp_path, before, bad, chunk):
    path = tmp_path / "bad.txt"
    path.write_bytes(before.encode() + bad + b"a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "_CHUNK", chunk)
        offset = len(before.encode())
        with pytest.raises(ValueError, match=rf"bad\.txt is not UTF-8: the byte {bad[0]:#04x} at offset {offset} "):
            text_files.check_text_file(path)


def test_a_file_that_ends_in_the_middle_of_a_character_is_not_utf8(folder, load):
    with pytest.raises(ValueError, match=r"a\.jsonl is not UTF-8: the byte 0xe2 at offset 12 "):
        load(folder({"a.jsonl": b'{"text": "a\n' + "€".encode()[:2]}))


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"a.bin": "x"}, FileNotFoundError, r"is or holds no file that is accepted: give \.txt"),
        ({"a.txt": "x", "b.jsonl": "{}"}, ValueError, r"files of several kinds \(json, text\)"),
        ({"a.jsonl": '{"body": "x"}'}, ValueError, "has no column 'text', but 'body'"),
        ({"a.jsonl": '{"text": 3}'}, ValueError, "column 'text' of .* holds .*int64.*, but strings are accepted"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_no_corpus_is_refused(folder, load, files, error, message, streaming):
    with pytest.raises(error, match=message):
        list(load(folder(files), "train", streaming=streaming))


def test_what_is_a_row_is_one_of_three(folder, load):
    with pytest.raises(ValueError, match="`sample_by` is 'word', but one of 'document', 'paragraph', 'line'"):
        load(folder({"a.txt": "x"}), sample_by="word")
