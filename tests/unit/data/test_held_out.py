"""A share of one's own texts is held out where nobody has set any apart: nothing is lost, and nothing is in both."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.data import load_corpus
from ladd_hf.data.held_out import Cut, cut_of, parted

PROSE = "".join(f"Sentence {number} is here. And more of it.\n\n" for number in range(40))
ROWS = [f"text number {number}" for number in range(60)]
NAMES = [f"{name}.txt" for name in ("mine", "train", "test", "my-dev", "validation", "train/a")]
NAMES += ["mine.md", "mine.jsonl", "valid.jsonl", "mine.parquet", "test.parquet"]


@pytest.fixture
def load(tmp_path):
    """`load(path)`: the texts by split, which are the same streamed."""

    def loaded(path, **options):
        splits = load_corpus(path, cache_dir=str(tmp_path / "cache"), **options)
        streams = load_corpus(path, cache_dir=str(tmp_path / "cache"), streaming=True, **options)
        texts, streamed = (
            {name: [row["text"] for row in data] for name, data in by_split.items()} for by_split in (splits, streams)
        )
        assert texts == streamed
        return texts

    return loaded


@pytest.fixture
def write(tmp_path):
    """`write(name, rows)`: a file of that kind."""

    def written(name, rows=(PROSE,)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"text": list(rows)}), path)
        elif path.suffix == ".jsonl":
            path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        else:
            path.write_text("".join(rows))
        return path

    return written


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text("ab. \n", max_size=20), min_size=1, max_size=30),
    share=st.floats(0.01, 0.9),
)
def test_both_parts_joined_are_the_texts_and_both_have_something_to_read(texts, share):
    cut = cut_of(len(texts), texts, share)
    if cut is None:
        assert len(texts) * share < 1 and sum(len(text) for text in texts if text.strip()) < 100
        return
    before, behind = list(cut.before(texts)), list(cut.behind(texts))
    assert "".join(before) + "".join(behind) == "".join(texts)
    assert before and behind
    if cut.character:
        assert any(map(str.strip, before)) and any(map(str.strip, behind))
    else:
        assert before + behind == texts, "whole rows"


@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        (["a" * 185 + "\n\n" + "b" * 5 + "\n" + "c" * 7], Cut(0, 187)),
        (["a" * 180 + "\n" + "b" * 8 + " " + "c" * 10], Cut(0, 181)),
        (["a" * 180 + " " + "b" * 19], Cut(0, 181)),
        (["a" * 185 + "。" + "b" * 14], Cut(0, 186)),
        (["a" * 100], Cut(0, 95)),
        (["a" * 10 + " " + "b" * 189], Cut(0, 190)),  # far from it: the share is kept
        (["a" * 50, None, "b" * 50], Cut(2, 45)),
        (["a"], None),
        (["a" + " " * 50], None),
        ([""], None),
        (["x"] * 20, Cut(19)),
        (["x"] * 59, Cut(57)),
    ],
)
def test_a_text_is_cut_where_something_begins(texts, cut):
    assert cut_of(len(texts), texts, 0.05) == cut


def test_of_many_every_so_many_th_is_held_out():
    for number in (20, 59, 100):
        kept, out = parted(range(number), 0.05)
        assert out == list(range(19, number, 20)) and sorted(kept + out) == list(range(number))
    assert parted(range(19), 0.05) is None
    assert len(parted(range(100), 0.29)[1]) == 29


@pytest.mark.parametrize("name", NAMES)
def test_one_document_is_split_within(write, load, name):
    path = write(name)
    for source in (path, *([path.parent] if "/" in name else [])):
        texts = load(source)
        (train,), (validation,) = texts["train"], texts["validation"]
        assert train + validation == PROSE
        assert train.endswith("\n\n") and validation.startswith("Sentence 3")
        assert 0.04 < len(validation) / len(PROSE) < 0.11


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet"])
def test_of_many_rows_the_last_ones_are_held_out(write, load, name):
    assert load(write(name, ROWS)) == {"train": ROWS[:57], "validation": ROWS[57:]}


@pytest.mark.parametrize("sample_by", ["line", "paragraph"])
def test_so_it_is_with_the_lines_of_a_text_file(write, load, sample_by):
    path = write("mine.txt")
    every = load(path, sample_by=sample_by, held_out=0)
    texts = load(path, sample_by=sample_by)
    assert list(every) == ["train"] and texts["train"] + texts["validation"] == every["train"]
    assert len(texts["validation"]) == len(every["train"]) // 20


def test_of_many_files_some_are_held_out_whole(write, load, tmp_path):
    for number in range(41):
        write(f"texts/{number:02}.txt", [f"file {number}"])
    texts = load(tmp_path / "texts")
    assert texts["validation"] == ["file 19", "file 39"] and len(texts["train"]) == 39


def test_of_few_files_each_gives_its_end(write, load, tmp_path):
    for name in "ab":
        write(f"texts/{name}.txt", [PROSE.replace("Sentence", name)])
    texts = load(tmp_path / "texts")
    assert [len(texts[name]) for name in ("train", "validation")] == [2, 2]
    for name, train, validation in zip("ab", texts["train"], texts["validation"], strict=True):
        assert train + validation == PROSE.replace("Sentence", name)


@pytest.mark.parametrize("other", ["validation", "test", "dev"])
def test_nothing_is_where_something_was_set_apart(write, load, tmp_path, other):
    write("texts/a.txt")
    write(f"texts/{other}.txt", ["apart"])
    texts = load(tmp_path / "texts")
    assert texts["train"] == [PROSE] and ["apart"] in texts.values() and len(texts) == 2


@pytest.mark.parametrize("rows", [ROWS, [PROSE]])
def test_a_saved_data_set_is_treated_as_a_file_is(write, load, tmp_path, rows):
    Dataset.from_dict({"text": rows}).save_to_disk(tmp_path / "saved")
    assert load(tmp_path / "saved") == load(write("mine.jsonl", rows))


def test_the_share_can_be_chosen(write, load):
    path = write("mine.jsonl", ROWS)
    assert len(load(path, held_out=0.5)["validation"]) == 30
    assert load(path, held_out=0) == {"train": ROWS}


@pytest.mark.parametrize("share", [1, -0.1, float("nan"), "0.1", True, None])
def test_what_is_no_share_is_refused(write, load, share):
    with pytest.raises(ValueError, match=r"`held_out` is .*, but a share of 0 or more and below 1 is accepted"):
        load(write("mine.txt"), held_out=share)
