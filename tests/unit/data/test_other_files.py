"""What else the library `datasets` reads is read as the known kinds are: by split, held out, cached by contents."""

from __future__ import annotations

import gzip

import datasets
import pyarrow as pa
import pytest

from ladd_hf.data import load_corpus

LINES = '{"text": "a"}\n{"text": "b"}\n'


@pytest.fixture
def load(tmp_path):
    """`load(path, streaming)`: the texts of a path by split."""

    def loaded(path, streaming=False, **options):
        options = {"cache_dir": str(tmp_path / "cache"), "held_out": 0, **options}
        found = load_corpus(path, streaming=streaming, **options)
        return {name: [row["text"] for row in split] for name, split in found.items()}

    return loaded


def packed(text):
    """Compresses a text, to the same bytes at any time."""
    return gzip.compress(text.encode(), mtime=0)


def write_arrow(path, columns):
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("streaming", [False, True])
def test_arrow_files_and_compressed_ones_are_read(tmp_path, load, streaming):
    (tmp_path / "arrow").mkdir()
    write_arrow(tmp_path / "arrow" / "train[1].arrow", {"id": [1, 2], "body": ["a", "b"]})
    write_arrow(tmp_path / "arrow" / "test.arrow", {"id": [3], "body": ["c"]})
    (tmp_path / "arrow" / "LICENSE").write_text("none of the data")
    assert load(tmp_path / "arrow", streaming, text_column="body") == {"train": ["a", "b"], "test": ["c"]}
    for name, content in {"x.jsonl.gz": LINES, "x.csv.gz": "text\na\nb\n", "y.txt.gz": "a\nb\n"}.items():
        (tmp_path / name).write_bytes(packed(content))
    for name in ("x.jsonl.gz", "x.csv.gz"):
        assert load(tmp_path / name, streaming) == {"train": ["a", "b"]}, name
    assert load(tmp_path / "y.txt.gz", streaming) == {"train": ["a\nb\n"]}
    assert load(tmp_path / "y.txt.gz", streaming, sample_by="line") == {"train": ["a\n", "b\n"]}
    assert load(tmp_path / "x.jsonl.gz", streaming, held_out=0.5) == {"train": ["a"], "validation": ["b"]}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("x.log", b"a", FileNotFoundError, r"x\.log is or holds no file that is accepted: give \.txt"),
        ("x", b"a", FileNotFoundError, r"x is or holds no file that is accepted"),
        ("x.arrow", b"garbage", ValueError, r"`datasets` cannot read the file .*x\.arrow \("),
        ("x.jsonl.gz", b"garbage", ValueError, r"`datasets` cannot read the file .*x\.jsonl\.gz \("),
        ("x.jsonl.gz", packed('{"body": "a"}\n'), ValueError, r"has no column 'text', but 'body'"),
        ("x.jsonl.gz", packed('{"text": 3}\n'), ValueError, r"holds int \(row 1\), but strings are accepted"),
    ],
    ids=["unknown", "no ending", "broken Arrow", "broken gzip", "no such column", "no texts"],
)
def test_what_it_does_not_read_is_refused_in_a_sentence(tmp_path, load, streaming, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        load(tmp_path / name, streaming)


def test_packed_tables_hold_texts_as_they_stand(tmp_path, load):
    (tmp_path / "x.csv.gz").write_bytes(packed("text\nNA\nnull\n007\n"))
    (tmp_path / "x.tsv.gz").write_bytes(packed("n\ttext\n1\tNA\n2\t7, 8\n"))
    assert load(tmp_path / "x.csv.gz") == {"train": ["NA", "null", "007"]}
    assert load(tmp_path / "x.tsv.gz") == {"train": ["NA", "7, 8"]}
    (tmp_path / "y.csv.gz").write_bytes(b"garbage")
    with pytest.raises(ValueError, match=r"The file .*y\.csv\.gz cannot be unpacked \("):
        load(tmp_path / "y.csv.gz")


def test_a_link_is_read_by_its_own_name_and_a_pattern_in_a_folder_is_named(tmp_path, load):
    (tmp_path / "blob").write_bytes(packed(LINES))
    (tmp_path / "x.jsonl.gz").symlink_to(tmp_path / "blob")
    assert load(tmp_path / "x.jsonl.gz") == {"train": ["a", "b"]}
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]" / "x.jsonl.gz").write_bytes(packed(LINES))
    with pytest.raises(ValueError, match=r"in a folder with '\[', '\?' or '\*' in its name"):
        load(tmp_path / "a[1]" / "x.jsonl.gz")


def test_of_a_folder_one_kind_is_read(tmp_path, load):
    for name in ("a.arrow", "b.xml"):
        (tmp_path / name).write_bytes(b"a")
    with pytest.raises(ValueError, match=r"files of several kinds \(\.arrow, \.xml\)"):
        load(tmp_path)
    (tmp_path / "c.csv").write_text("text\na\n")
    assert load(tmp_path) == {"train": ["a"]}, "a known kind is the data"


def test_a_file_that_changed_is_read_again(tmp_path, load, monkeypatch):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(packed(LINES))
    assert load(path) == {"train": ["a", "b"]}
    path.write_bytes(packed(LINES.replace("b", "c")))
    assert load(path) == {"train": ["a", "c"]}
    rows = datasets.load_dataset
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: asked.append(1) or rows(*args, **options))
    assert load(path) == {"train": ["a", "c"]} and len(asked) == 1, "of what is cached the first row is checked"
