"""Corpora are found by name, cleaned and split as the field does it."""

from __future__ import annotations

import zipfile

import datasets
import pytest
from datasets import Dataset, DatasetDict, IterableDataset

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
from ladd_hf.data.corpora import HeldOutCorpus, Text8

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
}


class FakeHub:
    """`datasets.load_dataset` over data sets in memory: `data[id][config]` by the Hub's splits; asked is noted."""

    def __init__(self, data):
        self.data, self.asked = data, []

    def __call__(self, hub_id, config=None, split=None, streaming=False, **options):
        self.asked.append((hub_id, config, split, options))
        splits = self.data[hub_id]
        if streaming:
            loaded = {name: rows.to_iterable_dataset(num_shards=min(2, len(rows))) for name, rows in splits.items()}
            for name, stream in loaded.items():
                stream.info.splits = datasets.SplitDict()
                stream.info.splits.add(datasets.SplitInfo(name, num_examples=len(splits[name])))
            return loaded if split is None else loaded[split]
        if split is None:
            return DatasetDict(splits)
        name, _, part = split.partition("[")
        rows = splits[name]
        return rows.select(range(*slice(*_bounds(part)).indices(len(rows)))) if part else rows


def _bounds(part):
    return [int(edge) if edge else None for edge in part.rstrip("]").split(":")]


@pytest.fixture
def hub(monkeypatch):
    """`hub({id: {split: rows}})`."""

    def make(data):
        fake = FakeHub({name: {k: Dataset.from_dict(v) for k, v in splits.items()} for name, splits in data.items()})
        monkeypatch.setattr(datasets, "load_dataset", fake)
        return fake

    return make


# --- by name ---


def test_the_corpora_of_the_paper_have_names_and_splits():
    assert {name: set(corpus.splits) for name, corpus in known_corpora().items()} == NAMES


@pytest.mark.parametrize("name", [name for name, corpus in known_corpora().items() if isinstance(corpus, HubCorpus)])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_named_corpus_is_asked_of_the_hub_by_its_own_names(hub, name, streaming):
    corpus = known_corpora()[name]
    rows = {corpus.text_column: ["it does n't matter , really ."] * 4, "label": [0] * 4}
    fake = hub({corpus.hub_id: dict.fromkeys(set(corpus.split_names.values()), rows)})
    if isinstance(corpus, HeldOutCorpus):
        corpus = HeldOutCorpus(corpus.hub_id, held_out=1)
    loaded = {split: corpus.load(split, streaming) for split in corpus.splits}
    for data in loaded.values():
        first = next(iter(data))
        cleaned = corpus.clean or (lambda text: text)
        assert first == {"text": cleaned(rows[corpus.text_column][0])}
    for hub_id, config, _, options in fake.asked:
        assert (hub_id, config) == (corpus.hub_id, corpus.config)
        assert options["revision"] == corpus.revision
        assert options.get("data_files") == corpus.data_files


@pytest.mark.parametrize("streaming", [False, True])
def test_the_last_documents_of_a_corpus_without_validation_are_held_out(hub, streaming):
    rows = [f"page {number}" for number in range(10)]
    hub({"user/web": {"train": {"text": rows}}})
    corpus = HeldOutCorpus("user/web", held_out=3)
    train, validation = (corpus.load(split, streaming) for split in ("train", "validation"))
    assert [row["text"] for row in train] == rows[:7] and [row["text"] for row in validation] == rows[7:]
    if streaming:
        blocks = token_blocks(train, character_tokenizer(), 6, separator=" ").split(1, 2)
        assert all(len(row["input_ids"]) == 6 for row in blocks), "read by two, it is still the training split"


def test_openwebtext_holds_out_a_hundred_thousand():
    assert known_corpora()["openwebtext"].held_out == 100_000


def test_python_docs_needs_no_network():
    data = load_corpus("python-docs")
    assert isinstance(data, DatasetDict) and data["test"]["text"][:5] == python_docs()["test"]["text"][:5]
    stream = load_corpus("python-docs-text", "test", streaming=True)
    assert isinstance(stream, IterableDataset) and next(iter(stream))["text"] == python_docs(False)["test"]["text"][0]


def test_a_corpus_can_be_given_a_name(hub, monkeypatch):
    monkeypatch.setattr(corpora, "_CORPORA", dict(corpora._CORPORA))
    hub({"user/mine": {"train": {"body": ["the <unk>"]}}})
    register_corpus("mine", HubCorpus("user/mine", {"train": "train"}, text_column="body", clean=clean_ptb))
    assert load_corpus("mine", "train")["text"][:] == ["the ?"]
    with pytest.raises(ValueError, match="a corpus named 'mine' already"):
        register_corpus("mine", known_corpora()["ptb"])


@pytest.mark.parametrize("streaming", [False, True])
def test_any_data_set_of_the_hub_is_taken(hub, streaming):
    fake = hub({"user/any": {"train": {"body": ["a"], "id": [1]}, "test": {"body": ["b"], "id": [2]}}})
    data = load_corpus("user/any", streaming=streaming, text_column="body", revision="v1", token="hf_x")
    assert {name: list(split) for name, split in data.items()} == {"train": [{"text": "a"}], "test": [{"text": "b"}]}
    assert fake.asked[0][3] == {"revision": "v1", "token": "hf_x"}


# --- text8 ---


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


# --- what there is not ---


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match=r"no corpus, file or folder 'text9': known corpora are 'ag_news', "):
        load_corpus("text9")


def test_an_unknown_split_is_told_the_known_ones():
    with pytest.raises(ValueError, match="'lambada' has no split 'train', but 'test'"):
        load_corpus("lambada", "train")


@pytest.mark.parametrize("name", ["text8", "ptb", "openwebtext", "user/any"])
@pytest.mark.parametrize("streaming", [False, True])
def test_without_a_network_an_offline_alternative_is_named(monkeypatch, tmp_path, name, streaming):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="the Hub can not be reached; the corpus 'python-docs' needs no network"):
        load_corpus(name, streaming=streaming, cache_dir=str(tmp_path))


def test_a_data_set_that_the_hub_does_not_show_is_named(monkeypatch):
    def load(*args, **options):
        raise datasets.exceptions.DatasetNotFoundError("none")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(FileNotFoundError, match=r"shows no data set 'user/none' \(or not to you.*'python-docs'"):
        load_corpus("user/none")


def test_a_stream_of_unknown_length_holds_nothing_out(hub, monkeypatch):
    stream = Dataset.from_dict({"text": ["a"]}).to_iterable_dataset()
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: stream)
    with pytest.raises(ValueError, match=r"does not say how many documents it has.*`streaming=False`"):
        load_corpus("openwebtext", "train", streaming=True)
