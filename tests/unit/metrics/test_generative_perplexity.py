"""Perplexity under a causal LM: that of its definition, token by token, for any batch, window and padding."""

from __future__ import annotations

import math

import evaluate
import numpy as np
import pytest
import torch
from helpers.causal_lms import WORDS, causal_lm, word_tokenizer
from transformers import BertConfig, BertLMHeadModel

from ladd_hf.metrics import GenerativePerplexity, generative_perplexity
from ladd_hf.metrics.causal_lm import CausalJudge
from ladd_hf.metrics.generative_perplexity import text_nats

RANDOM = np.random.default_rng(0)
TEXTS = [" ".join(RANDOM.choice(WORDS, size)) for size in (2, 9, 5, 16, 3, 7)]


def judge(kind="gpt2", bos=False, **options):
    return CausalJudge(causal_lm(kind), word_tokenizer(bos), **options)


def token_by_token(model, ids, context=None):
    """-log p of each token but the first, from one call of the model for each."""
    nats = []
    for place in range(1, len(ids)):
        before = ids[:place] if context is None else ids[max(0, place - context) : place]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([before])).logits[0, -1].double()
        nats.append(-logits.log_softmax(-1)[ids[place]].item())
    return nats


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("bos", [False, True])
def test_it_is_that_of_the_tokens_one_by_one(kind, bos, tmp_path):
    texts = [text for text in TEXTS if len(text.split()) < 16]
    model, tokenizer = causal_lm(kind), word_tokenizer(bos)
    nats = [token_by_token(model, tokenizer(text).input_ids) for text in texts]
    measurement = GenerativePerplexity(model, tokenizer, batch_size=2, cache_dir=str(tmp_path))
    result = measurement.compute(data=texts)
    assert result["tokens"] == sum(len(text.split()) - (not bos) for text in texts)
    assert result["perplexity"] == pytest.approx(math.exp(sum(map(sum, nats)) / sum(map(len, nats))), rel=1e-5)
    assert result["mean_perplexity"] == pytest.approx(np.mean([math.exp(np.mean(row)) for row in nats]), rel=1e-5)
    assert result["judge"] == type(model).__name__ and result["texts"] == len(texts)
    assert result["perplexity_stderr"] > 0 and result["mean_perplexity_stderr"] > 0


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_it_does_not_depend_on_the_batch_or_the_order(batch_size):
    alone = text_nats(judge(batch_size=1), TEXTS).nats
    assert text_nats(judge(batch_size=batch_size), TEXTS[::-1]).nats[::-1] == pytest.approx(alone, rel=1e-5)


def test_an_end_is_counted_once_and_what_pads_after_it_is_not():
    ends = judge()
    whole = text_nats(ends, ["the cat sat", "the cat sat<end>", "the cat sat<end><end><end>"])
    assert whole.tokens.tolist() == [2, 3, 3]
    assert whole.nats[1] > whole.nats[0] and whole.nats[2] == pytest.approx(whole.nats[1], rel=1e-6)
    model, tokenizer = causal_lm(), word_tokenizer()
    ids = tokenizer("the cat<end>sat on<end>mat").input_ids
    nats = token_by_token(model, ids)
    scored = text_nats(ends, ["the cat<end>sat on<end>mat"])  # the second end is read, not scored
    assert scored.tokens.tolist() == [5]
    assert scored.nats[0] == pytest.approx(sum(nats) - nats[ids[:-2].index(1) + 2], rel=1e-5)


def test_a_first_token_is_context_and_counts_as_the_end_if_it_is_one():
    """As the authors' mask of valid tokens has it: 1 up to the first end, which may be the first token, and at all
    tokens that are no end."""
    texts = ["<end>the cat<end>", "the<end>cat<end>dog", "<end>the<end>cat<end>"]
    assert text_nats(judge(), texts).tokens.tolist() == [2, 3, 2]


@pytest.mark.parametrize("stride", [1, 3, 7, None])
def test_long_texts_are_read_in_windows_that_leave_nothing_out(stride):
    long = " ".join(np.random.default_rng(1).choice(WORDS, 41))
    short_sighted = judge("llama", max_length=8)
    ids = short_sighted.token_ids([long])[0]
    found = short_sighted.log_likelihoods([ids], stride)[0]
    assert len(found) == 40 and (found < 0).all()
    if stride == 1:  # every token is given the seven before it
        assert -found == pytest.approx(token_by_token(short_sighted.model, ids, context=7), rel=1e-4)
    # the first window is read as a text of its own
    assert found[:7] == pytest.approx(short_sighted.log_likelihoods([ids[:8]], stride)[0], rel=1e-5)


def test_texts_without_a_second_token_have_nothing_to_score():
    scores = text_nats(judge(), ["", "cat", "the cat"])
    assert scores.tokens.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="no token that can be scored"):
        generative_perplexity.perplexities(text_nats(judge(), ["", "cat"]))


def test_a_judge_is_loaded_from_a_folder_and_called_by_its_last_part(tmp_path):
    folder = tmp_path / "small-judge"
    causal_lm().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    loaded = GenerativePerplexity(folder, cache_dir=str(tmp_path), device="cpu").compute(data=TEXTS)
    given = GenerativePerplexity(causal_lm(), word_tokenizer(), cache_dir=str(tmp_path)).compute(data=TEXTS)
    assert loaded["judge"] == "small-judge"
    assert loaded["perplexity"] == pytest.approx(given["perplexity"], rel=1e-5)
    halved = GenerativePerplexity(str(folder), dtype="bfloat16", device="cpu", cache_dir=str(tmp_path))
    assert halved.judge.model.dtype == torch.bfloat16
    assert halved.compute(data=TEXTS)["perplexity"] == pytest.approx(given["perplexity"], rel=0.05)


def test_evaluate_loads_the_file_without_a_network(tmp_path):
    loaded = evaluate.load(
        generative_perplexity.__file__,
        module_type="measurement",
        model=causal_lm(),
        tokenizer=word_tokenizer(),
        cache_dir=str(tmp_path),
    )
    expected = generative_perplexity.perplexities(text_nats(judge(), TEXTS))
    assert loaded.compute(data=TEXTS)["perplexity"] == pytest.approx(expected["perplexity"].value)


def test_what_cannot_judge_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'nowhere' cannot be loaded: .* give the folder"):
        CausalJudge(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="without its tokenizer"):
        CausalJudge(causal_lm())
    with pytest.raises(ValueError, match="move the model before"):
        CausalJudge(causal_lm(), word_tokenizer(), device="cpu")
    with pytest.raises(ValueError, match="judge is 3; give a causal LM"):
        CausalJudge(3)
    with pytest.raises(ValueError, match="has 16 positions"):
        judge(max_length=17)
    with pytest.raises(ValueError, match="give 1 to 7"):
        judge(max_length=8).log_likelihoods([[3, 4]], stride=8)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    both_ways = BertLMHeadModel(BertConfig(vocab_size=12, max_position_embeddings=16, **sizes))
    with torch.no_grad():
        for parameter in both_ways.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    with pytest.raises(ValueError, match="is not causal"):
        text_nats(CausalJudge(both_ways, word_tokenizer()), TEXTS)


def test_weights_that_are_not_finite_are_refused():
    broken = causal_lm()
    with torch.no_grad():
        broken.transformer.ln_f.weight[0] = math.nan
    with pytest.raises(ValueError, match="text 0 a log-likelihood that is not finite"):
        text_nats(CausalJudge(broken, word_tokenizer()), TEXTS)
