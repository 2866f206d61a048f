"""A corpus that is built is built once, by whoever comes first, and memory-mapped by everyone."""

from __future__ import annotations

import logging
import multiprocessing
import shutil

import datasets
import pytest

from ladd_hf.data import built_corpora
from ladd_hf.data.built_corpora import built_once

TEXTS = {"train": ["one", "two"], "validation": [], "test": ["three"]}


def never():
    raise AssertionError("it was built before")


def by_split(corpus):
    return {name: split["text"][:] for name, split in corpus.items()}


def test_the_second_time_nothing_is_built_and_the_texts_are_the_same(tmp_path):
    first = built_once("corpus", ["key"], lambda: TEXTS, tmp_path)
    again = built_once("corpus", ["key"], never, tmp_path)
    assert by_split(first) == by_split(again) == TEXTS
    assert {name: split._fingerprint for name, split in first.items()} == {
        name: split._fingerprint for name, split in again.items()
    }


def test_it_is_memory_mapped_and_what_is_computed_from_it_is_found_again(tmp_path):
    def upper(row):
        calls.append(row)
        return {"text": row["text"].upper()}

    calls = []
    for _ in range(2):
        corpus = built_once("corpus", ["key"], lambda: TEXTS, tmp_path)["train"]
        assert corpus.cache_files
        mapped = corpus.map(upper, new_fingerprint="upper")
        assert mapped.cache_files and mapped["text"][:] == ["ONE", "TWO"]
    assert len(calls) == 2, "once for each row"


def test_another_key_is_another_corpus(tmp_path):
    built_once("corpus", ["key"], lambda: TEXTS, tmp_path)
    assert by_split(built_once("corpus", ["other"], lambda: {"train": ["x"]}, tmp_path)) == {"train": ["x"]}
    assert by_split(built_once("other", ["key"], lambda: {"train": ["y"]}, tmp_path)) == {"train": ["y"]}


def test_where_datasets_keeps_its_own_unless_told(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    built_once("corpus", ["key"], lambda: TEXTS)
    assert list((tmp_path / "cache").rglob("*.arrow"))


def test_what_could_not_be_finished_is_not_taken_for_a_corpus(tmp_path):
    def broken():
        raise RuntimeError("the power is cut")

    def half():
        yield from TEXTS["train"]
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError):
        built_once("corpus", ["key"], broken, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        built_once("corpus", ["key"], lambda: {**TEXTS, "test": half()}, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is left behind"
    assert by_split(built_once("corpus", ["key"], lambda: TEXTS, tmp_path)) == TEXTS


def _build_together(folder, barrier, results):
    def build():
        barrier.wait(30)  # all of them have found nothing
        return TEXTS

    corpus = built_once("corpus", ["key"], build, folder)
    results.put((by_split(corpus), bool(corpus["train"].cache_files)))


def test_several_processes_may_build_it_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_build_together, args=(tmp_path, barrier, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [(TEXTS, True)] * 3
    for process in processes:
        process.join(60)
    assert by_split(built_once("corpus", ["key"], never, tmp_path)) == TEXTS
    assert len(list((tmp_path / "ladd_hf").iterdir())) == 1


def test_without_a_cache_that_can_be_written_to_it_is_held_in_memory(tmp_path, caplog):
    (tmp_path / "file").write_text("where a folder should be")
    with caplog.at_level(logging.WARNING):
        corpus = built_once("corpus", ["key"], lambda: TEXTS, tmp_path / "file")
    assert by_split(corpus) == TEXTS and not corpus["train"].cache_files
    assert "cannot be kept in" in caplog.text
    assert corpus["train"].map(lambda row: {"text": row["text"] * 2})["text"][:] == ["oneone", "twotwo"]


def test_of_a_cache_that_can_only_be_read_it_is_held_in_memory(tmp_path, monkeypatch):
    built_once("corpus", ["key"], lambda: TEXTS, tmp_path)
    monkeypatch.setattr(built_corpora.os, "access", lambda *args: False)
    corpus = built_once("corpus", ["key"], never, tmp_path)
    assert by_split(corpus) == TEXTS and not corpus["train"].cache_files, "so that `map` writes nothing beside it"


def test_a_damaged_one_is_named(tmp_path):
    built_once("corpus", ["key"], lambda: TEXTS, tmp_path)
    (folder,) = (tmp_path / "ladd_hf").iterdir()
    shutil.rmtree(folder / "test")
    with pytest.raises(ValueError, match=rf"{folder} is damaged \(.*\): delete that folder"):
        built_once("corpus", ["key"], never, tmp_path)
