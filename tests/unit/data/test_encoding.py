"""Many texts become the ids that their tokenizer gives each, by whichever way is fastest."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from helpers.corpora import SENTENCES, byte_pairs, characters
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ladd_hf.data import character_tokenizer
from ladd_hf.data.encoding import TextEncoder, character_table, fingerprint_of

TEXT8 = character_tokenizer()
ASCII = character_tokenizer("".join(map(chr, range(128))))
UNKNOWN = characters("eos", "pad", "unk")
BPE = byte_pairs()
KINDS = {"text8": TEXT8, "ascii": ASCII, "unknown": UNKNOWN, "bpe": BPE}
TABLE = character_table(TEXT8)
ENCODERS = {kind: TextEncoder(tokenizer) for kind, tokenizer in KINDS.items()}


def plainly(tokenizer, texts):
    """Each text by itself through the tokenizer's own call."""
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def split(documents):
    return [ids.tolist() for ids in np.split(documents.ids, np.cumsum(documents.lengths)[:-1])]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.characters(max_codepoint=127), max_size=12), min_size=1, max_size=6))
@example(texts=["a  b"])
@example(texts=[" a ", " ", "", "  "])
@example(texts=["", "b"])
def test_ids_are_the_tokenizers_own(kind, texts):
    assert split(ENCODERS[kind](texts)) == plainly(KINDS[kind], texts)


@pytest.mark.parametrize("kind", ["text8", "unknown", "bpe"])
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1, max_size=4))
def test_so_they_are_for_any_script(kind, texts):
    assert split(ENCODERS[kind](texts)) == plainly(KINDS[kind], texts)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text("abz "), min_size=1, max_size=4))
def test_what_the_table_answers_is_what_the_tokenizer_would(texts):
    table = TABLE
    documents = table.look_up(pa.array(texts, pa.large_string()), np.dtype(np.uint16))
    assert (documents is None) == any("  " in text for text in texts), "two spaces become one: not a lookup"
    if documents is not None:
        assert split(documents) == plainly(TEXT8, texts)


def tokenizer_of(pre_tokenizer, *tokens, normalizer=None):
    plain = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizer
    plain.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="?")


@pytest.mark.parametrize(
    "tokenizer",
    [
        BPE,
        tokenizer_of(pre_tokenizers.Split(Regex("."), "isolated"), "a", "b", "ab", "?"),
        tokenizer_of(pre_tokenizers.Split(Regex("."), "isolated"), "a", "b", "?", normalizer=normalizers.Strip()),
        tokenizer_of(
            pre_tokenizers.Split(Regex("."), "isolated"), "a", "b", "?", normalizer=normalizers.Replace("aba", "b")
        ),
    ],
    ids=["merges", "a longer token", "a normalizer that trims", "a normalizer of words"],
)
def test_a_tokenizer_that_may_join_characters_has_no_table(tokenizer):
    assert character_table(tokenizer) is None


def test_pairs_that_are_joined_are_left_to_the_tokenizer():
    words = tokenizer_of(pre_tokenizers.Whitespace(), "a", "b", "?")
    assert split(TextEncoder(words)(["a", "ab", "a b"])) == plainly(words, ["a", "ab", "a b"]) == [[0], [2], [0, 1]]


def test_tables_are_used_where_there_is_one():
    for tokenizer in (TEXT8, ASCII, UNKNOWN, characters("eos")):
        assert character_table(tokenizer) is not None


def test_a_text_can_not_write_a_special_token():
    assert BPE("a<mask>")["input_ids"][-1] == BPE.mask_token_id
    (ids,) = split(TextEncoder(BPE)(["a<mask>"]))
    assert BPE.mask_token_id not in ids and BPE.decode(ids) == "a<mask>"


def test_the_tokenizer_is_left_as_it_was():
    tokenizer = byte_pairs()
    tokenizer("a b c", truncation=True, max_length=2, padding="max_length")
    before = tokenizer.backend_tokenizer.to_str()
    texts = ["a b c d e", "x"]
    assert split(TextEncoder(tokenizer)(texts)) == plainly(byte_pairs(), texts), "neither cut off nor padded"
    assert tokenizer.backend_tokenizer.to_str() == before


def test_ids_take_two_bytes_where_the_vocabulary_fits():
    assert TextEncoder(BPE)(["a"]).ids.dtype == np.uint16
    many = tokenizer_of(pre_tokenizers.Whitespace(), *(f"t{number}" for number in range(1 << 16)), "?")
    ids = TextEncoder(many)(["t65535 unheard"]).ids
    assert ids.dtype == np.int32 and ids.tolist() == [65535, 65536]


def test_arrow_columns_are_read_as_lists_are():
    column = pa.chunked_array([SENTENCES[:2], SENTENCES[2:]])
    for encoder in ENCODERS.values():
        assert split(encoder(column)) == split(encoder(SENTENCES)) == split(encoder(pa.array(SENTENCES)))
        assert split(encoder(pa.array(SENTENCES).slice(2, 3))) == split(encoder(SENTENCES[2:5]))
        assert encoder([]).ids.tolist() == []


def test_a_missing_text_is_named():
    with pytest.raises(ValueError, match=r"Text 1 of this batch is missing \(null\)"):
        TextEncoder(TEXT8)(["a", None])


@pytest.mark.parametrize("column", [pa.array([1, 22]), pa.array([[1], [2]]), [1, 22], [b"a"], ["a", 3]])
def test_what_is_no_text_is_not_tokenized(column):
    with pytest.raises(ValueError, match=r"The column to tokenize holds .*, but strings are accepted"):
        TextEncoder(TEXT8)(column)


def test_strings_of_any_arrow_type_are_texts():
    words = ["a", "b a", "a"]
    expected = TextEncoder(TEXT8)(words)
    for array in (pa.array(words, pa.large_string()), pa.array(words).dictionary_encode(), pa.chunked_array([words])):
        assert TextEncoder(TEXT8)(array).ids.tolist() == expected.ids.tolist()


def test_a_character_without_a_token_is_told():
    with pytest.raises(ValueError, match=r"cannot read a text of this batch.*with an unknown token or with bytes"):
        TextEncoder(characters("eos"))(["a ö"])


def test_tokenizers_have_the_same_fingerprint_if_they_tokenize_the_same():
    used = byte_pairs()
    used("some text", truncation=True, max_length=2, padding="max_length")
    assert fingerprint_of(used) == fingerprint_of(byte_pairs())
    assert fingerprint_of(byte_pairs(size=290)) != fingerprint_of(used)
    assert fingerprint_of(characters("eos")) != fingerprint_of(characters("pad"))
