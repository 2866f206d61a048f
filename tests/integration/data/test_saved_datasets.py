"""Folders of `save_to_disk` are corpora."""

from __future__ import annotations

import datasets
import pytest
from datasets import Dataset, DatasetDict

from ladd_hf.data import (
    load_corpus,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that nobody has written to."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["saved", "a[1]*"])
def test_a_folder_of_save_to_disk_is_the_data_set_that_was_saved(tmp_path, streaming, name):
    rows = {"body": ["a", "b"], "id": [1, 2]}
    splits = DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict({"body": ["c"], "id": [3]}))
    splits.save_to_disk(tmp_path / name)
    loaded = load_corpus(tmp_path / name, streaming=streaming, text_column="body")
    assert {split: [*data] for split, data in loaded.items()} == {
        "train": [{"text": "a"}, {"text": "b"}],
        "test": [{"text": "c"}],
    }
    alone = load_corpus(tmp_path / name / "train", "train", streaming=streaming, text_column="body", held_out=0)
    assert [*alone] == [{"text": "a"}, {"text": "b"}]


def test_a_saved_format_or_a_column_of_other_things_is_seen_through(tmp_path):
    Dataset.from_dict({"text": ["a"] * 30, "id": [1] * 30}).with_format("numpy", columns=["id"]).save_to_disk(
        tmp_path / "a"
    )
    assert load_corpus(tmp_path / "a", "train")["text"][:] == ["a"] * 29
    with pytest.raises(ValueError, match=r"The column 'id' of .*a holds .*int64.*, but strings are accepted"):
        load_corpus(tmp_path / "a", text_column="id")
    with pytest.raises(ValueError, match=r"has no column 'body', but 'text', 'id'"):
        load_corpus(tmp_path / "a", text_column="body")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("folders", "beside", "named"),
    [
        (["a", "b"], [], r"\('a', 'b'\)"),
        (["a"], [], r"\('a'\)"),
        (["a/b", "dict"], ["c.txt"], r"\('a/b', 'dict'\)"),
        ([*"abcdef"], [], r"\('a', 'b', 'c', 'd', 'e', \.\.\.\)"),
    ],
    ids=str,
)
def test_a_folder_that_holds_saved_data_sets_is_told_which(tmp_path, folders, beside, named, streaming):
    data = Dataset.from_dict({"text": ["a"]})
    for name in folders:
        (DatasetDict(train=data) if name == "dict" else data).save_to_disk(tmp_path / name)
    for name in beside:
        (tmp_path / name).write_text("a text")
    with pytest.raises(ValueError, match=rf"holds data sets of `save_to_disk` {named}, .*: give one of .*DatasetDict"):
        load_corpus(tmp_path, streaming=streaming)


def test_a_hidden_data_set_is_none_of_a_folders(tmp_path):
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / ".cache" / "a")
    (tmp_path / "b.txt").write_text("a text")
    assert load_corpus(tmp_path, "train", held_out=0)["text"][:] == ["a text"]


@pytest.mark.parametrize("name", ["dataset_info.json", "state.json"])
def test_a_saved_data_set_without_what_tells_of_it_is_damaged(tmp_path, name):
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / name).unlink()
    with pytest.raises(ValueError, match="by `save_to_disk`, but is damaged"):
        load_corpus(tmp_path / "saved")


@pytest.mark.parametrize("damage", ["the data", "what tells of it", "a split", "all rows"])
def test_a_saved_data_set_that_is_damaged_is_named(tmp_path, damage):
    rows = [] if damage == "all rows" else ["a", "b"]
    data = Dataset.from_dict({"text": rows}, datasets.Features({"text": datasets.Value("string")}))
    DatasetDict(train=data, test=data).save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "saved").rglob("*"):
        if damage == "the data" and path.suffix == ".arrow":
            path.write_bytes(path.read_bytes()[:50])
        elif damage == "what tells of it" and path.name == "state.json":
            path.write_text("{}")
        elif damage == "a split" and path.parent.name == "test":
            path.unlink()
    with pytest.raises(
        ValueError, match=r"folder .*saved was written by `save_to_disk`, but is damaged, .*\): write it"
    ):
        load_corpus(tmp_path / "saved")
