"""Drawing from the most likely tokens alone: those of transformers' warper, exactly."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from ladd_hf import TokenSampler
from ladd_hf.diffusion import masked
from ladd_hf.diffusion.masked import draw_categorical, likeliest


def logits_and_uniforms(rows, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(rows, 12, generator=generator)).to(dtype)
    return logits, torch.rand(rows, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("top_k", [1, 3, 12, 50])
def test_the_tokens_kept_are_those_of_the_warper_ties_included(top_k, dtype):
    logits, _ = logits_and_uniforms(200, dtype)
    logits[:, 3] = logits[:, 5] = logits[:, 1]  # tied, some at the border
    logits[::3, 7] = -torch.inf
    assert torch.equal(likeliest(logits, top_k), TopKLogitsWarper(top_k)(None, logits))


@pytest.mark.parametrize("top_p", [1.0, 0.6])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("top_k", [1, 2, 4, 12])
def test_draws_are_those_from_the_logits_that_transformers_warps_in_its_order(top_k, temperature, top_p):
    logits, uniform = logits_and_uniforms(2000, torch.float64)
    warpers = [TemperatureLogitsWarper(temperature), TopKLogitsWarper(top_k), TopPLogitsWarper(top_p)]
    warped = LogitsProcessorList(warpers)(None, logits)
    drawn = TokenSampler(temperature, top_p, top_k)(logits, uniform)
    assert torch.equal(drawn, draw_categorical(warped, uniform))


def test_among_the_kept_tokens_proportions_stay():
    logits = torch.tensor([0.5, 2.0, -1.0, 1.5, 1.0])
    drawn = draw_categorical(logits.expand(20_000, -1), logits_and_uniforms(20_000)[1], top_k=3)
    counts, kept = drawn.bincount(minlength=5), torch.tensor([1, 3, 4])
    assert counts[[0, 2]].sum() == 0
    assert stats.chisquare(counts[kept], logits[kept].double().softmax(-1) * 20_000).pvalue > 1e-4


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
def test_a_rare_token_is_drawn_where_it_is_kept_and_never_where_it_is_not(uniform):
    """A mask before the exact draw: the interval of 1e-12 at either end is there with six tokens, and not with four."""
    law = torch.tensor([1e-12, 0.25, 0.25, 0.25, 0.25 - 2e-12, 1e-12], dtype=torch.float64)
    edge, inner = (0, 1) if uniform == 0 else (5, 4)
    for top_k, expected in ((6, edge), (4, inner)):
        drawn = draw_categorical(law.log()[None], torch.tensor([uniform], dtype=torch.float64), top_k=top_k)
        assert int(drawn) == expected


def test_one_token_is_the_greedy_choice_and_pieces_are_drawn_alike(monkeypatch):
    logits, uniform = logits_and_uniforms(50)
    assert torch.equal(draw_categorical(logits, uniform, top_k=1), logits.argmax(-1))
    at_once = draw_categorical(logits, uniform, top_k=4)
    monkeypatch.setattr(masked, "_DRAW_CHUNK", 36)
    assert torch.equal(draw_categorical(logits, uniform, top_k=4), at_once)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_still_refused(bad):
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    with pytest.raises(ValueError, match="logits hold nan, plus infinity"):
        draw_categorical(logits, torch.zeros(3, dtype=torch.float64), top_k=2)


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "3", True])
def test_what_is_no_number_of_tokens_is_refused(top_k):
    with pytest.raises(
        ValueError, match=r"`top_k` is .*; give a whole number of tokens of at least 1, or None for all"
    ):
        TokenSampler(top_k=top_k)
