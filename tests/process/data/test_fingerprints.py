"""Cache names depend on all that determines the content: different tokenizers have different names, equal ones the
same."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from datasets import Dataset, load_from_disk
from helpers.corpora import byte_pairs, characters
from helpers.quickly import START
from helpers.slow_tokenizers import LETTERS, Letters, bert_japanese, wav2vec
from tokenizers import AddedToken, normalizers
from transformers import PreTrainedTokenizerFast

from ladd_hf.data import encoding, token_blocks
from ladd_hf.data.encoding import TextEncoder
from ladd_hf.data.fingerprints import code_of, fingerprint_of

CODE = """
from helpers.slow_tokenizers import Letters

def folded(text):
    return text.{fold}()

class Own(Letters):
    mark = {mark!r}

    def _tokenize(self, text):
        return [self.mark, *folded(text)]{tail}
"""


def own(fold="lower", mark="a", tail=""):
    """A tokenizer of a class with this code, always of the same name."""
    names = {"__name__": "own_tokenizers"}
    exec(CODE.format(fold=fold, mark=mark, tail=tail), names)
    return names["Own"]()


def changed(tokenizer, **attributes):
    for name, value in attributes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def with_token(tokenizer, **flags):
    tokenizer.add_tokens([AddedToken("ab", **flags)])
    return tokenizer


def with_source(folder, content, place="a"):
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "words.txt").write_text(content)
    return Letters(source=str(folder / place / "words.txt"))


def bound_to(value):
    return lambda text: text[:value]


class Shouting(PreTrainedTokenizerFast):
    """A fast tokenizer that is more than its core."""

    def __call__(self, text, **options):
        texts = text.upper() if isinstance(text, str) else [one.upper() for one in text]
        return super().__call__(texts, **options)


def shouting():
    plain = characters("unk", "pad", "mask", symbols="abcABC ")
    return Shouting(tokenizer_object=plain.backend_tokenizer, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]")


def with_core(**parts):
    tokenizer = byte_pairs()
    for name, value in parts.items():
        setattr(tokenizer.backend_tokenizer, name, value)
    return tokenizer


def with_dropout(share):
    tokenizer = byte_pairs()
    tokenizer.backend_tokenizer.model.dropout = share
    return tokenizer


# what is changed: how to make one, and how the other
CHANGES = {
    "an option of Wav2Vec2's": lambda folder: (wav2vec(folder, True), wav2vec(folder, False)),
    "an option of BertJapanese's": lambda folder: (bert_japanese(folder, True), bert_japanese(folder, False)),
    "an option that an object holds": lambda folder: (Letters(), Letters(lower=True)),
    "an option that no text of ours shows": lambda folder: (Letters(), Letters(rare="zzyzx")),
    "the vocabulary": lambda folder: (Letters(), Letters(words=[*LETTERS, "f"])),
    "the order of the vocabulary": lambda folder: (Letters(), Letters(words=[*LETTERS[:-2], *LETTERS[:-3:-1]])),
    "an attribute": lambda folder: (Letters(), changed(Letters(), step=2)),
    "an attribute that is a pattern": lambda folder: (
        changed(Letters(), only=re.compile("a")),
        changed(Letters(), only=re.compile("a", re.IGNORECASE)),
    ),
    "an attribute that is a set": lambda folder: (changed(Letters(), only={"a"}), changed(Letters(), only={"b"})),
    "an attribute true and one that says so": lambda folder: (
        changed(Letters(), only=True),
        changed(Letters(), only="True"),
    ),
    "a function that it holds": lambda folder: (
        changed(Letters(), folding=lambda text: text),
        changed(Letters(), folding=lambda text: text[:100]),
    ),
    "what such a function is bound to": lambda folder: (
        changed(Letters(), folding=bound_to(100)),
        changed(Letters(), folding=bound_to(101)),
    ),
    "a special token": lambda folder: (Letters(), Letters(eos_token=".")),
    "a token that is added": lambda folder: (Letters(), with_token(Letters())),
    "the flags of an added token": lambda folder: (with_token(Letters()), with_token(Letters(), lstrip=True)),
    "the content of a file": lambda folder: (with_source(folder, "one"), with_source(folder, "two", "b")),
    "the class": lambda folder: (Letters(), own(fold="upper", mark="")),
    "the code of a method": lambda folder: (own(), own(tail="[:-1]")),
    "the code of a method by a constant": lambda folder: (own(tail="[:1000]"), own(tail="[:1001]")),
    "a function that a method calls": lambda folder: (own(), own(fold="upper")),
    "a value of the class": lambda folder: (own(), own(mark="b")),
    "a fast one's class that encodes in its own way": lambda folder: (
        shouting(),
        PreTrainedTokenizerFast(tokenizer_object=shouting().backend_tokenizer, unk_token="[UNK]"),
    ),
    "a fast one's method that is replaced": lambda folder: (
        byte_pairs(),
        changed(byte_pairs(), _encode_plus=lambda *args, **options: {"input_ids": []}),
    ),
    "a fast one's normalizer": lambda folder: (byte_pairs(), with_core(normalizer=normalizers.Lowercase())),
    "a fast one's dropout of merges": lambda folder: (byte_pairs(), with_dropout(0.1)),
    "the flags of a fast one's added token": lambda folder: (
        with_token(byte_pairs()),
        with_token(byte_pairs(), single_word=True),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_tokenizer_has_another_name(change, tmp_path):
    one, other = map(fingerprint_of, CHANGES[change](tmp_path))
    assert one.text != other.text
    assert one.whole and other.whole


SAME = {
    "made twice": lambda folder: (Letters(lower=True), Letters(lower=True)),
    "of code that was read twice": lambda folder: (own(), own()),
    "a fast one made twice": lambda folder: (byte_pairs(), byte_pairs()),
    "of a class with a call of its own": lambda folder: (shouting(), shouting()),
    "with a file that lies elsewhere": lambda folder: (with_source(folder, "one"), with_source(folder, "one", "b")),
    "with another place to come from": lambda folder: (Letters(), changed(Letters(), name_or_path="elsewhere")),
}


@pytest.mark.parametrize("case", SAME)
def test_the_same_tokenizer_has_the_same_name(case, tmp_path):
    one, other = map(fingerprint_of, SAME[case](tmp_path))
    assert one == other and one.whole


@pytest.mark.parametrize("make", [wav2vec, bert_japanese])
def test_a_tokenizer_that_was_saved_keeps_its_name(make, tmp_path):
    tokenizer = make(tmp_path, True)
    tokenizer.save_pretrained(tmp_path / "saved")
    assert fingerprint_of(type(tokenizer).from_pretrained(tmp_path / "saved")) == fingerprint_of(tokenizer)


@pytest.mark.parametrize("make", [Letters, shouting, byte_pairs, lambda: with_token(Letters())])
def test_use_changes_no_name_and_naming_changes_no_tokenizer(make):
    tokenizer, before = make(), fingerprint_of(make())
    assert fingerprint_of(tokenizer) == before
    assert not getattr(tokenizer, "seen", None)
    tokenizer("abc ab", truncation=True, max_length=2, padding="max_length")
    TextEncoder(tokenizer)(["a b c", "ab", "A"])
    assert fingerprint_of(tokenizer) == before


IN_ANOTHER = """
import json, sys
from helpers.corpora import byte_pairs
from helpers.slow_tokenizers import Letters, bert_japanese, wav2vec
from ladd_hf.data import fingerprints
made = [Letters(lower=True), wav2vec(sys.argv[1], True), bert_japanese(sys.argv[1], False), byte_pairs()]
made[0].only = {"a", "b", "c", "d"}
print(json.dumps([fingerprints.fingerprint_of(one) for one in made]))
"""


def test_another_process_gives_the_same_names(tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    command = [sys.executable, "-c", START + IN_ANOTHER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"}
    told = subprocess.run(command, env=environment, check=True, capture_output=True)
    letters = changed(Letters(lower=True), only={"d", "c", "b", "a"})
    made = [letters, wav2vec(tmp_path, True), bert_japanese(tmp_path, False), byte_pairs()]
    assert json.loads(told.stdout) == [list(fingerprint_of(one)) for one in made]


def test_code_is_named_by_what_it_does_and_a_librarys_by_its_name():
    assert code_of(json.dumps) == code_of(json.dumps) != code_of(json.loads)
    assert code_of(bound_to(3)) == code_of(bound_to(3)) != code_of(bound_to(4))
    assert code_of(type(own())) == code_of(type(own())) != code_of(type(own(fold="upper")))
    assert code_of(threading.Lock()) is None, "what cannot be written down"


# --- what is made of it ---


@pytest.fixture
def corpus(tmp_path):
    """`corpus()`: the same texts from disk, anew."""
    Dataset.from_dict({"text": ["a B c", "A b C", "d E"]}).save_to_disk(tmp_path / "texts")
    return lambda: load_from_disk(str(tmp_path / "texts"))


def ids(blocks):
    return [row["input_ids"].tolist() for row in blocks]


def plainly(tokenizer, texts):
    return list(itertools.chain(*(tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)))


@pytest.mark.parametrize("make", [wav2vec, bert_japanese, lambda folder, lower: Letters(lower=lower)])
@pytest.mark.parametrize("num_proc", [None, 2])
def test_blocks_are_the_tokenizers_own_and_found_again(make, num_proc, corpus, tmp_path, monkeypatch):
    def blocks(lower):
        options = {"special_tokens": False, "remainder": "drop", "num_proc": num_proc}
        return token_blocks(corpus(), make(tmp_path, lower), 1, **options)

    made = {lower: ids(blocks(lower)) for lower in (True, False)}
    for lower, rows in made.items():
        assert list(itertools.chain(*rows)) == plainly(make(tmp_path, lower), corpus()["text"])
    assert made[True] != made[False]
    monkeypatch.setattr(encoding.TextEncoder, "__call__", None)
    assert {lower: ids(blocks(lower)) for lower in made} == made, "nothing is tokenized again"


def test_a_stream_of_one_tokenizer_is_not_gone_on_with_by_another():
    texts = Dataset.from_dict({"text": ["a B c", "A b C"]}).to_iterable_dataset()
    one, same, other = (token_blocks(texts, Letters(lower=lower), 2) for lower in (True, True, False))
    next(iter(one))
    same.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="made otherwise \\(tokenizer"):
        other.load_state_dict(one.state_dict())


def test_blocks_of_a_tokenizer_that_has_no_name_are_made_anew(corpus, caplog):
    def blocks(lower):
        tokenizer = changed(Letters(lower=lower), lock=threading.Lock())
        assert not fingerprint_of(tokenizer).whole
        return token_blocks(corpus(), tokenizer, 1, special_tokens=False, remainder="drop")

    made = [ids(blocks(lower)) for lower in (True, False, True)]
    assert made[0] == made[2] != made[1]
    assert "The blocks are made anew each time: the tokenizer (Letters) has parts" in caplog.text
    found = {Path(file["filename"]).parent for file in blocks(True).cache_files}
    assert found and Path(corpus().cache_files[0]["filename"]).parent not in found, "and nothing is left beside it"


def test_a_fast_tokenizer_that_is_more_than_its_core_is_asked_itself(corpus):
    tokenizer = shouting()
    blocks = token_blocks(corpus(), tokenizer, 1, special_tokens=False, remainder="drop")
    assert list(itertools.chain(*ids(blocks))) == plainly(tokenizer, corpus()["text"])
    assert "ABC" in tokenizer.decode(list(itertools.chain(*ids(blocks)))).replace(" ", "")
