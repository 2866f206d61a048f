"""Latents and the tokens of their chunks, in both directions: each token hears of its own chunk's latent, at its own
place in the chunk, and each latent is predicted from the tokens of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf import LaddConfig, LaddForDiffusionLM
from ladd_hf.models.chunks import Chunks, chunk_middles, even_chunks
from ladd_hf.models.latent_io import LatentPooling, LatentUnpooling


@given(st.integers(0, 5), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_it_gives_tokens_to_the_chunks_that_the_encoder_reads_them_in(start, length, latent_length):
    starts, lengths = torch.tensor([start]), torch.tensor([length])
    ids = torch.arange(1.0, 18.0).view(1, 17, 1)
    chunks = Chunks(latent_length, 12)
    read = chunks.read(ids, starts, lengths)[0]  # (M, chunk size)
    chunk, place = chunks.places(starts, lengths, 17)
    for position in range(start, start + length):
        assert read[chunk[0, position], place[0, position]] == position + 1


@given(st.integers(1, 12), st.integers(1, 12))
def test_no_middle_is_a_token_or_more_from_the_middle_of_the_tokens_themselves(length, latent_length):
    first, end = even_chunks(torch.tensor([length]), latent_length)
    middles = chunk_middles(torch.tensor([length]), latent_length)
    assert (middles - (first + end - 1) / 2).abs().max() < 1
    if length % latent_length == 0:
        torch.testing.assert_close(middles, (first + end - 1) / 2)


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


def test_a_latent_is_predicted_from_the_states_of_its_chunk_each_in_its_own_way(tiny_config):
    pooling = LatentPooling(tiny_config("discrete", latent_pooling="chunk"))
    torch.nn.init.normal_(pooling.proj.weight)
    states = torch.randn(1, 12, 32).requires_grad_()
    starts, lengths = torch.zeros(1, dtype=torch.int64), torch.tensor([12])
    for latent in range(4):
        (gradient,) = torch.autograd.grad(pooling(states, starts, lengths)[0, latent].square().sum(), states)
        assert gradient.abs().amax(-1)[0].nonzero().flatten().tolist() == [3 * latent, 3 * latent + 1, 3 * latent + 2]
    swapped = states[:, [1, 0, *range(2, 12)]]
    assert not torch.allclose(pooling(swapped, starts, lengths)[0, 0], pooling(states, starts, lengths)[0, 0])


def test_pooling_reaches_the_latents_prediction_and_nothing_else(stirred_model):
    model = stirred_model("discrete", latent_pooling="chunk")
    tokens = torch.randint(1, 10, (2, 12))
    before = model(tokens, model.encode_latents(tokens))
    with torch.no_grad():
        model.latent_pooling.proj.weight.mul_(2)
    after = model(tokens, model.encode_latents(tokens))
    assert torch.equal(before.logits, after.logits)
    assert not torch.allclose(before.latent_prediction, after.latent_prediction)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_a_padded_row_is_denoised_as_the_shorter_row_alone(kind, side, stirred_model):
    model = stirred_model(kind, latent_unpooling="chunk", latent_pooling="chunk")
    tokens = torch.randint(1, 10, (1, 7))
    latents = model.encode_latents(tokens)
    options = {"token_timesteps": torch.ones(1), "latent_timesteps": torch.full((1,), 0.3)}
    alone = model(tokens, latents, **options)
    padding = (5, 0) if side == "left" else (0, 5)
    padded, mask = (torch.nn.functional.pad(x, padding) for x in (tokens, torch.ones_like(tokens)))
    together = model(padded, latents, attention_mask=mask, **options)
    torch.testing.assert_close(together.logits[mask.bool()][None], alone.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.latent_prediction, alone.latent_prediction, atol=1e-5, rtol=0)


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


@pytest.mark.parametrize("name", ["latent_pooling", "latent_unpooling"])
def test_without_latents_there_is_nothing_to_pool(name):
    with pytest.raises(ValueError, match=f"{name} is set"):
        LaddConfig(**{name: "chunk"})


def test_latents_that_are_denoised_without_tokens_can_not_be_pooled_from_them(tiny_config):
    with pytest.raises(ValueError, match="`latent_pooling` is 'chunk'"):
        tiny_config("separate", latent_pooling="chunk")
    tiny_config("separate", latent_unpooling="chunk")


def test_nor_are_its_tokens_left_out_where_they_are_read(tiny_config):
    pooling = LatentPooling(tiny_config("discrete", latent_pooling="chunk"))
    with pytest.raises(ValueError, match=r"13 tokens.*`max_position_embeddings` \(12\)"):
        pooling(torch.randn(1, 13, 32), torch.zeros(1, dtype=torch.int64), torch.tensor([13]))


# --- unpooling that knows t_y ---


def added_to_embeddings(model, tokens, latents, t):
    """What the first block reads of the tokens, less their embeddings."""
    seen = []
    hook = model.model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(tokens, latents, t, t)
    hook.remove()
    return seen[0] - model.model.embed_tokens(tokens)


def noisy_inputs(rows=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 10, (rows, 12), generator=generator), torch.randn(rows, 4, 3, generator=generator)


@pytest.mark.parametrize("kind", ["continuous", "separate", "anchors"])
def test_scaled_by_the_signal_noise_adds_next_to_nothing(kind, stirred_model):
    model = stirred_model(kind, latent_unpooling="chunk", latent_unpooling_time="signal")
    plain = stirred_model(kind, latent_unpooling="chunk")
    plain.load_state_dict(model.state_dict())
    (tokens, latents), times = noisy_inputs(), torch.tensor([0.0, 0.6, 1.0])
    full, found = (added_to_embeddings(one, tokens, latents, times) for one in (plain, model))
    signal = model.latent_channel.schedule.signal(times)
    torch.testing.assert_close(found, signal[:, None, None] * full, atol=1e-5, rtol=1e-5)
    assert full.abs().max() > 0.1 and found[2].abs().max() < 0.02 * full[2].abs().max()
    one_time = added_to_embeddings(model, tokens[1:2], latents[1:2], times[1])
    torch.testing.assert_close(one_time, found[1:2], atol=1e-6, rtol=1e-5)


def test_a_modulation_starts_as_none_and_learns_from_the_time(tiny_model, stirred_model):
    (tokens, latents), times = noisy_inputs(), torch.tensor([0.0, 0.6, 1.0])
    settings = {"latent_unpooling": "chunk", "latent_unpooling_time": "modulation"}
    fresh, plain = tiny_model("continuous", **settings), tiny_model("continuous", latent_unpooling="chunk")
    plain.load_state_dict(fresh.state_dict(), strict=False)
    found, expected = (added_to_embeddings(one, tokens, latents, times) for one in (fresh, plain))
    torch.testing.assert_close(found, expected)
    model = stirred_model("continuous", **settings)
    early, late = (added_to_embeddings(model, tokens, latents, torch.full((3,), t)) for t in (0.1, 0.9))
    assert (early - late).abs().max() > 1e-2
    model(tokens, latents, times, times).logits[..., 1:10].sum().backward()
    assert model.model.latent_unpooling.modulation.weight.grad.abs().sum() > 0


def test_it_is_saved_with_the_model(stirred_model, tmp_path):
    for told in ("signal", "modulation"):
        model = stirred_model("continuous", latent_unpooling="chunk", latent_unpooling_time=told)
        model.save_pretrained(tmp_path / told)
        loaded = LaddForDiffusionLM.from_pretrained(tmp_path / told)
        (tokens, latents), times = noisy_inputs(), torch.tensor([0.0, 0.6, 1.0])
        assert loaded.config.latent_unpooling_time == told
        assert torch.equal(loaded(tokens, latents, times, times).logits, model(tokens, latents, times, times).logits)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("continuous", {"latent_unpooling_time": "signal"}, "no latents are unpooled: set `latent_unpooling` 'chunk'"),
        (
            "continuous",
            {"latent_unpooling": "chunk", "latent_unpooling_time": "modulation", "latent_time_conditioning": False},
            "not conditioned on t_y: set `latent_time_conditioning`, or give 'signal'",
        ),
        (
            "discrete",
            {"latent_unpooling": "chunk", "latent_unpooling_time": "signal"},
            "'discrete', but latent_unpooling_time is set",
        ),
    ],
)
def test_what_knows_of_no_noise_is_refused(kind, changes, message, tiny_config):
    with pytest.raises(ValueError, match=message):
        tiny_config(kind, **changes)


def test_the_signal_needs_a_time(stirred_model):
    settings = {"latent_unpooling": "chunk", "latent_unpooling_time": "signal", "latent_time_conditioning": False}
    with pytest.raises(ValueError, match="give `latent_timesteps`"):
        stirred_model("continuous", **settings)(*noisy_inputs())
