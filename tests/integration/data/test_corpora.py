"""Corpora are found by name, cleaned and split as the field does it."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from datasets.packaged_modules.parquet.parquet import Parquet

from ladd_hf.data import (
    HubCorpus,
    character_tokenizer,
    corpora,
    known_corpora,
    load_corpus,
    python_docs,
    register_corpus,
    token_blocks,
)
from ladd_hf.data.cleaning import clean_ptb
from ladd_hf.data.hub_corpora import HeldOutCorpus

NAMES = {
    "text8": {"train", "validation", "test"},
    "lm1b": {"train", "test"},
    "openwebtext": {"train", "validation"},
    "ptb": {"train", "validation", "test"},
    "wikitext103": {"train", "validation", "test"},
    "lambada": {"test"},
    "ag_news": {"train", "test"},
    "pubmed": {"train", "validation", "test"},
    "arxiv": {"train", "validation", "test"},
    "python-docs": {"train", "validation", "test"},
    "python-docs-text": {"train", "validation", "test"},
    "package-docs": {"train", "validation", "test"},
    "package-docs-text": {"train", "validation", "test"},
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that nobody has written to."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


# --- by name ---


def test_the_corpora_of_the_paper_have_names_and_splits():
    assert {name: set(corpus.splits) for name, corpus in known_corpora().items()} == NAMES


@pytest.mark.parametrize("name", [name for name, corpus in known_corpora().items() if isinstance(corpus, HubCorpus)])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_named_corpus_is_asked_of_the_hub_by_its_own_names(hub, name, streaming):
    corpus = known_corpora()[name]
    count = 200 if name == "openwebtext" else 4  # of its last file a part is held out
    rows = {corpus.text_column: ["it does n't matter , really ."] * count, "label": [0] * count}
    fake = hub({corpus.hub_id: dict.fromkeys(set(corpus.split_names.values()), rows)})
    loaded = {split: corpus.load(split, streaming) for split in corpus.splits}
    for data in loaded.values():
        first = next(iter(data))
        cleaned = corpus.clean or (lambda text: text)
        assert first == {"text": cleaned(rows[corpus.text_column][0])}
    for hub_id, config, split, options in fake.asked:
        assert (hub_id, config) == (corpus.hub_id, corpus.config)
        assert options["revision"] == corpus.revision
        assert options.get("data_files") == (corpus.data_files and {split: corpus.data_files[split]})


@pytest.mark.parametrize("name", known_corpora())
def test_of_every_corpus_it_is_told_how_large_it_is(name):
    assert re.search(r"\d", known_corpora()[name].remarks)


# --- held-out documents ---


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A corpus of four files of four documents each, which lie in a folder as they would on the Hub, of which two are
    held out; the card tells how many documents there are."""
    folder = tmp_path / "web"
    for number in range(4):
        rows = [f"page {4 * number + place}" for place in range(4)]
        folder.joinpath("plain_text").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": rows}), folder / f"plain_text/train-0000{number}-of-00004.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: plain_text\n  data_files:\n  - split: train\n    path: plain_text/train-*\n"
        "dataset_info:\n  config_name: plain_text\n  features:\n  - name: text\n    dtype: string\n"
        "  splits:\n  - name: train\n    num_bytes: 200\n    num_examples: 16\n---\n"
    )
    load = datasets.load_dataset

    def from_folder(hub_id, *args, revision, **options):
        assert (hub_id, revision) == ("user/web", "the-commit")
        return load(str(folder), *args, **options)

    monkeypatch.setattr(datasets, "load_dataset", from_folder)
    return HeldOutCorpus(
        "user/web",
        config="plain_text",
        revision="the-commit",
        data_files={
            "train": ["plain_text/train-0000[0-1]-of-00004.parquet", "plain_text/train-0000[2-2]-of-00004.parquet"],
            "validation": "plain_text/train-00003-of-00004.parquet",
        },
        last_file=4,
        held_out=2,
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_the_last_documents_of_a_corpus_without_validation_are_held_out(web, streaming):
    train, validation = (web.load(split, streaming) for split in ("train", "validation"))
    assert [row["text"] for row in train] == [f"page {number}" for number in range(12)]
    assert [row["text"] for row in validation] == ["page 14", "page 15"]


def test_a_stream_of_it_has_the_shards_of_its_files(web):
    train = web.load("train", streaming=True)
    assert train.num_shards == 3 and isinstance(train, IterableDataset)
    parts = [token_blocks(train, character_tokenizer(), 6, separator=" ").split(rank, 3) for rank in range(3)]
    firsts = [next(iter(part))["input_ids"].tolist() for part in parts]
    assert len({tuple(first) for first in firsts}) == 3
    for part in parts:
        whole = [row["input_ids"].tolist() for row in part]
        assert whole and [row["input_ids"].tolist() for row in part] == whole


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_stream_of_it_resumes_without_reading_the_files_before(web, split, monkeypatch):
    def blocks():
        return token_blocks(web.load(split, streaming=True), character_tokenizer(), 3, separator=" ")

    def recorded(self, files, **options):
        opened.extend(files)
        yield from read(self, files, **options)

    opened, read = [], Parquet._generate_tables
    monkeypatch.setattr(Parquet, "_generate_tables", recorded)
    whole = [row["input_ids"].tolist() for row in blocks()]
    assert len(opened) == {"train": 3, "validation": 1}[split], "no split reads the other's files"
    interrupted = blocks()
    list(itertools.islice(interrupted, len(whole) - 1))
    resumed = blocks()
    resumed.load_state_dict(json.loads(json.dumps(interrupted.state_dict())))
    opened.clear()
    assert [row["input_ids"].tolist() for row in resumed] == whole[-1:]
    assert len(opened) == 1


def test_the_files_of_openwebtext_are_all_of_its_eighty():
    corpus = known_corpora()["openwebtext"]
    names = [f"plain_text/train-{number:05d}-of-00080.parquet" for number in range(80)]
    patterns = corpus.data_files["train"]
    assert [name for pattern in patterns for name in names if fnmatch.fnmatch(name, pattern)] == names[:79]
    assert corpus.data_files["validation"] == names[79] and corpus.held_out == 100_000
    assert corpus.last_file == 8_013_769 // 80, "files differ by one document at most, and the first ones have it"


# --- by name, further ---


def test_python_docs_needs_no_network():
    data = load_corpus("python-docs")
    assert isinstance(data, DatasetDict) and data["test"]["text"][:5] == python_docs()["test"]["text"][:5]
    stream = load_corpus("python-docs-text", "test", streaming=True)
    assert isinstance(stream, IterableDataset) and next(iter(stream))["text"] == python_docs(False)["test"]["text"][0]


def test_a_corpus_can_be_given_a_name(hub, monkeypatch):
    monkeypatch.setattr(corpora.CORPORA, "_entries", dict(corpora.CORPORA.items()))
    hub({"user/mine": {"train": {"body": ["the <unk>"]}}})
    register_corpus("mine", HubCorpus("user/mine", {"train": "train"}, text_column="body", clean=clean_ptb))
    assert load_corpus("mine", "train")["text"][:] == ["the ?"]
    with pytest.raises(ValueError, match="a corpus 'mine' already"):
        register_corpus("mine", known_corpora()["ptb"])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_corpus_with_the_splits_that_the_hub_has_keeps_its_column_and_is_cleaned(hub, monkeypatch, streaming):
    monkeypatch.setattr(corpora.CORPORA, "_entries", dict(corpora.CORPORA.items()))
    hub({"user/mine": {"train": {"body": ["a"], "text": ["wrong"]}, "test": {"body": ["b"], "text": ["wrong"]}}})
    register_corpus("mine", HubCorpus("user/mine", {}, text_column="body", clean=str.upper))
    assert {name: list(data) for name, data in load_corpus("mine", streaming=streaming).items()} == {
        "train": [{"text": "A"}],
        "test": [{"text": "B"}],
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_a_missing_text_is_refused_where_it_would_be_cleaned(hub, streaming):
    hub({"dvruette/lm1b": {"test": {"text": ["a , b", None]}}})
    with pytest.raises(ValueError, match=r"A text is missing \(null\), but a string is accepted"):
        list(load_corpus("lm1b", "test", streaming=streaming))


def test_texts_may_be_cleaned_in_several_processes(hub, monkeypatch):
    asked = []
    original = Dataset.map
    monkeypatch.setattr(
        Dataset, "map", lambda self, *args, **options: asked.append(options["num_proc"]) or original(self, *args)
    )
    hub({"dvruette/lm1b": {"test": {"text": ["a , b"]}}})
    assert load_corpus("lm1b", "test", num_proc=2)["text"][:] == ["a, b"] and asked == [2]


@pytest.mark.parametrize("streaming", [False, True])
def test_any_data_set_of_the_hub_is_taken(hub, streaming):
    fake = hub({"user/any": {"train": {"body": ["a"], "id": [1]}, "test": {"body": ["b"], "id": [2]}}})
    data = load_corpus("user/any", streaming=streaming, text_column="body", revision="v1", token="hf_x")
    assert {name: list(split) for name, split in data.items()} == {"train": [{"text": "a"}], "test": [{"text": "b"}]}
    assert fake.asked[0][3] == {"revision": "v1", "token": "hf_x"}


def test_a_configuration_is_asked_of_the_hub(hub):
    fake = hub({"user/any": {"train": {"text": ["a"]}}})
    assert load_corpus("user/any", "train", config="large")["text"][:] == ["a"]
    assert fake.asked[0][1] == "large"


@pytest.mark.parametrize("streaming", [False, True])
def test_another_column_of_a_named_corpus_is_read_and_cleaned_alike(hub, streaming):
    rows = {"article": ["of the article ."], "abstract": ["of the abstract ."]}
    hub({"ccdv/pubmed-summarization": {"test": rows}})
    clean = known_corpora()["pubmed"].clean
    for column, text in (("text", "of the article ."), ("abstract", "of the abstract .")):
        found = load_corpus("pubmed", "test", streaming=streaming, text_column=column)
        assert list(found) == [{"text": clean(text)}]
    with pytest.raises(ValueError, match="has no column 'title', but 'article', 'abstract'"):
        load_corpus("pubmed", "test", streaming=streaming, text_column="title")


# --- cleaning ---


def cleaner_of(mark):
    """A function that is always called the same."""
    names = {"__name__": "own_cleaning"}
    exec(f"def clean(text):\n    return marked(text)\ndef marked(text):\n    return text + {mark!r}", names)
    return names["clean"]


def test_texts_that_were_cleaned_otherwise_are_cleaned_again(tmp_path, monkeypatch):
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "hub")
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *args, **options: datasets.load_from_disk(str(tmp_path / "hub"))
    )
    found = []
    for mark in "xyx":
        corpus = HubCorpus("user/any", {"train": "train"}, clean=cleaner_of(mark))
        texts = corpus.load("train", streaming=False)
        assert texts["text"][:] == [f"a{mark}"]
        found.append(texts._fingerprint)
    assert found[0] == found[2] != found[1]
