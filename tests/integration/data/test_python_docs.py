"""python-docs: the same texts everywhere with the same Python, in splits that share no file."""

from __future__ import annotations

import ast
import importlib
import logging
import re
import sysconfig
from pathlib import Path

import pytest

from ladd_hf.data import character_tokenizer, load_corpus, python_docs, text8_normalize, token_blocks
from ladd_hf.data.token_blocks import _Cut
from ladd_hf.data.tokenizers import TEXT8_SYMBOLS

MODULE = importlib.import_module("ladd_hf.data.python_docs")  # the package has a function of the same name


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def corpus(cache):
    return python_docs(cache_dir=cache)


@pytest.fixture(scope="module")
def as_written(cache):
    return python_docs(normalize=False, cache_dir=cache)


def test_it_is_several_hundred_thousand_characters_of_27_symbols(corpus):
    counts = {name: sum(map(len, split["text"])) for name, split in corpus.items()}
    assert counts["train"] > 800_000
    assert counts["validation"] > 50_000 and counts["test"] > 50_000
    for split in corpus.values():
        assert set("".join(split["text"])) <= set(TEXT8_SYMBOLS)
        assert all(text == text.strip() and "  " not in text and text for text in split["text"])


def test_a_docstring_and_a_topic_are_in_it_as_they_stand(as_written):
    texts = {text for split in as_written.values() for text in split["text"]}
    module = ast.parse((Path(sysconfig.get_path("stdlib")) / "textwrap.py").read_text())
    assert ast.get_docstring(module) in texts
    assert any('The "if" statement' in text for text in texts)


def test_no_text_occurs_twice(as_written):
    texts = [text for split in as_written.values() for text in split["text"]]
    assert len(texts) == len(set(texts))


def test_the_texts_of_a_file_are_in_one_split(as_written):
    module = ast.parse((Path(sysconfig.get_path("stdlib")) / "argparse.py").read_text())
    inside = {ast.get_docstring(node) for node in ast.walk(module) if isinstance(node, ast.ClassDef)} - {None}
    holding = {name for name, split in as_written.items() if inside & set(split["text"])}
    assert len(inside) > 5 and len(holding) == 1


def test_normalising_changes_the_texts_and_not_their_split(corpus, as_written):
    for name, split in as_written.items():
        assert [text for text in map(text8_normalize, split["text"]) if text] == list(corpus[name]["text"])


def test_the_standard_library_is_parsed_once(corpus, cache, monkeypatch):
    monkeypatch.setattr(MODULE, "_documents", None)
    again = python_docs(cache_dir=cache)
    assert {name: split["text"][:] for name, split in again.items()} == {
        name: split["text"][:] for name, split in corpus.items()
    }


def test_its_blocks_are_memory_mapped_and_found_again(cache, corpus, monkeypatch):
    def blocks():
        texts = load_corpus("python-docs", "test", cache_dir=str(cache))
        return token_blocks(texts, character_tokenizer(), 64, separator=" ", remainder="drop")

    first = blocks()
    assert first.cache_files
    monkeypatch.setattr(_Cut, "__call__", None)
    assert blocks()["input_ids"][:].tolist() == first["input_ids"][:].tolist()


def test_another_standard_library_is_another_corpus(cache, corpus, monkeypatch):
    (some, *_) = MODULE._files()
    monkeypatch.setattr(MODULE, "_files", lambda: [some])
    monkeypatch.setattr(MODULE, "_documents", lambda: [("train", "Other"), ("test", "documents")])
    assert python_docs(cache_dir=cache)["train"]["text"][:] == ["other"]


def test_files_that_do_not_parse_are_left_out_and_counted(tmp_path, monkeypatch, caplog):
    sources = {
        "a.py": b'"""Alpha."""',
        "bad.py": b"def f(:",
        "c.py": b'"""Gamma."""',
        "nul.py": b"\0",
        "x.py": b'"\xff"',
    }
    for name, source in sources.items():
        (tmp_path / name).write_bytes(source)
    monkeypatch.setattr(MODULE, "_files", lambda: [(name, tmp_path / name) for name in sorted(sources)])
    monkeypatch.setattr(MODULE.pydoc_data.topics, "topics", {})
    with caplog.at_level(logging.WARNING):
        texts = list(MODULE._texts())
    assert texts == list(MODULE._texts()) == [("a.py", "Alpha."), ("c.py", "Gamma.")]
    said = (
        "Files left out of python-docs, which are not Python of the running version: 3 (bad.py (SyntaxError), nul.py ("
    )
    assert said in caplog.text and "x.py (" in caplog.text


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Hello, World!\n", "hello world"),
        ("PEP 484", "pep four eight four"),
        ("x=3", "x three"),
        ("naïve", "na ve"),
        ("...", ""),
    ],
)
def test_normal_text_is_lower_case_with_digits_spelled_out(text, normal):
    assert text8_normalize(text) == normal
    assert not re.search("[^a-z ]", normal)
