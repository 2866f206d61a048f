"""Tokenizers: nothing is lost in them, and every one has a mask token that no text contains."""

from __future__ import annotations

import huggingface_hub
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline
from ladd_hf.data import byte_level_bpe, character_tokenizer, make_tokenizer, text8_normalize, with_mask_token
from ladd_hf.data.tokenizers import TEXT8_SYMBOLS

CORPUS = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog"] * 5


def test_a_character_is_a_token_and_special_tokens_come_last():
    tokenizer = character_tokenizer()
    assert len(tokenizer) == 29
    assert tokenizer.convert_ids_to_tokens(range(27)) == list(TEXT8_SYMBOLS)
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (27, 28)
    assert tokenizer("a b").input_ids == [1, 0, 2]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_becomes_the_27_symbols_and_stays_so(text):
    tokenizer = character_tokenizer()
    assume(not any(token in text for token in tokenizer.all_special_tokens))  # which are tokens, not characters
    written = tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids)
    assert written.strip() == text8_normalize(text)
    assert set(written) <= set(TEXT8_SYMBOLS)


def test_the_mask_token_in_a_prompt_is_one_token():
    tokenizer = character_tokenizer()
    assert tokenizer("a[MASK]b").input_ids == [1, 28, 2]


def test_other_symbols_take_texts_as_they_are():
    tokenizer = character_tokenizer("abC\n é")
    assert tokenizer.decode(tokenizer("aé C\nb").input_ids) == "aé C\nb"


@pytest.mark.parametrize("symbols", ["", "aba"])
def test_symbols_that_repeat_or_are_none_are_refused(symbols):
    with pytest.raises(ValueError, match="give each character once"):
        character_tokenizer(symbols)


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_bpe_gives_any_text_back(text):
    tokenizer = byte_level_bpe(CORPUS, 300)
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=False) == text or "[" in text


def test_tokenizers_are_made_by_name(tmp_path):
    assert make_tokenizer("character").get_vocab() == character_tokenizer().get_vocab()
    trained = make_tokenizer("byte_level_bpe", iter(CORPUS), 290)
    assert trained.get_vocab() == byte_level_bpe(CORPUS, 290).get_vocab()
    trained.save_pretrained(tmp_path)
    assert make_tokenizer(str(tmp_path)).mask_token_id == trained.mask_token_id
    with pytest.raises(OSError):
        make_tokenizer(str(tmp_path / "nothing"))


def test_a_tokenizers_own_tokens_may_be_named_to_begin_and_end_texts(tmp_path):
    tokenizer = make_tokenizer("byte_level_bpe", CORPUS, 290, bos_token="[EOS]", eos_token="[PAD]")
    plain = make_tokenizer("byte_level_bpe", CORPUS, 290)
    assert tokenizer.get_vocab() == plain.get_vocab(), "none is added"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (plain.eos_token_id, plain.pad_token_id)
    tokenizer.save_pretrained(tmp_path)
    again = make_tokenizer(str(tmp_path))
    assert (again.bos_token, again.eos_token) == ("[EOS]", "[PAD]")
    assert make_tokenizer(str(tmp_path), eos_token="[EOS]").eos_token_id == plain.eos_token_id


@pytest.mark.parametrize("role", ["bos_token", "eos_token"])
def test_a_token_that_the_tokenizer_does_not_know_is_refused(role):
    with pytest.raises(ValueError, match=rf"`{role}` is '<s>', which the tokenizer 'character' does not know.*\[PAD\]"):
        make_tokenizer("character", **{role: "<s>"})


def test_a_name_that_is_none_is_told_with_those_that_need_no_network(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"There is no tokenizer 'charactr'.*'character' or 'byte_level_bpe'.*the Hub"):
        make_tokenizer("charactr")


def test_bpe_merges_what_is_frequent_and_is_the_same_each_time():
    first, second = byte_level_bpe(CORPUS, 300), byte_level_bpe(iter(CORPUS), 300)
    assert first.get_vocab() == second.get_vocab()
    assert len(first) <= 300 and first.mask_token_id == len(first) - 1
    assert len(first("the cat").input_ids) < 4
    assert len({first.eos_token_id, first.pad_token_id, first.mask_token_id}) == 3


def test_bpe_without_room_for_bytes_and_special_tokens_is_refused():
    with pytest.raises(ValueError, match="at least 259"):
        byte_level_bpe(CORPUS, 258)


@pytest.fixture
def plain_tokenizer():
    inner = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<unk>": 2}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


def test_a_tokenizer_without_a_mask_token_gets_one(plain_tokenizer):
    tokenizer = with_mask_token(plain_tokenizer)
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, len(tokenizer)) == (3, 4, 5)
    assert with_mask_token(tokenizer) is tokenizer and len(tokenizer) == 5


def test_a_tokenizer_without_room_for_the_mask_token_is_refused_and_left_as_it_is(plain_tokenizer):
    with pytest.raises(ValueError, match="`vocab_size` is 4"):
        with_mask_token(plain_tokenizer, vocab_size=4)
    assert len(plain_tokenizer) == 3 and plain_tokenizer.mask_token is None
    assert len(with_mask_token(plain_tokenizer, vocab_size=5)) == 5


@pytest.mark.parametrize("make", [character_tokenizer, lambda: byte_level_bpe(CORPUS, 280)], ids=["character", "bpe"])
def test_they_are_saved_with_a_pipeline_and_loaded(tmp_path, make):
    tokenizer = make()
    tokenizer.save_pretrained(tmp_path / "alone")
    again = AutoTokenizer.from_pretrained(tmp_path / "alone")
    assert again("the cat").input_ids == tokenizer("the cat").input_ids
    assert again.decode(again("the cat").input_ids) == "the cat"
    config = LaddConfig(
        vocab_size=len(tokenizer), mask_token_id=tokenizer.mask_token_id, pad_token_id=tokenizer.pad_token_id,
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=12,
    )  # fmt: skip
    LaddPipeline(LaddForDiffusionLM(config), tokenizer=tokenizer).save_pretrained(tmp_path / "pipeline")
    pipeline = LaddPipeline.from_pretrained(tmp_path / "pipeline")
    (text,) = pipeline("the", num_steps=4).texts
    assert text.startswith("the")
