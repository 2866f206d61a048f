"""Local files are read as texts, by split, and what is wrong with one is said with its name."""

from __future__ import annotations

import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ladd_hf.data import batching, load_corpus, text_files
from ladd_hf.data.parquet_files import parquet_texts


@pytest.fixture
def load(tmp_path):
    """`load_corpus` with a cache of its own, of all that the files hold unless told otherwise."""

    def loaded(path, *args, held_out=0, **options):
        return load_corpus(path, *args, cache_dir=str(tmp_path / "cache"), held_out=held_out, **options)

    return loaded


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


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '[\n  {"text": "a"},\n  {"text": "b"}\n]\n',
        '["a", "b"]',
        '{"text": "a"}\n\n{"id": 3, "text": "b"}\n',
        '\ufeff{"text": "a"}\r\n{"text": "b"}',
    ],
)
def test_json_is_lines_or_a_list(folder, load, content, streaming):
    assert list(load(folder({"x.json": content}), "train", streaming=streaming)) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("streaming", [False, True])
def test_files_need_not_have_the_same_other_columns(folder, load, streaming):
    root = folder({"json/a.jsonl": '{"text": "a"}', "json/b.jsonl": '{"id": [3], "text": "b"}'})
    (root / "parquet").mkdir()
    pq.write_table(pa.table({"text": ["a"], "id": [0]}), root / "parquet" / "a.parquet")
    pq.write_table(pa.table({"url": ["x"], "text": pa.array(["b"], pa.large_string())}), root / "parquet" / "b.parquet")
    for kind in ("json", "parquet"):
        assert list(load(root / kind, "train", streaming=streaming)) == [{"text": "a"}, {"text": "b"}]


def test_json_that_changed_is_read_again(folder, load):
    root = folder({"x.jsonl": '{"text": "a"}\n'})
    assert load(root, "train")["text"][:] == ["a"]
    assert load(folder({"x.jsonl": '{"text": "a longer text"}\n'}), "train")["text"][:] == ["a longer text"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("sample_by", "rows"),
    [
        ("document", ["one\ntwo\n\nthree"]),
        ("line", ["one\n", "two\n", "\n", "three"]),
        ("paragraph", ["one\ntwo", "three"]),
    ],
)
def test_a_byte_order_mark_is_no_text_and_line_ends_are_one_character(folder, load, sample_by, rows, streaming):
    root = folder({"x.txt": b"\xef\xbb\xbfone\r\ntwo\r\n\r\nthree"})
    assert [row["text"] for row in load(root, "train", sample_by=sample_by, streaming=streaming)] == rows


def test_what_tells_of_a_folder_is_no_text_of_it(folder, load):
    files = {"README.md": "About", "sub/readme.md": "About", "dataset_info.json": "{}"}
    assert load(folder({**files, "a.md": "a"}), "train")["text"][:] == ["a"]
    assert load(folder(files) / "README.md", "train")["text"][:] == ["About"], "unless it is asked for"


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


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
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


def _parquet(columns):
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"a.bin": "x"}, FileNotFoundError, r"is or holds no file that is accepted: give \.txt"),
        ({"a.txt": "x", "b.jsonl": "{}"}, ValueError, r"files of several kinds \(json, text\)"),
        ({"a.jsonl": '{"body": "x"}'}, ValueError, "has no column 'text', but 'body'"),
        ({"a.jsonl": '{"text": 3}'}, ValueError, "column 'text' of .* holds a number .*, but strings are accepted"),
        (
            {"a.jsonl": '{"text": "x"}\n{"text": ["y"]}'},
            ValueError,
            r"of .*a\.jsonl holds a list \(line 2\), but strings",
        ),
        ({"a.json": '{"text": "x"', "b.json": "{}"}, ValueError, r"Line 1 of the file .*a\.json is not JSON \("),
        ({"a.json": '[\n{"text": "x"},\n]'}, ValueError, r"Line 3 of the file .*a\.json is not JSON \("),
        (
            {"a.jsonl": '{"text": "x"}\n\nnot'},
            ValueError,
            r"Line 3 of the file .*a\.jsonl is not JSON \(.*character 1\)",
        ),
        ({"a.json": '"abc"'}, ValueError, r"a\.json holds a string for a row"),
        ({"a.json": "3"}, ValueError, r"Line 1 of the file .*a\.json holds a number for a row, but an object"),
        ({"a.json": "[null]"}, ValueError, r"Line 1 of the file .*a\.json holds a null for a row, but an object"),
        ({"a.json": "[]"}, ValueError, r"The file .*a\.json holds no rows"),
        ({"a.json": "{}"}, ValueError, r"a\.json has no column 'text', nor any other"),
        (
            {"a.jsonl": '{"text": "x"}', "b.jsonl": '{"body": "y"}'},
            ValueError,
            r"b\.jsonl has no column 'text', but 'bo",
        ),
        ({"a.parquet": "PARxgarbage"}, ValueError, r"a\.parquet is no parquet file, or a damaged one \("),
        ({"a.parquet": ""}, ValueError, r"a\.parquet is no parquet file, or a damaged one \("),
        ({"a.parquet": _parquet({"text": pa.array([], pa.string())})}, ValueError, r"a\.parquet holds no rows"),
        ({"a.parquet": _parquet({"body": ["x"]})}, ValueError, r"a\.parquet has no column 'text', but 'body'"),
        ({"a.parquet": _parquet({"text": [3]})}, ValueError, r"'text' of .*a\.parquet holds int64, but strings"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_no_corpus_is_refused(folder, load, files, error, message, streaming):
    with pytest.raises(error, match=message):
        list(load(folder(files), "train", streaming=streaming))


def test_a_parquet_file_that_is_damaged_inside_is_named(folder, load):
    content = bytearray(_parquet({"text": [f"{number} some text" for number in range(9)]}))
    content[8:40] = bytes(32)
    with pytest.raises(ValueError, match=r"b\.parquet is no parquet file, or a damaged one \("):
        load(folder({"a.parquet": _parquet({"text": ["fine"]}), "b.parquet": bytes(content)}))


def test_what_is_a_row_is_one_of_three(folder, load):
    with pytest.raises(ValueError, match="`sample_by` is 'word', but one of 'document', 'paragraph', 'line'"):
        load(folder({"a.txt": "x"}), sample_by="word")


# --- a path is a path ---

NAMES = ["a[1]", "a*", "a?", "a**", "[ab]", "a{b,c}", "!a", "a::b", "~a", "a%20b", "ä b", "a#b"]


def _content(kind, text):
    if kind == "parquet":
        return _parquet({"text": [text]})
    return json.dumps({"text": text}) if kind == "jsonl" else text


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["txt", "md", "jsonl", "parquet"])
@pytest.mark.parametrize("name", NAMES)
def test_any_characters_of_a_name_are_its_own(folder, load, name, kind, streaming):
    files = {f"{name}.{kind}": "its own", f"a1.{kind}": "a1", f"ab.{kind}": "ab", f"b.{kind}": "b"}
    root = folder({file: _content(kind, text) for file, text in files.items()})
    assert [row["text"] for row in load(root / f"{name}.{kind}", "train", streaming=streaming)] == ["its own"]
    assert sorted(row["text"] for row in load(root, "train", streaming=streaming)) == ["a1", "ab", "b", "its own"]


@pytest.mark.parametrize("name", NAMES)
def test_so_are_those_of_a_folders_and_of_the_cache(folder, tmp_path, name):
    root = folder({f"{name}/train.txt": "one", f"{name}/test.txt": "two", "ab/train.txt": "no", "a1/train.txt": "no"})
    for streaming in (False, True):
        data = load_corpus(root / name, streaming=streaming, cache_dir=str(tmp_path / name))
        assert {split: [row["text"] for row in rows] for split, rows in data.items()} == {
            "train": ["one"],
            "test": ["two"],
        }
    assert list((tmp_path / name).rglob("*.arrow"))


def test_a_name_that_is_no_file_is_no_pattern(folder):
    root = folder({"a1.txt": "one", "a2.txt": "two"})
    with pytest.raises(FileNotFoundError, match=r"no file or folder '.*a\*\.txt'"):
        load_corpus(str(root / "a*.txt"))


# --- what is cached is named by what the files hold ---


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_a_file_that_changed_is_read_again_however_little_tells_of_it(folder, load, kind):
    path = folder({f"x.{kind}": _content(kind, "aaa")}) / f"x.{kind}"
    state = path.stat()
    assert load(path, "train")["text"][:] == ["aaa"]
    folder({f"x.{kind}": _content(kind, "bbb")})
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size and path.stat().st_mtime_ns == state.st_mtime_ns
    assert load(path, "train")["text"][:] == ["bbb"]


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_the_same_files_are_found_again_wherever_they_lie(folder, load, kind, monkeypatch):
    root = folder({f"one/x.{kind}": _content(kind, "aaa"), f"two/y.{kind}": _content(kind, "aaa")})
    first = load(root / "one", "train")
    monkeypatch.setattr(text_files.TextFile, "texts", None)
    again = load(root / "two", "train")
    assert again["text"][:] == ["aaa"] and again._fingerprint == first._fingerprint and again.cache_files


def test_what_decides_the_rows_names_them(folder, load):
    root = folder({"x.txt": "one\n\ntwo", "y/x.jsonl": '{"text": "a", "body": "b"}'})
    for sample_by, rows in (("document", 1), ("paragraph", 2), ("line", 3), ("document", 1)):
        assert len(load(root / "x.txt", "train", sample_by=sample_by)) == rows
    for column in ("text", "body"):
        assert load(root / "y", "train", text_column=column)["text"][:] == [{"text": "a", "body": "b"}[column]]


# --- texts that cannot be written, and files that are not whole ---

DEEP = 100_000


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": "b \\ud800 c"}', r"Line 2 of .*a\.jsonl holds half a character \(\\ud800 without"),
        ('{"text": "\\udc00"}', r"Line 1 of .*a\.jsonl holds half a character \(\\udc00 without"),
        ('{"text": "x", "other": ' + "[" * DEEP + "]" * DEEP + "}", r"Line 1 of .*a\.jsonl holds JSON that cannot be"),
        (
            '{"text": "x"}\n' + '{"a":' * DEEP + "1" + "}" * DEEP,
            r"Line 2 of .*a\.jsonl holds JSON that cannot be read",
        ),
        ("[\n" + "[" * DEEP + "\n" + "]" * DEEP + "]", r"Line 1 of .*a\.jsonl holds JSON that cannot be read"),
        ('{"text": "x", "number": ' + "1" * 5000 + "}", r"Line 1 of .*a\.jsonl holds JSON that cannot be read"),
    ],
    ids=["a half", "the other half", "deep lists", "deep objects", "deep over lines", "a long number"],
)
def test_json_that_python_can_not_take_is_named(folder, load, content, message, streaming):
    with pytest.raises(ValueError, match=message):
        list(load(folder({"a.jsonl": content}), "train", streaming=streaming))


def test_a_character_in_two_halves_is_one(folder, load):
    assert load(folder({"a.jsonl": '{"text": "\\ud83d\\ude00"}'}), "train")["text"][:] == ["😀"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("damage", ["zeros", "cut", "not utf-8"])
def test_a_parquet_file_that_is_damaged_inside_is_named_streamed_too(folder, load, damage, streaming):
    content = bytearray(_parquet({"text": [f"{number} some text" for number in range(9)]}))
    if damage == "zeros":
        content[8:40] = bytes(32)
    elif damage == "cut":
        content = content[:100] + content[-len(content) + 160 :]
    else:
        content = bytearray(_parquet({"text": pa.array([b"ab\xff"] * 3).view(pa.string())}))
    root = folder({"a.parquet": _parquet({"text": ["fine"]}), "b.parquet": bytes(content)})
    with pytest.raises(ValueError, match=r"b\.parquet is no parquet file, or a damaged one \("):
        list(load(root, "train", streaming=streaming))


# --- sizes ---


@pytest.mark.parametrize("encoding", ["dictionary", "plain", "delta"])
@pytest.mark.parametrize("different", [False, True])
def test_long_texts_of_a_parquet_file_are_read_a_few_at_a_time(tmp_path, monkeypatch, encoding, different):
    monkeypatch.setattr(batching, "MAX_SIZE", 1 << 16)
    texts = [("x" * 10_000) + (f"{number:04}" if different else "") for number in range(1000)]
    how = {"dictionary": {}, "plain": {"use_dictionary": False}}
    how["delta"] = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}
    # a page is read as a whole: here it has few texts
    how[encoding] |= {"compression": "zstd", "write_batch_size": 8, "data_page_size": 1000}
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", **how[encoding])
    before, most = pa.total_allocated_bytes(), 0
    for text, expected in zip(parquet_texts(str(tmp_path / "a.parquet"), "text"), texts, strict=True):
        assert text == expected
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 4_000_000, "of 10 million characters"
