"""What is no corpus, split, file or data set is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from ladd_hf.data import (
    load_corpus,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that nobody has written to."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"no corpus, file or folder 'text9': known corpora are 'ag_news', "):
        load_corpus("text9")


def test_an_unknown_split_is_told_the_known_ones():
    with pytest.raises(ValueError, match="'lambada' has no split 'train', but 'test'"):
        load_corpus("lambada", "train")


@pytest.mark.parametrize("name", ["test.txt", "mine.txt"])
def test_who_asks_a_file_for_a_split_is_told_that_folders_have_some(tmp_path, name):
    (tmp_path / name).write_text("a text")
    with pytest.raises(ValueError, match=r"no split 'test', but 'train': a file by itself is .* put it into a folder"):
        load_corpus(tmp_path / name, "test", held_out=0)


@pytest.mark.parametrize("name", ["text8", "ptb", "openwebtext", "user/any"])
@pytest.mark.parametrize("streaming", [False, True])
def test_without_a_network_an_offline_alternative_is_named(monkeypatch, tmp_path, name, streaming):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="the Hub cannot be reached; the corpus 'python-docs' needs no network"):
        load_corpus(name, streaming=streaming, cache_dir=str(tmp_path))


def test_a_data_set_that_the_hub_does_not_show_is_named(monkeypatch):
    def load(*args, **options):
        raise datasets.exceptions.DatasetNotFoundError("none")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(FileNotFoundError, match=r"shows no data set 'user/none' \(or not to you.*'python-docs'"):
        load_corpus("user/none")


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found any.py"),
            ValueError,
            r"'user/any' \(revision 'v1'\) is a script, which `datasets` no longer runs: give .*'refs/convert/parquet'",
        ),
        (RuntimeError("out of luck"), RuntimeError, "out of luck"),
        (
            ValueError("Couldn't find cache for user/any for config 'x'\nAvailable"),
            ConnectionError,
            "other files are in the cache than these, and the Hub cannot be reached; the corpus 'python-docs'",
        ),
        (ValueError("Bad split"), ValueError, "Bad split"),
        (
            ValueError("Config name is missing.\nPlease pick one among the available configs: ['a', 'b']\nSo: `x`"),
            ValueError,
            r"'user/any' \(revision 'v1'\) has .* one of 'a', 'b' as `config` \(of a command `--data_config`\)\.$",
        ),
        (
            datasets.exceptions.DataFilesNotFoundError("No files"),
            FileNotFoundError,
            r"'user/any' \(revision 'v1'\) has not the files that are to be read \(No files\): give another",
        ),
    ],
)
def test_what_the_hub_can_not_give_is_said(monkeypatch, fault, error, message):
    def load(*args, **options):
        raise fault

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(error, match=message):
        load_corpus("user/any", revision="v1")


@pytest.mark.parametrize(
    "name", ["my-texts/", "nothing.txt", "text8.zip", "./a/b", "/no/where", "a/b/c", "~/nothing", Path("my-texts")]
)
def test_a_path_where_nothing_is_is_told_so(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"no file or folder '{name}' \(seen from .*\): give one that exists"):
        load_corpus(name)


@pytest.mark.parametrize("name", ["user/no good", "a--b/c"])
def test_what_is_no_name_of_the_hub_is_told_so(name):
    with pytest.raises(ValueError, match=r"no file or folder '.*', nor can a data set of the Hub be called so"):
        load_corpus(name)


@pytest.mark.parametrize("given", [["a.txt", "b.txt"], ("a.txt",), None, 3, {"train": "a.txt"}, b"a.txt", {"a.txt"}])
def test_what_is_no_name_and_no_path_is_told_so(given):
    kind = type(given).__name__
    with pytest.raises(
        ValueError, match=rf"`name_or_path` is a {kind}, but the name of a corpus or one path .* folder"
    ):
        load_corpus(given)


def test_an_unknown_configuration_is_told_the_known_ones(tmp_path, monkeypatch):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "a.csv").write_text("text\na\n")
    card = "---\nconfigs:\n- config_name: a\n  data_files: a.csv\n- config_name: b\n  data_files: a.csv\n---\n"
    (tmp_path / "hub" / "README.md").write_text(card)
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, *args, revision=None, **options: load(str(tmp_path / "hub"), *args, **options),
    )
    assert load_corpus("user/any", "train", config="b")["text"][:] == ["a"]
    with pytest.raises(ValueError, match=r"'user/any' has several configurations: give one of 'a', 'b' as `config`"):
        load_corpus("user/any")
    with pytest.raises(ValueError, match=r"'user/any' has no configuration 'c': give one of 'a', 'b' as `config`"):
        load_corpus("user/any", config="c")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("ptb", "a", "`config` .* is 'a', but only data sets .* and 'ptb' is a corpus with its own: leave it out"),
        (".", "a", r"`config` .* is 'a', but only data sets .* and '\.' is a path: leave it out"),
        ("user/any", 3, "`config` .* is 3; give the name of a configuration"),
    ],
)
def test_a_configuration_is_of_a_data_set_of_the_hub(name, config, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(name, config=config)


@pytest.mark.parametrize("name", ["python-docs", "text8"])
def test_who_asks_a_corpus_of_texts_alone_for_a_column_is_told_so(name):
    with pytest.raises(ValueError, match=f"`text_column` is 'body', but the corpus '{name}' has texts and no other"):
        load_corpus(name, text_column="body")
