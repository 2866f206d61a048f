"""text8 is read from its archive, split by characters and cached."""

from __future__ import annotations

import zipfile

import datasets
import pytest

from ladd_hf.data import (
    character_tokenizer,
    load_corpus,
    token_blocks,
)
from ladd_hf.data.corpora import separator_of
from ladd_hf.data.text8 import Text8


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that nobody has written to."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


SMALL = (90, 5, 5)
WHOLE = ("the quick brown fox jumps over the lazy dog " * 3)[:100]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("source", ["zip", "file", "hub", "hub, split"])
def test_text8_is_split_by_characters(hub, tmp_path, source, streaming):
    path = None
    if source == "zip":
        path = tmp_path / "text8.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("text8", WHOLE)
    elif source == "file":
        path = tmp_path / "text8"
        path.write_text(WHOLE)
    elif source == "hub":
        hub({"afmck/text8": {"train": {"text": [WHOLE]}, "test": {"text": [WHOLE[95:]]}}})
    else:
        pieces = {"train": WHOLE[:90], "validation": WHOLE[90:95], "test": WHOLE[95:]}
        hub({"afmck/text8": {name: {"text": [text]} for name, text in pieces.items()}})
    corpus = Text8(sizes=SMALL, path=path)
    parts = ["".join(row["text"] for row in corpus.load(split, streaming)) for split in corpus.splits]
    assert parts == [WHOLE[:90], WHOLE[90:95], WHOLE[95:]]


def test_text8_is_ninety_five_and_five_million_characters():
    assert Text8().sizes == (90_000_000, 5_000_000, 5_000_000)


def test_pieces_of_text8_become_contiguous_blocks(tmp_path, monkeypatch):
    (tmp_path / "text8").write_text(WHOLE)
    monkeypatch.setattr(Text8, "_piece", 7)
    tokenizer = character_tokenizer()
    blocks = token_blocks(
        Text8(sizes=SMALL, path=tmp_path / "text8").load("train", False), tokenizer, 8, special_tokens=False
    )
    assert (
        "".join(tokenizer.decode(row["input_ids"][row["attention_mask"].astype(bool)]) for row in blocks) == WHOLE[:90]
    )


def test_only_pieces_of_one_text_have_nothing_between_them(tmp_path):
    for folder in ("file", "folder/text8"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file" / "text8").write_text(WHOLE)
    assert [separator_of(name) for name in ("text8", tmp_path / "file" / "text8")] == ["", ""]
    others = ["python-docs", "user/name", tmp_path / "file", tmp_path / "folder" / "text8", tmp_path / "nowhere.txt"]
    assert {separator_of(name) for name in others} == {" "}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"too short", "has 9 characters, of its 27 symbols, but text8 has 100,000,000"),
        (b"Caps and \xff", "has 10 characters, 'C', .* among them, but text8 has"),
    ],
)
def test_what_is_not_text8_is_refused(tmp_path, content, message):
    (tmp_path / "text8").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(tmp_path / "text8", "train")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"PKgarbage"), r"text8\.zip is no zip archive"),
        (lambda path: zipfile.ZipFile(path, "w").close(), r"text8\.zip holds no file `text8`"),
    ],
)
def test_what_is_not_text8s_archive_is_refused(tmp_path, write, message):
    write(tmp_path / "text8.zip")
    with pytest.raises(ValueError, match=message):
        load_corpus(tmp_path / "text8.zip", "train")


def test_text8_is_read_once_and_memory_mapped_from_then_on(tmp_path, monkeypatch):
    (tmp_path / "text8").write_text(WHOLE)
    corpus = Text8(sizes=SMALL, path=tmp_path / "text8")
    first = corpus.load("train", False)
    with monkeypatch.context() as patch:
        patch.setattr(Text8, "_whole", None)
        again = corpus.load("train", False)
    assert again["text"][:] == first["text"][:] and again.cache_files
    other = WHOLE.replace("fox", "cat")
    (tmp_path / "text8").write_text(other)
    assert "".join(corpus.load("train", False)["text"]) == other[:90], "the file's content decides, not its name"
