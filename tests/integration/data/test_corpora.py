"""Corpora are found by name, cleaned and split as the field does it."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
import zipfile
from pathlib import Path

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
from ladd_hf.data.corpora import separator_of
from ladd_hf.data.hub_corpora import HeldOutCorpus
from ladd_hf.data.text8 import Text8

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
            splits = {name: rows.to_iterable_dataset(num_shards=min(2, len(rows))) for name, rows in splits.items()}
        return DatasetDict(splits) if split is None else splits[split]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache that nobody has written to."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


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


# --- what there is not ---


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


# --- folders of `save_to_disk` ---


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
    expected = r"by `save_to_disk`, but is damaged" if name == "dataset_info.json" else "holds no file that is accepted"
    with pytest.raises((ValueError, FileNotFoundError), match=expected):
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
