"""Latents unpooled over their chunks: each token hears of its own chunk's latent, at its own place in the chunk."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf import LaddConfig
from ladd_hf.latent_encoder import chunk_places, read_chunks
from ladd_hf.latent_stream import LatentUnpooling


@given(st.integers(0, 5), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_it_gives_tokens_to_the_chunks_that_the_encoder_reads_them_in(start, length, latent_length):
    starts, lengths = torch.tensor([start]), torch.tensor([length])
    ids = torch.arange(1.0, 18.0).view(1, 17, 1)
    read = read_chunks(ids, starts, lengths, latent_length, -(-12 // latent_length))[0]  # (M, chunk size)
    chunk, place = chunk_places(starts, lengths, 17, latent_length)
    for position in range(start, start + length):
        assert read[chunk[0, position], place[0, position]] == position + 1


@pytest.fixture
def unpooling(tiny_config):
    torch.manual_seed(0)
    return LatentUnpooling(tiny_config("discrete", latent_unpooling="chunk"))


def test_a_latent_reaches_the_tokens_of_its_chunk_alone_and_each_differently(unpooling):
    starts, lengths = torch.zeros(1, dtype=torch.int64), torch.tensor([12])
    said = unpooling(torch.randn(1, 4, 32), starts, lengths, 12)
    states = torch.randn(1, 4, 32).requires_grad_()
    for position in range(12):
        (gradient,) = torch.autograd.grad(unpooling(states, starts, lengths, 12)[0, position].sum(), states)
        assert gradient.abs().amax(-1)[0].nonzero().flatten().tolist() == [position // 3]
    assert said.unique(dim=1).shape[1] == 12


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_padded_row_is_denoised_as_the_shorter_row_alone(kind, side, stirred_model):
    model = stirred_model(kind, latent_unpooling="chunk")
    tokens = torch.randint(1, 10, (1, 7))
    latents = model.encode_latents(tokens)
    options = {"token_timesteps": torch.ones(1), "latent_timesteps": torch.full((1,), 0.3)}
    alone = model(tokens, latents, **options).logits
    padding = (5, 0) if side == "left" else (0, 5)
    padded, mask = (torch.nn.functional.pad(x, padding) for x in (tokens, torch.ones_like(tokens)))
    together = model(padded, latents, attention_mask=mask, **options).logits
    torch.testing.assert_close(together[mask.bool()][None], alone, atol=1e-5, rtol=0)


def test_it_is_what_the_latents_change_in_the_embeddings(stirred_model):
    model = stirred_model("discrete", latent_unpooling="chunk")
    tokens, seen = torch.randint(1, 10, (2, 12)), []
    model.model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    codes = model.encode_latents(tokens)
    changed = codes.clone()
    changed[:, 2] = (codes[:, 2] + 1) % 9
    for latents in (codes, changed):
        model(tokens, latents)
    differs = (seen[0] - seen[1]).abs().amax(-1) > 1e-6
    assert differs.nonzero()[:, 1].unique().tolist() == [6, 7, 8]


def test_a_text_longer_than_the_chunks_cover_is_refused(unpooling):
    with pytest.raises(ValueError, match=r"13 tokens.*`max_position_embeddings` \(12\)"):
        unpooling(torch.randn(1, 4, 32), torch.zeros(1, dtype=torch.int64), torch.tensor([13]), 13)


def test_without_latents_there_is_nothing_to_unpool():
    with pytest.raises(ValueError, match="latent_unpooling is set"):
        LaddConfig(latent_unpooling="chunk")
